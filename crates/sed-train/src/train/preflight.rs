//! What a training will do, told before it starts.

use std::{collections::BTreeMap, time::Duration};

use super::{AverageFrom, OptimizerConfig, TrainConfig};
use crate::{
    data::{LabeledSet, SourceShare, UnlabeledSet},
    report::{Cell, ResultTable, describe_duration, list},
};

/// The learning rate and the images a step of published semi-supervised COCO schedules, by which the linear rule scales.
const PUBLISHED_RATE: (f64, usize) = (0.01, 16 + 16);
/// A rate that is so many times above or below the rule is worth a second look.
const RATE_FACTOR: f64 = 4.0;
/// Classes with fewer examples are named.
const FEW_EXAMPLES: usize = 5;

/// The numbers of a dataset that [`Preflight`] looks at.
///
/// ```
/// use sed_train::train::DataCounts;
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/scenes.rs")); }
/// # let dir = tempfile::tempdir()?;
/// # let setup::Sets { labeled, unlabeled, .. } = setup::sets(dir.path())?;
///
/// // `labeled` and `unlabeled` have four images each.
/// let counts = DataCounts::new(&labeled, &unlabeled);
/// assert_eq!((counts.labeled, counts.unlabeled), (4, 4));
/// let objects: usize = counts.objects.iter().map(|(_, count)| count).sum();
/// assert_eq!(objects, labeled.num_objects());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataCounts {
    /// Labeled images.
    pub labeled: usize,
    /// Unlabeled images.
    pub unlabeled: usize,
    /// How draws are divided among parts of them; empty if all are drawn equally often.
    pub sources: Vec<SourceShare>,
    /// Name and number of labeled objects of each class.
    pub objects: Vec<(String, usize)>,
}

impl DataCounts {
    /// The numbers of two sets, whose unlabeled images are drawn equally often; crowds are not counted.
    pub fn new(labeled: &LabeledSet, unlabeled: &UnlabeledSet) -> Self {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for label in labeled.samples.iter().flat_map(|sample| &sample.targets.labels) {
            *counts.entry(*label).or_default() += 1;
        }
        let objects = labeled.categories.iter().enumerate();
        let objects =
            objects.map(|(label, class)| (class.name.clone(), counts.get(&label).copied().unwrap_or(0)));
        let (labeled, unlabeled) = (labeled.len(), unlabeled.len());
        Self { labeled, unlabeled, sources: Vec::new(), objects: objects.collect() }
    }
}

/// What a step costs, as measured on some steps.
///
/// ```
/// use sed_train::train::{DataCounts, Preflight, StepCost, TrainConfig};
///
/// let cost = StepCost {
///     supervised_seconds: 0.1,
///     unsupervised_seconds: 0.5,
///     evaluation_seconds: 10.0,
///     memory: Some(512 << 20),
/// };
/// let config = TrainConfig { iterations: 1000, evaluate_every: 500, burn_in: 200, ..TrainConfig::default() };
/// let data = DataCounts { labeled: 100, unlabeled: 900, sources: vec![], objects: vec![("nut".into(), 300)] };
/// // 200 · 0.1 s + 800 · 0.5 s + 2 · 10 s
/// let text = Preflight::new(&config, &data).with_cost(&config, &cost).to_text();
/// assert!(text.contains("about 7 min 20 s") && text.contains("about 512 MiB"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepCost {
    /// Seconds of a step on labels alone.
    pub supervised_seconds: f64,
    /// Seconds of a step on labeled and unlabeled images; not used for the supervised method.
    pub unsupervised_seconds: f64,
    /// Seconds of an evaluation.
    pub evaluation_seconds: f64,
    /// Peak memory in bytes, where it is known.
    pub memory: Option<u64>,
}

/// The plan of a training in a few lines, and what is odd about it.
///
/// ```
/// use sed_train::train::{DataCounts, Preflight, TrainConfig};
///
/// let config = TrainConfig {
///     iterations: 1000,
///     evaluate_every: 500,
///     burn_in: 900,
///     ramp_up: 0,
///     ..TrainConfig::default()
/// };
/// let objects = vec![("nut".into(), 300), ("screw".into(), 0)];
/// let plan = Preflight::new(&config, &DataCounts { labeled: 100, unlabeled: 900, sources: vec![], objects });
/// assert_eq!(plan.lines[0].0, "steps");
/// assert!(plan.warnings[0].starts_with("burn-in takes 90 % of the run"));
/// assert_eq!(plan.warnings[1], "classes without a labeled object, which cannot be learned: screw");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preflight {
    /// What, and how much.
    pub lines: Vec<(&'static str, String)>,
    /// One sentence each.
    pub warnings: Vec<String>,
}

impl Preflight {
    /// Looks at a configuration that has been validated, and at the data; nothing is computed.
    pub fn new(config: &TrainConfig, data: &DataCounts) -> Self {
        let mut plan = Self { lines: Vec::new(), warnings: Vec::new() };
        plan.length(config);
        plan.labels(config, data);
        if config.method.is_semi_supervised() {
            plan.unlabeled(config, data);
        }
        plan.rate(config);
        plan.teacher(config);
        plan
    }

