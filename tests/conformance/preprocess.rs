//! Normalisation of pixels, with padding.

use sed::{
    core::{ImageBatch, ImageSize},
    models::preprocess::{ChannelOrder, Preprocess},
};

use super::compare::{Results, Tolerance, with_other};

fn check(name: &str, preprocess: Preprocess) {
    with_other(name, Tolerance::Elementwise, |place| {
        let pixels = place.leaf([2, 3, 30, 41], 1);
        let sizes = vec![ImageSize::new(30, 41), ImageSize::new(22, 17)];
        let images = ImageBatch::new(pixels.clone() * 0.5 + 0.5, sizes);
        let y = preprocess.forward(&images, 32);
        let gradients = place.backward(y.clone());
        let mut results = Results::default();
        results.add("output", y);
        results.add_gradient("pixels", &pixels, &gradients);
        results
    });
}

#[test]
fn pixels_for_torchvision() {
    check("pixels_for_torchvision", Preprocess::default());
}

#[test]
fn pixels_for_caffe() {
    let preprocess = Preprocess {
        channel_order: ChannelOrder::Bgr,
        scale: 255.0,
        mean: [102.9801, 115.9465, 122.7717],
        std: [1.0; 3],
    };
    check("pixels_for_caffe", preprocess);
}
