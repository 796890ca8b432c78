//! Focal loss against a soft target.

use burn::tensor::{Tensor, activation};

use super::surrogate::{stop_gradient, with_gradient};

/// The quality focal loss of each element, `(p − t)² · BCE(p, t)` with `p = σ(z)`.
///
/// `BCE(p, t) = −t·log p − (1 − t)·log(1 − p)`. It is 0, with a gradient of 0, at `p = t` for a `t` of 0 or 1, and for
/// other `t` too, where the entropy that the cross-entropy keeps is multiplied by 0. At `t = 0` it is `p² · BCE(p, 0)`.
/// (Li et al., *Generalized Focal Loss*, NeurIPS 2020, eq. 3 with β = 2.)
///
/// Its gradient to the logits, in closed form, is `2(p − t)·p(1 − p)·BCE(p, t) + (p − t)³`. None flows into `targets`.
///
/// Shapes: `logits`, `targets` (in `[0, 1]`) and the result are equal.
///
/// # Panics
///
/// If the shapes differ.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::losses::quality_focal_loss;
///
/// let device = Device::default();
/// let loss = quality_focal_loss(Tensor::<1>::zeros([1], &device), Tensor::ones([1], &device));
/// // p = 1/2, t = 1: ¼ · log 2.
/// assert!((loss.into_scalar::<f32>() - 0.25 * 2.0_f32.ln()).abs() < 1e-6);
/// ```
pub fn quality_focal_loss<const D: usize>(logits: Tensor<D>, targets: Tensor<D>) -> Tensor<D> {
    let (z, t) = (logits.dims(), targets.dims());
    assert_eq!(z, t, "quality_focal_loss: logits {z:?} and targets {t:?}");
    let (z, t) = (stop_gradient(logits.clone()), stop_gradient(targets));
    let p = activation::sigmoid(z.clone());
    let difference = p.clone() - t.clone();
    // softplus(z) − t·z is the cross-entropy without a logarithm of a probability.
    let entropy = activation::softplus(z.clone(), 1.0) - t * z;
    let square = difference.clone().square();
    let slope =
        difference.clone() * (p.clone() * (-p + 1.0)) * entropy.clone() * 2.0 + square.clone() * difference;
    with_gradient(square * entropy, [(logits, slope)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::SigmoidFocalLoss;
    use crate::testing::{assert_close, device, gradient, pseudo_logits, values};

    const SHAPE: [usize; 2] = [3, 4];

    fn targets() -> Tensor<2> {
        activation::sigmoid(pseudo_logits(SHAPE, 8, &device()))
    }

    #[test]
    fn equals_plain_autodiff() {
        let plain = |z: Tensor<2>, t: Tensor<2>| {
            let entropy = activation::log_sigmoid(z.clone()) * t.clone()
                + activation::log_sigmoid(-z.clone()) * (-t.clone() + 1.0);
            (activation::sigmoid(z) - t).square() * -entropy
        };
        let (a, b) = (
            pseudo_logits(SHAPE, 1, &device()).require_grad(),
            pseudo_logits(SHAPE, 1, &device()).require_grad(),
        );
        let (closed, autodiff) = (quality_focal_loss(a.clone(), targets()), plain(b.clone(), targets()));
        // A few rounded operations of f32 on values up to 4.
        assert_close(&values(&closed), &values(&autodiff), 1e-5);
        let weights = pseudo_logits(SHAPE, 5, &device());
        let closed = gradient(&a, &(closed * weights.clone()).sum().backward());
        let autodiff = gradient(&b, &(autodiff * weights).sum().backward());
        assert_close(&closed, &autodiff, 1e-5);
    }

    #[test]
    fn a_student_equal_to_its_target_has_nothing_to_learn() {
        let z = pseudo_logits(SHAPE, 3, &device()).require_grad();
        let loss = quality_focal_loss(z.clone(), activation::sigmoid(z.clone()));
        assert!(values(&loss).iter().all(|&l| l == 0.0));
        assert!(gradient(&z, &loss.sum().backward()).iter().all(|&g| g == 0.0));
    }

    #[test]
    fn a_target_of_0_or_1_gives_the_focal_loss() {
        let z = pseudo_logits(SHAPE, 2, &device());
        let focal = SigmoidFocalLoss { alpha: 0.5, gamma: 2.0 };
        for target in [0.0, 1.0] {
            let t = Tensor::full(SHAPE, target, &device());
            // With α ½ both classes weigh a half.
            let expected = values(&(focal.forward(z.clone(), t.clone()) * 2.0));
            assert_close(&values(&quality_focal_loss(z.clone(), t)), &expected, 1e-6);
        }
    }

    #[test]
    fn large_logits_stay_finite() {
        let z = Tensor::<1>::from_floats([-200.0, 200.0], &device()).require_grad();
        for target in [0.0, 0.5, 1.0] {
            let loss = quality_focal_loss(z.clone(), Tensor::full([2], target, &device()));
            assert!(values(&loss).iter().all(|l| l.is_finite()));
            assert!(gradient(&z, &loss.sum().backward()).iter().all(|g| g.is_finite()));
        }
    }

    #[test]
    #[should_panic(expected = "logits [3, 4] and targets [4, 3]")]
    fn shapes_must_agree() {
        let _ = quality_focal_loss(pseudo_logits(SHAPE, 1, &device()), pseudo_logits([4, 3], 1, &device()));
    }
}
