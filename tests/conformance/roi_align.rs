//! RoIAlign, by the kernels of the backend or composed of Burn's operations.

use sed::models::ops::roi_align::RoiAlign;

use super::{
    compare::{Results, Tolerance, with_exact},
    place::pseudo_random,
};

fn check(name: &str, align: RoiAlign, channels: usize) {
    // A bin is a weighted mean of 16 elements; a gradient sums over the bins that overlap.
    with_exact(name, Tolerance::Elementwise, |place| {
        let features = place.leaf([2, channels, 20, 24], 1);
        let random = pseudo_random(40 * 4, 2);
        // Boxes of up to 80 px on maps of 160 × 192, some partly outside.
        let boxes: Vec<[f32; 4]> = random
            .chunks(4)
            .map(|v| {
                let (x, y) = (90.0 + 90.0 * v[0], 75.0 + 80.0 * v[1]);
                [x, y, x + 42.0 + 38.0 * v[2], y + 42.0 + 38.0 * v[3]]
            })
            .collect();
        let images: Vec<usize> = (0..boxes.len()).map(|i| i % 2).collect();
        let y = align.forward(features.clone(), &boxes, &images, 0.125);
        let gradients = place.backward(y.clone());
        let mut results = Results::default();
        results.add("output", y);
        results.add_gradient("features", &features, &gradients);
        results
    });
}

#[test]
fn roi_align_of_the_tiny_preset() {
    check("roi_align_of_the_tiny_preset", RoiAlign { output_size: 5, ..RoiAlign::default() }, 32);
}

#[test]
fn roi_align_of_256_channels() {
    check("roi_align_of_256_channels", RoiAlign::default(), 256);
}

#[test]
fn roi_align_aligned() {
    check("roi_align_aligned", RoiAlign { aligned: true, sampling_ratio: 3, ..RoiAlign::default() }, 16);
}
