//! How the progress of a run is shown.

use std::io::{IsTerminal, stderr, stdout};

use burn::train::{
    LearnerSummary,
    logger::{EvaluationProgressLogger, TrainingProgressLogger},
    metric::MetricDefinition,
    renderer::{
        EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation, MetricsRendererTraining,
        default_renderer,
    },
};

use super::{Run, surroundings::Failure};

/// Where the progress of a run can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Display {
    /// A line of the terminal that changes.
    Bar,
    /// A line now and then.
    Lines,
    /// Burn's dashboard, which has the terminal for itself.
    Dashboard,
}

impl Display {
    pub(super) fn of(run: &Run) -> Self {
        if run.dashboard && stdout().is_terminal() {
            Self::Dashboard
        } else if stderr().is_terminal() {
            Self::Bar
        } else {
            Self::Lines
        }
    }

    /// The engine's part of it: without the dashboard none, as what there is to show comes with the monitor's rows. `epoch` is the
    /// last one of the run that this one goes on with, or 0.
    pub(super) fn renderer(self, failure: &Failure, epoch: usize) -> Box<dyn MetricsRenderer> {
        match self {
            Self::Bar | Self::Lines => Box::new(Silent),
            Self::Dashboard => default_renderer(failure.interrupter(), (epoch > 0).then_some(epoch)),
        }
    }
}

/// Shows nothing.
struct Silent;

impl MetricsRendererTraining for Silent {
    fn update_train(&mut self, _state: MetricState) {}
    fn update_valid(&mut self, _state: MetricState) {}
    fn on_train_end(&mut self, _summary: Option<LearnerSummary>) -> Result<(), Box<dyn core::error::Error>> {
        Ok(())
    }
}

impl MetricsRendererEvaluation for Silent {
    fn update_test(&mut self, _name: EvaluationName, _state: MetricState) {}
}

impl TrainingProgressLogger for Silent {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}
    fn update_epoch(&mut self, _: usize) {}
    fn start_split(&mut self, _: &str, _: usize) {}
    fn update_split(&mut self, _: usize) {}
    fn end_split(&mut self) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _: String) {}
}

impl EvaluationProgressLogger for Silent {
    fn start_global_progress(&mut self, _: usize) {}
    fn start_test(&mut self, _: &str, _: usize) {}
    fn update_test_progress(&mut self, _: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _: String) {}
}

impl MetricsRenderer for Silent {
    fn manual_close(&mut self) {}
    fn register_metric(&mut self, _definition: MetricDefinition) {}
}
