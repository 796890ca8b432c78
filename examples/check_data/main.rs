//! Looks at all annotations and images of a dataset before a training does.
//!
//! ```text
//! cargo run --release --example check_data -- --annotations train.json --images images/train
//! ```
//!
//! prints what there is and what is wrong with it. The exit code is 1 exactly if a training under the policy `strict`
//! would refuse the data. See `--help` for unlabeled and validation images.

mod options;
mod output;
mod progress;

use std::{fs, process::ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use sed::train::data::check::{self, Parts, Source};

use options::Options;
use progress::Progress;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(refused) => ExitCode::from(u8::from(refused)),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether strict would refuse the data.
fn run(options: &Options) -> Result<bool> {
    let progress = Progress::default();
    let validation = options.val_annotations.as_deref().zip(options.val_images.as_deref());
    let train = options.annotations.as_deref().zip(options.images.as_deref());
    let labeled = |(annotations, images)| Source::Labeled { annotations, images };
    let parts = Parts {
        train: train.map(labeled),
        unlabeled: options.unlabeled.iter().map(|path| Source::Unlabeled(path)).collect(),
        validation: validation.map(labeled),
    };
    let report = check::check(&parts, &|done, total| progress.tell(done, total));
    progress.finish();
    print!("{}", output::text(&report, options));
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        fs::write(path, text).with_context(|| format!("{}", path.display()))?;
    }
    Ok(report.is_refused())
}
