//! The total loss.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::InvalidOption;
#[cfg(feature = "flex")]
use crate::losses::fused::{PairTerm, foreground_sum};
use crate::losses::{BoxNorm, scale_consistency, self_distillation, sharpen};
use crate::reweight::{ReweightConfig, WeightedSums};
use crate::structures::{ClassActivation, DetectionLoss, Predictions, StageViews, ViewPair};

/// What is summed over the anchors of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnchorLoss {
    /// [`scale_consistency`].
    ScaleConsistency,
    /// [`self_distillation`].
    SelfDistillation,
}

/// The options of the [`Objective`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectiveConfig {
    /// λ_s, of the scale consistency; 0 leaves it out, computation included.
    pub scale_weight: f64,
    /// λ_d, of the self-distillation; 0 leaves it out, computation included.
    pub distill_weight: f64,
    /// The factor of the class terms of both.
    pub class_weight: f64,
    /// The factor of the box terms of both, whose numbers are larger by nature.
    pub box_weight: f64,
    /// The distance of two box regression outputs.
    pub box_norm: BoxNorm,
    /// Temperature of the teacher's classes as targets of the self-distillation, see [`sharpen()`]: 1
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
    #[must_use]
    pub fn soft_labels(self) -> Self {
        Self { scale_weight: 0.0, reweight: ReweightConfig { gamma: 0.0, ..self.reweight }, ..self }
    }

    /// Checks the options.
    ///
    /// # Errors
    ///
    /// If a weight is negative or not finite, or an option of a part is out of range.
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

/// The losses of one stage on unlabeled images, weighted as they enter the total, but for
/// `n_u / n_s`.
#[derive(Debug, Clone)]
pub struct UnsupervisedLoss {
    /// The stage's name in logs, as in [`StageViews::stage`].
    pub stage: &'static str,
    /// `[1]`, the teacher's foreground score over all anchors of all images, a number to watch: it is
    /// 0 for a teacher that sees nothing, and the anchor count for one that sees objects everywhere.
    pub teacher_foreground: Tensor<1>,
    /// `[1]`, the class term of the scale consistency.
    pub scale_class: Tensor<1>,
    /// `[1]`, the box term of the scale consistency.
    pub scale_box: Tensor<1>,
    /// `[1]`, the class term of the self-distillation.
    pub distill_class: Tensor<1>,
    /// `[1]`, the box term of the self-distillation.
    pub distill_box: Tensor<1>,
}

