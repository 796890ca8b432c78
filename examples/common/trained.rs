//! A detector that a run has trained.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use burn::{data::dataloader::DataLoader, module::Module, tensor::Device};
use clap::Args;
use sed::{
    core::{Detections, Detector, ImageBatch},
    models::{
        faster_rcnn::{FasterRcnn, FasterRcnnConfig},
        retinanet::{RetinaNet, RetinaNetConfig},
        weights::{self, LoadOptions},
    },
    train::{
        checkpoint::State,
        data::{AugmentConfig, Category, DataPolicy, EvalLoader, scenes::SceneConfig},
        eval::ImageDetections,
        train::Method,
    },
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    args::{DetectorName, method_parser},
    models::Model,
    run_file::RunFile,
};

/// The files of weights of a checkpoint.
const CHECKPOINT_STUDENT: &str = "student.bpk";
const CHECKPOINT_TEACHER: &str = "teacher.bpk";

/// Which trained detector; shared by all examples that use one.
#[derive(Debug, Clone, Args)]
pub struct CheckpointArgs {
    /// A run folder, the folder of one of its methods, one of the checkpoints below that, or a file of weights in there.
    #[arg(long, value_name = "RUN_OR_WEIGHTS")]
    pub checkpoint: Option<PathBuf>,
    /// Of a run folder of several methods: by which one the detector was trained; without it SED if it is there.
    #[arg(long, value_name = "NAME", value_parser = method_parser(), requires = "checkpoint")]
    pub method: Option<Method>,
    /// The averaged weights; so without either flag too.
    #[arg(long, conflicts_with = "student", requires = "checkpoint")]
    pub teacher: bool,
    /// The weights of the last step.
    #[arg(long, requires = "checkpoint")]
    pub student: bool,
}

/// Where to compute; shared by all examples that run a detector without training it.
#[derive(Debug, Clone, Args)]
pub struct DeviceArgs {
    /// Where to compute: default, flex, ndarray, wgpu, vulkan, metal, cuda:0, rocm:0.
    #[arg(long, value_name = "D", default_value = "default")]
    pub device: String,
}

/// What is needed of a run's settings to use its detector.
#[derive(Deserialize)]
pub struct RunConfig<M> {
    /// The detector.
    pub model: M,
    /// The rest.
    #[serde(flatten)]
    pub images: RunImages,
}

/// What a run's settings say of its images.
#[derive(Debug, Clone, Deserialize)]
pub struct RunImages {
    /// The views it was trained on.
    pub augment: AugmentConfig,
    /// The generated dataset; absent for your own data.
    pub scenes: Option<SceneConfig>,
    /// What was done about dirty data.
    #[serde(default)]
    pub data: DataPolicy,
}

impl<M: DeserializeOwned> RunConfig<M> {
    /// Reads `config.toml` of a run folder.
    pub fn read(run: &Path) -> Result<Self> {
        let path = run.join("config.toml");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        toml::from_str(&text).map_err(|error| anyhow!("{}: {}", path.display(), error.message()))
    }
}

/// A trained detector with what belongs to it.
pub struct Trained {
    /// The detector.
    pub detector: TrainedDetector,
    /// The classes, in the order of the dense class ids.
    pub categories: Vec<Category>,
    /// The images that it was trained on.
    pub images: RunImages,
    /// The method that it was trained by, where the weights are those of a run folder.
    pub method: Option<Method>,
    /// The run folder.
    pub run: PathBuf,
    /// The file of its weights.
    pub weights: PathBuf,
}

/// One of the detectors.
pub enum TrainedDetector {
    /// RetinaNet.
    RetinaNet(Box<RetinaNet>),
    /// Faster R-CNN.
    FasterRcnn(Box<FasterRcnn>),
}

impl Trained {
    /// The detector that the arguments name, or `None` without `--checkpoint`. With a threshold its detections exceed that
    /// score instead of the one in the run's settings.
    pub fn open(args: &CheckpointArgs, threshold: Option<f32>, device: &Device) -> Result<Option<Self>> {
        let Some(checkpoint) = &args.checkpoint else { return Ok(None) };
        let at =
            locate(checkpoint, args).with_context(|| format!("--checkpoint {}", checkpoint.display()))?;
        let run = RunFile::read(&at.run)?;
        let (weights, method) = match at.weights {
            Some(weights) => (weights, None),
            None => {
                let method = chosen(&run, args.method)?;
                (at.run.join(method.name()).join(file_name(args)), Some(method))
            }
        };
        let classes = run.categories.len();
        let (detector, images) = match run.detector {
            DetectorName::Retinanet => {
                let (detector, images) =
                    load::<RetinaNetConfig>(&at.run, classes, threshold, &weights, device)?;
                (TrainedDetector::RetinaNet(Box::new(detector)), images)
            }
            DetectorName::FasterRcnn => {
                let (detector, images) =
                    load::<FasterRcnnConfig>(&at.run, classes, threshold, &weights, device)?;
                (TrainedDetector::FasterRcnn(Box::new(detector)), images)
            }
        };
        Ok(Some(Self { detector, categories: run.categories, images, method, run: at.run, weights }))
    }
}

impl TrainedDetector {
    /// The objects in each image, boxes in pixels of the batch.
    pub fn detect(&self, images: &ImageBatch) -> Vec<Detections> {
        match self {
            Self::RetinaNet(detector) => detector.detect(images),
            Self::FasterRcnn(detector) => detector.detect(images),
        }
    }

