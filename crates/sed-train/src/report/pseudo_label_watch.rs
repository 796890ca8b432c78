//! The same unlabeled images, looked at again and again during a run.

use std::path::PathBuf;

use burn::{
    data::{dataloader::DataLoader, dataset::DatasetError},
    tensor::Device,
};
use sed_core::{Detections, ImageBatch, Targets};

use super::{Figure, PictureConfig, PseudoLabelSnapshot, draw_detections};
use crate::{
    data::{
        DataError, EvalImage, EvalLoader, EvalLoaderConfig, LabeledSet, LoaderError, UnlabeledSet, image,
    },
    eval::{EvalError, GroundTruth, ImageDetections},
};

/// How a [`PseudoLabelWatch`] looks.
///
/// ```
/// use sed_train::data::UnlabeledSet;
/// use sed_train::report::{PseudoLabelWatch, WatchConfig};
///
/// let config = WatchConfig { image_size: 512, threshold: 0.7, pictures: 4 };
/// // Without images there is nothing to watch.
/// assert!(PseudoLabelWatch::of_unlabeled(&UnlabeledSet::default(), vec!["nut".into()], config).is_err());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct WatchConfig {
    /// Side of the square that images are fitted into, in pixels, as in validation.
    pub image_size: usize,
    /// The least score of a pseudo-label.
    pub threshold: f32,
    /// The first so many images are drawn.
    pub pictures: usize,
}

/// Unlabeled images on which a teacher's detections are counted and drawn after any number of iterations.
///
/// True objects of such images serve to measure alone: no result is an input of a training.
///
/// ```
/// use burn::tensor::Device;
/// use sed_core::Detections;
/// use sed_train::report::{PseudoLabelWatch, WatchConfig};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/scenes.rs")); }
/// # let dir = tempfile::tempdir()?;
/// # let setup::Sets { index, labels, unlabeled, .. } = setup::sets(dir.path())?;
///
/// // `unlabeled` has four images.
/// let names = index.categories().iter().map(|category| category.name.clone()).collect();
/// let config = WatchConfig { image_size: 32, threshold: 0.7, pictures: 1 };
/// let watch = PseudoLabelWatch::of_unlabeled(&unlabeled, names, config)?;
/// // A detector that is sure of one object in each image.
/// let found = Detections { boxes: vec![[4., 4., 20., 20.]], scores: vec![0.9], labels: vec![0] };
/// let snapshot = watch.look(100, &Device::default(), |images| vec![found.clone(); images.sizes.len()])?;
/// assert_eq!((snapshot.iteration, snapshot.images, snapshot.labels), (100, 4, 4));
/// assert_eq!(snapshot.pictures.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PseudoLabelWatch {
    loader: EvalLoader,
    images: Vec<Watched>,
    truth: Option<GroundTruth>,
    names: Vec<String>,
    config: WatchConfig,
}

struct Watched {
    name: String,
    path: PathBuf,
    targets: Targets,
}

