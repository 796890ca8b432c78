//! Inconsistency re-weighting.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::InvalidOption;
use crate::losses::AnchorLosses;

/// How many weights an anchor has.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{
///     losses::AnchorLosses,
///     reweight::{Granularity, ReweightConfig},
/// };
///
/// let device = Device::default();
/// let losses = AnchorLosses {
///     class: Tensor::from_floats([[[1.0, 2.0]]], &device),
///     boxes: Tensor::from_floats([[4.0]], &device),
///     probability_difference: Tensor::from_floats([[[0.5, -0.25]]], &device),
/// };
/// let class = |granularity: Granularity| {
///     let config = ReweightConfig { granularity, ..Default::default() };
///     config.reduce(losses.clone(), Tensor::ones([1], &device)).class.into_scalar::<f32>()
/// };
/// // ½ · (1 + 2), and ½ · 1 + ¼ · 2.
/// assert_eq!((class(Granularity::PerAnchor), class(Granularity::PerClass)), (1.5, 1.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// One, by the class on which the two sides differ most.
    #[default]
    PerAnchor,
    /// One a class for the class term; the box term has no classes and takes the anchor's.
    PerClass,
}

/// What the box terms of the anchors are weighted by.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{
///     losses::AnchorLosses,
///     reweight::{BoxWeights, ReweightConfig},
/// };
///
/// let device = Device::default();
/// let losses = AnchorLosses {
///     class: Tensor::from_floats([[[1.0], [1.0]]], &device),
///     boxes: Tensor::from_floats([[4.0, 8.0]], &device),
///     probability_difference: Tensor::from_floats([[[0.5], [0.0]]], &device),
/// };
/// let boxes = |boxes: BoxWeights| {
///     let config = ReweightConfig { boxes, ..Default::default() };
///     config.reduce(losses.clone(), Tensor::ones([1], &device)).boxes.into_scalar::<f32>()
/// };
/// // The two sides agree on the class of the second anchor.
/// assert_eq!((boxes(BoxWeights::Inconsistency), boxes(BoxWeights::Uniform)), (2.0, 12.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoxWeights {
    /// The inconsistency of the anchor's classes, as in the class term.
    #[default]
    Inconsistency,
    /// 1 for all.
    Uniform,
}

/// What the weighted sum is divided by.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{
///     losses::AnchorLosses,
///     reweight::{Normalizer, ReweightConfig},
/// };
///
/// let device = Device::default();
/// let losses = AnchorLosses {
///     class: Tensor::from_floats([[[2.0], [8.0]]], &device),
///     boxes: Tensor::zeros([1, 2], &device),
///     probability_difference: Tensor::from_floats([[[0.5], [0.25]]], &device),
/// };
/// let class = |normalizer: Normalizer| {
///     let config = ReweightConfig { normalizer, epsilon: 1e-3, ..Default::default() };
///     config.reduce(losses.clone(), Tensor::from_floats([6.0], &device)).class.into_scalar::<f32>()
/// };
/// // ½ · 2 + ¼ · 8 is 3: over a weight of ¾, over two anchors, over a foreground score of 6.
/// assert_eq!(class(Normalizer::WeightSum), 4.0);
/// assert_eq!(class(Normalizer::AnchorCount), 1.5);
/// assert_eq!(class(Normalizer::TeacherForeground), 0.5);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalizer {
    /// `Σw` of the term: a weighted mean, over anchors, or over anchors and classes with
    /// [`Granularity::PerClass`]. The loss does not vanish as the two sides agree.
    WeightSum,
    /// `N·A`, the number of anchors: the loss vanishes as the two sides agree.
    AnchorCount,
    /// The teacher's foreground score, summed over all anchors of all images: about the number of
    /// anchors on objects, as supervised losses are divided by it.
    #[default]
    TeacherForeground,
}

/// Weights by the inconsistency of two predictions: anchors on which they differ count more.
///
/// `d = sg(|p − p'|)` for each class, `d_i = max_c d_{i,c}` for each anchor, `w = d^γ`,
/// `L = Σ w·ℓ / max(ε, normaliser)`. Two views that differ on an anchor mark potential foreground,
/// without a region ever being picked. (That idea is the paper's, Guo et al., CVPR 2022; the formula
/// is our design.)
///
/// The maximum is over all classes, for a softmax head over the background as well.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::reweight::ReweightConfig;
///
/// let difference = Tensor::<3>::from_floats([[[0.5, 0.1], [0.0, 0.0]]], &Device::default());
/// let weights = |gamma: f64| {
///     let config = ReweightConfig { gamma, ..Default::default() };
///     config.anchor_weights(difference.clone()).into_data().try_to_vec::<f32>().unwrap()
/// };
/// assert_eq!(weights(1.0), [0.5, 0.0]);
/// assert_eq!(weights(0.0), [1.0, 1.0]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReweightConfig {
    /// γ, 0 or above; 0 is no re-weighting: all weights are 1, also where `d` is 0.
    pub gamma: f64,
    /// One weight an anchor, or one a class.
    pub granularity: Granularity,
    /// The weights of the box term.
    pub boxes: BoxWeights,
    /// What the weighted sum is divided by.
    pub normalizer: Normalizer,
    /// ε, the least value of the divisor; above 0.
    pub epsilon: f64,
}

