//! Focal loss.

use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

use super::surrogate::{stop_gradient, with_gradient};
use crate::error::InvalidOption;

/// Sigmoid focal loss: cross-entropy that gives easy examples less weight.
///
/// `FL = α_t · (1 − p_t)^γ · (−log p_t)`, where `p_t = σ(z)` and `α_t = α` for a target of 1,
/// `p_t = 1 − σ(z)` and `α_t = 1 − α` for a target of 0. With `γ = 0` it is `α_t` times the binary
/// cross-entropy. (Lin et al., *Focal Loss for Dense Object Detection*, ICCV 2017, equation 5.)
///
/// The gradient comes in closed form,
/// `dFL/dz = (1 − 2t) · α_t · (1 − p_t)^γ · (γ · p_t · (−log p_t) + 1 − p_t)`,
/// and value and gradient are finite for all finite logits.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::losses::SigmoidFocalLoss;
///
/// let device = Device::default();
/// let logits = Tensor::<3>::from_floats([[[-2.0, 0.5]]], &device);
/// let targets = Tensor::<3>::from_floats([[[0.0, 1.0]]], &device);
/// let loss = SigmoidFocalLoss::default().forward(logits, targets);
/// assert_eq!(loss.dims(), [1, 1, 2]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SigmoidFocalLoss {
    /// The weight of the targets of 1, in `[0, 1]`; those of 0 get `1 − alpha`.
    pub alpha: f64,
    /// How fast the weight of an easy example falls; 0 and above.
    pub gamma: f64,
}

impl Default for SigmoidFocalLoss {
    /// `alpha` 0.25, `gamma` 2, as in the paper.
    fn default() -> Self {
        Self { alpha: 0.25, gamma: 2.0 }
    }
}

impl SigmoidFocalLoss {
    /// Checks the options.
    ///
    /// # Errors
    ///
    /// If `alpha` is outside `[0, 1]`, or `gamma` negative or not finite.
    pub fn validate(&self) -> Result<(), InvalidOption> {
        InvalidOption::unless_fraction("alpha", self.alpha)?;
        InvalidOption::unless_non_negative("gamma", self.gamma)
    }

    /// The loss of each element; `logits` and `targets` have any equal shape, and so has the result.
    ///
    /// `targets` are 0 or 1 (other values give no meaningful result); no gradient flows into them.
    ///
    /// # Panics
    ///
    /// If the shapes differ.
    pub fn forward<const D: usize>(&self, logits: Tensor<D>, targets: Tensor<D>) -> Tensor<D> {
        let (a, b) = (logits.dims(), targets.dims());
        assert_eq!(a, b, "SigmoidFocalLoss: logits {a:?} and targets {b:?}");
        let targets = stop_gradient(targets);
        let alpha_t = targets.clone() * (2.0 * self.alpha - 1.0) + (1.0 - self.alpha);
        let sign = targets * 2.0 - 1.0;
        // p_t = σ(−m), −log p_t = softplus(m).
        let m = -(stop_gradient(logits.clone()) * sign.clone());
        let cross_entropy = activation::softplus(m.clone(), 1.0);
        let one_minus_pt = activation::sigmoid(m);
        let weight = match self.gamma {
            0.0 => alpha_t,
            1.0 => alpha_t * one_minus_pt.clone(),
            2.0 => alpha_t * one_minus_pt.clone().square(),
            gamma => alpha_t * one_minus_pt.clone().powf_scalar(gamma),
        };
        let value = weight.clone() * cross_entropy.clone();
        let pt = -one_minus_pt.clone() + 1.0;
        let gradient = -(sign * weight) * (pt * cross_entropy * self.gamma + one_minus_pt);
        with_gradient(value, [(logits, gradient)])
    }

    /// `[1]`, the sum of [`Self::forward`] over all elements.
    ///
    /// # Panics
    ///
    /// If the shapes differ.
    pub fn sum<const D: usize>(&self, logits: Tensor<D>, targets: Tensor<D>) -> Tensor<1> {
        self.forward(logits, targets).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, device, gradient, pseudo_logits, values};

    /// The formula by plain operations, differentiated by Burn.
    fn plain(loss: &SigmoidFocalLoss, logits: Tensor<2>, targets: Tensor<2>) -> Tensor<2> {
        let p = activation::sigmoid(logits.clone());
        let ones = targets.ones_like();
        let pt = p.clone() * targets.clone() + (ones.clone() - p) * (ones.clone() - targets.clone());
        let log_pt = activation::log_sigmoid(logits.clone()) * targets.clone()
            + activation::log_sigmoid(-logits) * (ones.clone() - targets.clone());
        let alpha_t = targets.clone() * loss.alpha + (ones.clone() - targets) * (1.0 - loss.alpha);
        -(alpha_t * (ones - pt).powf_scalar(loss.gamma) * log_pt)
    }

