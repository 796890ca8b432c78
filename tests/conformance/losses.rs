//! The losses, by entry or anchor.

use burn::tensor::{Tensor, activation};
use sed::{
    core::{
        ClassActivation, Predictions, ViewPair,
        losses::{
            AnchorLosses, BoxNorm, SigmoidFocalLoss, giou_loss, scale_consistency, self_distillation,
            sharpen, smooth_l1,
        },
    },
    models::box_coder::BoxCoder,
};

use super::{
    compare::{Results, Tolerance, with_exact, with_other},
    place::Place,
};

pub const SIGMOID: ClassActivation = ClassActivation::Sigmoid;
pub const SOFTMAX: ClassActivation = ClassActivation::Softmax { background: 0 };

/// Logits in ±6.
fn logits(place: &Place, seed: u32) -> (Tensor<3>, Tensor<3>) {
    let leaf = place.leaf([2, 150, 7], seed);
    (leaf.clone(), leaf * 6.0)
}

fn check_focal(name: &str, loss: SigmoidFocalLoss) {
    with_exact(name, Tolerance::Elementwise, |place| {
        let (leaf, logits) = logits(place, 1);
        // Soft targets; hard ones are their ends.
        let targets = place.values([2, 150, 7], 2).clamp(-0.5, 0.5) + 0.5;
        let value = loss.forward(logits.clone(), targets.clone());
        let sum = loss.sum(logits, targets);
        let gradients = (value.clone() * place.values([2, 150, 7], 3)).sum().add(sum.clone()).backward();
        let mut results = Results::default();
        results.add("value", value);
        // A sum of 2,100 values, each of at most 6, beside single ones.
        results.add("sum", sum / 100.0);
        results.add_gradient("logits", &leaf, &gradients);
        results
    });
}

#[test]
fn focal_loss() {
    check_focal("focal_loss", SigmoidFocalLoss::default());
}

#[test]
fn focal_loss_of_the_tiny_preset() {
    check_focal("focal_loss_of_the_tiny_preset", SigmoidFocalLoss { alpha: 0.5, gamma: 1.0 });
}

#[test]
fn focal_loss_without_focus() {
    check_focal("focal_loss_without_focus", SigmoidFocalLoss { alpha: 0.25, gamma: 0.0 });
}

#[test]
fn focal_loss_of_any_exponent() {
    check_focal("focal_loss_of_any_exponent", SigmoidFocalLoss { alpha: 0.25, gamma: 1.7 });
}

/// The same of class numbers, with weights of anchors, as the detectors use it.
fn check_focal_by_classes(name: &str, loss: SigmoidFocalLoss) {
    // One-hot rows are made in `f32`.
    with_other(name, Tolerance::Products, |place| {
        let (leaf, logits) = logits(place, 1);
        // Class 7 and -1 are background.
        let classes = place.indices((0..300).map(|i| (i * i + i / 7) % 9 - 1).collect(), [2, 150]);
        let sum = loss.sum_of_classes(logits, classes, place.values([2, 150], 4).abs());
        let gradients = (sum.clone() * 0.7).backward();
        let mut results = Results::default();
        results.add("sum", sum);
        results.add_gradient("logits", &leaf, &gradients);
        results
    });
}

#[test]
fn focal_loss_by_classes() {
    check_focal_by_classes("focal_loss_by_classes", SigmoidFocalLoss::default());
}

#[test]
fn focal_loss_by_classes_of_any_exponent() {
    let loss = SigmoidFocalLoss { alpha: 0.5, gamma: 1.7 };
    check_focal_by_classes("focal_loss_by_classes_of_any_exponent", loss);
}

/// `log σ(z)` of large logits too, where it is `z` or 0: in an RPN the background's.
#[test]
fn log_sigmoid() {
    with_exact("log_sigmoid", Tolerance::Elementwise, |place| {
        let leaf = place.leaf([500], 1);
        let value = activation::log_sigmoid(leaf.clone() * 30.0);
        let gradients = place.backward(value.clone());
        let mut results = Results::default();
        results.add("value", value);
        results.add_gradient("logits", &leaf, &gradients);
        results
    });
}

#[test]
fn cross_entropy_of_regions() {
    with_exact("cross_entropy_of_regions", Tolerance::Elementwise, |place| {
        let leaf = place.leaf([64, 21], 1);
        let labels = place.indices((0..64).map(|i| (i * i) % 21).collect(), [64, 1]);
        let value = -activation::log_softmax(leaf.clone() * 6.0, 1).gather(1, labels);
        let gradients = place.backward(value.clone());
        let mut results = Results::default();
        results.add("value", value);
        results.add_gradient("logits", &leaf, &gradients);
        results
    });
}

