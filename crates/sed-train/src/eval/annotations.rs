use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::{
    Deserialize, Deserializer,
    de::{self, Unexpected},
};

use super::{GroundTruth, GroundTruthBox};
use crate::data::{BoxProblem, Category, DataError, json};

/// The ground truth of an annotation file, as an evaluation counts it.
///
/// Evaluation asks less of a file than training: images need no name and no size, and boxes without area or outside
/// their image are objects that no detection finds, as for the reference implementations.
///
/// ```
/// use sed_train::eval::EvalAnnotations;
///
/// # let dir = tempfile::tempdir()?;
/// # let file = dir.path().join("val.json");
/// std::fs::write(&file, r#"{
///     "images": [{"id": 7}],
///     "categories": [{"id": 3, "name": "screw"}],
///     "annotations": [{"id": 0, "image_id": 7, "category_id": 3, "bbox": [10, 10, 5, 4]},
///                     {"id": 1, "image_id": 7, "category_id": 3, "bbox": [20, 10, 5, 4], "difficult": 1}]
/// }"#)?;
/// let annotations = EvalAnnotations::read(&file)?;
/// assert_eq!(annotations.truth.boxes[0].area, 20.0);
/// assert_eq!((annotations.zero, annotations.difficult.as_slice()), (Some(0), [false, true].as_slice()));
/// assert!(annotations.voc_truth().boxes[1].iscrowd);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct EvalAnnotations {
    /// The ground truth, images and categories sorted by id.
    pub truth: GroundTruth,
    /// The position in `truth.boxes` of the object whose annotation id is 0; see
    /// [`PycocotoolsEvaluator`](super::PycocotoolsEvaluator).
    pub zero: Option<usize>,
    /// For each of `truth.boxes` whether the file marks it `difficult` or `ignore`, which the VOC protocol leaves out of
    /// account and the COCO protocol does not look at.
    pub difficult: Vec<bool>,
}

#[derive(Deserialize)]
struct RawFile {
    #[serde(default)]
    images: Vec<RawImage>,
    #[serde(default)]
    categories: Vec<Category>,
    annotations: Vec<RawAnnotation>,
}

#[derive(Deserialize)]
struct RawImage {
    id: u64,
}

#[derive(Deserialize)]
struct RawAnnotation {
    id: u64,
    image_id: u64,
    category_id: u64,
    bbox: [f64; 4],
    area: Option<f64>,
    #[serde(default, deserialize_with = "zero_or_one")]
    iscrowd: bool,
    #[serde(default, deserialize_with = "zero_or_one")]
    ignore: bool,
    #[serde(default, deserialize_with = "zero_or_one")]
    difficult: bool,
}

/// A flag that files write as 0 or 1.
fn zero_or_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match u64::deserialize(deserializer)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(de::Error::invalid_value(Unexpected::Unsigned(other), &"0 or 1")),
    }
}

impl EvalAnnotations {
    /// Reads a COCO annotation file. An annotation without `area` has that of its box.
    ///
    /// # Errors
    ///
    /// A file that is missing or malformed, no images or categories, an id that occurs twice, an annotation of an image
    /// or category that is not listed, a negative width, height or area.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        let RawFile { images, mut categories, annotations } = json::read(path)?;
        if images.is_empty() {
            return Err(DataError::NoImages { path: path.to_owned() });
        }
        if categories.is_empty() {
            return Err(DataError::NoCategories { path: path.to_owned() });
        }
        categories.sort_unstable_by_key(|category| category.id);
        let mut image_ids: Vec<u64> = images.into_iter().map(|image| image.id).collect();
        image_ids.sort_unstable();
        unique(path, "images", image_ids.iter().copied())?;
        unique(path, "categories", categories.iter().map(|category| category.id))?;
        unique(path, "annotations", annotations.iter().map(|annotation| annotation.id))?;

