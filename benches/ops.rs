//! Times of the operations of `sed-models` on flex beside Burn's own: forward, and forward with backward.
//!
//! `cargo bench --bench ops`

use std::{hint::black_box, time::Instant};

use burn::{
    nn::GroupNormConfig,
    tensor::{
        Device, Distribution, Tensor, TensorData,
        activation::relu,
        module,
        ops::{ConvOptions, GridSampleOptions, GridSamplePaddingMode, InterpolateMode},
    },
};
use sed_models::ops::{conv2d::conv2d, group_norm::group_norm_relu, roi_align::RoiAlign};

const REPEATS: usize = 40;

/// Of RoIAlign, where one run takes seconds.
const ROI_REPEATS: usize = 3;

type Operation<'a> = &'a dyn Fn(&[Tensor<4>], &[Tensor<1>]) -> Tensor<4>;

/// Least milliseconds of forward, and of forward with backward, of two functions that compute the same. They
/// alternate, so that what else the machine does falls on both.
fn compare(
    repeats: usize,
    inputs: &[Tensor<4>],
    parameters: &[Tensor<1>],
    functions: [Operation; 2],
) -> [[f64; 2]; 2] {
    let copies = |tracked: bool| -> (Vec<Tensor<4>>, Vec<Tensor<1>>) {
        fn track<const D: usize>(t: &Tensor<D>, tracked: bool) -> Tensor<D> {
            if tracked { Tensor::from_inner(t.clone()).require_grad() } else { t.clone() }
        }
        let inputs = inputs.iter().map(|t| track(t, tracked)).collect();
        (inputs, parameters.iter().map(|t| track(t, tracked)).collect())
    };
    let mut best = [[f64::INFINITY; 2]; 2];
    for _ in 0..repeats {
        for (index, function) in functions.iter().enumerate() {
            for (pass, best) in best.iter_mut().enumerate() {
                // Twice: the first finds the memory allocator as the other function has left it.
                for _ in 0..2 {
                    let (inputs, parameters) = copies(pass == 1);
                    let start = Instant::now();
                    let output = function(&inputs, &parameters);
                    if pass == 1 {
                        black_box(output.sum().backward());
                    } else {
                        black_box(output);
                    }
                    best[index] = best[index].min(start.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
    }
    best
}

fn row(name: &str, input: [usize; 4], best: [[f64; 2]; 2]) {
    let [n, c, h, w] = input;
    let [[burn, own], [burn_both, own_both]] = best;
    println!(
        "| {name} | {n}×{c}×{h}×{w} | {burn:.2} | {own:.2} | {:.1} | {burn_both:.2} | {own_both:.2} | {:.1} |",
        burn / own,
        burn_both / own_both
    );
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn convolutions(device: &Device) {
    for (input, out, kernel, stride) in [
        ([8, 3, 128, 128], 16, 7, 2),
        ([8, 16, 64, 64], 16, 3, 1),
        ([8, 16, 64, 64], 64, 1, 1),
        ([8, 64, 32, 32], 64, 3, 1),
        ([8, 32, 32, 32], 64, 3, 2),
        ([8, 128, 4, 4], 128, 3, 1),
        ([8, 48, 16, 16], 6, 3, 1),
        ([1, 64, 128, 128], 64, 3, 1),
        ([1, 256, 64, 64], 512, 1, 2),
    ] {
        let padding = kernel / 2;
        let weight = random([out, input[1], kernel, kernel], device);
        let burn = |x: &[Tensor<4>], b: &[Tensor<1>]| {
            let options = ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1);
            module::conv2d(x[0].clone(), x[1].clone(), Some(b[0].clone()), options)
        };
        let own = |x: &[Tensor<4>], b: &[Tensor<1>]| {
            conv2d(x[0].clone(), x[1].clone(), Some(b[0].clone()), stride, padding)
        };
        let inputs = [random(input, device), weight];
        let best = compare(REPEATS, &inputs, &[random([out], device)], [&burn, &own]);
        row(&format!("{}→{out}, {kernel}×{kernel}, stride {stride}", input[1]), input, best);
    }
}

fn group_norms(device: &Device) {
    for input in [[8, 16, 64, 64], [8, 64, 32, 32], [8, 128, 4, 4], [1, 64, 128, 128]] {
        let groups = 8;
        let layer = GroupNormConfig::new(groups, input[1]).with_epsilon(1e-5).init(device);
        let burn = |x: &[Tensor<4>], p: &[Tensor<1>]| {
            let mut layer = layer.clone();
            layer.gamma = layer.gamma.map(|gamma| gamma.map(|_| p[0].clone()));
            layer.beta = layer.beta.map(|beta| beta.map(|_| p[1].clone()));
            relu(layer.forward(x[0].clone()))
        };
        let own = |x: &[Tensor<4>], p: &[Tensor<1>]| {
            group_norm_relu(x[0].clone(), p[0].clone(), p[1].clone(), groups, 1e-5)
        };
        let parameters = [random([input[1]], device), random([input[1]], device)];
        let best = compare(REPEATS, &[random(input, device)], &parameters, [&burn, &own]);
        row(&format!("{groups} groups and ReLU"), input, best);
    }
}

/// Beside Burn's grid sampling at all samples of all bins, and the mean of each bin's samples.
fn roi_aligns(device: &Device) {
    let input = [1, 256, 128, 128];
    let (count, scale) = (512, 0.25);
    let options = RoiAlign { output_size: 7, sampling_ratio: 2, aligned: false };
    // 32 to 224 pixels wide and high, anywhere in an image of 512 pixels.
    let boxes: Vec<[f32; 4]> = (0..count)
        .map(|k| {
            let [w, h] = [k * 37 % 193, k * 53 % 193].map(|side| 32.0 + side as f32);
            let [x, y] = [(k * 71 % 512, w), (k * 149 % 512, h)]
                .map(|(part, side)| part as f32 / 512.0 * (512.0 - side));
            [x, y, x + w, y + h]
        })
        .collect();
    let side = options.output_size * options.sampling_ratio;
    let position = |start: f32, end: f32, sample: usize| {
        let part = (sample as f32 + 0.5) / side as f32;
        // Elements 0 to 127 lie at −1 to 1.
        2.0 * scale * (start + part * (end - start)) / 127.0 - 1.0
    };
    let samples = boxes.iter().flat_map(|[x1, y1, x2, y2]| {
        (0..side * side).flat_map(move |i| [position(*x1, *x2, i % side), position(*y1, *y2, i / side)])
    });
    let grid = TensorData::new(samples.collect::<Vec<_>>(), [1, count * side, side, 2]);
    let grid = Tensor::<4>::from_data(grid, device);
    let burn = |x: &[Tensor<4>], _: &[Tensor<1>]| {
        let bilinear = GridSampleOptions::new(InterpolateMode::Bilinear)
            .with_padding_mode(GridSamplePaddingMode::Border)
            .with_align_corners(true);
        let grid = if x[0].is_require_grad() { Tensor::from_inner(grid.clone()) } else { grid.clone() };
        let samples = x[0].clone().grid_sample_2d(grid, bilinear);
        let (bins, ratio) = (options.output_size, options.sampling_ratio);
        let means = samples
            .reshape([input[1] * count * bins, ratio, bins, ratio])
            .mean_dim(3)
            .mean_dim(1)
            .reshape([input[1], count, bins, bins]);
        means.swap_dims(0, 1)
    };
    let images = vec![0; count];
    let own = |x: &[Tensor<4>], _: &[Tensor<1>]| options.forward(x[0].clone(), &boxes, &images, scale);
    let features = [random(input, device)];
    let difference = (burn(&features, &[]) - own(&features, &[])).abs().max().into_scalar::<f32>();
    assert!(difference < 1e-3, "RoIAlign and grid sampling differ by {difference}");
    row("512 boxes, 7×7 bins of 2×2", input, compare(ROI_REPEATS, &features, &[], [&burn, &own]));
}

fn main() {
    let device = Device::flex();
    println!("| operation | input | forward: Burn | own | ratio | + backward: Burn | own | ratio |");
    println!("|---|---|---|---|---|---|---|---|");
    convolutions(&device);
    group_norms(&device);
    roi_aligns(&device);
}
