//! How training batches are put together.

use serde::{Deserialize, Serialize};

use super::invalid_config::require;
use super::{InvalidConfig, SourceShare};

/// Sizes of the batches, and how they are prepared.
///
/// ```
/// use sed_train::data::LoaderConfig;
///
/// let config = LoaderConfig { labeled_batch: 4, unlabeled_batch: 8, workers: 2, ..LoaderConfig::default() };
/// assert!(config.validate().is_ok());
///
/// let error = LoaderConfig { labeled_batch: 0, ..config }.validate().unwrap_err();
/// assert_eq!(error.field, "loader.labeled_batch");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoaderConfig {
    /// Seed of the order of the images and of their augmentation.
    pub seed: u64,
    /// Labeled images in a batch, `n_s`.
    pub labeled_batch: usize,
    /// Unlabeled images in a batch, `n_u`; 0 for supervised training.
    pub unlabeled_batch: usize,
    /// The sources that the unlabeled images come from, one after another in the order of the set, if some are to be drawn from more
    /// often than others; empty to draw all images equally often.
    pub unlabeled_sources: Vec<SourceShare>,
    /// Batches in one pass of the training engine's loop.
    pub iterations_per_epoch: usize,
    /// Threads that prepare batches; 0 prepares each when it is asked for.
    pub workers: usize,
    /// Batches prepared before they are asked for, at most.
    pub prefetch: usize,
    /// Decoded images are kept in memory up to this many bytes; those in shards are not.
    pub cache_bytes: usize,
    /// Unlabeled images in [shards](super::UnlabeledSet::from_shards) that are read together, in sequence, and drawn in a random order. Their
    /// files are in memory, twice as many while one such group follows another.
    pub shuffle_buffer: usize,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            labeled_batch: 8,
            unlabeled_batch: 8,
            unlabeled_sources: Vec::new(),
            iterations_per_epoch: 100,
            workers: 1,
            prefetch: 4,
            cache_bytes: 256 << 20,
            shuffle_buffer: 1000,
        }
    }
}

impl LoaderConfig {
    /// Checks every field.
    ///
    /// # Errors
    ///
    /// The first field that is out of range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        for (field, value) in [
            ("loader.labeled_batch", self.labeled_batch),
            ("loader.iterations_per_epoch", self.iterations_per_epoch),
            ("loader.prefetch", self.prefetch),
            ("loader.shuffle_buffer", self.shuffle_buffer),
        ] {
            require(value > 0, field, value, "must be positive")?;
        }
        require(self.workers <= 1024, "loader.workers", self.workers, "must be at most 1024")
    }
}
