//! What a run leaves behind: a table, curves and pictures.

use std::path::{Path, PathBuf};

use anyhow::Result;
use burn::tensor::Device;
use sed::{
    core::Detector,
    train::{
        data::{AugmentConfig, EvalLoader, EvalLoaderConfig, LabeledSet, image},
        eval::CocoSummary,
        report::{Cell, PictureConfig, ResultTable, RunFolder, Series, curves_svg, draw_detections},
        train::{Method, TrainOutcome},
    },
};

use super::data::Dataset;

/// Validation images that are drawn.
const PICTURES: usize = 12;

/// The results of the methods, side by side.
pub struct Comparison<'a> {
    folder: &'a RunFolder,
    table: ResultTable,
    curves: Vec<Series>,
}

impl<'a> Comparison<'a> {
    /// An empty comparison in a run folder.
    pub fn new(folder: &'a RunFolder) -> Self {
        let columns = ["run", "AP", "AP50", "AP75", "APs", "APm", "APl", "minutes"];
        Self { folder, table: ResultTable::new(columns), curves: Vec::new() }
    }

    /// The folder of one method's files.
    pub fn start(&self, method: Method) -> Result<PathBuf> {
        let path = self.folder.file(method.name());
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Adds a finished training.
    pub fn add<D: Detector>(&mut self, method: Method, outcome: &TrainOutcome<D>) -> Result<()> {
        let stages = outcome.student.stages();
        let names = match method {
            Method::Supervised => ["supervised".to_string(), "supervised, EMA".to_string()],
            method => [format!("{method}, student"), format!("{method}, teacher")],
        };
        if let Some(last) = outcome.evaluations.last() {
            self.row(&names[0], &last.student, outcome.seconds);
            self.row(&names[1], &last.teacher, outcome.seconds);
        }
        for (name, side) in names.into_iter().zip([0, 1]) {
            let points = outcome.evaluations.iter().filter_map(|evaluation| {
                let summary = if side == 0 { &evaluation.student } else { &evaluation.teacher };
                summary.ap.map(|ap| (evaluation.iteration as f64, 100.0 * ap))
            });
            self.curves.push(Series { name, points: points.collect() });
        }
        if let Some(log) = &outcome.log {
            let of_a_stage =
                |name: &str| name.split_once('/').is_some_and(|(stage, _)| stages.contains(&stage));
            let losses = log.names().iter().filter(|name| *name == "loss" || of_a_stage(name));
            let series: Vec<Series> =
                losses.map(|name| Series { name: name.clone(), points: log.series(name) }).collect();
            let title = format!("losses, {method}");
            curves_svg(&self.folder.file(method.name()).join("losses.svg"), &title, &series)?;
        }
        Ok(())
    }

    fn row(&mut self, name: &str, summary: &CocoSummary, seconds: f64) {
        let percent = |value: Option<f64>| value.map_or(Cell::Missing, |v| Cell::number(100.0 * v, 1));
        let numbers = summary.values();
        let cells = numbers[..6].iter().map(|value| percent(*value));
        let cells = std::iter::once(Cell::from(name)).chain(cells);
        self.table.push(cells.chain([Cell::number(seconds / 60.0, 1)]));
    }

    /// Draws what a detector finds in the first validation images, beside the truth.
    pub fn draw_predictions<D: Detector>(
        &self,
        path: &Path,
        detector: &D,
        dataset: &Dataset,
        augment: &AugmentConfig,
        device: &Device,
    ) -> Result<()> {
        let samples = dataset.valid.samples.iter().take(PICTURES).cloned().collect();
        let shown = LabeledSet { categories: dataset.categories.clone(), samples };
        let config = EvalLoaderConfig { image_size: augment.image_size, batch: 1, ..Default::default() };
        let loader = EvalLoader::new(&shown, config)?;
        let names: Vec<String> = dataset.categories.iter().map(|category| category.name.clone()).collect();
        let folder = path.join("pictures");
        std::fs::create_dir_all(&folder)?;
        let batches = burn::data::dataloader::DataLoader::iter(&loader);
        for (sample, batch) in shown.samples.iter().zip(batches) {
            let batch = batch.map_err(anyhow::Error::new)?;
            let found = detector.detect(&batch.images.to_batch(device));
            let found = batch.to_original(0, &found[0]);
            let pixels = image::decode_listed(&sample.path, sample.id, sample.size)?;
            let picture =
                draw_detections(&pixels, &sample.targets, &found, &names, &PictureConfig::default());
            picture.save(folder.join(format!("{}.png", sample.id)))?;
        }
        Ok(())
    }

    /// Prints the table and writes it with the curves.
    pub fn finish(self) -> Result<()> {
        self.table.write(self.folder.path(), "results")?;
        curves_svg(&self.folder.file("ap.svg"), "AP on the validation images", &self.curves)?;
        println!("\n{}", self.table.to_text());
        println!("weights, configuration, metrics, curves and pictures: {}", self.folder.path().display());
        Ok(())
    }
}
