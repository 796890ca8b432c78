//! Whole training steps: supervised ones (`step/supervised_…`), and how their time grows with the area and the
//! number of images (`curve/…`, RetinaNet of ResNet-50); one of Scale-Equivalent Distillation with one labeled and
//! one unlabeled image of 512² (`step/sed_r50_512`).

mod common;

use burn::{
    tensor::Device,
    train::{TrainOutput, TrainStep},
};
use common::{long, retinanet, retinanet::Supervised};
use criterion::{Criterion, criterion_group, criterion_main};
use sed_core::ImageSize;
use sed_models::retinanet::RetinaNetConfig;
use sed_train::{
    data::{HostImages, HostViews, TrainBatch},
    train::{SemiSupervised, TrainConfig},
};

fn supervised(criterion: &mut Criterion) {
    let device = Device::flex();
    let resnet50 = || retinanet::resnet50(&device);
    long(criterion, "step").bench_function("supervised_r50_512", |b| {
        let mut training = Supervised::new(resnet50(), 1, 512);
        b.iter(|| training.step());
    });
    // The preset for images of about 128 pixels.
    long(criterion, "step").bench_function("supervised_tiny", |b| {
        let model = RetinaNetConfig::tiny(6).init(&device).expect("the preset is valid");
        let mut training = Supervised::new(model, 4, 128);
        b.iter(|| training.step());
    });
    let mut group = long(criterion, "curve");
    for (id, count, side) in
        [("area_256", 1, 256), ("area_512", 1, 512), ("batch_1", 1, 256), ("batch_4", 4, 256)]
    {
        group.bench_function(id, |b| {
            let mut training = Supervised::new(resnet50(), count, side);
            b.iter(|| training.step());
        });
    }
}

/// One labeled and one unlabeled image of 512².
fn batch() -> TrainBatch {
    let pixels = |first: u32| HostImages {
        pixels: (0..3 * 512 * 512).map(|i| common::unit(first + i)).collect(),
        height: 512,
        width: 512,
        sizes: vec![ImageSize::new(512, 512)],
    };
    TrainBatch {
        iteration: 0,
        labeled: pixels(0),
        targets: retinanet::targets(1, 512),
        labeled_ids: vec![1],
        unlabeled: Some(HostViews { weak: pixels(1), strong: pixels(2), keys: vec!["photo".into()] }),
    }
}

fn distillation(criterion: &mut Criterion) {
    long(criterion, "step").bench_function("sed_r50_512", |b| {
        let config = TrainConfig {
            iterations: 1000,
            evaluate_every: 1000,
            batch_labeled: 1,
            batch_unlabeled: 1,
            burn_in: 0,
            ramp_up: 0,
            ..TrainConfig::default()
        };
        let detector = retinanet::resnet50(&Device::flex());
        let mut training = Some(SemiSupervised::new(detector, &config).expect("a valid configuration"));
        let mut optimizer = config.optimizer.init();
        let batch = batch();
        b.iter(|| {
            let old = training.take().expect("the step before has put it back");
            let TrainOutput { grads, item } = TrainStep::step(&old, batch.clone());
            assert!(item.scalars["loss"].is_finite(), "the loss is not finite");
            training = Some(old.optimize(&mut optimizer, retinanet::RATE.into(), grads));
        });
    });
}

criterion_group!(benches, supervised, distillation);
criterion_main!(benches);
