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
use clap::Parser;
use common::{args::Args, compare::compare, models};

fn main() -> ExitCode {
    common::exit_code(run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    compare("retinanet", args, &models::retinanet_settings(args)?)
}
