//! What changes weights: clipping, optimizers, the teacher, and all of it in whole steps.

use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    optim::GradientsParams,
    tensor::Device,
    train::TrainStep,
};
use sed::{
    core::{Detector, ImageSize},
    train::{
        data::{HostImages, HostViews, TrainBatch},
        train::{
            Method, OptimizerConfig, RunningStatistics, SemiSupervised, TrainConfig, clip_global_norm,
            update_teacher,
        },
    },
};

use super::{
    compare::{Results, Tolerance, with_other},
    detectors,
    modules::{add_parameters, filled},
    place::{Place, pseudo_random},
};

fn linear(place: &Place) -> Linear {
    filled(LinearConfig::new(40, 30).init(&place.device), place)
}

fn gradients(layer: &Linear, place: &Place, seed: u32) -> GradientsParams {
    let mut gradients = GradientsParams::new();
    gradients.register(layer.weight.id, place.values([40, 30], seed).inner());
    gradients.register(layer.bias.as_ref().unwrap().id, place.values([30], seed + 1).inner());
    gradients
}

/// Three steps with other gradients each.
fn check_optimizer(name: &str, config: OptimizerConfig) {
    with_other(name, Tolerance::Elementwise, |place| {
        let (mut layer, mut optimizer) = (linear(place), config.init());
        for seed in [1, 3, 5] {
            let gradients = gradients(&layer, place, seed);
            layer = optimizer.step(0.05, layer, gradients);
        }
        let mut results = Results::default();
        add_parameters(&mut results, &layer);
        results
    });
}

#[test]
fn sgd_with_momentum() {
    check_optimizer("sgd_with_momentum", OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 1e-2 });
}

#[test]
fn adamw() {
    check_optimizer("adamw", OptimizerConfig::Adamw { beta1: 0.9, beta2: 0.999, weight_decay: 1e-2 });
}

#[test]
fn clipping_by_the_global_norm() {
    with_other("clipping_by_the_global_norm", Tolerance::Elementwise, |place| {
        let layer = linear(place);
        let (mut clipped, norm) =
            clip_global_norm(&layer, gradients(&layer, place, 1), Some(2.0)).expect("the device answers");
        let mut results = Results::default();
        results.add_numbers("norm", vec![norm]);
        results.add("gradient of weight", clipped.remove::<2>(layer.weight.id).unwrap());
        results
    });
}

#[test]
fn teacher_update() {
    with_other("teacher_update", Tolerance::Elementwise, |place| {
        let student = linear(place);
        let other = |layer: &Linear| {
            let mut layer = layer.clone();
            layer.weight = layer.weight.map(|w| (w.inner() * -0.5 + 0.1).autodiff().require_grad());
            layer
        };
        let teacher = other(&student).valid();
        let teacher = update_teacher(teacher, &student, 0.9, RunningStatistics::Average);
        let mut results = Results::default();
        add_parameters(&mut results, &teacher);
        results
    });
}

fn host_images(seed: u32) -> HostImages {
    let size = ImageSize::new(64, 64);
    let mut images = HostImages::new(size);
    images.pixels = pseudo_random(3 * 64 * 64, seed).iter().map(|v| 0.5 + 0.5 * v).collect();
    images.sizes.push(size);
    images
}

/// Two steps by SED: both networks, and the losses of the second step, which depend on the first.
fn check_steps<D: Detector>(name: &str, make: impl Fn(&Device) -> D) {
    with_other(name, Tolerance::Network, |place| {
        let config = TrainConfig {
            method: Method::Sed,
            iterations: 2,
            evaluate_every: 2,
            batch_labeled: 1,
            batch_unlabeled: 1,
            burn_in: 0,
            ramp_up: 0,
            clip_norm: Some(1.0),
            // AdamW would divide the rounding errors of tiny gradients by their size.
            optimizer: OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 1e-4 },
            ..TrainConfig::default()
        };
        let mut optimizer = config.optimizer.init();
        let mut model = SemiSupervised::new(filled(make(&place.device), place), &config).unwrap();
        let mut results = Results::default();
        for iteration in 0..2 {
            let batch = TrainBatch {
                iteration,
                labeled: host_images(1),
                targets: detectors::targets(),
                labeled_ids: vec![1],
                unlabeled: Some(HostViews {
                    weak: host_images(2),
                    strong: host_images(3),
                    keys: vec!["u".into()],
                }),
            };
            let output = TrainStep::step(&model, batch);
            let scalars = output.item.scalars.clone();
            results.add_numbers(format!("losses {iteration}"), scalars.values().copied().collect());
            model = model.optimize(&mut optimizer, 0.05.into(), output.grads);
        }
        assert_eq!(model.iteration(), 2, "a step failed");
        add_parameters(&mut results, &model.student);
        add_parameters(&mut results, &model.teacher);
        results
    });
}

#[test]
fn steps_of_a_retinanet() {
    check_steps("steps_of_a_retinanet", detectors::retinanet);
}

#[test]
fn steps_of_a_faster_rcnn() {
    check_steps("steps_of_a_faster_rcnn", detectors::faster_rcnn);
}
