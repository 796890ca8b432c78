//! From dense predictions to detections.

use std::ops::Range;

use sed_core::{
    Detections, ImageSize, InvalidOption, Predictions,
    ops::{batched_nms, boxes},
    pyramid::PyramidLayout,
};
use serde::{Deserialize, Serialize};

use crate::{
    box_coder::BoxCoder,
    host::{self, for_each_image},
};

/// Which predictions become detections.
///
/// In each image, on each level: scores above `score_threshold`, of them the best
/// `candidates_per_level`, decoded and clipped to the image. Of all levels together: what survives
/// non-maximum suppression within each class, at most `max_detections`. An anchor may give several
/// detections, one a class. Boxes that have no area after clipping are dropped. (Lin et al., ICCV 2017,
/// §4.1; steps as in torchvision, which keeps boxes without area.)
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{ImageSize, Predictions, pyramid::PyramidLayout};
/// use sed_models::{
///     box_coder::BoxCoder,
///     retinanet::{AnchorGrid, PostProcess},
/// };
///
/// let device = Device::default();
/// let size = ImageSize::new(16, 16);
/// let layout = PyramidLayout::over(size, &[16], 2);
/// let anchors = [[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0]];
/// let grid = AnchorGrid { layout: &layout, anchors: &anchors, coder: &BoxCoder::default() };
/// // Both anchors find class 1, the second is surer.
/// let logits = Tensor::from_floats([[[-9.0, 1.0], [-9.0, 2.0]]], &device);
/// let predictions = Predictions::new(logits, Tensor::zeros([1, 2, 4], &device));
/// let found = |nms_threshold: f32| {
///     let rule = PostProcess { nms_threshold, ..PostProcess::default() };
///     rule.detections(predictions.clone(), grid, &[size]).remove(0)
/// };
/// // They overlap by 0.9.
/// assert_eq!(found(0.5).boxes, [anchors[1]]);
/// assert_eq!(found(0.95).boxes, [anchors[1], anchors[0]]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostProcess {
    /// A score must exceed this, in `[0, 1]`.
    pub score_threshold: f32,
    /// How many candidates a level hands on.
    pub candidates_per_level: usize,
    /// Of two boxes of one class with an IoU above this, the one with the lower score goes.
    pub nms_threshold: f32,
    /// How many detections an image has at most.
    pub max_detections: usize,
}

impl Default for PostProcess {
    fn default() -> Self {
        Self { score_threshold: 0.05, candidates_per_level: 1000, nms_threshold: 0.5, max_detections: 100 }
    }
}

/// The anchors that predictions belong to.
///
/// ```
/// use sed_core::{ImageSize, pyramid::PyramidLayout};
/// use sed_models::{anchors::AnchorConfig, box_coder::BoxCoder, retinanet::AnchorGrid};
///
/// let generator = AnchorConfig::octaves(16.0, 2, 1, &[1.0]).init(&[8, 16]);
/// let layout = PyramidLayout::over(ImageSize::new(32, 32), &[8, 16], 1);
/// let (anchors, coder) = (generator.grid(&layout), BoxCoder::default());
/// let grid = AnchorGrid { layout: &layout, anchors: &anchors, coder: &coder };
/// assert_eq!(grid.anchors.len(), grid.layout.num_anchors());
/// ```
#[derive(Debug, Clone, Copy)]
pub struct AnchorGrid<'a> {
    /// The grids of the levels.
    pub layout: &'a PyramidLayout,
    /// All anchors, in the order of the layout.
    pub anchors: &'a [[f32; 4]],
    /// How deltas are encoded.
    pub coder: &'a BoxCoder,
}

/// Logits that are compared with the threshold at once.
const SCAN: usize = 32;

/// A score that may become a detection: its value and its place among the `A·C` of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    score: f32,
    index: usize,
}

