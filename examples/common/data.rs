//! The images and labels of a run: generated, or the user's.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, anyhow, bail};
use sed::train::{
    data::{
        AugmentConfig, Category, CocoIndex, DataPolicy, DataReport, EvalLoader, EvalLoaderConfig, LabeledSet,
        LoaderConfig, SourceShare, SplitManifest, TrainLoader, UnlabeledSet,
        scenes::{self, SceneConfig},
        validation_leaks,
    },
    eval::{CocoEvaluator, GroundTruth},
    report::RunFolder,
    train::{DataCounts, TrainConfig, TrainData},
};
use toml::{Table, Value};

use super::{
    args::{Args, UserData},
    cache_dir,
    settings::LoaderSettings,
    watch::WATCHED,
};

/// Percent of the generated training images that are labeled.
pub const GENERATED_PERCENT: f64 = 2.5;

/// What a run trains and is validated on.
pub struct Dataset {
    /// Classes in the order of the dense ids.
    pub categories: Vec<Category>,
    /// Validation images with their boxes.
    pub valid: LabeledSet,
    /// Some images that count as unlabeled, with the labels that no training sees: they measure pseudo-labels.
    pub hidden: Option<(LabeledSet, GroundTruth)>,
    labeled: LabeledSet,
    unlabeled: UnlabeledSet,
    /// Empty unless some unlabeled images are drawn more often than others.
    sources: Vec<SourceShare>,
    truth: Arc<GroundTruth>,
    manifest: SplitManifest,
    source: String,
}

impl Dataset {
    /// Opens the user's files, or generates scenes if there are none; draws the labeled part.
    pub fn open(args: &Args, scenes: Option<&SceneConfig>, policy: DataPolicy) -> Result<Self> {
        match (args.user_data()?, scenes) {
            (Some(files), _) => Self::read(&files, args, policy, 100.0, "your data".into()),
            (None, Some(config)) => {
                let source = format!("generated scenes in {}", scenes_folder(args, config).display());
                Self::read(&files(args, scenes)?, args, policy, GENERATED_PERCENT, source)
            }
            (None, None) => bail!("no data: give --train-annotations, or a [scenes] table to generate from"),
        }
    }

    fn read(files: &UserData, args: &Args, policy: DataPolicy, percent: f64, source: String) -> Result<Self> {
        let index = CocoIndex::open(&files.train_annotations, None, policy)?
            .with_usable_files(&files.train_images, policy)?;
        print_report(&files.train_annotations, index.report());
        let manifest = split(&index, args, percent)?;
        // Only the labels of the labeled part are read; the others are never in memory.
        let labels = index.labels(&manifest.labeled, policy)?;
        print_report(&files.train_annotations, labels.report());
        let labeled = index.labeled_set(&files.train_images, &labels)?;
        // Images without any label, as in a file of images alone, measure nothing.
        let hidden = match index.labels(&spread(&manifest.unlabeled, WATCHED), policy) {
            Ok(labels) => Some((
                index.labeled_set(&files.train_images, &labels)?,
                GroundTruth::from_coco(&index, &labels),
            )),
            Err(_) => None,
        };
        let mut unlabeled = vec![index.unlabeled_set(&files.train_images, &manifest.unlabeled)?];
        for path in &args.unlabeled {
            unlabeled.push(unlabeled_images(path, policy)?);
        }
        let sources = source_shares(&unlabeled, &args.unlabeled_weights)?;

        let val = CocoIndex::open(&files.val_annotations, Some(index.categories()), policy)?
            .with_usable_files(&files.val_images, policy)?;
        print_report(&files.val_annotations, val.report());
        if val.categories() != index.categories() {
            bail!(
                "{} and {} differ in their categories",
                files.train_annotations.display(),
                files.val_annotations.display()
            );
        }
        let val_labels = val.labels(&val.image_ids(), policy)?;
        print_report(&files.val_annotations, val_labels.report());
        Ok(Self {
            categories: index.categories().to_vec(),
            valid: val.labeled_set(&files.val_images, &val_labels)?,
            hidden,
            labeled,
            unlabeled: UnlabeledSet::concat(unlabeled),
            sources,
            truth: Arc::new(GroundTruth::from_coco(&val, &val_labels)),
            manifest,
            source,
        })
    }

