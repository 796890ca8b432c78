//! Which class is taken for which.

use std::cmp::Ordering;

use sed_core::ops::boxes::iou;

use super::{
    EvalError, GroundTruth, ImageDetections,
    matching::{check, corners, in_crowd},
};

/// How many objects of each class were found as each class.
///
/// In each image the detections of at least the score threshold are paired with objects of any class whose IoU reaches the
/// IoU threshold, each at most once: the pair of the highest IoU first, of equal IoUs one whose classes agree, then
/// the one of the better score. An object without a partner was taken for background. A detection without a
/// partner was taken from background, unless a crowd region of any class covers it: then it does not count.
///
/// Unlike AP, this does not ask for the right class before a pair is made (our design).
///
/// ```
/// use sed_train::eval::ConfusionMatrix;
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
/// # use setup::{found, truth};
/// # let truth = truth();
///
/// // `truth` has one object, of class 1 in image 1; `found` gives its box a class and a score.
/// let detections = [found(1, 0, 0.9), found(2, 0, 0.8)];
/// let matrix = ConfusionMatrix::new(&truth, &detections, 0.5, 0.5)?;
/// assert_eq!((matrix.classes(), matrix.threshold(), matrix.iou()), (2, 0.5, 0.5));
/// assert_eq!(matrix.count(Some(1), Some(0)), 1); // taken for class 0
/// assert_eq!(matrix.count(None, Some(0)), 1); // nothing was there
/// assert_eq!(matrix.count(Some(1), None), 0); // none was overlooked
/// # Ok::<(), sed_train::eval::EvalError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ConfusionMatrix {
    threshold: f32,
    iou: f64,
    classes: usize,
    /// Row by row: the true class, the last for background; in a row the predicted class, the last for background.
    counts: Vec<u64>,
}

/// A true class, a class that it was taken for, and how often; `None` stands for background.
///
/// ```
/// use sed_train::eval::{Confusion, ConfusionMatrix};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
/// # use setup::{found, truth};
/// # let truth = truth();
///
/// // The object of class 1 in image 1 is found as one of class 0.
/// let matrix = ConfusionMatrix::new(&truth, &[found(1, 0, 0.9)], 0.5, 0.5)?;
/// assert_eq!(matrix.confusions(), [Confusion { truth: Some(1), predicted: Some(0), count: 1 }]);
/// # Ok::<(), sed_train::eval::EvalError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confusion {
    /// The dense class id of the objects.
    pub truth: Option<usize>,
    /// The dense class id of the detections.
    pub predicted: Option<usize>,
    /// How many.
    pub count: u64,
}

impl ConfusionMatrix {
    /// Counts the detections of at least `threshold` at an IoU in `(0, 1]`; an image of `truth` without detections has only
    /// objects that were taken for background.
    ///
    /// # Errors
    ///
    /// [`EvalError`] on detections of an image that is not in `truth` or comes twice, on a class that does not exist,
    /// and on boxes or scores that are no finite numbers.
    ///
    /// # Panics
    ///
    /// If `iou` lies outside `(0, 1]`, or `boxes`, `scores` and `labels` of an image differ in length.
    pub fn new(
        truth: &GroundTruth,
        detections: &[ImageDetections],
        threshold: f32,
        iou: f64,
    ) -> Result<Self, EvalError> {
        assert!(iou > 0.0 && iou <= 1.0, "ConfusionMatrix: an IoU of {iou}");
        check(truth, detections)?;
        let classes = truth.categories.len();
        let mut matrix = Self { threshold, iou, classes, counts: vec![0; (classes + 1) * (classes + 1)] };
        for object in truth.boxes.iter().filter(|object| !object.iscrowd) {
            // Until a detection is paired with it.
            matrix.add(Some(object.label), None, 1);
        }
        let mut by_image = std::collections::HashMap::<u64, Vec<_>>::new();
        for object in &truth.boxes {
            by_image.entry(object.image_id).or_default().push(object);
        }
        for ImageDetections { image_id, detections } in detections {
            let objects = by_image.get(image_id).map_or(&[][..], Vec::as_slice);
            let shown: Vec<usize> =
                (0..detections.len()).filter(|&i| detections.scores[i] >= threshold).collect();
            let bounds = |i: usize| detections.boxes[i].map(f64::from);
            let mut pairs = Vec::new();
            for (o, object) in objects.iter().enumerate().filter(|(_, object)| !object.iscrowd) {
                for &i in &shown {
                    let overlap = self::iou(&corners(object.bbox), &bounds(i));
                    if overlap >= iou {
                        let same = object.label == detections.labels[i];
                        pairs.push((overlap, same, detections.scores[i], o, i));
                    }
                }
            }
            pairs.sort_by(|a, b| {
                let better = |x: Ordering| x.reverse();
                better(a.0.total_cmp(&b.0)).then(better(a.1.cmp(&b.1))).then(better(a.2.total_cmp(&b.2)))
            });
            let (mut taken, mut paired) = (vec![false; objects.len()], vec![false; detections.len()]);
            for (_, _, _, o, i) in pairs {
                if !taken[o] && !paired[i] {
                    (taken[o], paired[i]) = (true, true);
                    let label = Some(objects[o].label);
                    matrix.add(label, Some(detections.labels[i]), 1);
                    matrix.add(label, None, -1);
                }
            }
            let crowds: Vec<_> =
                objects.iter().filter(|object| object.iscrowd).map(|object| corners(object.bbox)).collect();
            for i in shown.into_iter().filter(|&i| !paired[i]) {
                if !crowds.iter().any(|crowd| in_crowd(crowd, &bounds(i), iou)) {
                    matrix.add(None, Some(detections.labels[i]), 1);
                }
            }
        }
        Ok(matrix)
    }

