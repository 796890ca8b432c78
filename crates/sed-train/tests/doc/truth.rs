// True objects and detections for the examples of the documentation, which include this file.

use sed_core::Detections;
use sed_train::{
    data::Category,
    eval::{GroundTruth, GroundTruthBox, ImageDetections},
};

/// A screw (class 1) at `[10, 10, 50, 50]` in image 1, no nut (class 0), and nothing in image 2.
pub fn truth() -> GroundTruth {
    let bbox = [10., 10., 40., 40.];
    GroundTruth {
        image_ids: vec![1, 2],
        categories: vec![Category { id: 3, name: "nut".into() }, Category { id: 90, name: "screw".into() }],
        boxes: vec![GroundTruthBox { image_id: 1, label: 1, bbox, area: 1600., iscrowd: false }],
    }
}

/// A detection with the screw's box.
pub fn found(image_id: u64, label: usize, score: f32) -> ImageDetections {
    let detections =
        Detections { boxes: vec![[10., 10., 50., 50.]], scores: vec![score], labels: vec![label] };
    ImageDetections { image_id, detections }
}
