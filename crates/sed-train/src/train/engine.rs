//! A whole training run on Burn's engine.

use std::{path::Path, sync::Arc, time::Instant};

use burn::{
    data::dataloader::DataLoader,
    optim::OptimizerRecord,
    store::RecordError,
    tensor::Device,
    train::{ExecutionStrategy, Learner, SupervisedTraining},
};
use sed_core::Detector;
use serde::{Deserialize, Serialize};

use super::{
    Run, SemiSupervised, TrainConfig, TrainError, WarmupMultiStep,
    display::Display,
    files::RunFiles,
    metrics::{EvaluationPlan, Evaluations, LEARNING_RATE, ScalarMetric},
    monitor::Monitor,
    saver::Saver,
    step::Weights,
    surroundings::{Failure, Surroundings},
    unsupervised,
};
use crate::{
    checkpoint::{CheckpointError, Restored, State},
    data::{EvalBatch, TimedLoader, TrainSource, WaitClock},
    eval::{CocoSummary, DetectionEvaluator, GroundTruth},
    report::{Moment, ScalarLog, Warning},
};

/// Where the batches of a run come from.
///
/// ```
/// use std::sync::Arc;
///
/// use sed_train::data::{AugmentConfig, EvalLoader, EvalLoaderConfig, LoaderConfig, TrainLoader};
/// use sed_train::eval::{CocoEvaluator, GroundTruth};
/// use sed_train::train::TrainData;
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/scenes.rs")); }
/// # let dir = tempfile::tempdir()?;
/// # let setup::Sets { index, labels, labeled, unlabeled, .. } = setup::sets(dir.path())?;
///
/// // `labeled` and `unlabeled` have four images each.
/// let augment = AugmentConfig { image_size: 32, ..AugmentConfig::default() };
/// let config = LoaderConfig { labeled_batch: 2, unlabeled_batch: 2, ..LoaderConfig::default() };
/// let valid = EvalLoaderConfig { image_size: 32, ..EvalLoaderConfig::default() };
/// let data = TrainData {
///     valid: Arc::new(EvalLoader::new(&labeled, valid)?),
///     truth: Arc::new(GroundTruth::from_coco(&index, &labels)),
///     evaluator: Arc::new(CocoEvaluator),
///     train: Arc::new(TrainLoader::new(labeled, unlabeled, augment, config)?),
/// };
/// assert_eq!(data.valid.num_items(), data.truth.image_ids.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TrainData {
    /// Training batches, in order, whose epochs are the iterations between two evaluations.
    pub train: Arc<dyn TrainSource>,
    /// All validation images.
    pub valid: Arc<dyn DataLoader<EvalBatch>>,
    /// Their true boxes.
    pub truth: Arc<GroundTruth>,
    /// How detections are scored.
    pub evaluator: Arc<dyn DetectionEvaluator>,
}

/// One evaluation during a run.
///
/// ```
/// use sed_train::train::Evaluation;
///
/// # let summary = |ap: f64| -> sed_train::eval::CocoSummary {
/// #     serde_json::from_value(serde_json::json!({"ap": ap, "classes": []})).unwrap()
/// # };
/// // `summary(ap)` has this AP and nothing else.
/// let evaluation = |iteration, ap| Evaluation { iteration, student: summary(0.1), teacher: summary(ap) };
/// let evaluations = [evaluation(100, 0.2), evaluation(200, 0.4), evaluation(300, 0.3)];
/// assert_eq!(Evaluation::best(&evaluations).unwrap().iteration, 200);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Optimizer steps taken before it.
    pub iteration: usize,
    /// The student's numbers.
    pub student: CocoSummary,
    /// The teacher's numbers.
    pub teacher: CocoSummary,
}

impl Evaluation {
    /// The one with the teacher's highest AP, the earliest of equals.
    pub fn best(evaluations: &[Self]) -> Option<&Self> {
        let ap = |evaluation: &Self| evaluation.teacher.ap.unwrap_or(f64::NEG_INFINITY);
        evaluations.iter().rev().max_by(|a, b| ap(a).total_cmp(&ap(b)))
    }
}