    /// Adds how long the run takes and what memory, from the cost of a step.
    #[must_use]
    pub fn with_cost(mut self, config: &TrainConfig, cost: &StepCost) -> Self {
        let supervised = match config.method.is_semi_supervised() {
            true => config.burn_in.min(config.iterations),
            false => config.iterations,
        };
        let evaluations = config.iterations / config.evaluate_every.max(1);
        let seconds = cost.supervised_seconds * supervised as f64
            + cost.unsupervised_seconds * (config.iterations - supervised) as f64
            + cost.evaluation_seconds * evaluations as f64;
        if let Ok(time) = Duration::try_from_secs_f64(seconds) {
            self.line("time", format!("about {}", describe_duration(time)));
        }
        if let Some(bytes) = cost.memory {
            self.line("memory", format!("about {:.0} MiB", bytes as f64 / f64::from(1 << 20)));
        }
        self
    }

    /// Adds how the parts of a step are shared by so many devices; with one there is nothing to add.
    ///
    /// ```
    /// use sed_train::train::{DataCounts, Preflight, TrainConfig};
    ///
    /// let config = TrainConfig { accumulation: 4, ..TrainConfig::default() };
    /// let data = DataCounts { labeled: 100, unlabeled: 900, sources: vec![], objects: vec![("nut".into(), 300)] };
    /// let plan = Preflight::new(&config, &data).on_devices(&config, 2);
    /// assert!(plan.to_text().contains("2, each takes 2 parts of a step"));
    /// ```
    #[must_use]
    pub fn on_devices(mut self, config: &TrainConfig, devices: usize) -> Self {
        if devices > 1 {
            let parts = config.accumulation / devices;
            let of_each = if parts == 1 { "part".to_owned() } else { format!("{parts} parts") };
            self.line(
                "devices",
                format!(
                    "{devices}, each takes {of_each} of a step; batch and learning rate are those of the step"
                ),
            );
        }
        self
    }

    /// The lines as a table, then the warnings.
    pub fn to_text(&self) -> String {
        let mut table = ResultTable::new(["plan", ""]);
        for (what, value) in &self.lines {
            table.push([Cell::from(*what), Cell::from(value.as_str())]);
        }
        let warnings: String = self.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
        format!("{}{warnings}", table.to_text())
    }

    fn line(&mut self, what: &'static str, value: String) {
        self.lines.push((what, value));
    }

    fn length(&mut self, config: &TrainConfig) {
        let TrainConfig { iterations, burn_in, ramp_up, .. } = *config;
        if !config.method.is_semi_supervised() {
            self.line("steps", format!("{iterations}, on labels alone"));
            self.parts(config);
            return;
        }
        let taught = iterations.saturating_sub(burn_in);
        let part = 100.0 * burn_in as f64 / iterations as f64;
        self.line(
            "steps",
            format!("{iterations}: {burn_in} of burn-in on labels alone ({part:.0} %), then {taught}"),
        );
        self.parts(config);
        if burn_in as f64 > 0.8 * iterations as f64 {
            self.warnings.push(format!(
                "burn-in takes {part:.0} % of the run: unlabeled images are used in the last {taught} steps alone"
            ));
        }
        if taught <= ramp_up {
            self.warnings.push(format!(
                "the ramp of {ramp_up} steps after burn-in is not over at the end: the unsupervised loss never has its \
                 full weight"
            ));
        }
    }

    fn parts(&mut self, config: &TrainConfig) {
        let parts = config.accumulation;
        if parts > 1 {
            let (labeled, unlabeled) = (config.batch_labeled / parts, config.unlabeled_per_step() / parts);
            self.line("accumulation", format!("{parts} parts of {labeled} + {unlabeled} images a step"));
        }
    }

    fn labels(&mut self, config: &TrainConfig, data: &DataCounts) {
        let objects: usize = data.objects.iter().map(|(_, count)| count).sum();
        let batch = config.batch_labeled;
        let an_image = objects as f64 / data.labeled.max(1) as f64;
        self.line(
            "labels a step",
            format!("{batch} of {} images, {:.1} objects in the mean", data.labeled, an_image * batch as f64),
        );
        let passes = (config.iterations * batch) as f64 / data.labeled.max(1) as f64;
        self.line("passes over labels", decimals(passes));
        if batch > data.labeled {
            self.warnings.push(format!(
                "a step takes {batch} labeled images and there are {}: some occur twice in a step",
                data.labeled
            ));
        }
        if objects == 0 {
            self.warnings.push("the labeled images have no object".into());
            return;
        }
        let named = |keep: fn(usize) -> bool| -> Vec<&str> {
            data.objects.iter().filter(|(_, count)| keep(*count)).map(|(name, _)| name.as_str()).collect()
        };
        let least = data.objects.iter().map(|(_, count)| *count).min().unwrap_or(0);
        let most = data.objects.iter().map(|(_, count)| *count).max().unwrap_or(0);
        self.line("classes", format!("{}, with {least} to {most} objects", data.objects.len()));
        let (none, few) = (named(|count| count == 0), named(|count| (1..FEW_EXAMPLES).contains(&count)));
        if !none.is_empty() {
            self.warnings
                .push(format!("classes without a labeled object, which cannot be learned: {}", list(&none)));
        }
        if !few.is_empty() {
            self.warnings
                .push(format!("classes with fewer than {FEW_EXAMPLES} labeled objects: {}", list(&few)));
        }
    }

