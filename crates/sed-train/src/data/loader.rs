//! Training batches, prepared on worker threads.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::Device;
use sed_core::{ImageSize, Targets};
use serde::{Deserialize, Serialize};

use super::image_cache::{Decoder, ImageCache};
use super::invalid_config::require;
use super::loader_error::prepare;
use super::ordered::OrderedWorkers;
use super::shuffled_order::ShuffledOrder;
use super::unlabeled_order::UnlabeledOrder;
use super::{
    AugmentConfig, HostImages, HostRng, HostViews, InvalidConfig, LabeledSet, LabeledView, LoaderError,
    Purpose, SourceShare, UnlabeledSet, UnlabeledViews,
};

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
    /// Unlabeled images in [shards](UnlabeledSet::from_shards) that are read together, in sequence, and drawn in a random order. Their
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

/// Batches of augmented images, in order, prepared on worker threads.
///
/// The content of a batch depends on the sets, the configurations and the iteration alone: neither
/// on the number of threads nor on the batches before it. Each set is visited in passes, every
/// image once a pass, in a new random order each time; images are numbered through the iterations,
/// so a pass may end within a batch. Those in [shards](UnlabeledSet::from_shards) are mixed
/// [`shuffle_buffer`](LoaderConfig::shuffle_buffer) at a time. Unlabeled images of several [sources](LoaderConfig::unlabeled_sources)
/// are drawn in proportion to the sources' weights, and each source has passes of its own.
///
/// As a [`DataLoader`] its items are batches. Each `iter()` yields those up to the end of the epoch, the next multiple of
/// [`iterations_per_epoch`](LoaderConfig::iterations_per_epoch), from where the one before ended. An image that cannot be read arrives as an error at its iteration (a
/// [`LoaderError`] as the source of Burn's error), and a panic of a worker does too.
///
/// ```
/// use burn::data::dataloader::DataLoader;
/// use sed_train::data::{AugmentConfig, LoaderConfig, LoaderError, TrainLoader, UnlabeledSet};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/scenes.rs")); }
/// # let dir = tempfile::tempdir()?;
/// # let setup::Sets { labeled, unlabeled, .. } = setup::sets(dir.path())?;
///
/// // `labeled` and `unlabeled` have four images each.
/// let augment = AugmentConfig { image_size: 32, ..AugmentConfig::default() };
/// let config = LoaderConfig {
///     labeled_batch: 2,
///     unlabeled_batch: 2,
///     iterations_per_epoch: 3,
///     workers: 2,
///     ..LoaderConfig::default()
/// };
/// let loader = TrainLoader::new(labeled.clone(), unlabeled, augment.clone(), config.clone())?;
/// for (iteration, batch) in loader.iter().enumerate() {
///     assert_eq!(batch?, loader.batch(iteration)?);
/// }
/// assert_eq!(loader.next_iteration(), 3);
///
/// let without = TrainLoader::new(labeled, UnlabeledSet::default(), augment, config);
/// assert!(matches!(without, Err(LoaderError::EmptySet { set: "unlabeled" })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TrainLoader {
    source: Arc<Source>,
    /// The iteration of the next batch; for a slice, of the next epoch.
    next: Arc<AtomicUsize>,
    /// Whether the next `iter()` is that of an epoch which has no batches left.
    epoch_is_over: Arc<AtomicBool>,
    /// The part of each epoch that this loader yields.
    part: Range<usize>,
}

struct Source {
    labeled: LabeledSet,
    unlabeled: UnlabeledSet,
    augment: AugmentConfig,
    config: LoaderConfig,
    cache: ImageCache,
    labeled_order: ShuffledOrder,
    unlabeled_order: UnlabeledOrder,
}

