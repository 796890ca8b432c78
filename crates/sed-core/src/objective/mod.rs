//! The total loss.

mod config;

use burn::tensor::Tensor;

pub use self::config::{ObjectiveConfig, ScaleTargets};
use crate::error::InvalidOption;
#[cfg(feature = "flex")]
use crate::losses::fused::{PairTerm, foreground_sum};
use crate::losses::{scale_consistency, self_distillation, sharpen};
use crate::reweight::WeightedSums;
use crate::structures::{ClassActivation, DetectionLoss, Predictions, StageViews, ViewPair};

/// What is summed over the anchors of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnchorLoss {
    /// [`scale_consistency`].
    ScaleConsistency,
    /// [`self_distillation`].
    SelfDistillation,
}

/// The losses of one stage on unlabeled images, weighted as they enter the total, but for
/// `n_u / n_s`.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::objective::UnsupervisedLoss;
///
/// let number = |value: f32| Tensor::<1>::from_floats([value], &Device::default());
/// let loss = UnsupervisedLoss {
///     stage: "head",
///     teacher_foreground: number(12.0),
///     scale_class: number(0.5),
///     scale_box: number(0.25),
///     distill_class: number(1.0),
///     distill_box: number(0.25),
/// };
/// assert_eq!(loss.total().into_scalar::<f32>(), 2.0);
/// for (name, term) in loss.terms() {
///     println!("{}/{name}: {}", loss.stage, term.clone().into_scalar::<f32>());
/// }
/// assert_eq!(loss.terms().map(|(name, _)| name), UnsupervisedLoss::TERMS);
/// ```
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
    ///
    /// ```
    /// use sed_core::objective::UnsupervisedLoss;
    ///
    /// // Columns of a table, before there is a first loss.
    /// let columns = UnsupervisedLoss::TERMS.map(|term| format!("head/{term}"));
    /// assert_eq!(columns[0], "head/scale_class");
    /// ```
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
    ///
    /// ```
    /// use sed_core::objective::{Objective, ObjectiveConfig};
    ///
    /// let objective = Objective::new(ObjectiveConfig { scale_weight: 0.5, ..Default::default() })?;
    /// assert_eq!(objective.config().scale_weight, 0.5);
    /// assert!(objective.compares_scales());
    /// assert!(Objective::new(ObjectiveConfig { temperature: 0.0, ..Default::default() }).is_err());
    /// # Ok::<(), sed_core::InvalidOption>(())
    /// ```
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
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::objective::{Objective, ObjectiveConfig};
    /// use sed_core::{ClassActivation, Predictions, StageViews, ViewPair};
    ///
    /// let device = Device::default().autodiff();
    /// let outputs = |logits: Tensor<3>| Predictions::new(logits, Tensor::zeros([1, 8, 4], &device));
    /// let student = Tensor::<3>::zeros([1, 8, 3], &device).require_grad();
    /// let teacher = Tensor::<3>::ones([1, 8, 3], &device).require_grad();
    /// let half = Tensor::<3>::zeros([1, 8, 3], &device);
    /// let stage = StageViews::new(
    ///     "head",
    ///     ClassActivation::Sigmoid,
    ///     ViewPair::new(outputs(student.clone()), outputs(half)),
    ///     ViewPair::new(outputs(student.clone()), outputs(teacher.clone())),
    /// );
    /// let losses = Objective::new(ObjectiveConfig::default())?.unsupervised(&[stage]);
    /// let gradients = losses[0].total().backward();
    /// // The student is drawn upwards to its teacher, who learns nothing from it.
    /// assert!(student.grad(&gradients).unwrap().max().into_scalar::<f32>() < 0.0);
    /// assert!(teacher.grad(&gradients).is_none());
    /// # Ok::<(), sed_core::InvalidOption>(())
    /// ```
    pub fn unsupervised(&self, stages: &[StageViews]) -> Vec<UnsupervisedLoss> {
        stages.iter().map(|stage| self.stage(stage)).collect()
    }

    /// `[1]`, the total of supervised losses on `n_s` images and unsupervised ones on `n_u`, one entry
    /// a stage each; `unsupervised` may be empty, as in a burn-in.
    ///
    /// # Panics
    ///
    /// As [`total_loss`].
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::DetectionLoss;
    /// use sed_core::objective::{Objective, ObjectiveConfig, UnsupervisedLoss};
    ///
    /// let number = |value: f32| Tensor::<1>::from_floats([value], &Device::default());
    /// let supervised =
    ///     [DetectionLoss { stage: "head", classification: number(0.5), box_regression: number(0.25) }];
    /// let unsupervised = [UnsupervisedLoss {
    ///     stage: "head",
    ///     teacher_foreground: number(12.0),
    ///     scale_class: number(0.5),
    ///     scale_box: number(0.0),
    ///     distill_class: number(1.0),
    ///     distill_box: number(0.0),
    /// }];
    /// let objective = Objective::new(ObjectiveConfig::default())?;
    /// // Four unlabeled images beside two labeled ones.
    /// let loss = objective.total(&supervised, &unsupervised, 4, 2);
    /// assert_eq!(loss.into_scalar::<f32>(), 0.75 + 4.0 / 2.0 * 1.5);
    /// // The burn-in has labeled images alone.
    /// assert_eq!(objective.total(&supervised, &[], 0, 2).into_scalar::<f32>(), 0.75);
    /// # Ok::<(), sed_core::InvalidOption>(())
    /// ```
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
        let scale_weight = self.config.scale_weight;
        let [scale_class, scale_box] = match self.config.scale_targets {
            ScaleTargets::BothViews => term(scale_weight, 1.0, AnchorLoss::ScaleConsistency, scale),
            ScaleTargets::FullView => {
                let half_learns = ViewPair { student: scale.other.clone(), other: scale.student.clone() };
                term(scale_weight, 1.0, AnchorLoss::SelfDistillation, &half_learns)
            }
        };
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
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{DetectionLoss, objective::total_loss};
///
/// let number = |value: f32| Tensor::<1>::from_floats([value], &Device::default());
/// let supervised =
///     [DetectionLoss { stage: "head", classification: number(0.5), box_regression: number(0.25) }];
/// // Four unlabeled images beside two labeled ones.
/// let loss = total_loss(&supervised, [number(1.0), number(0.5)], 4, 2);
/// assert_eq!(loss.into_scalar::<f32>(), 0.75 + 4.0 / 2.0 * 1.5);
/// ```
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
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{ClassActivation, Predictions, objective::teacher_foreground};
///
/// let device = Device::default();
/// // Two anchors whose best class has a probability of 1/2, one that is background.
/// let logits = Tensor::<3>::from_floats([[[0.0, -9.0], [-9.0, 0.0], [-99.0, -99.0]]], &device);
/// let teacher = Predictions::new(logits, Tensor::zeros([1, 3, 4], &device));
/// let score = teacher_foreground(ClassActivation::Sigmoid, &teacher);
/// assert!((score.into_scalar::<f32>() - 1.0).abs() < 1e-6);
/// ```
pub fn teacher_foreground(activation: ClassActivation, teacher: &Predictions) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if let (ClassActivation::Sigmoid, Some(sum)) = (activation, foreground_sum(&teacher.class_logits)) {
        return sum;
    }
    activation.foreground_score(teacher.class_logits.clone().inner()).sum()
}

#[cfg(test)]
mod tests;
