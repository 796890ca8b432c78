//! A whole training run on Burn's engine.

use std::{path::Path, sync::Arc, time::Instant};

use burn::{
    data::dataloader::DataLoader,
    tensor::Device,
    train::{ExecutionStrategy, Learner, SupervisedTraining},
};
use sed_core::Detector;

use super::{
    SemiSupervised, TrainConfig, TrainError, WarmupMultiStep,
    metrics::{LEARNING_RATE, Model, ScalarMetric, SharedEvaluation},
    monitor::{Monitor, Silent},
    step::Failure,
    unsupervised,
};
use crate::{
    data::{EvalBatch, TrainBatch},
    eval::{CocoSummary, DetectionEvaluator, GroundTruth},
    report::ScalarLog,
};

/// Where the batches of a run come from.
pub struct TrainData {
    /// Training batches, in order; one pass gives the iterations between two evaluations.
    pub train: Arc<dyn DataLoader<TrainBatch>>,
    /// All validation images.
    pub valid: Arc<dyn DataLoader<EvalBatch>>,
    /// Their true boxes.
    pub truth: Arc<GroundTruth>,
    /// How detections are scored.
    pub evaluator: Arc<dyn DetectionEvaluator>,
}

/// One evaluation during a run.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// Optimizer steps taken before it.
    pub iteration: usize,
    /// The student's numbers.
    pub student: CocoSummary,
    /// The teacher's numbers.
    pub teacher: CocoSummary,
}

/// What a finished run leaves.
pub struct TrainOutcome<D> {
    /// The student after the last step, in inference mode.
    pub student: D,
    /// The teacher after the last step, in inference mode.
    pub teacher: D,
    /// All evaluations, the last of them after the last step.
    pub evaluations: Vec<Evaluation>,
    /// The scalars of each step and evaluation, for a run with a folder.
    pub log: Option<ScalarLog>,
    /// Wall time of the run, evaluations included.
    pub seconds: f64,
}

/// Trains `detector` on `device` and evaluates student and teacher every
/// `config.evaluate_every` steps and at the end.
///
/// `label` names the run in its progress line. With a `folder`, the scalars of each step and
/// of each evaluation are written there as they come, see [`ScalarLog`].
///
/// # Errors
///
/// If the configuration is not valid, an image cannot be read, a loss is not finite, or a file
/// cannot be written.
pub fn train<D: Detector>(
    detector: D,
    data: &TrainData,
    config: &TrainConfig,
    device: &Device,
    label: &str,
    folder: Option<&Path>,
) -> Result<TrainOutcome<D>, TrainError> {
    let started = Instant::now();
    let failure = Failure::default();
    let model = SemiSupervised::with_failure(detector, config, failure.clone())?;

    let log = folder.map(ScalarLog::create).transpose()?;
    let monitor = Monitor::new(label, config.iterations, log, failure.clone());
    let evaluation = |model| SharedEvaluation::new(model, data.truth.clone(), data.evaluator.clone());
    let (student, teacher) = (evaluation(Model::Student), evaluation(Model::Teacher));

    let mut training =
        SupervisedTraining::new(folder.unwrap_or(Path::new(".")), data.train.clone(), data.valid.clone())
            .with_training_strategy(ExecutionStrategy::single(device.clone()).into())
            .with_application_logger(None)
            .with_interrupter(failure.interrupter())
            .with_metric_logger(monitor.clone())
            .renderer(Box::new(Silent))
            .num_epochs(config.iterations.div_ceil(config.evaluate_every));
    for name in scalar_names(model.student.stages(), config) {
        training = training.metric_train_numeric(ScalarMetric::new(&name));
    }
    for metric in student.metrics().into_iter().chain(teacher.metrics()) {
        training = training.metric_valid_numeric(metric);
    }

    let schedule = WarmupMultiStep::new(config.schedule.clone(), config.iterations);
    let learner = Learner::new(model, config.optimizer.init(), schedule);
    let result = training.launch(learner);
    let log = monitor.finish();

    if let Some(error) = failure.take() {
        return Err(error);
    }
    if let Some(error) = result.error {
        return Err(TrainError::Engine(error));
    }
    let pairs = student.finish()?.into_iter().zip(teacher.finish()?).enumerate();
    let evaluations = pairs
        .map(|(index, (student, teacher))| Evaluation {
            iteration: ((index + 1) * config.evaluate_every).min(config.iterations),
            student,
            teacher,
        })
        .collect();
    Ok(TrainOutcome {
        student: result.model.student.valid(),
        teacher: result.model.teacher.valid(),
        evaluations,
        log,
        seconds: started.elapsed().as_secs_f64(),
    })
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
