//! RoIAlign of 512 boxes, 7×7 bins of 2×2 samples, on a map of 1×256×128×128 of stride 4; `_forward` is the
//! forward pass alone, else the gradient of the map comes on top.

mod common;

use burn::tensor::Device;
use common::{backward, leaf, random, short};
use criterion::{Criterion, criterion_group, criterion_main};
use sed_models::ops::roi_align::RoiAlign;

/// 32 to 224 pixels wide and high, anywhere in an image of 512 pixels.
fn regions() -> Vec<[f32; 4]> {
    let one = |k: usize| {
        let [w, h] = [k * 37 % 193, k * 53 % 193].map(|side| 32.0 + side as f32);
        let [x, y] =
            [(k * 71 % 512, w), (k * 149 % 512, h)].map(|(part, side)| part as f32 / 512.0 * (512.0 - side));
        [x, y, x + w, y + h]
    };
    (0..512).map(one).collect()
}

fn pooling(criterion: &mut Criterion) {
    let device = Device::flex();
    let options = RoiAlign { output_size: 7, sampling_ratio: 2, aligned: false };
    let (boxes, images) = (regions(), vec![0; 512]);
    let mut group = short(criterion, "roi_align");
    group.bench_function("512_boxes_forward", |b| {
        let map = random([1, 256, 128, 128], &device);
        b.iter(|| options.forward(map.clone(), &boxes, &images, 0.25));
    });
    group.bench_function("512_boxes", |b| {
        let map = random([1, 256, 128, 128], &device);
        b.iter(|| backward(options.forward(leaf(&map), &boxes, &images, 0.25)));
    });
}

criterion_group!(benches, pooling);
criterion_main!(benches);
