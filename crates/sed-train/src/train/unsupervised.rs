//! What a method makes of the unlabeled images of a step.

use burn::tensor::{Device, Tensor, TensorData};
use sed_core::{
    Detections, Detector, ImageBatch, StageViews, Targets, Views,
    objective::{Objective, ObjectiveConfig, UnsupervisedLoss},
    pseudo_labels::{PseudoLabels, halved},
};

use super::{Method, TrainConfig};

/// The name, after its stage, under which the teacher's summed foreground score is logged.
const TEACHER_FOREGROUND: &str = "teacher_foreground";
/// Terms of pseudo-labels; those on the half-size view follow with `_half`.
const PSEUDO_TERMS: [&str; 4] = ["pseudo_class", "pseudo_box", "pseudo_class_half", "pseudo_box_half"];
/// Pseudo-labels an image.
pub(super) const PSEUDO_OBJECTS: &str = "pseudo_objects";
/// Two terms and the teacher's summed score on the selected anchors.
const DENSE: [&str; 3] = ["dense_class", "dense_box", "dense_score"];
/// Two terms and the number of anchors that are compared.
const FLIP: [&str; 3] = ["flip_class", "flip_box", "flip_anchors"];

/// Whether a number to watch is a count or a sum over the anchors of all images; all others, losses included, are means.
pub(super) fn is_summed(name: &str) -> bool {
    [TEACHER_FOREGROUND, DENSE[2], FLIP[2]].contains(&name)
}

/// The losses of one stage on unlabeled images, by name, for any method.
#[derive(Debug, Clone)]
pub(super) struct StageTerms {
    pub stage: &'static str,
    /// `[1]` each, weighted as they enter the total but for `n_u / n_s`.
    pub terms: Vec<(&'static str, Tensor<1>)>,
    /// `[1]` each; numbers to watch, which enter no loss.
    pub watched: Vec<(&'static str, Tensor<1>)>,
}

impl StageTerms {
    /// `[1]`, the sum of the terms.
    pub fn total(&self) -> Tensor<1> {
        let terms = self.terms.iter().map(|(_, term)| term.clone());
        terms.reduce(|sum, term| sum + term).expect("a method has terms")
    }

    /// The losses times `factor`, as in a ramp after burn-in.
    pub fn scaled(mut self, factor: f64) -> Self {
        self.terms = self.terms.into_iter().map(|(name, term)| (name, term * factor)).collect();
        self
    }
}

impl From<UnsupervisedLoss> for StageTerms {
    fn from(loss: UnsupervisedLoss) -> Self {
        let terms = loss.terms().map(|(name, term)| (name, term.clone()));
        let watched = vec![(TEACHER_FOREGROUND, loss.teacher_foreground.clone())];
        Self { stage: loss.stage, terms: terms.into(), watched }
    }
}

/// The names of what [`Unsupervised::losses`] gives for each stage, terms and watched numbers.
pub(super) fn names(config: &TrainConfig) -> Vec<&'static str> {
    match config.method {
        Method::Supervised => Vec::new(),
        Method::PseudoLabel => [&PSEUDO_TERMS[..2], &[PSEUDO_OBJECTS]].concat(),
        Method::MultiView => [&PSEUDO_TERMS[..], &[PSEUDO_OBJECTS]].concat(),
        Method::SoftLabel | Method::Sed => [&UnsupervisedLoss::TERMS[..], &[TEACHER_FOREGROUND]].concat(),
        Method::DenseTeacher => DENSE.into(),
        Method::Csd => FLIP.into(),
    }
}

/// The unsupervised part of a run.
#[derive(Debug)]
pub(super) struct Unsupervised {
    config: TrainConfig,
    objective: Objective,
}

impl Unsupervised {
    /// Of a configuration that has been validated.
    pub fn new(config: &TrainConfig) -> Result<Self, sed_core::InvalidOption> {
        let objective = match config.method {
            Method::SoftLabel => ObjectiveConfig {
                distill_weight: config.rivals.soft_label_weight,
                ..config.objective.soft_labels()
            },
            _ => config.objective,
        };
        Ok(Self { config: config.clone(), objective: Objective::new(objective)? })
    }

