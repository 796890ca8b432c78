//! From predictions on regions to detections.

use sed_core::{
    Detections, ImageSize, InvalidOption, Predictions,
    ops::{batched_nms, boxes},
};
use serde::{Deserialize, Serialize};

use super::Rois;
use crate::{
    box_coder::BoxCoder,
    host::{self, for_each_image},
};

/// Which predictions on regions become detections.
///
/// Class probabilities above `score_threshold`, each with the box of its class, clipped to the image; boxes
/// with a side below `min_size` go; then what survives non-maximum suppression within each class, at most
/// `max_detections`. A region may give several detections, one a class. (Girshick, *Fast R-CNN*, ICCV 2015;
/// steps as in torchvision.)
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{ImageSize, Predictions};
/// use sed_models::{
///     box_coder::BoxCoder,
///     faster_rcnn::{RoiPostProcess, Rois},
/// };
///
/// let device = Device::default();
/// let rois = Rois::new(&[vec![[0.0, 0.0, 8.0, 8.0]]]);
/// // Undecided between two classes, and surely no background.
/// let logits = Tensor::from_floats([[[-50.0, 0.0, 0.0]]], &device);
/// let predictions = Predictions::new(logits, Tensor::zeros([1, 1, 12], &device));
/// let labels = |score_threshold: f32| {
///     let rule = RoiPostProcess { score_threshold, ..RoiPostProcess::default() };
///     let sizes = [ImageSize::new(16, 16)];
///     rule.detections(predictions.clone(), &rois, &BoxCoder::default(), &sizes).remove(0).labels
/// };
/// assert_eq!(labels(0.05), [0, 1]);
/// assert!(labels(0.6).is_empty());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoiPostProcess {
    /// A score must exceed this, in `[0, 1]`.
    pub score_threshold: f32,
    /// Of two boxes of one class with an IoU above this, the one with the lower score goes.
    pub nms_threshold: f32,
    /// How many detections an image has at most.
    pub max_detections: usize,
    /// The smallest width and height, in pixels.
    pub min_size: f32,
}

impl Default for RoiPostProcess {
    /// torchvision's.
    fn default() -> Self {
        Self { score_threshold: 0.05, nms_threshold: 0.5, max_detections: 100, min_size: 1e-2 }
    }
}

impl RoiPostProcess {
    /// Checks the options.
    ///
    /// # Errors
    ///
    /// The option that is out of range.
    ///
    /// ```
    /// use sed_models::faster_rcnn::RoiPostProcess;
    ///
    /// assert!(RoiPostProcess::default().validate().is_ok());
    /// let error = RoiPostProcess { min_size: -1.0, ..RoiPostProcess::default() }.validate().unwrap_err();
    /// assert_eq!(error.option, "postprocess.min_size");
    /// ```
    pub fn validate(&self) -> Result<(), InvalidOption> {
        InvalidOption::unless_fraction("postprocess.score_threshold", self.score_threshold.into())?;
        InvalidOption::unless_fraction("postprocess.nms_threshold", self.nms_threshold.into())?;
        InvalidOption::unless_positive("postprocess.max_detections", self.max_detections as f64)?;
        InvalidOption::unless_non_negative("postprocess.min_size", self.min_size.into())
    }

    /// The detections of each image, best first, from predictions on `rois` (`[1, K, C + 1]` logits with the
    /// background first, `[1, K, 4·(C + 1)]` deltas); `sizes` has the valid size of each image.
    ///
    /// # Panics
    ///
    /// If the numbers of regions differ.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::{ImageSize, Predictions};
    /// use sed_models::{
    ///     box_coder::BoxCoder,
    ///     faster_rcnn::{RoiPostProcess, Rois},
    /// };
    ///
    /// let device = Device::default();
    /// // Regions in the second of two images; the first region is background.
    /// let rois = Rois::new(&[vec![], vec![[0.0, 0.0, 8.0, 8.0], [4.0, 4.0, 20.0, 8.0]]]);
    /// let logits = Tensor::from_floats([[[50.0, 0.0, 0.0], [0.0, 0.0, 50.0]]], &device);
    /// let predictions = Predictions::new(logits, Tensor::zeros([1, 2, 12], &device));
    /// let sizes = [ImageSize::new(16, 16); 2];
    /// let found = RoiPostProcess::default().detections(predictions, &rois, &BoxCoder::default(), &sizes);
    /// assert!(found[0].is_empty());
    /// // Clipped to the image.
    /// assert_eq!((&found[1].boxes[..], &found[1].labels[..]), (&[[4.0, 4.0, 16.0, 8.0]][..], &[1][..]));
    /// ```
    pub fn detections(
        &self,
        predictions: Predictions,
        rois: &Rois,
        coder: &BoxCoder,
        sizes: &[ImageSize],
    ) -> Vec<Detections> {
        let [_, k, outputs] = predictions.class_logits.dims();
        assert_eq!(k, rois.len(), "RoiPostProcess: predictions of {k} regions, {} regions", rois.len());
        let logits = host::read(predictions.class_logits);
        let deltas = host::read(predictions.box_deltas);
        for_each_image(sizes.len(), |i| {
            let mut found = Detections::default();
            for r in (0..k).filter(|&r| rois.images[r] == i) {
                let scores = softmax(&logits[r * outputs..(r + 1) * outputs]);
                for (output, &score) in scores.iter().enumerate().skip(1) {
                    if score > self.score_threshold {
                        let start = (r * outputs + output) * 4;
                        let delta = std::array::from_fn(|d| deltas[start + d]);
                        let decoded = coder.decode(delta, rois.boxes[r]);
                        self.push(&mut found, decoded, score, output - 1, sizes[i]);
                    }
                }
            }
            let mut kept = batched_nms(&found.boxes, &found.scores, &found.labels, self.nms_threshold);
            kept.truncate(self.max_detections);
            Detections {
                boxes: kept.iter().map(|&k| found.boxes[k]).collect(),
                scores: kept.iter().map(|&k| found.scores[k]).collect(),
                labels: kept.iter().map(|&k| found.labels[k]).collect(),
            }
        })
    }

