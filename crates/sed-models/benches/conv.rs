//! Times of this crate's convolution on flex beside Burn's own: forward, and forward with backward.
//!
//! `cargo bench -p sed-models --bench conv`

use std::{hint::black_box, time::Instant};

use burn::tensor::{Device, Distribution, Tensor, module, ops::ConvOptions};
use sed_models::ops::conv2d::conv2d;

type Convolution = fn(Tensor<4>, Tensor<4>, Option<Tensor<1>>, usize, usize) -> Tensor<4>;

fn burn_conv2d(x: Tensor<4>, w: Tensor<4>, b: Option<Tensor<1>>, stride: usize, padding: usize) -> Tensor<4> {
    module::conv2d(x, w, b, ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1))
}

fn milliseconds(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64() * 1e3
}

fn main() {
    let (plain, tracked) = (Device::flex(), Device::flex().autodiff());
    let repeats = 25;
    println!("| layer | input | forward: Burn, own, ratio | + backward: Burn, own, ratio |");
    println!("|---|---|---|---|");
    for (input, out, kernel, stride) in [
        ([8, 3, 128, 128], 16, 7, 2),
        ([8, 16, 64, 64], 16, 3, 1),
        ([8, 16, 64, 64], 64, 1, 1),
        ([8, 64, 32, 32], 64, 3, 1),
        ([8, 32, 32, 32], 64, 3, 2),
        ([8, 128, 4, 4], 128, 3, 1),
        ([8, 48, 16, 16], 6, 3, 1),
        ([1, 64, 128, 128], 64, 3, 1),
        ([1, 256, 64, 64], 256, 3, 1),
        ([1, 256, 64, 64], 512, 1, 2),
    ] {
        let padding = kernel / 2;
        let normal = Distribution::Normal(0.0, 1.0);
        let x = Tensor::<4>::random(input, normal, &plain);
        let w = Tensor::<4>::random([out, input[1], kernel, kernel], normal, &plain);
        let b = Tensor::<1>::random([out], normal, &plain);
        let forward = |convolution: Convolution| {
            milliseconds(|| {
                black_box(convolution(x.clone(), w.clone(), Some(b.clone()), stride, padding));
            })
        };
        let both = |convolution: Convolution| {
            let track = |t: &Tensor<4>| Tensor::<4>::from_data(t.to_data(), &tracked).require_grad();
            let (x, w) = (track(&x), track(&w));
            let b = Tensor::<1>::from_data(b.to_data(), &tracked).require_grad();
            milliseconds(|| {
                let y = convolution(x.clone(), w.clone(), Some(b.clone()), stride, padding);
                let grads = y.sum().backward();
                black_box((x.grad(&grads), w.grad(&grads), b.grad(&grads)));
            })
        };
        // The two alternate, so that what else the machine does falls on both.
        let mut best = [f64::INFINITY; 4];
        for _ in 0..repeats {
            for (best, time) in
                best.iter_mut().zip([forward(burn_conv2d), forward(conv2d), both(burn_conv2d), both(conv2d)])
            {
                *best = best.min(time);
            }
        }
        let [f0, f1, b0, b1] = best;
        println!(
            "| {}→{out} {kernel}×{kernel}, stride {stride} | {}×{}×{} | {f0:.2}, {f1:.2}, {:.1} | {b0:.2}, {b1:.2}, {:.1} |",
            input[1],
            input[0],
            input[2],
            input[3],
            f0 / f1,
            b0 / b1
        );
    }
}
