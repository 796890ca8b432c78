//! The passes over slices beside the formulas composed of tensor operations.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::{PairTerm, focal_sum, foreground_sum};
use crate::{
    ClassActivation, Predictions, ViewPair,
    losses::{BoxNorm, SigmoidFocalLoss, scale_consistency, self_distillation, sharpen},
    reweight::{BoxWeights, Granularity, ReweightConfig},
    testing::{assert_close, gradient, pseudo_logits, values},
};

/// More anchors than a block has, not a multiple of anything; one class, few, and many.
const SHAPES: [[usize; 3]; 3] = [[1, 1203, 1], [2, 405, 3], [1, 37, 80]];

/// Elements differ by rounding alone; sums of thousands of them lose two digits more.
const ELEMENT: f32 = 2e-6;
const SUM: f32 = 1e-4;

fn device() -> Device {
    Device::flex().autodiff()
}

/// Two sides, equal on every seventh anchor, where the differences are exactly 0.
fn pair([n, a, c]: [usize; 3]) -> ViewPair {
    let side = |seed| {
        let anchors = Tensor::<1, Int>::arange(0..a as i64, &device()).remainder_scalar(7).equal_scalar(0);
        let tensor = |columns, seed| {
            let all = pseudo_logits([n, a, columns], seed, &device());
            let same = pseudo_logits([n, a, columns], 77, &device());
            let anchors = anchors.clone().reshape([1, a, 1]).expand([n, a, columns]);
            all.mask_where(anchors, same).inner().autodiff().require_grad()
        };
        Predictions::new(tensor(c, seed), tensor(4, seed + 1))
    };
    ViewPair::new(side(1), side(11))
}

/// The four sums, the gradients of both sides to unequal multiples of the class and box sums.
fn run(pair: &ViewPair, sums: impl FnOnce() -> crate::reweight::WeightedSums) -> [Vec<f32>; 2] {
    let sums = sums();
    let gradients = (sums.class.clone() * 3.0 + sums.boxes.clone() * 2.0).backward();
    let numbers = [sums.class, sums.class_weight, sums.boxes, sums.box_weight].map(|s| values(&s)[0]);
    let tensors = [&pair.student, &pair.other].map(|side| [&side.class_logits, &side.box_deltas]);
    let slopes = tensors.into_iter().flatten().flat_map(|tensor| match tensor.grad(&gradients) {
        Some(gradient) => values(&gradient),
        None => vec![0.0; tensor.shape().num_elements()],
    });
    [numbers.to_vec(), slopes.collect()]
}

#[test]
fn a_pass_over_pairs_agrees_with_the_composed_formula_under_each_option() {
    let base = ReweightConfig::default();
    let mut configs: Vec<(BoxNorm, ReweightConfig)> = Vec::new();
    for norm in [
        BoxNorm::default(),
        BoxNorm::SquaredL2,
        BoxNorm::SmoothL1 { beta: 0.0 },
        BoxNorm::SmoothL1 { beta: 0.7 },
    ] {
        configs.push((norm, base));
    }
    for gamma in [0.0, 0.5, 2.0] {
        for granularity in [Granularity::PerAnchor, Granularity::PerClass] {
            for boxes in [BoxWeights::Inconsistency, BoxWeights::Uniform] {
                configs.push((BoxNorm::default(), ReweightConfig { gamma, granularity, boxes, ..base }));
            }
        }
    }
    for shape in SHAPES {
        for &(box_norm, reweight) in &configs {
            for (two_sided, temperature) in [(true, 1.0), (false, 1.0), (false, 0.5)] {
                let activation = ClassActivation::Sigmoid;
                let at = pair(shape);
                let composed = run(&at, || {
                    let losses = if two_sided {
                        scale_consistency(activation, &at, box_norm)
                    } else {
                        let mut at = at.clone();
                        at.other.class_logits = sharpen(activation, at.other.class_logits, temperature);
                        self_distillation(activation, &at, box_norm)
                    };
                    reweight.weighted_sums(losses)
                });
                let term = PairTerm { two_sided, temperature, box_norm, reweight };
                let at = pair(shape);
                let fused = run(&at, || term.weighted_sums(&at).expect("tensors of flex"));
                assert_close(&fused[0], &composed[0], SUM);
                assert_close(&fused[1], &composed[1], 3.0 * ELEMENT);
            }
        }
    }
}

