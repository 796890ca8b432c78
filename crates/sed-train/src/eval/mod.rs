//! Evaluation of detections by the COCO protocol, and by that of PASCAL VOC.

mod annotations;
mod coco;
mod confusion;
mod error;
mod ground_truth;
mod image_score;
mod matching;
mod multi_scale;
mod precision_recall;
mod pycocotools;
mod results;
mod summary;
#[cfg(test)]
mod tests;
mod voc;
#[cfg(test)]
mod voc_tests;

use std::collections::HashSet;

use sed_core::Detections;

pub use annotations::EvalAnnotations;
pub use coco::CocoEvaluator;
use coco::check_results;
pub use confusion::{Confusion, ConfusionMatrix};
pub use error::EvalError;
pub use ground_truth::{GroundTruth, GroundTruthBox};
pub use image_score::{ImageScore, image_scores};
pub(crate) use matching::{Found, match_detections};
pub use multi_scale::detect_at_scales;
pub use precision_recall::{PrecisionRecall, PrecisionRecallPoint, precision_recall};
pub use pycocotools::PycocotoolsEvaluator;
pub use results::{CocoResult, coco_results, read_coco_results, write_coco_results};
use summary::per_class;
pub use summary::{ClassSummary, CocoSummary};
pub use voc::{VocClassSummary, VocEvaluator, VocInterpolation, VocSummary};

/// The objects found in one image.
///
/// ```
/// use sed_core::Detections;
/// use sed_train::eval::ImageDetections;
///
/// let found = ImageDetections {
///     image_id: 7,
///     detections: Detections { boxes: vec![[10., 10., 50., 50.]], scores: vec![0.9], labels: vec![1] },
/// };
/// assert_eq!(found.detections.len(), 1);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ImageDetections {
    /// The image's id.
    pub image_id: u64,
    /// The objects, in pixels of the original image.
    pub detections: Detections,
}

/// Compares detections with labeled objects.
///
/// ```
/// use sed_train::eval::{CocoEvaluator, DetectionEvaluator, EvalError};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
/// # use setup::{found, truth};
/// # let truth = truth();
///
/// let evaluator: Box<dyn DetectionEvaluator> = Box::new(CocoEvaluator);
/// // `truth` has one object, of class 1 in image 1; `found` gives its box a class and a score.
/// let summary = evaluator.evaluate(&truth, &[found(1, 1, 0.9)])?;
/// assert!((summary.ap.unwrap() - 1.0).abs() < 1e-9);
/// let unknown = evaluator.evaluate(&truth, &[found(9, 1, 0.9)]);
/// assert!(matches!(unknown, Err(EvalError::UnknownImage { image: 9 })));
/// # Ok::<(), EvalError>(())
/// ```
pub trait DetectionEvaluator: Send + Sync {
    /// The COCO numbers of a list of results on the images of `truth`.
    ///
    /// An image of `truth` that does not occur in `results` counts as one in which nothing was
    /// found. Results of equal score rank by image id, and within an image as given.
    ///
    /// # Errors
    ///
    /// [`EvalError`] on a result of an image or category that is not in `truth`, and on boxes or
    /// scores that are no finite numbers, or boxes of negative size.
    fn evaluate_results(&self, truth: &GroundTruth, results: &[CocoResult])
    -> Result<CocoSummary, EvalError>;

    /// The COCO numbers of a detector's output on the images of `truth`.
    ///
    /// # Errors
    ///
    /// As [`DetectionEvaluator::evaluate_results`], and on two entries for one image, on a class
    /// that does not exist, and on an entry without detections for an image that is not in `truth`.
    ///
    /// # Panics
    ///
    /// If `boxes`, `scores` and `labels` of an image differ in length.
    fn evaluate(
        &self,
        truth: &GroundTruth,
        detections: &[ImageDetections],
    ) -> Result<CocoSummary, EvalError> {
        let known: HashSet<u64> = truth.image_ids.iter().copied().collect();
        let mut seen = HashSet::new();
        for &ImageDetections { image_id: image, .. } in detections {
            if !known.contains(&image) {
                return Err(EvalError::UnknownImage { image });
            }
            if !seen.insert(image) {
                return Err(EvalError::DuplicateImage { image });
            }
        }
        self.evaluate_results(truth, &coco_results(&truth.categories, detections)?)
    }
}
