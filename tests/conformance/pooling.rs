//! Pooling, and the resampling between levels of the pyramid.

use burn::{
    nn::{PaddingConfig2d, pool::MaxPool2dConfig},
    tensor::Tensor,
};
use sed::{
    core::ImageBatch,
    models::backbone::{FpnConfig, P6Source},
};

use super::{
    compare::{Results, Tolerance, with_exact},
    modules::{add_parameter_gradients, filled},
};

fn check_max_pool(name: &str, padding: [usize; 4], shape: [usize; 4]) {
    with_exact(name, Tolerance::Elementwise, |place| {
        let [top, left, bottom, right] = padding;
        let pool = MaxPool2dConfig::new([3, 3])
            .with_strides([2, 2])
            .with_padding(PaddingConfig2d::Explicit(top, left, bottom, right))
            .init();
        let x = place.leaf(shape, 1);
        let y = pool.forward(x.clone());
        let gradients = place.backward(y.clone());
        let mut results = Results::default();
        results.add("output", y);
        results.add_gradient("input", &x, &gradients);
        results
    });
}

#[test]
fn max_pool_of_the_stem() {
    check_max_pool("max_pool_of_the_stem", [1; 4], [2, 64, 32, 33]);
}

#[test]
fn max_pool_of_the_stem_in_the_caffe_way() {
    check_max_pool("max_pool_of_the_stem_in_the_caffe_way", [0, 0, 1, 1], [2, 16, 32, 30]);
}

#[test]
fn half_view() {
    with_exact("half_view", Tolerance::Elementwise, |place| {
        let pixels = place.leaf([2, 3, 64, 32], 1);
        let half = ImageBatch::unpadded(pixels.clone()).halved().pixels;
        let gradients = place.backward(half.clone());
        let mut results = Results::default();
        results.add("pixels", half);
        results.add_gradient("pixels", &pixels, &gradients);
        results
    });
}

/// Upsampling to even and odd sides, P6 and P7, with the gradients of maps and weights.
fn check_pyramid(name: &str, p6_source: P6Source, highest_level: usize) {
    with_exact(name, Tolerance::Products, |place| {
        let channels = [3, 4, 5, 6];
        let config =
            FpnConfig { out_channels: 8, lowest_level: 2, highest_level, p6_source, ..FpnConfig::default() };
        let fpn = filled(config.init(channels, &place.device).unwrap(), place);
        let maps: Vec<Tensor<4>> = [(26, 19), (13, 10), (7, 5), (4, 3)]
            .iter()
            .zip(channels)
            .zip(1..)
            .map(|((&(h, w), c), seed)| place.leaf([2, c, h, w], seed))
            .collect();
        let levels = fpn.forward(&maps);
        let loss = levels.iter().map(|level| (level.clone() * place.values(level.dims(), 9)).sum());
        let gradients = loss.reduce(|sum, level| sum + level).unwrap().backward();
        let mut results = Results::default();
        for (level, i) in levels.into_iter().zip(2..) {
            results.add(format!("P{i}"), level);
        }
        for (map, i) in maps.iter().zip(2..) {
            results.add_gradient(&format!("C{i}"), map, &gradients);
        }
        add_parameter_gradients(&mut results, &fpn, &gradients);
        results
    });
}

#[test]
fn pyramid_up_to_p7_from_p5() {
    check_pyramid("pyramid_up_to_p7_from_p5", P6Source::P5, 7);
}

#[test]
fn pyramid_up_to_p7_from_c5() {
    check_pyramid("pyramid_up_to_p7_from_c5", P6Source::C5, 7);
}

#[test]
fn pyramid_up_to_p6_subsampled() {
    check_pyramid("pyramid_up_to_p6_subsampled", P6Source::Subsampled, 6);
}
