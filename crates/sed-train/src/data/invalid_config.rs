//! A hyper-parameter out of its range.

use thiserror::Error;

/// A field of a configuration breaks a rule.
///
/// ```
/// use sed_train::data::LoaderConfig;
///
/// let config = LoaderConfig { prefetch: 0, ..LoaderConfig::default() };
/// let error = config.validate().unwrap_err();
/// assert_eq!(error.field, "loader.prefetch");
/// assert_eq!(error.to_string(), "loader.prefetch = 0: must be positive");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field} = {value}: {rule}")]
pub struct InvalidConfig {
    /// The field, with the fields it lies in.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What it must be.
    pub rule: &'static str,
}

/// `Ok` if the rule holds.
pub(crate) fn require(
    holds: bool,
    field: &'static str,
    value: impl std::fmt::Debug,
    rule: &'static str,
) -> Result<(), InvalidConfig> {
    if holds { Ok(()) } else { Err(InvalidConfig { field, value: format!("{value:?}"), rule }) }
}

/// `Ok` if the value is a probability.
pub(crate) fn require_probability(field: &'static str, value: f64) -> Result<(), InvalidConfig> {
    require((0.0..=1.0).contains(&value), field, value, "must be a probability, within 0 and 1")
}

/// `Ok` if the pair is a range of finite numbers, each at least `least`.
pub(crate) fn require_range(
    field: &'static str,
    [low, high]: [f32; 2],
    least: f32,
    rule: &'static str,
) -> Result<(), InvalidConfig> {
    require(low >= least && high >= low && high.is_finite(), field, [low, high], rule)
}
