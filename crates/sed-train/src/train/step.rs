//! One step of semi-supervised training, as a module of Burn's training engine.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use burn::{
    lr_scheduler::module_lr_scheduler::ModuleLearningRate,
    module::Module,
    optim::{GradientsParams, ModuleOptimizer},
    store::{ModuleRecord, RecordError},
    tensor::{Device, ExecutionError},
    train::{InferenceStep, ItemLazy, TrainOutput, TrainStep},
};
use sed_core::{Detections, Detector};

use super::{
    TrainConfig, TrainError,
    accumulate::{DeviceLost, Division, Passes, Replica, passes},
    checkpointing::checkpointed,
    clip_global_norm,
    metrics::{EvaluatedBatch, LEARNING_RATE},
    silence::{SILENT_STEPS, silence},
    surroundings::Surroundings,
    unsupervised::Unsupervised,
    update_teacher,
};
use crate::{
    checkpoint::Progress,
    data::{EvalBatch, TrainBatch},
    eval::ImageDetections,
    report::Moment,
};

/// The weights of a checkpoint, and what to say where they do not fit.
pub(super) struct Weights {
    pub progress: Progress,
    pub student: ModuleRecord,
    pub teacher: ModuleRecord,
    pub unfit: Box<dyn Fn(RecordError) -> TrainError>,
}

/// A student and its teacher.
///
/// The student learns; the teacher is its moving average, lives off the autodiff device and is
/// never given to the optimizer.
///
/// ```
/// use burn::{tensor::Device, train::TrainStep};
/// use sed_train::train::SemiSupervised;
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/training.rs")); }
/// # use setup::WholeImage;
/// # let dir = tempfile::tempdir()?;
/// # let setup::Training { config, loader, .. } = setup::training(dir.path())?;
///
/// // `config` and `loader` are those of four steps; `WholeImage` stands for any `Detector`.
/// let detector = WholeImage::new(6, &Device::default().autodiff());
/// let mut model = SemiSupervised::new(detector, &config)?;
/// let mut optimizer = config.optimizer.init();
/// for iteration in 0..config.iterations {
///     let output = model.step(loader.batch(iteration)?);
///     let rate = config.schedule.rate_at(iteration, config.iterations);
///     model = model.optimize(&mut optimizer, rate.into(), output.grads);
/// }
/// assert_eq!((model.iteration(), model.skipped_steps()), (config.iterations, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Module, Debug)]
pub struct SemiSupervised<D: Detector> {
    /// The detector that the optimizer changes.
    pub student: D,
    /// Its moving average, without gradients and in inference mode.
    pub teacher: D,
    /// The number of batches used.
    #[module(skip)]
    iteration: usize,
    /// Steps that were skipped one after another, up to the last.
    #[module(skip)]
    skipped_steps: usize,
    /// Steps one after another, up to the last, from which nothing was learned of the unlabeled images.
    #[module(skip)]
    silent_steps: usize,
    #[module(skip)]
    plan: Arc<Plan>,
}

/// What all steps of a run share.
#[derive(Debug)]
struct Plan {
    around: Surroundings,
    config: TrainConfig,
    unsupervised: Unsupervised,
    /// What the last step saw, for the part of it that comes after the gradients.
    last: Mutex<Option<LastStep>>,
}

/// What a step leaves for `optimize`.
#[derive(Debug)]
struct LastStep {
    scalars: Arc<BTreeMap<String, f64>>,
    /// Why nothing was learned of its unlabeled images.
    silence: Option<&'static str>,
}

/// Steps in a row with losses or gradients that are not finite, after which a run is given up.
const MAX_SKIPPED: usize = 5;

impl<D: Detector> SemiSupervised<D> {
    /// A student that starts as `detector`, and a teacher that starts as its copy.
    ///
    /// # Errors
    ///
    /// If the configuration is not valid.
    pub fn new(detector: D, config: &TrainConfig) -> Result<Self, TrainError> {
        Self::within(detector, config, Surroundings::default(), None)
    }

