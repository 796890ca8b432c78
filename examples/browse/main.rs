//! Shows what a training sees of its images, on one page.
//!
//! ```text
//! cargo run --release --example browse
//! cargo run --release --example browse -- --checkpoint runs/retinanet-…
//! ```
//!
//! The first command shows the generated scenes, the second those of a run with its teacher's pseudo-labels. See `--help`
//! for your own data. The page is one file and needs no network.

#[path = "../common/mod.rs"]
mod common;
mod images;
mod options;
mod pictures;

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use common::{
    args::DetectorName,
    models::{self, Model},
    run_file::RunFile,
    settings::{Settings, override_settings},
    trained::{CheckpointArgs, RunImages, Trained},
};
use sed::{
    core::device::parse_device,
    train::{
        data::{AugmentConfig, HostImages, image},
        report::{HtmlPage, write_atomic},
    },
};

use images::Images;
use options::Options;
use pictures::{Pictures, Teacher};

fn main() -> ExitCode {
    common::exit_code(|| run(&Options::parse()))
}

fn run(options: &Options) -> Result<()> {
    let threshold = options.threshold;
    ensure!((0.0..=1.0).contains(&threshold), "--threshold {threshold}: a score lies between 0 and 1");
    if let Some(run) = &options.checkpoint {
        return browse_run(options, run);
    }
    match options.detector {
        DetectorName::Retinanet => browse(options, &models::retinanet_settings(&options.args)?),
        DetectorName::FasterRcnn => browse(options, &models::faster_rcnn_settings(&options.args)?),
    }
}

/// The views of a training with these arguments.
fn browse<M: Model>(options: &Options, preset: &Settings<M>) -> Result<()> {
    let args = &options.args;
    let settings = override_settings(preset, args.config.as_deref(), &args.set)?;
    settings.augment.validate()?;
    let images = Images::open(args, settings.scenes.as_ref(), settings.data, None, options.count)?;
    write(options, &images, &settings.augment, None)
}

/// The views of a run, with its teacher.
fn browse_run(options: &Options, run: &Path) -> Result<()> {
    let device = parse_device(&options.args.device)?;
    let checkpoint = CheckpointArgs {
        checkpoint: Some(run.to_owned()),
        method: options.args.method.first().copied(),
        teacher: true,
        student: false,
    };
    let trained = Trained::open(&checkpoint, Some(options.threshold), &device)?;
    let trained = trained.context("--checkpoint")?;
    let mut args = RunFile::read(&trained.run)?.arguments;
    args.cache_dir = options.args.cache_dir.clone().or(args.cache_dir);
    let RunImages { augment, scenes, data } = &trained.images;
    let split = trained.run.join("split.json");
    let images = Images::open(&args, scenes.as_ref(), *data, Some(&split), options.count)?;
    let detect = |view: &HostImages| trained.detector.detect(&view.to_batch(&device)).remove(0);
    let name = trained.method.map_or("the run".to_owned(), |method| method.to_string());
    write(options, &images, augment, Some((&name, &detect)))
}

fn write(
    options: &Options,
    images: &Images,
    augment: &AugmentConfig,
    teacher: Option<(&str, &Teacher)>,
) -> Result<()> {
    let device = &parse_device(&options.args.device)?;
    let seed = options.args.seed;
    let pictures = Pictures { augment, names: &images.names, seed, device, threshold: options.threshold };
    let [labeled, hidden, unknown] = images.counts;
    let mut page = HtmlPage::new("What the training sees");
    page.text(&format!(
        "{labeled} labeled images, {} unlabeled; {} classes: {}.",
        hidden + unknown,
        images.names.len(),
        images.names.join(", ")
    ));

    page.section("Labeled images");
    page.note(
        "Each image with its labels, then as some steps see it: scaled, cut and mirrored, some of them with the strong \
         augmentation. Boxes are carried along; those of which too little is left are dropped.",
    );
    for (sample, place) in images.labeled.iter().zip(0..) {
        let pixels = image::decode_listed(&sample.path, sample.id, sample.size)?;
        page.pictures(&pictures.labeled(&name(&sample.path), &pixels, &sample.targets, place))?;
    }

    page.section("Unlabeled images");
    page.note(
        "Three views in one geometry: the weak one for the teacher, the strong one for the student, and the strong one at \
         half the size. True boxes are dashed where they are known; no training sees them.",
    );
    if let Some((method, _)) = teacher {
        page.note(&format!(
            "On the weak view, in solid lines, the teacher of {method}: detections of score {} and above.",
            options.threshold
        ));
    }
    let detect = teacher.map(|(_, detect)| detect);
    for (sample, place) in images.hidden.iter().zip(0..) {
        let pixels = image::decode_listed(&sample.path, sample.id, sample.size)?;
        let name = name(&sample.path);
        page.pictures(&pictures.unlabeled(&name, &pixels, Some(&sample.targets), place, detect)?)?;
    }
    for (file, place) in images.unknown.iter().zip(images.hidden.len() as u64..) {
        let pixels = file.decode()?;
        page.pictures(&pictures.unlabeled(&file.key, &pixels, None, place, detect)?)?;
    }
    write_atomic(&options.html, page.finish())?;
    println!("{}", options.html.display());
    Ok(())
}

/// The name of a file without its folder.
fn name(path: &std::path::Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
