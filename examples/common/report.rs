//! What a run leaves behind: a table, curves, pictures and a page of all that.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use burn::data::dataloader::DataLoader;
use sed::{
    core::{Detections, Detector},
    train::{
        data::{EvalLoader, EvalLoaderConfig, LabeledSample, image},
        eval::{CocoEvaluator, CocoSummary, ImageDetections, ImageScore},
        report::{
            Cell, Chart, EvaluationReport, Figure, ModelReport, PictureConfig, PseudoLabelSnapshot,
            ResultTable, RunFolder, RunReport, Series, curves_svg, draw_detections,
        },
        train::{Evaluation, Method, TrainOutcome},
    },
};

use super::{data::Dataset, models::Model, session::Session};

/// Validation images that are drawn.
const PICTURES: usize = 12;
/// Best and worst validation images on the page, each.
const EXTREMES: usize = 6;
/// The teacher's AP may end this part below its best before the page warns.
const FALL: f64 = 0.9;
/// The teacher's foreground score may grow to so many times itself while it teaches before the page warns: of
/// dozens of runs two were beyond, and in both AP fell while it climbed, see docs/results.md.
const CLIMB: f64 = 1.7;
/// Unsupervised steps below which a mean says nothing.
const CLIMB_STEPS: usize = 200;

/// The teacher's foreground score in the first and the last tenth of its steps, if it climbed far.
pub fn climb(score: &[(f64, f64)]) -> Option<[f64; 2]> {
    // Single steps have images with many objects and with few.
    let tenth = score.len() / 10;
    let mean = |part: &[(f64, f64)]| part.iter().map(|(_, value)| value).sum::<f64>() / tenth as f64;
    let ends = [mean(&score[..tenth]), mean(&score[score.len() - tenth..])];
    (score.len() >= CLIMB_STEPS && ends[1] > CLIMB * ends[0]).then_some(ends)
}

/// The results of the methods, side by side.
pub struct Comparison<'a> {
    folder: &'a RunFolder,
    table: ResultTable,
    curves: Vec<Series>,
    /// The curves of all methods by the name of the scalar.
    scalars: BTreeMap<String, Vec<Series>>,
    /// The methods whose curves are there, and the AP that their teachers, or averages, end with.
    methods: Vec<(Method, Option<f64>)>,
    models: Vec<ModelReport>,
    warnings: Vec<String>,
}

impl<'a> Comparison<'a> {
    /// An empty comparison in a run folder.
    pub fn new(folder: &'a RunFolder) -> Self {
        let columns = ["run", "AP", "AP50", "AP75", "APs", "APm", "APl", "minutes"];
        Self {
            folder,
            table: ResultTable::new(columns),
            curves: Vec::new(),
            scalars: BTreeMap::new(),
            methods: Vec::new(),
            models: Vec::new(),
            warnings: Vec::new(),
        }
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
        let names = model_names(method);
        self.warn_of_a_fall(method, &names[1], outcome);
        self.warnings.extend(
            outcome
                .warnings
                .iter()
                .map(|one| format!("{method}, iteration {}: {}", one.iteration, one.message)),
        );
        if let Some(last) = outcome.evaluations.last() {
            self.row(&names[0], &last.student, outcome.seconds);
            self.row(&names[1], &last.teacher, outcome.seconds);
        }
        let end = outcome.evaluations.last().and_then(|last| last.teacher.ap);
        for (name, side) in names.into_iter().zip([0, 1]) {
            let points = outcome.evaluations.iter().filter_map(|evaluation| {
                let summary = if side == 0 { &evaluation.student } else { &evaluation.teacher };
                summary.ap.map(|ap| (evaluation.iteration as f64, 100.0 * ap))
            });
            self.curves.push(Series { name, points: points.collect() });
        }
        if let Some(log) = &outcome.log {
            let log = log.read()?;
            // The AP has a chart of its own.
            let empty =
                |(method, _): &(Method, Option<f64>)| Series { name: method.to_string(), points: Vec::new() };
            for name in log.names().iter().filter(|name| !is_evaluation(name)) {
                // A method has its colour in all charts.
                let before = self.methods.iter().map(empty).collect::<Vec<_>>();
                self.scalars.entry(name.clone()).or_insert(before);
            }
            for (name, curves) in &mut self.scalars {
                curves.push(Series { name: method.to_string(), points: log.series(name) });
            }
            let of_a_stage =
                |name: &str| name.split_once('/').is_some_and(|(stage, _)| stages.contains(&stage));
            let losses = log.names().iter().filter(|name| *name == "loss" || of_a_stage(name));
            let series: Vec<Series> =
                losses.map(|name| Series { name: name.clone(), points: log.series(name) }).collect();
            for stage in stages.iter().filter(|_| method == Method::Sed) {
                if let Some([first, last]) = climb(&log.series(&format!("{stage}/teacher_foreground"))) {
                    self.warnings.push(format!(
                        "{method}: {stage}/teacher_foreground climbed from {first:.0} to {last:.0}. If AP fell with it, the half-size \
                         view cannot tell the objects: try --set train.objective.scale_targets=full_view."
                    ));
                }
            }
            let title = format!("losses, {method}");
            curves_svg(&self.folder.file(method.name()).join("losses.svg"), &title, &series)?;
        }
        self.methods.push((method, end));
        Ok(())
    }