    /// As [`new`](Self::new), or as it was when a checkpoint was taken.
    pub(super) fn within(
        detector: D,
        config: &TrainConfig,
        around: Surroundings,
        weights: Option<Weights>,
    ) -> Result<Self, TrainError> {
        config.validate()?;
        let devices: Vec<Device> =
            detector.devices().into_iter().chain(around.further_devices.iter().cloned()).collect();
        config.precision.check(&detector, &devices)?;
        let mut student = detector.train();
        let mut teacher = student.valid();
        let (mut iteration, mut skipped_steps, mut silent_steps) = (0, 0, 0);
        if let Some(Weights { progress, student: ours, teacher: theirs, unfit }) = weights {
            student = student.try_load_record(ours).map_err(&unfit)?;
            teacher = teacher.try_load_record(theirs).map_err(&unfit)?;
            // A run that was given up gets another chance.
            skipped_steps = if progress.skipped_steps < MAX_SKIPPED { progress.skipped_steps } else { 0 };
            (iteration, silent_steps) = (progress.iteration, progress.silent_steps);
        }
        if config.gradient_checkpointing {
            student = checkpointed(student);
        }
        let unsupervised = Unsupervised::new(config)?;
        let plan = Arc::new(Plan { around, config: config.clone(), unsupervised, last: Mutex::default() });
        Ok(Self { student, teacher, iteration, skipped_steps, silent_steps, plan })
    }

    /// The number of batches used: steps of the optimizer, and steps that were skipped.
    pub fn iteration(&self) -> usize {
        self.iteration
    }

    /// Steps that were skipped one after another, up to the last, as a loss or the gradient was not finite.
    pub fn skipped_steps(&self) -> usize {
        self.skipped_steps
    }

    pub(super) fn silent_steps(&self) -> usize {
        self.silent_steps
    }

    /// A warning of the step with which so many batches are used.
    fn warn(&self, iteration: usize, message: &str) {
        if let Some(monitor) = &self.plan.around.monitor {
            monitor.warn(iteration, Moment::Step, message);
        }
    }

    /// The student's device, without autodiff.
    fn device(&self) -> Device {
        self.student.devices().remove(0).without_autodiff()
    }

    /// The networks on their own device, and copies of them on each further one.
    fn replicas(&self) -> Vec<Replica<D>> {
        let with_autodiff = |plain: &Device| match self.plan.config.gradient_checkpointing {
            true => plain.clone().autodiff().gradient_checkpointing(),
            false => plain.clone().autodiff(),
        };
        let plain = self.device();
        let (student, teacher) = (self.student.clone(), self.teacher.clone());
        let own = Replica { student, teacher, device: with_autodiff(&plain), plain };
        let copy = |plain: &Device| Replica {
            student: self.student.clone().fork(plain),
            teacher: self.teacher.clone().fork(plain),
            device: with_autodiff(plain),
            plain: plain.clone(),
        };
        std::iter::once(own).chain(self.plan.around.further_devices.iter().map(copy)).collect()
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
        let plan = &self.plan;
        let division = Division {
            parts: plan.config.accumulation,
            weight: plan.config.unsupervised_weight(self.iteration),
            unsupervised: &plan.unsupervised,
            precision: plan.config.precision,
        };
        let passes = passes(self.replicas(), &batch, &division).and_then(|passes| {
            let (grads, norm) = clip_global_norm(&self.student, passes.grads, plan.config.clip_norm)
                .map_err(|error| DeviceLost::new(&self.device(), &error))?;
            Ok((Passes { grads, ..passes }, norm))
        });
        let (passes, norm) = match passes {
            Ok(passes) => passes,
            Err(DeviceLost { device, reason }) => {
                let iteration = self.iteration;
                plan.around.failure.raise(TrainError::DeviceLost { iteration, device, reason });
                return TrainOutput {
                    grads: GradientsParams::new(),
                    item: StepOutput { scalars: Arc::default() },
                };
            }
        };

        // Losses in the order in which they were made, so that the first cause is named, the total last.
        let checks = passes.scalars.iter().skip(1).chain(passes.scalars.first());
        let checks = checks.map(|(name, value)| (name.as_str(), *value)).chain([("gradient_norm", norm)]);
        let bad = checks.into_iter().find(|(_, value)| !value.is_finite());
        let grads = match bad {
            None => passes.grads,
            Some((term, value)) => {
                self.skip(term, value, &batch);
                // Without gradients `optimize` leaves every weight as it is.
                GradientsParams::new()
            }
        };
        let mut scalars: BTreeMap<String, f64> = passes.scalars.into_iter().collect();
        scalars.insert("gradient_norm".into(), norm);
        scalars.insert("iteration".into(), self.iteration as f64);
        let scalars = Arc::new(scalars);
        let silence = if passes.unsupervised.is_empty() {
            None
        } else {
            let terms: Vec<f64> = passes.unsupervised.iter().map(|name| scalars[name]).collect();
            silence(&terms, &scalars)
        };
        let last = LastStep { scalars: scalars.clone(), silence };
        *plan.last.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(last);
        TrainOutput { grads, item: StepOutput { scalars } }
    }

