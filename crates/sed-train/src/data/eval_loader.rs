//! Batches for evaluation and prediction.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::Device;
use sed_core::{Detections, ImageSize};
use serde::{Deserialize, Serialize};

use super::image_cache::ImageCache;
use super::invalid_config::require;
use super::loader_error::prepare;
use super::ordered::OrderedWorkers;
use super::{FloatImage, HostImages, InvalidConfig, LabeledSet, LoaderError, ViewGeometry};

/// Size of the images and the batches of an evaluation.
///
/// ```
/// use sed_train::data::EvalLoaderConfig;
///
/// let config = EvalLoaderConfig { image_size: 128, batch: 4, ..EvalLoaderConfig::default() };
/// assert!(config.validate().is_ok());
/// let error = EvalLoaderConfig { batch: 0, ..config }.validate().unwrap_err();
/// assert_eq!(error.to_string(), "eval_loader.batch = 0: must be positive");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalLoaderConfig {
    /// Side of the square that each image is fitted and padded to, in pixels.
    pub image_size: usize,
    /// Images in a batch; the last one may have fewer.
    pub batch: usize,
    /// Threads that prepare batches; 0 prepares each when it is asked for.
    pub workers: usize,
    /// Batches prepared before they are asked for, at most.
    pub prefetch: usize,
    /// Decoded images are kept in memory up to this many bytes.
    pub cache_bytes: usize,
}

impl Default for EvalLoaderConfig {
    fn default() -> Self {
        Self { image_size: 512, batch: 8, workers: 1, prefetch: 2, cache_bytes: 64 << 20 }
    }
}

impl EvalLoaderConfig {
    /// Checks every field.
    ///
    /// # Errors
    ///
    /// The first field that is out of range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        for (field, value) in [
            ("eval_loader.image_size", self.image_size),
            ("eval_loader.batch", self.batch),
            ("eval_loader.prefetch", self.prefetch),
        ] {
            require(value > 0, field, value, "must be positive")?;
        }
        require(self.workers <= 1024, "eval_loader.workers", self.workers, "must be at most 1024")
    }
}

/// An image to be evaluated.
///
/// ```
/// use burn::data::dataloader::DataLoader;
/// use sed_core::ImageSize;
/// use sed_train::data::{EvalImage, EvalLoader, EvalLoaderConfig};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("a.png");
/// image::RgbImage::new(40, 30).save(&path)?;
/// let first = |listed_size| {
///     let image = EvalImage { id: 7, path: path.clone(), listed_size };
///     let loader = EvalLoader::from_images(vec![image], EvalLoaderConfig::default()).unwrap();
///     loader.iter().next().unwrap()
/// };
/// assert_eq!(first(None)?.ids, [7]);
/// assert!(first(Some(ImageSize::new(30, 40))).is_ok());
/// assert!(first(Some(ImageSize::new(60, 80))).is_err()); // boxes would be in the wrong places
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvalImage {
    /// The id that its detections carry.
    pub id: u64,
    /// The image file.
    pub path: PathBuf,
    /// The size that an annotation file gives, if one does: another size is then an error.
    pub listed_size: Option<ImageSize>,
}

/// Images for a detector, without augmentation.
///
/// ```
/// use sed_core::{Detections, ImageSize};
/// use sed_train::data::{EvalBatch, ViewGeometry};
///
/// let image = image::RgbImage::new(40, 20);
/// let geometry = ViewGeometry::scaled_to_fit(ImageSize::new(20, 40), 80, 1.0);
/// let batch = EvalBatch::single(7, &geometry.apply(&image), geometry);
/// assert_eq!((batch.images.height, batch.images.width), (80, 80));
/// // The image is shown twice as large, and boxes are clipped to it.
/// let found = Detections { boxes: vec![[10.0, 20.0, 30.0, 50.0]], scores: vec![0.9], labels: vec![0] };
/// assert_eq!(batch.to_original(0, &found).boxes, [[5.0, 10.0, 15.0, 20.0]]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct EvalBatch {
    /// The images, each fitted to the square and padded.
    pub images: HostImages,
    /// The id of each image.
    pub ids: Vec<u64>,
    /// How each image was scaled; `source` is its original size.
    pub geometries: Vec<ViewGeometry>,
}

impl EvalBatch {
    /// A batch of one image, cut from the original by `geometry`.
    ///
    /// # Panics
    ///
    /// If the view is larger than the geometry's output.
    pub fn single(id: u64, view: &FloatImage, geometry: ViewGeometry) -> Self {
        let mut images = HostImages::new(geometry.output);
        images.push(view);
        Self { images, ids: vec![id], geometries: vec![geometry] }
    }

    /// The detections of the batch's image `index` in pixels of the original image, clipped to it.
    ///
    /// # Panics
    ///
    /// If the batch has no such image.
    pub fn to_original(&self, index: usize, detections: &Detections) -> Detections {
        let geometry = &self.geometries[index];
        let (width, height) = (geometry.source.width as f32, geometry.source.height as f32);
        let original = |corners: &[f32; 4]| {
            let [x1, y1, x2, y2] = geometry.unmap_box(*corners);
            [x1.clamp(0.0, width), y1.clamp(0.0, height), x2.clamp(0.0, width), y2.clamp(0.0, height)]
        };
        Detections { boxes: detections.boxes.iter().map(original).collect(), ..detections.clone() }
    }
}

