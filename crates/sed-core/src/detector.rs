//! The interface between a detector and a semi-supervised trainer.

use burn::module::{Module, ModuleDisplay};

use crate::structures::{DetectionLoss, Detections, ImageBatch, StageViews, Targets, Views};

/// An object detector that can be trained by Scale-Equivalent Distillation.
///
/// A trainer needs three things of a detector: its supervised losses, its outputs on the three
/// views of unlabeled images, paired anchor by anchor, and its detections. How many stages it has
/// and how anchors pair between two image sizes is the detector's own business.
pub trait Detector: Module + ModuleDisplay + core::fmt::Display + 'static {
    /// The number of classes, background not counted.
    fn num_classes(&self) -> usize;

    /// The names of its stages, as they appear in the losses and in logs: `["head"]` for a one-stage
    /// detector, `["rpn", "roi"]` for a two-stage one.
    fn stages(&self) -> &'static [&'static str];

    /// Height and width of a batch must be multiples of this, so that the grids of an image and of
    /// its half-size view coincide level by level: twice the coarsest stride
    /// (128 for a pyramid up to P7, of which the half view uses up to P6).
    fn size_divisor(&self) -> usize;

    /// The losses on labeled images, one entry a stage; `targets` has one entry an image.
    ///
    /// Images without objects are allowed, and so is a batch of only such images.
    fn supervised_losses(&self, images: &ImageBatch, targets: &[Targets]) -> Vec<DetectionLoss>;

    /// The outputs of the student (`self`) and of the `teacher` for the views of unlabeled images,
    /// one entry a stage: for each view that is there the pair that it belongs to, for the others nothing, computation
    /// included.
    ///
    /// The teacher's outputs carry no gradient.
    fn compare_views(&self, teacher: &Self, views: &Views) -> Vec<StageViews>;

    /// The objects in each image; boxes in pixels of the batch, clipped to each image's valid size.
    fn detect(&self, images: &ImageBatch) -> Vec<Detections>;
}
