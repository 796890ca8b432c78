use std::collections::HashSet;

use hotcoco::{AccumulatedEval, COCOeval, EvalImg};

use super::coco::{accumulated, annotation_id, category_id, evaluated, summary};
use super::{
    CocoEvaluator, CocoResult, CocoSummary, DetectionEvaluator, EvalAnnotations, EvalError, GroundTruth,
};

/// The COCO protocol with two habits of its reference implementation, pycocotools.
///
/// It differs from [`CocoEvaluator`] in that
///
/// - detections of a category that the ground truth does not have are left out, as they count nowhere;
/// - a detection of the object whose annotation id is 0 counts as wrong, and that object as never found, because
///   pycocotools notes a match by the id and reads 0 as no match. The object is used up all the same.
///
/// So it gives the numbers that others report for the same files. A detector is better judged by [`CocoEvaluator`],
/// for which every object counts; without an annotation of id 0 the two agree.
///
/// ```
/// use sed_train::eval::{
///     CocoEvaluator, CocoResult, DetectionEvaluator, EvalAnnotations, PycocotoolsEvaluator,
/// };
///
/// # let dir = tempfile::tempdir()?;
/// # let file = dir.path().join("val.json");
/// std::fs::write(&file, r#"{
///     "images": [{"id": 7}],
///     "categories": [{"id": 3, "name": "screw"}],
///     "annotations": [{"id": 0, "image_id": 7, "category_id": 3, "bbox": [10, 10, 40, 40]}]
/// }"#)?;
/// let annotations = EvalAnnotations::read(&file)?;
/// let results = [CocoResult { image_id: 7, category_id: 3, bbox: [10., 10., 40., 40.], score: 0.9 }];
/// // The object has the annotation id 0.
/// let theirs = PycocotoolsEvaluator::new(&annotations).evaluate_results(&annotations.truth, &results)?;
/// assert_eq!(theirs.ap50, Some(0.0));
/// let ours = CocoEvaluator.evaluate_results(&annotations.truth, &results)?;
/// assert!((ours.ap50.unwrap() - 1.0).abs() < 1e-9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct PycocotoolsEvaluator {
    zero: Option<usize>,
}

impl PycocotoolsEvaluator {
    /// The evaluator for the ground truth of an annotation file.
    pub fn new(annotations: &EvalAnnotations) -> Self {
        Self { zero: annotations.zero }
    }
}

impl DetectionEvaluator for PycocotoolsEvaluator {
    /// # Panics
    ///
    /// If `truth` holds a box of an image or class that it does not list, or is not that of the annotation file.
    fn evaluate_results(
        &self,
        truth: &GroundTruth,
        results: &[CocoResult],
    ) -> Result<CocoSummary, EvalError> {
        let known: HashSet<u64> = truth.categories.iter().map(|category| category.id).collect();
        let results: Vec<CocoResult> =
            results.iter().filter(|result| known.contains(&result.category_id)).copied().collect();
        // A crowd counts neither way, whatever its id.
        let Some(zero) = self.zero.filter(|&zero| !truth.boxes[zero].iscrowd) else {
            return CocoEvaluator.evaluate_results(truth, &results);
        };
        let evaluation = evaluated(truth, &results)?;
        let mut found = accumulated(&evaluation)?.clone();
        accumulate_without(&mut found, &evaluation, truth, &results, zero);
        Ok(summary(truth, &found, &evaluation.params))
    }
}

/// Computes the precisions and recalls of one object's class anew, with its matches taken for none.
fn accumulate_without(
    found: &mut AccumulatedEval,
    evaluation: &COCOeval,
    truth: &GroundTruth,
    results: &[CocoResult],
    zero: usize,
) {
    let category = category_id(truth.boxes[zero].label);
    let Some(class) = found.cat_ids.iter().position(|&id| id == category) else { return };
    let params = &evaluation.params;
    for (area, range) in params.area_ranges.iter().enumerate() {
        let of_range = |cell: &&EvalImg| cell.category_id == category && cell.area_rng == range.range;
        let mut cells: Vec<&EvalImg> = evaluation.eval_imgs().iter().flatten().filter(of_range).collect();
        cells.sort_by_key(|cell| cell.image_id);
        let objects: usize = cells.iter().map(|cell| cell.num_gt_in_denominator()).sum();
        if objects == 0 {
            continue;
        }
        for (limit, &most) in params.max_dets.iter().enumerate() {
            for threshold in 0..params.iou_thrs.len() {
                let mut ranked: Vec<(f64, bool)> = Vec::new();
                for cell in &cells {
                    for (d, &score) in cell.dt_scores.iter().enumerate().take(most) {
                        let at = (threshold, d);
                        let matched = cell.dt_matched[at];
                        let taken_for_none = matched && cell.dt_matches[at] == annotation_id(zero);
                        let [_, _, width, height] = results[cell.dt_ids[d] as usize - 1].bbox;
                        let outside = !(range.range[0]..=range.range[1]).contains(&(width * height));
                        if !(cell.dt_ignore[at] || (taken_for_none && outside)) {
                            ranked.push((score, matched && !taken_for_none));
                        }
                    }
                }
                let (precision, recall) = curve(ranked, objects, &params.rec_thrs);
                for (r, precision) in precision.into_iter().enumerate() {
                    let at = found.precision_idx(threshold, r, class, area, limit);
                    found.precision[at] = precision;
                }
                let at = found.recall_idx(threshold, class, area, limit);
                found.recall[at] = recall;
            }
        }
    }
}

/// The precision interpolated at each of `recalls`, and the highest recall, of detections of `(score, right)`; equal
/// scores rank as given.
fn curve(mut ranked: Vec<(f64, bool)>, objects: usize, recalls: &[f64]) -> (Vec<f64>, f64) {
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut right = 0usize;
    let (mut precision, mut recall) = (Vec::new(), Vec::new());
    for (rank, (_, is_right)) in ranked.into_iter().enumerate() {
        right += usize::from(is_right);
        precision.push(right as f64 / (rank as f64 + 1.0 + f64::EPSILON));
        recall.push(right as f64 / objects as f64);
    }
    for i in (1..precision.len()).rev() {
        precision[i - 1] = f64::max(precision[i - 1], precision[i]);
    }
    let at = |wanted: &f64| precision.get(recall.partition_point(|r| r < wanted)).copied().unwrap_or(0.0);
    (recalls.iter().map(at).collect(), recall.last().copied().unwrap_or(0.0))
}