/// The images of a set in order, each with its longer side scaled to the batch's square.
///
/// As a [`DataLoader`] its items are images, and each `iter()` starts at the first.
///
/// ```
/// use burn::data::dataloader::DataLoader;
/// use sed_train::data::{EvalLoader, EvalLoaderConfig};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/scenes.rs")); }
/// # let dir = tempfile::tempdir()?;
/// # let setup::Sets { labeled, .. } = setup::sets(dir.path())?;
///
/// // `labeled` has four images.
/// let config = EvalLoaderConfig { image_size: 32, batch: 3, ..EvalLoaderConfig::default() };
/// let loader = EvalLoader::new(&labeled, config)?;
/// assert_eq!(loader.num_items(), 4);
/// for batch in loader.iter() {
///     let batch = batch?;
///     assert_eq!((batch.images.height, batch.images.width), (32, 32));
///     assert_eq!(batch.ids.len(), batch.images.len()); // three, then one
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct EvalLoader {
    source: Arc<Source>,
    part: Range<usize>,
}

struct Source {
    images: Vec<EvalImage>,
    config: EvalLoaderConfig,
    cache: ImageCache,
}

impl EvalLoader {
    /// A loader of the images of a set; their objects are not looked at.
    ///
    /// # Errors
    ///
    /// An invalid configuration or an empty set.
    pub fn new(set: &LabeledSet, config: EvalLoaderConfig) -> Result<Self, LoaderError> {
        let image = |sample: &super::LabeledSample| EvalImage {
            id: sample.id,
            path: sample.path.clone(),
            listed_size: Some(sample.size),
        };
        Self::from_images(set.samples.iter().map(image).collect(), config)
    }

    /// A loader of single images.
    ///
    /// # Errors
    ///
    /// An invalid configuration or no images.
    ///
    /// ```
    /// use burn::data::dataloader::DataLoader;
    /// use sed_train::data::{EvalImage, EvalLoader, EvalLoaderConfig};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("a.png");
    /// # image::RgbImage::new(40, 30).save(&path)?;
    /// let images = (1..4).map(|id| EvalImage { id, path: path.clone(), listed_size: None }).collect();
    /// let config = EvalLoaderConfig { image_size: 64, batch: 2, ..EvalLoaderConfig::default() };
    /// let loader = EvalLoader::from_images(images, config)?;
    /// let ids: Vec<_> = loader.iter().map(|batch| batch.unwrap().ids).collect();
    /// assert_eq!(ids, [vec![1, 2], vec![3]]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_images(images: Vec<EvalImage>, config: EvalLoaderConfig) -> Result<Self, LoaderError> {
        config.validate()?;
        if images.is_empty() {
            return Err(LoaderError::EmptySet { set: "evaluation" });
        }
        let part = 0..images.len();
        let cache = ImageCache::new(super::image::decode_as, config.cache_bytes);
        Ok(Self { source: Arc::new(Source { images, config, cache }), part })
    }
}

impl Source {
    fn batch(&self, number: usize, images: &[EvalImage]) -> Result<EvalBatch, LoaderError> {
        let side = self.config.image_size;
        let mut batch = EvalBatch {
            images: HostImages::new(ImageSize::new(side, side)),
            ids: Vec::new(),
            geometries: Vec::new(),
        };
        for image in images {
            let (pixels, geometry) = prepare(number, &image.path, || {
                let listed = image.listed_size.map(|size| (image.id, size));
                let pixels = self.cache.get(&image.path, listed)?;
                let size = ImageSize::new(pixels.height() as usize, pixels.width() as usize);
                let geometry = ViewGeometry::scaled_to_fit(size, side, 1.0);
                Ok((geometry.apply(&pixels), geometry))
            })?;
            batch.images.push(&pixels);
            batch.ids.push(image.id);
            batch.geometries.push(geometry);
        }
        Ok(batch)
    }
}

struct EvalIterator {
    batches: OrderedWorkers<Result<EvalBatch, LoaderError>>,
    number: usize,
    batch_size: usize,
    total: usize,
}

impl Iterator for EvalIterator {
    type Item = Result<EvalBatch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.batches.next()?;
        let batch = self.number;
        self.number += 1;
        let result = result.unwrap_or_else(|message| Err(LoaderError::Worker { batch, message }));
        Some(result.map_err(DatasetError::new))
    }
}

impl DataLoaderIterator<EvalBatch> for EvalIterator {
    fn progress(&self) -> Progress {
        let images = (self.number * self.batch_size).min(self.total);
        Progress::new(images, self.total, Some("images".to_owned()))
    }
}