    /// The least score of a detection that counts.
    pub fn threshold(&self) -> f32 {
        self.threshold
    }

    /// From this IoU on a detection and an object are a pair.
    pub fn iou(&self) -> f64 {
        self.iou
    }

    /// The number of classes, background not counted.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How many objects of class `truth` were found as `predicted`; `None` stands for background.
    ///
    /// # Panics
    ///
    /// If there is no such class.
    pub fn count(&self, truth: Option<usize>, predicted: Option<usize>) -> u64 {
        self.counts[self.position(truth, predicted)]
    }

    /// All pairs that are no agreement and occur, the most frequent first.
    pub fn confusions(&self) -> Vec<Confusion> {
        let classes = || (0..self.classes).map(Some).chain([None]);
        let pairs = classes().flat_map(|truth| classes().map(move |predicted| (truth, predicted)));
        let mut all: Vec<Confusion> = pairs
            .filter(|(truth, predicted)| truth != predicted)
            .map(|(truth, predicted)| Confusion { truth, predicted, count: self.count(truth, predicted) })
            .filter(|confusion| confusion.count > 0)
            .collect();
        all.sort_by_key(|confusion| std::cmp::Reverse(confusion.count));
        all
    }

    fn position(&self, truth: Option<usize>, predicted: Option<usize>) -> usize {
        let [row, column] = [truth, predicted].map(|class| match class {
            Some(class) => {
                assert!(class < self.classes, "ConfusionMatrix: class {class} of {}", self.classes);
                class
            }
            None => self.classes,
        });
        row * (self.classes + 1) + column
    }

    fn add(&mut self, truth: Option<usize>, predicted: Option<usize>, change: i64) {
        let position = self.position(truth, predicted);
        self.counts[position] = self.counts[position].saturating_add_signed(change);
    }
}

#[cfg(test)]
mod tests {
    use sed_core::Detections;

    use super::*;
    use crate::{data::Category, eval::GroundTruthBox};

    const LEFT: [f64; 4] = [0., 0., 10., 10.];
    const RIGHT: [f64; 4] = [50., 0., 10., 10.];
    const ON_LEFT: [f32; 4] = [0., 0., 10., 10.];
    const ON_RIGHT: [f32; 4] = [50., 0., 60., 10.];
    const NOWHERE: [f32; 4] = [0., 50., 10., 60.];

    fn truth(boxes: &[(u64, usize, [f64; 4], bool)]) -> GroundTruth {
        let boxes = boxes.iter().map(|&(image_id, label, bbox, iscrowd)| GroundTruthBox {
            image_id,
            label,
            bbox,
            area: 100.0,
            iscrowd,
        });
        let categories = ["a", "b", "c"].map(|name| Category { id: 1, name: name.into() });
        GroundTruth { image_ids: vec![1, 2], categories: categories.to_vec(), boxes: boxes.collect() }
    }

    fn found(image_id: u64, objects: &[(f32, usize, [f32; 4])]) -> ImageDetections {
        let detections = Detections {
            boxes: objects.iter().map(|object| object.2).collect(),
            scores: objects.iter().map(|object| object.0).collect(),
            labels: objects.iter().map(|object| object.1).collect(),
        };
        ImageDetections { image_id, detections }
    }

