//! Detection on one image of 512² by RetinaNet of ResNet-50, post-processing included.

mod common;

use burn::tensor::Device;
use common::{long, retinanet};
use criterion::{Criterion, criterion_group, criterion_main};
use sed_core::Detector;

fn detect(criterion: &mut Criterion) {
    long(criterion, "inference").bench_function("r50_512", |b| {
        let device = Device::flex();
        let model = retinanet::resnet50(&device);
        let images = retinanet::images(1, 512, &device);
        b.iter(|| model.detect(&images));
    });
}

criterion_group!(benches, detect);
criterion_main!(benches);