impl DataLoader<EvalBatch> for EvalLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<EvalBatch> + 'a> {
        let config = &self.source.config;
        let (source, part, size) = (Arc::clone(&self.source), self.part.clone(), config.batch);
        let work = move |number: usize| {
            let start = part.start + number * size;
            source.batch(number, &source.images[start..(start + size).min(part.end)])
        };
        let batches = self.part.len().div_ceil(size);
        Box::new(EvalIterator {
            batches: OrderedWorkers::new(0..batches, config.workers, config.prefetch, Arc::new(work)),
            number: 0,
            batch_size: size,
            total: self.part.len(),
        })
    }

    /// The number of images.
    fn num_items(&self) -> usize {
        self.part.len()
    }

    /// The same loader: batches lie in host memory.
    fn to_device(&self, _device: &Device) -> Arc<dyn DataLoader<EvalBatch>> {
        Arc::new(self.clone())
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<EvalBatch>> {
        let offset = self.part.start;
        let part = offset + start..(offset + end).min(self.part.end);
        Arc::new(Self { source: Arc::clone(&self.source), part })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use image::{Rgb, RgbImage};

    use super::*;

    /// Five images of different sizes on disk, numbered from 10.
    fn images(folder: &Path) -> Vec<EvalImage> {
        let write = |(i, (width, height)): (usize, (u32, u32))| {
            let path = folder.join(format!("{i}.png"));
            RgbImage::from_pixel(width, height, Rgb([i as u8 * 20, 40, 60])).save(&path).unwrap();
            let listed_size = Some(ImageSize::new(height as usize, width as usize));
            EvalImage { id: 10 + i as u64, path, listed_size }
        };
        [(40, 30), (30, 40), (16, 16), (100, 20), (7, 9)].into_iter().enumerate().map(write).collect()
    }

    fn config(workers: usize) -> EvalLoaderConfig {
        EvalLoaderConfig { image_size: 32, batch: 2, workers, ..EvalLoaderConfig::default() }
    }

    fn all(loader: &dyn DataLoader<EvalBatch>) -> Vec<EvalBatch> {
        loader.iter().map(Result::unwrap).collect()
    }

    #[test]
    fn images_come_in_order_with_a_short_last_batch_for_any_number_of_threads() {
        let folder = tempfile::tempdir().unwrap();
        let images = images(folder.path());
        let expected = all(&EvalLoader::from_images(images.clone(), config(0)).unwrap());
        let ids: Vec<_> = expected.iter().map(|b| b.ids.clone()).collect();
        assert_eq!(ids, [vec![10, 11], vec![12, 13], vec![14]]);
        assert_eq!(expected[0].images.sizes, [ImageSize::new(24, 32), ImageSize::new(32, 24)]);
        for workers in [1, 2, 4] {
            let loader = EvalLoader::from_images(images.clone(), config(workers)).unwrap();
            assert_eq!(all(&loader), expected);
            // A second pass is the first again.
            assert_eq!(all(&loader), expected);
        }
    }

    #[test]
    fn detections_go_back_to_the_original_image() {
        let folder = tempfile::tempdir().unwrap();
        let loader = EvalLoader::from_images(images(folder.path()), config(0)).unwrap();
        let batch = &all(&loader)[1];
        // The image of 100×20 becomes 32×6 (6.4 rounded): 100/32 = 3.125 and 20/6 = 3.333.
        assert_eq!(batch.geometries[1].resized, ImageSize::new(6, 32));
        let detections = Detections {
            boxes: vec![[8.0, 3.0, 16.0, 6.0], [-4.0, 0.0, 40.0, 9.0]],
            scores: vec![0.9, 0.8],
            labels: vec![1, 0],
        };
        let original = batch.to_original(1, &detections);
        assert_eq!(original.boxes, [[25.0, 10.0, 50.0, 20.0], [0.0, 0.0, 100.0, 20.0]]);
        assert_eq!((original.scores, original.labels), (detections.scores, detections.labels));
    }

    #[test]
    fn slices_and_progress_count_images() {
        let folder = tempfile::tempdir().unwrap();
        let loader = EvalLoader::from_images(images(folder.path()), config(1)).unwrap();
        let slice = loader.slice(1, 4);
        assert_eq!((loader.num_items(), slice.num_items()), (5, 3));
        let ids: Vec<_> = all(slice.as_ref()).iter().flat_map(|b| b.ids.clone()).collect();
        assert_eq!(ids, [11, 12, 13]);
        let mut batches = slice.iter();
        batches.next();
        assert_eq!(batches.progress().items_processed, 2);
        batches.next();
        assert_eq!((batches.progress().items_processed, batches.progress().items_total), (3, 3));
    }

    #[test]
    fn bad_files_are_named_and_empty_sets_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut images = images(folder.path());
        images[3].path = folder.path().join("missing.png");
        images[4].listed_size = Some(ImageSize::new(1, 1));
        let loader = EvalLoader::from_images(images, config(1)).unwrap();
        let results: Vec<_> = loader.iter().collect();
        assert!(results[0].is_ok());
        let text = |i: usize| results[i].as_ref().unwrap_err().to_string();
        assert!(text(1).starts_with("batch 1: ") && text(1).contains("missing.png"));
        assert!(text(2).contains("4.png"));
        let empty = EvalLoader::from_images(Vec::new(), config(1));
        assert!(matches!(empty, Err(LoaderError::EmptySet { set: "evaluation" })));
    }
}
