//! Losses on 100,000 anchors of 80 classes: the focal loss as RetinaNet calls it, and the unsupervised objective
//! of one stage with a sigmoid head. `_forward` is the value alone, else the gradients come on top.

mod common;

use burn::tensor::{Device, Int, Tensor, TensorData};
use common::{formula, leaf, long, unit};
use criterion::{Criterion, criterion_group, criterion_main};
use sed_core::{
    ClassActivation, Predictions, StageViews, ViewPair,
    losses::SigmoidFocalLoss,
    objective::{Objective, ObjectiveConfig},
};

const ANCHORS: usize = 100_000;
const CLASSES: usize = 80;

/// Logits around the prior of an untrained head, by number of the view.
fn logits(view: u32, device: &Device) -> Tensor<3> {
    formula([1, ANCHORS, CLASSES], view * 7_000_003, [-8.0, 1.0], device)
}

fn deltas(view: u32, device: &Device) -> Tensor<3> {
    formula([1, ANCHORS, 4], view * 7_000_003, [-1.0, 1.0], device)
}

/// Class ids, `CLASSES` for background (eight anchors in a hundred have a class), and a weight for each anchor.
fn classes(device: &Device) -> (Tensor<2, Int>, Tensor<2>) {
    let id = |anchor: u32| match unit(99 + anchor) < 0.08 {
        true => (unit(anchor) * CLASSES as f32) as i32,
        false => CLASSES as i32,
    };
    let ids: Vec<i32> = (0..ANCHORS as u32).map(id).collect();
    let ids = Tensor::from_data(TensorData::new(ids, [1, ANCHORS]), device);
    (ids, Tensor::ones([1, ANCHORS], device))
}

fn focal(criterion: &mut Criterion) {
    let device = Device::flex();
    let mut group = long(criterion, "losses");
    let loss = SigmoidFocalLoss::default();
    group.bench_function("focal_100k_x80_forward", |b| {
        let z = logits(0, &device);
        let (ids, weights) = classes(&device);
        b.iter(|| loss.sum_of_classes(z.clone(), ids.clone(), weights.clone()).into_scalar::<f32>());
    });
    group.bench_function("focal_100k_x80", |b| {
        let z = logits(0, &device);
        let (ids, weights) = classes(&device.clone().autodiff());
        b.iter(|| loss.sum_of_classes(leaf(&z), ids.clone(), weights.clone()).backward());
    });
}

fn objective(criterion: &mut Criterion) {
    let device = Device::flex();
    let mut group = long(criterion, "losses");
    let objective = Objective::new(ObjectiveConfig::default()).expect("the default is valid");
    group.bench_function("sed_100k_x80", |b| {
        let views: [_; 3] = std::array::from_fn(|v| (logits(v as u32, &device), deltas(v as u32, &device)));
        let [full, half, teacher] = views;
        let track = |(z, r): &(Tensor<3>, Tensor<3>)| Predictions::new(leaf(z), leaf(r));
        b.iter(|| {
            let student = track(&full);
            let stage = StageViews::new(
                "head",
                ClassActivation::Sigmoid,
                ViewPair::new(student.clone(), track(&half)),
                ViewPair::new(student, Predictions::new(teacher.0.clone(), teacher.1.clone())),
            );
            objective.unsupervised(&[stage])[0].total().backward()
        });
    });
}

criterion_group!(benches, focal, objective);
criterion_main!(benches);