    fn optimize(
        mut self,
        optimizer: &mut ModuleOptimizer,
        rate: ModuleLearningRate,
        grads: GradientsParams,
    ) -> Self {
        self.iteration += 1;
        let base_rate = rate.base();
        if grads.is_empty() {
            self.skipped_steps += 1;
        } else {
            self.skipped_steps = 0;
            self.student = optimizer.step(rate, self.student, grads);
            self = self.follow();
        }
        // Before the checkpoint, after which a run that goes on does not come here again.
        if let Some(watch) = &self.plan.around.watch
            && self.iteration.is_multiple_of(self.plan.config.evaluate_every)
        {
            watch.look(self.iteration, &self.teacher);
        }
        let last = self.plan.last.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(last) = last {
            self = self.listen(last.silence);
            self.save_if_due(optimizer, &last.scalars, base_rate);
        }
        self
    }
}

impl<D: Detector> SemiSupervised<D> {
    /// Tells why the step of this batch is skipped, and gives the run up after too many.
    fn skip(&self, term: &str, value: f64, batch: &TrainBatch) {
        let labeled = batch.labeled_ids.clone();
        let unlabeled = batch.unlabeled.as_ref().map(|views| views.keys.clone()).unwrap_or_default();
        let steps = self.skipped_steps + 1;
        let message = format!(
            "{term} is {value}: the step is skipped, no weight changes; labeled images {labeled:?}, unlabeled \
             images {unlabeled:?}"
        );
        self.warn(self.iteration + 1, &message);
        if steps >= MAX_SKIPPED {
            self.plan.around.failure.raise(TrainError::NonFinite {
                iteration: self.iteration,
                steps,
                term: term.to_string(),
                value,
                labeled,
                unlabeled,
            });
        }
    }

    /// Counts silent steps, and warns of many.
    fn listen(mut self, silence: Option<&'static str>) -> Self {
        match silence {
            None => self.silent_steps = 0,
            Some(reason) => {
                self.silent_steps += 1;
                if self.silent_steps == SILENT_STEPS {
                    self.warn(self.iteration, &format!("for {SILENT_STEPS} steps {reason}"));
                }
            }
        }
        self
    }

    fn save_if_due(&self, optimizer: &ModuleOptimizer, scalars: &BTreeMap<String, f64>, rate: f64) {
        let plan = &self.plan;
        let stops = plan.around.is_stopped();
        if let Some(saver) = &plan.around.saver
            && (stops || saver.is_due(self.iteration))
        {
            let mut row = scalars.clone();
            row.remove("iteration");
            row.insert(LEARNING_RATE.into(), rate);
            if let Err(error) = saver.save(self, optimizer, row) {
                plan.around.failure.raise(error);
            }
        }
        if stops {
            plan.around.failure.stop();
        }
    }
}

/// The scalars of one step, by name.
///
/// ```
/// use burn::{tensor::Device, train::TrainStep};
/// use sed_train::train::{SemiSupervised, StepOutput};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/training.rs")); }
/// # use setup::WholeImage;
/// # let dir = tempfile::tempdir()?;
/// # let setup::Training { config, loader, .. } = setup::training(dir.path())?;
///
/// // `config` and `loader` are those of four steps; `WholeImage` stands for any `Detector`.
/// let model = SemiSupervised::new(WholeImage::new(6, &Device::default().autodiff()), &config)?;
/// let StepOutput { scalars } = model.step(loader.batch(0)?).item;
/// // In burn-in the supervised terms are all of the loss.
/// let names: Vec<&str> = scalars.keys().map(String::as_str).collect();
/// assert_eq!(names, ["gradient_norm", "head/box", "head/class", "iteration", "loss"]);
/// assert!((scalars["loss"] - scalars["head/class"] - scalars["head/box"]).abs() < 1e-6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct StepOutput {
    /// Losses as they enter the total (those on unlabeled images but for the factor `n_u / n_s`), as `"head/class"` and
    /// `"head/scale_box"`; what a method watches beside them, as `"head/teacher_foreground"`; `"loss"`, the total;
    /// `"gradient_norm"`, before clipping; `"iteration"`.
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
        if self.plan.around.is_stopped() {
            // The checkpoint before this evaluation is where the run goes on; nothing of it is kept.
            self.plan.around.failure.stop();
            return EvaluatedBatch { student: Arc::default(), teacher: Arc::default() };
        }
        let images = batch.images.to_batch(&self.device());
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
