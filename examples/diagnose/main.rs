//! Figure 1 of the paper for a dataset and a detector, before and after Scale-Equivalent Distillation.
//!
//! ```text
//! cargo run --release --example diagnose -- --run runs/retinanet-…
//! ```
//!
//! measures the two teachers of a run of `retinanet_coco`; `--detector faster-rcnn` those of `faster_rcnn_coco`.
//! Without arguments it first trains for a few minutes on generated scenes. See `--help` for weights and data of your
//! own. True objects serve to measure alone, so that images whose labels a training does not see can be looked at too.

#[path = "../common/mod.rs"]
mod common;
mod images;
mod measure;
mod options;
mod output;
mod paired_anchors;
mod subject;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use common::{
    args::DetectorName,
    compare::compare,
    models::{self, Model},
    preset::{self, ScenesPreset},
    run_file::Task,
    settings::Settings,
};
use sed::{
    core::device::parse_device,
    models::weights::{self, LoadOptions},
    train::{
        diagnostics::{SizeDistribution, instance_sizes},
        report::RunFolder,
    },
};

use images::Images;
use measure::{Measure, measure};
use options::Options;
use output::Diagnosis;
use paired_anchors::PairedAnchors;
use subject::Subject;

/// Bins of the sizes of objects.
const SIZE_BINS: usize = 40;

fn main() -> ExitCode {
    common::exit_code(|| run(Options::parse()))
}

fn run(options: Options) -> Result<()> {
    let threshold = options.threshold;
    ensure!((0.0..=1.0).contains(&threshold), "--threshold {threshold}: a score lies between 0 and 1");
    match options.detector {
        DetectorName::Retinanet => {
            let model = models::retinanet(options.args.backbone());
            let scenes = ScenesPreset { iterations: 1200, burn_in: 400 };
            let preset = preset::settings(&options.args, model, scenes)?;
            diagnose(options, &preset)
        }
        DetectorName::FasterRcnn => {
            let model = models::faster_rcnn(options.args.backbone());
            let scenes = ScenesPreset { iterations: 900, burn_in: 600 };
            let preset = preset::settings(&options.args, model, scenes)?;
            diagnose(options, &preset)
        }
    }
}

fn diagnose<M: Model>(mut options: Options, preset: &Settings<M>) -> Result<()>
where
    M::Detector: PairedAnchors,
{
    let device = parse_device(&options.args.device)?;
    let mut target = common::run_dir(&options.args, "diagnose");
    let mut subject = if let Some(run) = &options.run {
        Subject::of_run(run, options.detector)?
    } else if options.has_weights() || options.args.user_data()?.is_some() {
        Subject::of_files(&options, preset)?
    } else {
        println!("neither --run nor --before and --after nor data are given: training on generated scenes");
        options.args.run_dir = Some(target.clone());
        compare(options.detector, &options.args, preset, Task::Start)?;
        let subject = Subject::of_run(&target, options.detector)?;
        target.push("diagnostics");
        subject
    };

    let images = Images::open(&options, &subject)?;
    subject.model.set_classes(images.set.categories.len());
    subject.model.validate()?;
    // Weights that do not fit are found before anything is written.
    let mut detectors = Vec::new();
    for (name, file) in &subject.weights {
        let mut detector = subject.model.init(&device)?;
        weights::load(&mut detector, file, &LoadOptions::default()).with_context(|| format!("--{name}"))?;
        detectors.push((*name, detector));
    }
    let folder = RunFolder::create(target, &subject.record(&options))?;

    let sizes = SizeDistribution::new(&instance_sizes(&images.truth), SIZE_BINS);
    let mut diagnosis = Diagnosis::new(images.describe(), options.threshold, sizes);
    let config = Measure { image_size: subject.image_size, threshold: options.threshold, device: &device };
    for (name, detector) in detectors {
        println!("{name}: a pass over {}", images.describe());
        diagnosis.models.push(measure(name, &detector, &images, &config)?);
    }
    diagnosis.write(&folder)?;
    print!("\n{}", diagnosis.to_text());
    println!("\npictures and diagnostics.json: {}", folder.path().display());
    Ok(())
}
