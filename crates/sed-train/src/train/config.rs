//! The configuration of a training run.

use sed_core::objective::ObjectiveConfig;
use serde::{Deserialize, Serialize};

use super::{Method, OptimizerConfig, Precision, RivalsConfig, ScheduleConfig, TeacherConfig, TrainError};

/// A training run: how long, on how much, by which method.
///
/// ```
/// use sed_train::train::{Method, TrainConfig};
///
/// let config: TrainConfig = toml::from_str(
///     r#"
///     method = "sed"
///     iterations = 1000
///     evaluate_every = 500
///     batch_labeled = 4
///     batch_unlabeled = 8
///     burn_in = 200
///
///     [schedule]
///     learning_rate = 0.002
///     "#,
/// )?; // all else as published
/// config.validate()?;
/// assert_eq!((config.method, config.unlabeled_per_step()), (Method::Sed, 8));
///
/// let error = TrainConfig { evaluate_every: 300, ..config }.validate().unwrap_err();
/// assert!(error.to_string().starts_with("evaluate_every = 300: must divide"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// What is learned from the unlabeled images.
    pub method: Method,
    /// Optimizer steps in all.
    pub iterations: usize,
    /// Steps between two evaluations; a divisor of `iterations`, so that the last step is evaluated.
    pub evaluate_every: usize,
    /// Labeled images a step, `n_s`.
    pub batch_labeled: usize,
    /// Unlabeled images a step, `n_u`.
    pub batch_unlabeled: usize,
    /// Parts into which a step divides its images to take one after another, in the memory of one: their
    /// gradients are averaged, the mean is clipped, and the optimizer makes one step. A divisor of `batch_labeled`,
    /// and of `batch_unlabeled` where unlabeled images are used.
    ///
    /// The loss is the mean of what the parts' losses are on their own. That is the loss of the whole batch where a loss is a
    /// mean over images, as RetinaNet's supervised ones and [`Normalizer::AnchorCount`] are. A normaliser that the images share,
    /// as the teacher's foreground score, is that of each part, as it is of each device in data-parallel training.
    ///
    /// [`Normalizer::AnchorCount`]: sed_core::reweight::Normalizer::AnchorCount
    pub accumulation: usize,
    /// Steps on labels alone, before the teacher starts to teach.
    pub burn_in: usize,
    /// Steps after burn-in over which the unsupervised loss rises linearly to its full weight.
    pub ramp_up: usize,
    /// Upper bound of the gradient's global norm; absent for none.
    pub clip_norm: Option<f64>,
    /// Whether cheap intermediate results of the forward pass are computed again for the backward pass
    /// instead of kept: less memory for more time, the same gradients. Which ones is Burn's choice (those of
    /// operations that memory bounds).
    pub gradient_checkpointing: bool,
    /// The type in which the networks compute.
    pub precision: Precision,
    /// The student's optimizer.
    pub optimizer: OptimizerConfig,
    /// The learning rate.
    pub schedule: ScheduleConfig,
    /// How the teacher follows the student.
    pub teacher: TeacherConfig,
    /// The losses of Scale-Equivalent Distillation and their weights; those of soft labels too.
    pub objective: ObjectiveConfig,
    /// The options of the other methods.
    pub rivals: RivalsConfig,
}

impl Default for TrainConfig {
    /// The schedule of semi-supervised COCO as published for comparable methods: 180,000 steps of
    /// 16 + 16 images at a learning rate of 0.01, 2,000 of them burn-in.
    fn default() -> Self {
        Self {
            method: Method::Sed,
            iterations: 180_000,
            evaluate_every: 5_000,
            batch_labeled: 16,
            batch_unlabeled: 16,
            accumulation: 1,
            burn_in: 2_000,
            ramp_up: 2_000,
            clip_norm: Some(10.0),
            gradient_checkpointing: false,
            precision: Precision::F32,
            optimizer: OptimizerConfig::default(),
            schedule: ScheduleConfig::default(),
            teacher: TeacherConfig { decay: 0.9996, ..TeacherConfig::default() },
            objective: ObjectiveConfig::default(),
            rivals: RivalsConfig::default(),
        }
    }
}

