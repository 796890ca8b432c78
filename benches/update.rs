//! What follows the gradients: the teacher's moving average over the 26 M parameters of ResNet-50 with P3 to P5,
//! and the optimizer's step (momentum 0.9, weight decay) on the 34 M of a whole RetinaNet.

mod common;

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Device, Tensor},
};
use common::{long, random, retinanet};
use criterion::{Criterion, criterion_group, criterion_main};
use sed_models::backbone::{FpnConfig, ResNetFpnConfig};
use sed_train::train::{OptimizerConfig, RunningStatistics, update_teacher};

fn average(criterion: &mut Criterion) {
    long(criterion, "update").bench_function("ema_26m", |b| {
        let fpn = FpnConfig { highest_level: 5, ..FpnConfig::default() };
        let config = ResNetFpnConfig { fpn, ..ResNetFpnConfig::default() };
        let student = config.init(&Device::flex()).expect("the configuration is valid").train();
        let mut teacher = Some(student.valid());
        b.iter(|| {
            let old = teacher.take().expect("the update before has put it back");
            teacher = Some(update_teacher(old, &student, 0.9996, RunningStatistics::Average));
        });
    });
}

/// A random gradient for each parameter.
struct RandomGradients(GradientsParams);

impl ModuleVisitor for RandomGradients {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        if value.is_require_grad() {
            self.0.register(param.id, random(value.dims(), &value.device().without_autodiff()) * 1e-3);
        }
    }
}

/// The same gradients once more: an optimizer consumes them.
struct Copied<'a> {
    from: &'a GradientsParams,
    to: GradientsParams,
}

impl ModuleVisitor for Copied<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.from.get::<D>(param.id) {
            self.to.register(param.id, grad);
        }
    }
}

fn optimizers(criterion: &mut Criterion) {
    let mut group = long(criterion, "update");
    let adamw = OptimizerConfig::Adamw { beta1: 0.9, beta2: 0.999, weight_decay: 1e-4 };
    for (id, config) in [("sgd_34m", OptimizerConfig::default()), ("adamw_34m", adamw)] {
        group.bench_function(id, |b| {
            let mut model = Some(retinanet::resnet50(&Device::flex()).train());
            let mut gradients = RandomGradients(GradientsParams::new());
            model.as_ref().expect("just made").visit(&mut gradients);
            let mut optimizer = config.init();
            b.iter(|| {
                let old = model.take().expect("the step before has put it back");
                let mut copied = Copied { from: &gradients.0, to: GradientsParams::new() };
                old.visit(&mut copied);
                model = Some(optimizer.step(retinanet::RATE, old, copied.to));
            });
        });
    }
}

criterion_group!(benches, average, optimizers);
criterion_main!(benches);