    fn targets(device: &burn::tensor::Device) -> Tensor<2> {
        Tensor::from_floats([[0., 1., 0., 0.], [1., 0., 0., 1.], [0., 0., 1., 1.]], device)
    }

    #[test]
    fn value_and_gradient_equal_the_plain_formula() {
        let device = device();
        for gamma in [0.0, 0.5, 1.0, 1.5, 2.0, 3.0] {
            for alpha in [0.0, 0.25, 0.9] {
                let loss = SigmoidFocalLoss { alpha, gamma };
                let run = |closed: bool| {
                    let z = pseudo_logits([3, 4], 1, &device).require_grad();
                    let out = match closed {
                        true => loss.forward(z.clone(), targets(&device)),
                        false => plain(&loss, z.clone(), targets(&device)),
                    };
                    (values(&out), gradient(&z, &out.sum().backward()))
                };
                let ((v, g), (v_plain, g_plain)) = (run(true), run(false));
                // A few roundings of f32 each, and 1 − p of the plain form loses up to 4 bits.
                assert_close(&v, &v_plain, 2e-6);
                assert_close(&g, &g_plain, 5e-6);
            }
        }
    }

    #[test]
    fn gamma_zero_is_weighted_cross_entropy() {
        let device = device();
        let z = pseudo_logits([3, 4], 2, &device);
        let focal = SigmoidFocalLoss { alpha: 0.5, gamma: 0.0 }.forward(z.clone(), targets(&device));
        // BCE = softplus(z) − t·z.
        let bce = activation::softplus(z.clone(), 1.0) - targets(&device) * z;
        assert_close(&values(&(focal * 2.0)), &values(&bce), 1e-6);
    }

    #[test]
    fn an_easy_anchor_shrinks_by_its_error_to_the_gamma() {
        let device = device();
        for (z, t) in [(3.0, 1.0), (-3.0, 0.0)] {
            let logit = || Tensor::<1>::from_floats([z], &device);
            let target = || Tensor::<1>::from_floats([t], &device);
            let at = |gamma| values(&SigmoidFocalLoss { alpha: 0.5, gamma }.forward(logit(), target()))[0];
            let error = 1.0 - 1.0 / (1.0 + (-3.0_f32).exp());
            for gamma in [1.0, 2.0, 2.5] {
                assert_close(&[at(gamma) / at(0.0)], &[error.powf(gamma as f32)], 1e-6);
            }
        }
    }

    #[test]
    fn alpha_weighs_the_two_targets() {
        let device = device();
        let z = || Tensor::<1>::from_floats([0.0, 0.0], &device);
        let t = Tensor::<1>::from_floats([1.0, 0.0], &device);
        let v = values(&SigmoidFocalLoss { alpha: 0.25, gamma: 0.0 }.forward(z(), t));
        // log 2 times α and 1 − α.
        assert_close(&v, &[0.25 * 2.0_f32.ln(), 0.75 * 2.0_f32.ln()], 1e-6);
    }

    #[test]
    fn extreme_logits_stay_finite() {
        let device = device();
        for gamma in [0.0, 0.5, 2.0] {
            let z = Tensor::<1>::from_floats([100., 100., -100., -100.], &device).require_grad();
            let t = Tensor::<1>::from_floats([1., 0., 1., 0.], &device);
            let loss = SigmoidFocalLoss { alpha: 0.25, gamma }.forward(z.clone(), t);
            assert_close(&values(&loss), &[0.0, 75.0, 25.0, 0.0], 1e-6);
            // A hopeless example: slope 1 times its α, pointing to the target.
            assert_close(&gradient(&z, &loss.sum().backward()), &[0.0, 0.75, -0.25, 0.0], 1e-6);
        }
    }

    #[test]
    fn sum_is_the_sum_and_targets_get_no_gradient() {
        let device = device();
        let z = pseudo_logits([3, 4], 3, &device).require_grad();
        let t = targets(&device).require_grad();
        let loss = SigmoidFocalLoss::default();
        let sum = loss.sum(z.clone(), t.clone());
        assert_close(&values(&sum), &values(&loss.forward(z, t.clone()).sum()), 0.0);
        assert!(t.grad(&sum.backward()).is_none());
    }

    #[test]
    fn options_are_checked() {
        assert!(SigmoidFocalLoss::default().validate().is_ok());
        assert_eq!(SigmoidFocalLoss { alpha: 1.5, gamma: 2.0 }.validate().unwrap_err().option, "alpha");
        assert_eq!(SigmoidFocalLoss { alpha: 0.5, gamma: -1.0 }.validate().unwrap_err().option, "gamma");
    }

    #[test]
    #[should_panic(expected = "logits [3, 4] and targets [3, 3]")]
    fn shapes_must_agree() {
        let device = device();
        let _ = SigmoidFocalLoss::default()
            .forward(pseudo_logits([3, 4], 1, &device), pseudo_logits([3, 3], 1, &device));
    }
}