impl Default for ReweightConfig {
    /// γ 1, per anchor, boxes alike, over the teacher's foreground score, at least 1.
    fn default() -> Self {
        Self {
            gamma: 1.0,
            granularity: Granularity::default(),
            boxes: BoxWeights::default(),
            normalizer: Normalizer::default(),
            epsilon: 1.0,
        }
    }
}

/// The two terms of a loss over all anchors.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{
///     losses::AnchorLosses,
///     reweight::{ReducedLoss, ReweightConfig},
/// };
///
/// let device = Device::default();
/// let losses = AnchorLosses {
///     class: Tensor::ones([1, 4, 3], &device),
///     boxes: Tensor::ones([1, 4], &device),
///     probability_difference: Tensor::full([1, 4, 3], 0.5, &device),
/// };
/// let ReducedLoss { class, boxes } =
///     ReweightConfig::default().reduce(losses, Tensor::from_floats([2.0], &device));
/// // Four anchors of weight ½, with three classes each, over a foreground score of 2.
/// assert_eq!((class.into_scalar::<f32>(), boxes.into_scalar::<f32>()), (3.0, 1.0));
/// ```
#[derive(Debug, Clone)]
pub struct ReducedLoss {
    /// `[1]`.
    pub class: Tensor<1>,
    /// `[1]`.
    pub boxes: Tensor<1>,
}

/// The two terms of a loss, summed over all anchors with their weights, `[1]` each.
#[derive(Debug, Clone)]
pub(crate) struct WeightedSums {
    /// `Σ w·ℓ` of the classes.
    pub class: Tensor<1>,
    /// `Σ w` of the classes, without gradient.
    pub class_weight: Tensor<1>,
    /// `Σ w·ℓ` of the boxes.
    pub boxes: Tensor<1>,
    /// `Σ w` of the boxes, without gradient.
    pub box_weight: Tensor<1>,
}

impl ReweightConfig {
    /// Checks the options.
    ///
    /// # Errors
    ///
    /// If `gamma` is negative, `epsilon` not above 0, or either not finite.
    ///
    /// ```
    /// use sed_core::reweight::ReweightConfig;
    ///
    /// assert!(ReweightConfig::default().validate().is_ok());
    /// let error = ReweightConfig { epsilon: 0.0, ..Default::default() }.validate().unwrap_err();
    /// assert_eq!(error.to_string(), "reweight.epsilon = 0: it must be finite and above 0");
    /// ```
    pub fn validate(&self) -> Result<(), InvalidOption> {
        InvalidOption::unless_non_negative("reweight.gamma", self.gamma)?;
        InvalidOption::unless_positive("reweight.epsilon", self.epsilon)
    }

    /// The weight of each anchor, `[N, A]`, of the probability differences `[N, A, C]`.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::reweight::ReweightConfig;
    ///
    /// let difference = Tensor::<3>::from_floats([[[0.1, -0.5], [0.0, 0.0]]], &Device::default());
    /// let weights = ReweightConfig { gamma: 2.0, ..Default::default() }.anchor_weights(difference);
    /// assert_eq!(weights.into_data().try_to_vec::<f32>().unwrap(), [0.25, 0.0]);
    /// ```
    pub fn anchor_weights(&self, probability_difference: Tensor<3>) -> Tensor<2> {
        self.power(probability_difference.inner().abs().max_dim(2).squeeze_dim(2))
    }

    /// The weight of each anchor and class, `[N, A, C]`, of the probability differences `[N, A, C]`.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::reweight::ReweightConfig;
    ///
    /// let difference = Tensor::<3>::from_floats([[[0.25, -0.5]]], &Device::default());
    /// let weights = ReweightConfig { gamma: 2.0, ..Default::default() }.class_weights(difference);
    /// assert_eq!(weights.into_data().try_to_vec::<f32>().unwrap(), [0.0625, 0.25]);
    /// ```
    pub fn class_weights(&self, probability_difference: Tensor<3>) -> Tensor<3> {
        self.power(probability_difference.inner().abs())
    }

