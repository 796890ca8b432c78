//! The command line that the training examples share.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{
    Parser, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use sed::train::{
    data::{ListedNumbers, PolicyMode, SkipBound},
    train::Method,
};
use serde::{Deserialize, Serialize};

/// `--device` where nothing is said.
pub const DEFAULT_DEVICE: &str = "default";

// Not a documentation comment, which would be shown by `--help` of every example: what the examples that train share.
#[derive(Debug, Clone, Parser, Serialize, Deserialize)]
#[command(version, max_term_width = 100)]
pub struct Args {
    /// Annotations of the training images: a COCO JSON, a folder of VOC files, or a VOC list of `ImageSets`.
    #[arg(long, value_name = "FILE_OR_DIR", requires_all = ["train_images", "val_annotations", "val_images"])]
    pub train_annotations: Option<PathBuf>,
    /// Folder of the training images.
    #[arg(long, value_name = "DIR", requires = "train_annotations")]
    pub train_images: Option<PathBuf>,
    /// Images without labels: a folder of images or of tar files with images, a tar file, or a COCO JSON whose file names are relative
    /// to its folder. May be given several times.
    #[arg(long, value_name = "DIR_OR_FILE")]
    pub unlabeled: Vec<PathBuf>,
    /// How often to draw from each --unlabeled, as whole numbers separated by commas, in their order; where some training images count as
    /// unlabeled, their number comes first. Without it all images are drawn equally often.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    #[serde(default)]
    pub unlabeled_weights: Vec<u32>,
    /// Annotations of the validation images, as those of training.
    #[arg(long, value_name = "FILE_OR_DIR", requires = "train_annotations")]
    pub val_annotations: Option<PathBuf>,
    /// Folder of the validation images.
    #[arg(long, value_name = "DIR", requires = "train_annotations")]
    pub val_images: Option<PathBuf>,

    /// What to do about annotations and images that cannot be used: strict stops at the first, skip leaves them out,
    /// repair puts right what has one plain meaning and leaves out the rest; by default strict.
    #[arg(long, value_name = "MODE", value_parser = policy_parser())]
    pub data_policy: Option<PolicyMode>,
    /// How many images, and how many annotations, of a file may be left out: a count or a share; by default 1%.
    #[arg(long, value_name = "N_OR_P%")]
    pub max_skipped: Option<SkipBound>,

