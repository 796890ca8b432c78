use std::collections::BTreeMap;
use std::fs;

use sed_core::Detections;
use serde::Deserialize;

use super::*;
use crate::data::{Category, CocoIndex, DataPolicy};
use crate::test_data::shared_data;

/// Means of at most a million numbers of size one, in double precision, summed in another order than numpy's.
const ROUNDING: f64 = 1e-12;

/// Ground truth with classes "a" and "b", whose ids have a gap, of `(image, label, [x, y, w, h])`.
fn truth(image_ids: &[u64], boxes: &[(u64, usize, [f64; 4])]) -> GroundTruth {
    let boxes = boxes.iter().map(|&(image_id, label, bbox)| {
        let area = bbox[2] * bbox[3];
        GroundTruthBox { image_id, label, bbox, area, iscrowd: false }
    });
    GroundTruth {
        image_ids: image_ids.to_vec(),
        categories: vec![Category { id: 4, name: "a".into() }, Category { id: 9, name: "b".into() }],
        boxes: boxes.collect(),
    }
}

/// Detections of one image, of `(score, label, [x1, y1, x2, y2])`.
fn found(image_id: u64, objects: &[(f32, usize, [f32; 4])]) -> ImageDetections {
    let detections = Detections {
        boxes: objects.iter().map(|object| object.2).collect(),
        scores: objects.iter().map(|object| object.0).collect(),
        labels: objects.iter().map(|object| object.1).collect(),
    };
    ImageDetections { image_id, detections }
}

fn evaluate(truth: &GroundTruth, detections: &[ImageDetections]) -> CocoSummary {
    CocoEvaluator.evaluate(truth, detections).unwrap()
}

#[track_caller]
fn assert_close(actual: Option<f64>, expected: f64) {
    let value = actual.unwrap_or(f64::NAN);
    assert!((value - expected).abs() < ROUNDING, "{actual:?} instead of {expected}");
}

/// Two squares of 10 × 10 far apart, and a place where there is nothing.
const LEFT: [f64; 4] = [0., 0., 10., 10.];
const RIGHT: [f64; 4] = [50., 0., 10., 10.];
const ON_LEFT: [f32; 4] = [0., 0., 10., 10.];
const ON_RIGHT: [f32; 4] = [50., 0., 60., 10.];
const NOWHERE: [f32; 4] = [0., 50., 10., 60.];

#[test]
fn perfect_detections_have_all_numbers_one() {
    // Squares of side 10, 50 and 100: small, medium, large.
    let sides = [10., 50., 100.];
    let truth = truth(
        &[1, 2, 3],
        &[1, 2, 3].map(|id| (id, 0, [5., 5., sides[id as usize - 1], sides[id as usize - 1]])),
    );
    let detections = [1u64, 2, 3].map(|id| {
        let end = 5. + sides[id as usize - 1] as f32;
        found(id, &[(0.9, 0, [5., 5., end, end])])
    });
    let summary = evaluate(&truth, &detections);
    for (name, value) in CocoSummary::NAMES.iter().zip(summary.values()) {
        assert!((value.unwrap() - 1.).abs() < ROUNDING, "{name}: {value:?}");
    }
    assert_close(summary.classes[0].ap, 1.);
    assert_eq!(summary.classes[0].category.id, 4);
    assert_eq!(summary.classes[1].ap, None, "no image has an object of class b");
}

#[test]
fn iou_thresholds_count_one_tenth_each() {
    // 10 × 6.25 of 10 × 10 is an IoU of .625: enough at .50, .55 and .60.
    let summary = evaluate(&truth(&[1], &[(1, 0, LEFT)]), &[found(1, &[(0.9, 0, [0., 0., 10., 6.25])])]);
    assert_close(summary.ap, 0.3);
    assert_close(summary.ap50, 1.);
    assert_close(summary.ap75, 0.);
    assert_close(summary.ar100, 0.3);
    assert_close(summary.classes[0].ap, 0.3);
    assert_close(summary.classes[0].ap50, 1.);
}

#[test]
fn precision_is_interpolated_at_101_recalls() {
    // Right, wrong, right: precision 1 up to recall 1/2 (0, .01, …, .50: 51 points) and 2/3 above (50 points).
    let objects = [(0.9, 0, ON_LEFT), (0.8, 0, NOWHERE), (0.7, 0, ON_RIGHT)];
    let summary = evaluate(&truth(&[1], &[(1, 0, LEFT), (1, 0, RIGHT)]), &[found(1, &objects)]);
    assert_close(summary.ap, (51. + 50. * 2. / 3.) / 101.);
    // The best detection alone finds one of two objects.
    assert_close(summary.ar1, 0.5);
    assert_close(summary.ar10, 1.);
}