impl TrainLoader {
    /// A loader that starts at iteration 0.
    ///
    /// # Errors
    ///
    /// An invalid configuration, or a set without images of which a batch needs some.
    pub fn new(
        labeled: LabeledSet,
        unlabeled: UnlabeledSet,
        augment: AugmentConfig,
        config: LoaderConfig,
    ) -> Result<Self, LoaderError> {
        Self::with_decoder(labeled, unlabeled, augment, config, super::image::decode_as)
    }

    fn with_decoder(
        labeled: LabeledSet,
        unlabeled: UnlabeledSet,
        augment: AugmentConfig,
        config: LoaderConfig,
        decode: Decoder,
    ) -> Result<Self, LoaderError> {
        config.validate()?;
        augment.validate()?;
        if labeled.is_empty() {
            return Err(LoaderError::EmptySet { set: "labeled" });
        }
        if config.unlabeled_batch > 0 && unlabeled.is_empty() {
            return Err(LoaderError::EmptySet { set: "unlabeled" });
        }
        if config.unlabeled_batch > 0 {
            SourceShare::validate(&config.unlabeled_sources, unlabeled.len())?;
        }
        let part = 0..config.iterations_per_epoch;
        // Where nothing is drawn, what the sources are is of no importance, and they were not looked at.
        let (sources, images) = match config.unlabeled_batch {
            0 => (&[][..], &[][..]),
            _ => (config.unlabeled_sources.as_slice(), unlabeled.images.as_slice()),
        };
        let source = Source {
            labeled_order: ShuffledOrder::new(config.seed, Purpose::LabeledOrder, 0, labeled.len()),
            unlabeled_order: UnlabeledOrder::new(config.seed, sources, images, config.shuffle_buffer),
            cache: ImageCache::new(decode, config.cache_bytes),
            labeled,
            unlabeled,
            augment,
            config,
        };
        Ok(Self { source: Arc::new(source), next: Arc::default(), epoch_is_over: Arc::default(), part })
    }

    /// The batch of an iteration, prepared on the caller's thread.
    ///
    /// # Errors
    ///
    /// The first image that cannot be read.
    pub fn batch(&self, iteration: usize) -> Result<TrainBatch, LoaderError> {
        self.source.batch(iteration)
    }

    /// The iteration that the next `iter()` starts at.
    pub fn next_iteration(&self) -> usize {
        self.next.load(Ordering::SeqCst)
    }

    fn is_whole(&self) -> bool {
        self.part == (0..self.source.config.iterations_per_epoch)
    }
}

impl TrainSource for TrainLoader {
    fn iterations_per_epoch(&self) -> usize {
        self.source.config.iterations_per_epoch
    }

    /// Clones of this loader share the position.
    fn resume_at(&self, iteration: usize, epoch_is_over: bool) {
        self.next.store(iteration, Ordering::SeqCst);
        self.epoch_is_over.store(epoch_is_over, Ordering::SeqCst);
    }
}

impl Source {
    fn batch(&self, iteration: usize) -> Result<TrainBatch, LoaderError> {
        let side = self.augment.image_size;
        let empty = HostImages::new(ImageSize::new(side, side));
        let mut labeled = empty.clone();
        let (mut targets, mut labeled_ids) = (Vec::new(), Vec::new());
        for slot in 0..self.config.labeled_batch {
            let position = iteration * self.config.labeled_batch + slot;
            let sample = &self.labeled.samples[self.labeled_order.item(position)];
            let mut rng = self.rng(Purpose::LabeledView, iteration, slot);
            let view = prepare(iteration, &sample.path, || {
                let image = self.cache.get(&sample.path, Some((sample.id, sample.size)))?;
                Ok(LabeledView::sample(&image, &sample.targets, &self.augment, &mut rng))
            })?;
            labeled.push(&view.image);
            targets.push(view.targets);
            labeled_ids.push(sample.id);
        }
        let unlabeled = if self.config.unlabeled_batch == 0 {
            None
        } else {
            let mut views = HostViews { weak: empty.clone(), strong: empty, keys: Vec::new() };
            for slot in 0..self.config.unlabeled_batch {
                let position = iteration * self.config.unlabeled_batch + slot;
                let (number, window) = self.unlabeled_order.draw(position);
                let file = &self.unlabeled.images[number];
                let mut rng = self.rng(Purpose::UnlabeledView, iteration, slot);
                let view = prepare(iteration, &file.place(), || {
                    let image = match window.filter(|_| file.span.is_some()) {
                        None => self.cache.get(&file.path, None)?,
                        Some(window) => {
                            let bytes = window.take(number, &self.unlabeled.images)?;
                            Arc::new(super::image::decode_bytes(&file.place(), &bytes)?)
                        }
                    };
                    Ok(UnlabeledViews::sample(&image, &self.augment, &mut rng))
                })?;
                views.weak.push(&view.weak);
                views.strong.push(&view.strong);
                views.keys.push(file.key.clone());
            }
            Some(views)
        };
        Ok(TrainBatch { iteration, labeled, targets, labeled_ids, unlabeled })
    }

