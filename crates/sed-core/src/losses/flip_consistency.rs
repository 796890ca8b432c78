//! Consistency of an image with its mirror image: a rival of the scale consistency.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{BoxNorm, divergence};
use crate::error::InvalidOption;
use crate::structures::{ClassActivation, ViewPair};

/// The agreement of a detector on an image and on its mirror image, on the anchors that it takes for foreground.
///
/// ```text
/// L = weight · 1/max(1, |F|) Σ_{i ∈ F} ( KL(sg(P) ‖ P') + KL(sg(P') ‖ P) + ¼‖R − R'‖² )
/// ```
///
/// `F` are the anchors whose foreground score on the image exceeds the background's: for a sigmoid head a highest class
/// probability above ½, for a softmax head one above that of the background. The mirror image's deltas are mirrored back. There
/// is no teacher, and gradients flow into both sides. (Jeong et al., *Consistency-based Semi-supervised Learning for Object
/// Detection*, NeurIPS 2019; the reading of sigmoid heads is our design.)
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{ClassActivation, Predictions, ViewPair, losses::FlipConsistency};
///
/// let device = Device::default();
/// let outputs = |delta: f32| {
///     let logits = Tensor::<3>::from_floats([[[3.0, -5.0], [-5.0, -5.0]]], &device);
///     Predictions::new(logits, Tensor::full([1, 2, 4], delta, &device))
/// };
/// let pair = ViewPair::new(outputs(1.0), outputs(0.0));
/// let terms = FlipConsistency::default().forward(ClassActivation::Sigmoid, &pair);
/// // The second anchor is background. Of the first the classes agree, and four deltas differ by 1.
/// assert_eq!(terms.anchors.into_scalar::<f32>(), 1.0);
/// assert_eq!(terms.class.into_scalar::<f32>(), 0.0);
/// assert_eq!(terms.boxes.into_scalar::<f32>(), 1.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlipConsistency {
    /// The weight of both terms in the total.
    pub weight: f64,
}

impl Default for FlipConsistency {
    /// As published: weight 1.
    fn default() -> Self {
        Self { weight: 1.0 }
    }
}

/// The terms of [`FlipConsistency`], `[1]` each, weighted as they enter the total.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::losses::{FlipConsistency, FlipTerms};
/// use sed_core::{ClassActivation, Predictions, ViewPair};
///
/// let device = Device::default();
/// let outputs = |logit: f32| {
///     Predictions::new(Tensor::full([1, 2, 1], logit, &device), Tensor::zeros([1, 2, 4], &device))
/// };
/// let pair = ViewPair::new(outputs(2.0), outputs(1.0));
/// let FlipTerms { class, anchors, .. } =
///     FlipConsistency::default().forward(ClassActivation::Sigmoid, &pair);
/// assert_eq!(anchors.into_scalar::<f32>(), 2.0);
/// // (σ(2) − σ(1)) · (2 − 1), the mean over both anchors.
/// let sigmoid = |z: f32| 1.0 / (1.0 + (-z).exp());
/// assert!((class.into_scalar::<f32>() - (sigmoid(2.0) - sigmoid(1.0))).abs() < 1e-6);
/// ```
#[derive(Debug, Clone)]
pub struct FlipTerms {
    /// The divergence.
    pub class: Tensor<1>,
    /// The box differences.
    pub boxes: Tensor<1>,
    /// `|F|`, a number to watch.
    pub anchors: Tensor<1>,
}

impl FlipConsistency {
    /// Checks the options.
    ///
    /// # Errors
    ///
    /// If the weight is negative or not finite.
    ///
    /// ```
    /// use sed_core::losses::FlipConsistency;
    ///
    /// assert!(FlipConsistency { weight: 0.5 }.validate().is_ok());
    /// assert_eq!(FlipConsistency { weight: -0.5 }.validate().unwrap_err().option, "csd.weight");
    /// ```
    pub fn validate(&self) -> Result<(), InvalidOption> {
        InvalidOption::unless_non_negative("csd.weight", self.weight)
    }

    /// The loss of the student on an image (`pair.student`) and on its mirror image (`pair.other`).
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::{ClassActivation, Predictions, ViewPair, losses::FlipConsistency};
    ///
    /// let device = Device::default().autodiff();
    /// let outputs = |logits: Tensor<3>| Predictions::new(logits, Tensor::zeros([1, 1, 4], &device));
    /// let image = Tensor::<3>::full([1, 1, 2], 2.0, &device).require_grad();
    /// let mirror = Tensor::<3>::full([1, 1, 2], -2.0, &device).require_grad();
    /// let pair = ViewPair::new(outputs(image.clone()), outputs(mirror.clone()));
    /// let terms = FlipConsistency::default().forward(ClassActivation::Sigmoid, &pair);
    /// // Each side is drawn to the other.
    /// let gradients = terms.class.backward();
    /// assert!(image.grad(&gradients).unwrap().min().into_scalar::<f32>() > 0.0);
    /// assert!(mirror.grad(&gradients).unwrap().max().into_scalar::<f32>() < 0.0);
    /// ```
    pub fn forward(&self, activation: ClassActivation, pair: &ViewPair) -> FlipTerms {
        let (image, mirror) = (&pair.student, &pair.other);
        let foreground = is_foreground(activation, image.class_logits.clone().inner());
        let anchors = foreground.clone().sum();
        let divisor = anchors.clone().clamp_min(1.0);
        let kl =
            divergence::symmetric_kl(activation, image.class_logits.clone(), mirror.class_logits.clone());
        let class = kl.value.sum_dim(2).squeeze_dim::<2>(2) * foreground.clone();
        let boxes =
            BoxNorm::SquaredL2.distance(image.box_deltas.clone(), mirror.box_deltas.clone()) * foreground;
        FlipTerms {
            class: class.sum() / divisor.clone() * self.weight,
            boxes: boxes.sum() / divisor * (self.weight / 4.0),
            anchors,
        }
    }
}

