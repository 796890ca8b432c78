//! How well the objects of one image were found.

use std::collections::HashMap;

use super::{EvalError, Found, GroundTruth, ImageDetections, match_detections};

/// The detections of an image at one score threshold.
///
/// ```
/// use sed_train::eval::ImageScore;
///
/// let score = ImageScore { image_id: 7, right: 3, wrong: 1, missed: 1 };
/// assert_eq!(score.f1(), Some(6.0 / 8.0));
/// assert_eq!(ImageScore { image_id: 8, right: 0, wrong: 0, missed: 0 }.f1(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageScore {
    /// The image's id.
    pub image_id: u64,
    /// Detections that found an object of their class.
    pub right: usize,
    /// Detections that did not, those in crowd regions left out.
    pub wrong: usize,
    /// Objects that were not found.
    pub missed: usize,
}

impl ImageScore {
    /// F1, `2·right / (2·right + wrong + missed)`; `None` for an image without objects in which nothing was found.
    pub fn f1(&self) -> Option<f64> {
        let all = 2 * self.right + self.wrong + self.missed;
        (all > 0).then(|| 2.0 * self.right as f64 / all as f64)
    }
}

/// The score of each image of `truth`, in its order, from the detections of at least `threshold`, matched by class at an
/// IoU in `(0, 1]`.
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
/// use sed_train::eval::{ImageScore, image_scores};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
/// # use setup::{found, truth};
/// # let truth = truth();
///
/// // `truth` has one object, of class 1 in image 1; `found` gives its box a class and a score.
/// let scores = image_scores(&truth, &[found(1, 1, 0.9), found(2, 0, 0.8)], 0.5, 0.5)?;
/// assert_eq!(scores[0], ImageScore { image_id: 1, right: 1, wrong: 0, missed: 0 });
/// assert_eq!(scores[1], ImageScore { image_id: 2, right: 0, wrong: 1, missed: 0 });
/// # Ok::<(), sed_train::eval::EvalError>(())
/// ```
pub fn image_scores(
    truth: &GroundTruth,
    detections: &[ImageDetections],
    threshold: f32,
    iou: f64,
) -> Result<Vec<ImageScore>, EvalError> {
    let empty = |&image_id| ImageScore { image_id, right: 0, wrong: 0, missed: 0 };
    let mut scores: Vec<ImageScore> = truth.image_ids.iter().map(empty).collect();
    let places: HashMap<u64, usize> = truth.image_ids.iter().enumerate().map(|(i, &id)| (id, i)).collect();
    for object in truth.boxes.iter().filter(|object| !object.iscrowd) {
        if let Some(&place) = places.get(&object.image_id) {
            scores[place].missed += 1;
        }
    }
    for one in match_detections(truth, detections, iou, usize::MAX)? {
        // Which of two detections gets an object does not depend on worse ones, so all may be matched first.
        let Some(&place) = places.get(&one.image_id).filter(|_| one.score >= threshold) else { continue };
        let score = &mut scores[place];
        match one.found {
            Found::Object(_) => {
                score.right += 1;
                score.missed -= 1;
            }
            Found::Nothing => score.wrong += 1,
            Found::Crowd => {}
        }
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use sed_core::Detections;

    use super::*;
    use crate::{data::Category, eval::GroundTruthBox};

    #[test]
    fn right_wrong_and_missed_of_each_image() {
        let object = |image_id, label, x: f64, iscrowd| GroundTruthBox {
            image_id,
            label,
            bbox: [x, 0., 10., 10.],
            area: 100.,
            iscrowd,
        };
        let truth = GroundTruth {
            image_ids: vec![5, 3, 4],
            categories: ["a", "b"].map(|name| Category { id: 1, name: name.into() }).to_vec(),
            boxes: vec![object(3, 0, 0., false), object(3, 1, 50., false), object(4, 0, 0., true)],
        };
        let found = |image_id, objects: &[(f32, usize, f32)]| ImageDetections {
            image_id,
            detections: Detections {
                boxes: objects.iter().map(|&(_, _, x)| [x, 0., x + 10., 10.]).collect(),
                scores: objects.iter().map(|object| object.0).collect(),
                labels: objects.iter().map(|object| object.1).collect(),
            },
        };
        let detections = [
            // Right; of the wrong class; below the threshold.
            found(3, &[(0.9, 0, 0.), (0.8, 0, 50.), (0.2, 1, 50.)]),
            found(4, &[(0.9, 0, 0.)]),
        ];
        let scores = image_scores(&truth, &detections, 0.5, 0.5).unwrap();
        let counts: Vec<_> =
            scores.iter().map(|s| (s.image_id, s.right, s.wrong, s.missed, s.f1())).collect();
        // 2 / (2 + 1 + 1).
        assert_eq!(counts, [(5, 0, 0, 0, None), (3, 1, 1, 1, Some(0.5)), (4, 0, 0, 0, None)]);
        let low = image_scores(&truth, &detections, 0.1, 0.5).unwrap();
        assert_eq!((low[1].right, low[1].wrong, low[1].missed), (2, 1, 0));
    }
}
