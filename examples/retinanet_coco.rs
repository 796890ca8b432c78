//! Trains a RetinaNet by Scale-Equivalent Distillation, and on the labels alone for comparison.
//!
//! ```text
//! cargo run --release --example retinanet_coco
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
    retinanet::{RetinaNet, RetinaNetConfig},
};

fn main() -> ExitCode {
    common::exit_code(run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    let model = match preset::body(args.backbone) {
        None => RetinaNetConfig::tiny(1),
        Some(body) => {
            let mut config = RetinaNetConfig::resnet50(1);
            config.backbone.body = body;
            config
        }
    };
    let scenes = ScenesPreset { iterations: 5000, burn_in: 1000 };
    compare("retinanet", args, &preset::settings(args, model, scenes)?)
}

impl Model for RetinaNetConfig {
    type Detector = RetinaNet;

    const CLASS_LAYERS: &[&str] = &["head.classification_head.cls_logits."];

    fn set_classes(&mut self, classes: usize) {
        self.num_classes = classes;
    }

    fn validate(&self) -> Result<()> {
        Ok(self.validate_for_views()?)
    }

    fn init(&self, device: &Device) -> Result<RetinaNet> {
        Ok(RetinaNetConfig::init(self, device)?)
    }

    fn body(detector: &mut RetinaNet) -> &mut ResNet {
        &mut detector.backbone.body
    }
}