    /// Percent of the training images whose labels are used; the others count as unlabeled.
    #[arg(long, value_name = "P")]
    pub labeled_percent: Option<f64>,
    /// Which of the possible draws of labeled images; by default that of the seed's number, so that runs of several
    /// seeds differ in their labels too.
    #[arg(long, value_name = "K")]
    pub fold: Option<u64>,
    /// Training images without any annotation count as unlabeled, not as images without objects; --labeled-percent is then of the others.
    #[arg(long, requires = "train_annotations")]
    #[serde(default)]
    pub unlabeled_without_annotations: bool,
    /// Which training images are labeled, from a file: a run's split.json, a COCO JSON of them (as 1@10.json), lists by percent and fold
    /// (as COCO_supervision.txt), or one image id or file name a line.
    #[arg(long, value_name = "FILE", requires = "train_annotations", conflicts_with_all = [
        "labeled_percent", "fold", "unlabeled_without_annotations",
    ])]
    pub split: Option<PathBuf>,
    /// Which list of --split, where it has several.
    #[arg(long, value_name = "PERCENT/FOLD", requires = "split")]
    pub split_key: Option<String>,
    /// What the numbers in --split are: image ids, positions from 0 among the images sorted by id, or among those of them with objects
    /// (as Unbiased Teacher counts). By default ids; lists by percent and fold need it said.
    #[arg(long, value_name = "MEANING", value_parser = numbers_parser(), requires = "split")]
    pub split_numbers: Option<ListedNumbers>,

    /// Train by these methods, separated by commas; without it on the labels alone and by Scale-Equivalent Distillation.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = method_parser())]
    pub method: Vec<Method>,
    /// Settings to start from, which --config, --set and the arguments below change. Without it: those of the generated scenes, or
    /// of `small` for your own data, and with a larger backbone the published schedule with 4 + 4 images of 512 px.
    #[arg(long, value_enum, value_name = "NAME", conflicts_with = "smoke")]
    pub preset: Option<Preset>,
    /// The network under the detector; by default the one of the preset, and tiny without one.
    #[arg(long, value_enum)]
    pub backbone: Option<Backbone>,
    /// Weights to start from: a torchvision state dict of the backbone or the whole detector
    /// (.pth or .safetensors).
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Beginning of keys of --weights that are left out, such as the classifier of a backbone: `fc_`. May be given several
    /// times; `fc.` is always left out.
    #[arg(long, value_name = "PREFIX", requires = "weights")]
    pub weights_skip: Vec<String>,

    /// Optimizer steps of each method.
    #[arg(long, value_name = "N")]
    pub iterations: Option<usize>,
    /// Labeled images a step.
    #[arg(long, value_name = "N")]
    pub batch_labeled: Option<usize>,
    /// Unlabeled images a step.
    #[arg(long, value_name = "N")]
    pub batch_unlabeled: Option<usize>,
    /// Side of the square that images are fitted into: a multiple of 32 for the tiny backbone, of 128 for
    /// the others.
    #[arg(long, value_name = "N")]
    pub image_size: Option<usize>,
    /// Seed of weights, order and augmentation, and of the draw of labels where `--fold` does not say.
    #[arg(long, value_name = "S", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: u64,
    /// Where to compute: default, flex, ndarray, wgpu, vulkan, metal, cuda:0, rocm:0, remote:ws://HOST:PORT. Several, separated by commas, take the
    /// parts of each step (train.accumulation) at the same time.
    #[arg(long, value_name = "LIST", default_value = DEFAULT_DEVICE)]
    pub device: String,

    /// Folder for weights, configuration, metrics and pictures; must not hold a run yet.
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub run_dir: Option<PathBuf>,
    /// Steps between two checkpoints, beside those before each evaluation.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub checkpoint_every: Option<u64>,
    /// Show progress by Burn's dashboard in the terminal; several methods are then trained one after the other.
    #[cfg(feature = "dashboard")]
    #[arg(long)]
    #[serde(skip)]
    pub dashboard: bool,
    /// Folder in which the generated dataset is kept.
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// TOML file with settings; see config.toml in any run folder.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A few steps on a few small scenes, to see that everything works.
    #[arg(long, conflicts_with = "train_annotations")]
    pub smoke: bool,
    /// Changes one setting, as `train.burn_in=300`. May be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Trains a detector from few labeled and many unlabeled images.
///
/// Without arguments it draws its own dataset, trains on a few labels alone and by
/// Scale-Equivalent Distillation, and compares the two. With `--train-annotations` it trains on
/// your data.
#[derive(Debug, Clone, Parser)]
#[command(version, max_term_width = 100)]
pub struct TrainingArgs {
    /// What is trained on what, and how.
    #[command(flatten)]
    pub args: Args,
    /// Check everything, take a few steps, say how long the training would take and what memory, and stop; nothing is written.
    #[arg(long, conflicts_with = "resume")]
    pub dry_run: bool,
    /// Print all settings as they would be used, as TOML that --config reads, and stop. The number of classes is that of the data.
    #[arg(long, conflicts_with_all = ["resume", "dry_run"])]
    pub dump_config: bool,
    /// Go on with the run in this folder, as if it had never been stopped. Only --device, --checkpoint-every, --cache-dir and --set may
    /// be given along; a setting that would change the result is refused.
    #[arg(long, value_name = "RUN_DIR", conflicts_with_all = [
        "train_annotations", "train_images", "unlabeled", "val_annotations", "val_images", "labeled_percent", "fold",
        "unlabeled_weights", "unlabeled_without_annotations", "split", "method", "preset", "backbone", "weights", "iterations", "batch_labeled", "batch_unlabeled", "image_size", "seed",
        "run_dir", "config", "smoke",
    ])]
    pub resume: Option<PathBuf>,
}

/// `--detector` of the examples that know both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DetectorName {
    /// RetinaNet, of one stage.
    Retinanet,
    /// Faster R-CNN, of two stages.
    FasterRcnn,
}

