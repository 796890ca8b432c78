//! Smooth L1 loss.

use burn::tensor::Tensor;

/// Smooth L1 loss, element by element: quadratic below `beta`, linear above.
///
/// With `d = prediction − target`: `d² / (2β)` where `|d| < β`, else `|d| − β/2`; with `beta` 0 it is
/// `|d|`. The gradient to the prediction is `d/β` clipped to `[−1, 1]`, and its negative to the
/// target. (Girshick, *Fast R-CNN*, ICCV 2015, equation 3, with β for its 1.)
///
/// Shapes: any, equal, and so is the result's; typically encoded box deltas `[M, 4]`.
///
/// # Panics
///
/// If the shapes differ, or `beta` is negative or NaN.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::losses::smooth_l1;
///
/// let device = Device::default();
/// let prediction = Tensor::<2>::from_floats([[0.5, 3.0]], &device);
/// let loss = smooth_l1(prediction, Tensor::zeros([1, 2], &device), 1.0);
/// // 0.5²/2 and 3 − 1/2.
/// assert_eq!(loss.into_data().try_to_vec::<f32>().unwrap(), [0.125, 2.5]);
/// ```
pub fn smooth_l1<const D: usize>(prediction: Tensor<D>, target: Tensor<D>, beta: f64) -> Tensor<D> {
    let (a, b) = (prediction.dims(), target.dims());
    assert_eq!(a, b, "smooth_l1: predictions {a:?} and targets {b:?}");
    assert!(beta >= 0.0, "smooth_l1: beta {beta} is not 0 or above");
    let d = prediction - target;
    if beta == 0.0 {
        return d.abs();
    }
    // With c = d clipped to ±β both branches are c·(d − c/2)/β, in value and in gradient.
    let c = d.clone().clamp(-beta, beta);
    (d - c.clone() / 2.0) * c / beta
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, device, gradient, values};

    fn at(d: [f32; 6], beta: f64) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let device = device();
        let target = Tensor::<1>::from_floats([1.0; 6], &device).require_grad();
        let prediction = Tensor::<1>::from_floats(d.map(|d| d + 1.0), &device).require_grad();
        let loss = smooth_l1(prediction.clone(), target.clone(), beta);
        let gradients = loss.clone().sum().backward();
        (values(&loss), gradient(&prediction, &gradients), gradient(&target, &gradients))
    }

    #[test]
    fn both_branches_and_their_gradients() {
        let (value, to_prediction, to_target) = at([-3.0, -0.25, 0.0, 0.25, 0.5, 2.0], 0.5);
        // Below ½: d². Above: |d| − ¼.
        assert_close(&value, &[2.75, 0.0625, 0.0, 0.0625, 0.25, 1.75], 1e-6);
        assert_close(&to_prediction, &[-1.0, -0.5, 0.0, 0.5, 1.0, 1.0], 1e-6);
        assert_close(&to_target, &[1.0, 0.5, 0.0, -0.5, -1.0, -1.0], 1e-6);
    }

    #[test]
    fn beta_zero_is_the_absolute_difference() {
        let (value, to_prediction, _) = at([-3.0, -0.25, 0.0, 0.25, 0.5, 2.0], 0.0);
        assert_close(&value, &[3.0, 0.25, 0.0, 0.25, 0.5, 2.0], 1e-6);
        assert_close(&to_prediction, &[-1.0, -1.0, 0.0, 1.0, 1.0, 1.0], 0.0);
    }

    #[test]
    #[should_panic(expected = "predictions [2] and targets [3]")]
    fn shapes_must_agree() {
        let device = device();
        let _ = smooth_l1(Tensor::<1>::zeros([2], &device), Tensor::zeros([3], &device), 1.0);
    }
}
