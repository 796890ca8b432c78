use std::collections::{HashMap, HashSet};

use hotcoco::params::IouType;
use hotcoco::{AccumulatedEval, Annotation, COCO, COCOeval, Category, Dataset, Image};

use super::{ClassSummary, CocoResult, CocoSummary, DetectionEvaluator, EvalError, GroundTruth};

/// The COCO protocol for boxes, computed by the `hotcoco` crate.
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
        check_truth(truth);
        check_results(truth, results)?;
        let failed = |source: hotcoco::Error| EvalError::Evaluation { source: source.into() };
        let expected = COCO::from_dataset(dataset(truth));
        let found = expected.load_res_anns(annotations(truth, results)).map_err(failed)?;
        let mut evaluation = COCOeval::new(expected, found, IouType::Bbox);
        evaluation.evaluate().map_err(failed)?;
        evaluation.accumulate();
        // The lines themselves are not needed; this also fills `stats`, without printing.
        evaluation.summarize_lines();
        let (Some(stats), Some(accumulated)) = (evaluation.stats(), evaluation.accumulated()) else {
            return Err(EvalError::Evaluation { source: "no statistics were computed".into() });
        };
        let values: [f64; 12] = stats.try_into().map_err(|_| EvalError::Evaluation {
            source: format!("{} statistics instead of 12", stats.len()).into(),
        })?;

        let all = evaluation.params.iou_thrs.len();
        let classes = truth.categories.iter().enumerate().map(|(label, category)| ClassSummary {
            category: category.clone(),
            ap: class_ap(accumulated, label, all),
            ap50: class_ap(accumulated, label, 1),
        });
        Ok(CocoSummary::new(values.map(defined), classes.collect()))
    }
}

/// The mean precision of a class over the first `thresholds` IoU thresholds (the first is .50), for
/// objects of all sizes (the first area range) and the largest number of detections (the last).
fn class_ap(accumulated: &AccumulatedEval, label: usize, thresholds: usize) -> Option<f64> {
    let class = accumulated.cat_ids.iter().position(|&id| id == category_id(label))?;
    let (recalls, most) = (accumulated.shape.r, accumulated.shape.m.checked_sub(1)?);
    let precisions = (0..thresholds).flat_map(|threshold| {
        (0..recalls).map(move |recall| {
            accumulated.precision[accumulated.precision_idx(threshold, recall, class, 0, most)]
        })
    });
    let precisions: Vec<f64> = precisions.filter_map(defined).collect();
    (!precisions.is_empty()).then(|| precisions.iter().sum::<f64>() / precisions.len() as f64)
}

/// −1 stands for a number that is not defined.
fn defined(value: f64) -> Option<f64> {
    (value >= 0.).then_some(value)
}

/// The id under which a class is evaluated. The file's own ids are of no matter here.
fn category_id(label: usize) -> u64 {
    label as u64 + 1
}

fn dataset(truth: &GroundTruth) -> Dataset {
    let annotations = truth.boxes.iter().enumerate().map(|(index, object)| Annotation {
        // From 1: the reference implementation takes a match with annotation 0 for no match.
        id: index as u64 + 1,
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

/// Ids of detections are given by the evaluation.
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

fn check_results(truth: &GroundTruth, results: &[CocoResult]) -> Result<(), EvalError> {
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
