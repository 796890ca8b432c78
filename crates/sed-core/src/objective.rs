//! The total loss.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::InvalidOption;
use crate::losses::{AnchorLosses, BoxNorm, scale_consistency, self_distillation};
use crate::reweight::ReweightConfig;
use crate::structures::{ClassActivation, DetectionLoss, Predictions, StageViews, ViewPair};

type AnchorLoss = fn(ClassActivation, &ViewPair, BoxNorm) -> AnchorLosses;

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
            reweight: ReweightConfig::default(),
        }
    }
}

impl ObjectiveConfig {
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

    /// The losses times `factor`, as in a ramp after burn-in.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Self {
            stage: self.stage,
            scale_class: self.scale_class * factor,
            scale_box: self.scale_box * factor,
            distill_class: self.distill_class * factor,
            distill_box: self.distill_box * factor,
            teacher_foreground: self.teacher_foreground,
        }
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
/// let losses = objective.unsupervised(&[StageViews {
///     stage: "head",
///     activation: ClassActivation::Sigmoid,
///     scale: ViewPair::new(outputs(-1.0), outputs(-2.0)),
///     distill: ViewPair::new(outputs(-1.0), outputs(-1.0)),
/// }]);
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

    /// The losses on unlabeled images, one entry a stage.
    ///
    /// Sums over anchors run over all images of the batch; with the default normaliser both losses
    /// of a stage are divided by the teacher's foreground score over all its anchors.
    pub fn unsupervised(&self, stages: &[StageViews]) -> Vec<UnsupervisedLoss> {
        stages.iter().map(|stage| self.stage(stage)).collect()
    }

    /// `[1]`, the total of supervised losses on `n_s` images and unsupervised ones on `n_u`, one entry
    /// a stage each; `unsupervised` may be empty, as in a burn-in.
    ///
    /// # Panics
    ///
    /// If there is no loss at all, or `n_s` is 0 where there are unsupervised losses.
    pub fn total(
        &self,
        supervised: &[DetectionLoss],
        unsupervised: &[UnsupervisedLoss],
        n_u: usize,
        n_s: usize,
    ) -> Tensor<1> {
        assert!(unsupervised.is_empty() || n_s > 0, "Objective::total: n_u / n_s = {n_u} / {n_s}");
        let ratio = n_u as f64 / n_s as f64;
        let labeled = supervised.iter().map(DetectionLoss::total);
        let unlabeled = unsupervised.iter().map(|loss| loss.total() * ratio);
        labeled.chain(unlabeled).reduce(|sum, loss| sum + loss).expect("Objective::total: no losses")
    }

    fn stage(&self, views: &StageViews) -> UnsupervisedLoss {
        let foreground = teacher_foreground(views.activation, &views.distill.other);
        let term = |lambda: f64, loss: AnchorLoss, pair: &ViewPair| {
            if lambda == 0.0 {
                let zero = Tensor::zeros([1], &pair.student.class_logits.device());
                return [zero.clone(), zero];
            }
            let losses = loss(views.activation, pair, self.config.box_norm);
            let reduced = self.config.reweight.reduce(losses, foreground.clone());
            let (class, boxes) = (lambda * self.config.class_weight, lambda * self.config.box_weight);
            [reduced.class * class, reduced.boxes * boxes]
        };
        let [scale_class, scale_box] = term(self.config.scale_weight, scale_consistency, &views.scale);
        let [distill_class, distill_box] =
            term(self.config.distill_weight, self_distillation, &views.distill);
        UnsupervisedLoss {
            stage: views.stage,
            teacher_foreground: foreground,
            scale_class,
            scale_box,
            distill_class,
            distill_box,
        }
    }
}

