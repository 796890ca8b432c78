//! One step of semi-supervised training, as a module of Burn's training engine.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use burn::{
    lr_scheduler::module_lr_scheduler::ModuleLearningRate,
    module::Module,
    optim::{GradientsParams, ModuleOptimizer},
    tensor::{Device, ExecutionError, Tensor},
    train::{InferenceStep, Interrupter, ItemLazy, TrainOutput, TrainStep},
};
use sed_core::{Detections, Detector, objective::total_loss};

use super::{
    TrainConfig, TrainError, checkpointing::checkpointed, clip_global_norm, metrics::EvaluatedBatch,
    unsupervised::Unsupervised, update_teacher,
};
use crate::{
    data::{EvalBatch, TrainBatch},
    eval::ImageDetections,
};

/// A student and its teacher.
///
/// The student learns; the teacher is its moving average, lives off the autodiff device and is
/// never given to the optimizer.
#[derive(Module, Debug)]
pub struct SemiSupervised<D: Detector> {
    /// The detector that the optimizer changes.
    pub student: D,
    /// Its moving average, without gradients and in inference mode.
    pub teacher: D,
    /// The number of optimizer steps taken.
    #[module(skip)]
    iteration: usize,
    #[module(skip)]
    plan: Arc<Plan>,
}

/// What all steps of a run share.
#[derive(Debug)]
struct Plan {
    config: TrainConfig,
    unsupervised: Unsupervised,
    failure: Failure,
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

    pub(super) fn take(&self) -> Option<TrainError> {
        self.first.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }
}

impl<D: Detector> SemiSupervised<D> {
    /// A student that starts as `detector`, and a teacher that starts as its copy.
    ///
    /// # Errors
    ///
    /// If the configuration is not valid.
    pub fn new(detector: D, config: &TrainConfig) -> Result<Self, TrainError> {
        Self::with_failure(detector, config, Failure::default())
    }

    pub(super) fn with_failure(
        detector: D,
        config: &TrainConfig,
        failure: Failure,
    ) -> Result<Self, TrainError> {
        config.validate()?;
        let mut student = detector.train();
        let teacher = student.valid();
        if config.gradient_checkpointing {
            student = checkpointed(student);
        }
        let unsupervised = Unsupervised::new(config)?;
        let plan = Arc::new(Plan { config: config.clone(), unsupervised, failure });
        Ok(Self { student, teacher, iteration: 0, plan })
    }

    /// The number of optimizer steps taken.
    pub fn iteration(&self) -> usize {
        self.iteration
    }

    /// The student's device, with autodiff and without.
    fn devices(&self) -> (Device, Device) {
        let plain = self.student.devices().remove(0).without_autodiff();
        let mut device = plain.clone().autodiff();
        if self.plan.config.gradient_checkpointing {
            device = device.gradient_checkpointing();
        }
        (device, plain)
    }

    /// The teacher after the student's step number `self.iteration`.
    fn follow(mut self) -> Self {
        let config = &self.plan.config;
        let decay = config.teacher.decay_after(self.iteration, config.burn_in);
        self.teacher = update_teacher(self.teacher, &self.student, decay, config.teacher.running_statistics);
        self
    }
}

impl<D: Detector> TrainStep for SemiSupervised<D> {
    type Input = TrainBatch;
    type Output = StepOutput;