impl TrainConfig {
    /// Checks every field, and the fields against one another.
    ///
    /// # Errors
    ///
    /// Names the first field that breaks a rule.
    pub fn validate(&self) -> Result<(), TrainError> {
        for (field, value) in [
            ("iterations", self.iterations),
            ("evaluate_every", self.evaluate_every),
            ("batch_labeled", self.batch_labeled),
            ("accumulation", self.accumulation),
        ] {
            if value == 0 {
                return Err(TrainError::config(field, value, "must be at least 1"));
            }
        }
        if !self.iterations.is_multiple_of(self.evaluate_every) {
            let rule = "must divide the number of iterations, so that the last step is evaluated";
            return Err(TrainError::config("evaluate_every", self.evaluate_every, rule));
        }
        let images = [("batch_labeled", self.batch_labeled), ("batch_unlabeled", self.unlabeled_per_step())];
        for (batch, size) in images {
            if !size.is_multiple_of(self.accumulation) {
                let rule = format!("must divide {batch}, which is {size}");
                return Err(TrainError::config("accumulation", self.accumulation, rule));
            }
        }
        if let Some(norm) = self.clip_norm
            && !(norm.is_finite() && norm > 0.0)
        {
            return Err(TrainError::config("clip_norm", norm, "must be positive and finite"));
        }
        if self.method.is_semi_supervised() {
            if self.batch_unlabeled == 0 {
                let rule = format!("the method {:?} needs unlabeled images in each step", self.method.name());
                return Err(TrainError::config("batch_unlabeled", 0, rule));
            }
            if self.burn_in >= self.iterations {
                let rule = "burn-in must end before the run does, or no unlabeled image is ever used";
                return Err(TrainError::config("burn_in", self.burn_in, rule));
            }
        }
        self.optimizer.validate()?;
        self.schedule.validate()?;
        self.teacher.validate()?;
        self.rivals.validate()?;
        Ok(self.objective.validate()?)
    }

    /// The same run with another length: burn-in, ramp-up, warm-up and evaluations keep their
    /// parts of it.
    ///
    /// ```
    /// use sed_train::train::TrainConfig;
    ///
    /// let config = TrainConfig { iterations: 1000, evaluate_every: 250, burn_in: 200, ..TrainConfig::default() };
    /// let longer = config.with_iterations(4000);
    /// assert_eq!((longer.evaluate_every, longer.burn_in), (1000, 800));
    /// ```
    #[must_use]
    pub fn with_iterations(self, iterations: usize) -> Self {
        let part =
            |steps: usize| (steps as f64 * iterations as f64 / self.iterations as f64).round() as usize;
        let evaluations = (1..=self.iterations / self.evaluate_every.max(1))
            .rev()
            .find(|count| iterations.is_multiple_of(*count))
            .unwrap_or(1);
        let mut schedule = self.schedule.clone();
        schedule.warmup_iterations = part(schedule.warmup_iterations);
        Self {
            iterations,
            evaluate_every: iterations / evaluations,
            burn_in: part(self.burn_in),
            ramp_up: part(self.ramp_up),
            schedule,
            ..self
        }
    }

    /// Unlabeled images that a step of this run reads: 0 for the supervised method.
    ///
    /// ```
    /// use sed_train::train::{Method, TrainConfig};
    ///
    /// let config = TrainConfig { batch_unlabeled: 8, ..TrainConfig::default() };
    /// assert_eq!(config.unlabeled_per_step(), 8);
    /// assert_eq!(TrainConfig { method: Method::Supervised, ..config }.unlabeled_per_step(), 0);
    /// ```
    pub fn unlabeled_per_step(&self) -> usize {
        if self.method.is_semi_supervised() { self.batch_unlabeled } else { 0 }
    }