    fn unlabeled(&mut self, config: &TrainConfig, data: &DataCounts) {
        let taught = config.iterations.saturating_sub(config.burn_in);
        let draws = (taught * config.batch_unlabeled) as f64;
        let passes = draws / data.unlabeled.max(1) as f64;
        self.line(
            "unlabeled a step",
            format!("{} of {} images after burn-in", config.batch_unlabeled, data.unlabeled),
        );
        if data.unlabeled > 0 && data.sources.len() > 1 {
            self.sources(draws, &data.sources);
            return;
        }
        self.line("passes over unlabeled", decimals(passes));
        if data.unlabeled == 0 {
            self.warnings.push(format!("{}: there are no unlabeled images", config.method));
        } else if passes < 1.0 {
            self.warnings.push(format!(
                "the run ends before every unlabeled image was used: {:.0} % are",
                100.0 * passes
            ));
        }
    }

    fn sources(&mut self, draws: f64, sources: &[SourceShare]) {
        let weights: f64 = sources.iter().map(|source| f64::from(source.weight)).sum();
        let passes =
            |source: &SourceShare| draws * f64::from(source.weight) / weights / source.images.max(1) as f64;
        let parts: Vec<String> = sources
            .iter()
            .map(|source| {
                let share = 100.0 * f64::from(source.weight) / weights;
                format!("{} ({} images, {share:.0} % of the draws)", decimals(passes(source)), source.images)
            })
            .collect();
        self.line("passes over unlabeled", parts.join(", "));
        for (number, source) in sources.iter().enumerate() {
            let part = 100.0 * passes(source);
            if part < 100.0 {
                let number = number + 1;
                self.warnings.push(format!(
                    "the run ends before every image of unlabeled source {number} was used: {part:.0} % are"
                ));
            }
        }
    }

    fn rate(&mut self, config: &TrainConfig) {
        let schedule = &config.schedule;
        let rate = schedule.learning_rate;
        match config.optimizer {
            OptimizerConfig::Sgd { .. } => {
                let (published, published_images) = PUBLISHED_RATE;
                let images = config.batch_labeled + config.unlabeled_per_step();
                let rule = published * images as f64 / published_images as f64;
                self.line(
                    "learning rate",
                    format!("{rate}, SGD; {published} for {published_images} images scales to {rule:.5} for {images}"),
                );
                if rate > RATE_FACTOR * rule || rate * RATE_FACTOR < rule {
                    let factor = rate / rule;
                    self.warnings.push(format!(
                        "the learning rate is {factor:.2} times that of the linear rule for {images} images a step"
                    ));
                }
            }
            OptimizerConfig::Adamw { .. } => {
                self.line("learning rate", format!("{rate}, AdamW, for which the linear rule does not hold"));
            }
        }
        if schedule.warmup_iterations >= config.iterations {
            self.warnings.push(format!(
                "warm-up takes {} steps and the run {}: the learning rate is never reached",
                schedule.warmup_iterations, config.iterations
            ));
        }
        let falls = schedule.milestones.first().map(|part| part * config.iterations as f64);
        if config.method.is_semi_supervised() && falls.is_some_and(|step| step < config.burn_in as f64) {
            self.warnings.push("the learning rate falls during burn-in, before the teacher teaches".into());
        }
    }

    fn teacher(&mut self, config: &TrainConfig) {
        let teacher = &config.teacher;
        // Of a decay that is so near to 1 that it is no number any more nothing is left.
        let window = 1.0 / (1.0 - teacher.decay);
        let averaged = match teacher.average_from {
            AverageFrom::Start => config.iterations,
            AverageFrom::BurnIn => config.iterations.saturating_sub(config.burn_in),
        };
        let part = 100.0 * window / averaged.max(1) as f64;
        self.line(
            "teacher",
            format!("averages over about {window:.0} steps, {part:.0} % of the {averaged} that it follows"),
        );
        if part > 50.0 {
            self.warnings.push(format!(
                "the teacher's average reaches over {window:.0} steps and it follows {averaged}: it stays close to early \
                 weights; lower train.teacher.decay"
            ));
        }
    }
}

fn decimals(passes: f64) -> String {
    if passes < 10.0 { format!("{passes:.1}") } else { format!("{passes:.0}") }
}

#[cfg(test)]
#[path = "preflight_tests.rs"]
mod tests;
