//! Evaluates detections, or a trained detector, by the COCO or the PASCAL VOC protocol.
//!
//! ```text
//! cargo run --release --example evaluate -- --annotations val.json --detections results.json
//! cargo run --release --example evaluate -- --annotations val.json --images images/val --checkpoint runs/first
//! ```

mod common;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, anyhow};
use clap::{Parser, ValueEnum};
use common::trained::{CheckpointArgs, DeviceArgs, Trained};
use sed::{
    core::device::parse_device,
    train::{
        data::{Category, CocoIndex, EvalImage, EvalLoader, EvalLoaderConfig},
        eval::{
            CocoEvaluator, CocoResult, CocoSummary, DetectionEvaluator, EvalAnnotations,
            PycocotoolsEvaluator, VocEvaluator, VocInterpolation, VocSummary, coco_results,
            read_coco_results,
        },
        report::{Cell, ResultTable},
    },
};
use serde_json::Value;

/// Compares detections with annotations: the twelve COCO numbers and the AP of each class, equal to pycocotools.
///
/// Numbers are printed in percent, and written by --json as fractions with the keys AP, AP50, AP75, APs, APm, APl, AR1, AR10,
/// AR100, ARs, ARm, ARl and per_class, an object of the AP of each class by its name; for VOC the keys are AP50 and per_class. A
/// number that is not defined, as no object is of that size or class, is – here, null in JSON, and -1 in pycocotools; no mean counts it.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Options {
    /// COCO JSON of the true objects.
    #[arg(long, value_name = "FILE")]
    annotations: PathBuf,
    /// COCO results JSON: a list of {image_id, category_id, bbox: [x, y, width, height], score}.
    #[arg(long, value_name = "FILE", conflicts_with = "checkpoint")]
    detections: Option<PathBuf>,
    #[command(flatten)]
    checkpoint: CheckpointArgs,
    /// With --checkpoint: folder of the annotated images.
    #[arg(long, value_name = "DIR", requires = "checkpoint")]
    images: Option<PathBuf>,
    /// The protocol.
    #[arg(long, value_enum, default_value_t = Metric::Coco)]
    metric: Metric,
    /// Writes the numbers to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// `--metric`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Metric {
    /// COCO: means over IoU thresholds, by object size, precision and recall.
    Coco,
    /// PASCAL VOC 2007: AP at IoU 0.5, eleven recalls; objects marked difficult, ignore or iscrowd count neither way.
    Voc2007,
    /// PASCAL VOC from 2010 on: the same with the whole area under the curve.
    Voc2012,
}

fn main() -> ExitCode {
    common::exit_code(|| run(&Options::parse()))
}

fn run(options: &Options) -> Result<()> {
    let annotations = EvalAnnotations::read(&options.annotations)?;
    let results = match &options.detections {
        Some(path) => read_coco_results(path)?,
        None => detect(options, &annotations.truth.categories)?,
    };
    let results = of_known_categories(results, &annotations.truth.categories);
    let (table, json) = match options.metric {
        Metric::Coco => {
            let evaluator = PycocotoolsEvaluator::new(&annotations);
            let summary = evaluator.evaluate_results(&annotations.truth, &results)?;
            if annotations.zero.is_some() {
                note_annotation_zero(&annotations, &results, &summary)?;
            }
            (coco_table(&summary), summary.to_json())
        }
        Metric::Voc2007 => voc(VocInterpolation::ElevenPoints, &annotations, &results)?,
        Metric::Voc2012 => voc(VocInterpolation::AllPoints, &annotations, &results)?,
    };
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&json)? + "\n";
        std::fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    print!("{table}");
    Ok(())
}

/// What the detector of `--checkpoint` finds in the annotated images, with the category ids of the annotations.
fn detect(options: &Options, categories: &[Category]) -> Result<Vec<CocoResult>> {
    let device = parse_device(&options.device.device)?;
    let missing = || anyhow!("give --detections, or --checkpoint and --images");
    let trained = Trained::open(&options.checkpoint, None, &device)?.ok_or_else(missing)?;
    let folder = options.images.as_ref().ok_or_else(missing)?;
    let index = CocoIndex::read(&options.annotations)?;
    let image = |image: &sed::train::data::CocoImage| EvalImage {
        id: image.id,
        path: folder.join(&image.file_name),
        listed_size: Some(image.size),
    };
    let config =
        EvalLoaderConfig { image_size: trained.images.augment.image_size, ..EvalLoaderConfig::default() };
    let loader = EvalLoader::from_images(index.images().iter().map(image).collect(), config)?;
    let found = trained.detector.detect_all(&loader, &device, |_| ())?;
    let own = trained.categories.into_iter().map(|own| {
        let same_name = categories.iter().find(|category| category.name == own.name);
        same_name.cloned().ok_or_else(|| {
            anyhow!("{}: no category {:?}, which the detector finds", options.annotations.display(), own.name)
        })
    });
    Ok(coco_results(&own.collect::<Result<Vec<_>>>()?, &found)?)
}

/// The detections of categories that the annotations have; no protocol counts others.
fn of_known_categories(results: Vec<CocoResult>, categories: &[Category]) -> Vec<CocoResult> {
    let mut unknown: BTreeMap<u64, usize> = BTreeMap::new();
    let known = |result: &CocoResult| {
        let known = categories.iter().any(|category| category.id == result.category_id);
        if !known {
            *unknown.entry(result.category_id).or_default() += 1;
        }
        known
    };
    let results = results.into_iter().filter(known).collect();
    for (id, count) in unknown {
        eprintln!(
            "note: {count} detections of category {id}, which the annotations do not have, are left out"
        );
    }
    results
}

/// Says what pycocotools makes of annotation 0.
fn note_annotation_zero(
    annotations: &EvalAnnotations,
    results: &[CocoResult],
    summary: &CocoSummary,
) -> Result<()> {
    let counted = CocoEvaluator.evaluate_results(&annotations.truth, results)?;
    if counted != *summary {
        let percent =
            |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{:.2}", 100.0 * value));
        eprintln!(
            "note: as in pycocotools the object of annotation id 0 counts as never found; with ids from 1 AP is {} instead of {}",
            percent(counted.ap),
            percent(summary.ap)
        );
    }
    Ok(())
}

fn voc(
    interpolation: VocInterpolation,
    annotations: &EvalAnnotations,
    results: &[CocoResult],
) -> Result<(String, Value)> {
    let summary = VocEvaluator { interpolation }.evaluate(&annotations.voc_truth(), results)?;
    Ok((voc_table(&summary), summary.to_json()))
}

fn coco_table(summary: &CocoSummary) -> String {
    let mut numbers = ResultTable::new(["", "percent"]);
    for (name, value) in CocoSummary::NAMES.iter().zip(summary.values()) {
        numbers.push([Cell::from(*name), percent(value)]);
    }
    let mut classes = ResultTable::new(["class", "AP", "AP50"]);
    for class in &summary.classes {
        classes.push([Cell::from(class.category.name.clone()), percent(class.ap), percent(class.ap50)]);
    }
    format!("{}\n{}", numbers.to_text(), classes.to_text())
}

fn voc_table(summary: &VocSummary) -> String {
    let mut table = ResultTable::new(["class", "AP50"]);
    for class in &summary.classes {
        table.push([Cell::from(class.category.name.clone()), percent(class.ap50)]);
    }
    table.push([Cell::from("mean"), percent(summary.ap50)]);
    table.to_text()
}

fn percent(value: Option<f64>) -> Cell {
    value.map_or(Cell::Missing, |value| Cell::number(100.0 * value, 2))
}
