//! Signs that a run goes on without learning from its unlabeled images.

use std::collections::BTreeMap;

use super::unsupervised::PSEUDO_OBJECTS;
use crate::eval::ImageDetections;

/// Silent steps in a row that are worth a warning.
pub(super) const SILENT_STEPS: usize = 50;
/// Detections of at least this score count as objects that were found.
const FOUND: f32 = 0.5;
/// So many times the true objects are a flood.
const FLOOD: usize = 10;

/// Why nothing is learned from the unlabeled images of a step whose unsupervised losses have some weight; `None` if
/// something is.
///
/// `terms` are the values of all unsupervised terms, `scalars` all scalars of the step.
pub(super) fn silence(terms: &[f64], scalars: &BTreeMap<String, f64>) -> Option<&'static str> {
    if terms.iter().all(|&term| term == 0.0) {
        return Some(
            "the unsupervised loss is 0: see the weights of the objective, and whether the views pair",
        );
    }
    let watched = |name: &str| -> Vec<f64> {
        let is_it = |(key, _): &(&String, &f64)| key.rsplit('/').next() == Some(name);
        scalars.iter().filter(is_it).map(|(_, &value)| value).collect()
    };
    let pseudo = watched(PSEUDO_OBJECTS);
    if !pseudo.is_empty() && pseudo.iter().all(|&objects| objects == 0.0) {
        return Some(
            "the teacher finds no object above the threshold of pseudo-labels: lower it, or lengthen the burn-in",
        );
    }
    None
}

/// What is wrong with the detections of one model in an evaluation; `objects` is the number of true ones.
pub(super) fn collapse_or_flood(found: &[ImageDetections], objects: usize) -> Option<String> {
    let scores = || found.iter().flat_map(|image| &image.detections.scores);
    if !found.is_empty() && scores().next().is_none() {
        return Some(format!(
            "nothing is found on any of {} validation images: the scores have collapsed, or learning has not begun",
            found.len()
        ));
    }
    let sure = scores().filter(|&&score| score >= FOUND).count();
    (sure > FLOOD * objects.max(1)).then(|| {
        format!(
            "{sure} detections of score {FOUND} and more on validation images with {objects} objects: a flood"
        )
    })
}

#[cfg(test)]
mod tests {
    use sed_core::Detections;

    use super::*;

    fn scalars(entries: &[(&str, f64)]) -> BTreeMap<String, f64> {
        entries.iter().map(|&(name, value)| (name.to_owned(), value)).collect()
    }

    #[test]
    fn silence_has_two_reasons() {
        assert_eq!(silence(&[0.1, 0.0], &scalars(&[("head/teacher_foreground", 0.0)])), None);
        assert!(silence(&[0.0, 0.0], &scalars(&[])).unwrap().contains("loss is 0"));
        let objects = |a, b| scalars(&[("rpn/pseudo_objects", a), ("roi/pseudo_objects", b)]);
        assert!(silence(&[0.3], &objects(0.0, 0.0)).unwrap().contains("threshold"));
        assert_eq!(silence(&[0.3], &objects(0.0, 1.5)), None);
    }

    fn found(scores: &[f32], images: usize) -> Vec<ImageDetections> {
        let detections = Detections {
            boxes: vec![[0.0, 0.0, 1.0, 1.0]; scores.len()],
            scores: scores.to_vec(),
            labels: vec![0; scores.len()],
        };
        (0..images)
            .map(|id| ImageDetections { image_id: id as u64, detections: detections.clone() })
            .collect()
    }

    #[test]
    fn collapse_and_flood_are_told_apart() {
        assert_eq!(collapse_or_flood(&[], 3), None);
        assert!(collapse_or_flood(&found(&[], 4), 3).unwrap().contains("any of 4"));
        assert_eq!(collapse_or_flood(&found(&[0.1, 0.6], 4), 3), None);
        assert!(collapse_or_flood(&found(&[0.9; 11], 1), 1).unwrap().contains("11 detections"));
        assert_eq!(collapse_or_flood(&found(&[0.9; 10], 1), 1), None);
        assert_eq!(collapse_or_flood(&found(&[0.4; 100], 1), 1), None);
    }
}
