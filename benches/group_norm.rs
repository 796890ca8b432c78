//! Group normalisation of 8 groups with the ReLU behind it: `group_norm/…` is this project's, `group_norm_burn/…`
//! Burn's layer and activation. Ids say channels, side of the map and images; `_forward` is the forward pass
//! alone, else the gradients of input, scale and shift come on top.

mod common;

use burn::{
    nn::GroupNormConfig,
    tensor::{Device, Tensor, activation::relu},
};
use common::{backward, leaf, random, short};
use criterion::{Criterion, criterion_group, criterion_main};
use sed_models::ops::group_norm::group_norm_relu;

const GROUPS: usize = 8;
const EPSILON: f64 = 1e-5;

type GroupNormRelu = fn(Tensor<4>, Tensor<1>, Tensor<1>) -> Tensor<4>;

fn own(x: Tensor<4>, gamma: Tensor<1>, beta: Tensor<1>) -> Tensor<4> {
    group_norm_relu(x, gamma, beta, GROUPS, EPSILON)
}

fn burns(x: Tensor<4>, gamma: Tensor<1>, beta: Tensor<1>) -> Tensor<4> {
    let config = GroupNormConfig::new(GROUPS, x.dims()[1]).with_epsilon(EPSILON);
    let mut layer = config.init(&x.device());
    layer.gamma = layer.gamma.map(|old| old.map(|_| gamma));
    layer.beta = layer.beta.map(|old| old.map(|_| beta));
    relu(layer.forward(x))
}

fn group_norms(criterion: &mut Criterion) {
    let device = Device::flex();
    for (name, function) in [("group_norm", own as GroupNormRelu), ("group_norm_burn", burns)] {
        let mut group = short(criterion, name);
        for [images, channels, side] in [[8, 16, 64], [8, 64, 32], [8, 128, 4], [1, 64, 128]] {
            let id = format!("{channels}_{side}_n{images}");
            let data = || {
                let x = random([images, channels, side, side], &device);
                (x, random([channels], &device), random([channels], &device))
            };
            group.bench_function(format!("{id}_forward"), |b| {
                let (x, gamma, beta) = data();
                b.iter(|| function(x.clone(), gamma.clone(), beta.clone()));
            });
            group.bench_function(id, |b| {
                let (x, gamma, beta) = data();
                b.iter(|| backward(function(leaf(&x), leaf(&gamma), leaf(&beta))));
            });
        }
    }
}

criterion_group!(benches, group_norms);
criterion_main!(benches);
