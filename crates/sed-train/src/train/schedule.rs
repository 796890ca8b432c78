//! The learning rate over the run.

use burn::lr_scheduler::{LrScheduler, LrSchedulerRecord};
use burn::optim::{LearningRate, RecordState, StateSink, StateSource};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::TrainError;

/// Linear warm-up, then a constant rate that falls by a factor at each milestone.
///
/// ```
/// use sed_train::train::ScheduleConfig;
///
/// let schedule = ScheduleConfig { learning_rate: 0.02, milestones: vec![0.75, 0.9], ..ScheduleConfig::default() };
/// assert!(schedule.validate().is_ok());
///
/// let error = ScheduleConfig { milestones: vec![0.9, 0.75], ..schedule }.validate().unwrap_err();
/// assert!(error.to_string().starts_with("schedule.milestones = [0.9, 0.75]: must ascend"));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// The rate after warm-up.
    pub learning_rate: f64,
    /// Iterations over which the rate rises linearly from `learning_rate · warmup_factor`.
    pub warmup_iterations: usize,
    /// Where warm-up starts, as a part of `learning_rate`.
    pub warmup_factor: f64,
    /// When the rate falls, as parts of the run, ascending in `(0, 1)`.
    pub milestones: Vec<f64>,
    /// What the rate is multiplied by at each milestone.
    pub gamma: f64,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            learning_rate: 0.01,
            warmup_iterations: 500,
            warmup_factor: 0.001,
            milestones: vec![2.0 / 3.0, 8.0 / 9.0],
            gamma: 0.1,
        }
    }
}

impl ScheduleConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// Names the first field outside its range.
    pub fn validate(&self) -> Result<(), TrainError> {
        let positive = |field, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => Err(TrainError::config(field, value, "must be positive and finite")),
        };
        positive("schedule.learning_rate", self.learning_rate)?;
        positive("schedule.gamma", self.gamma)?;
        if !(0.0..=1.0).contains(&self.warmup_factor) {
            return Err(TrainError::config(
                "schedule.warmup_factor",
                self.warmup_factor,
                "must lie in [0, 1]",
            ));
        }
        let inside = self.milestones.iter().all(|m| (0.0..1.0).contains(m) && *m > 0.0);
        if !inside || !self.milestones.is_sorted() {
            return Err(TrainError::config(
                "schedule.milestones",
                format!("{:?}", self.milestones),
                "must ascend inside (0, 1)",
            ));
        }
        Ok(())
    }

    /// The rate of `iteration` (from 0) in a run of `total` iterations.
    ///
    /// ```
    /// use sed_train::train::ScheduleConfig;
    ///
    /// let schedule = ScheduleConfig {
    ///     learning_rate: 0.1,
    ///     warmup_iterations: 10,
    ///     warmup_factor: 0.5,
    ///     milestones: vec![0.5],
    ///     gamma: 0.1,
    /// };
    /// assert_eq!(schedule.rate_at(0, 100), 0.05);
    /// assert_eq!(schedule.rate_at(10, 100), 0.1);
    /// assert!((schedule.rate_at(50, 100) - 0.01).abs() < 1e-12);
    /// ```
    pub fn rate_at(&self, iteration: usize, total: usize) -> f64 {
        let warmup = if iteration < self.warmup_iterations {
            let part = iteration as f64 / self.warmup_iterations as f64;
            self.warmup_factor + (1.0 - self.warmup_factor) * part
        } else {
            1.0
        };
        let passed = self.milestones.iter().filter(|&&m| iteration as f64 >= m * total as f64).count();
        self.learning_rate * warmup * self.gamma.powi(passed as i32)
    }
}

/// [`ScheduleConfig`] as a scheduler of Burn's training engine.
///
/// ```
/// use burn::lr_scheduler::LrScheduler;
/// use sed_train::train::{ScheduleConfig, WarmupMultiStep};
///
/// let config = ScheduleConfig { warmup_iterations: 10, ..ScheduleConfig::default() };
/// let mut scheduler = WarmupMultiStep::new(config.clone(), 100).after(5); // a run that goes on
/// assert_eq!(scheduler.step(), config.rate_at(5, 100));
/// assert_eq!(scheduler.step(), config.rate_at(6, 100));
/// ```
#[derive(Debug, Clone)]
pub struct WarmupMultiStep {
    config: ScheduleConfig,
    total: usize,
    next: usize,
}

/// The position of a [`WarmupMultiStep`], as it enters checkpoints. Burn's derive for this trait
/// names crates that a user of `burn` does not see, hence by hand.
struct Position(u64);

impl RecordState for Position {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        out.push_scalar(prefix, "next", self.0.into());
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, _device: &Device) -> Option<Self> {
        src.take_scalar(prefix, "next")?.try_into().ok().map(Self)
    }
}

impl WarmupMultiStep {
    /// The schedule of a run of `total` iterations, from its first one.
    pub fn new(config: ScheduleConfig, total: usize) -> Self {
        Self { config, total, next: 0 }
    }

    /// The same schedule after so many iterations.
    #[must_use]
    pub fn after(self, iterations: usize) -> Self {
        Self { next: iterations, ..self }
    }
}

impl LrScheduler for WarmupMultiStep {
    fn step(&mut self) -> LearningRate {
        let rate = self.config.rate_at(self.next, self.total);
        self.next += 1;
        rate
    }

    fn to_record(&self) -> LrSchedulerRecord {
        LrSchedulerRecord::from_state(&Position(self.next as u64))
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        if let Some(state) = record.into_state::<Position>() {
            self.next = state.0 as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ScheduleConfig {
        ScheduleConfig {
            learning_rate: 1.0,
            warmup_iterations: 4,
            warmup_factor: 0.0,
            milestones: vec![0.5, 0.75],
            gamma: 0.5,
        }
    }

    #[test]
    fn warm_up_rises_linearly_and_milestones_halve() {
        let mut scheduler = WarmupMultiStep::new(config(), 16);
        let rates: Vec<f64> = (0..16).map(|_| scheduler.step()).collect();
        let expected = [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25];
        assert_eq!(rates, expected);
    }

    #[test]
    fn a_record_continues_where_it_was_taken() {
        let mut scheduler = WarmupMultiStep::new(config(), 16);
        (0..6).for_each(|_| {
            scheduler.step();
        });
        let mut resumed = WarmupMultiStep::new(config(), 16);
        resumed.load_record(scheduler.to_record());
        let mut other = WarmupMultiStep::new(config(), 16).after(6);
        for _ in 6..16 {
            let rate = scheduler.step();
            assert_eq!((rate, rate), (resumed.step(), other.step()));
        }
    }

    #[test]
    fn values_outside_their_range_are_refused_by_name() {
        let bad = [
            (ScheduleConfig { learning_rate: 0.0, ..config() }, "schedule.learning_rate"),
            (ScheduleConfig { gamma: f64::NAN, ..config() }, "schedule.gamma"),
            (ScheduleConfig { warmup_factor: 2.0, ..config() }, "schedule.warmup_factor"),
            (ScheduleConfig { milestones: vec![0.9, 0.5], ..config() }, "schedule.milestones"),
            (ScheduleConfig { milestones: vec![1.5], ..config() }, "schedule.milestones"),
        ];
        for (config, field) in bad {
            assert!(config.validate().unwrap_err().to_string().contains(field));
        }
    }
}
