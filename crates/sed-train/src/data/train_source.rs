//! Training batches and where they come from.

use burn::data::dataloader::DataLoader;
use sed_core::Targets;

use super::{HostImages, HostViews};

/// What one training step sees.
///
/// ```
/// use burn::tensor::Device;
/// use sed_train::data::{AugmentConfig, LoaderConfig, TrainLoader};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/scenes.rs")); }
/// # let dir = tempfile::tempdir()?;
/// # let setup::Sets { labeled, unlabeled, .. } = setup::sets(dir.path())?;
///
/// // `labeled` and `unlabeled` have four images each.
/// let augment = AugmentConfig { image_size: 32, ..AugmentConfig::default() };
/// let config = LoaderConfig { labeled_batch: 2, unlabeled_batch: 3, ..LoaderConfig::default() };
/// let batch = TrainLoader::new(labeled, unlabeled, augment, config)?.batch(0)?;
///
/// assert_eq!((batch.labeled.len(), batch.targets.len(), batch.labeled_ids.len()), (2, 2, 2));
/// let views = batch.unlabeled.unwrap();
/// assert_eq!(views.keys.len(), 3);
/// assert_eq!(views.to_views(&Device::default()).strong.pixels.dims(), [3, 3, 32, 32]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TrainBatch {
    /// The number of the training step, from 0.
    pub iteration: usize,
    /// The labeled images.
    pub labeled: HostImages,
    /// The objects of each labeled image, in its pixels.
    pub targets: Vec<Targets>,
    /// The ids of the labeled images in their annotation file.
    pub labeled_ids: Vec<u64>,
    /// The unlabeled images, if the batch has any.
    pub unlabeled: Option<HostViews>,
}

/// Batches of a training, in order, that a run can go on with at any of them.
///
/// Each `iter()` yields the batches up to the end of the epoch, from where the one before ended.
///
/// ```
/// use sed_train::data::{AugmentConfig, LoaderConfig, TrainLoader, TrainSource};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/scenes.rs")); }
/// # let dir = tempfile::tempdir()?;
/// # let setup::Sets { labeled, unlabeled, .. } = setup::sets(dir.path())?;
///
/// // `labeled` and `unlabeled` have four images each.
/// let augment = AugmentConfig { image_size: 32, ..AugmentConfig::default() };
/// let config = LoaderConfig { labeled_batch: 1, iterations_per_epoch: 5, ..LoaderConfig::default() };
/// let loader = TrainLoader::new(labeled, unlabeled, augment, config)?;
/// let source: &dyn TrainSource = &loader;
/// assert_eq!(source.iterations_per_epoch(), 5);
///
/// source.resume_at(3, false); // the run was stopped after three steps
/// let iterations: Vec<usize> = source.iter().map(|batch| batch.unwrap().iteration).collect();
/// assert_eq!(iterations, [3, 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait TrainSource: DataLoader<TrainBatch> {
    /// Batches of one epoch.
    fn iterations_per_epoch(&self) -> usize;

    /// Goes on at an iteration, as when a run is resumed: the next `iter()` starts there.
    ///
    /// At the end of an epoch, `epoch_is_over` says that what follows the epoch's batches is still to be done: the next `iter()` is
    /// then that of the old epoch and yields nothing, and the one after it starts the next.
    fn resume_at(&self, iteration: usize, epoch_is_over: bool);
}