    /// The losses on unlabeled images, one entry a stage; `weak` without autodiff, `strong` with it.
    ///
    /// Only the views that the method compares are made, and only the passes that these need.
    pub fn losses<D: Detector>(
        &self,
        student: &D,
        teacher: &D,
        weak: ImageBatch,
        strong: ImageBatch,
    ) -> Vec<StageTerms> {
        let rivals = &self.config.rivals;
        match self.config.method {
            Method::Supervised => Vec::new(),
            Method::PseudoLabel | Method::MultiView => {
                let found = teacher.detect(&weak);
                let doubt = doubt(student, teacher, &found, &weak, &strong);
                let (options, views) = match self.config.method {
                    Method::MultiView => (&rivals.multi_view, vec![strong.clone(), strong.halved()]),
                    _ => (&rivals.pseudo_label, vec![strong]),
                };
                let mut stages = pseudo_labels(options, student, &found, &views);
                if let Some((_, class)) = stages.first_mut().and_then(|stage| stage.terms.first_mut()) {
                    *class = class.clone() + doubt;
                }
                stages
            }
            Method::SoftLabel | Method::Sed => {
                let views = match self.objective.compares_scales() {
                    true => Views::new(weak, strong),
                    false => Views::taught(weak, strong),
                };
                let losses = self.objective.unsupervised(&student.compare_views(teacher, &views));
                losses.into_iter().map(StageTerms::from).collect()
            }
            Method::DenseTeacher => {
                let stages = student.compare_views(teacher, &Views::taught(weak, strong));
                let stage = |views: &StageViews| {
                    let loss = &rivals.dense_teacher;
                    let terms = loss.forward(views.activation, views.distill_pair(), views.delta_weights);
                    StageTerms {
                        stage: views.stage,
                        terms: vec![(DENSE[0], terms.class), (DENSE[1], terms.boxes)],
                        watched: vec![(DENSE[2], terms.selected_score)],
                    }
                };
                stages.iter().map(stage).collect()
            }
            Method::Csd => {
                let stages = student.compare_views(teacher, &Views::with_mirror(strong));
                let stage = |views: &StageViews| {
                    let terms = rivals.csd.forward(views.activation, views.mirror_pair());
                    StageTerms {
                        stage: views.stage,
                        terms: vec![(FLIP[0], terms.class), (FLIP[1], terms.boxes)],
                        watched: vec![(FLIP[2], terms.anchors)],
                    }
                };
                stages.iter().map(stage).collect()
            }
        }
    }
}

/// 0, or what is not finite among the teacher's outputs where it `found` nothing: of such outputs no detection comes, so they look as if there
/// were no object.
fn doubt<D: Detector>(
    student: &D,
    teacher: &D,
    found: &[Detections],
    weak: &ImageBatch,
    strong: &ImageBatch,
) -> f32 {
    if found.iter().any(|image| !image.is_empty()) {
        return 0.0;
    }
    let stages = student.compare_views(teacher, &Views::taught(weak.clone(), strong.clone()));
    let outputs = stages.iter().map(|views| &views.distill_pair().other);
    let sums = outputs.map(|outputs| {
        outputs.class_logits.clone().detach().sum() + outputs.box_deltas.clone().detach().sum()
    });
    let sum: f32 = sums.map(|sum| sum.into_scalar::<f32>()).sum();
    if sum.is_finite() { 0.0 } else { sum }
}

/// The student's supervised losses on a view, and on its half if there are two, against what the teacher `found`.
fn pseudo_labels<D: Detector>(
    options: &PseudoLabels,
    student: &D,
    found: &[Detections],
    views: &[ImageBatch],
) -> Vec<StageTerms> {
    let full: Vec<Targets> = found.iter().map(|found| options.targets(found)).collect();
    let half: Vec<Targets> = full.iter().map(halved).collect();
    let objects = full.iter().map(Targets::len).sum::<usize>() as f32 / full.len().max(1) as f32;
    let box_weight = if options.learn_boxes { options.weight } else { 0.0 };
    let mut stages: Vec<StageTerms> = Vec::new();
    for (view, (images, targets)) in views.iter().zip([&full, &half]).enumerate() {
        let names = &PSEUDO_TERMS[2 * view..];
        for (index, loss) in student.supervised_losses(images, targets).into_iter().enumerate() {
            let terms = [
                (names[0], loss.classification * options.weight),
                (names[1], weighted(loss.box_regression, box_weight)),
            ];
            match stages.get_mut(index) {
                Some(stage) => stage.terms.extend(terms),
                None => {
                    let watched = vec![(PSEUDO_OBJECTS, number(objects, &images.pixels.device()))];
                    stages.push(StageTerms { stage: loss.stage, terms: terms.into(), watched });
                }
            }
        }
    }
    stages
}

/// `weight · loss`; a weight of 0 leaves the loss's gradient out too.
fn weighted(loss: Tensor<1>, weight: f64) -> Tensor<1> {
    if weight == 0.0 { Tensor::zeros([1], &loss.device()) } else { loss * weight }
}

fn number(value: f32, device: &Device) -> Tensor<1> {
    Tensor::from_data(TensorData::from([value]), device)
}
