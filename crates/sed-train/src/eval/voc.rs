use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{CocoResult, EvalError, GroundTruth, GroundTruthBox, check_results, per_class};
use crate::data::Category;

/// How the area under a curve of precision over recall is taken.
///
/// ```
/// use sed_train::eval::{VocEvaluator, VocInterpolation};
/// # use sed_train::eval::{GroundTruth, GroundTruthBox};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
/// # use setup::{found, truth};
/// # let truth = truth();
///
/// # let truth = GroundTruth {
/// #     boxes: (1..3).map(|image_id| GroundTruthBox { image_id, ..truth.boxes[0].clone() }).collect(),
/// #     ..truth
/// # };
/// # let results = sed_train::eval::coco_results(&truth.categories, &[found(1, 1, 0.9)])?;
/// // One of two objects is found: the recall goes up to a half.
/// let ap = |interpolation| VocEvaluator { interpolation }.evaluate(&truth, &results).map(|found| found.ap50);
/// assert_eq!(ap(VocInterpolation::AllPoints)?, Some(0.5));
/// assert_eq!(ap(VocInterpolation::ElevenPoints)?, Some(6.0 / 11.0)); // 0, .1, …, .5
/// # Ok::<(), sed_train::eval::EvalError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VocInterpolation {
    /// The mean over recalls `r = 0, .1, …, 1` of the highest precision at a recall of `r` or more: PASCAL VOC up to 2009. A recall
    /// of exactly `r` counts; implementations that add up steps of 0.1 lose it by rounding at 0.3, 0.6 and 0.7.
    ElevenPoints,
    /// The whole area under the precision made monotonic, `p(r) = max p(r')` over `r' ≥ r`: PASCAL VOC from 2010 on.
    AllPoints,
}

/// Average precision as in PASCAL VOC, at an IoU of at least one half.
///
/// In each class detections are taken from the surest on, over all images; equal scores rank as given. A detection
/// belongs to the object of its image and class with which it has the highest IoU. Below one half it is wrong. Otherwise it is
/// left out of account if the object is marked as a crowd, which stands for VOC's `difficult`; right if it is the first of
/// its object; wrong if the object was found already, even where it would do for another one. Marked objects need not be found.
///
/// VOC counts corners as whole pixels, both ends included. With boxes `[x1 − 1, y1 − 1, x2, y2]`, which cover the
/// same pixels, the IoU of continuous coordinates that is used here is the same. `scripts/check_voc.py` compares the numbers with another
/// implementation's. (Everingham et al., *The PASCAL Visual Object
/// Classes Challenge*, IJCV 2010, §4.2, and the development kit's `VOCevaldet`.)
///
/// ```
/// use sed_train::eval::{CocoResult, VocEvaluator, VocInterpolation};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
/// # use setup::truth;
/// # let truth = truth();
///
/// // The only object is [10, 10, 50, 50]; a second detection of it is wrong.
/// let result = |score| CocoResult { image_id: 1, category_id: 90, bbox: [10., 10., 40., 40.], score };
/// let evaluator = VocEvaluator { interpolation: VocInterpolation::AllPoints };
/// assert_eq!(evaluator.evaluate(&truth, &[result(0.9), result(0.8)])?.ap50, Some(1.0));
/// # Ok::<(), sed_train::eval::EvalError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VocEvaluator {
    /// How the area is taken.
    pub interpolation: VocInterpolation,
}

/// Average precision at an IoU of one half.
///
/// ```
/// use sed_train::eval::{VocEvaluator, VocInterpolation};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
/// # use setup::truth;
/// # let truth = truth();
///
/// // There are no nuts, and the only screw is not found.
/// let summary = VocEvaluator { interpolation: VocInterpolation::AllPoints }.evaluate(&truth, &[])?;
/// assert_eq!(summary.ap50, Some(0.0));
/// assert_eq!(summary.to_json().to_string(), r#"{"AP50":0.0,"per_class":{"nut":null,"screw":0.0}}"#);
/// # Ok::<(), sed_train::eval::EvalError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VocSummary {
    /// The mean over the classes with an object; `None` if there is none.
    pub ap50: Option<f64>,
    /// Each class, in the order of the dense class ids.
    pub classes: Vec<VocClassSummary>,
}

/// The average precision of a class.
///
/// ```
/// use sed_train::eval::{VocEvaluator, VocInterpolation};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
/// # use setup::truth;
/// # let truth = truth();
///
/// // There are no nuts, and the only screw is not found.
/// let summary = VocEvaluator { interpolation: VocInterpolation::AllPoints }.evaluate(&truth, &[])?;
/// let ap50: Vec<_> = summary.classes.iter().map(|class| (class.category.name.as_str(), class.ap50)).collect();
/// assert_eq!(ap50, [("nut", None), ("screw", Some(0.0))]);
/// # Ok::<(), sed_train::eval::EvalError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VocClassSummary {
    /// The class.
    pub category: Category,
    /// `None` if no image has an object of this class, marked ones not counted.
    pub ap50: Option<f64>,
}

impl VocSummary {
    /// An object with the mean as `AP50`, and under `per_class` the number of each class by its name, as
    /// [`CocoSummary::to_json`](super::CocoSummary::to_json) has it.
    pub fn to_json(&self) -> Value {
        let classes = self.classes.iter().map(|class| (&class.category, class.ap50));
        json!({"AP50": self.ap50, "per_class": per_class(classes)})
    }
}

