use super::*;
use crate::losses::BoxNorm;
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
    let (scale, distill) = (ViewPair::new(view(3, 1), view(3, 3)), ViewPair::new(view(5, 5), view(5, 7)));
    StageViews::new("head", activation, scale, distill)
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
    assert!(stage.distill_pair().student.class_logits.grad(&gradients).is_none());
    assert!(stage.scale_pair().student.class_logits.grad(&gradients).is_some());
}

#[test]
fn the_parts_are_the_anchor_losses_reduced() {
    let stage = views(SIGMOID);
    let objective = objective(|o| o.reweight.gamma = 0.0);
    let loss = objective.unsupervised(std::slice::from_ref(&stage)).remove(0);
    // All weights 1, both losses over the teacher's score on all of its 2 × 5 anchors.
    let teacher = stage.distill_pair().other.class_logits.clone().inner();
    let foreground = SIGMOID.foreground_score(teacher).sum();
    assert!(values(&foreground)[0] > 1.0, "above the least divisor");
    let scale = scale_consistency(SIGMOID, stage.scale_pair(), BoxNorm::default());
    let distill = self_distillation(SIGMOID, stage.distill_pair(), BoxNorm::default());
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
    let foreground = values(&teacher_foreground(SIGMOID, &views(SIGMOID).distill_pair().other))[0];
    let (scale, distill) = (foreground / 6.0, foreground / 10.0);
    assert_close(&counted, &[a * scale, b * scale, c * distill, d * distill], 1e-6);
}

#[test]
fn a_low_temperature_sharpens_the_teachers_classes_and_touches_no_other_term() {
    for activation in [SIGMOID, SOFTMAX] {
        let [a, b, _, d] = terms(&objective(|o| o.reweight.gamma = 0.0), activation);
        let sharp = objective(|o| (o.reweight.gamma, o.temperature) = (0.0, 0.5));
        let found = terms(&sharp, activation);
        assert_eq!((found[0], found[1], found[3]), (a, b, d));
        let mut stage = views(activation);
        let foreground = teacher_foreground(activation, &stage.distill_pair().other);
        let pair = stage.distill.as_mut().unwrap();
        pair.other.class_logits = sharpen(activation, pair.other.class_logits.clone(), 0.5);
        let expected = self_distillation(activation, stage.distill_pair(), BoxNorm::default()).class.sum();
        assert_close(&found[2..3], &values(&(expected / foreground)), 1e-6);
    }
}

#[test]
fn the_teacher_gets_no_gradient_and_both_students_do() {
    for activation in [SIGMOID, SOFTMAX] {
        let stage = views(activation);
        let losses = objective(|_| ()).unsupervised(std::slice::from_ref(&stage));
        let gradients = losses[0].total().backward();
        for student in [&stage.scale_pair().student, &stage.scale_pair().other, &stage.distill_pair().student]
        {
            assert!(gradient(&student.class_logits, &gradients).iter().any(|&g| g != 0.0));
            assert!(gradient(&student.box_deltas, &gradients).iter().any(|&g| g != 0.0));
        }
        assert!(stage.distill_pair().other.class_logits.grad(&gradients).is_none());
        assert!(stage.distill_pair().other.box_deltas.grad(&gradients).is_none());
    }
}

/// The gradients of the scale consistency to both sides, classes and boxes.
fn scale_gradients(activation: ClassActivation, scale_targets: ScaleTargets) -> [Option<Vec<f32>>; 4] {
    let stage = views(activation);
    let objective = objective(|o| (o.distill_weight, o.scale_targets) = (0.0, scale_targets));
    let gradients = objective.unsupervised(std::slice::from_ref(&stage))[0].total().backward();
    let [full, half] = [&stage.scale_pair().student, &stage.scale_pair().other];
    [&full.class_logits, &full.box_deltas, &half.class_logits, &half.box_deltas]
        .map(|tensor| tensor.grad(&gradients).map(|gradient| values(&gradient)))
}

