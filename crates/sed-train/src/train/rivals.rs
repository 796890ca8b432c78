//! The options of the methods that SED is compared with.

use sed_core::{
    losses::{DenseTeacherLoss, FlipConsistency},
    pseudo_labels::PseudoLabels,
};
use serde::{Deserialize, Serialize};

use super::TrainError;

/// One entry a [`Method`](super::Method) that has options of its own.
///
/// ```
/// use sed_train::train::{Method, TrainConfig};
///
/// let config: TrainConfig = toml::from_str(
///     r#"
///     method = "soft-label"
///
///     [rivals]
///     soft_label_weight = 2.0
///     "#,
/// )?;
/// assert_eq!((config.method, config.rivals.soft_label_weight), (Method::SoftLabel, 2.0));
///
/// let mut rivals = config.rivals;
/// rivals.csd_ramp = 1.5;
/// assert_eq!(rivals.validate().unwrap_err().to_string(), "rivals.csd_ramp = 1.5: must lie in [0, 1]");
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RivalsConfig {
    /// Of `pseudo-label`.
    pub pseudo_label: PseudoLabels,
    /// Of `multi-view`.
    pub multi_view: PseudoLabels,
    /// Of `soft-label`: its weight in the total, in place of λ_d. All else is as in the
    /// [objective](super::TrainConfig::objective).
    pub soft_label_weight: f64,
    /// Of `dense-teacher`.
    pub dense_teacher: DenseTeacherLoss,
    /// Of `csd`.
    pub csd: FlipConsistency,
    /// Of `csd`: over which part of the steps after burn-in its weight rises, as `exp(−5(1 − t/T)²)`, in place of the linear
    /// ramp of the others. Published: 32,000 of 120,000 steps.
    pub csd_ramp: f64,
}

impl Default for RivalsConfig {
    /// As published by each; for soft labels a weight of 1.
    fn default() -> Self {
        Self {
            pseudo_label: PseudoLabels::unbiased_teacher(),
            multi_view: PseudoLabels::pseco(),
            soft_label_weight: 1.0,
            dense_teacher: DenseTeacherLoss::default(),
            csd: FlipConsistency::default(),
            csd_ramp: 32.0 / 120.0,
        }
    }
}

impl RivalsConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// Names the first field outside its range.
    pub fn validate(&self) -> Result<(), TrainError> {
        for (table, labels) in [("pseudo_label", &self.pseudo_label), ("multi_view", &self.multi_view)] {
            labels.validate().map_err(|error| {
                TrainError::config(format!("rivals.{table}.{}", error.option), error.value, error.rule)
            })?;
        }
        self.dense_teacher.validate()?;
        self.csd.validate()?;
        if !(self.soft_label_weight.is_finite() && self.soft_label_weight >= 0.0) {
            let rule = "must be finite and not negative";
            return Err(TrainError::config("rivals.soft_label_weight", self.soft_label_weight, rule));
        }
        if !(0.0..=1.0).contains(&self.csd_ramp) {
            return Err(TrainError::config("rivals.csd_ramp", self.csd_ramp, "must lie in [0, 1]"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_outside_their_range_are_refused_by_name() {
        let good = RivalsConfig::default();
        good.validate().unwrap();
        let labels = PseudoLabels { threshold: 2.0, ..PseudoLabels::default() };
        for (config, field) in [
            (RivalsConfig { pseudo_label: labels, ..good.clone() }, "rivals.pseudo_label.threshold"),
            (RivalsConfig { multi_view: labels, ..good.clone() }, "rivals.multi_view.threshold"),
            (RivalsConfig { csd: FlipConsistency { weight: -1.0 }, ..good.clone() }, "csd.weight"),
            (RivalsConfig { soft_label_weight: -1.0, ..good.clone() }, "rivals.soft_label_weight"),
            (RivalsConfig { csd_ramp: 1.5, ..good.clone() }, "rivals.csd_ramp"),
        ] {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(field), "{field}: {error}");
        }
    }
}
