//! Writes the weights of a trained detector alone, for other programs.
//!
//! ```text
//! cargo run --release --example export -- --checkpoint runs/first --output detector.safetensors --output detector.bpk
//! ```

mod common;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, anyhow, ensure};
use clap::Parser;
use common::trained::{CheckpointArgs, DeviceArgs, Trained, WeightsFormat};
use sed::core::device::parse_device;

/// Writes the teacher of a run, or its student, as a file of weights.
///
/// Safetensors files have the keys of torchvision's state dicts, so that a detector of its architecture takes them by
/// load_state_dict. Burnpack is Burn's own format, which `Module::load_record` takes.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Options {
    #[command(flatten)]
    checkpoint: CheckpointArgs,
    /// File to write, .safetensors or .bpk; may be given several times. One that exists is replaced.
    #[arg(long, value_name = "FILE", required = true)]
    output: Vec<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

fn main() -> ExitCode {
    common::exit_code(|| run(&Options::parse()))
}

fn run(options: &Options) -> Result<()> {
    let format = |path: &PathBuf| {
        let format = WeightsFormat::of(path);
        format.ok_or_else(|| anyhow!("--output {}: want .safetensors or .bpk", path.display()))
    };
    let formats = options.output.iter().map(format).collect::<Result<Vec<_>>>()?;
    let device = parse_device(&options.device.device)?;
    let trained = Trained::open(&options.checkpoint, None, &device)?;
    let trained = trained.ok_or_else(|| anyhow!("give --checkpoint"))?;
    for (path, format) in options.output.iter().zip(formats) {
        ensure!(
            path.parent().is_none_or(|parent| parent.as_os_str().is_empty() || parent.is_dir()),
            "--output {}: no such folder",
            path.display()
        );
        trained.detector.save(path, format)?;
        println!("{} -> {}", trained.weights.display(), path.display());
    }
    Ok(())
}
