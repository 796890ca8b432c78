//! Training batches, prepared on worker threads.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::Device;
use sed_core::ImageSize;

use super::image_cache::{Decoder, ImageCache};
use super::loader_error::prepare;
use super::ordered::OrderedWorkers;
use super::shuffled_order::ShuffledOrder;
use super::unlabeled_order::UnlabeledOrder;
use super::{
    AugmentConfig, HostImages, HostRng, HostViews, LabeledSet, LabeledView, LoaderConfig, LoaderError,
    Purpose, SourceShare, TrainBatch, TrainSource, UnlabeledSet, UnlabeledViews,
};

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
