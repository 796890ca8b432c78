//! The metrics that Burn's engine collects: training scalars, and the 12 COCO numbers of student and
//! teacher.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use burn::{
    tensor::{ExecutionError, TensorReadError},
    train::{
        ItemLazy,
        metric::{
            Adaptor, Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes,
            NumericEntry, SerializedEntry,
        },
    },
};

use super::{
    Evaluation, monitor::Monitor, silence::collapse_or_flood, step::StepOutput, surroundings::Failure,
};
use crate::{
    eval::{CocoSummary, DetectionEvaluator, EvalError, GroundTruth, ImageDetections},
    report::Moment,
};

/// The name under which the learning rate is logged.
pub(super) const LEARNING_RATE: &str = "learning_rate";

/// One named scalar of the training step; the learning rate comes from the engine.
#[derive(Clone)]
pub(super) struct ScalarMetric {
    name: Arc<String>,
    current: Option<f64>,
    sum: f64,
    count: usize,
}

/// The scalars of a step.
pub(super) struct Scalars(Arc<BTreeMap<String, f64>>);

impl Adaptor<Scalars> for StepOutput {
    fn adapt(&self) -> Scalars {
        Scalars(self.scalars.clone())
    }
}

impl ScalarMetric {
    pub(super) fn new(name: &str) -> Self {
        Self { name: Arc::new(name.to_string()), current: None, sum: 0.0, count: 0 }
    }

    fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }
}

fn entry(value: Option<f64>) -> SerializedEntry {
    match value {
        Some(value) => SerializedEntry::new(format!("{value:.4}"), value.to_string()),
        None => SerializedEntry::not_available(None),
    }
}

impl Metric for ScalarMetric {
    type Input = Scalars;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes { unit: None, higher_is_better: false }.into()
    }

    fn update(
        &mut self,
        item: &Scalars,
        metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.current = match self.name.as_str() {
            LEARNING_RATE => metadata.lr.as_ref().map(|rate| rate.base()),
            name => item.0.get(name).copied(),
        };
        if let Some(value) = self.current {
            self.sum += value;
            self.count += 1;
        }
        Ok(entry(self.current))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(entry(Some(self.mean())))
    }

    fn clear(&mut self) {
        (self.current, self.sum, self.count) = (None, 0.0, 0);
    }
}

impl Numeric for ScalarMetric {
    fn value(&self) -> Option<NumericEntry> {
        self.current.map(NumericEntry::Value)
    }

    fn running_value(&self) -> Option<NumericEntry> {
        self.current.map(|_| NumericEntry::Aggregated { aggregated_value: self.mean(), count: self.count })
    }

    fn final_value(&self) -> NumericEntry {
        NumericEntry::Final(self.mean())
    }
}

/// What student and teacher found in one batch of validation images.
#[derive(Clone)]
pub struct EvaluatedBatch {
    /// The student's detections, in pixels of the original images.
    pub student: Arc<Vec<ImageDetections>>,
    /// The teacher's detections, in pixels of the original images.
    pub teacher: Arc<Vec<ImageDetections>>,
}

impl ItemLazy for EvaluatedBatch {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl Adaptor<EvaluatedBatch> for EvaluatedBatch {
    fn adapt(&self) -> EvaluatedBatch {
        self.clone()
    }
}

/// Which of the two models a metric looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Model {
    Student,
    Teacher,
}

impl Model {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Student => "student",
            Self::Teacher => "teacher",
        }
    }
}

/// The evaluations of a run, of both models.
#[derive(Clone)]
pub(super) struct Evaluations {
    pub(super) student: SharedEvaluation,
    pub(super) teacher: SharedEvaluation,
}

impl Evaluations {
    /// Those of a run that had `results` when it was stopped, or none.
    pub(super) fn new(plan: EvaluationPlan, results: &[Evaluation]) -> Self {
        let student = results.iter().map(|evaluation| evaluation.student.clone()).collect();
        let teacher = results.iter().map(|evaluation| evaluation.teacher.clone()).collect();
        Self {
            student: SharedEvaluation::new(Model::Student, plan.clone(), student),
            teacher: SharedEvaluation::new(Model::Teacher, plan, teacher),
        }
    }

