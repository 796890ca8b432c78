//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::common::args::{Args, DetectorName};

/// Draws Figure 1 of the paper on Scale-Equivalent Distillation for a dataset and two sets of weights: the sizes of
/// objects, anchors against the score difference between an image and its half-size view, precision and recall of
/// pseudo-labels.
///
/// With data alone the sizes are all there is. With neither data nor weights it first trains on generated scenes; the
/// options of training count there alone.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Options {
    /// The detector that the weights belong to.
    #[arg(long, value_enum, default_value_t = DetectorName::Retinanet)]
    pub detector: DetectorName,
    /// Run folder of `retinanet_coco` or `faster_rcnn_coco`: its configuration, its division of the training images,
    /// and the teachers of its two methods as `--before` and `--after`.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["before", "after", "config", "set", "image_size"])]
    pub run: Option<PathBuf>,
    /// Weights before Scale-Equivalent Distillation.
    #[arg(long, value_name = "FILE")]
    pub before: Option<PathBuf>,
    /// Weights after Scale-Equivalent Distillation.
    #[arg(long, value_name = "FILE")]
    pub after: Option<PathBuf>,
    /// The images to measure on.
    #[arg(long, value_enum, default_value_t = Part::Validation)]
    pub images: Part,
    /// The least score of a pseudo-label, for the table and for the recall by size.
    #[arg(long, value_name = "T", default_value_t = 0.5)]
    pub threshold: f32,
    /// Data, device and folders.
    #[command(flatten)]
    pub args: Args,
}

/// `--images`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The validation images.
    Validation,
    /// The training images whose labels the training does not see.
    Unlabeled,
}

impl Options {
    /// Whether a file of weights is given.
    pub fn has_weights(&self) -> bool {
        self.before.is_some() || self.after.is_some()
    }
}

impl Part {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Unlabeled => "unlabeled",
        }
    }
}
