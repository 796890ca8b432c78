use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{EvalError, ImageDetections};
use crate::data::{Category, DataError, json};

/// One detection, as in a COCO results file.
///
/// In double precision, as annotation files are: an IoU that is exactly at a threshold in the file
/// would fall on either side of it after rounding to single precision.
///
/// ```
/// use sed_train::eval::CocoResult;
///
/// let text = r#"{"image_id": 7, "category_id": 90, "bbox": [10, 10, 40, 40], "score": 0.9}"#;
/// let result: CocoResult = serde_json::from_str(text)?;
/// assert_eq!((result.category_id, result.bbox[2]), (90, 40.0));
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use sed_core::Detections;
/// use sed_train::data::Category;
/// use sed_train::eval::{CocoResult, EvalError, ImageDetections, coco_results};
///
/// let categories = [Category { id: 3, name: "nut".into() }, Category { id: 90, name: "screw".into() }];
/// let found = ImageDetections {
///     image_id: 7,
///     detections: Detections { boxes: vec![[10., 10., 50., 30.]], scores: vec![0.5], labels: vec![1] },
/// };
/// let results = coco_results(&categories, &[found])?;
/// assert_eq!(results, [CocoResult { image_id: 7, category_id: 90, bbox: [10., 10., 40., 20.], score: 0.5 }]);
/// # Ok::<(), EvalError>(())
/// ```
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
///
/// ```
/// use sed_train::{data::DataError, eval::read_coco_results};
///
/// # let dir = tempfile::tempdir()?;
/// # let file = dir.path().join("found.json");
/// std::fs::write(&file, r#"[{"image_id": 7, "category_id": 90, "bbox": [1, 1, 4, 4], "score": 0.9}]"#)?;
/// assert_eq!(read_coco_results(&file)?[0].image_id, 7);
///
/// std::fs::write(&file, r#"[{"image_id": 7}]"#)?;
/// let error = read_coco_results(&file).unwrap_err();
/// assert!(matches!(&error, DataError::Json { field, .. } if field == "[0]"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_coco_results(path: impl AsRef<Path>) -> Result<Vec<CocoResult>, DataError> {
    json::read(path.as_ref())
}

/// Writes a COCO results file; it appears whole or not at all.
///
/// # Errors
///
/// A file that cannot be written.
///
/// ```
/// use sed_train::eval::{CocoResult, read_coco_results, write_coco_results};
///
/// # let dir = tempfile::tempdir()?;
/// # let file = dir.path().join("found.json");
/// let results = [CocoResult { image_id: 7, category_id: 90, bbox: [10., 10., 40., 20.], score: 0.5 }];
/// write_coco_results(&file, &results)?;
/// assert_eq!(read_coco_results(&file)?, results);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_coco_results(path: impl AsRef<Path>, results: &[CocoResult]) -> Result<(), DataError> {
    let path = path.as_ref();
    json::write(path, &results).map_err(|source| DataError::io(path, source))
}
