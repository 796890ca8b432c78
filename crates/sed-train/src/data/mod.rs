//! Datasets on disk, and what training and evaluation see of them.
//!
//! - COCO annotation files, folders of VOC annotations, folders and tar files of images: [`CocoIndex`], [`LabeledSet`],
//!   [`UnlabeledSet`].
//! - What happens to data that cannot be used: [`DataPolicy`], [`DataReport`].
//! - Which images are labeled: [`SplitManifest`].
//! - Views: [`ViewGeometry`] moves pixels and boxes alike, [`AugmentConfig`] says what is drawn,
//!   [`LabeledView`] and [`UnlabeledViews`] are one image's.
//! - Batches: [`TrainLoader`] and [`EvalLoader`].
//! - [`scenes`]: a generated dataset.

pub mod check;
pub mod coco;
mod dataset;
mod error;
mod files;
pub mod folder;
pub mod image;
mod jpeg;
pub(crate) mod json;
mod policy;
mod problem;
mod records;
pub mod split;
mod split_list;
pub mod voc;

mod augment;
mod eval_loader;
mod fingerprint;
mod float_image;
mod geometry;
mod host_images;
#[cfg(test)]
mod hostile_tests;
mod id_set;
mod image_cache;
pub mod image_ops;
mod invalid_config;
mod leaks;
mod loader;
mod loader_config;
mod loader_error;
mod ordered;
mod random;
pub mod scenes;
mod shards;
mod short_side;
mod shuffled_order;
mod strong;
mod timed_loader;
mod train_source;
mod unlabeled_order;
mod usable;
mod views;

pub use coco::{CocoAnnotation, CocoImage, CocoIndex, CocoLabels};
pub use dataset::{Category, LabeledSample, LabeledSet, UnlabeledImage, UnlabeledSet};
pub use error::{BoxProblem, DataError, TextPosition};
pub use policy::{DataPolicy, PolicyMode, SkipBound};
pub use problem::{DataProblem, DataReport, Unit};

pub use augment::AugmentConfig;
pub use eval_loader::{EvalBatch, EvalImage, EvalLoader, EvalLoaderConfig};
pub use float_image::FloatImage;
pub use geometry::ViewGeometry;
pub use host_images::{HostImages, HostViews};
pub use invalid_config::InvalidConfig;
pub use leaks::validation_leaks;
pub use loader::TrainLoader;
pub use loader_config::LoaderConfig;
pub use loader_error::LoaderError;
pub use random::{HostRng, Purpose};
pub use shards::FileSpan;
pub use short_side::ShortSideResize;
pub use split::SplitManifest;
pub use split_list::{ListedNumbers, SplitListError};
pub use strong::{EraseConfig, StrongConfig};
pub use timed_loader::{TimedLoader, WaitClock};
pub use train_source::{TrainBatch, TrainSource};
pub use unlabeled_order::SourceShare;
pub use views::{LabeledView, UnlabeledViews};
