use serde::Serialize;

use crate::eval::{EvalError, Found, GroundTruth, ImageDetections, match_detections};

/// Objects of up to this area in pixels² are small, as COCO counts.
const SMALL: f64 = 32.0 * 32.0;

/// Objects of more than the small and up to this area in pixels² are medium, those above large.
const MEDIUM: f64 = 96.0 * 96.0;

/// A teacher's detections as pseudo-labels, each compared with the true objects at one IoU.
///
/// In each image and class detections are matched greedily, best score first, of equal scores the first: a detection
/// gets the object that it overlaps most of those not yet taken, if their IoU reaches the threshold, and is then
/// right. Without one it counts neither as right nor as wrong if a crowd region of its class covers it (shared area
/// over the detection's own, at least the same threshold, as in the COCO protocol), and else it is wrong.
///
/// Whether a detection is right depends on better ones alone, so one matching serves all score thresholds.
///
/// Source: Fig. 1c of the paper; the matching is that of the COCO protocol.
///
/// ```
/// use sed_train::diagnostics::PseudoLabelMatches;
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
/// # use setup::{found, truth};
/// # let truth = truth();
///
/// // The only object, of class 1 in image 1, is found, and something in image 2 that is not there.
/// let matches = PseudoLabelMatches::new(&truth, &[found(1, 1, 0.9), found(2, 1, 0.4)], 0.5)?;
/// let points = matches.curve(&[0.3, 0.5]).points;
/// assert_eq!((points[0].precision, points[0].recall), (Some(0.5), Some(1.0)));
/// assert_eq!((points[1].precision, points[1].recall), (Some(1.0), Some(1.0)));
/// assert_eq!(matches.recall_by_size(0.5).medium.recall, Some(1.0));
/// # Ok::<(), sed_train::eval::EvalError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PseudoLabelMatches {
    iou: f64,
    /// Detections that are right or wrong.
    labels: Vec<PseudoLabel>,
    /// The area of each object that is no crowd, as the annotation gives it.
    areas: Vec<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct PseudoLabel {
    score: f32,
    /// The area of the object that it found; `None` for a wrong one.
    found: Option<f64>,
}

/// Precision and recall of the pseudo-labels above one score.
///
/// ```
/// use sed_train::diagnostics::PseudoLabelMatches;
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
/// # use setup::{found, truth};
/// # let truth = truth();
///
/// // The only object, of class 1 in image 1, is found with a score of 0.5.
/// let matches = PseudoLabelMatches::new(&truth, &[found(1, 1, 0.5)], 0.5)?;
/// let [at, above] = matches.curve(&[0.5, 0.6]).points[..] else { panic!("a point a threshold") };
/// assert_eq!((at.right, at.wrong), (1, 0));
/// assert_eq!((above.precision, above.recall), (None, Some(0.0))); // no pseudo-labels are left
/// # Ok::<(), sed_train::eval::EvalError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PseudoLabelPoint {
    /// The least score `t` of a pseudo-label.
    pub threshold: f32,
    /// Pseudo-labels that are right.
    pub right: usize,
    /// Pseudo-labels that are wrong.
    pub wrong: usize,
    /// `right / (right + wrong)`; `None` without pseudo-labels.
    pub precision: Option<f64>,
    /// `right / objects`; `None` without objects.
    pub recall: Option<f64>,
}

/// Precision and recall against the score threshold.
///
/// ```
/// use sed_train::diagnostics::PseudoLabelMatches;
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
/// # use setup::truth;
/// # let truth = truth();
///
/// let curve = PseudoLabelMatches::new(&truth, &[], 0.75)?.curve(&[0.1, 0.5, 0.9]);
/// assert_eq!((curve.iou, curve.objects), (0.75, 1));
/// assert_eq!(curve.points.iter().map(|point| point.threshold).collect::<Vec<_>>(), [0.1, 0.5, 0.9]);
/// # Ok::<(), sed_train::eval::EvalError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PseudoLabelCurve {
    /// From this IoU on a box is right.
    pub iou: f64,
    /// The number of true objects.
    pub objects: usize,
    /// One entry a threshold.
    pub points: Vec<PseudoLabelPoint>,
}

