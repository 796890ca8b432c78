use crate::data::{Category, CocoIndex, CocoLabels};

/// One labeled object, as the COCO protocol counts it.
#[derive(Debug, Clone, PartialEq)]
pub struct GroundTruthBox {
    /// The id of its image.
    pub image_id: u64,
    /// Its dense class id.
    pub label: usize,
    /// `[x, y, width, height]` in pixels of the original image, not clipped.
    pub bbox: [f64; 4],
    /// The area in pixels² that decides whether it is small (up to 32²), medium (up to 96²) or
    /// large. COCO gives the area of the object's mask here, which is less than that of its box.
    pub area: f64,
    /// Whether it is a crowd region: detections in it count neither as right nor as wrong.
    pub iscrowd: bool,
}

/// What evaluation compares detections with.
#[derive(Debug, Clone, PartialEq)]
pub struct GroundTruth {
    /// All images that are evaluated, also those without objects: a detection there is wrong.
    pub image_ids: Vec<u64>,
    /// The classes, in the order of the dense class ids.
    pub categories: Vec<Category>,
    /// The objects.
    pub boxes: Vec<GroundTruthBox>,
}

impl GroundTruth {
    /// The ground truth of the images of `labels`, which were read through `index`.
    pub fn from_coco(index: &CocoIndex, labels: &CocoLabels) -> Self {
        let boxes = labels.annotations().iter().map(|annotation| GroundTruthBox {
            image_id: annotation.image_id,
            label: annotation.label,
            bbox: annotation.bbox,
            area: annotation.area,
            iscrowd: annotation.iscrowd,
        });
        Self {
            image_ids: labels.image_ids().to_vec(),
            categories: index.categories().to_vec(),
            boxes: boxes.collect(),
        }
    }
}