impl VocEvaluator {
    /// The least IoU of a right detection.
    ///
    /// ```
    /// use sed_train::eval::{CocoResult, VocEvaluator, VocInterpolation};
    /// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
    /// # use setup::truth;
    /// # let truth = truth();
    ///
    /// // The only object is [10, 10, 50, 50].
    /// let evaluator = VocEvaluator { interpolation: VocInterpolation::AllPoints };
    /// let ap = |share: f64| {
    ///     let bbox = [10., 10., 40., 40. * share]; // its IoU is `share`
    ///     evaluator.evaluate(&truth, &[CocoResult { image_id: 1, category_id: 90, bbox, score: 0.9 }])
    /// };
    /// assert_eq!(ap(VocEvaluator::IOU)?.ap50, Some(1.0));
    /// assert_eq!(ap(VocEvaluator::IOU - 0.01)?.ap50, Some(0.0));
    /// # Ok::<(), sed_train::eval::EvalError>(())
    /// ```
    pub const IOU: f64 = 0.5;

    /// The average precision of results on the images of `truth`.
    ///
    /// # Errors
    ///
    /// [`EvalError`] on a result of an image or category that is not in `truth`, and on boxes or scores that are no finite
    /// numbers, or boxes of negative size.
    ///
    /// ```
    /// use sed_train::data::Category;
    /// use sed_train::eval::{CocoResult, GroundTruth, GroundTruthBox, VocEvaluator, VocInterpolation};
    ///
    /// let bbox = [0., 0., 10., 10.];
    /// let truth = GroundTruth {
    ///     image_ids: vec![1],
    ///     categories: vec![Category { id: 1, name: "nut".into() }],
    ///     boxes: vec![GroundTruthBox { image_id: 1, label: 0, bbox, area: 100., iscrowd: false }],
    /// };
    /// let found = |score, bbox| CocoResult { image_id: 1, category_id: 1, bbox, score };
    /// // The surest detection is wrong: the precision is one half wherever there is a recall.
    /// let results = [found(0.9, [50., 0., 10., 10.]), found(0.8, bbox)];
    /// let evaluator = VocEvaluator { interpolation: VocInterpolation::AllPoints };
    /// assert_eq!(evaluator.evaluate(&truth, &results)?.ap50, Some(0.5));
    /// # Ok::<(), sed_train::eval::EvalError>(())
    /// ```
    pub fn evaluate(&self, truth: &GroundTruth, results: &[CocoResult]) -> Result<VocSummary, EvalError> {
        check_results(truth, results)?;
        let of_class = |(label, category): (usize, &Category)| {
            let objects: Vec<&GroundTruthBox> =
                truth.boxes.iter().filter(|object| object.label == label).collect();
            let found = results.iter().filter(|result| result.category_id == category.id).collect();
            let ap50 = self.class(&objects, found);
            VocClassSummary { category: category.clone(), ap50 }
        };
        let classes: Vec<_> = truth.categories.iter().enumerate().map(of_class).collect();
        let defined: Vec<f64> = classes.iter().filter_map(|class| class.ap50).collect();
        let ap50 = (!defined.is_empty()).then(|| defined.iter().sum::<f64>() / defined.len() as f64);
        Ok(VocSummary { ap50, classes })
    }

    fn class(&self, objects: &[&GroundTruthBox], mut found: Vec<&CocoResult>) -> Option<f64> {
        let positives = objects.iter().filter(|object| !object.iscrowd).count();
        if positives == 0 {
            return None;
        }
        let mut of_image: HashMap<u64, Vec<usize>> = HashMap::new();
        for (index, object) in objects.iter().enumerate() {
            of_image.entry(object.image_id).or_default().push(index);
        }
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut taken = HashSet::new();
        let (mut right, mut counted) = (0usize, 0usize);
        let mut curve = Vec::new();
        for result in found {
            let mut best: Option<(usize, f64)> = None;
            for &index in of_image.get(&result.image_id).into_iter().flatten() {
                let iou = iou(&result.bbox, &objects[index].bbox);
                if iou >= Self::IOU && best.is_none_or(|(_, highest)| iou > highest) {
                    best = Some((index, iou));
                }
            }
            if best.is_some_and(|(index, _)| objects[index].iscrowd) {
                continue;
            }
            counted += 1;
            right += usize::from(best.is_some_and(|(index, _)| taken.insert(index)));
            curve.push((right as f64 / positives as f64, right as f64 / counted as f64));
        }
        Some(self.area(&curve))
    }

    /// The area under a curve of `(recall, precision)`, of ascending recall.
    fn area(&self, curve: &[(f64, f64)]) -> f64 {
        let mut curve = curve.to_vec();
        for i in (1..curve.len()).rev() {
            curve[i - 1].1 = curve[i - 1].1.max(curve[i].1);
        }
        match self.interpolation {
            VocInterpolation::ElevenPoints => {
                let precision = |tenths: u32| {
                    let at = curve.partition_point(|(recall, _)| *recall < f64::from(tenths) / 10.0);
                    curve.get(at).map_or(0.0, |(_, precision)| *precision)
                };
                (0..=10).map(precision).sum::<f64>() / 11.0
            }
            VocInterpolation::AllPoints => {
                let mut before = 0.0;
                let mut area = 0.0;
                for (recall, precision) in curve {
                    area += (recall - before) * precision;
                    before = recall;
                }
                area
            }
        }
    }
}

/// The IoU of two boxes `[x, y, width, height]`.
fn iou(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let overlap = |k: usize| ((a[k] + a[k + 2]).min(b[k] + b[k + 2]) - a[k].max(b[k])).max(0.0);
    let common = overlap(0) * overlap(1);
    let union = a[2] * a[3] + b[2] * b[3] - common;
    if union > 0.0 { common / union } else { 0.0 }
}