impl UnsupervisedLoss {
    /// The names of the four terms, in the order of [`UnsupervisedLoss::terms`].
    pub const TERMS: [&'static str; 4] = ["scale_class", "scale_box", "distill_class", "distill_box"];

    /// The four terms with their names.
    pub fn terms(&self) -> [(&'static str, &Tensor<1>); 4] {
        let terms = [&self.scale_class, &self.scale_box, &self.distill_class, &self.distill_box];
        std::array::from_fn(|i| (Self::TERMS[i], terms[i]))
    }

    /// `[1]`, the sum of the four terms.
    pub fn total(&self) -> Tensor<1> {
        self.scale_class.clone()
            + self.scale_box.clone()
            + self.distill_class.clone()
            + self.distill_box.clone()
    }
}

/// The total loss, `L = L_sup + (n_u / n_s) · (λ_s · L_scale + λ_d · L_distill)`, each summed over the
/// stages.
///
/// `n_u` and `n_s` are the numbers of unlabeled and of labeled images in a batch. (Guo et al.,
/// *Scale-Equivalent Distillation*, CVPR 2022; the λ, the weights of class and box terms and what
/// `L_distill` is are our design.)
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{ClassActivation, Predictions, StageViews, ViewPair};
/// use sed_core::objective::{Objective, ObjectiveConfig};
///
/// let device = Device::default();
/// let outputs = |logit: f32| {
///     Predictions::new(Tensor::full([2, 50, 3], logit, &device), Tensor::zeros([2, 50, 4], &device))
/// };
/// let objective = Objective::new(ObjectiveConfig::default())?;
/// let losses = objective.unsupervised(&[StageViews::new(
///     "head",
///     ClassActivation::Sigmoid,
///     ViewPair::new(outputs(-1.0), outputs(-2.0)),
///     ViewPair::new(outputs(-1.0), outputs(-1.0)),
/// )]);
/// assert!(losses[0].scale_class.clone().into_scalar::<f32>() > 0.0);
/// assert_eq!(losses[0].distill_class.clone().into_scalar::<f32>(), 0.0);
/// # Ok::<(), sed_core::InvalidOption>(())
/// ```
#[derive(Debug, Clone)]
pub struct Objective {
    config: ObjectiveConfig,
}

impl Objective {
    /// An objective with the given options.
    ///
    /// # Errors
    ///
    /// As [`ObjectiveConfig::validate`].
    pub fn new(config: ObjectiveConfig) -> Result<Self, InvalidOption> {
        config.validate()?;
        Ok(Self { config })
    }

    /// The options.
    pub fn config(&self) -> &ObjectiveConfig {
        &self.config
    }

    /// Whether a half-size view is looked at: not if λ_s is 0.
    pub fn compares_scales(&self) -> bool {
        self.config.scale_weight > 0.0
    }

    /// The losses on unlabeled images, one entry a stage.
    ///
    /// Sums over anchors run over all images of the batch; with the default normaliser both losses
    /// of a stage are divided by the teacher's foreground score over all its anchors.
    ///
    /// # Panics
    ///
    /// If a stage has no pair with the teacher, or none with the half-size view where λ_s is above 0.
    pub fn unsupervised(&self, stages: &[StageViews]) -> Vec<UnsupervisedLoss> {
        stages.iter().map(|stage| self.stage(stage)).collect()
    }

    /// `[1]`, the total of supervised losses on `n_s` images and unsupervised ones on `n_u`, one entry
    /// a stage each; `unsupervised` may be empty, as in a burn-in.
    ///
    /// # Panics
    ///
    /// As [`total_loss`].
    pub fn total(
        &self,
        supervised: &[DetectionLoss],
        unsupervised: &[UnsupervisedLoss],
        n_u: usize,
        n_s: usize,
    ) -> Tensor<1> {
        total_loss(supervised, unsupervised.iter().map(UnsupervisedLoss::total), n_u, n_s)
    }

    fn stage(&self, views: &StageViews) -> UnsupervisedLoss {
        let distill = views.distill_pair();
        // Without scale consistency any pair gives its two zeros their device.
        let scale = if self.compares_scales() { views.scale_pair() } else { distill };
        let foreground = teacher_foreground(views.activation, &distill.other);
        let term = |lambda: f64, temperature: f64, loss: AnchorLoss, pair: &ViewPair| {
            let [n, a, _] = pair.student.class_logits.dims();
            if lambda == 0.0 {
                let zero = Tensor::zeros([1], &pair.student.class_logits.device());
                return [zero.clone(), zero];
            }
            let sums = self.weighted_sums(views.activation, temperature, loss, pair);
            let reduced = self.config.reweight.normalize(sums, n * a, foreground.clone());
            let (class, boxes) = (lambda * self.config.class_weight, lambda * self.config.box_weight);
            [reduced.class * class, reduced.boxes * boxes]
        };
        let [scale_class, scale_box] =
            term(self.config.scale_weight, 1.0, AnchorLoss::ScaleConsistency, scale);
        let [distill_class, distill_box] =
            term(self.config.distill_weight, self.config.temperature, AnchorLoss::SelfDistillation, distill);
        UnsupervisedLoss {
            stage: views.stage,
            teacher_foreground: foreground,
            scale_class,
            scale_box,
            distill_class,
            distill_box,
        }
    }

    /// The weighted sums of a loss, with the other side's classes sharpened by `temperature`.
    fn weighted_sums(
        &self,
        activation: ClassActivation,
        temperature: f64,
        loss: AnchorLoss,
        pair: &ViewPair,
    ) -> WeightedSums {
        let ObjectiveConfig { box_norm, reweight, .. } = self.config;
        #[cfg(feature = "flex")]
        if activation == ClassActivation::Sigmoid {
            let two_sided = loss == AnchorLoss::ScaleConsistency;
            let term = PairTerm { two_sided, temperature, box_norm, reweight };
            if let Some(sums) = term.weighted_sums(pair) {
                return sums;
            }
        }
        let losses = match loss {
            AnchorLoss::ScaleConsistency => scale_consistency(activation, pair, box_norm),
            AnchorLoss::SelfDistillation if temperature == 1.0 => {
                self_distillation(activation, pair, box_norm)
            }
            AnchorLoss::SelfDistillation => {
                let mut pair = pair.clone();
                pair.other.class_logits = sharpen(activation, pair.other.class_logits, temperature);
                self_distillation(activation, &pair, box_norm)
            }
        };
        reweight.weighted_sums(losses)
    }
}

/// `[1]`, `Σ supervised + (n_u / n_s) · Σ unsupervised`, of losses on `n_s` labeled and `n_u` unlabeled images;
/// `unsupervised` may be empty, as in a burn-in.
///
/// # Panics
///
/// If there is no loss at all, or `n_s` is 0 where there are unsupervised losses.
pub fn total_loss(
    supervised: &[DetectionLoss],
    unsupervised: impl IntoIterator<Item = Tensor<1>>,
    n_u: usize,
    n_s: usize,
) -> Tensor<1> {
    let sum = |a: Tensor<1>, b: Tensor<1>| a + b;
    let labeled = supervised.iter().map(DetectionLoss::total);
    let unlabeled = unsupervised.into_iter().reduce(sum).map(|loss| {
        assert!(n_s > 0, "total_loss: n_u / n_s = {n_u} / {n_s}");
        loss * (n_u as f64 / n_s as f64)
    });
    labeled.chain(unlabeled).reduce(sum).expect("total_loss: no losses")
}

/// `[1]`, the foreground score of the teacher's outputs, summed over all anchors of all images: about
/// the number of anchors that lie on objects. Carries no gradient.
pub fn teacher_foreground(activation: ClassActivation, teacher: &Predictions) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if let (ClassActivation::Sigmoid, Some(sum)) = (activation, foreground_sum(&teacher.class_logits)) {
        return sum;
    }
    activation.foreground_score(teacher.class_logits.clone().inner()).sum()
}

#[cfg(test)]
#[path = "objective_tests.rs"]
mod tests;
