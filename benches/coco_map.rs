//! The COCO protocol on 500 images of 7 objects and 100 detections each, 80 classes; half of the objects are found,
//! more or less exactly. The same data are written as COCO files for the peer.

mod common;

use std::fs;

use common::{data_folder, long, unit};
use criterion::{Criterion, criterion_group, criterion_main};
use sed_train::{
    data::Category,
    eval::{CocoEvaluator, CocoResult, DetectionEvaluator, GroundTruth, GroundTruthBox, write_coco_results},
};
use serde_json::json;

const IMAGES: usize = 500;
const OBJECTS: usize = 7;
const DETECTIONS: usize = 100;
const CLASSES: usize = 80;

/// The part `axis` of item `index`, in `[0, 1)`.
fn part(index: usize, axis: usize) -> f64 {
    unit((index * 8 + axis) as u32).into()
}

fn class(index: usize) -> usize {
    (part(index, 4) * CLASSES as f64) as usize
}

/// `[x, y, width, height]` in an image of 640×480.
fn bbox(index: usize) -> [f64; 4] {
    let [w, h] = [2, 3].map(|axis| 8.0 + 200.0 * part(index, axis).powi(2));
    [part(index, 0) * (640.0 - w), part(index, 1) * (480.0 - h), w, h]
}

fn truth() -> GroundTruth {
    let object = |index: usize| {
        let bbox = bbox(index);
        GroundTruthBox {
            image_id: (index / OBJECTS) as u64 + 1,
            label: class(index),
            bbox,
            area: bbox[2] * bbox[3],
            iscrowd: false,
        }
    };
    GroundTruth {
        image_ids: (1..=IMAGES as u64).collect(),
        categories: (1..=CLASSES as u64).map(|id| Category { id, name: format!("class {id}") }).collect(),
        boxes: (0..IMAGES * OBJECTS).map(object).collect(),
    }
}

fn results() -> Vec<CocoResult> {
    let result = |index: usize| {
        let (image, nth) = (index / DETECTIONS, index % DETECTIONS);
        // The first fourteen look at an object each, the others anywhere.
        let near = image * OBJECTS + nth % OBJECTS;
        let (label, mut found) = match nth < 2 * OBJECTS && part(index, 5) < 0.5 {
            true => (class(near), bbox(near)),
            false => (class(index + 1_000_000), bbox(index + 1_000_000)),
        };
        found[0] += found[2] * 0.4 * (part(index, 6) - 0.5);
        CocoResult {
            image_id: image as u64 + 1,
            category_id: label as u64 + 1,
            bbox: found,
            score: part(index, 7),
        }
    };
    (0..IMAGES * DETECTIONS).map(result).collect()
}

fn write(truth: &GroundTruth, results: &[CocoResult]) {
    let folder = data_folder();
    fs::create_dir_all(&folder).expect("a folder for COCO files");
    let annotations = truth.boxes.iter().enumerate().map(|(index, object)| {
        json!({
            "id": index + 1, "image_id": object.image_id, "category_id": object.label + 1,
            "bbox": object.bbox, "area": object.area, "iscrowd": 0,
        })
    });
    let dataset = json!({
        "images": truth.image_ids.iter().map(|id| json!({"id": id, "width": 640, "height": 480})).collect::<Vec<_>>(),
        "categories": truth.categories,
        "annotations": annotations.collect::<Vec<_>>(),
    });
    fs::write(folder.join("coco_truth.json"), dataset.to_string()).expect("the annotations are written");
    write_coco_results(folder.join("coco_results.json"), results).expect("the results are written");
}

fn protocol(criterion: &mut Criterion) {
    long(criterion, "map").bench_function("coco", |b| {
        let (truth, results) = (truth(), results());
        write(&truth, &results);
        b.iter(|| CocoEvaluator.evaluate_results(&truth, &results).expect("valid results"));
    });
}

criterion_group!(benches, protocol);
criterion_main!(benches);
