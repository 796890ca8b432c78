//! What flows between a data pipeline, a detector and the losses.
//!
//! Boxes are continuous `[x1, y1, x2, y2]` in pixels of the image they belong to; a box of width 1
//! has `x2 - x1 = 1`. Class ids are dense: `0..num_classes`, without a background class.

mod detections;
mod image_batch;
mod predictions;
mod targets;

pub use detections::Detections;
pub use image_batch::{ImageBatch, ImageSize, Views};
pub use predictions::{ClassActivation, DetectionLoss, Predictions, StageViews, ViewPair};
pub use targets::Targets;
