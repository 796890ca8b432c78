//! The passes that a step of Scale-Equivalent Distillation consists of, bare: the student on the labeled image, on
//! the strong view and on the half view, forward and backward from the sum of its outputs, and the teacher, forward
//! alone. RetinaNet of ResNet-50, 512² and 256².

mod common;

use burn::{module::Module, tensor::Device};
use common::{long, retinanet};
use criterion::{Criterion, criterion_group, criterion_main};

fn passes(criterion: &mut Criterion) {
    let device = Device::flex();
    let mut group = long(criterion, "passes");
    for (id, side) in [("labeled", 512), ("strong", 512), ("half", 256)] {
        group.bench_function(id, |b| {
            let student = retinanet::resnet50(&device).train();
            let images = retinanet::images(1, side, &student.devices().remove(0));
            b.iter(|| retinanet::sum_of_outputs(&student, &images).backward());
        });
    }
    group.bench_function("teacher", |b| {
        let teacher = retinanet::resnet50(&device);
        let images = retinanet::images(1, 512, &device);
        b.iter(|| retinanet::sum_of_outputs(&teacher, &images));
    });
}

criterion_group!(benches, passes);
criterion_main!(benches);
