use std::collections::{HashMap, HashSet};
use std::ops::Range;

use hotcoco::params::{IouType, Params};
use hotcoco::{AccumulatedEval, Annotation, COCO, COCOeval, Category, Dataset, Image};

use crate::data;

use super::{ClassSummary, CocoResult, CocoSummary, DetectionEvaluator, EvalError, GroundTruth};

/// The COCO protocol for boxes, computed by the `hotcoco` crate.
///
/// ```
/// use sed_train::data::Category;
/// use sed_train::eval::{CocoEvaluator, CocoResult, DetectionEvaluator, GroundTruth, GroundTruthBox};
///
/// let object = |image_id| GroundTruthBox {
///     image_id, label: 0, bbox: [10., 10., 40., 40.], area: 1600., iscrowd: false,
/// };
/// let truth = GroundTruth {
///     image_ids: vec![1, 2],
///     categories: vec![Category { id: 3, name: "screw".into() }],
///     boxes: vec![object(1), object(2)],
/// };
/// // The object of image 1 is found; its box covers 32 of 40 columns, so that the IoU is 0.8. That of image 2 is not.
/// let results = [CocoResult { image_id: 1, category_id: 3, bbox: [10., 10., 32., 40.], score: 0.9 }];
/// let summary = CocoEvaluator.evaluate_results(&truth, &results)?;
/// assert_eq!(summary.ar100, Some(0.5 * 7. / 10.)); // at the IoUs from 0.5 to 0.8, of ten up to 0.95
/// # Ok::<(), sed_train::eval::EvalError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct CocoEvaluator;

impl DetectionEvaluator for CocoEvaluator {
    /// # Panics
    ///
    /// If `truth` holds a box of an image or class that it does not list.
    fn evaluate_results(
        &self,
        truth: &GroundTruth,
        results: &[CocoResult],
    ) -> Result<CocoSummary, EvalError> {
        let evaluation = evaluated(truth, results)?;
        Ok(summary(truth, accumulated(&evaluation)?, &evaluation.params))
    }
}

/// The matches of detections and objects, and the precisions and recalls that they add up to.
pub(super) fn evaluated(truth: &GroundTruth, results: &[CocoResult]) -> Result<COCOeval, EvalError> {
    check_truth(truth);
    check_results(truth, results)?;
    let failed = |source: hotcoco::Error| EvalError::Evaluation { source: source.into() };
    let expected = COCO::from_dataset(dataset(truth));
    let found = expected.load_res_anns(annotations(truth, results)).map_err(failed)?;
    let mut evaluation = COCOeval::new(expected, found, IouType::Bbox);
    evaluation.evaluate().map_err(failed)?;
    evaluation.accumulate();
    Ok(evaluation)
}

/// The precisions and recalls of an evaluation.
pub(super) fn accumulated(evaluation: &COCOeval) -> Result<&AccumulatedEval, EvalError> {
    let missing = || EvalError::Evaluation { source: "no precision was computed".into() };
    evaluation.accumulated().ok_or_else(missing)
}

/// The twelve numbers and those of the classes, as means over precisions and recalls.
pub(super) fn summary(truth: &GroundTruth, found: &AccumulatedEval, params: &Params) -> CocoSummary {
    let all = 0..found.shape.t;
    let at = |iou: f64| {
        let index = params.iou_thrs.iter().position(|threshold| (threshold - iou).abs() < 1e-9);
        index.map_or(0..0, |index| index..index + 1)
    };
    let most = found.shape.m - 1;
    let classes = || 0..found.shape.k;
    // The area ranges are all, small, medium, large; the limits 1, 10 and 100 detections.
    let ap = |thresholds: Range<usize>, area: usize| mean_precision(found, thresholds, classes(), area);
    let ar = |area: usize, limit: usize| mean_recall(found, area, limit);
    let numbers = [
        ap(all.clone(), 0),
        ap(at(0.5), 0),
        ap(at(0.75), 0),
        ap(all.clone(), 1),
        ap(all.clone(), 2),
        ap(all.clone(), 3),
        ar(0, 0),
        ar(0, 1),
        ar(0, most),
        ar(1, most),
        ar(2, most),
        ar(3, most),
    ];
    let of_class = |(label, category): (usize, &data::Category)| {
        let class = found.cat_ids.iter().position(|&id| id == category_id(label)).map_or(0..0, |k| k..k + 1);
        let ap = |thresholds: Range<usize>| mean_precision(found, thresholds, class.clone(), 0);
        ClassSummary { category: category.clone(), ap: ap(all.clone()), ap50: ap(at(0.5)) }
    };
    CocoSummary::new(numbers, truth.categories.iter().enumerate().map(of_class).collect())
}

