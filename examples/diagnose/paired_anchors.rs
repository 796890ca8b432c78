//! Which anchors a detector compares between two image sizes.

use sed::{
    core::{Detector, ImageSize},
    models::{faster_rcnn::FasterRcnn, retinanet::RetinaNet},
};

/// A detector that tells the boxes of the anchors that it compares between an image and its half-size view.
pub trait PairedAnchors: Detector {
    /// The boxes `[x1, y1, x2, y2]`, in pixels of a batch of this size, in the order of the first stage's `scale` pair.
    fn paired_anchors(&self, batch: ImageSize) -> Vec<[f32; 4]>;
}

impl PairedAnchors for RetinaNet {
    fn paired_anchors(&self, batch: ImageSize) -> Vec<[f32; 4]> {
        Self::paired_anchors(self, batch)
    }
}

impl PairedAnchors for FasterRcnn {
    fn paired_anchors(&self, batch: ImageSize) -> Vec<[f32; 4]> {
        Self::paired_anchors(self, batch)
    }
}