/// 1 for anchors of which some class is likelier than the background, else 0: `[N, A]`.
fn is_foreground(activation: ClassActivation, logits: Tensor<3>) -> Tensor<2> {
    let score = activation.foreground_score(logits.clone());
    match activation {
        ClassActivation::Sigmoid => score.greater_scalar(0.5).float(),
        ClassActivation::Softmax { background } => {
            let background = activation.probabilities(logits).narrow(2, background, 1).squeeze_dim::<2>(2);
            score.greater(background).float()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structures::Predictions;
    use crate::testing::{assert_close, device, gradient, pseudo_logits, values};

    const HEADS: [ClassActivation; 2] =
        [ClassActivation::Sigmoid, ClassActivation::Softmax { background: 0 }];

    fn view(seed: u32) -> Predictions {
        let device = device();
        Predictions::new(
            pseudo_logits([2, 5, 3], seed, &device).require_grad(),
            pseudo_logits([2, 5, 4], seed + 1, &device).require_grad(),
        )
    }

    #[test]
    fn a_detector_that_sees_no_difference_has_nothing_to_learn() {
        for activation in HEADS {
            let (image, mirror) = (view(1), view(1));
            let terms = FlipConsistency::default().forward(activation, &ViewPair::new(image.clone(), mirror));
            assert_eq!((values(&terms.class), values(&terms.boxes)), (vec![0.0], vec![0.0]));
            let gradients = (terms.class + terms.boxes).backward();
            assert!(gradient(&image.class_logits, &gradients).iter().all(|&g| g == 0.0));
            assert!(gradient(&image.box_deltas, &gradients).iter().all(|&g| g == 0.0));
        }
    }

    #[test]
    fn the_gradients_of_the_two_sides_are_opposite_and_lie_on_the_foreground() {
        for activation in HEADS {
            let (image, mirror) = (view(1), view(7));
            let foreground = values(&is_foreground(activation, image.class_logits.clone().inner()));
            assert!(foreground.contains(&0.0) && foreground.contains(&1.0), "{foreground:?}");
            let pair = ViewPair::new(image.clone(), mirror.clone());
            let terms = FlipConsistency::default().forward(activation, &pair);
            assert_eq!(values(&terms.anchors), [foreground.iter().sum::<f32>()]);
            let gradients = (terms.class + terms.boxes).backward();
            for (a, b) in
                [(&image.class_logits, &mirror.class_logits), (&image.box_deltas, &mirror.box_deltas)]
            {
                let (a, b) = (gradient(a, &gradients), gradient(b, &gradients));
                let opposite: Vec<f32> = b.iter().map(|g| -g).collect();
                assert_close(&a, &opposite, 1e-6);
                let width = a.len() / foreground.len();
                for (row, inside) in a.chunks(width).zip(&foreground) {
                    assert_eq!(row.iter().any(|&g| g != 0.0), *inside == 1.0);
                }
            }
        }
    }

    #[test]
    fn values_by_hand() {
        let device = device();
        let side = |logits: [[[f32; 1]; 2]; 1], offset: f32| {
            let deltas =
                Tensor::from_floats([[[offset, 0.0, 0.0, 0.0], [9.0 * offset, 0.0, 0.0, 0.0]]], &device);
            Predictions::new(Tensor::from_floats(logits, &device), deltas)
        };
        // The second anchor is background on the image. p = ¾ and ½: (¾ − ½)·ln 3.
        let pair = ViewPair::new(side([[[3.0_f32.ln()], [-1.0]]], 2.0), side([[[0.0], [5.0]]], 0.0));
        let terms = FlipConsistency { weight: 2.0 }.forward(ClassActivation::Sigmoid, &pair);
        assert_close(&values(&terms.class), &[2.0 * 0.25 * 3.0_f32.ln()], 1e-6);
        assert_close(&values(&terms.boxes), &[2.0], 1e-6);
        assert_eq!(values(&terms.anchors), [1.0]);
    }

    #[test]
    fn without_foreground_there_is_no_loss() {
        let device = device();
        let low =
            || Predictions::new(Tensor::full([1, 3, 2], -5.0, &device), Tensor::zeros([1, 3, 4], &device));
        let terms =
            FlipConsistency::default().forward(ClassActivation::Sigmoid, &ViewPair::new(low(), low()));
        assert_eq!(values(&(terms.class + terms.boxes)), [0.0]);
        assert!(FlipConsistency { weight: -1.0 }.validate().is_err());
    }
}