impl PostProcess {
    /// Checks the options.
    ///
    /// # Errors
    ///
    /// The option that is out of range.
    ///
    /// ```
    /// use sed_models::retinanet::PostProcess;
    ///
    /// assert!(PostProcess::default().validate().is_ok());
    /// let error = PostProcess { max_detections: 0, ..PostProcess::default() }.validate().unwrap_err();
    /// assert_eq!(error.option, "postprocess.max_detections");
    /// ```
    pub fn validate(&self) -> Result<(), InvalidOption> {
        InvalidOption::unless_fraction("postprocess.score_threshold", self.score_threshold.into())?;
        InvalidOption::unless_fraction("postprocess.nms_threshold", self.nms_threshold.into())?;
        InvalidOption::unless_positive("postprocess.candidates_per_level", self.candidates_per_level as f64)?;
        InvalidOption::unless_positive("postprocess.max_detections", self.max_detections as f64)
    }

    /// The detections of each image, best first, from sigmoid logits `[N, A, C]` and deltas
    /// `[N, A, 4]`; `sizes` has the valid size of each image.
    ///
    /// # Panics
    ///
    /// If the numbers of images or of anchors differ.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::{ImageSize, Predictions, pyramid::PyramidLayout};
    /// use sed_models::{
    ///     box_coder::BoxCoder,
    ///     retinanet::{AnchorGrid, PostProcess},
    /// };
    ///
    /// let device = Device::default();
    /// let size = ImageSize::new(8, 8);
    /// let layout = PyramidLayout::over(size, &[8], 1);
    /// let grid =
    ///     AnchorGrid { layout: &layout, anchors: &[[-4.0, -4.0, 4.0, 4.0]], coder: &BoxCoder::default() };
    /// let logits = Tensor::from_floats([[[-9.0, -9.0, 0.0]]], &device);
    /// let predictions = Predictions::new(logits, Tensor::zeros([1, 1, 4], &device));
    /// let found = PostProcess::default().detections(predictions, grid, &[size]).remove(0);
    /// // Clipped to the image.
    /// assert_eq!(
    ///     (found.boxes, found.scores, found.labels),
    ///     (vec![[0.0, 0.0, 4.0, 4.0]], vec![0.5], vec![2])
    /// );
    /// ```
    pub fn detections(
        &self,
        predictions: Predictions,
        grid: AnchorGrid<'_>,
        sizes: &[ImageSize],
    ) -> Vec<Detections> {
        let [n, a, c] = predictions.class_logits.dims();
        assert_eq!(sizes.len(), n, "PostProcess: predictions of {n} images, {} sizes", sizes.len());
        assert_eq!(grid.anchors.len(), a, "PostProcess: {a} predictions, {} anchors", grid.anchors.len());
        let logits = host::read(predictions.class_logits);
        let deltas = host::read(predictions.box_deltas);
        for_each_image(n, |i| {
            self.image(
                &logits[i * a * c..(i + 1) * a * c],
                &deltas[i * a * 4..(i + 1) * a * 4],
                grid,
                sizes[i],
            )
        })
    }

    fn image(&self, logits: &[f32], deltas: &[f32], grid: AnchorGrid<'_>, size: ImageSize) -> Detections {
        let classes = logits.len() / grid.anchors.len().max(1);
        let mut found = Detections::default();
        let mut start = 0;
        for level in &grid.layout.levels {
            let end = start + level.num_anchors() * classes;
            for candidate in self.candidates(logits, start..end) {
                let (anchor, class) = (candidate.index / classes, candidate.index % classes);
                let delta = std::array::from_fn(|k| deltas[anchor * 4 + k]);
                let decoded = grid.coder.decode(delta, grid.anchors[anchor]);
                let clipped = boxes::clip(&decoded, size.height as f32, size.width as f32);
                // Both: clipping turns a NaN into a corner of the image.
                if boxes::is_valid(&decoded) && boxes::is_valid(&clipped) {
                    found.boxes.push(clipped);
                    found.scores.push(candidate.score);
                    found.labels.push(class);
                }
            }
            start = end;
        }
        let mut kept = batched_nms(&found.boxes, &found.scores, &found.labels, self.nms_threshold);
        kept.truncate(self.max_detections);
        Detections {
            boxes: kept.iter().map(|&k| found.boxes[k]).collect(),
            scores: kept.iter().map(|&k| found.scores[k]).collect(),
            labels: kept.iter().map(|&k| found.labels[k]).collect(),
        }
    }

