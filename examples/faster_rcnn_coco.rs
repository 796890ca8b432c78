//! Trains a Faster R-CNN by Scale-Equivalent Distillation, and on the labels alone for comparison.
//!
//! ```text
//! cargo run --release --example faster_rcnn_coco
//! ```
//!
//! draws a dataset, trains both ways on the same few labels and prints a table. See `--help` for
//! training on your own data.

mod common;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use common::{
    args::{DetectorName, TrainingArgs},
    compare::compare,
    models,
};

fn main() -> ExitCode {
    common::exit_code(|| run(TrainingArgs::parse()))
}

fn run(args: TrainingArgs) -> Result<()> {
    let (args, task) = args.arguments(DetectorName::FasterRcnn)?;
    compare(DetectorName::FasterRcnn, &args, &models::faster_rcnn_settings(&args)?, task)
}
