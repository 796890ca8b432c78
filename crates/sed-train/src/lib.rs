//! Teacher-student training, data and evaluation for Scale-Equivalent Distillation.
//!
//! - [`checkpoint`]: what a run needs to go on after a stop.
//! - [`data`]: COCO files, splits, augmented views, loaders, a generated dataset.
//! - [`train`]: the mean teacher, the semi-supervised step, the run.
//! - [`eval`]: the COCO numbers.
//! - [`diagnostics`]: Figure 1 of the paper for any dataset and detector.
//! - [`report`]: what a run leaves in its folder.
//!
//! From annotations to the batches of a training, here of generated scenes:
//!
//! ```
//! use sed_train::data::scenes::{self, SceneConfig};
//! use sed_train::data::{AugmentConfig, CocoIndex, DataPolicy, LoaderConfig, SplitManifest, TrainLoader};
//!
//! # let dir = tempfile::tempdir()?;
//! # let folder = dir.path().join("scenes");
//! let config = SceneConfig { image_size: 32, train_images: 8, val_images: 1, ..SceneConfig::default() };
//! let paths = scenes::generate(&config, &folder)?;
//!
//! // A quarter of the images is labeled; labels of the others are never read.
//! let index = CocoIndex::read(&paths.train_annotations)?;
//! let split = SplitManifest::draw(&index, 25.0, 1)?;
//! let labels = index.labels(&split.labeled, DataPolicy::STRICT)?;
//! let labeled = index.labeled_set(&paths.train_images, &labels)?;
//! let unlabeled = index.unlabeled_set(&paths.train_images, &split.unlabeled)?;
//! assert_eq!((labeled.len(), unlabeled.len()), (2, 6));
//!
//! let augment = AugmentConfig { image_size: 32, ..AugmentConfig::default() };
//! let config = LoaderConfig { labeled_batch: 2, unlabeled_batch: 2, ..LoaderConfig::default() };
//! let batch = TrainLoader::new(labeled, unlabeled, augment, config)?.batch(0)?;
//! assert_eq!(batch.targets.len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`train::train`] goes on from there.

#![warn(missing_docs)]
#![deny(unsafe_code)]

pub mod checkpoint;
pub mod data;
pub mod diagnostics;
pub mod eval;
pub mod report;
pub mod train;

#[cfg(test)]
mod test_data;
