//! Non-maximum suppression at an IoU of 0.5: of 5,000 and 50,000 boxes of one class, and of 50,000 of 80 classes.

mod common;

use common::{boxes::boxes, short, unit};
use criterion::{Criterion, criterion_group, criterion_main};
use sed_core::ops::{batched_nms, nms};

fn suppression(criterion: &mut Criterion) {
    let mut group = short(criterion, "nms");
    for (id, count) in [("5k", 5_000), ("50k", 50_000)] {
        group.bench_function(id, |b| {
            let (boxes, scores) = boxes(count);
            b.iter(|| nms(&boxes, &scores, 0.5));
        });
    }
    group.bench_function("batched_50k_x80", |b| {
        let (boxes, scores) = boxes(50_000);
        let labels: Vec<usize> = (0..boxes.len()).map(|k| (unit(k as u32) * 80.0) as usize).collect();
        b.iter(|| batched_nms(&boxes, &scores, &labels, 0.5));
    });
}

criterion_group!(benches, suppression);
criterion_main!(benches);
