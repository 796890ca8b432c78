//! Losses and their gradients.

use burn::tensor::{Device, Gradients, Tensor};
use sed::core::{
    ClassActivation, Predictions, StageViews, ViewPair,
    losses::{
        BoxNorm, SigmoidFocalLoss,
        divergence::{one_sided_kl, symmetric_kl},
        giou_loss, smooth_l1,
    },
    objective::{Objective, ObjectiveConfig, ScaleTargets, teacher_foreground},
    reweight::ReweightConfig,
};

use crate::fixture::{Fixture, values};

/// A chain of about ten elementary functions, each right to one or two roundings of f32 (6e-8).
const ELEMENTWISE: f64 = 1e-6;

fn gradient<const D: usize>(of: &Tensor<D>, gradients: &Gradients) -> Vec<f32> {
    values(&of.grad(gradients).expect("a gradient"))
}

#[test]
fn sigmoid_focal_loss() {
    let fixture = Fixture::load("losses").at("focal");
    let device = Device::default().autodiff();
    for run in fixture.at("runs").list() {
        let loss = SigmoidFocalLoss { alpha: run.at("alpha").get(), gamma: run.at("gamma").get() };
        let logits = fixture.at("logits").tensor::<3>(&device).require_grad();
        let found = loss.forward(logits.clone(), fixture.at("targets").tensor::<3>(&device));
        // Relative to the largest, 75 at a logit of 100, this says little of the small ones …
        run.at("loss").close_tensor(&found, ELEMENTWISE);
        // … so these once more, by themselves: the first two rows are those of ±100.
        for (a, b) in values(&found)[6..].iter().zip(&run.at("loss").numbers()[6..]) {
            assert!((f64::from(*a) - b).abs() <= ELEMENTWISE * b.abs().max(1e-3), "{a} and {b}");
        }
        let gradients = found.sum().backward();
        run.at("gradient").close(&gradient(&logits, &gradients), ELEMENTWISE);
    }
}

#[test]
fn smooth_l1_and_l1() {
    let fixture = Fixture::load("losses").at("smooth_l1");
    let device = Device::default().autodiff();
    for run in fixture.at("runs").list() {
        let prediction = fixture.at("a").tensor::<2>(&device).require_grad();
        let found = smooth_l1(prediction.clone(), fixture.at("b").tensor(&device), run.at("beta").get());
        run.at("loss").close_tensor(&found, ELEMENTWISE);
        let gradients = found.sum().backward();
        run.at("gradient").close(&gradient(&prediction, &gradients), ELEMENTWISE);
    }
}

#[test]
fn giou_loss_of_pairs() {
    let fixture = Fixture::load("losses").at("giou");
    let device = Device::default().autodiff();
    let predicted = fixture.at("a").tensor::<2>(&device).require_grad();
    let found = giou_loss(predicted.clone(), fixture.at("b").tensor(&device));
    fixture.at("loss").close_tensor(&found, ELEMENTWISE);
    let gradients = found.sum().backward();
    fixture.at("gradient").close(&gradient(&predicted, &gradients), ELEMENTWISE);
}

/// The sum over classes, `[N, A]`.
fn of_anchors(value: Tensor<3>) -> Tensor<2> {
    value.sum_dim(2).squeeze_dim(2)
}

#[test]
fn divergences_of_sigmoid_and_softmax_heads() {
    let fixture = Fixture::load("losses").at("divergences");
    let device = Device::default().autodiff();
    let leaf = |name: &str| fixture.at(name).tensor::<3>(&device).require_grad();
    for run in fixture.at("runs").list() {
        let activation = match run.at("softmax").get() {
            true => ClassActivation::Softmax { background: 0 },
            false => ClassActivation::Sigmoid,
        };
        let (a, b) = (leaf("a"), leaf("b"));
        let symmetric = of_anchors(symmetric_kl(activation, a.clone(), b.clone()).value);
        run.at("symmetric").close_tensor(&symmetric, ELEMENTWISE);
        let gradients = symmetric.sum().backward();
        run.at("a_gradient").close(&gradient(&a, &gradients), ELEMENTWISE);
        run.at("b_gradient").close(&gradient(&b, &gradients), ELEMENTWISE);

        let (teacher, student) = (leaf("a"), leaf("b"));
        let one_way = of_anchors(one_sided_kl(activation, student.clone(), teacher.clone()).value);
        run.at("one_way").close_tensor(&one_way, ELEMENTWISE);
        let gradients = one_way.sum().backward();
        run.at("student_gradient").close(&gradient(&student, &gradients), ELEMENTWISE);
        assert!(teacher.grad(&gradients).is_none(), "a gradient reached the teacher");
    }
}

#[test]
fn the_whole_unsupervised_objective() {
    let fixture = Fixture::load("losses").at("objective");
    let device = Device::default().autodiff();
    let inputs = fixture.at("inputs");
    let leaf = |name: &str| inputs.at(name).tensor::<3>(&device).require_grad();
    let first: usize = inputs.at("first_paired_anchor").get();
    for run in fixture.at("runs").list() {
        let student = Predictions::new(leaf("student_logits"), leaf("student_boxes"));
        let half = Predictions::new(leaf("half_logits"), leaf("half_boxes"));
        let teacher = Predictions::new(leaf("teacher_logits"), leaf("teacher_boxes"));
        let count = student.num_anchors() - first;
        let paired = Predictions::new(
            student.class_logits.clone().narrow(1, first, count),
            student.box_deltas.clone().narrow(1, first, count),
        );
        let foreground = teacher_foreground(ClassActivation::Sigmoid, &teacher);
        fixture.at("normalizer").close_tensor(&foreground, ELEMENTWISE);
        let objective = Objective::new(ObjectiveConfig {
            scale_weight: 1.0,
            scale_targets: ScaleTargets::BothViews,
            distill_weight: 1.0,
            class_weight: 1.0,
            box_weight: 1.0,
            temperature: 1.0,
            box_norm: BoxNorm::L2 { epsilon: fixture.at("epsilon").get() },
            reweight: ReweightConfig { gamma: run.at("gamma").get(), ..ReweightConfig::default() },
        })
        .expect("the options are in range");
        let losses = objective.unsupervised(&[StageViews::new(
            "head",
            ClassActivation::Sigmoid,
            ViewPair::new(paired, half.clone()),
            ViewPair::new(student.clone(), teacher.clone()),
        )]);
        // Sums of at most 20 products of the values above.
        let tolerance = 2.0 * ELEMENTWISE;
        let terms = run.at("terms");
        terms.at("scale_class").close_tensor(&losses[0].scale_class, tolerance);
        terms.at("scale_box").close_tensor(&losses[0].scale_box, tolerance);
        terms.at("distill_class").close_tensor(&losses[0].distill_class, tolerance);
        terms.at("distill_box").close_tensor(&losses[0].distill_box, tolerance);

        let gradients = objective.total(&[], &losses, 1, 1).backward();
        let expected = run.at("gradients");
        for (name, leaf) in [
            ("student_logits", &student.class_logits),
            ("half_logits", &half.class_logits),
            ("student_boxes", &student.box_deltas),
            ("half_boxes", &half.box_deltas),
        ] {
            expected.at(name).close(&gradient(leaf, &gradients), tolerance);
        }
        assert!(teacher.class_logits.grad(&gradients).is_none(), "a gradient reached the teacher's logits");
        assert!(teacher.box_deltas.grad(&gradients).is_none(), "a gradient reached the teacher's boxes");
    }
}