    fn step(&self, batch: TrainBatch) -> TrainOutput<StepOutput> {
        let (device, plain) = self.devices();
        let plan = &self.plan;
        let labeled = batch.labeled.to_batch(&device);
        let supervised = self.student.supervised_losses(&labeled, &batch.targets);

        let weight = plan.config.unsupervised_weight(self.iteration);
        let unlabeled = batch.unlabeled.as_ref().filter(|_| weight > 0.0);
        let unsupervised = match unlabeled {
            Some(views) => {
                let (weak, strong) = (views.weak.to_batch(&plain), views.strong.to_batch(&device));
                plan.unsupervised.losses(&self.student, &self.teacher, weak, strong)
            }
            None => Vec::new(),
        };
        let unsupervised: Vec<_> = unsupervised.into_iter().map(|loss| loss.scaled(weight)).collect();
        let n_unlabeled = unlabeled.map_or(0, |views| views.keys.len());
        let on_unlabeled = unsupervised.iter().map(|stage| stage.total());
        let total = total_loss(&supervised, on_unlabeled, n_unlabeled, batch.targets.len());

        let mut names = vec!["loss".to_string()];
        let mut terms = vec![total.clone().detach()];
        let mut record = |name: String, term: &Tensor<1>| {
            names.push(name);
            terms.push(term.clone().detach());
        };
        for loss in &supervised {
            record(format!("{}/class", loss.stage), &loss.classification);
            record(format!("{}/box", loss.stage), &loss.box_regression);
        }
        for stage in &unsupervised {
            for (name, value) in stage.watched.iter().chain(&stage.terms) {
                record(format!("{}/{name}", stage.stage), value);
            }
        }
        let values = read(terms);
        let mut scalars: BTreeMap<String, f64> = names.iter().cloned().zip(values.iter().copied()).collect();

        let grads = GradientsParams::from_grads(total.backward(), &self.student);
        let (grads, norm) = clip_global_norm(&self.student, grads, plan.config.clip_norm);
        scalars.insert("gradient_norm".into(), norm);
        scalars.insert("iteration".into(), self.iteration as f64);

        // Losses in the order in which they were made, so that the first cause is named, the total last.
        let checks = names.iter().zip(&values).skip(1).chain([(&names[0], &values[0])]);
        let checks = checks.map(|(name, value)| (name.as_str(), *value)).chain([("gradient_norm", norm)]);
        let bad = checks.into_iter().find(|(_, value)| !value.is_finite());
        let grads = match bad {
            None => grads,
            Some((term, value)) => {
                plan.failure.raise(TrainError::NonFinite {
                    iteration: self.iteration,
                    term: term.to_string(),
                    value,
                    labeled: batch.labeled_ids.clone(),
                    unlabeled: batch.unlabeled.map(|views| views.keys).unwrap_or_default(),
                });
                // Without gradients `optimize` leaves every weight as it is.
                GradientsParams::new()
            }
        };
        TrainOutput { grads, item: StepOutput { scalars: Arc::new(scalars) } }
    }

    fn optimize(
        mut self,
        optimizer: &mut ModuleOptimizer,
        rate: ModuleLearningRate,
        grads: GradientsParams,
    ) -> Self {
        if grads.is_empty() {
            return self;
        }
        self.student = optimizer.step(rate, self.student, grads);
        self.iteration += 1;
        self.follow()
    }
}

/// All values by one read: each read stalls a GPU.
fn read(terms: Vec<Tensor<1>>) -> Vec<f64> {
    let values = Tensor::cat(terms, 0).into_data().convert::<f64>();
    values.iter::<f64>().collect()
}

/// The scalars of one step, by name.
#[derive(Debug, Clone)]
pub struct StepOutput {
    /// Losses as they enter the total, as `"head/class"` and `"head/scale_box"`; `"loss"`, the
    /// total; `"gradient_norm"`, before clipping; `"iteration"`.
    pub scalars: Arc<BTreeMap<String, f64>>,
}

impl ItemLazy for StepOutput {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl<D: Detector> InferenceStep for SemiSupervised<D> {
    type Input = EvalBatch;
    type Output = EvaluatedBatch;

    fn step(&self, batch: EvalBatch) -> EvaluatedBatch {
        let images = batch.images.to_batch(&self.devices().1);
        let original = |found: Vec<Detections>| -> Vec<ImageDetections> {
            let image = |(index, found): (usize, &Detections)| ImageDetections {
                image_id: batch.ids[index],
                detections: batch.to_original(index, found),
            };
            found.iter().enumerate().map(image).collect()
        };
        EvaluatedBatch {
            student: Arc::new(original(self.student.detect(&images))),
            teacher: Arc::new(original(self.teacher.detect(&images))),
        }
    }
}