    /// The weight in `[0, 1]` of the unsupervised loss at `iteration` (from 0).
    ///
    /// ```
    /// use sed_train::train::TrainConfig;
    ///
    /// let config = TrainConfig { burn_in: 100, ramp_up: 50, ..TrainConfig::default() };
    /// assert_eq!(config.unsupervised_weight(99), 0.0);
    /// assert!((0.0..1.0).contains(&config.unsupervised_weight(120)));
    /// assert_eq!(config.unsupervised_weight(150), 1.0);
    /// ```
    pub fn unsupervised_weight(&self, iteration: usize) -> f64 {
        if self.method == Method::Supervised || iteration < self.burn_in {
            return 0.0;
        }
        let since = (iteration - self.burn_in + 1) as f64;
        if self.method == Method::Csd {
            let ramp = self.rivals.csd_ramp * self.iterations.saturating_sub(self.burn_in) as f64;
            return (-5.0 * (1.0 - since / ramp.max(1.0)).max(0.0).powi(2)).exp();
        }
        (since / (self.ramp_up as f64 + 1.0)).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        TrainConfig::default().validate().unwrap();
    }

    #[test]
    fn the_unsupervised_loss_starts_after_burn_in_and_rises_linearly() {
        let config = TrainConfig { burn_in: 10, ramp_up: 3, ..TrainConfig::default() };
        let weights: Vec<f64> = (8..15).map(|i| config.unsupervised_weight(i)).collect();
        assert_eq!(weights, [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0]);
        let abrupt = TrainConfig { ramp_up: 0, ..config.clone() };
        assert_eq!(abrupt.unsupervised_weight(10), 1.0);
        let mut csd = TrainConfig { method: Method::Csd, iterations: 110, ..config.clone() };
        csd.rivals.csd_ramp = 0.5;
        // 50 steps: at half of them exp(−5/4), at their end 1.
        let weights = [9, 34, 59, 109].map(|i| csd.unsupervised_weight(i));
        assert_eq!(weights, [0.0, (-1.25_f64).exp(), 1.0, 1.0]);
        let supervised = TrainConfig { method: Method::Supervised, ..config };
        assert_eq!(supervised.unsupervised_weight(100), 0.0);
        assert_eq!(supervised.unlabeled_per_step(), 0);
    }

    #[test]
    fn values_that_make_no_sense_are_refused_by_name() {
        let good = TrainConfig::default();
        let bad = [
            (TrainConfig { iterations: 0, ..good.clone() }, "iterations"),
            (TrainConfig { evaluate_every: 0, ..good.clone() }, "evaluate_every"),
            (TrainConfig { evaluate_every: 7, ..good.clone() }, "evaluate_every"),
            (TrainConfig { batch_labeled: 0, ..good.clone() }, "batch_labeled"),
            (TrainConfig { batch_unlabeled: 0, ..good.clone() }, "batch_unlabeled"),
            (TrainConfig { accumulation: 0, ..good.clone() }, "accumulation"),
            (TrainConfig { accumulation: 3, ..good.clone() }, "accumulation"),
            (TrainConfig { accumulation: 16, batch_unlabeled: 8, ..good.clone() }, "accumulation"),
            (TrainConfig { burn_in: 180_000, ..good.clone() }, "burn_in"),
            (TrainConfig { clip_norm: Some(0.0), ..good.clone() }, "clip_norm"),
        ];
        for (config, field) in bad {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(field), "{field}: {error}");
        }
    }

    #[test]
    fn another_length_keeps_the_parts() {
        let base =
            TrainConfig { iterations: 1000, evaluate_every: 250, burn_in: 300, ..TrainConfig::default() };
        let short = base.clone().with_iterations(100);
        assert_eq!((short.burn_in, short.evaluate_every, short.iterations), (30, 25, 100));
        // 7 is prime: only the end is evaluated.
        let prime = base.with_iterations(7);
        assert_eq!((prime.burn_in, prime.evaluate_every), (2, 7));
        prime.validate().unwrap();
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = toml::from_str::<TrainConfig>("iteratoins = 3").unwrap_err();
        assert!(error.to_string().contains("iteratoins"), "{error}");
    }
}