    /// Sums by which a run knows the data again that it began with.
    pub fn fingerprints(&self) -> Table {
        let sums = [
            ("labeled", self.labeled.fingerprint()),
            ("unlabeled", self.unlabeled.fingerprint()),
            ("validation", self.valid.fingerprint()),
        ];
        let mut sums: Table =
            sums.map(|(part, sum)| (part.to_owned(), Value::String(sum))).into_iter().collect();
        if !self.sources.is_empty() {
            let weights = self.sources.iter().map(|source| source.weight.to_string()).collect::<Vec<_>>();
            sums.insert("unlabeled_weights".to_owned(), Value::String(weights.join(",")));
        }
        sums
    }

    /// Training images that are also in the validation set.
    pub fn leaks(&self) -> Vec<String> {
        validation_leaks(&self.labeled, &self.unlabeled, &self.valid)
    }

    /// The numbers that a plan of a training looks at.
    pub fn counts(&self) -> DataCounts {
        let sources = self.sources.clone();
        DataCounts { sources, ..DataCounts::new(&self.labeled, &self.unlabeled) }
    }

    /// The names of the classes.
    pub fn class_names(&self) -> Vec<String> {
        self.categories.iter().map(|category| category.name.clone()).collect()
    }

    /// The number of classes.
    pub fn num_classes(&self) -> usize {
        self.categories.len()
    }

    /// One line on where the data comes from and how much there is.
    pub fn describe(&self) -> String {
        format!(
            "{}: {} labeled images with {} objects of {} classes, {} unlabeled, {} for validation",
            self.source,
            self.labeled.len(),
            self.labeled.num_objects(),
            self.num_classes(),
            self.unlabeled.len(),
            self.valid.len()
        )
    }

    /// Writes which images were labeled.
    pub fn write_manifest(&self, folder: &RunFolder) -> Result<()> {
        Ok(self.manifest.save(folder.file("split.json"))?)
    }

    /// At most `count` unlabeled images that are files of their own, spread evenly over all of them.
    pub fn some_unlabeled(&self, count: usize) -> UnlabeledSet {
        let files = self.unlabeled.images.iter().filter(|image| image.span.is_none());
        UnlabeledSet { images: spread(&files.collect::<Vec<_>>(), count).into_iter().cloned().collect() }
    }

    /// The true boxes of the validation images.
    pub fn truth(&self) -> &GroundTruth {
        &self.truth
    }

    /// The loaders of a run.
    pub fn loaders(
        &self,
        train: &TrainConfig,
        augment: &AugmentConfig,
        loader: &LoaderSettings,
        seed: u64,
    ) -> Result<TrainData> {
        let unlabeled_batch = train.unlabeled_per_step();
        if unlabeled_batch > 0 && self.unlabeled.is_empty() {
            bail!("no unlabeled images: give --unlabeled, or --labeled-percent below 100");
        }
        let cache_bytes = loader.cache_mib << 20;
        let config = LoaderConfig {
            seed,
            labeled_batch: train.batch_labeled,
            unlabeled_batch,
            unlabeled_sources: self.sources.clone(),
            iterations_per_epoch: train.evaluate_every,
            workers: loader.threads,
            prefetch: loader.prefetch,
            cache_bytes,
            shuffle_buffer: loader.shuffle_buffer,
        };
        let eval = EvalLoaderConfig {
            image_size: augment.image_size,
            batch: loader.validation_batch,
            workers: 1,
            prefetch: loader.prefetch,
            cache_bytes,
        };
        Ok(TrainData {
            train: Arc::new(TrainLoader::new(
                self.labeled.clone(),
                self.unlabeled.clone(),
                augment.clone(),
                config,
            )?),
            valid: Arc::new(EvalLoader::new(&self.valid, eval)?),
            truth: self.truth.clone(),
            evaluator: Arc::new(CocoEvaluator),
        })
    }
}

