//! Finds objects in images: by a detector that a run has trained, or by one of torchvision's.
//!
//! ```text
//! cargo run --release --example predict -- --checkpoint runs/first --images photos --json found.json --draw found
//! ```

#[path = "../common/mod.rs"]
mod common;
mod images;
mod torchvision;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use common::trained::{CheckpointArgs, DeviceArgs, Trained, TrainedDetector};
use image::RgbImage;
use sed::{
    core::{Detections, ImageSize, Targets, device::parse_device},
    train::{
        data::{Category, EvalBatch, ShortSideResize, ViewGeometry, image::decode},
        eval::{ImageDetections, coco_results},
        report::{PictureConfig, draw_detections},
    },
};
use serde::Serialize;

use images::Images;
use torchvision::Architecture;

/// Finds objects in images, and writes them as COCO results or draws them.
///
/// The detector is that of a run (--checkpoint), which sees images as in its validation, or a state dict of torchvision
/// (--torchvision), which sees them as torchvision's transform makes them: shorter side 800 pixels, longer side at most 1333,
/// bilinear, padded to multiples of 32. Boxes are in pixels of the original images.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Options {
    #[command(flatten)]
    checkpoint: CheckpointArgs,
    /// State dict of a torchvision detector (.pth or .safetensors).
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "checkpoint",
        requires_all = ["architecture", "classes"]
    )]
    torchvision: Option<PathBuf>,
    /// The function of torchvision that builds the detector.
    #[arg(long, value_enum, requires = "torchvision")]
    architecture: Option<Architecture>,
    /// num_classes of that function: for Faster R-CNN with the background, 91 for weights trained on COCO.
    #[arg(long, value_name = "N", requires = "torchvision")]
    classes: Option<usize>,
    /// eps of the batch norms: 0 for torchvision's own COCO_V1 weights, whose function sets it so.
    #[arg(long, value_name = "E", requires = "torchvision", default_value_t = 1e-5)]
    norm_epsilon: f64,

    /// Images, or folders of images with the folders below.
    #[arg(long, value_name = "DIR_OR_FILE", num_args = 1.., required = true)]
    images: Vec<PathBuf>,
    /// COCO JSON that lists the images: its image ids go with their file names, its class names with their ids. Without it images
    /// are numbered from 1.
    #[arg(long, value_name = "FILE")]
    annotations: Option<PathBuf>,
    /// Writes what is found as a list of {image_id, file_name, category_id, bbox: [x, y, width, height], score}.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes each image with its boxes of scores from 0.3, or from --score-threshold, to this folder as PNG.
    #[arg(long, value_name = "DIR")]
    draw: Option<PathBuf>,
    /// The score that a detection must exceed; by default that of the detector's settings.
    #[arg(long, value_name = "T")]
    score_threshold: Option<f32>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// A detector, its classes, and how it sees an image.
struct Predictor {
    detector: TrainedDetector,
    categories: Vec<Category>,
    view: View,
}

/// How a detector sees an image.
enum View {
    /// Fitted into a square of this side, as in training.
    Square(usize),
    /// As in torchvision.
    ShortSide(ShortSideResize),
}

/// A COCO result that names its image.
#[derive(Serialize)]
struct NamedResult<'a> {
    image_id: u64,
    file_name: &'a str,
    category_id: u64,
    bbox: [f64; 4],
    score: f64,
}

fn main() -> ExitCode {
    common::exit_code(|| run(&Options::parse()))
}

fn run(options: &Options) -> Result<()> {
    if let Some(threshold) = options.score_threshold {
        ensure!(
            (0.0..=1.0).contains(&threshold),
            "--score-threshold {threshold}: a score lies between 0 and 1"
        );
    }
    ensure!(options.json.is_some() || options.draw.is_some(), "give --json, --draw or both");
    let images = Images::open(&options.images, options.annotations.as_deref())?;
    let device = parse_device(&options.device.device)?;
    let trained = Trained::open(&options.checkpoint, options.score_threshold, &device)?;
    let predictor = match trained {
        Some(Trained { detector, categories, images, .. }) => {
            Predictor { detector, categories, view: View::Square(images.augment.image_size) }
        }
        None => {
            let (Some(file), Some(architecture), Some(classes)) =
                (&options.torchvision, options.architecture, options.classes)
            else {
                return Err(anyhow!("give --checkpoint, or --torchvision, --architecture and --classes"));
            };
            let threshold = options.score_threshold;
            let detector = architecture.load(file, classes, options.norm_epsilon, threshold, &device)?;
            let categories = architecture.categories(classes, &images.categories);
            Predictor { detector, categories, view: View::ShortSide(ShortSideResize::default()) }
        }
    };

    let names: Vec<String> = predictor.categories.iter().map(|category| category.name.clone()).collect();
    let shown = options.score_threshold.unwrap_or(PictureConfig::default().min_score);
    let picture = PictureConfig { min_score: shown, ..PictureConfig::default() };
    let mut written = Vec::new();
    let mut objects = 0;
    for image in &images.images {
        let pixels = decode(&image.path)?;
        let batch = predictor.view.batch(image.id, &pixels);
        let found = predictor.detector.detect(&batch.images.to_batch(&device));
        let found = found.first().map(|found| batch.to_original(0, found)).unwrap_or_default();
        objects += found.len();
        if let Some(folder) = &options.draw {
            draw(folder, &image.key, &pixels, &found, &names, &picture)?;
        }
        let found = ImageDetections { image_id: image.id, detections: found };
        for result in coco_results(&predictor.categories, &[found])? {
            let file_name = &image.key;
            let (image_id, category_id) = (result.image_id, result.category_id);
            written.push(NamedResult {
                image_id,
                file_name,
                category_id,
                bbox: result.bbox,
                score: result.score,
            });
        }
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string(&written)? + "\n";
        fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    println!("{} images, {objects} objects", images.images.len());
    Ok(())
}

impl View {
    /// The image alone in a batch.
    fn batch(&self, id: u64, pixels: &RgbImage) -> EvalBatch {
        match self {
            Self::Square(side) => {
                let size = ImageSize::new(pixels.height() as usize, pixels.width() as usize);
                let geometry = ViewGeometry::scaled_to_fit(size, *side, 1.0);
                EvalBatch::single(id, &geometry.apply(pixels), geometry)
            }
            Self::ShortSide(resize) => resize.batch(id, pixels),
        }
    }
}

/// Writes an image with its boxes under its name in `folder`.
fn draw(
    folder: &Path,
    key: &str,
    pixels: &RgbImage,
    found: &Detections,
    names: &[String],
    config: &PictureConfig,
) -> Result<()> {
    let path = folder.join(key).with_extension("png");
    let context = || path.display().to_string();
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(context)?;
    }
    draw_detections(pixels, &Targets::default(), found, names, config).save(&path).with_context(context)
}