    /// The weighted, normalised sums over all anchors of all images, `[1]` each.
    ///
    /// `teacher_foreground` is `[1]`, the teacher's foreground scores summed
    /// ([`teacher_foreground`](crate::objective::teacher_foreground)); only
    /// [`Normalizer::TeacherForeground`] looks at it. No gradient flows into weights or normaliser.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::{ClassActivation, Predictions, ViewPair, objective::teacher_foreground};
    /// use sed_core::{
    ///     losses::{BoxNorm, self_distillation},
    ///     reweight::ReweightConfig,
    /// };
    ///
    /// let device = Device::default();
    /// let outputs = |logit: f32| {
    ///     Predictions::new(Tensor::full([2, 50, 3], logit, &device), Tensor::zeros([2, 50, 4], &device))
    /// };
    /// let pair = ViewPair::new(outputs(-2.0), outputs(-1.0));
    /// let losses = self_distillation(ClassActivation::Sigmoid, &pair, BoxNorm::default());
    /// let foreground = teacher_foreground(ClassActivation::Sigmoid, &pair.other);
    /// let loss = ReweightConfig::default().reduce(losses, foreground);
    /// assert!(loss.class.into_scalar::<f32>() > 0.0);
    /// assert_eq!(loss.boxes.into_scalar::<f32>(), 0.0);
    /// ```
    pub fn reduce(&self, losses: AnchorLosses, teacher_foreground: Tensor<1>) -> ReducedLoss {
        let [n, a] = losses.boxes.dims();
        self.normalize(self.weighted_sums(losses), n * a, teacher_foreground)
    }

    /// The weighted sums of the two terms, and the sums of their weights.
    pub(crate) fn weighted_sums(&self, losses: AnchorLosses) -> WeightedSums {
        let anchor = self.anchor_weights(losses.probability_difference.clone());
        let (class, class_weight) = match self.granularity {
            Granularity::PerAnchor => {
                let sum = (losses.class.sum_dim(2).squeeze_dim::<2>(2) * anchor.clone()).sum();
                (sum, anchor.clone().sum())
            }
            Granularity::PerClass => {
                let weights = self.class_weights(losses.probability_difference);
                ((losses.class * weights.clone()).sum(), weights.sum())
            }
        };
        let weights = match self.boxes {
            BoxWeights::Inconsistency => anchor,
            BoxWeights::Uniform => anchor.ones_like(),
        };
        let boxes = (losses.boxes * weights.clone()).sum();
        WeightedSums { class, class_weight, boxes, box_weight: weights.sum() }
    }

    /// The sums over `anchors`, that is `N·A`, divided by the normaliser.
    pub(crate) fn normalize(
        &self,
        sums: WeightedSums,
        anchors: usize,
        teacher_foreground: Tensor<1>,
    ) -> ReducedLoss {
        let normalized = |sum: Tensor<1>, weight_sum: Tensor<1>| match self.normalizer {
            Normalizer::WeightSum => sum / weight_sum.clamp_min(self.epsilon),
            Normalizer::AnchorCount => sum / (anchors as f64).max(self.epsilon),
            Normalizer::TeacherForeground => sum / teacher_foreground.clone().inner().clamp_min(self.epsilon),
        };
        ReducedLoss {
            class: normalized(sums.class, sums.class_weight),
            boxes: normalized(sums.boxes, sums.box_weight),
        }
    }

