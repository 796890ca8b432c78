use thiserror::Error;

/// A hyper-parameter outside its range.
///
/// ```
/// use sed_core::{InvalidOption, losses::SigmoidFocalLoss};
///
/// let refused: Result<(), InvalidOption> = SigmoidFocalLoss { alpha: 1.5, gamma: 2.0 }.validate();
/// let error = refused.unwrap_err();
/// assert_eq!((error.option, error.value), ("alpha", 1.5));
/// assert_eq!(error.to_string(), "alpha = 1.5: it must be in [0, 1]");
/// ```
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{option} = {value}: it must be {rule}")]
pub struct InvalidOption {
    /// The option's name, as in the configuration.
    pub option: &'static str,
    /// The value that was given.
    pub value: f64,
    /// What holds for valid values.
    pub rule: &'static str,
}

impl InvalidOption {
    /// `Ok` if `value` is finite and not negative.
    ///
    /// # Errors
    ///
    /// Otherwise.
    ///
    /// ```
    /// use sed_core::InvalidOption;
    ///
    /// assert!(InvalidOption::unless_non_negative("weight", 0.0).is_ok());
    /// let error = InvalidOption::unless_non_negative("weight", -1.0).unwrap_err();
    /// assert_eq!(error.to_string(), "weight = -1: it must be finite and not negative");
    /// ```
    pub fn unless_non_negative(option: &'static str, value: f64) -> Result<(), Self> {
        Self::unless(value.is_finite() && value >= 0.0, option, value, "finite and not negative")
    }

    /// `Ok` if `value` is finite and above zero.
    ///
    /// # Errors
    ///
    /// Otherwise.
    ///
    /// ```
    /// use sed_core::InvalidOption;
    ///
    /// assert!(InvalidOption::unless_positive("epsilon", 1e-3).is_ok());
    /// assert!(InvalidOption::unless_positive("epsilon", 0.0).is_err());
    /// ```
    pub fn unless_positive(option: &'static str, value: f64) -> Result<(), Self> {
        Self::unless(value.is_finite() && value > 0.0, option, value, "finite and above 0")
    }

    /// `Ok` if `value` is in `[0, 1]`.
    ///
    /// # Errors
    ///
    /// Otherwise.
    ///
    /// ```
    /// use sed_core::InvalidOption;
    ///
    /// assert!(InvalidOption::unless_fraction("threshold", 1.0).is_ok());
    /// assert!(InvalidOption::unless_fraction("threshold", 70.0).is_err());
    /// ```
    pub fn unless_fraction(option: &'static str, value: f64) -> Result<(), Self> {
        Self::unless((0.0..=1.0).contains(&value), option, value, "in [0, 1]")
    }

    /// `Ok` if `value` is in `[0.01, 1]`: a temperature that sharpens.
    ///
    /// # Errors
    ///
    /// Otherwise.
    ///
    /// ```
    /// use sed_core::InvalidOption;
    ///
    /// assert!(InvalidOption::unless_temperature("temperature", 0.5).is_ok());
    /// assert!(InvalidOption::unless_temperature("temperature", 0.0).is_err());
    /// ```
    pub fn unless_temperature(option: &'static str, value: f64) -> Result<(), Self> {
        Self::unless((0.01..=1.0).contains(&value), option, value, "in [0.01, 1]")
    }

    fn unless(valid: bool, option: &'static str, value: f64, rule: &'static str) -> Result<(), Self> {
        if valid { Ok(()) } else { Err(Self { option, value, rule }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_has_its_bounds() {
        for (value, non_negative, positive, fraction, temperature) in [
            (0.0, true, false, true, false),
            (1.0, true, true, true, true),
            (1.5, true, true, false, false),
            (-0.1, false, false, false, false),
            (f64::NAN, false, false, false, false),
            (f64::INFINITY, false, false, false, false),
        ] {
            assert_eq!(InvalidOption::unless_non_negative("x", value).is_ok(), non_negative, "{value}");
            assert_eq!(InvalidOption::unless_positive("x", value).is_ok(), positive, "{value}");
            assert_eq!(InvalidOption::unless_fraction("x", value).is_ok(), fraction, "{value}");
            assert_eq!(InvalidOption::unless_temperature("x", value).is_ok(), temperature, "{value}");
        }
    }

    #[test]
    fn the_message_names_option_value_and_rule() {
        let error = InvalidOption::unless_positive("epsilon", -1.0).unwrap_err();
        assert_eq!(error.to_string(), "epsilon = -1: it must be finite and above 0");
    }
}
