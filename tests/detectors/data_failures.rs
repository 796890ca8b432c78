//! Images that fail in the middle of a run.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderIterator, Progress},
        dataset::DatasetError,
    },
    tensor::Device,
};
use sed::{
    core::{ImageSize, Targets},
    train::{
        data::{
            AugmentConfig, Category, DataError, EvalLoader, EvalLoaderConfig, LabeledSample, LabeledSet,
            LoaderConfig, LoaderError, TrainBatch, TrainLoader, TrainSource, UnlabeledImage, UnlabeledSet,
        },
        eval::{CocoEvaluator, GroundTruth, GroundTruthBox},
        train::{Method, OptimizerConfig, Run, TrainConfig, TrainData, TrainError, train},
    },
};

use crate::cells::CellDetector;

const IMAGES: usize = 8;

/// A folder of images, all of them labeled and unlabeled and for validation.
pub(crate) struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..IMAGES {
            let image = image::RgbImage::from_pixel(64, 64, image::Rgb([i as u8 * 30, 90, 90]));
            image.save(dir.path().join(format!("{i}.png"))).unwrap();
        }
        Self { dir }
    }

    fn path(&self, i: usize) -> std::path::PathBuf {
        self.dir.path().join(format!("{i}.png"))
    }

    fn labeled(&self, part: std::ops::Range<usize>) -> LabeledSet {
        let targets = || Targets { boxes: vec![[8.0, 8.0, 40.0, 40.0]], labels: vec![0], crowds: Vec::new() };
        let sample = |i: usize| LabeledSample {
            id: i as u64,
            path: self.path(i),
            size: ImageSize::new(64, 64),
            targets: targets(),
        };
        let categories = (0..2).map(|id| Category { id, name: id.to_string() }).collect();
        LabeledSet { categories, samples: part.map(sample).collect() }
    }

    /// Labeled images 0 and 1, unlabeled 2 to 5, validation 6 and 7; `images` of both kinds a step.
    pub(crate) fn data(&self, images: usize) -> TrainData {
        let image = |i: usize| UnlabeledImage::file(i.to_string(), self.path(i));
        let unlabeled = UnlabeledSet { images: (2..6).map(image).collect() };
        let config = LoaderConfig {
            labeled_batch: images,
            unlabeled_batch: images,
            iterations_per_epoch: 4,
            workers: 2,
            ..LoaderConfig::default()
        };
        let augment = AugmentConfig { image_size: 64, ..AugmentConfig::default() };
        let valid = self.labeled(6..8);
        let truth = GroundTruth {
            image_ids: vec![6, 7],
            categories: valid.categories.clone(),
            boxes: vec![GroundTruthBox {
                image_id: 6,
                label: 0,
                bbox: [8.0, 8.0, 32.0, 32.0],
                area: 1024.0,
                iscrowd: false,
            }],
        };
        let eval = EvalLoaderConfig { image_size: 64, ..EvalLoaderConfig::default() };
        TrainData {
            train: Arc::new(TrainLoader::new(self.labeled(0..2), unlabeled, augment, config).unwrap()),
            valid: Arc::new(EvalLoader::new(&valid, eval).unwrap()),
            truth: Arc::new(truth),
            evaluator: Arc::new(CocoEvaluator),
        }
    }

    fn cut(&self, i: usize) {
        let bytes = fs::read(self.path(i)).unwrap();
        fs::write(self.path(i), &bytes[..bytes.len() - 8]).unwrap();
    }
}

/// The error of a run of two epochs of four steps, which must come within seconds.
fn failure(data: &TrainData) -> TrainError {
    let config = TrainConfig {
        method: Method::Sed,
        iterations: 8,
        evaluate_every: 4,
        batch_labeled: 1,
        batch_unlabeled: 1,
        burn_in: 0,
        ramp_up: 0,
        optimizer: OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 0.0 },
        ..TrainConfig::default()
    };
    let device = Device::default();
    let started = Instant::now();
    let result = train(CellDetector::new(2, &device), data, &config, &device, &Run::new("failing"));
    assert!(started.elapsed() < Duration::from_secs(60));
    match result {
        Ok(outcome) => panic!("a run with {} evaluations and no error", outcome.evaluations.len()),
        Err(error) => error,
    }
}

#[test]
fn a_damaged_image_stops_the_run_and_is_named() {
    for i in [1, 4, 7] {
        let fixture = Fixture::new();
        fixture.cut(i);
        let error = failure(&fixture.data(1));
        assert!(error.to_string().contains(&fixture.path(i).display().to_string()), "{error}");
        let loader = error.loader().unwrap_or_else(|| panic!("no loader error: {error:?}"));
        let named = |path: &Path| path == fixture.path(i);
        assert!(
            matches!(loader, LoaderError::Image { source: DataError::Truncated { path }, .. } if named(path)),
            "{loader}"
        );
    }
}

/// A loader whose worker panics on the third batch of an epoch.
#[derive(Clone)]
struct Panicking(Arc<dyn TrainSource>);

struct Batches<'a>(Box<dyn DataLoaderIterator<TrainBatch> + 'a>, usize);

impl Iterator for Batches<'_> {
    type Item = Result<TrainBatch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.0.next()?;
        self.1 += 1;
        if self.1 != 3 {
            return Some(batch);
        }
        let message = "index out of bounds".to_owned();
        Some(Err(DatasetError::new(LoaderError::Panic { batch: 2, path: "images/bad.png".into(), message })))
    }
}

impl DataLoaderIterator<TrainBatch> for Batches<'_> {
    fn progress(&self) -> Progress {
        self.0.progress()
    }
}

impl DataLoader<TrainBatch> for Panicking {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<TrainBatch> + 'a> {
        Box::new(Batches(self.0.iter(), 0))
    }

    fn num_items(&self) -> usize {
        self.0.num_items()
    }

    fn to_device(&self, _device: &Device) -> Arc<dyn DataLoader<TrainBatch>> {
        Arc::new(self.clone())
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<TrainBatch>> {
        self.0.slice(start, end)
    }
}

impl TrainSource for Panicking {
    fn iterations_per_epoch(&self) -> usize {
        self.0.iterations_per_epoch()
    }

    fn resume_at(&self, iteration: usize, epoch_is_over: bool) {
        self.0.resume_at(iteration, epoch_is_over);
    }
}

#[test]
fn a_panic_of_a_worker_stops_the_run_and_names_the_file() {
    let fixture = Fixture::new();
    let mut data = fixture.data(1);
    data.train = Arc::new(Panicking(data.train));
    let error = failure(&data);
    assert!(error.to_string().contains("images/bad.png: preparing the image panicked"), "{error}");
    assert!(matches!(error.loader(), Some(LoaderError::Panic { batch: 2, .. })), "{error:?}");
}