#[test]
fn a_pass_of_the_focal_loss_agrees_with_the_composed_formula() {
    for [n, a, c] in SHAPES {
        for (alpha, gamma) in [(0.25, 2.0), (0.5, 1.0), (0.25, 0.0), (0.9, 1.5)] {
            let loss = SigmoidFocalLoss { alpha, gamma };
            let anchors = n * a;
            // Every third anchor is background, by a number below or above the classes.
            let classes: Vec<i64> =
                (0..anchors as i64).map(|i| [i % c as i64, -1, c as i64][i as usize % 3]).collect();
            let weights: Vec<f32> = (0..anchors).map(|i| (i % 4) as f32 / 4.0).collect();
            let logits = (pseudo_logits([n, a, c], 5, &device()) * 3.0).inner().autodiff().require_grad();
            let (value, slopes) = focal_sum(&loss, &values(&logits), c, &classes, &weights);

            let one_hot =
                classes.iter().flat_map(|&class| (0..c as i64).map(move |k| f32::from(u8::from(k == class))));
            let one_hot = TensorData::new(one_hot.collect::<Vec<_>>(), [n, a, c]);
            let weights = Tensor::<3>::from_data(TensorData::new(weights, [n, a, 1]), &device());
            let composed =
                (loss.forward(logits.clone(), Tensor::from_data(one_hot, &device())) * weights).sum();
            assert_close(&[value as f32], &values(&composed), SUM);
            assert_close(&slopes, &gradient(&logits, &composed.backward()), ELEMENT);
        }
    }
}

#[test]
fn a_pass_over_scores_agrees_with_the_composed_formula() {
    for shape in SHAPES {
        let logits = pseudo_logits(shape, 3, &device());
        let composed = ClassActivation::Sigmoid.foreground_score(logits.clone()).sum();
        let fused = foreground_sum(&logits).expect("a tensor of flex");
        assert_close(&values(&fused), &values(&composed), SUM);
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    // Several tasks.
    let at = pair([1, 50_000, 3]);
    let reweight = ReweightConfig::default();
    let term = PairTerm { two_sided: false, temperature: 0.5, box_norm: BoxNorm::default(), reweight };
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
        pool.install(|| run(&at, || term.weighted_sums(&at).expect("tensors of flex")))
    };
    assert!(run(1) == run(5));
}

#[test]
fn a_number_that_is_none_shows_in_the_sums() {
    let mut at = pair([1, 40, 3]);
    let logits = at
        .student
        .class_logits
        .clone()
        .slice_assign([0..1, 9..10, 1..2], Tensor::full([1, 1, 1], f32::NAN, &device()));
    at.student.class_logits = logits;
    for two_sided in [false, true] {
        let (box_norm, reweight) = (BoxNorm::default(), ReweightConfig::default());
        let term = PairTerm { two_sided, temperature: 1.0, box_norm, reweight };
        let sums = term.weighted_sums(&at).expect("tensors of flex");
        assert!(values(&sums.class)[0].is_nan() && values(&sums.box_weight)[0].is_nan());
    }
    assert!(values(&foreground_sum(&at.student.class_logits).expect("a tensor of flex"))[0].is_nan());
}

#[test]
fn nothing_is_computed_without_elements() {
    let at = pair([1, 40, 3]);
    let (box_norm, reweight) = (BoxNorm::default(), ReweightConfig::default());
    let term = PairTerm { two_sided: true, temperature: 1.0, box_norm, reweight };
    let empty = |side: &Predictions| {
        let none = |t: &Tensor<3>| t.clone().slice([0..1, 0..0]);
        Predictions { class_logits: none(&side.class_logits), box_deltas: none(&side.box_deltas) }
    };
    assert!(term.weighted_sums(&ViewPair { student: empty(&at.student), other: empty(&at.other) }).is_none());
}