/// Why the images could not be looked at.
///
/// ```
/// use burn::tensor::Device;
/// use sed_core::Detections;
/// use sed_train::eval::EvalError;
/// use sed_train::report::{PseudoLabelWatch, WatchConfig, WatchError};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/scenes.rs")); }
/// # let dir = tempfile::tempdir()?;
/// # let setup::Sets { index, labels, labeled, .. } = setup::sets(dir.path())?;
///
/// // `labeled` has four images.
/// # let truth = sed_train::eval::GroundTruth::from_coco(&index, &labels);
/// let config = WatchConfig { image_size: 32, threshold: 0.7, pictures: 0 };
/// let watch = PseudoLabelWatch::of_hidden(&labeled, truth, config)?;
/// // A detector of other classes.
/// let found = Detections { boxes: vec![[4., 4., 20., 20.]], scores: vec![0.9], labels: vec![80] };
/// let looked = watch.look(100, &Device::default(), |images| vec![found.clone(); images.sizes.len()]);
/// assert!(matches!(looked, Err(WatchError::Evaluation(EvalError::UnknownClass { label: 80, .. }))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// There are no images, or an option is out of range.
    #[error(transparent)]
    Loader(#[from] LoaderError),
    /// An image cannot be read.
    #[error(transparent)]
    Batch(#[from] DatasetError),
    /// An image cannot be drawn.
    #[error(transparent)]
    Image(#[from] DataError),
    /// Detections do not fit the true objects.
    #[error(transparent)]
    Evaluation(#[from] EvalError),
}

impl PseudoLabelWatch {
    /// Watches all images of a set of which nothing is known, but for those in shards; `names` are those of the detector's classes.
    ///
    /// # Errors
    ///
    /// If there is no image, or the image size is 0.
    pub fn of_unlabeled(
        set: &UnlabeledSet,
        names: Vec<String>,
        config: WatchConfig,
    ) -> Result<Self, WatchError> {
        let image = |(image, id): (&crate::data::UnlabeledImage, u64)| {
            let watched =
                Watched { name: image.key.clone(), path: image.path.clone(), targets: Targets::default() };
            (EvalImage { id, path: image.path.clone(), listed_size: None }, watched)
        };
        let files = set.images.iter().filter(|image| image.span.is_none());
        let (images, watched) = files.zip(0..).map(image).unzip();
        Self::new(images, watched, None, names, config)
    }

    /// Watches all images of a set whose objects no training sees; `truth` has the same objects.
    ///
    /// # Errors
    ///
    /// If there is no image, or the image size is 0.
    ///
    /// ```
    /// use burn::tensor::Device;
    /// use sed_core::Detections;
    /// use sed_train::eval::GroundTruth;
    /// use sed_train::report::{PseudoLabelWatch, WatchConfig};
    /// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/scenes.rs")); }
    /// # let dir = tempfile::tempdir()?;
    /// # let setup::Sets { index, labels, labeled, .. } = setup::sets(dir.path())?;
    ///
    /// // `labeled` has four images.
    /// let truth = GroundTruth::from_coco(&index, &labels);
    /// let config = WatchConfig { image_size: 32, threshold: 0.7, pictures: 0 };
    /// let watch = PseudoLabelWatch::of_hidden(&labeled, truth, config)?;
    /// // A detector that finds nothing.
    /// let snapshot =
    ///     watch.look(100, &Device::default(), |images| vec![Detections::default(); images.sizes.len()])?;
    /// assert_eq!((snapshot.labels, snapshot.recall), (0, Some(0.0)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of_hidden(set: &LabeledSet, truth: GroundTruth, config: WatchConfig) -> Result<Self, WatchError> {
        let image = |sample: &crate::data::LabeledSample| {
            let watched = Watched {
                name: sample.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                path: sample.path.clone(),
                targets: sample.targets.clone(),
            };
            (EvalImage { id: sample.id, path: sample.path.clone(), listed_size: Some(sample.size) }, watched)
        };
        let (images, watched) = set.samples.iter().map(image).unzip();
        let names = set.categories.iter().map(|category| category.name.clone()).collect();
        Self::new(images, watched, Some(truth), names, config)
    }

    fn new(
        images: Vec<EvalImage>,
        watched: Vec<Watched>,
        truth: Option<GroundTruth>,
        names: Vec<String>,
        config: WatchConfig,
    ) -> Result<Self, WatchError> {
        let loader = EvalLoaderConfig { image_size: config.image_size, ..EvalLoaderConfig::default() };
        let loader = EvalLoader::from_images(images, loader)?;
        Ok(Self { loader, images: watched, truth, names, config })
    }

    /// What `detect`, which is given batches on `device`, finds after so many iterations.
    ///
    /// # Errors
    ///
    /// If an image cannot be read, or a detection has a class that does not exist.
    pub fn look(
        &self,
        iteration: usize,
        device: &Device,
        detect: impl Fn(&ImageBatch) -> Vec<Detections>,
    ) -> Result<PseudoLabelSnapshot, WatchError> {
        let mut found = Vec::with_capacity(self.images.len());
        for batch in self.loader.iter() {
            let batch = batch?;
            for (index, detections) in detect(&batch.images.to_batch(device)).iter().enumerate() {
                let detections = batch.to_original(index, detections);
                found.push(ImageDetections { image_id: batch.ids[index], detections });
            }
        }
        let config = PictureConfig::for_page(self.config.threshold);
        let mut pictures = Vec::new();
        for (image, ImageDetections { detections, .. }) in
            self.images.iter().zip(&found).take(self.config.pictures)
        {
            let pixels = image::decode(&image.path)?;
            let picture = draw_detections(&pixels, &image.targets, detections, &self.names, &config);
            pictures.push(Figure { caption: image.name.clone(), picture });
        }
        let threshold = self.config.threshold;
        Ok(PseudoLabelSnapshot::new(iteration, threshold, &found, self.truth.as_ref(), pictures)?)
    }
}

#[cfg(test)]
mod tests {
    use ::image::RgbImage;
    use sed_core::ImageSize;

    use super::*;
    use crate::{
        data::{Category, LabeledSample, UnlabeledImage},
        eval::GroundTruthBox,
    };

    /// Three images of 40×20 in a folder.
    fn files(folder: &std::path::Path) -> Vec<PathBuf> {
        let file = |number: u8| {
            let path = folder.join(format!("{number}.png"));
            RgbImage::from_pixel(40, 20, ::image::Rgb([number; 3])).save(&path).unwrap();
            path
        };
        (0..3).map(file).collect()
    }

    fn config(pictures: usize) -> WatchConfig {
        WatchConfig { image_size: 64, threshold: 0.5, pictures }
    }

    /// In each image one box over the left half, `[0, 0, 32, 32]` of the 64 pixels wide view, and one of a low score.
    fn detect(batch: &ImageBatch) -> Vec<Detections> {
        let boxes = vec![[0., 0., 32., 32.], [0., 0., 8., 8.]];
        vec![Detections { boxes, scores: vec![0.9, 0.2], labels: vec![0, 0] }; batch.sizes.len()]
    }

    #[test]
    fn unlabeled_images_are_counted_and_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let images = files(folder.path()).into_iter().enumerate();
        let images = images.map(|(i, path)| UnlabeledImage::file(format!("part/{i}"), path));
        let set = UnlabeledSet { images: images.collect() };
        let watch = PseudoLabelWatch::of_unlabeled(&set, vec!["a".into()], config(2)).unwrap();
        let snapshot = watch.look(70, &Device::default(), detect).unwrap();
        assert_eq!((snapshot.iteration, snapshot.images, snapshot.labels), (70, 3, 3));
        assert_eq!((snapshot.precision, snapshot.recall), (None, None));
        let captions: Vec<_> = snapshot.pictures.iter().map(|figure| figure.caption.as_str()).collect();
        assert_eq!(captions, ["part/0", "part/1"]);
        // The box ends at the middle of the enlarged picture, in the colour of its class.
        let picture = &snapshot.pictures[1].picture;
        assert_eq!(picture.width(), 400);
        assert_eq!(picture.get_pixel(199, 150).0, crate::report::class_color(0));
        let none = UnlabeledSet::default();
        assert!(matches!(
            PseudoLabelWatch::of_unlabeled(&none, Vec::new(), config(0)),
            Err(WatchError::Loader(_))
        ));
    }

    #[test]
    fn quality_is_measured_against_hidden_objects() {
        let folder = tempfile::tempdir().unwrap();
        let samples = files(folder.path()).into_iter().zip(1..).map(|(path, id)| LabeledSample {
            id,
            path,
            size: ImageSize::new(20, 40),
            targets: Targets::default(),
        });
        let categories = vec![Category { id: 1, name: "a".into() }];
        let set = LabeledSet { categories: categories.clone(), samples: samples.collect() };
        // The left half of the first image, and an object in the second that is not found.
        let object = |image_id, x| GroundTruthBox {
            image_id,
            label: 0,
            bbox: [x, 0., 20., 20.],
            area: 400.,
            iscrowd: false,
        };
        let truth =
            GroundTruth { image_ids: vec![1, 2, 3], categories, boxes: vec![object(1, 0.), object(2, 20.)] };
        let watch = PseudoLabelWatch::of_hidden(&set, truth, config(0)).unwrap();
        let snapshot = watch.look(0, &Device::default(), detect).unwrap();
        assert_eq!((snapshot.precision, snapshot.recall), (Some(1. / 3.), Some(0.5)));
        assert!(snapshot.pictures.is_empty());
    }
}