/// The user's files, or those of the generated scenes, which are drawn if they are not there yet.
pub fn files(args: &Args, scenes: Option<&SceneConfig>) -> Result<UserData> {
    if let Some(files) = args.user_data()? {
        return Ok(files);
    }
    let config = scenes.ok_or_else(|| {
        anyhow!(
            "the run has data of its own: give --train-annotations, --train-images, --val-annotations and --val-images"
        )
    })?;
    let paths = scenes::generate(config, &scenes_folder(args, config))?;
    Ok(UserData {
        train_annotations: paths.train_annotations,
        train_images: paths.train_images,
        val_annotations: paths.val_annotations,
        val_images: paths.val_images,
    })
}

fn scenes_folder(args: &Args, config: &SceneConfig) -> PathBuf {
    cache_dir(args).join(format!("scenes-{}", config.fingerprint()))
}

/// Which of the training images are labeled: those of `--split`, or as many percent as asked for.
pub fn split(index: &CocoIndex, args: &Args, percent: f64) -> Result<SplitManifest> {
    if let Some(file) = &args.split {
        return Ok(SplitManifest::import(file, args.split_key.as_deref(), args.split_numbers, index)?);
    }
    let (percent, fold) = (args.labeled_percent.unwrap_or(percent), args.fold.unwrap_or(args.seed));
    Ok(match args.unlabeled_without_annotations {
        true => SplitManifest::draw_annotated(index, percent, fold)?,
        false => SplitManifest::draw(index, percent, fold)?,
    })
}

/// The sources of unlabeled images with a weight each: the training images first, if some are unlabeled.
fn source_shares(sources: &[UnlabeledSet], weights: &[u32]) -> Result<Vec<SourceShare>> {
    let sizes: Vec<usize> = match sources {
        [train, others @ ..] if train.is_empty() => others.iter().map(UnlabeledSet::len).collect(),
        all => all.iter().map(UnlabeledSet::len).collect(),
    };
    if !weights.is_empty() && weights.len() != sizes.len() {
        bail!(
            "--unlabeled-weights: {} numbers, but unlabeled images come from {} sources (of {} images)",
            weights.len(),
            sizes.len(),
            sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(sizes.into_iter().zip(weights).map(|(images, &weight)| SourceShare { images, weight }).collect())
}

/// At most `count` entries at equal distances, the first among them.
pub fn spread<T: Clone>(all: &[T], count: usize) -> Vec<T> {
    let count = count.min(all.len());
    (0..count).map(|i| all[i * all.len() / count].clone()).collect()
}

/// A folder of images or of tar files with images, a tar file, or a JSON that lists some.
pub fn unlabeled_images(path: &Path, policy: DataPolicy) -> Result<UnlabeledSet> {
    let usable = UnlabeledSet::open(path).and_then(|set| set.with_usable_files(path, policy));
    let (set, report) = usable.with_context(|| format!("--unlabeled {}", path.display()))?;
    print_report(path, &report);
    Ok(set)
}

/// Problems that are listed one by one; all are counted, and `check_data` lists them.
const PRINTED: usize = 5;

/// Says what was left out and repaired, if anything was.
fn print_report(path: &Path, report: &DataReport) {
    if report.is_clean() {
        return;
    }
    println!("{}: {report}", path.display());
    for problem in report.problems.iter().take(PRINTED) {
        let repaired = problem.repair.map_or(String::new(), |repair| format!(" (repair: {repair})"));
        println!("  {} {}: {}{repaired}", problem.file.display(), problem.field, problem.reason);
    }
}
