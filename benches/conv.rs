//! Convolutions of ResNet-50-FPN at 512² and of a small network at 128²: `conv/…` is this project's, `conv_burn/…`
//! Burn's own. Ids say channels in and out, kernel, stride, side of the map and images; they end in
//! `_forward` for the forward pass alone, else the gradients of input, weight and bias come on top.

mod common;

use burn::tensor::{Device, Tensor, module, ops::ConvOptions};
use common::{backward, leaf, random, short};
use criterion::{Criterion, criterion_group, criterion_main};
use sed_models::ops::conv2d::conv2d;

/// `[images, in, out, kernel, stride, side]`.
const LAYERS: [[usize; 6]; 14] = [
    [1, 3, 64, 7, 2, 512],
    [1, 64, 64, 3, 1, 128],
    [1, 64, 256, 1, 1, 128],
    [1, 256, 256, 3, 1, 64],
    [1, 256, 512, 1, 2, 64],
    [1, 512, 1024, 1, 2, 64],
    [1, 512, 512, 3, 1, 16],
    [8, 3, 16, 7, 2, 128],
    [8, 16, 16, 3, 1, 64],
    [8, 16, 64, 1, 1, 64],
    [8, 64, 64, 3, 1, 32],
    [8, 32, 64, 3, 2, 32],
    [8, 128, 128, 3, 1, 4],
    [8, 48, 6, 3, 1, 16],
];

type Convolution = fn(Tensor<4>, Tensor<4>, Tensor<1>, usize, usize) -> Tensor<4>;

fn own(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, stride: usize, padding: usize) -> Tensor<4> {
    conv2d(x, weight, Some(bias), stride, padding)
}

fn burns(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, stride: usize, padding: usize) -> Tensor<4> {
    module::conv2d(x, weight, Some(bias), ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1))
}

fn convolutions(criterion: &mut Criterion) {
    let device = Device::flex();
    for (name, function) in [("conv", own as Convolution), ("conv_burn", burns)] {
        let mut group = short(criterion, name);
        for [images, input, output, kernel, stride, side] in LAYERS {
            let id = format!("{input}_{output}_k{kernel}_s{stride}_{side}_n{images}");
            let data = || {
                let x = random([images, input, side, side], &device);
                (x, random([output, input, kernel, kernel], &device), random([output], &device))
            };
            group.bench_function(format!("{id}_forward"), |b| {
                let (x, w, bias) = data();
                b.iter(|| function(x.clone(), w.clone(), bias.clone(), stride, kernel / 2));
            });
            group.bench_function(id, |b| {
                let (x, w, bias) = data();
                b.iter(|| backward(function(leaf(&x), leaf(&w), leaf(&bias), stride, kernel / 2)));
            });
        }
    }
}

criterion_group!(benches, convolutions);
criterion_main!(benches);