#[test]
fn a_second_detection_of_an_object_is_wrong() {
    let objects = [(0.9, 0, ON_LEFT), (0.8, 0, ON_LEFT), (0.7, 0, ON_RIGHT)];
    let summary = evaluate(&truth(&[1], &[(1, 0, LEFT), (1, 0, RIGHT)]), &[found(1, &objects)]);
    assert_close(summary.ap, (51. + 50. * 2. / 3.) / 101.);
}

#[test]
fn classes_are_averaged() {
    // Class a is found, class b is missed: (1 + 0) / 2.
    let summary = evaluate(
        &truth(&[1], &[(1, 0, LEFT), (1, 1, RIGHT)]),
        &[found(1, &[(0.9, 0, ON_LEFT), (0.9, 0, ON_RIGHT)])],
    );
    assert_close(summary.ap, 0.5);
    assert_close(summary.classes[0].ap, 1.);
    assert_close(summary.classes[1].ap, 0.);
}

#[test]
fn detections_in_a_crowd_count_neither_way() {
    // An object, and a region of 30 × 30 to the right that holds an unknown number of others.
    let mut truth = truth(&[1], &[(1, 0, LEFT), (1, 0, [40., 0., 30., 30.])]);
    let detections = [found(1, &[(0.9, 0, ON_RIGHT), (0.8, 0, [55., 5., 65., 15.]), (0.7, 0, ON_LEFT)])];
    // Without the flag: two wrong ones first, then one of two objects; precision 1/3 at 51 points.
    assert_close(evaluate(&truth, &detections).ap, 51. / 3. / 101.);
    truth.boxes[1].iscrowd = true;
    assert_close(evaluate(&truth, &detections).ap, 1.);
    // A class with nothing but crowds has no precision.
    truth.boxes[0].iscrowd = true;
    assert_eq!(evaluate(&truth, &detections).values(), [None; 12]);
}

#[test]
fn equal_scores_rank_as_given_within_an_image() {
    let truth = truth(&[1], &[(1, 0, LEFT)]);
    assert_close(evaluate(&truth, &[found(1, &[(0.5, 0, ON_LEFT), (0.5, 0, NOWHERE)])]).ap, 1.);
    assert_close(evaluate(&truth, &[found(1, &[(0.5, 0, NOWHERE), (0.5, 0, ON_LEFT)])]).ap, 0.5);
}

#[test]
fn equal_scores_rank_by_image_id_whatever_the_order_of_entries() {
    // The wrong one is in image 1, which has no object, and so comes first.
    let truth = truth(&[2, 1], &[(2, 0, LEFT)]);
    let entries = [found(1, &[(0.5, 0, ON_LEFT)]), found(2, &[(0.5, 0, ON_LEFT)])];
    let [first, second] = entries.clone();
    assert_close(evaluate(&truth, &entries).ap, 0.5);
    assert_eq!(evaluate(&truth, &entries), evaluate(&truth, &[second, first]));
}

#[test]
fn detections_in_an_image_without_objects_are_wrong() {
    let truth = truth(&[0, 7], &[(7, 0, LEFT)]);
    let right = found(7, &[(0.5, 0, ON_LEFT)]);
    assert_close(evaluate(&truth, &[right.clone(), found(0, &[(0.9, 0, NOWHERE)])]).ap, 0.5);
    // Less sure than the right one, it comes after all objects are found.
    assert_close(evaluate(&truth, &[right.clone(), found(0, &[(0.1, 0, NOWHERE)])]).ap, 1.);
    assert_close(evaluate(&truth, &[right.clone(), found(0, &[])]).ap, 1.);
    // The images 0 and 7 need no entry.
    assert_close(evaluate(&truth, &[right]).ap, 1.);
    let nothing = evaluate(&truth, &[]);
    assert_close(nothing.ap, 0.);
    assert_close(nothing.ar100, 0.);
}

#[test]
fn without_any_object_no_number_is_defined() {
    let summary = evaluate(&truth(&[1], &[]), &[found(1, &[(0.9, 0, ON_LEFT)])]);
    assert_eq!(summary.values(), [None; 12]);
    assert_eq!(serde_json::to_value(&summary).unwrap()["ap"], serde_json::Value::Null);
}