/// How many objects of one range of sizes were found.
///
/// ```
/// use sed_train::diagnostics::{ObjectRecall, PseudoLabelMatches};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
/// # use setup::truth;
/// # let truth = truth();
///
/// // The only object has 40×40 pixels, and nothing is found.
/// let sizes = PseudoLabelMatches::new(&truth, &[], 0.5)?.recall_by_size(0.5);
/// assert_eq!(sizes.medium, ObjectRecall { objects: 1, found: 0, recall: Some(0.0) });
/// assert_eq!(sizes.large, ObjectRecall { objects: 0, found: 0, recall: None });
/// # Ok::<(), sed_train::eval::EvalError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ObjectRecall {
    /// The number of objects.
    pub objects: usize,
    /// Those among them that a pseudo-label found.
    pub found: usize,
    /// `found / objects`; `None` without objects.
    pub recall: Option<f64>,
}

/// The recall of pseudo-labels for objects of COCO's three sizes.
///
/// ```
/// use sed_train::diagnostics::PseudoLabelMatches;
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
/// # use setup::{found, truth};
/// # let truth = truth();
///
/// // The only object, of class 1 in image 1, has 40×40 pixels and is found with a score of 0.8.
/// let sizes = PseudoLabelMatches::new(&truth, &[found(1, 1, 0.8)], 0.5)?.recall_by_size(0.7);
/// assert_eq!((sizes.threshold, sizes.medium.found, sizes.small.objects), (0.7, 1, 0));
/// # Ok::<(), sed_train::eval::EvalError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RecallBySize {
    /// From this IoU on a box is right.
    pub iou: f64,
    /// The least score of a pseudo-label.
    pub threshold: f32,
    /// Objects of up to 32² pixels².
    pub small: ObjectRecall,
    /// Objects of more than 32² and up to 96² pixels².
    pub medium: ObjectRecall,
    /// Objects of more than 96² pixels².
    pub large: ObjectRecall,
}

impl PseudoLabelMatches {
    /// Matches `detections`, in pixels of the original images, with the objects of `truth` at an IoU in `(0, 1]`.
    ///
    /// An image of `truth` that does not occur in `detections` counts as one in which nothing was found.
    ///
    /// # Errors
    ///
    /// [`EvalError`] on detections of an image that is not in `truth` or comes twice, on a class that does not exist,
    /// and on boxes or scores that are no finite numbers.
    ///
    /// # Panics
    ///
    /// If `iou` lies outside `(0, 1]`, or `boxes`, `scores` and `labels` of an image differ in length.
    pub fn new(truth: &GroundTruth, detections: &[ImageDetections], iou: f64) -> Result<Self, EvalError> {
        let label = |score, found| match found {
            Found::Object(area) => Some(PseudoLabel { score, found: Some(area) }),
            Found::Nothing => Some(PseudoLabel { score, found: None }),
            Found::Crowd => None,
        };
        let matched = match_detections(truth, detections, iou, usize::MAX)?;
        let labels = matched.iter().filter_map(|one| label(one.score, one.found)).collect();
        let areas = truth.boxes.iter().filter(|object| !object.iscrowd).map(|object| object.area);
        Ok(Self { iou, labels, areas: areas.collect() })
    }

    /// Precision and recall of the pseudo-labels whose score is at least `t`, for each threshold `t`.
    pub fn curve(&self, thresholds: &[f32]) -> PseudoLabelCurve {
        let point = |&threshold: &f32| {
            let (right, all) = self
                .at_least(threshold)
                .fold((0, 0), |(right, all), label| (right + usize::from(label.found.is_some()), all + 1));
            PseudoLabelPoint {
                threshold,
                right,
                wrong: all - right,
                precision: share(right, all),
                recall: share(right, self.areas.len()),
            }
        };
        PseudoLabelCurve {
            iou: self.iou,
            objects: self.areas.len(),
            points: thresholds.iter().map(point).collect(),
        }
    }

    /// Which part of the objects of each size the pseudo-labels of at least `threshold` find.
    ///
    /// Sizes go by the area that the annotation gives, which on COCO is that of the mask.
    pub fn recall_by_size(&self, threshold: f32) -> RecallBySize {
        let recall = |lowest: f64, highest: f64| {
            let inside = |area: f64| area > lowest && area <= highest;
            let objects = self.areas.iter().filter(|area| inside(**area)).count();
            let found = self.at_least(threshold).filter(|label| label.found.is_some_and(inside)).count();
            ObjectRecall { objects, found, recall: share(found, objects) }
        };
        RecallBySize {
            iou: self.iou,
            threshold,
            small: recall(f64::NEG_INFINITY, SMALL),
            medium: recall(SMALL, MEDIUM),
            large: recall(MEDIUM, f64::INFINITY),
        }
    }

    fn at_least(&self, threshold: f32) -> impl Iterator<Item = &PseudoLabel> {
        self.labels.iter().filter(move |label| label.score >= threshold)
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
#[path = "pseudo_labels_tests.rs"]
mod tests;