/// `[1]`, the foreground score of the teacher's outputs, summed over all anchors of all images: about
/// the number of anchors that lie on objects. Carries no gradient.
pub fn teacher_foreground(activation: ClassActivation, teacher: &Predictions) -> Tensor<1> {
    activation.foreground_score(teacher.class_logits.clone().inner()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reweight::Normalizer;
    use crate::testing::{assert_close, device, gradient, pseudo_logits, values};

    const SIGMOID: ClassActivation = ClassActivation::Sigmoid;
    const SOFTMAX: ClassActivation = ClassActivation::Softmax { background: 2 };

    fn view(anchors: usize, seed: u32) -> Predictions {
        let device = device();
        Predictions::new(
            pseudo_logits([2, anchors, 3], seed, &device).require_grad(),
            pseudo_logits([2, anchors, 4], seed + 1, &device).require_grad(),
        )
    }

    /// Fewer anchors pair across scales than the teacher sees, as in a pyramid.
    fn views(activation: ClassActivation) -> StageViews {
        StageViews {
            stage: "head",
            activation,
            scale: ViewPair::new(view(3, 1), view(3, 3)),
            distill: ViewPair::new(view(5, 5), view(5, 7)),
        }
    }

    fn objective(change: impl FnOnce(&mut ObjectiveConfig)) -> Objective {
        let mut config = ObjectiveConfig::default();
        change(&mut config);
        Objective::new(config).unwrap()
    }

    fn terms(objective: &Objective, activation: ClassActivation) -> [f32; 4] {
        let loss = objective.unsupervised(&[views(activation)]).remove(0);
        [loss.scale_class, loss.scale_box, loss.distill_class, loss.distill_box].map(|t| values(&t)[0])
    }

    #[test]
    fn weights_scale_their_terms_and_no_other() {
        for activation in [SIGMOID, SOFTMAX] {
            let [a, b, c, d] = terms(&objective(|o| o.box_weight = 1.0), activation);
            assert!([a, b, c, d].iter().all(|&t| t > 0.0));
            type Change = fn(&mut ObjectiveConfig);
            let cases: [(Change, [f32; 4]); 4] = [
                (|o| o.scale_weight = 3.0, [3.0 * a, 3.0 * b, c, d]),
                (|o| o.distill_weight = 3.0, [a, b, 3.0 * c, 3.0 * d]),
                (|o| o.class_weight = 3.0, [3.0 * a, b, 3.0 * c, d]),
                (|o| o.box_weight = 3.0, [a, 3.0 * b, c, 3.0 * d]),
            ];
            for (change, expected) in cases {
                let changed = objective(|o| {
                    o.box_weight = 1.0;
                    change(o);
                });
                assert_close(&terms(&changed, activation), &expected, 1e-6);
            }
        }
    }

    #[test]
    fn a_weight_of_zero_leaves_its_loss_out() {
        for activation in [SIGMOID, SOFTMAX] {
            let [_, _, c, d] = terms(&objective(|_| ()), activation);
            assert_eq!(terms(&objective(|o| o.scale_weight = 0.0), activation), [0.0, 0.0, c, d]);
        }
        let stage = views(SIGMOID);
        let losses = objective(|o| o.distill_weight = 0.0).unsupervised(std::slice::from_ref(&stage));
        let gradients = losses[0].total().backward();
        assert!(stage.distill.student.class_logits.grad(&gradients).is_none());
        assert!(stage.scale.student.class_logits.grad(&gradients).is_some());
    }

    #[test]
    fn the_parts_are_the_anchor_losses_reduced() {
        let stage = views(SIGMOID);
        let objective = objective(|o| o.reweight.gamma = 0.0);
        let loss = objective.unsupervised(std::slice::from_ref(&stage)).remove(0);
        // All weights 1, both losses over the teacher's score on all of its 2 × 5 anchors.
        let teacher = stage.distill.other.class_logits.clone().inner();
        let foreground = SIGMOID.foreground_score(teacher).sum();
        assert!(values(&foreground)[0] > 1.0, "above the least divisor");
        let scale = scale_consistency(SIGMOID, &stage.scale, BoxNorm::default());
        let distill = self_distillation(SIGMOID, &stage.distill, BoxNorm::default());
        for (term, sum) in [
            (loss.scale_class, scale.class.sum()),
            (loss.scale_box, scale.boxes.sum() * 0.5),
            (loss.distill_class, distill.class.sum()),
            (loss.distill_box, distill.boxes.sum() * 0.5),
        ] {
            assert_close(&values(&term), &values(&(sum / foreground.clone())), 1e-6);
        }
    }

    #[test]
    fn the_box_norm_and_the_normalizer_are_passed_on() {
        let [a, b, c, d] = terms(&objective(|_| ()), SIGMOID);
        let squared = terms(&objective(|o| o.box_norm = BoxNorm::SquaredL2), SIGMOID);
        assert_eq!((squared[0], squared[2]), (a, c));
        assert!(squared[1] > b && squared[3] > d);
        let counted = terms(&objective(|o| o.reweight.normalizer = Normalizer::AnchorCount), SIGMOID);
        // 2 × 3 paired anchors, 2 × 5 of the teacher.
        let foreground = values(&teacher_foreground(SIGMOID, &views(SIGMOID).distill.other))[0];
        let (scale, distill) = (foreground / 6.0, foreground / 10.0);
        assert_close(&counted, &[a * scale, b * scale, c * distill, d * distill], 1e-6);
    }

    #[test]
    fn the_teacher_gets_no_gradient_and_both_students_do() {
        for activation in [SIGMOID, SOFTMAX] {
            let stage = views(activation);
            let losses = objective(|_| ()).unsupervised(std::slice::from_ref(&stage));
            let gradients = losses[0].total().backward();
            for student in [&stage.scale.student, &stage.scale.other, &stage.distill.student] {
                assert!(gradient(&student.class_logits, &gradients).iter().any(|&g| g != 0.0));
                assert!(gradient(&student.box_deltas, &gradients).iter().any(|&g| g != 0.0));
            }
            assert!(stage.distill.other.class_logits.grad(&gradients).is_none());
            assert!(stage.distill.other.box_deltas.grad(&gradients).is_none());
        }
    }

    #[test]
    fn extreme_logits_stay_finite() {
        let extreme = |predictions: Predictions| {
            let logits = predictions.class_logits.inner().sign() * 100.0;
            Predictions::new(logits.autodiff().require_grad(), predictions.box_deltas)
        };
        for activation in [SIGMOID, SOFTMAX] {
            for normalizer in [Normalizer::WeightSum, Normalizer::AnchorCount, Normalizer::TeacherForeground]
            {
                let mut stage = views(activation);
                stage.scale = ViewPair::new(extreme(stage.scale.student), extreme(stage.scale.other));
                stage.distill = ViewPair::new(extreme(stage.distill.student), extreme(stage.distill.other));
                let objective = objective(|o| o.reweight.normalizer = normalizer);
                let total = objective.unsupervised(std::slice::from_ref(&stage))[0].total();
                assert!(values(&total)[0].is_finite());
                let gradients = total.backward();
                for student in [&stage.scale.student, &stage.scale.other, &stage.distill.student] {
                    assert!(gradient(&student.class_logits, &gradients).iter().all(|g| g.is_finite()));
                }
            }
        }
    }

    #[test]
    fn the_total_weighs_by_the_ratio_and_sums_the_stages() {
        let device = device();
        let scalar = |v: f32| Tensor::<1>::from_floats([v], &device);
        let supervised =
            |stage| DetectionLoss { stage, classification: scalar(1.0), box_regression: scalar(2.0) };
        let unsupervised = |stage| UnsupervisedLoss {
            teacher_foreground: scalar(5.0),
            stage,
            scale_class: scalar(0.1),
            scale_box: scalar(0.2),
            distill_class: scalar(0.3),
            distill_box: scalar(0.4),
        };
        let labeled = [supervised("rpn"), supervised("roi")];
        let unlabeled = [unsupervised("rpn"), unsupervised("roi")];
        let objective = objective(|_| ());
        // 2 · 3 + 8/2 · 2 · 1.
        assert_close(&values(&objective.total(&labeled, &unlabeled, 8, 2)), &[14.0], 1e-6);
        assert_close(&values(&objective.total(&labeled, &[], 0, 2)), &[6.0], 1e-6);
        assert_close(&values(&objective.total(&[], &unlabeled, 3, 1)), &[6.0], 1e-6);
    }

    #[test]
    #[should_panic(expected = "n_u / n_s = 4 / 0")]
    fn unlabeled_images_need_labeled_ones() {
        let objective = objective(|_| ());
        let unsupervised = objective.unsupervised(&[views(SIGMOID)]);
        let _ = objective.total(&[], &unsupervised, 4, 0);
    }

    #[test]
    fn options_are_checked_and_read() {
        for option in ["scale_weight", "distill_weight", "class_weight", "box_weight"] {
            let config: ObjectiveConfig = serde_json::from_str(&format!(r#"{{"{option}": -1.0}}"#)).unwrap();
            assert_eq!(Objective::new(config).unwrap_err().option, option);
        }
        let config: ObjectiveConfig =
            serde_json::from_str(r#"{"reweight": {"gamma": -1}, "box_norm": {"kind": "squared_l2"}}"#)
                .unwrap();
        assert_eq!(config.box_norm, BoxNorm::SquaredL2);
        assert_eq!(config.validate().unwrap_err().option, "reweight.gamma");
        assert!(serde_json::from_str::<ObjectiveConfig>(r#"{"lambda": 1.0}"#).is_err());
        let written = serde_json::to_string(&ObjectiveConfig::default()).unwrap();
        assert_eq!(serde_json::from_str::<ObjectiveConfig>(&written).unwrap(), ObjectiveConfig::default());
    }
}
