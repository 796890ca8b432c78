use std::{error::Error as _, fmt::Display, sync::Arc};

use sed_core::InvalidOption;
use thiserror::Error;

use crate::{data::LoaderError, eval::EvalError, report::ReportError};

/// Why a training did not start or did not finish.
#[derive(Debug, Error)]
pub enum TrainError {
    /// A hyper-parameter outside its range.
    #[error("{field} = {value}: {rule}")]
    Config {
        /// The field, as it is written in a configuration file.
        field: String,
        /// Its value.
        value: String,
        /// The rule it breaks.
        rule: String,
    },
    /// A weight or an option of the unsupervised losses outside its range.
    #[error("objective: {0}")]
    Objective(#[from] InvalidOption),
    /// A loss or a gradient that is not finite. No weight was changed by it.
    #[error(
        "iteration {iteration}: {term} is {value}; labeled images {labeled:?}, unlabeled images {unlabeled:?}"
    )]
    NonFinite {
        /// The iteration, from 0.
        iteration: usize,
        /// The first loss term, or `gradient_norm`, that is not finite.
        term: String,
        /// Its value.
        value: f64,
        /// Ids of the labeled images of the batch.
        labeled: Vec<u64>,
        /// Names of the unlabeled images of the batch.
        unlabeled: Vec<String>,
    },
    /// The evaluation failed.
    #[error("evaluation: {0}")]
    Evaluation(#[from] EvalError),
    /// A file of the run folder could not be written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// Burn's training engine stopped: an image that cannot be read, a metric that failed.
    #[error("{0}")]
    Engine(Arc<burn::train::TrainingError>),
}

impl TrainError {
    /// The image that stopped the run because it could not be read or prepared, if that is why.
    pub fn loader(&self) -> Option<&LoaderError> {
        let Self::Engine(error) = self else { return None };
        match error.as_ref() {
            burn::train::TrainingError::Dataset(error) => error.source()?.downcast_ref(),
            _ => None,
        }
    }

    pub(crate) fn config(field: impl Into<String>, value: impl Display, rule: impl Into<String>) -> Self {
        Self::Config { field: field.into(), value: value.to_string(), rule: rule.into() }
    }
}