/// What a finished run leaves.
///
/// ```
/// use burn::tensor::Device;
/// use sed_train::train::{Run, train};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/training.rs")); }
/// # use setup::WholeImage;
/// # let dir = tempfile::tempdir()?;
/// # let setup::Training { config, data, .. } = setup::training(dir.path())?;
///
/// // `data` and `config` are those of four steps; `WholeImage` stands for any `Detector`.
/// let device = Device::default();
/// let detector = WholeImage::new(6, &device);
/// let run = Run::new("first").in_folder(&dir.path().join("run"));
/// let outcome = train(detector, &data, &config, &device, &run)?;
/// assert_eq!(outcome.evaluations.last().unwrap().iteration, config.iterations);
/// // The scalars of each step are in the folder.
/// let scalars = outcome.log.unwrap().read()?;
/// assert_eq!(scalars.series("loss").len(), config.iterations);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TrainOutcome<D> {
    /// The student after the last step, in inference mode.
    pub student: D,
    /// The teacher after the last step, in inference mode.
    pub teacher: D,
    /// All evaluations, the last of them after the last step.
    pub evaluations: Vec<Evaluation>,
    /// The scalars of each step and evaluation, for a run with a folder.
    pub log: Option<ScalarLog>,
    /// What the run with a folder warned of.
    pub warnings: Vec<Warning>,
    /// Wall time of the run, evaluations included, time between a stop and its resumption not.
    pub seconds: f64,
}

/// Trains `detector` on `device` and evaluates student and teacher every
/// `config.evaluate_every` steps and at the end.
///
/// In a folder of its own a run writes its scalars as they come, warnings, and a checkpoint before each evaluation, when it is stopped, and as often
/// as [`Run::checkpoint_every`] says. A run that is [resumed](Run::resumed) ends with the same weights, losses and metric files,
/// to the bit on the CPU, as one that was never stopped.
///
/// # Errors
///
/// If the configuration is not valid, an image cannot be read, a loss is not finite for five steps in a row, a file
/// cannot be written, the folder holds a run that is not to be resumed, or one that began with other settings, or a stop was asked for.
///
/// ```
/// use burn::tensor::Device;
/// use sed_train::train::{Run, TrainConfig, TrainError, train};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/training.rs")); }
/// # use setup::WholeImage;
/// # let dir = tempfile::tempdir()?;
/// # let setup::Training { config, data, .. } = setup::training(dir.path())?;
///
/// // `data` and `config` are those of four steps; `WholeImage` stands for any `Detector`.
/// let device = Device::default();
/// let detector = WholeImage::new(6, &device);
/// let outcome = train(detector, &data, &config, &device, &Run::new("first"))?;
/// let iterations: Vec<usize> = outcome.evaluations.iter().map(|evaluation| evaluation.iteration).collect();
/// assert_eq!(iterations, [2, 4]);
///
/// // Epochs of the loader have to end where evaluations are.
/// let other = TrainConfig { evaluate_every: 4, ..config };
/// let error = train(outcome.student, &data, &other, &device, &Run::new("second")).err();
/// assert!(matches!(error, Some(TrainError::Epochs { loader: 2, evaluate_every: 4 })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn train<D: Detector>(
    detector: D,
    data: &TrainData,
    config: &TrainConfig,
    device: &Device,
    run: &Run,
) -> Result<TrainOutcome<D>, TrainError> {
    config.validate()?;
    let devices = 1 + run.further_devices.len();
    if !config.accumulation.is_multiple_of(devices) {
        let rule = format!("must be a multiple of the {devices} devices");
        return Err(TrainError::config("accumulation", config.accumulation, rule));
    }
    let every = config.evaluate_every;
    let loader = data.train.iterations_per_epoch();
    if loader != every {
        return Err(TrainError::Epochs { loader, evaluate_every: every });
    }
    let started = Instant::now();
    let files = run.folder.as_deref().map(|folder| RunFiles::open(folder, run, config)).transpose()?;
    // The lock is held to the end.
    let (_lock, logs, saving, restored) = match files {
        None => (None, None, None, None),
        Some(RunFiles { lock, logs, checkpoints, identity, restored }) => {
            (Some(lock), Some(logs), Some((checkpoints, identity)), restored)
        }
    };
    let start = Start::of(restored);

    let failure = Failure::default();
    let done = (start.iteration, start.evaluations.len());
    let waits = WaitClock::default();
    let display = Display::of(run);
    let monitor = Monitor::new(&run.label, config, done, logs, waits.clone(), failure.clone(), display);
    for error in &start.damaged {
        monitor.warn(start.iteration, Moment::Start, &format!("passed over: {error}"));
    }
    if start.iteration == 0 {
        run.concerns.iter().for_each(|concern| monitor.warn(0, Moment::Start, concern));
    }
    let plan = EvaluationPlan {
        truth: data.truth.clone(),
        evaluator: data.evaluator.clone(),
        monitor: monitor.clone(),
        failure: failure.clone(),
        burn_in: config.burn_in,
    };
    let evaluations = Evaluations::new(plan, &start.evaluations);
    let checkpoints = saving.as_ref().map(|(checkpoints, _)| checkpoints.clone());
    let saver = saving.map(|(folder, identity)| Saver {
        folder,
        identity,
        every: run.checkpoint_every.unwrap_or(every),
        evaluate_every: every,
        monitor: monitor.clone(),
        evaluations: evaluations.clone(),
        started,
        seconds_before: start.seconds,
    });
    let around = Surroundings {
        stop: run.stop.clone(),
        failure: failure.clone(),
        saver,
        monitor: Some(monitor.clone()),
        watch: run.watch.clone(),
        further_devices: run.further_devices.clone(),
    };
    let model = SemiSupervised::within(detector, config, around, start.weights)?;
    let (epoch, epochs) = (start.evaluations.len(), config.iterations / every);
    data.train.resume_at(start.iteration, start.iteration == (epoch + 1) * every);

    let folder = run.folder.as_deref().unwrap_or(Path::new("."));
    let mut training = SupervisedTraining::new(
        folder,
        Arc::new(TimedLoader::new(data.train.clone(), waits)),
        data.valid.clone(),
    )
    .with_training_strategy(ExecutionStrategy::single(device.clone()).into())
    .with_application_logger(None)
    .with_interrupter(failure.interrupter())
    .with_metric_logger(monitor.clone())
    .renderer(display.renderer(&failure, epoch))
    .checkpoint(epoch)
    .num_epochs(epochs);
    for name in scalar_names(model.student.stages(), config) {
        training = training.metric_train_numeric(ScalarMetric::new(&name));
    }
    for metric in evaluations.student.metrics().into_iter().chain(evaluations.teacher.metrics()) {
        training = training.metric_valid_numeric(metric);
    }
    let schedule = WarmupMultiStep::new(config.schedule.clone(), config.iterations).after(start.iteration);
    let mut optimizer = config.optimizer.init();
    if let Some(record) = start.optimizer {
        optimizer = optimizer.load_record(record);
    }
    let result = training.launch(Learner::new(model, optimizer, schedule));
    let logs = monitor.finish();

    if let Some(error) = failure.take() {
        return Err(error);
    }
    if let Some(error) = result.error {
        return Err(TrainError::Engine(error));
    }
    if let Some(error) = evaluations.error() {
        return Err(error.into());
    }
    let evaluations = evaluations.so_far(every);
    if evaluations.len() < epochs {
        return Err(TrainError::Stopped { iteration: monitor.done() });
    }
    if let Some(checkpoints) = checkpoints {
        checkpoints.prune(Evaluation::best(&evaluations).map(|best| best.iteration))?;
    }
    let (log, warnings) = match logs {
        Some(logs) => (Some(logs.scalars), logs.warnings.warnings().to_vec()),
        None => (None, Vec::new()),
    };
    Ok(TrainOutcome {
        student: result.model.student.valid(),
        teacher: result.model.teacher.valid(),
        evaluations,
        log,
        warnings,
        seconds: start.seconds + started.elapsed().as_secs_f64(),
    })
}

