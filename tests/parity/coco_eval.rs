//! The COCO numbers against pycocotools.

use std::collections::BTreeMap;

use sed::train::eval::{
    CocoEvaluator, CocoResult, CocoSummary, DetectionEvaluator, EvalAnnotations, PycocotoolsEvaluator,
};
use serde_json::Value;

use crate::fixture::Fixture;

/// Means of at most a few thousand numbers of size one in double precision, summed in another order than numpy's.
const ROUNDING: f64 = 1e-13;

/// Cases in which an object of id 0 is found.
const ZERO: [&str; 8] = [
    "annotation_zero_0",
    "annotation_zero_2",
    "annotation_zero_4",
    "annotation_zero_5",
    "annotation_zero_alone",
    "annotation_zero_many_detections",
    "annotation_zero_by_hand",
    "annotation_zero_of_another_size",
];

fn annotations(case: &Fixture) -> EvalAnnotations {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("gt.json");
    std::fs::write(&path, case.at("truth").get::<Value>().to_string()).expect("room for a small file");
    EvalAnnotations::read(&path).expect("a valid file")
}

/// The largest difference to pycocotools; its −1 is a missing number.
fn difference(summary: &CocoSummary, expected: &Fixture) -> f64 {
    let of_classes = |key: &str| expected.at(key).get::<BTreeMap<u64, f64>>();
    let (ap, ap50) = (of_classes("class_ap"), of_classes("class_ap50"));
    assert_eq!(summary.classes.len(), ap.len());
    let stats: Vec<f64> = expected.at("stats").get();
    let numbers = summary.values().into_iter().zip(stats);
    let classes = summary.classes.iter().flat_map(|class| {
        let id = class.category.id;
        [(class.ap, ap[&id]), (class.ap50, ap50[&id])]
    });
    numbers
        .chain(classes)
        .map(|(found, expected)| (found.unwrap_or(-1.0) - expected).abs())
        .fold(0.0, f64::max)
}

#[test]
fn all_numbers_are_those_of_pycocotools() {
    let cases = Fixture::load("coco_eval").at("cases").entries();
    assert!(cases.len() > 15);
    for (name, case) in cases {
        let annotations = annotations(&case);
        let results: Vec<CocoResult> = case.at("results").get();
        let evaluator = PycocotoolsEvaluator::new(&annotations);
        let summary = evaluator.evaluate_results(&annotations.truth, &results).expect("a valid case");
        let off = difference(&summary, &case.at("expected"));
        println!("{name}: off by {off:.1e}");
        assert!(off < ROUNDING, "{name}: off by {off}: {summary:?}");
    }
}

#[test]
fn an_object_of_id_zero_counts_unless_pycocotools_is_asked_for() {
    for (name, case) in Fixture::load("coco_eval").at("cases").entries() {
        let annotations = annotations(&case);
        let known =
            |result: &CocoResult| annotations.truth.categories.iter().any(|c| c.id == result.category_id);
        let results: Vec<CocoResult> = case.at("results").get();
        let results: Vec<CocoResult> = results.into_iter().filter(known).collect();
        let summary = CocoEvaluator.evaluate_results(&annotations.truth, &results).expect("a valid case");
        let off = difference(&summary, &case.at("expected"));
        // The same numbers in every other case.
        assert_eq!(off > ROUNDING, ZERO.contains(&name.as_str()), "{name}: {off}");
    }
}