    fn rng(&self, purpose: Purpose, iteration: usize, slot: usize) -> HostRng {
        HostRng::new(self.config.seed, purpose, iteration as u64, slot as u64)
    }
}

struct TrainIterator {
    batches: OrderedWorkers<Result<TrainBatch, LoaderError>>,
    start: usize,
    yielded: usize,
    total: usize,
    /// The loader's counter, if each batch moves it.
    next: Option<Arc<AtomicUsize>>,
}

impl Iterator for TrainIterator {
    type Item = Result<TrainBatch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.batches.next()?;
        let batch = self.start + self.yielded;
        self.yielded += 1;
        if let Some(next) = &self.next {
            next.store(batch + 1, Ordering::SeqCst);
        }
        let result = result.unwrap_or_else(|message| Err(LoaderError::Worker { batch, message }));
        Some(result.map_err(DatasetError::new))
    }
}

impl DataLoaderIterator<TrainBatch> for TrainIterator {
    fn progress(&self) -> Progress {
        Progress::new(self.yielded, self.total, Some("batches".to_owned()))
    }
}

impl DataLoader<TrainBatch> for TrainLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<TrainBatch> + 'a> {
        let config = &self.source.config;
        let (range, next) = if self.is_whole() {
            let start = self.next_iteration();
            let end = match self.epoch_is_over.swap(false, Ordering::SeqCst) {
                true => start,
                false => (start + 1).next_multiple_of(config.iterations_per_epoch),
            };
            (start..end, Some(Arc::clone(&self.next)))
        } else {
            let epoch = self.next.fetch_add(config.iterations_per_epoch, Ordering::SeqCst);
            (epoch + self.part.start..epoch + self.part.end, None)
        };
        let source = Arc::clone(&self.source);
        Box::new(TrainIterator {
            start: range.start,
            yielded: 0,
            total: range.len(),
            next,
            batches: OrderedWorkers::new(
                range,
                config.workers,
                config.prefetch,
                Arc::new(move |iteration| source.batch(iteration)),
            ),
        })
    }

    /// The number of batches of a whole epoch.
    fn num_items(&self) -> usize {
        self.part.len()
    }

    /// A loader that shares this one's position: batches lie in host memory.
    fn to_device(&self, _device: &Device) -> Arc<dyn DataLoader<TrainBatch>> {
        Arc::new(self.clone())
    }

    /// A loader of the batches `start..end` of each epoch, with a position of its own: each `iter()`
    /// moves it by a whole epoch.
    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<TrainBatch>> {
        let offset = self.part.start;
        Arc::new(Self {
            source: Arc::clone(&self.source),
            next: Arc::new(AtomicUsize::new(self.next_iteration())),
            epoch_is_over: Arc::clone(&self.epoch_is_over),
            part: offset + start..(offset + end).min(self.part.end),
        })
    }
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
