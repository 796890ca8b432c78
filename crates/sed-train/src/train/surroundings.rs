//! The run around a step.

use std::sync::{Arc, Mutex};

use burn::{tensor::Device, train::Interrupter};

use super::{Stop, TeacherWatch, TrainError, monitor::Monitor, saver::Saver};

/// What connects a step with the run around it; nothing of it for a step on its own.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    pub stop: Stop,
    pub failure: Failure,
    /// Absent for a run without a folder.
    pub saver: Option<Saver>,
    pub monitor: Option<Monitor>,
    pub watch: Option<TeacherWatch>,
    /// Without autodiff; the student's own is not among them.
    pub further_devices: Vec<Device>,
}

impl Surroundings {
    /// Whether the run is to end after the current step: by its [`Stop`], by the dashboard, or for an error.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_requested() || self.failure.interrupter.should_stop()
    }
}

/// The way out of a step for an error: Burn's step returns no `Result`.
#[derive(Clone, Default)]
pub(super) struct Failure {
    first: Arc<Mutex<Option<TrainError>>>,
    interrupter: Interrupter,
}

impl core::fmt::Debug for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Failure")
    }
}

impl Failure {
    pub(super) fn interrupter(&self) -> Interrupter {
        self.interrupter.clone()
    }

    /// Keeps the first error and stops the engine after the current step.
    pub(super) fn raise(&self, error: TrainError) {
        self.interrupter.stop(Some(&error.to_string()));
        let mut first = self.first.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        first.get_or_insert(error);
    }

    /// Stops the engine after the current step, without an error.
    pub(super) fn stop(&self) {
        self.interrupter.stop(Some("a stop was asked for"));
    }

    pub(super) fn take(&self) -> Option<TrainError> {
        self.first.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }
}