fn check_smooth_l1(name: &str, beta: f64) {
    with_exact(name, Tolerance::Elementwise, |place| {
        let (a, b) = (place.leaf([300, 4], 1), place.leaf([300, 4], 2));
        let value = smooth_l1(a.clone(), b.clone(), beta);
        let gradients = place.backward(value.clone());
        let mut results = Results::default();
        results.add("value", value);
        results.add_gradient("prediction", &a, &gradients);
        results.add_gradient("target", &b, &gradients);
        results
    });
}

#[test]
fn smooth_l1_loss() {
    check_smooth_l1("smooth_l1_loss", 0.1);
}

#[test]
fn l1_loss() {
    check_smooth_l1("l1_loss", 0.0);
}

/// Of boxes decoded from deltas, as RetinaNet's option does; the decoder has numbers in `f32`.
#[test]
fn giou_of_decoded_boxes() {
    with_other("giou_of_decoded_boxes", Tolerance::Elementwise, |place| {
        let deltas = place.leaf([200, 4], 1);
        let boxes = |seed: u32| {
            let corner = place.values([200, 2], seed) * 20.0 + 30.0;
            let side = place.values([200, 2], seed + 1) * 8.0 + 12.0;
            Tensor::cat(vec![corner.clone(), corner + side], 1)
        };
        let coder = BoxCoder { weights: [1.0, 1.0, 2.0, 2.0], ..BoxCoder::default() };
        let value = giou_loss(coder.decode_tensor(deltas.clone(), boxes(2)), boxes(4));
        let gradients = place.backward(value.clone());
        let mut results = Results::default();
        results.add("value", value);
        results.add_gradient("deltas", &deltas, &gradients);
        results
    });
}

type AnchorLoss = fn(ClassActivation, &ViewPair, BoxNorm) -> AnchorLosses;

fn anchor_loss(place: &Place, loss: AnchorLoss, activation: ClassActivation, norm: BoxNorm) -> Results {
    let ((leaf_a, a), (leaf_b, b)) = (logits(place, 1), logits(place, 2));
    let (deltas_a, deltas_b) = (place.leaf([2, 150, 4], 3), place.leaf([2, 150, 4], 4));
    let pair = ViewPair::new(Predictions::new(a, deltas_a.clone()), Predictions::new(b, deltas_b.clone()));
    let losses = loss(activation, &pair, norm);
    let sum = (losses.class.clone() * place.values([2, 150, losses.class.dims()[2]], 5)).sum()
        + (losses.boxes.clone() * place.values([2, 150], 6)).sum();
    let gradients = sum.backward();
    let mut results = Results::default();
    results.add("class", losses.class);
    results.add("boxes", losses.boxes);
    results.add("difference", losses.probability_difference);
    for (name, leaf) in [("logits", &leaf_a), ("other logits", &leaf_b), ("deltas", &deltas_a)] {
        // The teacher of a distillation gets none.
        if leaf.grad(&gradients).is_some() {
            results.add_gradient(name, leaf, &gradients);
        }
    }
    results
}

macro_rules! anchor_losses {
    ($($name:ident: $with:ident, $loss:ident, $activation:ident, $norm:expr;)*) => {
        $(
            #[test]
            fn $name() {
                $with(stringify!($name), Tolerance::Elementwise, |place| {
                    anchor_loss(place, $loss, $activation, $norm)
                });
            }
        )*
    };
}

// The distillation of a sigmoid head makes numbers of its own, in `f32`.
anchor_losses! {
    scale_consistency_of_sigmoids: with_exact, scale_consistency, SIGMOID, BoxNorm::default();
    scale_consistency_of_softmax: with_exact, scale_consistency, SOFTMAX, BoxNorm::SquaredL2;
    distillation_of_sigmoids: with_other, self_distillation, SIGMOID, BoxNorm::default();
    distillation_of_softmax: with_exact, self_distillation, SOFTMAX, BoxNorm::SmoothL1 { beta: 0.3 };
}

fn check_sharpen(name: &str, activation: ClassActivation) {
    with_exact(name, Tolerance::Elementwise, |place| {
        let mut results = Results::default();
        // As probabilities, since a logit near the end of its range has a large rounding error.
        let sharp = sharpen(activation, logits(place, 1).1, 0.5);
        results.add("probabilities", activation.probabilities(sharp));
        results
    });
}

#[test]
fn sharpening_of_sigmoids() {
    check_sharpen("sharpening_of_sigmoids", SIGMOID);
}

#[test]
fn sharpening_of_softmax() {
    check_sharpen("sharpening_of_softmax", SOFTMAX);
}
