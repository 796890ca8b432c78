//! Precision against recall of each class.

use super::{EvalError, Found, GroundTruth, ImageDetections, match_detections};
use crate::data::Category;

/// Detections of an image and class that count, as in the COCO protocol.
const MOST: usize = 100;

/// Precision and recall of a class as the least score falls.
///
/// ```
/// use sed_train::eval::precision_recall;
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
/// # use setup::{found, truth};
/// # let truth = truth();
///
/// // The only object, of class 1 in image 1, is found, and before it something in image 2 that is not there.
/// let curves = precision_recall(&truth, &[found(1, 1, 0.8), found(2, 1, 0.9)], 0.5)?;
/// let screw = &curves[1];
/// assert_eq!((screw.category.name.as_str(), screw.objects), ("screw", 1));
/// assert_eq!(screw.interpolated()[100], (1.0, 0.5)); // half of what is found is right
/// assert!((screw.average_precision().unwrap() - 0.5).abs() < 1e-9);
/// assert_eq!(curves[0].average_precision(), None); // no objects
/// # Ok::<(), sed_train::eval::EvalError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PrecisionRecall {
    /// The class.
    pub category: Category,
    /// The number of its objects, crowds not counted.
    pub objects: usize,
    /// One entry a detection that is right or wrong, the best score first. Empty without objects.
    pub points: Vec<PrecisionRecallPoint>,
}

/// Precision and recall of the detections down to one.
///
/// ```
/// use sed_train::eval::{PrecisionRecallPoint, precision_recall};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
/// # use setup::{found, truth};
/// # let truth = truth();
///
/// // The only object, of class 1 in image 1, is found, and after it something in image 2 that is not there.
/// let curves = precision_recall(&truth, &[found(1, 1, 0.9), found(2, 1, 0.8)], 0.5)?;
/// assert_eq!(curves[1].points, [
///     PrecisionRecallPoint { score: 0.9, precision: 1.0, recall: 1.0 },
///     PrecisionRecallPoint { score: 0.8, precision: 0.5, recall: 1.0 },
/// ]);
/// # Ok::<(), sed_train::eval::EvalError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrecisionRecallPoint {
    /// The score of this detection.
    pub score: f32,
    /// The share of right ones among the detections so far.
    pub precision: f64,
    /// The share of the objects that they found.
    pub recall: f64,
}

/// The curve of each class, in the order of the dense class ids, at an IoU in `(0, 1]`.
///
/// Detections are matched as in the COCO protocol: by class, best score first, no more than 100 an image and class;
/// those in crowd regions count neither as right nor as wrong. Equal scores rank by image id.
///
/// # Errors
///
/// [`EvalError`] on detections of an image that is not in `truth` or comes twice, on a class that does not exist,
/// and on boxes or scores that are no finite numbers.
///
/// # Panics
///
/// If `iou` lies outside `(0, 1]`, or `boxes`, `scores` and `labels` of an image differ in length.
///
/// ```
/// use sed_train::eval::precision_recall;
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
/// # use setup::{found, truth};
/// # let truth = truth();
///
/// // The box of the only object, of class 1 in image 1, with the wrong class.
/// let curves = precision_recall(&truth, &[found(1, 0, 0.9)], 0.5)?;
/// assert_eq!(curves.len(), truth.categories.len());
/// assert_eq!(curves[1].average_precision(), Some(0.0));
/// # Ok::<(), sed_train::eval::EvalError>(())
/// ```
pub fn precision_recall(
    truth: &GroundTruth,
    detections: &[ImageDetections],
    iou: f64,
) -> Result<Vec<PrecisionRecall>, EvalError> {
    let mut matched = match_detections(truth, detections, iou, MOST)?;
    matched.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.image_id.cmp(&b.image_id)));
    let mut objects = vec![0; truth.categories.len()];
    for object in truth.boxes.iter().filter(|object| !object.iscrowd) {
        objects[object.label] += 1;
    }
    let curve = |(label, category): (usize, &Category)| {
        let (mut right, mut all) = (0, 0);
        let of_class = matched.iter().filter(|one| one.label == label && one.found != Found::Crowd);
        let points = of_class.map(|one| {
            all += 1;
            right += usize::from(matches!(one.found, Found::Object(_)));
            PrecisionRecallPoint {
                score: one.score,
                precision: right as f64 / all as f64,
                recall: right as f64 / objects[label] as f64,
            }
        });
        let points = if objects[label] == 0 { Vec::new() } else { points.collect() };
        PrecisionRecall { category: category.clone(), objects: objects[label], points }
    };
    Ok(truth.categories.iter().enumerate().map(curve).collect())
}

impl PrecisionRecall {
    /// `(recall, precision)` at the recalls 0, .01, …, 1: the highest precision among all points of at least that
    /// recall, 0 where there is none.
    pub fn interpolated(&self) -> Vec<(f64, f64)> {
        let mut highest = 0.0_f64;
        let mut envelope: Vec<(f64, f64)> = self.points.iter().map(|p| (p.recall, p.precision)).collect();
        for (_, precision) in envelope.iter_mut().rev() {
            highest = highest.max(*precision);
            *precision = highest;
        }
        // Products, as pycocotools has them: some differ from `i / 100` in the last bit, and recalls fall on them.
        let recall = |i: u32| if i == 100 { 1.0 } else { f64::from(i) * 0.01 };
        let precision = |recall: f64| {
            let first = envelope.partition_point(|point| point.0 < recall);
            envelope.get(first).map_or(0.0, |point| point.1)
        };
        (0..=100).map(recall).map(|recall| (recall, precision(recall))).collect()
    }

