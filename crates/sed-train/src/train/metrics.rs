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

use super::step::StepOutput;
use crate::eval::{CocoSummary, DetectionEvaluator, EvalError, GroundTruth, ImageDetections};

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

/// The detections of one evaluation and its result, shared by the metrics of one model.
#[derive(Clone)]
pub(super) struct SharedEvaluation {
    pub(super) model: Model,
    truth: Arc<GroundTruth>,
    evaluator: Arc<dyn DetectionEvaluator>,
    state: Arc<Mutex<EvaluationState>>,
}

#[derive(Default)]
struct EvaluationState {
    detections: Vec<ImageDetections>,
    results: Vec<CocoSummary>,
    error: Option<EvalError>,
}

impl SharedEvaluation {
    pub(super) fn new(model: Model, truth: Arc<GroundTruth>, evaluator: Arc<dyn DetectionEvaluator>) -> Self {
        Self { model, truth, evaluator, state: Arc::default() }
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

    /// The results of all evaluations so far, in order, or the error that ended them.
    pub(super) fn finish(&self) -> Result<Vec<CocoSummary>, EvalError> {
        let mut state = self.state();
        match state.error.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut state.results)),
        }
    }

    fn evaluate(&self) {
        let mut state = self.state();
        let detections = std::mem::take(&mut state.detections);
        match self.evaluator.evaluate(&self.truth, &detections) {
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