/// Where a run starts: at its first step, or at a checkpoint.
#[derive(Default)]
struct Start {
    iteration: usize,
    evaluations: Vec<Evaluation>,
    seconds: f64,
    weights: Option<Weights>,
    optimizer: Option<OptimizerRecord>,
    /// Checkpoints that were passed over.
    damaged: Vec<CheckpointError>,
}

impl Start {
    fn of(restored: Option<Restored>) -> Self {
        let Some(Restored { path, state, damaged }) = restored else { return Self::default() };
        let State { progress, student, teacher, optimizer, .. } = state;
        let unfit = move |error: RecordError| {
            CheckpointError::Unfit { path: path.clone(), reason: error.to_string() }.into()
        };
        Self {
            iteration: progress.iteration,
            evaluations: progress.evaluations.clone(),
            seconds: progress.seconds,
            weights: Some(Weights { progress, student, teacher, unfit: Box::new(unfit) }),
            optimizer: Some(optimizer),
            damaged,
        }
    }
}

/// Every scalar that a step of the run reports.
fn scalar_names(stages: &[&str], config: &TrainConfig) -> Vec<String> {
    let mut names: Vec<String> =
        ["iteration", LEARNING_RATE, "loss", "gradient_norm"].map(String::from).into();
    for stage in stages {
        let terms = ["class", "box"].into_iter().chain(unsupervised::names(config));
        names.extend(terms.map(|term| format!("{stage}/{term}")));
    }
    names
}