        let labels: HashMap<u64, usize> =
            categories.iter().enumerate().map(|(label, category)| (category.id, label)).collect();
        let mut boxes = Vec::with_capacity(annotations.len());
        for annotation in &annotations {
            let RawAnnotation { id, image_id, category_id, bbox, area, iscrowd, .. } = *annotation;
            let path = || path.to_owned();
            let &label = labels.get(&category_id).ok_or_else(|| DataError::UnknownCategory {
                path: path(),
                annotation: id,
                id: category_id,
            })?;
            if image_ids.binary_search(&image_id).is_err() {
                return Err(DataError::UnknownImage { path: path(), annotation: id, id: image_id });
            }
            if bbox[2] < 0.0 || bbox[3] < 0.0 {
                let problem = BoxProblem::ZeroSize;
                return Err(DataError::InvalidBox {
                    path: path(),
                    annotation: id,
                    image: image_id,
                    bbox,
                    problem,
                });
            }
            let area = area.unwrap_or(bbox[2] * bbox[3]);
            if area < 0.0 {
                return Err(DataError::NegativeArea { path: path(), annotation: id, area });
            }
            boxes.push(GroundTruthBox { image_id, label, bbox, area, iscrowd });
        }
        Ok(Self {
            truth: GroundTruth { image_ids, categories, boxes },
            zero: annotations.iter().position(|annotation| annotation.id == 0),
            difficult: annotations
                .iter()
                .map(|annotation| annotation.ignore || annotation.difficult)
                .collect(),
        })
    }

    /// The same ground truth with crowds where a box is marked `difficult`, `ignore` or `iscrowd`: what
    /// [`VocEvaluator`](super::VocEvaluator) leaves out of account.
    pub fn voc_truth(&self) -> GroundTruth {
        let mut truth = self.truth.clone();
        for (object, difficult) in truth.boxes.iter_mut().zip(&self.difficult) {
            object.iscrowd |= difficult;
        }
        truth
    }
}

fn unique(path: &Path, field: &'static str, ids: impl Iterator<Item = u64>) -> Result<(), DataError> {
    let mut seen = HashSet::new();
    for id in ids {
        if !seen.insert(id) {
            return Err(DataError::DuplicateId { path: path.to_owned(), field, id });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<EvalAnnotations, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gt.json");
        std::fs::write(&path, text).unwrap();
        EvalAnnotations::read(&path)
            .map_err(|error| error.to_string().replace(&path.display().to_string(), "gt.json"))
    }

    fn file(annotations: &str) -> String {
        format!(
            r#"{{"images": [{{"id": 3}}, {{"id": 0}}], "categories": [{{"id": 7, "name": "b"}}, {{"id": 2, "name": "a"}}],
                "annotations": [{annotations}]}}"#
        )
    }

    #[test]
    fn boxes_without_area_and_annotation_zero_are_kept() {
        let read = read(&file(
            r#"{"id": 4, "image_id": 3, "category_id": 7, "bbox": [1, 2, 0, 5], "difficult": 1},
               {"id": 0, "image_id": 0, "category_id": 2, "bbox": [1, 2, 4, 5], "area": 3.5, "iscrowd": 1, "ignore": 0}"#,
        ))
        .unwrap();
        assert_eq!(read.truth.image_ids, [0, 3]);
        assert_eq!(read.truth.categories[1].name, "b");
        let object =
            |image_id, label, bbox, area, iscrowd| GroundTruthBox { image_id, label, bbox, area, iscrowd };
        let expected = [object(3, 1, [1., 2., 0., 5.], 0., false), object(0, 0, [1., 2., 4., 5.], 3.5, true)];
        assert_eq!(read.truth.boxes, expected);
        assert_eq!((read.zero, &read.difficult[..]), (Some(1), &[true, false][..]));
        assert!(read.voc_truth().boxes.iter().all(|object| object.iscrowd));
        assert_eq!(self::read(&file("")).unwrap().zero, None);
    }

    #[test]
    fn files_that_cannot_be_evaluated_are_named() {
        let one = |annotation: &str| read(&file(annotation)).unwrap_err();
        let start = r#"{"id": 1, "image_id": 3, "category_id": 7, "bbox": "#;
        assert_eq!(
            one(&format!("{start}[1, 2, -3, 4]}}")),
            "gt.json: annotation 1 (image 3): bbox [1.0, 2.0, -3.0, 4.0]: width and height must be positive"
        );
        assert_eq!(
            one(&format!("{start}[1, 2, 3, 4], \"area\": -1}}")),
            "gt.json: annotation 1: area -1 is negative"
        );
        assert_eq!(
            one(r#"{"id": 1, "image_id": 4, "category_id": 7, "bbox": [0, 0, 1, 1]}"#),
            "gt.json: annotation 1: image_id 4 is not in `images`"
        );
        assert_eq!(
            one(r#"{"id": 1, "image_id": 3, "category_id": 8, "bbox": [0, 0, 1, 1]}"#),
            "gt.json: annotation 1: category_id 8 is not in `categories`"
        );
        let twice = format!("{start}[0, 0, 1, 1]}}");
        assert_eq!(one(&format!("{twice}, {twice}")), "gt.json: annotations: id 1 occurs more than once");
        assert_eq!(read(r#"{"annotations": []}"#).unwrap_err(), "gt.json: `images` is missing or empty");
    }
}
