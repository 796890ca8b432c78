use super::*;
use crate::data::Category;

/// Sums of at most eleven terms of size one, in double precision.
const ROUNDING: f64 = 1e-14;

const OBJECT: [f64; 4] = [0., 0., 10., 10.];

/// Objects of a class in image 1, far apart, of which `difficult` are marked.
fn truth(objects: usize, difficult: &[usize]) -> GroundTruth {
    let object = |k: usize| GroundTruthBox {
        image_id: 1,
        label: 0,
        bbox: place(k),
        area: 100.,
        iscrowd: difficult.contains(&k),
    };
    GroundTruth {
        image_ids: vec![1, 2],
        categories: vec![Category { id: 4, name: "a".into() }, Category { id: 9, name: "b".into() }],
        boxes: (0..objects).map(object).collect(),
    }
}

/// Where object `k` lies.
fn place(k: usize) -> [f64; 4] {
    [100. * k as f64, 0., 10., 10.]
}

fn found(score: f64, bbox: [f64; 4]) -> CocoResult {
    CocoResult { image_id: 1, category_id: 4, bbox, score }
}

/// The eleven-point and the all-point precision.
fn both(truth: &GroundTruth, results: &[CocoResult]) -> [f64; 2] {
    [VocInterpolation::ElevenPoints, VocInterpolation::AllPoints].map(|interpolation| {
        let summary = VocEvaluator { interpolation }.evaluate(truth, results).unwrap();
        assert_eq!(summary.classes[1].ap50, None, "no image has an object of class b");
        assert_eq!(summary.ap50, summary.classes[0].ap50, "and it does not count in the mean");
        summary.ap50.unwrap()
    })
}

#[track_caller]
fn assert_close(found: [f64; 2], expected: [f64; 2]) {
    for (found, expected) in found.into_iter().zip(expected) {
        assert!((found - expected).abs() < ROUNDING, "{found} instead of {expected}");
    }
}

#[test]
fn areas_by_hand() {
    // Right, wrong, right of three objects: recall 1/3 at precision 1, 2/3 at 2/3.
    let nowhere = [0., 500., 10., 10.];
    let results = [found(0.9, place(0)), found(0.8, nowhere), found(0.7, place(2))];
    // Recalls 0, .1, .2, .3 have precision 1; .4, .5, .6 have 2/3; the others 0.
    assert_close(both(&truth(3, &[]), &results), [(4. + 3. * 2. / 3.) / 11., (1. + 2. / 3.) / 3.]);
    // Without a detection the precision is 0.
    assert_close(both(&truth(3, &[]), &[]), [0., 0.]);
    // The order of the list is of no matter, the scores rank.
    let [a, b, c] = results;
    assert_eq!(both(&truth(3, &[]), &[c, b, a]), both(&truth(3, &[]), &results));
}

#[test]
fn an_iou_of_one_half_is_enough() {
    // 10 × 5 of 10 × 10.
    assert_close(both(&truth(1, &[]), &[found(0.9, [0., 0., 10., 5.])]), [1., 1.]);
    assert_close(both(&truth(1, &[]), &[found(0.9, [0., 0., 10., 4.999])]), [0., 0.]);
}

#[test]
fn a_second_detection_is_wrong_even_where_another_object_would_do() {
    let mut truth = truth(1, &[]);
    truth.boxes.push(GroundTruthBox { bbox: [0., 2., 10., 10.], ..truth.boxes[0].clone() });
    // Both detections have their highest IoU with the first object, and one of 8/12 with the second.
    let results = [found(0.9, OBJECT), found(0.8, OBJECT)];
    // Recall 1/2 at precision 1, then a wrong one: recalls 0 to .5 are 6 points.
    assert_close(both(&truth, &results), [6. / 11., 0.5]);
    // The COCO protocol gives the second detection the second object, at the IoU thresholds up to .65.
    let summary = CocoEvaluator.evaluate_results(&truth, &results).unwrap();
    assert!((summary.ap50.unwrap() - 1.).abs() < 1e-12);
}

#[test]
fn difficult_objects_count_neither_way() {
    let results = [found(0.9, place(1)), found(0.8, place(1)), found(0.7, place(0))];
    // Unmarked: right, wrong, right of two: recalls 0 to .5 at precision 1, .6 to 1 at 2/3.
    assert_close(both(&truth(2, &[]), &results), [(6. + 5. * 2. / 3.) / 11., 0.5 + 0.5 * 2. / 3.]);
    // Marked: both detections of object 1 are left out.
    assert_close(both(&truth(2, &[1]), &results), [1., 1.]);
    // A class with nothing but marked objects has no precision.
    let evaluator = VocEvaluator { interpolation: VocInterpolation::AllPoints };
    assert_eq!(evaluator.evaluate(&truth(2, &[0, 1]), &results).unwrap().ap50, None);
}

#[test]
fn detections_on_other_images_and_of_other_classes_are_wrong() {
    let elsewhere = CocoResult { image_id: 2, ..found(0.9, OBJECT) };
    assert_close(both(&truth(1, &[]), &[elsewhere, found(0.8, OBJECT)]), [0.5, 0.5]);
    let other_class = CocoResult { category_id: 9, ..found(0.9, OBJECT) };
    assert_close(both(&truth(1, &[]), &[other_class, found(0.8, OBJECT)]), [1., 1.]);
    let unknown = CocoResult { image_id: 3, ..found(0.9, OBJECT) };
    let evaluator = VocEvaluator { interpolation: VocInterpolation::ElevenPoints };
    let error = evaluator.evaluate(&truth(1, &[]), &[unknown]).unwrap_err();
    assert_eq!(error.to_string(), "detections of image 3, which is not in the ground truth");
}

#[test]
fn equal_scores_rank_as_given() {
    let nowhere = found(0.5, [0., 500., 10., 10.]);
    assert_close(both(&truth(1, &[]), &[found(0.5, OBJECT), nowhere]), [1., 1.]);
    assert_close(both(&truth(1, &[]), &[nowhere, found(0.5, OBJECT)]), [0.5, 0.5]);
}