    /// The mean of the [interpolated](Self::interpolated) precisions; `None` without objects. At an IoU of .5 it is the
    /// class's AP50.
    pub fn average_precision(&self) -> Option<f64> {
        let sum: f64 = self.interpolated().iter().map(|point| point.1).sum();
        (self.objects > 0).then_some(sum / 101.0)
    }
}

#[cfg(test)]
mod tests {
    use sed_core::Detections;

    use super::*;
    use crate::{
        data::{HostRng, Purpose},
        eval::{CocoEvaluator, DetectionEvaluator, GroundTruthBox},
    };

    fn truth(boxes: Vec<GroundTruthBox>) -> GroundTruth {
        let category = |id, name: &str| Category { id, name: name.into() };
        GroundTruth { image_ids: vec![1, 2, 3], categories: vec![category(4, "a"), category(9, "b")], boxes }
    }

    fn object(image_id: u64, label: usize, bbox: [f64; 4]) -> GroundTruthBox {
        GroundTruthBox { image_id, label, bbox, area: bbox[2] * bbox[3], iscrowd: false }
    }

    #[test]
    fn a_curve_by_hand() {
        let truth = truth(vec![object(1, 0, [0., 0., 10., 10.]), object(2, 0, [0., 0., 10., 10.])]);
        let found = |image_id, scores: &[f32], boxes: &[[f32; 4]]| ImageDetections {
            image_id,
            detections: Detections {
                boxes: boxes.to_vec(),
                scores: scores.to_vec(),
                labels: vec![0; boxes.len()],
            },
        };
        let on = [0., 0., 10., 10.];
        // Right, wrong (found already), right.
        let detections = [found(2, &[0.5], &[on]), found(1, &[0.9, 0.8], &[on, on])];
        let curves = precision_recall(&truth, &detections, 0.5).unwrap();
        let points: Vec<_> = curves[0].points.iter().map(|p| (p.score, p.precision, p.recall)).collect();
        assert_eq!(points, [(0.9, 1.0, 0.5), (0.8, 0.5, 0.5), (0.5, 2.0 / 3.0, 1.0)]);
        let interpolated = curves[0].interpolated();
        // 0, .01, …, .50 at precision 1, then 50 at two thirds.
        assert_eq!(interpolated.iter().filter(|point| point.1 == 1.0).count(), 51);
        assert_eq!(interpolated[100], (1.0, 2.0 / 3.0));
        let expected = (51.0 + 50.0 * 2.0 / 3.0) / 101.0;
        assert!((curves[0].average_precision().unwrap() - expected).abs() < 1e-12);
        assert_eq!((curves[1].objects, curves[1].average_precision()), (0, None));
    }

    #[test]
    fn the_mean_precision_is_the_ap50_of_the_coco_evaluator() {
        for seed in 0..40 {
            let mut rng = HostRng::new(seed, Purpose::ValScene, 0, 0);
            let mut place = |size: [f32; 2]| {
                let [x, y] = [rng.uniform([0., 40.]), rng.uniform([0., 40.])];
                let [w, h] = [rng.uniform(size), rng.uniform(size)];
                ([x, y, x + w, y + h], rng.unit(), rng.chance(0.5), rng.chance(0.1))
            };
            let mut boxes = Vec::new();
            let mut detections = Vec::new();
            for image_id in [3, 1, 2] {
                let mut found = Detections::default();
                for _ in 0..8 {
                    let ([x1, y1, x2, y2], score, second, crowd) = place([8., 20.]);
                    let bbox = [x1, y1, x2 - x1, y2 - y1].map(f64::from);
                    boxes.push(GroundTruthBox {
                        iscrowd: crowd,
                        ..object(image_id, usize::from(second), bbox)
                    });
                    // Near its object, with few distinct scores.
                    let shift = score * 6.0;
                    found.boxes.push([x1 + shift, y1, x2 + shift, y2]);
                    found.scores.push((score * 8.0).floor() / 8.0);
                    found.labels.push(usize::from(second));
                    let (corners, score, second, _) = place([8., 20.]);
                    found.boxes.push(corners);
                    found.scores.push(score);
                    found.labels.push(usize::from(second));
                }
                detections.push(ImageDetections { image_id, detections: found });
            }
            // More than count: 150 of one class.
            let many = &mut detections[0].detections;
            for i in 0..150 {
                many.boxes.push([0., 0., 12., 12.]);
                many.scores.push(i as f32 / 150.0);
                many.labels.push(1);
            }
            let truth = truth(boxes);
            let summary = CocoEvaluator.evaluate(&truth, &detections).unwrap();
            let curves = precision_recall(&truth, &detections, 0.5).unwrap();
            for (class, curve) in summary.classes.iter().zip(&curves) {
                let (expected, found) = (class.ap50.unwrap(), curve.average_precision().unwrap());
                assert!((expected - found).abs() < 1e-9, "seed {seed}: {expected} {found}");
            }
        }
    }
}
