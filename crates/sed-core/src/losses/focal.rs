//! Focal loss.

#[cfg(feature = "flex")]
use burn::tensor::TensorData;
use burn::tensor::{Int, Tensor, activation};
use serde::{Deserialize, Serialize};

#[cfg(feature = "flex")]
use super::fused;
use super::surrogate::{stop_gradient, sum_with_gradient, with_gradient};
use crate::error::InvalidOption;
#[cfg(feature = "flex")]
use crate::flex;

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
    ///
    /// ```
    /// use sed_core::losses::SigmoidFocalLoss;
    ///
    /// assert!(SigmoidFocalLoss::default().validate().is_ok());
    /// assert_eq!(SigmoidFocalLoss { alpha: 0.25, gamma: -1.0 }.validate().unwrap_err().option, "gamma");
    /// ```
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
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::losses::SigmoidFocalLoss;
    ///
    /// let device = Device::default();
    /// let targets = Tensor::<1>::from_floats([1.0, 0.0], &device);
    /// let loss = SigmoidFocalLoss::default().forward(Tensor::zeros([2], &device), targets);
    /// let loss = loss.into_data().try_to_vec::<f32>().unwrap();
    /// // p_t is 1/2 for both: α or 1 − α, times (1/2)², times ln 2.
    /// let expected = [0.25, 0.75].map(|alpha| alpha * 0.25 * 2.0_f32.ln());
    /// assert!((loss[0] - expected[0]).abs() < 1e-6 && (loss[1] - expected[1]).abs() < 1e-6);
    /// ```
    pub fn forward<const D: usize>(&self, logits: Tensor<D>, targets: Tensor<D>) -> Tensor<D> {
        let (a, b) = (logits.dims(), targets.dims());
        assert_eq!(a, b, "SigmoidFocalLoss: logits {a:?} and targets {b:?}");
        let (value, gradient) =
            self.value_and_gradient(stop_gradient(logits.clone()), stop_gradient(targets));
        with_gradient(value, [(logits, gradient)])
    }

    /// `[1]`, the sum of [`Self::forward`] over all elements.
    ///
    /// # Panics
    ///
    /// If the shapes differ.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::losses::SigmoidFocalLoss;
    ///
    /// let device = Device::default();
    /// let cross_entropy = SigmoidFocalLoss { alpha: 0.5, gamma: 0.0 };
    /// let loss = cross_entropy.sum(Tensor::<2>::zeros([3, 4], &device), Tensor::ones([3, 4], &device));
    /// // Twelve elements at α · ln 2.
    /// assert!((loss.into_scalar::<f32>() - 6.0 * 2.0_f32.ln()).abs() < 1e-5);
    /// ```
    pub fn sum<const D: usize>(&self, logits: Tensor<D>, targets: Tensor<D>) -> Tensor<1> {
        self.forward(logits, targets).sum()
    }

    /// `[1]`, the loss of anchors with at most one class each, `Σ_i w_i Σ_c FL(z_ic, [c = class_i])`.
    ///
    /// Shapes: `logits` `[N, A, C]`; `classes` `[N, A]`, where a number outside of `0..C` stands for
    /// background; `weights` `[N, A]`, as 0 for an anchor that takes no part. No gradient flows into the
    /// weights.
    ///
    /// On flex value and gradient are made in one pass, and a tensor of the size of the logits is held
    /// until the backward pass: their gradient.
    ///
    /// # Panics
    ///
    /// If the shapes do not fit each other.
    ///
    /// ```
    /// use burn::tensor::{Device, Int, Tensor};
    /// use sed_core::losses::SigmoidFocalLoss;
    ///
    /// let device = Device::default();
    /// // The first anchor has class 1, the second is background.
    /// let classes = Tensor::<2, Int>::from_data([[1, -1]], &device);
    /// let logits = Tensor::<3>::zeros([1, 2, 3], &device);
    /// let loss = SigmoidFocalLoss { alpha: 0.25, gamma: 0.0 }.sum_of_classes(logits, classes, Tensor::ones([1, 2], &device));
    /// // Each of the six costs ln 2, times α or 1 − α.
    /// assert!((loss.into_scalar::<f32>() - (0.25 + 5.0 * 0.75) * 2.0_f32.ln()).abs() < 1e-6);
    /// ```
    pub fn sum_of_classes(
        &self,
        logits: Tensor<3>,
        classes: Tensor<2, Int>,
        weights: Tensor<2>,
    ) -> Tensor<1> {
        let [n, a, c] = logits.dims();
        let (ids, w) = (classes.dims(), weights.dims());
        assert!(
            ids == [n, a] && w == [n, a],
            "SigmoidFocalLoss: logits {:?}, classes {ids:?} and weights {w:?}",
            logits.dims()
        );
        #[cfg(feature = "flex")]
        if let (Some(z), Some(w)) = (flex::primitive(&logits), flex::primitive(&weights)) {
            let ids: Vec<i64> = classes.into_data().iter().collect();
            let (value, gradient) = fused::focal_sum(self, flex::values(&z), c, &ids, flex::values(&w));
            let device = logits.device();
            let gradient = Tensor::from_data(TensorData::new(gradient, [n, a, c]), &device);
            return sum_with_gradient(Tensor::from_floats([value as f32], &device), logits, gradient, 1.0);
        }
        let numbers = Tensor::<1, Int>::arange(0..c as i64, &logits.device()).reshape([1, 1, c]);
        let one_hot =
            classes.unsqueeze_dim::<3>(2).expand([n, a, c]).equal(numbers.expand([n, a, c])).float();
        let (value, gradient) =
            self.value_and_gradient(stop_gradient(logits.clone()), stop_gradient(one_hot));
        let weights = stop_gradient(weights).unsqueeze_dim::<3>(2);
        sum_with_gradient((value * weights.clone()).sum(), logits, gradient * weights, 1.0)
    }

    /// Of elements without graphs.
    fn value_and_gradient<const D: usize>(
        &self,
        logits: Tensor<D>,
        targets: Tensor<D>,
    ) -> (Tensor<D>, Tensor<D>) {
        let alpha_t = targets.clone() * (2.0 * self.alpha - 1.0) + (1.0 - self.alpha);
        let sign = targets * 2.0 - 1.0;
        // p_t = σ(−m), −log p_t = softplus(m).
        let m = -(logits * sign.clone());
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
        (value, gradient)
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