#[test]
fn json_has_cocos_names_and_each_class() {
    let mut truth = truth(&[1], &[(1, 0, LEFT)]);
    truth.categories[1].name = "a".into();
    let json = evaluate(&truth, &[found(1, &[(0.9, 0, [0., 0., 10., 6.25])])]).to_json();
    let mut keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let mut expected = [&CocoSummary::NAMES[..], &["per_class"]].concat();
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_close(json["AP50"].as_f64(), 1.);
    assert_close(json["AP75"].as_f64(), 0.);
    assert_close(json["per_class"]["a"].as_f64(), 0.3);
    assert_eq!(json["per_class"]["a (id 9)"], serde_json::Value::Null);
}

#[test]
fn the_area_of_the_file_decides_on_the_size() {
    let mut truth = truth(&[1], &[(1, 0, [0., 0., 100., 100.])]);
    let detections = [found(1, &[(0.9, 0, [0., 0., 100., 100.])])];
    let summary = evaluate(&truth, &detections);
    assert_eq!((summary.ap_small, summary.ap_medium), (None, None));
    assert_close(summary.ap_large, 1.);
    // A mask of 500 pixels in the same box.
    truth.boxes[0].area = 500.;
    let summary = evaluate(&truth, &detections);
    assert_close(summary.ap_small, 1.);
    assert_eq!((summary.ap_medium, summary.ap_large), (None, None));
}

#[test]
fn detections_that_cannot_be_evaluated_are_named() {
    let truth = truth(&[1], &[(1, 0, LEFT)]);
    let message =
        |detections: &[ImageDetections]| CocoEvaluator.evaluate(&truth, detections).unwrap_err().to_string();
    assert_eq!(message(&[found(3, &[])]), "detections of image 3, which is not in the ground truth");
    assert_eq!(message(&[found(1, &[]), found(1, &[])]), "detections of image 1 are given twice");
    assert_eq!(
        message(&[found(1, &[(0.9, 0, ON_LEFT), (0.8, 2, ON_LEFT)])]),
        "image 1, detection 1: class 2 of 2 classes"
    );
    let invalid = [
        (f32::NAN, ON_LEFT, [0., 0., 10., 10.]),
        (0.5, [0., f32::NAN, 1., 1.], [0., f64::NAN, 1., f64::NAN]),
        (0.5, [0., 0., f32::INFINITY, 1.], [0., 0., f64::INFINITY, 1.]),
        (0.5, [2., 0., 1., 1.], [2., 0., -1., 1.]),
    ];
    for (score, corners, bbox) in invalid {
        let expected = format!(
            "image 1, detection 0: bbox {bbox:?} and score {score} must be finite, with a width and height of at least 0"
        );
        assert_eq!(message(&[found(1, &[(score, 0, corners)])]), expected);
    }

    let result = CocoResult { image_id: 1, category_id: 9, bbox: LEFT, score: 0.5 };
    let message = |result| CocoEvaluator.evaluate_results(&truth, &[result]).unwrap_err().to_string();
    assert_eq!(
        message(CocoResult { image_id: 3, ..result }),
        "detections of image 3, which is not in the ground truth"
    );
    assert_eq!(
        message(CocoResult { category_id: 5, ..result }),
        "image 1, detection 0: category_id 5 is not in the ground truth"
    );
}

#[test]
fn a_box_of_size_zero_is_a_wrong_detection() {
    let truth = truth(&[1], &[(1, 0, LEFT)]);
    let objects = [(0.9, 0, [5., 5., 5., 5.]), (0.8, 0, ON_LEFT)];
    assert_close(evaluate(&truth, &[found(1, &objects)]).ap, 0.5);
}

#[test]
fn results_carry_the_ids_of_the_annotation_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("results.json");
    let truth = truth(&[1, 5], &[(5, 1, [1., 2., 3., 6.])]);
    let detections = [found(5, &[(0.75, 1, [1., 2., 4., 8.]), (0.1, 0, ON_LEFT)]), found(1, &[])];
    let results = coco_results(&truth.categories, &detections).unwrap();
    let first = CocoResult { image_id: 5, category_id: 9, bbox: [1., 2., 3., 6.], score: 0.75 };
    assert_eq!(results[0], first);
    assert_eq!((results.len(), results[1].category_id), (2, 4));

    write_coco_results(&path, &results).unwrap();
    assert_eq!(read_coco_results(&path).unwrap(), results);
    assert_eq!(CocoEvaluator.evaluate_results(&truth, &results).unwrap(), evaluate(&truth, &detections));
    let text = fs::read_to_string(&path).unwrap();
    let start = r#"[{"image_id":5,"category_id":9,"bbox":[1.0,2.0,3.0,6.0],"score":0.75},"#;
    assert!(text.starts_with(start), "{text}");
}