    /// Writes the weights.
    pub fn save(&self, path: &Path, format: WeightsFormat) -> Result<()> {
        match self {
            Self::RetinaNet(detector) => save(detector.as_ref(), path, format),
            Self::FasterRcnn(detector) => save(detector.as_ref(), path, format),
        }
    }

    /// The objects in each image of a loader, in pixels of the original images; `done` hears the number of images so far.
    pub fn detect_all(
        &self,
        loader: &EvalLoader,
        device: &Device,
        mut done: impl FnMut(usize),
    ) -> Result<Vec<ImageDetections>> {
        let mut all = Vec::with_capacity(loader.num_items());
        for batch in loader.iter() {
            let batch = batch.map_err(anyhow::Error::new)?;
            let found = self.detect(&batch.images.to_batch(device));
            for (index, (&image_id, found)) in batch.ids.iter().zip(&found).enumerate() {
                all.push(ImageDetections { image_id, detections: batch.to_original(index, found) });
            }
            done(all.len());
        }
        Ok(all)
    }
}

/// A format of files of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightsFormat {
    /// `.safetensors`, with torchvision's keys.
    Safetensors,
    /// `.bpk`, Burn's own.
    Burnpack,
}

impl WeightsFormat {
    /// The format that the ending of a name promises.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "safetensors" => Some(Self::Safetensors),
            "bpk" => Some(Self::Burnpack),
            _ => None,
        }
    }
}

/// Writes the parameters and running statistics of a detector.
fn save<D: Detector>(detector: &D, path: &Path, format: WeightsFormat) -> Result<()> {
    match format {
        WeightsFormat::Safetensors => Ok(weights::save_safetensors(detector, path)?),
        WeightsFormat::Burnpack => {
            let saved = detector.clone().into_record().save(path);
            saved.with_context(|| path.display().to_string())
        }
    }
}

/// A run folder, and the file of weights if the path says which.
struct Location {
    run: PathBuf,
    weights: Option<PathBuf>,
}

/// The run that a path lies in.
fn locate(path: &Path, args: &CheckpointArgs) -> Result<Location> {
    ensure!(path.exists(), "no such file or folder");
    let is_run = |folder: &Path| folder.join("config.toml").is_file();
    if path.is_dir() && is_run(path) {
        // In a folder of the example `compare` they lie beside the settings.
        let beside = path.join(file_name(args));
        let weights = (args.method.is_none() && beside.is_file()).then_some(beside);
        return Ok(Location { run: path.to_owned(), weights });
    }
    ensure!(args.method.is_none(), "is not a run folder, of which --method picks a part");
    // Without a name of its own, as `.`, a folder still has a parent.
    let path = fs::canonicalize(path)?;
    let weights = if is_checkpoint(&path) {
        path.join(if args.student { CHECKPOINT_STUDENT } else { CHECKPOINT_TEACHER })
    } else if path.is_dir() {
        path.join(file_name(args))
    } else {
        ensure!(
            !args.teacher && !args.student,
            "is a file of weights; --teacher and --student pick one in a folder"
        );
        path
    };
    // A checkpoint lies two folders below its method's.
    let depth = if of_checkpoint(&weights).is_some() { 3 } else { 1 };
    match weights.ancestors().skip(depth).take(2).find(|folder| is_run(folder)) {
        Some(run) => Ok(Location { run: run.to_owned(), weights: Some(weights) }),
        None => {
            bail!("no config.toml beside it or in the folder above, so what detector it is of is not known")
        }
    }
}

fn is_checkpoint(folder: &Path) -> bool {
    folder.join("manifest.toml").is_file()
}

/// The checkpoint that a file of weights belongs to.
fn of_checkpoint(weights: &Path) -> Option<&Path> {
    let name = weights.file_name()?;
    let is_one = name == CHECKPOINT_STUDENT || name == CHECKPOINT_TEACHER;
    weights.parent().filter(|folder| is_one && is_checkpoint(folder))
}

fn file_name(args: &CheckpointArgs) -> &'static str {
    if args.student { "student.safetensors" } else { "teacher.safetensors" }
}

/// The method whose weights are asked for.
fn chosen(run: &RunFile, asked: Option<Method>) -> Result<Method> {
    let names = || run.methods.iter().map(|method| method.name()).collect::<Vec<_>>().join(", ");
    match (asked, &run.methods[..]) {
        (Some(method), methods) => {
            ensure!(methods.contains(&method), "--method {method}: the run was trained by {}", names());
            Ok(method)
        }
        (None, methods) if methods.contains(&Method::Sed) => Ok(Method::Sed),
        (None, [only]) => Ok(*only),
        (None, _) => bail!("the run was trained by {}: name one by --method", names()),
    }
}

/// A detector with the settings of a run and these weights, and what the run says of its images.
fn load<M: Model>(
    run: &Path,
    classes: usize,
    threshold: Option<f32>,
    weights: &Path,
    device: &Device,
) -> Result<(M::Detector, RunImages)> {
    let RunConfig { mut model, images } = RunConfig::<M>::read(run)?;
    model.set_classes(classes);
    if let Some(threshold) = threshold {
        model.set_score_threshold(threshold);
    }
    model.validate()?;
    let mut detector = model.init(device)?;
    if let Some(checkpoint) = of_checkpoint(weights) {
        // Its sums are checked, which a single file does not have.
        let State { student, teacher, .. } = State::read(checkpoint)?;
        let record = if weights.ends_with(CHECKPOINT_STUDENT) { student } else { teacher };
        detector = detector
            .try_load_record(record)
            .with_context(|| format!("{}: does not fit", weights.display()))?;
    } else {
        weights::load(&mut detector, weights, &LoadOptions::default())?;
    }
    Ok((detector, images))
}
