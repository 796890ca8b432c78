//! One run of a comparison.

use std::{path::Path, time::Instant};

use anyhow::{Context, Result};
use burn::{data::dataloader::DataLoader, tensor::Device};
use sed::{
    core::{Detections, Detector, ImageBatch},
    train::{
        data::{EvalLoader, EvalLoaderConfig},
        eval::{CocoEvaluator, DetectionEvaluator, ImageDetections, detect_at_scales},
        report::RunFolder,
    },
};

use crate::{
    common::{models::Model, run_file::RunFile, session::Session, settings::Settings, signals},
    options::Options,
    plan::{RunId, equal_time_name},
    result::{AtScales, Numbers, RESULT_FILE, RunResult, peak_mib},
    variants::Variant,
};

/// Trains one variant and leaves its result in its folder.
pub fn run<M: Model>(
    options: &Options,
    variant: &Variant,
    id: &RunId,
    comparison: &Path,
    settings: impl Fn(&crate::common::args::Args) -> Result<Settings<M>>,
) -> Result<()> {
    let mut args = options.args.clone();
    (args.fold, args.seed) = (Some(id.fold), id.seed);
    args.set.extend(variant.sets.iter().cloned());
    args.iterations = id.iterations.or(args.iterations);
    let session = Session::open(&args, &settings(&args)?)?;
    let path = id.folder(comparison);
    // A run that was stopped goes on.
    let folder = match RunFolder::open(&path) {
        Ok(folder) => folder,
        Err(_) => RunFolder::create(&path, &session.settings)?,
    };
    // So that other examples can use the detector.
    let (detector, categories) = (options.detector, session.dataset.categories.clone());
    RunFile { detector, methods: vec![variant.method], arguments: args.for_the_record()?, categories }
        .write(&folder)?;
    session.dataset.write_manifest(&folder)?;
    let run = session.run(&args, variant.method)?;
    let outcome = run.train(&variant.name, folder.path(), true, signals::stop()?, None)?;
    let last = outcome.evaluations.last().context("a run without an evaluation")?;
    let at_scales = match options.inference_scales.is_empty() {
        true => None,
        false => Some(evaluate_at_scales(&session, &outcome.teacher, &options.inference_scales)?),
    };
    let ap = |e: &sed::train::train::Evaluation| (e.iteration, e.student.ap, e.teacher.ap);
    let name = match id.iterations {
        None => variant.name.clone(),
        Some(_) => equal_time_name(&variant.name),
    };
    let result = RunResult {
        variant: name,
        method: variant.method,
        fold: id.fold,
        seed: id.seed,
        iterations: last.iteration,
        seconds: outcome.seconds,
        peak_mib: peak_mib(),
        student: last.student.values(),
        teacher: last.teacher.values(),
        curve: outcome.evaluations.iter().map(ap).collect(),
        at_scales,
    };
    folder.write_json(RESULT_FILE, &result)?;
    Ok(())
}

/// The validation images at several sizes, and the time that this takes beside the usual one.
fn evaluate_at_scales<M: Model>(
    session: &Session<M>,
    detector: &M::Detector,
    scales: &[f64],
) -> Result<AtScales> {
    let batch = session.settings.loader.validation_batch;
    let config =
        EvalLoaderConfig { image_size: session.settings.augment.image_size, batch, ..Default::default() };
    let loader = EvalLoader::new(&session.dataset.valid, config)?;
    let (numbers, milliseconds) =
        evaluate(session, &loader, |images| detect_at_scales(detector, images, scales))?;
    let (_, single_milliseconds) = evaluate(session, &loader, |images| detector.detect(images))?;
    Ok(AtScales { scales: scales.to_vec(), numbers, milliseconds, single_milliseconds })
}

/// COCO's numbers of a way to detect, and its milliseconds an image.
fn evaluate<M: Model>(
    session: &Session<M>,
    loader: &EvalLoader,
    detect: impl Fn(&ImageBatch) -> Vec<Detections>,
) -> Result<(Numbers, f64)> {
    let device: &Device = &session.device;
    let (mut found, mut seconds) = (Vec::new(), 0.0);
    for batch in loader.iter() {
        let batch = batch.map_err(anyhow::Error::new)?;
        let images = batch.images.to_batch(device);
        let started = Instant::now();
        let detections = detect(&images);
        seconds += started.elapsed().as_secs_f64();
        for (index, (detections, &image_id)) in detections.iter().zip(&batch.ids).enumerate() {
            found.push(ImageDetections { image_id, detections: batch.to_original(index, detections) });
        }
    }
    let summary = CocoEvaluator.evaluate(session.dataset.truth(), &found)?;
    Ok((summary.values(), 1000.0 * seconds / found.len().max(1) as f64))
}