#[test]
fn results_files_that_cannot_be_read_or_written_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("nowhere").join("results.json");
    for error in [write_coco_results(&nowhere, &[]).unwrap_err(), read_coco_results(&nowhere).unwrap_err()] {
        assert!(error.to_string().starts_with(&format!("{}: ", nowhere.display())), "{error}");
    }
    let path = dir.path().join("results.json");
    fs::write(&path, r#"[{"image_id": 1, "category_id": 4, "bbox": [0, 0, 1, 1], "score": "high"}]"#)
        .unwrap();
    let text = read_coco_results(&path).unwrap_err().to_string();
    assert!(text.starts_with(&format!("{}: at [0].score: invalid type: string", path.display())), "{text}");
}

#[test]
fn ground_truth_of_a_file_keeps_boxes_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("val.json");
    fs::write(
        &path,
        r#"{"images": [{"id": 2, "file_name": "a.png", "width": 20, "height": 20},
                       {"id": 1, "file_name": "b.png", "width": 20, "height": 20}],
            "categories": [{"id": 9, "name": "b"}, {"id": 4, "name": "a"}],
            "annotations": [{"id": 0, "image_id": 2, "category_id": 9, "bbox": [10, 0, 15, 5], "area": 3, "iscrowd": 0},
                            {"id": 1, "image_id": 2, "category_id": 4, "bbox": [0, 0, 5, 5], "iscrowd": 1}]}"#,
    )
    .unwrap();
    let index = CocoIndex::read(&path).unwrap();
    let labels = index.labels(&index.image_ids(), DataPolicy::STRICT).unwrap();
    let truth = GroundTruth::from_coco(&index, &labels);
    assert_eq!(truth.image_ids, [1, 2]);
    let ids: Vec<_> = truth.categories.iter().map(|category| category.id).collect();
    assert_eq!(ids, [4, 9]);
    let bbox = [10., 0., 15., 5.];
    assert_eq!(truth.boxes[0], GroundTruthBox { image_id: 2, label: 1, bbox, area: 3., iscrowd: false });
    assert!(truth.boxes[1].iscrowd);
    // The annotation of id 0 is matched like any other.
    assert_close(evaluate(&truth, &[found(2, &[(0.5, 1, [10., 0., 25., 5.])])]).ap, 1.);
}

/// The official sample: 100 images of `val2014` with 839 objects, 9 of them crowds, and 734
/// detections in 99 of the images. The expected numbers are those of pycocotools 2.0.11.
#[test]
fn the_official_sample_gives_the_official_numbers() {
    #[derive(Deserialize)]
    struct Expected {
        order: Vec<String>,
        bbox: [f64; 12],
    }

    let Some(folder) = shared_data("coco_eval_fixture") else { return };
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let index = CocoIndex::read(folder.join("instances_val2014_100.json")).unwrap();
    let labels = index.labels(&index.image_ids(), DataPolicy::STRICT).unwrap();
    let truth = GroundTruth::from_coco(&index, &labels);
    assert_eq!((truth.image_ids.len(), truth.boxes.len()), (100, 839));
    assert_eq!(truth.boxes.iter().filter(|object| object.iscrowd).count(), 9);

    let results = read_coco_results(folder.join("instances_val2014_fakebbox100_results.json")).unwrap();
    assert_eq!(results.len(), 734);
    let summary = CocoEvaluator.evaluate_results(&truth, &results).unwrap();
    // The file has no annotation 0, so the two evaluators agree.
    let annotations = EvalAnnotations::read(index.path()).unwrap();
    assert_eq!((&annotations.truth, annotations.zero), (&truth, None));
    assert_eq!(PycocotoolsEvaluator::new(&annotations).evaluate_results(&truth, &results).unwrap(), summary);

    let expected: Expected = serde_json::from_str(&text("expected.json")).unwrap();
    assert_eq!(expected.order, CocoSummary::NAMES);
    for ((name, value), expected) in CocoSummary::NAMES.iter().zip(summary.values()).zip(expected.bbox) {
        let value = value.unwrap();
        assert!((value - expected).abs() < ROUNDING, "{name}: {value} instead of {expected}");
    }
    let expected: BTreeMap<u64, f64> = serde_json::from_str(&text("expected_per_category_ap.json")).unwrap();
    assert_eq!(expected.len(), summary.classes.len());
    for class in &summary.classes {
        let (value, expected) = (class.ap.unwrap_or(-1.), expected[&class.category.id]);
        assert!(
            (value - expected).abs() < ROUNDING,
            "{}: {value} instead of {expected}",
            class.category.name
        );
    }
}
