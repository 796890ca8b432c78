use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{EvalError, ImageDetections};
use crate::data::{Category, DataError, json};

/// One detection, as in a COCO results file.
///
/// In double precision, as annotation files are: an IoU that is exactly at a threshold in the file
/// would fall on either side of it after rounding to single precision.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CocoResult {
    /// The image's id.
    pub image_id: u64,
    /// The category's id in the annotation file.
    pub category_id: u64,
    /// `[x, y, width, height]` in pixels of the original image.
    pub bbox: [f64; 4],
    /// The confidence.
    pub score: f64,
}

/// A detector's output as COCO results, with the category ids of `categories`.
///
/// # Errors
///
/// [`EvalError::UnknownClass`] on a class id that `categories` does not have.
///
/// # Panics
///
/// If `boxes`, `scores` and `labels` of an image differ in length.
pub fn coco_results(
    categories: &[Category],
    detections: &[ImageDetections],
) -> Result<Vec<CocoResult>, EvalError> {
    let mut results = Vec::new();
    for ImageDetections { image_id: image, detections } in detections {
        let image = *image;
        let (boxes, scores, labels) =
            (detections.boxes.len(), detections.scores.len(), detections.labels.len());
        assert!(
            boxes == scores && boxes == labels,
            "Detections of image {image}: {boxes} boxes, {scores} scores, {labels} labels"
        );
        for index in 0..boxes {
            let label = detections.labels[index];
            let Some(category) = categories.get(label) else {
                return Err(EvalError::UnknownClass { image, index, label, classes: categories.len() });
            };
            let [x1, y1, x2, y2] = detections.boxes[index].map(f64::from);
            results.push(CocoResult {
                image_id: image,
                category_id: category.id,
                bbox: [x1, y1, x2 - x1, y2 - y1],
                score: detections.scores[index].into(),
            });
        }
    }
    Ok(results)
}

/// Reads a COCO results file: a list of `{image_id, category_id, bbox, score}`.
///
/// # Errors
///
/// A file that is missing or malformed.
pub fn read_coco_results(path: impl AsRef<Path>) -> Result<Vec<CocoResult>, DataError> {
    json::read(path.as_ref())
}

/// Writes a COCO results file; it appears whole or not at all.
///
/// # Errors
///
/// A file that cannot be written.
pub fn write_coco_results(path: impl AsRef<Path>, results: &[CocoResult]) -> Result<(), DataError> {
    let path = path.as_ref();
    json::write(path, &results).map_err(|source| DataError::io(path, source))
}
