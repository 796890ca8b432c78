//! From 8 million scores to detections: RetinaNet's post-processing of one level of 100,000 anchors and 80
//! classes, of whose logits 1.5 % pass the threshold (`topk/1000_of_8m`); and Burn's own selection of the 1,000
//! largest, which the post-processing does without (`topk_burn/1000_of_8m`).

mod common;

use burn::tensor::{Device, Tensor};
use common::{boxes::boxes, formula, long};
use criterion::{Criterion, criterion_group, criterion_main};
use sed_core::{ImageSize, Predictions, pyramid::PyramidLayout};
use sed_models::{
    box_coder::BoxCoder,
    retinanet::{AnchorGrid, PostProcess},
};

fn selection(criterion: &mut Criterion) {
    let device = Device::flex();
    let size = ImageSize::new(800, 800);
    let logits = || formula([1, 100_000, 80], 0, [-12.0, -2.8], &device);
    long(criterion, "topk").bench_function("1000_of_8m", |b| {
        let layout = PyramidLayout::over(size, &[8], 10);
        let (anchors, coder) = (boxes(100_000).0, BoxCoder::default());
        let predictions = Predictions::new(logits(), Tensor::zeros([1, 100_000, 4], &device));
        b.iter(|| {
            let grid = AnchorGrid { layout: &layout, anchors: &anchors, coder: &coder };
            PostProcess::default().detections(predictions.clone(), grid, &[size])
        });
    });
    long(criterion, "topk_burn").bench_function("1000_of_8m", |b| {
        let flat: Tensor<1> = logits().flatten(0, 2);
        b.iter(|| flat.clone().topk(1000, 0));
    });
}

criterion_group!(benches, selection);
criterion_main!(benches);
