//! A detector of a downstream crate: it needs nothing but `sed-core` and Burn.

use burn::{
    module::Module,
    nn::{
        PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::{Device, Int, Tensor, TensorData, activation::relu},
};
use sed::core::{
    ClassActivation, DetectionLoss, Detections, Detector, ImageBatch, ImageSize, Predictions, StageViews,
    Targets, ViewPair, Views,
    losses::{SigmoidFocalLoss, smooth_l1},
    ops::{batched_nms, boxes},
    pyramid::{LevelLayout, PyramidLayout},
};

const STRIDES: [usize; 2] = [8, 16];

/// Two levels of cells without anchors: a cell stands for the object that its centre lies in, and predicts the
/// distances from its centre to the four sides in strides.
#[derive(Module, Debug)]
pub struct CellDetector {
    stem: Conv2d,
    levels: Vec<Conv2d>,
    head: Conv2d,
    #[module(skip)]
    classes: usize,
}

impl CellDetector {
    /// With random weights.
    pub fn new(classes: usize, device: &Device) -> Self {
        let conv = |input, output, kernel, stride| {
            let padding = (kernel - 1) / 2;
            Conv2dConfig::new([input, output], [kernel, kernel])
                .with_stride([stride, stride])
                .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
                .init(device)
        };
        Self {
            // Without padding: 4×4 blocks.
            stem: Conv2dConfig::new([3, 8], [4, 4]).with_stride([4, 4]).init(device),
            levels: vec![conv(8, 8, 3, 2), conv(8, 8, 3, 2)],
            head: conv(8, classes + 4, 1, 1),
            classes,
        }
    }

    /// The predictions on each level, finest first.
    fn forward(&self, pixels: Tensor<4>) -> Vec<Predictions> {
        let c = self.classes;
        let mut x = relu(self.stem.forward(pixels));
        let mut found = Vec::new();
        for level in &self.levels {
            x = relu(level.forward(x));
            let [n, _, h, w] = x.dims();
            let cells = self.head.forward(x.clone()).permute([0, 2, 3, 1]).reshape([n, h * w, c + 4]);
            found.push(Predictions::new(
                cells.clone().slice([0..n, 0..h * w, 0..c]),
                cells.slice([0..n, 0..h * w, c..c + 4]),
            ));
        }
        found
    }
}

fn layout(images: &ImageBatch) -> PyramidLayout {
    PyramidLayout::over(images.padded_size(), &STRIDES, 1)
}

/// Centre and stride of each cell, in the order of the predictions.
fn cells(layout: &PyramidLayout) -> Vec<([f32; 2], f32)> {
    let level = |l: &LevelLayout| {
        let (width, stride) = (l.width, l.stride as f32);
        (0..l.num_anchors())
            .map(move |k| [(k % width) as f32 + 0.5, (k / width) as f32 + 0.5].map(|c| c * stride))
            .map(move |centre| (centre, stride))
            .collect::<Vec<_>>()
    };
    layout.levels.iter().flat_map(level).collect()
}

impl Detector for CellDetector {
    fn num_classes(&self) -> usize {
        self.classes
    }

    fn stages(&self) -> &'static [&'static str] {
        &["cells"]
    }

    fn size_divisor(&self) -> usize {
        16
    }

    fn supervised_losses(&self, images: &ImageBatch, targets: &[Targets]) -> Vec<DetectionLoss> {
        let Predictions { class_logits, box_deltas } = Predictions::cat(self.forward(images.pixels.clone()));
        let device = class_logits.device();
        let [n, a, c] = class_logits.dims();
        let (mut one_hot, mut rows, mut sides) = (vec![0.0f32; n * a * c], Vec::new(), Vec::new());
        for (i, target) in targets.iter().enumerate() {
            for (k, ([x, y], stride)) in cells(&layout(images)).into_iter().enumerate() {
                let inside = |b: &[f32; 4]| b[0] < x && x < b[2] && b[1] < y && y < b[3];
                let Some(object) = target.boxes.iter().position(inside) else { continue };
                one_hot[(i * a + k) * c + target.labels[object]] = 1.0;
                rows.push((i * a + k) as i64);
                let [x1, y1, x2, y2] = target.boxes[object];
                sides.extend([x - x1, y - y1, x2 - x, y2 - y].map(|side| side / stride));
            }
        }
        let per_object = 1.0 / rows.len().max(1) as f64;
        let one_hot = Tensor::from_data(TensorData::new(one_hot, [n, a, c]), &device);
        let classification = SigmoidFocalLoss::default().forward(class_logits, one_hot).sum() * per_object;
        let mut box_regression = Tensor::zeros([1], &device);
        if !rows.is_empty() {
            let count = rows.len();
            let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &device);
            let found = box_deltas.reshape([n * a, 4]).select(0, rows);
            let sides = Tensor::from_data(TensorData::new(sides, [count, 4]), &device);
            box_regression = smooth_l1(found, sides, 1.0).sum() * per_object;
        }
        vec![DetectionLoss { stage: "cells", classification, box_regression }]
    }

    fn compare_views(&self, teacher: &Self, views: &Views) -> Vec<StageViews> {
        let full = self.forward(views.strong.pixels.clone());
        let joined = Predictions::cat(full.clone());
        let scale = views.half.as_ref().map(|images| {
            let half = self.forward(images.pixels.clone());
            let pairs = layout(&views.strong).pair_with_half(&layout(images)).expect("sides divide by 16");
            let (student, other) =
                pairs.iter().map(|pair| (full[pair.full].clone(), half[pair.half].clone())).unzip();
            ViewPair::new(Predictions::cat(student), Predictions::cat(other))
        });
        let distill = views.weak.as_ref().map(|images| {
            let taught = Predictions::cat(teacher.forward(images.pixels.clone().inner())).detach();
            ViewPair::new(joined.clone(), taught)
        });
        let (stage, activation) = ("cells", ClassActivation::Sigmoid);
        vec![StageViews { stage, activation, delta_weights: [1.0; 4], scale, distill, mirror: None }]
    }

    fn detect(&self, images: &ImageBatch) -> Vec<Detections> {
        let Predictions { class_logits, box_deltas } = Predictions::cat(self.forward(images.pixels.clone()));
        let scores = ClassActivation::Sigmoid.probabilities(class_logits);
        let read = |t: Tensor<3>| t.into_data().iter::<f32>().collect::<Vec<f32>>();
        let (scores, sides, cells) = (read(scores), read(box_deltas), cells(&layout(images)));
        let image = |(i, size): (usize, &ImageSize)| {
            let mut all = Detections::default();
            for (k, ([x, y], stride)) in cells.iter().enumerate() {
                let cell = i * cells.len() + k;
                let [left, top, right, bottom] = std::array::from_fn(|s| sides[cell * 4 + s] * stride);
                let found = [x - left, y - top, x + right, y + bottom];
                let found = boxes::clip(&found, size.height as f32, size.width as f32);
                for label in (0..self.classes).filter(|_| boxes::is_valid(&found)) {
                    all.boxes.push(found);
                    all.scores.push(scores[cell * self.classes + label]);
                    all.labels.push(label);
                }
            }
            let kept = batched_nms(&all.boxes, &all.scores, &all.labels, 0.5);
            Detections {
                boxes: kept.iter().map(|&k| all.boxes[k]).collect(),
                scores: kept.iter().map(|&k| all.scores[k]).collect(),
                labels: kept.iter().map(|&k| all.labels[k]).collect(),
            }
        };
        images.sizes.iter().enumerate().map(image).collect()
    }
}
