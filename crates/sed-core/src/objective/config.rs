//! The options of the total loss.

use serde::{Deserialize, Serialize};

use crate::{error::InvalidOption, losses::BoxNorm, reweight::ReweightConfig};

/// Which view is a target of the scale consistency, and which learns.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::objective::{Objective, ObjectiveConfig, ScaleTargets};
/// use sed_core::{ClassActivation, Predictions, StageViews, ViewPair};
///
/// let device = Device::default().autodiff();
/// let outputs = |logits: Tensor<3>| Predictions::new(logits, Tensor::zeros([1, 8, 4], &device));
/// let full = Tensor::<3>::full([1, 8, 3], 2.0, &device).require_grad();
/// let half = Tensor::<3>::zeros([1, 8, 3], &device).require_grad();
/// let pair = ViewPair::new(outputs(full.clone()), outputs(half.clone()));
/// let stage = StageViews::new("head", ClassActivation::Sigmoid, pair.clone(), pair);
/// // Without the distillation, which teaches the full view.
/// let config = ObjectiveConfig { distill_weight: 0.0, ..Default::default() };
/// let learns = |scale_targets| {
///     let objective = Objective::new(ObjectiveConfig { scale_targets, ..config }).unwrap();
///     let gradients = objective.unsupervised(std::slice::from_ref(&stage))[0].total().backward();
///     [full.grad(&gradients).is_some(), half.grad(&gradients).is_some()]
/// };
/// assert_eq!(learns(ScaleTargets::BothViews), [true, true]);
/// assert_eq!(learns(ScaleTargets::FullView), [false, true]);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleTargets {
    /// Each is the other's: [`scale_consistency`](crate::losses::scale_consistency()), as in the paper.
    #[default]
    BothViews,
    /// The full view is the half-size view's, and learns nothing from it: [`self_distillation`](crate::losses::self_distillation()) of `X̂` by `X`. The gradient to `X̂` is the
    /// same. Small objects are hard to tell at half the size, and here that cannot blur what the full view says of them. (Our
    /// design.)
    FullView,
}

/// The options of the [`Objective`](super::Objective).
///
/// ```
/// use sed_core::objective::ObjectiveConfig;
///
/// let config = ObjectiveConfig { distill_weight: 2.0, ..Default::default() };
/// assert_eq!((config.scale_weight, config.box_weight), (1.0, 0.5));
/// // What a file leaves out has its default.
/// let read: ObjectiveConfig = serde_json::from_str(r#"{"distill_weight": 2.0}"#).unwrap();
/// assert_eq!(read, config);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectiveConfig {
    /// λ_s, of the scale consistency; 0 leaves it out, computation included.
    pub scale_weight: f64,
    /// Which view the scale consistency teaches.
    pub scale_targets: ScaleTargets,
    /// λ_d, of the self-distillation; 0 leaves it out, computation included.
    pub distill_weight: f64,
    /// The factor of the class terms of both.
    pub class_weight: f64,
    /// The factor of the box terms of both, whose numbers are larger by nature.
    pub box_weight: f64,
    /// The distance of two box regression outputs.
    pub box_norm: BoxNorm,
    /// Temperature of the teacher's classes as targets of the self-distillation, see [`sharpen`](crate::losses::sharpen()): 1
    /// leaves its probabilities as they are, less makes the class of an object surer. (Our design.)
    pub temperature: f64,
    /// How anchors are weighted and summed, in both alike.
    pub reweight: ReweightConfig,
}

impl Default for ObjectiveConfig {
    /// λ_s, λ_d and the class weight 1, the box weight 0.5; the paper's values are not known.
    fn default() -> Self {
        Self {
            scale_weight: 1.0,
            scale_targets: ScaleTargets::default(),
            distill_weight: 1.0,
            class_weight: 1.0,
            box_weight: 0.5,
            box_norm: BoxNorm::default(),
            temperature: 1.0,
            reweight: ReweightConfig::default(),
        }
    }
}

impl ObjectiveConfig {
    /// The self-distillation alone, each anchor weighted alike: soft labels as of Humble Teacher (Tang et al., CVPR 2021),
    /// on all anchors instead of on proposals.
    ///
    /// ```
    /// use sed_core::objective::{Objective, ObjectiveConfig};
    ///
    /// let config = ObjectiveConfig::default().soft_labels();
    /// assert_eq!((config.scale_weight, config.reweight.gamma), (0.0, 0.0));
    /// assert!(!Objective::new(config)?.compares_scales());
    /// # Ok::<(), sed_core::InvalidOption>(())
    /// ```
    #[must_use]
    pub fn soft_labels(self) -> Self {
        Self { scale_weight: 0.0, reweight: ReweightConfig { gamma: 0.0, ..self.reweight }, ..self }
    }

    /// Checks the options.
    ///
    /// # Errors
    ///
    /// If a weight is negative or not finite, or an option of a part is out of range.
    ///
    /// ```
    /// use sed_core::objective::ObjectiveConfig;
    ///
    /// assert!(ObjectiveConfig::default().validate().is_ok());
    /// let error = ObjectiveConfig { scale_weight: -1.0, ..Default::default() }.validate().unwrap_err();
    /// assert_eq!(error.to_string(), "scale_weight = -1: it must be finite and not negative");
    /// ```
    pub fn validate(&self) -> Result<(), InvalidOption> {
        for (option, value) in [
            ("scale_weight", self.scale_weight),
            ("distill_weight", self.distill_weight),
            ("class_weight", self.class_weight),
            ("box_weight", self.box_weight),
        ] {
            InvalidOption::unless_non_negative(option, value)?;
        }
        InvalidOption::unless_temperature("temperature", self.temperature)?;
        self.box_norm.validate()?;
        self.reweight.validate()
    }
}