    /// True class, predicted class, and how many.
    type Count = (Option<usize>, Option<usize>, u64);

    /// All counts that are not zero.
    fn counts(matrix: &ConfusionMatrix) -> Vec<Count> {
        let classes = || (0..matrix.classes()).map(Some).chain([None]);
        let pairs = classes().flat_map(|truth| classes().map(move |predicted| (truth, predicted)));
        pairs
            .map(|(truth, predicted)| (truth, predicted, matrix.count(truth, predicted)))
            .filter(|count| count.2 > 0)
            .collect()
    }

    #[test]
    fn classes_and_background_are_counted() {
        let truth = truth(&[(1, 0, LEFT, false), (1, 1, RIGHT, false), (2, 2, LEFT, false)]);
        let objects = [(0.9, 0, ON_LEFT), (0.8, 2, ON_RIGHT), (0.7, 1, NOWHERE), (0.2, 1, NOWHERE)];
        let matrix = ConfusionMatrix::new(&truth, &[found(1, &objects)], 0.3, 0.5).unwrap();
        let expected = [(Some(0), Some(0), 1), (Some(1), Some(2), 1), (Some(2), None, 1), (None, Some(1), 1)];
        assert_eq!(counts(&matrix), expected);
        // The second image is not in the detections; the lower threshold lets another one in.
        let low = ConfusionMatrix::new(&truth, &[found(1, &objects)], 0.2, 0.5).unwrap();
        assert_eq!(low.count(None, Some(1)), 2);
        assert_eq!(low.confusions()[0], Confusion { truth: None, predicted: Some(1), count: 2 });
    }

    #[test]
    fn the_best_overlap_pairs_first_and_then_the_right_class() {
        let truth = truth(&[(1, 0, LEFT, false)]);
        // An IoU of .8 with the wrong class and the best score, then two of IoU 1.
        let objects = [(0.9, 1, [0., 0., 10., 8.]), (0.8, 2, ON_LEFT), (0.3, 0, ON_LEFT)];
        let matrix = ConfusionMatrix::new(&truth, &[found(1, &objects)], 0.1, 0.5).unwrap();
        let expected = [(Some(0), Some(0), 1), (None, Some(1), 1), (None, Some(2), 1)];
        assert_eq!(counts(&matrix), expected);
        // Between two wrong classes the score decides.
        let matrix =
            ConfusionMatrix::new(&truth, &[found(1, &[(0.5, 1, ON_LEFT), (0.6, 2, ON_LEFT)])], 0.1, 0.5);
        assert_eq!(matrix.unwrap().count(Some(0), Some(2)), 1);
    }

    #[test]
    fn detections_in_crowds_do_not_count() {
        let truth = truth(&[(1, 0, [0., 0., 40., 40.], true), (1, 1, RIGHT, false)]);
        let objects = [(0.9, 0, ON_LEFT), (0.9, 2, ON_LEFT), (0.9, 1, ON_RIGHT), (0.9, 0, NOWHERE)];
        let matrix = ConfusionMatrix::new(&truth, &[found(1, &objects)], 0.5, 0.5).unwrap();
        assert_eq!(counts(&matrix), [(Some(1), Some(1), 1), (None, Some(0), 1)]);
    }

    #[test]
    fn each_object_and_each_detection_is_counted_once() {
        let truth =
            truth(&[(1, 0, LEFT, false), (1, 1, LEFT, false), (2, 2, RIGHT, false), (2, 2, LEFT, false)]);
        let detections = [
            found(1, &[(0.9, 0, ON_LEFT), (0.8, 0, ON_LEFT), (0.7, 2, ON_LEFT)]),
            found(2, &[(0.9, 1, ON_RIGHT)]),
        ];
        let matrix = ConfusionMatrix::new(&truth, &detections, 0.0, 0.5).unwrap();
        let all = counts(&matrix);
        let of = |keep: fn(&Count) -> bool| -> u64 {
            all.iter().filter(|count| keep(count)).map(|count| count.2).sum()
        };
        assert_eq!((of(|count| count.0.is_some()), of(|count| count.1.is_some())), (4, 4));
    }

    #[test]
    fn detections_of_unknown_images_are_refused() {
        let error = ConfusionMatrix::new(&truth(&[]), &[found(7, &[])], 0.5, 0.5).unwrap_err();
        assert!(matches!(error, EvalError::UnknownImage { image: 7 }));
    }
}
