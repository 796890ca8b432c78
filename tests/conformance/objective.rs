//! The total objective on unlabeled images, with each of its options.

use sed::core::{
    ClassActivation, DetectionLoss, Predictions, StageViews, ViewPair,
    losses::BoxNorm,
    objective::{Objective, ObjectiveConfig, ScaleTargets},
    reweight::{BoxWeights, Granularity, Normalizer, ReweightConfig},
};

use super::{
    compare::{Results, Tolerance, with_other},
    losses::{SIGMOID, SOFTMAX},
};

/// Three predictions as leaves, the two losses over them, the total, and its gradients.
fn check(name: &str, activation: ClassActivation, config: ObjectiveConfig) {
    // Sums over 600 anchors of terms that each have a few roundings.
    with_other(name, Tolerance::Products, |place| {
        let shapes = ([2, 300, 5], [2, 300, 4]);
        let leaves: Vec<_> =
            (0..3).map(|i| (place.leaf(shapes.0, 1 + i), place.leaf(shapes.1, 11 + i))).collect();
        let view = |i: usize| Predictions::new(leaves[i].0.clone() * 4.0 - 1.0, leaves[i].1.clone());
        let objective = Objective::new(config).unwrap();
        let losses = objective.unsupervised(&[StageViews::new(
            "head",
            activation,
            ViewPair::new(view(0), view(1)),
            ViewPair::new(view(0), view(2).detach()),
        )]);
        let supervised = DetectionLoss {
            stage: "head",
            classification: leaves[0].0.clone().square().sum() / 100.0,
            box_regression: leaves[0].1.clone().square().sum() / 100.0,
        };
        let total = objective.total(&[supervised], &losses, 3, 2);
        let gradients = total.clone().backward();
        let mut results = Results::default();
        results.add("total", total);
        results.add("teacher_foreground", losses[0].teacher_foreground.clone());
        for (term, value) in losses[0].terms() {
            results.add(term, value.clone());
        }
        for (i, (logits, deltas)) in leaves.iter().take(2).enumerate() {
            if i == 0 || config.scale_weight > 0.0 {
                results.add_gradient(&format!("logits {i}"), logits, &gradients);
                results.add_gradient(&format!("deltas {i}"), deltas, &gradients);
            }
        }
        results
    });
}

fn reweight(change: impl FnOnce(&mut ReweightConfig)) -> ObjectiveConfig {
    let mut config = ObjectiveConfig::default();
    change(&mut config.reweight);
    config
}

macro_rules! objectives {
    ($($name:ident: $activation:ident, $config:expr;)*) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name), $activation, $config);
            }
        )*
    };
}

objectives! {
    objective_of_sigmoids: SIGMOID, ObjectiveConfig::default();
    objective_of_softmax: SOFTMAX, ObjectiveConfig::default();
    objective_without_scale_consistency: SIGMOID, ObjectiveConfig { scale_weight: 0.0, ..ObjectiveConfig::default() };
    objective_of_sigmoids_with_the_full_view_as_target: SIGMOID, ObjectiveConfig { scale_targets: ScaleTargets::FullView, ..ObjectiveConfig::default() };
    objective_of_softmax_with_the_full_view_as_target: SOFTMAX, ObjectiveConfig { scale_targets: ScaleTargets::FullView, ..ObjectiveConfig::default() };
    objective_without_distillation: SIGMOID, ObjectiveConfig { distill_weight: 0.0, ..ObjectiveConfig::default() };
    objective_with_sharp_teacher: SIGMOID, ObjectiveConfig { temperature: 0.5, ..ObjectiveConfig::default() };
    objective_with_sharp_softmax_teacher: SOFTMAX, ObjectiveConfig { temperature: 0.5, ..ObjectiveConfig::default() };
    objective_with_squared_box_norm: SIGMOID, ObjectiveConfig { box_norm: BoxNorm::SquaredL2, ..ObjectiveConfig::default() };
    objective_with_smooth_l1_box_norm: SIGMOID, ObjectiveConfig { box_norm: BoxNorm::SmoothL1 { beta: 0.3 }, ..ObjectiveConfig::default() };
    objective_without_reweighting: SIGMOID, reweight(|r| r.gamma = 0.0);
    objective_with_other_exponent: SIGMOID, reweight(|r| r.gamma = 1.5);
    objective_with_squared_weights: SIGMOID, reweight(|r| r.gamma = 2.0);
    objective_with_weights_by_class: SIGMOID, reweight(|r| r.granularity = Granularity::PerClass);
    objective_with_uniform_box_weights: SIGMOID, reweight(|r| r.boxes = BoxWeights::Uniform);
    objective_over_the_weights: SIGMOID, reweight(|r| r.normalizer = Normalizer::WeightSum);
    objective_over_the_weights_by_class: SOFTMAX, reweight(|r| {
        (r.normalizer, r.granularity) = (Normalizer::WeightSum, Granularity::PerClass);
    });
    objective_over_the_anchors: SIGMOID, reweight(|r| r.normalizer = Normalizer::AnchorCount);
}
