//! Datasets on disk, and what training and evaluation see of them.
//!
//! - COCO annotation files, folders of images: [`CocoIndex`], [`LabeledSet`], [`UnlabeledSet`].
//! - Which images are labeled: [`SplitManifest`].
//! - Views: [`ViewGeometry`] moves pixels and boxes alike, [`AugmentConfig`] says what is drawn,
//!   [`LabeledView`] and [`UnlabeledViews`] are one image's.
//! - Batches: [`TrainLoader`] and [`EvalLoader`].
//! - [`scenes`]: a generated dataset.

pub mod coco;
mod dataset;
mod error;
pub mod folder;
pub mod image;
pub(crate) mod json;
pub mod split;

mod augment;
mod eval_loader;
mod float_image;
mod geometry;
mod host_images;
mod image_cache;
pub mod image_ops;
mod invalid_config;
mod loader;
mod ordered;
mod random;
pub mod scenes;
mod shuffled_order;
mod strong;
mod timed_loader;
mod views;

pub use coco::{CocoAnnotation, CocoImage, CocoIndex, CocoLabels, InvalidBoxes};
pub use dataset::{Category, LabeledSample, LabeledSet, UnlabeledImage, UnlabeledSet};
pub use error::{BoxProblem, DataError};

pub use augment::AugmentConfig;
pub use eval_loader::{EvalBatch, EvalImage, EvalLoader, EvalLoaderConfig};
pub use float_image::FloatImage;
pub use geometry::ViewGeometry;
pub use host_images::{HostImages, HostViews};
pub use invalid_config::InvalidConfig;
pub use loader::{LoaderConfig, LoaderError, TrainBatch, TrainLoader};
pub use random::{HostRng, Purpose};
pub use split::SplitManifest;
pub use strong::{EraseConfig, StrongConfig};
pub use timed_loader::{TimedLoader, WaitClock};
pub use views::{LabeledView, UnlabeledViews};
