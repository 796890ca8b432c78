//! Datasets on disk: COCO annotation files, folders of images, splits.

pub mod coco;
mod dataset;
mod error;
pub mod folder;
pub mod image;
pub(crate) mod json;
pub mod split;

pub use coco::{CocoAnnotation, CocoImage, CocoIndex, CocoLabels, InvalidBoxes};
pub use dataset::{Category, LabeledSample, LabeledSet, UnlabeledImage, UnlabeledSet};
pub use error::{BoxProblem, DataError};
pub use split::SplitManifest;