/// The mean of the defined precisions at the largest number of detections.
fn mean_precision(
    found: &AccumulatedEval,
    thresholds: Range<usize>,
    classes: Range<usize>,
    area: usize,
) -> Option<f64> {
    let most = found.shape.m - 1;
    let recalls = || 0..found.shape.r;
    mean(thresholds.flat_map(|t| {
        let classes = classes.clone();
        recalls().flat_map(move |r| {
            classes.clone().map(move |k| found.precision[found.precision_idx(t, r, k, area, most)])
        })
    }))
}

/// The mean of the defined recalls.
fn mean_recall(found: &AccumulatedEval, area: usize, limit: usize) -> Option<f64> {
    let classes = || 0..found.shape.k;
    mean(
        (0..found.shape.t)
            .flat_map(|t| classes().map(move |k| found.recall[found.recall_idx(t, k, area, limit)])),
    )
}

/// The mean of the numbers that are defined.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.filter_map(defined).fold((0.0, 0usize), |(sum, n), value| (sum + value, n + 1));
    (count > 0).then(|| sum / count as f64)
}

/// −1 stands for a number that is not defined.
fn defined(value: f64) -> Option<f64> {
    (value >= 0.).then_some(value)
}

/// The id under which a class is evaluated. The file's own ids are of no matter here.
pub(super) fn category_id(label: usize) -> u64 {
    label as u64 + 1
}

/// The id under which an object is evaluated.
pub(super) fn annotation_id(index: usize) -> u64 {
    index as u64 + 1
}

fn dataset(truth: &GroundTruth) -> Dataset {
    let annotations = truth.boxes.iter().enumerate().map(|(index, object)| Annotation {
        // From 1, so that every object counts; see `PycocotoolsEvaluator`.
        id: annotation_id(index),
        image_id: object.image_id,
        category_id: category_id(object.label),
        bbox: Some(object.bbox),
        area: Some(object.area),
        iscrowd: object.iscrowd,
        ..Annotation::default()
    });
    let categories = truth.categories.iter().enumerate().map(|(label, category)| Category {
        id: category_id(label),
        name: category.name.clone(),
        ..Category::default()
    });
    Dataset {
        images: truth.image_ids.iter().map(|&id| Image { id, ..Image::default() }).collect(),
        annotations: annotations.collect(),
        categories: categories.collect(),
        ..Dataset::default()
    }
}

/// Ids of detections are given by the evaluation, from 1 in their order.
fn annotations(truth: &GroundTruth, results: &[CocoResult]) -> Vec<Annotation> {
    let labels: HashMap<u64, usize> =
        truth.categories.iter().enumerate().map(|(label, category)| (category.id, label)).collect();
    let annotations = results.iter().map(|result| Annotation {
        image_id: result.image_id,
        category_id: category_id(labels[&result.category_id]),
        bbox: Some(result.bbox),
        score: Some(result.score),
        ..Annotation::default()
    });
    annotations.collect()
}

fn check_truth(truth: &GroundTruth) {
    let images: HashSet<u64> = truth.image_ids.iter().copied().collect();
    let classes = truth.categories.len();
    for (index, object) in truth.boxes.iter().enumerate() {
        assert!(
            object.label < classes && images.contains(&object.image_id),
            "GroundTruth: box {index} is of image {} and class {}; there are {} images and {classes} classes",
            object.image_id,
            object.label,
            images.len()
        );
    }
}

pub(super) fn check_results(truth: &GroundTruth, results: &[CocoResult]) -> Result<(), EvalError> {
    let mut counts: HashMap<u64, usize> = truth.image_ids.iter().map(|&id| (id, 0)).collect();
    let categories: HashSet<u64> = truth.categories.iter().map(|category| category.id).collect();
    for &CocoResult { image_id: image, category_id, bbox, score } in results {
        let count = counts.get_mut(&image).ok_or(EvalError::UnknownImage { image })?;
        let index = *count;
        *count += 1;
        if !categories.contains(&category_id) {
            return Err(EvalError::UnknownCategory { image, index, id: category_id });
        }
        let finite = score.is_finite() && bbox.iter().all(|number| number.is_finite());
        if !finite || bbox[2] < 0. || bbox[3] < 0. {
            return Err(EvalError::InvalidDetection { image, index, bbox, score });
        }
    }
    Ok(())
}
