//! GIoU loss.

use burn::tensor::Tensor;

/// Keeps ratios of empty boxes finite; far below the area of any real box.
const EPSILON: f64 = 1e-7;

/// The GIoU loss of pairs of boxes, `1 − GIoU`, in `[0, 2]`.
///
/// `GIoU = I / (U + ε) − (E − U) / (E + ε)`, with the areas `I` of the intersection, `U` of the union
/// and `E` of the smallest box around both, `ε = 1e-7`. (Rezatofighi et al., *Generalized
/// Intersection over Union*, CVPR 2019.)
///
/// Shapes: `predicted` and `target` `[M, 4]`, decoded boxes `[x1, y1, x2, y2]` in pixels with
/// `x1 ≤ x2` and `y1 ≤ y2`; the result `[M]`. Row `i` is compared with row `i`; gradients flow into
/// both.
///
/// # Panics
///
/// If the shapes differ or have not four columns.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::losses::giou_loss;
///
/// let device = Device::default();
/// let a = Tensor::<2>::from_floats([[0.0, 0.0, 1.0, 1.0]], &device);
/// let b = Tensor::<2>::from_floats([[2.0, 0.0, 3.0, 1.0]], &device);
/// // No overlap, a union of 2 in an enclosing box of 3: 1 + 1/3.
/// let loss = giou_loss(a, b).into_scalar::<f32>();
/// assert!((loss - 4.0 / 3.0).abs() < 1e-6);
/// ```
pub fn giou_loss(predicted: Tensor<2>, target: Tensor<2>) -> Tensor<1> {
    let (a, b) = (predicted.dims(), target.dims());
    assert_eq!(a, b, "giou_loss: predicted {a:?} and target {b:?}");
    assert_eq!(a[1], 4, "giou_loss: boxes of shape {a:?}, not [M, 4]");
    let corners = |boxes: Tensor<2>| {
        let low = boxes.clone().slice([0..a[0], 0..2]);
        (low, boxes.slice([0..a[0], 2..4]))
    };
    let area = |sides: Tensor<2>| {
        let width = sides.clone().slice([0..a[0], 0..1]);
        width * sides.slice([0..a[0], 1..2])
    };
    let ((low_p, high_p), (low_t, high_t)) = (corners(predicted), corners(target));
    let shared = area(
        (high_p.clone().min_pair(high_t.clone()) - low_p.clone().max_pair(low_t.clone())).clamp_min(0.0),
    );
    let enclosing = area(high_p.clone().max_pair(high_t.clone()) - low_p.clone().min_pair(low_t.clone()));
    let union = area(high_p - low_p) + area(high_t - low_t) - shared.clone();
    let iou = shared / (union.clone() + EPSILON);
    let giou = iou - (enclosing.clone() - union) / (enclosing + EPSILON);
    (-giou + 1.0).squeeze_dim::<1>(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::boxes;
    use crate::testing::{assert_close, device, gradient, values};

    const PREDICTED: [[f32; 4]; 5] =
        [[0., 0., 10., 10.], [0., 0., 4., 4.], [5., 5., 9., 8.], [-3., 2., 6., 7.], [0., 0., 1., 1.]];
    const TARGET: [[f32; 4]; 5] =
        [[0., 0., 10., 10.], [1., 2., 6., 5.], [0., 0., 3., 4.], [-2., 3., 5., 6.], [0., 3., 1., 4.]];

    #[test]
    fn equals_one_minus_the_giou_of_the_host() {
        let device = device();
        let loss = giou_loss(Tensor::from_floats(PREDICTED, &device), Tensor::from_floats(TARGET, &device));
        let expected: Vec<f32> =
            PREDICTED.iter().zip(&TARGET).map(|(a, b)| 1.0 - boxes::giou(a, b)).collect();
        assert_close(&values(&loss), &expected, 1e-6);
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_value() {
        let device = device();
        let predicted = Tensor::<2>::from_floats(PREDICTED, &device).require_grad();
        let loss = giou_loss(predicted.clone(), Tensor::from_floats(TARGET, &device));
        let gradients = gradient(&predicted, &loss.sum().backward());
        // The first row is left out: at equal boxes the loss has a kink.
        for row in 1..PREDICTED.len() {
            for column in 0..4 {
                let shifted = |h: f64| {
                    let mut b = PREDICTED[row].map(f64::from);
                    b[column] += h;
                    1.0 - boxes::giou(&b, &TARGET[row].map(f64::from))
                };
                // Central differences in f64; the error is that of the f32 gradient. Corners that
                // touch have a kink, so they are left out.
                if TARGET[row][column] == PREDICTED[row][column] {
                    continue;
                }
                let slope = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
                assert_close(&[gradients[row * 4 + column]], &[slope as f32], 1e-5);
            }
        }
    }

    #[test]
    fn no_boxes_give_no_losses_and_empty_boxes_finite_ones() {
        let device = device();
        assert_eq!(giou_loss(Tensor::zeros([0, 4], &device), Tensor::zeros([0, 4], &device)).dims(), [0]);
        let empty = Tensor::<2>::zeros([1, 4], &device).require_grad();
        let loss = giou_loss(empty.clone(), Tensor::zeros([1, 4], &device));
        assert!(values(&loss)[0].is_finite());
        assert!(gradient(&empty, &loss.sum().backward()).iter().all(|g| g.is_finite()));
    }

    #[test]
    #[should_panic(expected = "predicted [2, 4] and target [1, 4]")]
    fn shapes_must_agree() {
        let device = device();
        let _ = giou_loss(Tensor::zeros([2, 4], &device), Tensor::zeros([1, 4], &device));
    }
}