#[test]
fn a_full_view_as_target_learns_nothing_and_teaches_as_before() {
    for activation in [SIGMOID, SOFTMAX] {
        let [_, _, class, boxes] = scale_gradients(activation, ScaleTargets::BothViews);
        let [full_class, full_boxes, half_class, half_boxes] =
            scale_gradients(activation, ScaleTargets::FullView);
        assert_eq!((full_class, full_boxes), (None, None));
        assert!(class.as_ref().unwrap().iter().any(|&g| g != 0.0));
        // The same numbers by two sums.
        assert_close(&half_class.unwrap(), &class.unwrap(), 1e-6);
        assert_close(&half_boxes.unwrap(), &boxes.unwrap(), 1e-6);
    }
}

#[test]
fn the_target_leaves_box_distance_and_distillation_as_they_are() {
    for activation in [SIGMOID, SOFTMAX] {
        let [class, boxes, c, d] = terms(&objective(|_| ()), activation);
        let found = terms(&objective(|o| o.scale_targets = ScaleTargets::FullView), activation);
        assert_close(&found[1..], &[boxes, c, d], 1e-6);
        // One of the two divergences.
        assert!(found[0] > 0.0 && found[0] < class);
    }
}

#[test]
fn extreme_logits_stay_finite() {
    let extreme = |predictions: Predictions| {
        let logits = predictions.class_logits.inner().sign() * 100.0;
        Predictions::new(logits.autodiff().require_grad(), predictions.box_deltas)
    };
    for activation in [SIGMOID, SOFTMAX] {
        for normalizer in [Normalizer::WeightSum, Normalizer::AnchorCount, Normalizer::TeacherForeground] {
            let mut stage = views(activation);
            stage.scale = stage.scale.map(|p| ViewPair::new(extreme(p.student), extreme(p.other)));
            stage.distill = stage.distill.map(|p| ViewPair::new(extreme(p.student), extreme(p.other)));
            let objective = objective(|o| o.reweight.normalizer = normalizer);
            let total = objective.unsupervised(std::slice::from_ref(&stage))[0].total();
            assert!(values(&total)[0].is_finite());
            let gradients = total.backward();
            for student in
                [&stage.scale_pair().student, &stage.scale_pair().other, &stage.distill_pair().student]
            {
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
fn soft_labels_are_the_distillation_with_equal_weights_and_need_no_half_view() {
    let mut stage = views(SIGMOID);
    let [_, _, class, boxes] = terms(&objective(|o| o.reweight.gamma = 0.0), SIGMOID);
    stage.scale = None;
    let soft = objective(|o| *o = o.soft_labels());
    assert!(!soft.compares_scales());
    let loss = soft.unsupervised(&[stage]).remove(0);
    let found =
        [loss.scale_class, loss.scale_box, loss.distill_class, loss.distill_box].map(|t| values(&t)[0]);
    assert_eq!(found, [0.0, 0.0, class, boxes]);
}

#[test]
#[should_panic(expected = "stage head: the views lack a half-size view")]
fn a_missing_view_is_named() {
    let stage = StageViews { scale: None, ..views(SIGMOID) };
    let _ = objective(|_| ()).unsupervised(&[stage]);
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
    for option in ["scale_weight", "distill_weight", "class_weight", "box_weight", "temperature"] {
        let config: ObjectiveConfig = serde_json::from_str(&format!(r#"{{"{option}": -1.0}}"#)).unwrap();
        assert_eq!(Objective::new(config).unwrap_err().option, option);
    }
    let config: ObjectiveConfig =
        serde_json::from_str(r#"{"reweight": {"gamma": -1}, "box_norm": {"kind": "squared_l2"}}"#).unwrap();
    assert_eq!(config.box_norm, BoxNorm::SquaredL2);
    let config_of_views: ObjectiveConfig = serde_json::from_str(r#"{"scale_targets": "full_view"}"#).unwrap();
    assert_eq!(config_of_views.scale_targets, ScaleTargets::FullView);
    assert_eq!(config.validate().unwrap_err().option, "reweight.gamma");
    assert!(serde_json::from_str::<ObjectiveConfig>(r#"{"lambda": 1.0}"#).is_err());
    let written = serde_json::to_string(&ObjectiveConfig::default()).unwrap();
    assert_eq!(serde_json::from_str::<ObjectiveConfig>(&written).unwrap(), ObjectiveConfig::default());
}
