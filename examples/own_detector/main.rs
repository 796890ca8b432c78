//! A detector of your own in the trainer of this project: see docs/guides/own-detector.md.
//!
//! ```text
//! cargo run --release --example own_detector
//! ```
//!
//! trains it by Scale-Equivalent Distillation on generated scenes; the arguments are those of the other training examples.

mod cells;
#[path = "../common/mod.rs"]
mod common;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use cells::CellDetector;
use clap::Parser;
use common::{
    args::Args,
    data::Dataset,
    preset::{self, ScenesPreset},
};
use sed::{
    core::{Detector, device::parse_device},
    train::train::{Method, Run, TrainConfig, train},
};

fn main() -> ExitCode {
    common::exit_code(|| run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    let device = parse_device(&args.device)?;
    // There is nothing to configure about this detector.
    let settings = preset::settings(args, (), ScenesPreset { iterations: 600, burn_in: 300 })?;
    let dataset = Dataset::open(args, settings.scenes.as_ref(), settings.data)?;
    println!("{}", dataset.describe());

    device.seed(args.seed);
    let detector = CellDetector::new(dataset.num_classes(), &device);
    let (side, divisor) = (settings.augment.image_size, detector.size_divisor());
    ensure!(side.is_multiple_of(divisor), "--image-size {side}: want a multiple of {divisor}");

    let config = TrainConfig { method: Method::Sed, ..settings.train };
    let data = dataset.loaders(&config, &settings.augment, &settings.loader, args.seed)?;
    let outcome = train(detector, &data, &config, &device, &Run::new("own detector"))?;
    if let Some(last) = outcome.evaluations.last() {
        let percent =
            |value: Option<f64>| value.map_or("–".into(), |value| format!("{:.1}", 100.0 * value));
        println!("AP50: student {}, teacher {}", percent(last.student.ap50), percent(last.teacher.ap50));
    }
    Ok(())
}