    fn power<const D: usize>(&self, d: Tensor<D>) -> Tensor<D> {
        match self.gamma {
            0.0 => d.ones_like(),
            1.0 => d,
            2.0 => d.square(),
            gamma => d.powf_scalar(gamma),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, device, gradient, values};

    /// Two anchors and two classes, with literal losses and differences.
    fn losses() -> AnchorLosses {
        let device = device();
        AnchorLosses {
            class: Tensor::from_floats([[[1.0, 2.0], [3.0, 4.0]]], &device),
            boxes: Tensor::from_floats([[10.0, 20.0]], &device),
            probability_difference: Tensor::from_floats([[[0.5, -0.25], [0.0, 0.125]]], &device),
        }
    }

    fn reduced(config: ReweightConfig) -> [f32; 2] {
        let loss = config.reduce(losses(), Tensor::from_floats([4.0], &device()));
        [values(&loss.class)[0], values(&loss.boxes)[0]]
    }

    const BASE: ReweightConfig = ReweightConfig {
        gamma: 1.0,
        granularity: Granularity::PerAnchor,
        boxes: BoxWeights::Inconsistency,
        normalizer: Normalizer::AnchorCount,
        epsilon: 0.01,
    };

    // All numbers below are sums of a few powers of two and small integers.
    const EXACT: f32 = 1e-6;

    #[test]
    fn gamma_shapes_the_weights() {
        // w = (1/2, 1/8): (3/2 + 7/8)/2 and (5 + 2.5)/2.
        assert_close(&reduced(BASE), &[1.1875, 3.75], EXACT);
        // w = (1/4, 1/64).
        assert_close(
            &reduced(ReweightConfig { gamma: 2.0, ..BASE }),
            &[(0.75 + 7.0 / 64.0) / 2.0, (2.5 + 20.0 / 64.0) / 2.0],
            EXACT,
        );
        // w = (1/√8, 1/√512).
        let (a, b) = (0.125_f32.sqrt(), (1.0 / 512.0_f32).sqrt());
        assert_close(
            &reduced(ReweightConfig { gamma: 1.5, ..BASE }),
            &[(3.0 * a + 7.0 * b) / 2.0, (10.0 * a + 20.0 * b) / 2.0],
            EXACT,
        );
    }

    #[test]
    fn gamma_zero_weighs_all_alike_also_where_nothing_differs() {
        for granularity in [Granularity::PerAnchor, Granularity::PerClass] {
            let config = ReweightConfig { gamma: 0.0, granularity, ..BASE };
            assert_eq!(reduced(config), [5.0, 15.0]);
            assert_eq!(values(&config.class_weights(losses().probability_difference)), [1.0; 4]);
        }
    }

    #[test]
    fn granularity_weighs_classes_one_by_one() {
        // (1·1/2 + 2·1/4 + 3·0 + 4·1/8)/2; the boxes take the anchors' weights.
        let config = ReweightConfig { granularity: Granularity::PerClass, ..BASE };
        assert_close(&reduced(config), &[0.75, 3.75], EXACT);
    }

    #[test]
    fn boxes_can_have_weights_of_their_own() {
        let with = |boxes, normalizer| reduced(ReweightConfig { boxes, normalizer, ..BASE });
        assert_close(&with(BoxWeights::Uniform, Normalizer::AnchorCount), &[1.1875, 15.0], EXACT);
        assert_close(&with(BoxWeights::Uniform, Normalizer::WeightSum), &[2.375 / 0.625, 15.0], EXACT);
    }

    #[test]
    fn the_normalizer_divides() {
        let with = |normalizer, granularity| reduced(ReweightConfig { normalizer, granularity, ..BASE });
        assert_close(
            &with(Normalizer::WeightSum, Granularity::PerAnchor),
            &[2.375 / 0.625, 7.5 / 0.625],
            EXACT,
        );
        assert_close(&with(Normalizer::WeightSum, Granularity::PerClass), &[1.5 / 0.875, 7.5 / 0.625], EXACT);
        assert_close(
            &with(Normalizer::TeacherForeground, Granularity::PerAnchor),
            &[2.375 / 4.0, 7.5 / 4.0],
            EXACT,
        );
    }

    #[test]
    fn epsilon_is_the_least_divisor() {
        for normalizer in [Normalizer::WeightSum, Normalizer::AnchorCount, Normalizer::TeacherForeground] {
            assert_close(
                &reduced(ReweightConfig { normalizer, epsilon: 8.0, ..BASE }),
                &[2.375 / 8.0, 7.5 / 8.0],
                EXACT,
            );
        }
    }

    #[test]
    fn no_gradient_flows_into_weights_or_normalizer() {
        let device = device();
        for normalizer in [Normalizer::WeightSum, Normalizer::TeacherForeground] {
            for granularity in [Granularity::PerAnchor, Granularity::PerClass] {
                let mut losses = losses();
                losses.class = losses.class.require_grad();
                losses.probability_difference = losses.probability_difference.require_grad();
                let foreground = Tensor::<1>::from_floats([4.0], &device).require_grad();
                let (class, difference) = (losses.class.clone(), losses.probability_difference.clone());
                let config = ReweightConfig { normalizer, granularity, ..BASE };
                let loss = config.reduce(losses, foreground.clone());
                let gradients = (loss.class + loss.boxes).backward();
                assert!(gradient(&class, &gradients).iter().any(|&g| g > 0.0));
                assert!(difference.grad(&gradients).is_none());
                assert!(foreground.grad(&gradients).is_none());
            }
        }
    }

    #[test]
    fn options_are_checked_and_named() {
        assert!(ReweightConfig::default().validate().is_ok());
        for (config, option) in [
            (ReweightConfig { gamma: -1.0, ..BASE }, "reweight.gamma"),
            (ReweightConfig { epsilon: 0.0, ..BASE }, "reweight.epsilon"),
        ] {
            assert_eq!(config.validate().unwrap_err().option, option);
        }
        let parsed: ReweightConfig = serde_json::from_str(
            r#"{"normalizer": "weight_sum", "granularity": "per_class", "boxes": "uniform"}"#,
        )
        .unwrap();
        assert_eq!((parsed.normalizer, parsed.boxes), (Normalizer::WeightSum, BoxWeights::Uniform));
        assert_eq!((parsed.granularity, parsed.gamma), (Granularity::PerClass, 1.0));
        assert!(serde_json::from_str::<ReweightConfig>(r#"{"gama": 1.0}"#).is_err());
    }
}
