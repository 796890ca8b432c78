use crate::data::{Category, CocoIndex, CocoLabels};

/// One labeled object, as the COCO protocol counts it.
///
/// ```
/// use sed_train::eval::GroundTruthBox;
///
/// let bbox = [10., 10., 40., 30.];
/// let object = GroundTruthBox { image_id: 7, label: 0, bbox, area: bbox[2] * bbox[3], iscrowd: false };
/// assert!(object.area > 32.0 * 32.0); // medium
/// ```
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
///
/// ```
/// use sed_train::data::{CocoIndex, DataPolicy};
/// use sed_train::eval::GroundTruth;
///
/// # let dir = tempfile::tempdir()?;
/// # let file = dir.path().join("val.json");
/// std::fs::write(&file, r#"{
///     "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30},
///                {"id": 8, "file_name": "b.png", "width": 40, "height": 30}],
///     "categories": [{"id": 3, "name": "screw"}],
///     "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [30, 10, 20, 10]}]
/// }"#)?;
/// let index = CocoIndex::read(&file)?;
/// let labels = index.labels(&index.image_ids(), DataPolicy::STRICT)?;
/// let truth = GroundTruth::from_coco(&index, &labels);
/// assert_eq!(truth.image_ids, [7, 8]); // detections in the empty image 8 are wrong
/// assert_eq!(truth.boxes[0].bbox, [30., 10., 20., 10.]); // not clipped
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
