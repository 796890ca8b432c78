//! A step whose networks compute in bfloat16.

use burn::{
    module::{ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{DType, Device, FloatDType, Tensor},
    train::TrainStep,
};
use sed::{
    core::Detector,
    train::train::{Method, Precision, SemiSupervised, TrainConfig},
};

use crate::{batch, cells::CellDetector, device, faster_rcnn, object, retinanet};

fn config(precision: Precision) -> TrainConfig {
    TrainConfig {
        method: Method::Sed,
        iterations: 8,
        evaluate_every: 8,
        batch_labeled: 1,
        batch_unlabeled: 1,
        burn_in: 0,
        ramp_up: 0,
        clip_norm: None,
        precision,
        ..TrainConfig::default()
    }
}

fn is_supported() -> bool {
    Device::default().supports_dtype(FloatDType::BF16)
}

/// The gradients of all weights that have one, which must be of the weights' own type.
fn gradient(model: &impl Detector, grads: &GradientsParams) -> Vec<f32> {
    struct Collect<'a>(&'a GradientsParams, Vec<f32>);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            assert_eq!(param.val().dtype(), DType::F32);
            if let Some(grad) = self.0.get::<D>(param.id) {
                assert_eq!(grad.dtype(), DType::F32);
                self.1.extend(grad.into_data().iter::<f32>());
            }
        }
    }
    let mut collect = Collect(grads, Vec::new());
    model.visit(&mut collect);
    collect.1
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// One step from the same weights in both types, then some more in bfloat16.
fn follows_f32<D: Detector>(detector: D) {
    if !is_supported() {
        let error = SemiSupervised::new(detector, &config(Precision::Bf16)).unwrap_err().to_string();
        assert!(error.starts_with("precision = bf16: the device "), "{error}");
        return;
    }
    let step = |precision| {
        let model = SemiSupervised::new(detector.clone(), &config(precision)).unwrap();
        let output = TrainStep::step(&model, batch(0, object(), true));
        (gradient(&model.student, &output.grads), output.item.scalars)
    };
    let (exact, scalars) = step(Precision::F32);
    let (rounded, of_rounded) = step(Precision::Bf16);
    assert_ne!(exact, rounded, "nothing was computed in bf16");
    // Eight bits of precision, some ten layers deep: a few parts in a hundred.
    for name in scalars.keys() {
        let (a, b) = (scalars[name], of_rounded[name]);
        assert!((a - b).abs() <= 0.05 * a.abs().max(0.01), "{name}: {a} in f32, {b} in bf16");
    }
    let cosine = cosine(&exact, &rounded);
    assert!(cosine > 0.99, "the gradients' directions: {cosine}");

    let config = config(Precision::Bf16);
    let mut optimizer = config.optimizer.init();
    let mut model = SemiSupervised::new(detector, &config).unwrap();
    let mut losses = Vec::new();
    for iteration in 0..config.iterations {
        let output = TrainStep::step(&model, batch(iteration, object(), true));
        losses.push(output.item.scalars["loss"]);
        model = model.optimize(&mut optimizer, 0.01.into(), output.grads);
    }
    assert!(losses[config.iterations - 1] < losses[0], "{losses:?}");
    // Weights stay in f32, which `gradient` checks.
    gradient(&model.student, &GradientsParams::new());
    gradient(&model.teacher, &GradientsParams::new());
}

#[test]
fn losses_and_gradients_of_a_retinanet_follow_f32() {
    follows_f32(retinanet().init(&device()).unwrap());
}

#[test]
fn losses_and_gradients_of_a_faster_rcnn_follow_f32() {
    follows_f32(faster_rcnn().init(&device()).unwrap());
}

#[test]
fn a_detector_that_does_not_take_it_is_refused() {
    let detector = CellDetector::new(2, &device());
    let error = SemiSupervised::new(detector, &config(Precision::Bf16)).unwrap_err();
    assert_eq!(error.to_string(), "precision = bf16: this detector computes in f32 alone");
}
