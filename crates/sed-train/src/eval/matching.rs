//! Which detection found which object: the greedy matching of the COCO protocol at one IoU.

use std::collections::{HashMap, HashSet};

use sed_core::ops::boxes::{area, intersection, iou};

use super::{EvalError, GroundTruth, ImageDetections};

/// A detection and what it found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Matched {
    /// The image.
    pub image_id: u64,
    /// The dense class id.
    pub label: usize,
    /// The confidence.
    pub score: f32,
    /// What it found.
    pub found: Found,
}

/// What a detection is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Found {
    /// Right: it found the object of this area.
    Object(f64),
    /// In a crowd region: neither right nor wrong.
    Crowd,
    /// Wrong.
    Nothing,
}

/// Matches `detections`, in pixels of the original images, with the objects of `truth` at an IoU in `(0, 1]`.
///
/// In each image and class detections are matched greedily, best score first, of equal scores the first, and no more than
/// `most` of them: a detection gets the object that it overlaps most of those not yet taken, if their IoU reaches the
/// threshold, and is then right. Without one it counts neither as right nor as wrong if a crowd region of its class covers it
/// (shared area over the detection's own, at least the same threshold), and else it is wrong.
///
/// The result has the images in the order of `detections`, and within each the best score first.
///
/// # Errors
///
/// [`EvalError`] on detections of an image that is not in `truth` or comes twice, on a class that does not exist,
/// and on boxes or scores that are no finite numbers.
///
/// # Panics
///
/// If `iou` lies outside `(0, 1]`, or `boxes`, `scores` and `labels` of an image differ in length.
pub(crate) fn match_detections(
    truth: &GroundTruth,
    detections: &[ImageDetections],
    iou: f64,
    most: usize,
) -> Result<Vec<Matched>, EvalError> {
    assert!(iou > 0.0 && iou <= 1.0, "match_detections: an IoU of {iou}");
    check(truth, detections)?;
    let mut objects = Objects::new(truth);
    let mut matched = Vec::new();
    for ImageDetections { image_id, detections } in detections {
        let mut taken: HashMap<usize, usize> = HashMap::new();
        for i in by_score(&detections.scores) {
            let label = detections.labels[i];
            let count = taken.entry(label).or_default();
            if *count == most {
                continue;
            }
            *count += 1;
            let found = objects.take((*image_id, label), &detections.boxes[i].map(f64::from), iou);
            matched.push(Matched { image_id: *image_id, label, score: detections.scores[i], found });
        }
    }
    Ok(matched)
}

/// The positions of `scores`, the highest first, of equal ones the first.
pub(super) fn by_score(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

/// Whether a crowd region covers a detection.
pub(super) fn in_crowd(crowd: &[f64; 4], found: &[f64; 4], least: f64) -> bool {
    area(found) > 0.0 && intersection(crowd, found) >= least * area(found)
}

/// `[x1, y1, x2, y2]` of `[x, y, width, height]`.
pub(super) fn corners([x, y, width, height]: [f64; 4]) -> [f64; 4] {
    [x, y, x + width, y + height]
}

/// An image's id and a dense class id.
type Group = (u64, usize);

/// The true objects of an image and class.
#[derive(Default)]
struct Scene {
    /// Box and area of those that no detection has taken.
    free: Vec<([f64; 4], f64)>,
    crowds: Vec<[f64; 4]>,
}

/// The true objects that wait for a detection.
struct Objects(HashMap<Group, Scene>);

impl Objects {
    fn new(truth: &GroundTruth) -> Self {
        let mut scenes: HashMap<Group, Scene> = HashMap::new();
        for object in &truth.boxes {
            let scene = scenes.entry((object.image_id, object.label)).or_default();
            if object.iscrowd {
                scene.crowds.push(corners(object.bbox));
            } else {
                scene.free.push((corners(object.bbox), object.area));
            }
        }
        Self(scenes)
    }

    /// Gives a detection its object, which is then no longer free.
    fn take(&mut self, group: Group, found: &[f64; 4], least: f64) -> Found {
        let Some(scene) = self.0.get_mut(&group) else { return Found::Nothing };
        let mut best: Option<(usize, f64)> = None;
        for (i, (corners, _)) in scene.free.iter().enumerate() {
            let overlap = iou(corners, found);
            if overlap >= least && best.is_none_or(|(_, highest)| overlap > highest) {
                best = Some((i, overlap));
            }
        }
        if let Some((i, _)) = best {
            return Found::Object(scene.free.remove(i).1);
        }
        match scene.crowds.iter().any(|crowd| in_crowd(crowd, found, least)) {
            true => Found::Crowd,
            false => Found::Nothing,
        }
    }
}

/// Refuses detections that cannot be matched, see [`match_detections`].
pub(super) fn check(truth: &GroundTruth, detections: &[ImageDetections]) -> Result<(), EvalError> {
    let known: HashSet<u64> = truth.image_ids.iter().copied().collect();
    let classes = truth.categories.len();
    let mut seen = HashSet::new();
    for ImageDetections { image_id, detections } in detections {
        let image = *image_id;
        let counts = [detections.boxes.len(), detections.scores.len(), detections.labels.len()];
        assert!(
            counts[0] == counts[1] && counts[1] == counts[2],
            "Detections of image {image}: {counts:?} boxes, scores and labels"
        );
        if !known.contains(&image) {
            return Err(EvalError::UnknownImage { image });
        }
        if !seen.insert(image) {
            return Err(EvalError::DuplicateImage { image });
        }
        for (index, &label) in detections.labels.iter().enumerate() {
            if label >= classes {
                return Err(EvalError::UnknownClass { image, index, label, classes });
            }
            let ([x1, y1, x2, y2], score) = (detections.boxes[index], detections.scores[index]);
            if ![x1, y1, x2, y2, score].iter().all(|number| number.is_finite()) {
                let bbox = [x1, y1, x2 - x1, y2 - y1].map(f64::from);
                return Err(EvalError::InvalidDetection { image, index, bbox, score: score.into() });
            }
        }
    }
    Ok(())
}
