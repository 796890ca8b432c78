//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::common::args::{Args, DetectorName};

/// Shows on one page what a training sees: labeled images as they are augmented, unlabeled images as weak, strong and
/// half-size view, each with its boxes carried along.
///
/// With a run folder the teacher's pseudo-labels are drawn beside the true boxes, which no training sees. Without data
/// the generated scenes are shown. Of the options of training those count that say which images are labeled and how views
/// are drawn.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Options {
    /// Run folder of `retinanet_coco` or `faster_rcnn_coco`: its data, its settings, its division of the training images and
    /// the teacher of `--method`, by default that of `sed`.
    #[arg(long, value_name = "DIR", conflicts_with_all = [
        "config", "set", "image_size", "labeled_percent", "fold", "train_annotations", "unlabeled", "detector",
    ])]
    pub checkpoint: Option<PathBuf>,
    /// The detector whose preset says how views are drawn.
    #[arg(long, value_enum, default_value_t = DetectorName::Retinanet)]
    pub detector: DetectorName,
    /// Labeled and unlabeled images, so many each, spread evenly over the data.
    #[arg(long, value_name = "N", default_value_t = 6)]
    pub count: usize,
    /// The least score of a pseudo-label that is drawn.
    #[arg(long, value_name = "T", default_value_t = 0.5)]
    pub threshold: f32,
    /// The page that is written; an earlier one is replaced.
    #[arg(long, value_name = "FILE", default_value = "browse.html")]
    pub html: PathBuf,
    /// Data and device.
    #[command(flatten)]
    pub args: Args,
}