    fn row(&mut self, name: &str, summary: &CocoSummary, seconds: f64) {
        let percent = |value: Option<f64>| value.map_or(Cell::Missing, |v| Cell::number(100.0 * v, 1));
        let numbers = summary.values();
        let cells = numbers[..6].iter().map(|value| percent(*value));
        let cells = std::iter::once(Cell::from(name)).chain(cells);
        self.table.push(cells.chain([Cell::number(seconds / 60.0, 1)]));
    }

    /// Notes a teacher that was better before the end.
    fn warn_of_a_fall<D>(&mut self, method: Method, name: &str, outcome: &TrainOutcome<D>) {
        let ap = |one: &Evaluation| Some((one.iteration, one.teacher.ap?));
        let best = Evaluation::best(&outcome.evaluations).and_then(ap);
        let last = outcome.evaluations.last().and_then(ap);
        if let (Some((iteration, best)), Some((_, last))) = (best, last)
            && last < FALL * best
        {
            let (best, last) = (100.0 * best, 100.0 * last);
            self.warnings.push(format!(
                "{name}: the AP was {best:.1} after {iteration} iterations and {last:.1} at the end; \
                 {method}/checkpoints/{iteration:09} has the weights of then."
            ));
        }
    }

    /// A closer look at a teacher: its detections on all validation images, the first of which are drawn into `path`, and
    /// what was seen of its pseudo-labels.
    pub fn inspect<M: Model>(
        &mut self,
        method: Method,
        path: &Path,
        outcome: &TrainOutcome<M::Detector>,
        session: &Session<M>,
        pseudo_labels: Vec<PseudoLabelSnapshot>,
    ) -> Result<()> {
        let Session { settings, dataset, device, .. } = session;
        let detector = &outcome.teacher;
        let config = EvalLoaderConfig { image_size: settings.augment.image_size, ..Default::default() };
        let mut found = Vec::with_capacity(dataset.valid.len());
        for batch in EvalLoader::new(&dataset.valid, config)?.iter() {
            let batch = batch.map_err(anyhow::Error::new)?;
            for (index, detections) in detector.detect(&batch.images.to_batch(device)).iter().enumerate() {
                let detections = batch.to_original(index, detections);
                found.push(ImageDetections { image_id: batch.ids[index], detections });
            }
        }
        let names = dataset.class_names();
        let pictures = path.join("pictures");
        fs::create_dir_all(&pictures)?;
        for (sample, found) in dataset.valid.samples.iter().zip(&found).take(PICTURES) {
            let picture = draw(sample, &found.detections, &names, &PictureConfig::default())?;
            picture.save(pictures.join(format!("{}.png", sample.id)))?;
        }

        let [_, name] = model_names(method);
        let evaluation = EvaluationReport::new(dataset.truth(), &found, &CocoEvaluator)?;
        self.warnings.extend(evaluation.warnings(&name));
        let config = PictureConfig::for_page(evaluation.threshold);
        let samples: HashMap<u64, (&LabeledSample, &Detections)> = (dataset.valid.samples.iter())
            .zip(&found)
            .map(|(sample, found)| (sample.id, (sample, &found.detections)))
            .collect();
        let figures = |images: Vec<ImageScore>| -> Result<Vec<Figure>> {
            let known = images.iter().filter_map(|image| Some((image, samples.get(&image.image_id)?)));
            known.map(|(image, (sample, found))| figure(image, sample, found, &names, &config)).collect()
        };
        // No image is both where there are few.
        let count = EXTREMES.min(dataset.valid.len() / 2);
        let (best, worst) = (figures(evaluation.best(count))?, figures(evaluation.worst(count))?);
        self.models.push(ModelReport { name, evaluation, best, worst, pseudo_labels });
        Ok(())
    }