impl DetectorName {
    /// The name on the command line and of folders.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retinanet => "retinanet",
            Self::FasterRcnn => "faster-rcnn",
        }
    }
}

/// `--preset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Data of the size of COCO on a large GPU: ResNet-50, to be started from --weights, 1024 px, 180,000 steps of 16 + 16 images by SGD, 2,000 of them burn-in.
    Coco,
    /// Data of the size of VOC on a large GPU: ResNet-50, to be started from --weights, 768 px, 72,000 steps of 16 + 16 images by SGD, 12,000 of them burn-in.
    Voc,
    /// Hundreds or thousands of images of your own: the tiny network, 256 px, 5,000 steps of 4 + 4 images by AdamW, half of them burn-in.
    Small,
    /// A first look without a GPU: the tiny network, 128 px, 2,000 steps of 4 + 4 images by AdamW, half of them burn-in.
    Cpu,
}

/// `--backbone`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backbone {
    /// A small network that trains on two CPU cores.
    Tiny,
    /// ResNet-18.
    Resnet18,
    /// ResNet-34.
    Resnet34,
    /// ResNet-50.
    Resnet50,
    /// ResNet-101.
    Resnet101,
}

/// The names of the methods, listed by `--help`.
pub fn method_parser() -> impl TypedValueParser<Value = Method> {
    PossibleValuesParser::new(Method::ALL.map(Method::name)).try_map(|name| name.parse::<Method>())
}

/// The names of what numbers in a list are.
fn numbers_parser() -> impl TypedValueParser<Value = ListedNumbers> {
    PossibleValuesParser::new(ListedNumbers::ALL.map(ListedNumbers::name))
        .try_map(|name| name.parse::<ListedNumbers>())
}

/// The names of the data policies.
pub fn policy_parser() -> impl TypedValueParser<Value = PolicyMode> {
    PossibleValuesParser::new(PolicyMode::ALL.map(PolicyMode::name))
        .try_map(|name| name.parse::<PolicyMode>())
}

/// The user's files, all of them present.
#[derive(Debug, Clone)]
pub struct UserData {
    /// Annotations of the training images.
    pub train_annotations: PathBuf,
    /// Their folder.
    pub train_images: PathBuf,
    /// Annotations of the validation images.
    pub val_annotations: PathBuf,
    /// Their folder.
    pub val_images: PathBuf,
}

impl Args {
    /// Whether `--dashboard` was given, which only a build with this feature knows.
    pub fn on_dashboard(&self) -> bool {
        #[cfg(feature = "dashboard")]
        return self.dashboard;
        #[cfg(not(feature = "dashboard"))]
        false
    }

    /// The names in `--device`.
    pub fn device_names(&self) -> Vec<&str> {
        self.device.split(',').map(str::trim).collect()
    }

    /// The network of `--backbone`, or the preset's.
    pub fn backbone(&self) -> Backbone {
        self.backbone.unwrap_or(match self.preset {
            Some(Preset::Coco | Preset::Voc) => Backbone::Resnet50,
            Some(Preset::Small | Preset::Cpu) | None => Backbone::Tiny,
        })
    }

    /// The methods of `--method`, each once, or these.
    pub fn methods(&self, default: &[Method]) -> Vec<Method> {
        let named = if self.method.is_empty() { default } else { &self.method };
        let first = |(i, method): &(usize, &Method)| !named[..*i].contains(method);
        named.iter().enumerate().filter(first).map(|(_, method)| *method).collect()
    }

    /// The user's files, or `None` for the generated dataset.
    pub fn user_data(&self) -> Result<Option<UserData>> {
        match (&self.train_annotations, &self.train_images, &self.val_annotations, &self.val_images) {
            (Some(annotations), Some(images), Some(val), Some(val_images)) => Ok(Some(UserData {
                train_annotations: annotations.clone(),
                train_images: images.clone(),
                val_annotations: val.clone(),
                val_images: val_images.clone(),
            })),
            (None, None, None, None) if self.unlabeled.is_empty() => Ok(None),
            _ => bail!(
                "your own data needs --train-annotations, --train-images, --val-annotations and --val-images"
            ),
        }
    }
}
