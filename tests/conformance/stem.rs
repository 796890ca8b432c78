//! The stem of a ResNet: 7×7, stride 2, 3 → 64, whose weight gradient sums over half a million pixels.

use burn::tensor::Tensor;
use sed::models::ops::conv2d::conv2d;

use super::{
    compare::{Results, Tolerance, between},
    place::{Place, pseudo_random},
};

const CHANNELS: usize = 64;
const KERNEL: usize = 7;
/// Every eighth output channel is enough to see an error, and the sum on the host stays short.
const CHECKED: usize = 8;

/// `∂L/∂w[o,c,u,v] = Σ_{i,j} g[o,i,j] · x[c, 2i + u − 3, 2j + v − 3]` in `f64`, of the checked channels.
fn weight_gradient(x: &[f32], g: &[f32], side: usize) -> Vec<f64> {
    let out = side / 2;
    let inside = |index: usize, offset: usize| (2 * index + offset).checked_sub(3).filter(|&i| i < side);
    let mut gradient = Vec::new();
    for o in (0..CHANNELS).step_by(CHECKED) {
        let g = &g[o * out * out..][..out * out];
        for c in 0..3 {
            let x = &x[c * side * side..][..side * side];
            for u in 0..KERNEL {
                for v in 0..KERNEL {
                    let mut sum = 0.0;
                    for i in 0..out {
                        let Some(row) = inside(i, u) else { continue };
                        for j in 0..out {
                            let Some(column) = inside(j, v) else { continue };
                            sum += f64::from(g[i * out + j]) * f64::from(x[row * side + column]);
                        }
                    }
                    gradient.push(sum);
                }
            }
        }
    }
    gradient
}

fn check(side: usize) {
    let place = Place::tested();
    // ndarray would take a minute for the largest.
    let side = if place.is("ndarray") { side.min(64) } else { side };
    let (count, out) = (3 * side * side, side / 2);
    let (pixels, cotangent) = (pseudo_random(count, 1), pseudo_random(CHANNELS * out * out, 2));
    let x = place.tensor(pixels.clone(), [1, 3, side, side]);
    let weight = place.leaf([CHANNELS, 3, KERNEL, KERNEL], 3);
    let y = conv2d(x, weight.clone(), None, 2, 3);
    let gradients = (y * place.tensor(cotangent.clone(), [1, CHANNELS, out, out])).sum().backward();
    let gradient: Tensor<4> = weight.grad(&gradients).expect("the weight got no gradient");
    let gradient: Vec<f64> = gradient.into_data().iter().collect();
    let size = 3 * KERNEL * KERNEL;
    let checked = gradient.chunks(size).step_by(CHECKED).flatten().copied().collect();
    let (mut found, mut right) = (Results::default(), Results::default());
    found.add_numbers("gradient of weight", checked);
    right.add_numbers("gradient of weight", weight_gradient(&pixels, &cotangent, side));
    between(&format!("stem_weight_gradient_at_{side}"), Tolerance::Products, found, right);
}

#[test]
fn stem_weight_gradient_at_64() {
    check(64);
}

#[test]
fn stem_weight_gradient_at_128() {
    check(128);
}

#[test]
fn stem_weight_gradient_at_256() {
    check(256);
}

#[test]
fn stem_weight_gradient_at_512() {
    check(512);
}