    fn push(&self, found: &mut Detections, decoded: [f32; 4], score: f32, label: usize, size: ImageSize) {
        let clipped = boxes::clip(&decoded, size.height as f32, size.width as f32);
        let sides = (clipped[2] - clipped[0]).min(clipped[3] - clipped[1]);
        // Both: clipping turns a NaN into a corner of the image.
        if boxes::is_valid(&decoded) && boxes::is_valid(&clipped) && sides >= self.min_size {
            found.boxes.push(clipped);
            found.scores.push(score);
            found.labels.push(label);
        }
    }
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f32> = logits.iter().map(|z| (z - highest).exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    exponentials.into_iter().map(|e| e / sum).collect()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;

    const SIZES: [ImageSize; 2] = [ImageSize { height: 20, width: 30 }, ImageSize { height: 20, width: 20 }];

    /// Two regions in the first image, one in the second.
    fn rois() -> Rois {
        Rois::new(&[vec![[0., 0., 10., 10.], [0., 0., 10., 8.]], vec![[10., 10., 40., 40.]]])
    }

    fn detections(
        post: RoiPostProcess,
        probabilities: [[f32; 3]; 3],
        deltas: [[f32; 12]; 3],
    ) -> Vec<Detections> {
        let device = Device::default();
        let logits = Tensor::<3>::from_floats([probabilities.map(|row| row.map(f32::ln))], &device);
        let predictions = Predictions::new(logits, Tensor::from_floats([deltas], &device));
        post.detections(predictions, &rois(), &BoxCoder::default(), &SIZES)
    }

    const PROBABILITIES: [[f32; 3]; 3] = [[0.1, 0.6, 0.3], [0.1, 0.8, 0.1], [0.96, 0.01, 0.03]];

    #[test]
    fn detections_by_hand_and_each_option_acts() {
        let post = RoiPostProcess::default();
        let found = detections(post, PROBABILITIES, [[0.0; 12]; 3]);
        // Class 0: the second region (.8) suppresses the first (.6); class 1: the first (.3) the second (.1).
        assert_eq!(found[0].labels, [0, 1]);
        assert_eq!(found[0].boxes, [[0., 0., 10., 8.], [0., 0., 10., 10.]]);
        for (score, expected) in found[0].scores.iter().zip([0.8, 0.3]) {
            assert!((score - expected).abs() < 1e-6);
        }
        assert!(found[1].is_empty(), "below the threshold");
        let count = |post| lengths(&detections(post, PROBABILITIES, [[0.0; 12]; 3]));
        assert_eq!(count(RoiPostProcess { nms_threshold: 1.0, ..post }), [4, 0]);
        assert_eq!(count(RoiPostProcess { max_detections: 1, ..post }), [1, 0]);
        assert_eq!(count(RoiPostProcess { score_threshold: 0.02, ..post }), [2, 1]);
        assert_eq!(count(RoiPostProcess { min_size: 9.0, ..post }), [2, 0]);
    }

    fn lengths(found: &[Detections]) -> Vec<usize> {
        found.iter().map(Detections::len).collect()
    }

    #[test]
    fn each_class_has_its_box_and_boxes_are_clipped() {
        let mut deltas = [[0.0; 12]; 3];
        // Class 1 (output 2) of the last region: half its width to the left.
        deltas[2][8] = -0.5;
        let found = detections(
            RoiPostProcess::default(),
            [[1.0, 1e-9, 1e-9], [1.0, 1e-9, 1e-9], [0.2, 0.2, 0.6]],
            deltas,
        );
        assert_eq!(found[1].labels, [1, 0]);
        assert_eq!(found[1].boxes, [[0., 10., 20., 20.], [10., 10., 20., 20.]]);
    }

    #[test]
    fn broken_numbers_give_nothing() {
        let post = RoiPostProcess::default();
        assert_eq!(lengths(&detections(post, [[f32::NAN; 3]; 3], [[0.0; 12]; 3])), [0, 0]);
        assert_eq!(lengths(&detections(post, PROBABILITIES, [[f32::NAN; 12]; 3])), [0, 0]);
    }

    #[test]
    fn options_out_of_range_are_named() {
        let good = RoiPostProcess::default();
        assert_eq!(good.validate(), Ok(()));
        let bad = |post: RoiPostProcess| post.validate().unwrap_err().option;
        assert_eq!(bad(RoiPostProcess { score_threshold: -0.1, ..good }), "postprocess.score_threshold");
        assert_eq!(bad(RoiPostProcess { nms_threshold: 1.1, ..good }), "postprocess.nms_threshold");
        assert_eq!(bad(RoiPostProcess { max_detections: 0, ..good }), "postprocess.max_detections");
        assert_eq!(bad(RoiPostProcess { min_size: f32::NAN, ..good }), "postprocess.min_size");
    }
}
