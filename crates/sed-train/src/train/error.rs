use std::{error::Error as _, fmt::Display, sync::Arc};

use sed_core::InvalidOption;
use thiserror::Error;

use crate::{checkpoint::CheckpointError, data::LoaderError, eval::EvalError, report::ReportError};

/// Why a training did not start or did not finish.
///
/// ```
/// use burn::tensor::Device;
/// use sed_train::train::{Run, Stop, TrainError, train};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/training.rs")); }
/// # use setup::WholeImage;
/// # let dir = tempfile::tempdir()?;
/// # let setup::Training { config, data, .. } = setup::training(dir.path())?;
///
/// // `data` and `config` are those of four steps; `WholeImage` stands for any `Detector`.
/// let device = Device::default();
/// let stop = Stop::default();
/// stop.request(); // as a handler of Ctrl-C does, before the first step is over
/// let run = Run::new("stopped").stopped_by(stop);
/// match train(WholeImage::new(6, &device), &data, &config, &device, &run) {
///     Err(TrainError::Stopped { iteration }) => assert_eq!(iteration, 1),
///     Err(error) => panic!("{error}"),
///     Ok(_) => panic!("not stopped"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
    /// So many steps in a row whose loss or gradient is not finite; no weight was changed by them.
    #[error(
        "iteration {iteration}: {term} is {value}, as the {steps} steps up to here; labeled images {labeled:?}, \
         unlabeled images {unlabeled:?}"
    )]
    NonFinite {
        /// The iteration, from 0.
        iteration: usize,
        /// The steps in a row.
        steps: usize,
        /// The first loss term, or `gradient_norm`, that is not finite.
        term: String,
        /// Its value.
        value: f64,
        /// Ids of the labeled images of the batch.
        labeled: Vec<u64>,
        /// Names of the unlabeled images of the batch.
        unlabeled: Vec<String>,
    },
    /// A device did not give the losses of a step; nothing of that step is kept.
    #[error("iteration {iteration}: the device {device} does not answer: {reason}")]
    DeviceLost {
        /// The iteration, from 0.
        iteration: usize,
        /// The device, as Burn names it.
        device: String,
        /// Burn's reason.
        reason: String,
    },
    /// The evaluation failed.
    #[error("evaluation: {0}")]
    Evaluation(#[from] EvalError),
    /// A file of the run folder could not be written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A stop was asked for; the run can be resumed.
    #[error("stopped after {iteration} steps")]
    Stopped {
        /// Steps taken.
        iteration: usize,
    },
    /// The loader's epochs are not those of the evaluations.
    #[error(
        "the loader's epochs have {loader} batches, but every {evaluate_every} steps there is an evaluation"
    )]
    Epochs {
        /// Batches of an epoch.
        loader: usize,
        /// `evaluate_every`.
        evaluate_every: usize,
    },
    /// Checkpoints: written, read, or not those of this run.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The metrics of a step never arrived at the log, so no checkpoint can be made.
    #[error("the metrics of iteration {iteration} were lost: the thread that writes them has ended")]
    MetricsLost {
        /// The step.
        iteration: usize,
    },
    /// Burn's training engine stopped: an image that cannot be read, a metric that failed.
    #[error("{0}")]
    Engine(Arc<burn::train::TrainingError>),
}

impl TrainError {
    /// The image that stopped the run because it could not be read or prepared, if that is why.
    ///
    /// ```
    /// use burn::tensor::Device;
    /// use sed_train::data::LoaderError;
    /// use sed_train::train::{Run, train};
    /// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/training.rs")); }
    /// # use setup::WholeImage;
    /// # let dir = tempfile::tempdir()?;
    /// # let setup::Training { config, paths, data, .. } = setup::training(dir.path())?;
    ///
    /// // `data` and `config` are those of four steps; `WholeImage` stands for any `Detector`.
    /// let device = Device::default();
    /// std::fs::remove_dir_all(&paths.train_images)?; // while the run goes on
    /// let error = train(WholeImage::new(6, &device), &data, &config, &device, &Run::new("first")).err().unwrap();
    /// assert!(matches!(error.loader(), Some(LoaderError::Image { batch: 0, .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
