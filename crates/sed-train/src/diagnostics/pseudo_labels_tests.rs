use sed_core::Detections;

use super::*;
use crate::{data::Category, eval::GroundTruthBox};

/// An object of an image and class, `[x, y, width, height]`, whose area is that of its box.
fn object(image_id: u64, label: usize, bbox: [f64; 4]) -> GroundTruthBox {
    GroundTruthBox { image_id, label, bbox, area: bbox[2] * bbox[3], iscrowd: false }
}

/// Images 1 and 2 with classes "a" and "b".
fn truth(boxes: &[GroundTruthBox]) -> GroundTruth {
    GroundTruth {
        image_ids: vec![1, 2],
        categories: vec![Category { id: 4, name: "a".into() }, Category { id: 9, name: "b".into() }],
        boxes: boxes.to_vec(),
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

/// `(right, wrong)` at each threshold.
fn counts(labels: &PseudoLabelMatches, thresholds: &[f32]) -> Vec<(usize, usize)> {
    labels.curve(thresholds).points.iter().map(|point| (point.right, point.wrong)).collect()
}

const LEFT: [f64; 4] = [0., 0., 10., 10.];
const RIGHT: [f64; 4] = [50., 0., 10., 10.];
const ON_LEFT: [f32; 4] = [0., 0., 10., 10.];
const ON_RIGHT: [f32; 4] = [50., 0., 60., 10.];
const NOWHERE: [f32; 4] = [0., 50., 10., 60.];

#[test]
fn precision_and_recall_follow_the_threshold() {
    let truth = truth(&[object(1, 0, LEFT), object(1, 0, RIGHT), object(2, 1, LEFT)]);
    let detections = [
        found(1, &[(0.9, 0, ON_LEFT), (0.7, 0, NOWHERE), (0.5, 0, ON_RIGHT)]),
        found(2, &[(0.3, 1, NOWHERE)]),
    ];
    let curve = PseudoLabelMatches::new(&truth, &detections, 0.5).unwrap().curve(&[0.1, 0.5, 0.6, 0.8, 0.95]);
    assert_eq!((curve.iou, curve.objects), (0.5, 3));
    let numbers: Vec<_> = curve.points.iter().map(|p| (p.right, p.wrong, p.precision, p.recall)).collect();
    let expected = [
        (2, 2, Some(0.5), Some(2. / 3.)),
        // A score that equals the threshold counts.
        (2, 1, Some(2. / 3.), Some(2. / 3.)),
        (1, 1, Some(0.5), Some(1. / 3.)),
        (1, 0, Some(1.), Some(1. / 3.)),
        (0, 0, None, Some(0.)),
    ];
    assert_eq!(numbers, expected);
}

#[test]
fn the_threshold_is_compared_in_the_precision_of_the_scores() {
    // 0.7 in single precision lies below 0.7 in double precision.
    let labels =
        PseudoLabelMatches::new(&truth(&[object(1, 0, LEFT)]), &[found(1, &[(0.7, 0, ON_LEFT)])], 0.5);
    assert_eq!(counts(&labels.unwrap(), &[0.7]), [(1, 0)]);
}

#[test]
fn boxes_are_right_from_the_iou_on() {
    // 10 × 9 of 10 × 10 is an IoU of .9, 10 × 8.9 of .89.
    let detections = [found(1, &[(0.9, 0, [0., 0., 10., 9.])]), found(2, &[(0.9, 0, [0., 0., 10., 8.9])])];
    let truth = truth(&[object(1, 0, LEFT), object(2, 0, LEFT)]);
    let at = |iou| counts(&PseudoLabelMatches::new(&truth, &detections, iou).unwrap(), &[0.5]);
    assert_eq!((at(0.5), at(0.9)), (vec![(2, 0)], vec![(1, 1)]));
}

#[test]
fn classes_and_images_are_kept_apart() {
    let truth = truth(&[object(1, 0, LEFT)]);
    let detections = [found(1, &[(0.9, 1, ON_LEFT)]), found(2, &[(0.9, 0, ON_LEFT)])];
    let labels = PseudoLabelMatches::new(&truth, &detections, 0.5).unwrap();
    assert_eq!(counts(&labels, &[0.1]), [(0, 2)]);
}

#[test]
fn a_second_pseudo_label_of_an_object_is_wrong_and_the_better_one_is_right() {
    // Given in the order of rising scores.
    let detections = [found(1, &[(0.4, 0, ON_LEFT), (0.8, 0, [0., 0., 10., 8.])])];
    let labels = PseudoLabelMatches::new(&truth(&[object(1, 0, LEFT)]), &detections, 0.5).unwrap();
    assert_eq!(counts(&labels, &[0.1, 0.6]), [(1, 1), (1, 0)]);
}

#[test]
fn a_pseudo_label_takes_the_free_object_it_overlaps_most() {
    // 10 wide from 3 to 13: IoU 7/13 with LEFT, 8/12 with the box from 5 to 15.
    let truth = truth(&[object(1, 0, LEFT), object(1, 0, [5., 0., 10., 10.])]);
    let between = [3., 0., 13., 10.];
    let once =
        PseudoLabelMatches::new(&truth, &[found(1, &[(0.9, 0, between), (0.8, 0, ON_LEFT)])], 0.5).unwrap();
    assert_eq!(counts(&once, &[0.1]), [(2, 0)]);
    // The same box again gets the object that is left.
    let twice =
        PseudoLabelMatches::new(&truth, &[found(1, &[(0.9, 0, between), (0.8, 0, between)])], 0.5).unwrap();
    assert_eq!(counts(&twice, &[0.1]), [(2, 0)]);
}

#[test]
fn in_a_crowd_pseudo_labels_are_neither_right_nor_wrong() {
    let crowd = GroundTruthBox { iscrowd: true, ..object(1, 0, [40., 0., 30., 30.]) };
    let truth = truth(&[object(1, 0, LEFT), crowd]);
    // In the crowd; half of it in the crowd; a tenth of it; in it, but of another class.
    let detections = [found(
        1,
        &[
            (0.9, 0, ON_RIGHT),
            (0.8, 0, [35., 0., 45., 10.]),
            (0.7, 0, [31., 0., 41., 10.]),
            (0.6, 1, ON_RIGHT),
        ],
    )];
    let labels = PseudoLabelMatches::new(&truth, &detections, 0.5).unwrap();
    let curve = labels.curve(&[0.1]);
    // The crowd is no object either.
    assert_eq!((curve.objects, curve.points[0].right, curve.points[0].wrong), (1, 0, 2));
}

#[test]
fn recall_is_split_by_the_area_of_the_object() {
    // Areas of 32², 33², 96², 97².
    let square = |x: f64, side: f64| object(1, 0, [x, 0., side, side]);
    let objects = [square(0., 32.), square(100., 33.), square(200., 96.), square(300., 97.)];
    let detections = [found(
        1,
        &[(0.9, 0, [0., 0., 32., 32.]), (0.6, 0, [200., 0., 296., 96.]), (0.2, 0, [300., 0., 397., 97.])],
    )];
    let labels = PseudoLabelMatches::new(&truth(&objects), &detections, 0.5).unwrap();
    let sizes = labels.recall_by_size(0.5);
    let recall = |objects, found, recall| ObjectRecall { objects, found, recall };
    assert_eq!((sizes.iou, sizes.threshold), (0.5, 0.5));
    assert_eq!(sizes.small, recall(1, 1, Some(1.)));
    assert_eq!(sizes.medium, recall(2, 1, Some(0.5)));
    assert_eq!(sizes.large, recall(1, 0, Some(0.)));
    assert_eq!(labels.recall_by_size(0.1).large, recall(1, 1, Some(1.)));
}

#[test]
fn without_objects_or_pseudo_labels_shares_are_not_defined() {
    let labels = PseudoLabelMatches::new(&truth(&[]), &[], 0.5).unwrap();
    let point = labels.curve(&[0.5]).points[0];
    assert_eq!((point.precision, point.recall), (None, None));
    assert_eq!(labels.recall_by_size(0.5).small.recall, None);
}

#[test]
fn bad_detections_are_named() {
    let truth = truth(&[object(1, 0, LEFT)]);
    let error =
        |detections: &[ImageDetections]| PseudoLabelMatches::new(&truth, detections, 0.5).unwrap_err();
    assert!(matches!(error(&[found(3, &[])]), EvalError::UnknownImage { image: 3 }));
    assert!(matches!(error(&[found(1, &[]), found(1, &[])]), EvalError::DuplicateImage { image: 1 }));
    assert!(matches!(
        error(&[found(2, &[(0.5, 2, ON_LEFT)])]),
        EvalError::UnknownClass { image: 2, index: 0, label: 2, classes: 2 }
    ));
    assert!(matches!(
        error(&[found(1, &[(0.5, 0, ON_LEFT), (f32::NAN, 0, ON_LEFT)])]),
        EvalError::InvalidDetection { image: 1, index: 1, .. }
    ));
}

#[test]
#[should_panic(expected = "an IoU of 0")]
fn an_iou_of_zero_is_refused() {
    let _ = PseudoLabelMatches::new(&truth(&[]), &[], 0.0);
}
