//! Checkpoints of a run, taken between two steps.

use std::{collections::BTreeMap, time::Instant};

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::ModuleOptimizer,
    tensor::Tensor,
};
use sed_core::Detector;
use toml::Table;

use super::{SemiSupervised, TrainError, metrics::Evaluations, monitor::Monitor};
use crate::checkpoint::{CheckpointError, CheckpointFolder, Progress, State};

/// When and where the checkpoints of a run are written, and what they hold beside the weights.
pub(super) struct Saver {
    pub folder: CheckpointFolder,
    pub identity: Table,
    /// Steps between two checkpoints; there is one before each evaluation as well.
    pub every: usize,
    pub evaluate_every: usize,
    pub monitor: Monitor,
    pub evaluations: Evaluations,
    pub started: Instant,
    /// Wall time of the run before it was resumed.
    pub seconds_before: f64,
}

impl Saver {
    /// Whether a checkpoint is due after so many steps.
    pub fn is_due(&self, iteration: usize) -> bool {
        iteration.is_multiple_of(self.every) || iteration.is_multiple_of(self.evaluate_every)
    }

    /// Wall time of the run, that before a stop included.
    pub fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    /// Writes a checkpoint; `row` holds the scalars of the step just made.
    pub fn save<D: Detector>(
        &self,
        model: &SemiSupervised<D>,
        optimizer: &ModuleOptimizer,
        row: BTreeMap<String, f64>,
    ) -> Result<(), TrainError> {
        let iteration = model.iteration();
        // `valid` brings the running statistics up to date, whose last update Burn defers.
        let (student, teacher) = (model.student.valid(), model.teacher.clone());
        for (side, detector) in [("student", &student), ("teacher", &teacher)] {
            if let Some(name) = not_finite(detector) {
                let name = format!("{side}.{name}");
                return Err(CheckpointError::NonFinite { iteration, name }.into());
            }
        }
        // The rows of all steps before this one belong to the state; the engine writes them on another thread.
        let evaluations = iteration.saturating_sub(1) / self.evaluate_every;
        self.monitor.wait_for(iteration.saturating_sub(1), evaluations)?;
        let progress = Progress {
            iteration,
            skipped_steps: model.skipped_steps(),
            silent_steps: model.silent_steps(),
            seconds: self.seconds(),
            row,
            evaluations: self.evaluations.so_far(self.evaluate_every),
        };
        self.folder.save(State {
            progress,
            identity: self.identity.clone(),
            student: student.into_record(),
            teacher: teacher.into_record(),
            optimizer: optimizer.to_record(),
        })?;
        Ok(())
    }
}

impl core::fmt::Debug for Saver {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Saver")
    }
}

/// The first parameter with a value that is not finite.
fn not_finite<M: Module>(module: &M) -> Option<String> {
    let mut search = NotFinite { path: Vec::new(), found: None };
    module.visit(&mut search);
    search.found
}

struct NotFinite {
    path: Vec<String>,
    found: Option<String>,
}

impl ModuleVisitor for NotFinite {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.found.is_none() && param.val().into_data().iter::<f32>().any(|value| !value.is_finite()) {
            self.found = Some(self.path.join("."));
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::{nn::LinearConfig, tensor::Device};

    use super::*;

    #[test]
    fn the_weight_that_is_not_finite_is_named() {
        let mut layer = LinearConfig::new(2, 2).init(&Device::default());
        assert_eq!(not_finite(&layer), None);
        layer.bias = layer.bias.map(|bias| bias.map(|bias| bias / 0.0));
        assert_eq!(not_finite(&layer).as_deref(), Some("bias"));
    }
}