    /// Notes methods that end below the labels alone.
    fn warn_of_losses(&mut self) {
        let supervised = self.methods.iter().find(|(method, _)| *method == Method::Supervised);
        let Some((_, Some(alone))) = supervised else { return };
        for (method, end) in &self.methods {
            if let Some(end) = end.filter(|end| end < alone) {
                let (end, alone) = (100.0 * end, 100.0 * alone);
                self.warnings.push(format!(
                    "{method} ends with an AP of {end:.1}, below the {alone:.1} of the labels alone."
                ));
            }
        }
    }

    /// Prints the table and writes it with the curves and the page.
    pub fn finish(mut self, title: &str, dataset: &Dataset) -> Result<()> {
        self.warn_of_losses();
        self.table.write(self.folder.path(), "results")?;
        curves_svg(&self.folder.file("ap.svg"), "AP on the validation images", &self.curves)?;
        println!("\n{}", self.table.to_text());
        let chart =
            |title: String, series| Chart { title, x_label: "iteration".into(), x: None, y: None, series };
        let ap = chart("AP on the validation images".into(), self.curves);
        let mut scalars: Vec<_> = self.scalars.into_iter().collect();
        // The total, its parts, and what is no loss.
        scalars.sort_by_key(|(name, _)| if name == "loss" { 0 } else { 2 - u8::from(name.contains('/')) });
        let scalars = scalars.into_iter().map(|(name, series)| chart(name, series));
        let report = RunReport {
            title: title.to_string(),
            facts: vec![dataset.describe()],
            warnings: self.warnings,
            results: self.table,
            curves: std::iter::once(ap).chain(scalars).collect(),
            models: self.models,
            config: fs::read_to_string(self.folder.file("config.toml"))?,
        };
        let page = self.folder.write("report.html", report.to_html()?)?;
        println!("all results on one page: {}", page.display());
        println!("weights, configuration, metrics, curves and pictures: {}", self.folder.path().display());
        Ok(())
    }
}

/// Whether a scalar belongs to an evaluation, not to a step.
fn is_evaluation(name: &str) -> bool {
    name.starts_with("student/") || name.starts_with("teacher/")
}

/// The names of student and teacher in tables.
fn model_names(method: Method) -> [String; 2] {
    match method {
        Method::Supervised => ["supervised".to_string(), "supervised, EMA".to_string()],
        method => [format!("{method}, student"), format!("{method}, teacher")],
    }
}

/// An image with the objects found in it beside the true ones.
fn draw(
    sample: &LabeledSample,
    found: &Detections,
    names: &[String],
    config: &PictureConfig,
) -> Result<::image::RgbImage> {
    let pixels = image::decode_listed(&sample.path, sample.id, sample.size)?;
    Ok(draw_detections(&pixels, &sample.targets, found, names, config))
}

/// The picture of an image with its score.
fn figure(
    score: &ImageScore,
    sample: &LabeledSample,
    found: &Detections,
    names: &[String],
    config: &PictureConfig,
) -> Result<Figure> {
    let file = sample.path.file_name().unwrap_or_default().to_string_lossy();
    let f1 = score.f1().map_or("–".to_string(), |f1| format!("{:.0}", 100.0 * f1));
    let caption =
        format!("{file}: F1 {f1}, {} right, {} wrong, {} missed", score.right, score.wrong, score.missed);
    Ok(Figure { caption, picture: draw(sample, found, names, config)? })
}

#[cfg(test)]
mod tests {
    use super::climb;

    #[test]
    fn only_a_foreground_score_that_stays_high_has_climbed() {
        let score = |steps: usize, value: fn(usize) -> f64| -> Vec<(f64, f64)> {
            (0..steps).map(|step| (step as f64, value(step))).collect()
        };
        assert_eq!(climb(&score(400, |step| if step < 200 { 100.0 } else { 180.0 })), Some([100.0, 180.0]));
        assert_eq!(climb(&score(400, |step| if step < 200 { 100.0 } else { 160.0 })), None);
        // A last image full of objects, and a peak on the way.
        assert_eq!(climb(&score(400, |step| if step == 399 { 900.0 } else { 100.0 })), None);
        assert_eq!(climb(&score(400, |step| if step == 200 { 900.0 } else { 100.0 })), None);
        assert_eq!(climb(&score(100, |step| if step < 50 { 1.0 } else { 9.0 })), None);
        assert_eq!(climb(&[]), None);
    }
}