    /// Those so far, in order, where one follows every `every` steps.
    pub(super) fn so_far(&self, every: usize) -> Vec<Evaluation> {
        let (student, teacher) = (self.student.state(), self.teacher.state());
        let pairs = student.results.iter().zip(&teacher.results).enumerate();
        let evaluation = |(index, (student, teacher)): (usize, (&CocoSummary, &CocoSummary))| Evaluation {
            iteration: (index + 1) * every,
            student: student.clone(),
            teacher: teacher.clone(),
        };
        pairs.map(evaluation).collect()
    }

    /// The error that ended an evaluation.
    pub(super) fn error(&self) -> Option<EvalError> {
        self.student.state().error.take().or_else(|| self.teacher.state().error.take())
    }
}

/// What each evaluation of a run needs.
#[derive(Clone)]
pub(super) struct EvaluationPlan {
    pub(super) truth: Arc<GroundTruth>,
    pub(super) evaluator: Arc<dyn DetectionEvaluator>,
    pub(super) monitor: Monitor,
    pub(super) failure: Failure,
    /// Before so many steps a model that finds nothing is no news.
    pub(super) burn_in: usize,
}

/// The detections of one evaluation and its result, shared by the metrics of one model.
#[derive(Clone)]
pub(super) struct SharedEvaluation {
    pub(super) model: Model,
    plan: EvaluationPlan,
    state: Arc<Mutex<EvaluationState>>,
}

#[derive(Default)]
struct EvaluationState {
    detections: Vec<ImageDetections>,
    results: Vec<CocoSummary>,
    error: Option<EvalError>,
}

impl SharedEvaluation {
    fn new(model: Model, plan: EvaluationPlan, results: Vec<CocoSummary>) -> Self {
        let state = EvaluationState { results, ..EvaluationState::default() };
        Self { model, plan, state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, EvaluationState> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The metrics of the 12 numbers, the first of which does the work.
    pub(super) fn metrics(&self) -> Vec<CocoMetric> {
        let metric = |(index, name): (usize, &str)| CocoMetric {
            name: Arc::new(format!("{}/{name}", self.model.name())),
            index,
            shared: self.clone(),
        };
        CocoSummary::NAMES.into_iter().enumerate().map(metric).collect()
    }

    fn evaluate(&self) {
        let mut state = self.state();
        let detections = std::mem::take(&mut state.detections);
        if self.plan.failure.interrupter().should_stop() {
            // Not all images were looked at.
            return;
        }
        let (objects, done) = (self.plan.truth.boxes.len(), self.plan.monitor.done());
        if done > self.plan.burn_in
            && let Some(reason) = collapse_or_flood(&detections, objects)
        {
            self.plan.monitor.warn(done, Moment::Evaluation, &format!("{}: {reason}", self.model.name()));
        }
        match self.plan.evaluator.evaluate(&self.plan.truth, &detections) {
            Ok(summary) => state.results.push(summary),
            Err(error) => {
                state.error.get_or_insert(error);
            }
        }
    }
}

/// One of the 12 COCO numbers; it has a value only at the end of an evaluation.
#[derive(Clone)]
pub(super) struct CocoMetric {
    name: Arc<String>,
    index: usize,
    shared: SharedEvaluation,
}

impl CocoMetric {
    fn latest(&self) -> Option<f64> {
        self.shared.state().results.last().and_then(|summary| summary.values()[self.index])
    }
}

impl Metric for CocoMetric {
    type Input = EvaluatedBatch;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes { unit: None, higher_is_better: true }.into()
    }

    fn update(
        &mut self,
        item: &EvaluatedBatch,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        if self.index == 0 {
            let found = match self.shared.model {
                Model::Student => &item.student,
                Model::Teacher => &item.teacher,
            };
            self.shared.state().detections.extend(found.iter().cloned());
        }
        Ok(entry(None))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        // The engine computes the metrics in the order of their registration.
        if self.index == 0 {
            self.shared.evaluate();
        }
        Ok(entry(self.latest()))
    }

    fn clear(&mut self) {}
}

impl Numeric for CocoMetric {
    fn value(&self) -> Option<NumericEntry> {
        None
    }

    fn running_value(&self) -> Option<NumericEntry> {
        None
    }

    fn final_value(&self) -> NumericEntry {
        NumericEntry::Final(self.latest().unwrap_or(f64::NAN))
    }
}
