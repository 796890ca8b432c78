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
use burn::tensor::Device;
use clap::Parser;
use common::{
    args::Args,
    compare::{Model, compare},
    preset::{self, ScenesPreset},
};
use sed::models::{
    backbone::ResNet,
    faster_rcnn::{FasterRcnn, FasterRcnnConfig},
};

fn main() -> ExitCode {
    common::exit_code(run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    let model = match preset::body(args.backbone) {
        None => FasterRcnnConfig::tiny(1),
        Some(body) => {
            let mut config = FasterRcnnConfig::resnet50(1);
            config.backbone.body = body;
            config
        }
    };
    // Two stages learn the scenes sooner than one, see docs/results.md.
    let scenes = ScenesPreset { iterations: 3000, burn_in: 600 };
    compare("faster_rcnn", args, &preset::settings(args, model, scenes)?)
}

impl Model for FasterRcnnConfig {
    type Detector = FasterRcnn;

    const CLASS_LAYERS: &[&str] = &["roi_heads.box_predictor."];

    fn set_classes(&mut self, classes: usize) {
        self.num_classes = classes;
    }

    fn validate(&self) -> Result<()> {
        Ok(self.validate_for_views()?)
    }

    fn init(&self, device: &Device) -> Result<FasterRcnn> {
        Ok(FasterRcnnConfig::init(self, device)?)
    }

    fn body(detector: &mut FasterRcnn) -> &mut ResNet {
        &mut detector.backbone.body
    }
}