    /// The best candidates of one level, in the order of their places; of equal scores the first.
    fn candidates(&self, logits: &[f32], level: Range<usize>) -> Vec<Candidate> {
        // Most logits fail the threshold: comparing logits saves their exponentials. The margin is
        // wider than the rounding of either side, and the score decides.
        let threshold = f64::from(self.score_threshold);
        let floor = (threshold / (1.0 - threshold)).ln() as f32;
        let floor = floor - 1e-3 * floor.abs().max(1.0);
        let mut candidates = Vec::new();
        for (block, values) in logits[level.clone()].chunks(SCAN).enumerate() {
            // Without a branch for each value; where all fail, that is all.
            if !values.iter().fold(false, |any, &logit| any | (logit >= floor)) {
                continue;
            }
            let passing = values.iter().enumerate().filter(|&(_, &logit)| logit >= floor);
            let scored = passing.map(|(place, logit)| Candidate {
                score: 1.0 / (1.0 + (-logit).exp()),
                index: level.start + block * SCAN + place,
            });
            candidates.extend(scored.filter(|candidate| candidate.score > self.score_threshold));
        }
        if candidates.len() > self.candidates_per_level {
            let better =
                |a: &Candidate, b: &Candidate| b.score.total_cmp(&a.score).then(a.index.cmp(&b.index));
            candidates.select_nth_unstable_by(self.candidates_per_level, better);
            candidates.truncate(self.candidates_per_level);
            candidates.sort_unstable_by_key(|candidate| candidate.index);
        }
        candidates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anchors::AnchorConfig;
    use burn::tensor::{Device, Tensor};
    use proptest::prelude::*;

    fn logit(score: f32) -> f32 {
        (score / (1.0 - score)).ln()
    }

    #[test]
    fn detections_by_hand() {
        let device = Device::default();
        // One level of 2×2 cells of stride 8, one anchor of 8 px a cell, two classes.
        let layout = PyramidLayout::over(ImageSize::new(16, 16), &[8], 1);
        let anchors = AnchorConfig::octaves(8.0, 1, 1, &[1.0]).init(&[8]).grid(&layout);
        let coder = BoxCoder::default();
        let scores = [[0.9, 0.2], [0.01, 0.6], [0.01, 0.01], [0.5, 0.04]];
        let logits = Tensor::<3>::from_floats([scores.map(|row| row.map(logit))], &device);
        // Anchor 1 is centred at (8, 0); moved left by one anchor width it lies where anchor 0 is.
        // Anchor 3, centred at (8, 8), is doubled: 0 … 16, cut at 14 × 12.
        let two = 2.0f32.ln();
        let deltas = Tensor::from_floats(
            [[[0., 0., 0., 0.], [-1., 0., 0., 0.], [0.; 4], [0., 0., two, two]]],
            &device,
        );
        let grid = AnchorGrid { layout: &layout, anchors: &anchors, coder: &coder };
        let post = PostProcess::default();
        let found = post.detections(
            Predictions::new(logits.clone(), deltas.clone()),
            grid,
            &[ImageSize::new(12, 14)],
        );
        // Class 1 of anchor 0 (.2) coincides with class 1 of anchor 1 (.6) and is suppressed.
        assert_eq!(found[0].labels, [0, 1, 0]);
        assert_eq!(found[0].boxes[..2], [[0., 0., 4., 4.], [0., 0., 4., 4.]]);
        for (value, expected) in found[0].boxes[2].into_iter().zip([0.0f32, 0.0, 14.0, 12.0]) {
            assert!((value - expected).abs() < 1e-5); // exp(ln 2) rounds
        }
        for (score, expected) in found[0].scores.iter().zip([0.9, 0.6, 0.5]) {
            assert!((score - expected).abs() < 1e-6);
        }
        // Each option acts.
        let count = |post: PostProcess| {
            let predictions = Predictions::new(logits.clone(), deltas.clone());
            post.detections(predictions, grid, &[ImageSize::new(12, 14)])[0].len()
        };
        assert_eq!(count(PostProcess { score_threshold: 0.55, ..post }), 2);
        assert_eq!(count(PostProcess { nms_threshold: 1.0, ..post }), 4);
        assert_eq!(count(PostProcess { max_detections: 1, ..post }), 1);
        assert_eq!(count(PostProcess { candidates_per_level: 1, ..post }), 1);
        assert_eq!(count(PostProcess { score_threshold: 1.0, ..post }), 0);
    }

    #[test]
    fn boxes_outside_the_image_and_broken_numbers_give_nothing() {
        let device = Device::default();
        let layout = PyramidLayout::over(ImageSize::new(8, 32), &[8], 1);
        let anchors = AnchorConfig::octaves(8.0, 1, 1, &[1.0]).init(&[8]).grid(&layout);
        let coder = BoxCoder::default();
        let logits = Tensor::<3>::from_floats([[[5.0], [f32::NAN], [5.0], [5.0]]], &device);
        // The last two are centred at x = 16 and 24, the image ends at 12; the first has NaN deltas.
        let deltas = Tensor::from_floats(
            [[[f32::NAN, 0., 0., 0.], [0.; 4], [0.; 4], [f32::INFINITY, 0., 0., 0.]]],
            &device,
        );
        let grid = AnchorGrid { layout: &layout, anchors: &anchors, coder: &coder };
        let sizes = [ImageSize::new(8, 12)];
        let found = PostProcess::default().detections(Predictions::new(logits, deltas), grid, &sizes);
        assert_eq!(found, [Detections::default()]);
    }

    proptest! {
        #[test]
        fn partial_selection_equals_a_full_sort(
            // Few distinct values, so that ties at the cut are common.
            steps in prop::collection::vec(0..20_i32, 0..200),
            k in 1..60_usize,
            threshold in 0.0..0.9_f32,
        ) {
            let logits: Vec<f32> = steps.iter().map(|&v| v as f32 * 0.5 - 5.0).collect();
            let post = PostProcess { score_threshold: threshold, candidates_per_level: k, ..PostProcess::default() };
            let mut sorted: Vec<Candidate> = (0..logits.len())
                .map(|index| Candidate { score: 1.0 / (1.0 + (-logits[index]).exp()), index })
                .filter(|candidate| candidate.score > threshold)
                .collect();
            sorted.sort_by(|a, b| b.score.total_cmp(&a.score));
            sorted.truncate(k);
            sorted.sort_by_key(|candidate| candidate.index);
            prop_assert_eq!(post.candidates(&logits, 0..logits.len()), sorted.clone());
            // Behind another level, whose scores are none of its own.
            let both = [vec![9.0; 7], logits].concat();
            sorted.iter_mut().for_each(|candidate| candidate.index += 7);
            prop_assert_eq!(post.candidates(&both, 7..both.len()), sorted);
        }
    }

    #[test]
    fn options_out_of_range_are_named() {
        let good = PostProcess::default();
        assert!(good.validate().is_ok());
        let bad = |post: PostProcess| post.validate().unwrap_err().option;
        assert_eq!(bad(PostProcess { score_threshold: 1.1, ..good }), "postprocess.score_threshold");
        assert_eq!(bad(PostProcess { nms_threshold: f32::NAN, ..good }), "postprocess.nms_threshold");
        assert_eq!(bad(PostProcess { candidates_per_level: 0, ..good }), "postprocess.candidates_per_level");
        assert_eq!(bad(PostProcess { max_detections: 0, ..good }), "postprocess.max_detections");
    }
}
