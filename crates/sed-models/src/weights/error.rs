//! What can be wrong with a file of weights.

use std::{fmt, path::PathBuf};

use thiserror::Error;

/// A parameter whose shape in the file is not that in the module.
///
/// ```
/// use sed_models::weights::Misshaped;
///
/// let wider =
///     Misshaped { key: "conv1.weight".to_owned(), expected: vec![8, 3, 7, 7], found: vec![64, 3, 7, 7] };
/// assert_eq!(wider.to_string(), "conv1.weight is [64, 3, 7, 7] in the file, [8, 3, 7, 7] in the model");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misshaped {
    /// The parameter's key.
    pub key: String,
    /// Its shape in the module.
    pub expected: Vec<usize>,
    /// Its shape in the file.
    pub found: Vec<usize>,
}

impl fmt::Display for Misshaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {:?} in the file, {:?} in the model", self.key, self.found, self.expected)
    }
}

/// All the keys that keep a file from filling a module.
///
/// ```
/// use burn::tensor::Device;
/// use sed_models::{
///     ops::conv2d::Conv2dConfig,
///     weights::{LoadOptions, WeightsError, load, save_safetensors},
/// };
///
/// let folder = tempfile::tempdir()?;
/// let (path, device) = (folder.path().join("convolution.safetensors"), Device::default());
/// save_safetensors(&Conv2dConfig::new(3, 4, 3).with_bias(false).init(&device), &path)?;
///
/// let mut other = Conv2dConfig::new(3, 8, 3).init(&device);
/// let result = load(&mut other, &path, &LoadOptions::default());
/// let Err(WeightsError::Mismatch { mismatch, .. }) = result else {
///     unreachable!("the file lacks the bias, and its weight has other shapes")
/// };
/// assert_eq!(mismatch.missing, ["bias"]);
/// assert_eq!(mismatch.misshaped[0].found, [4, 3, 3, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Keys of the module that the file lacks.
    pub missing: Vec<String>,
    /// Keys of the file that the module lacks.
    pub extra: Vec<String>,
    /// Keys of both, with different shapes.
    pub misshaped: Vec<Misshaped>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} missing, {} extra and {} misshaped keys",
            self.missing.len(),
            self.extra.len(),
            self.misshaped.len()
        )?;
        for key in &self.missing {
            write!(f, "\n  missing in the file: {key}")?;
        }
        for key in &self.extra {
            write!(f, "\n  not in the model: {key}")?;
        }
        for key in &self.misshaped {
            write!(f, "\n  misshaped: {key}")?;
        }
        Ok(())
    }
}

/// A file of weights could not be read into a module, or written. The module is as it was.
///
/// ```
/// use std::path::Path;
///
/// use burn::tensor::Device;
/// use sed_models::{
///     ops::conv2d::Conv2dConfig,
///     weights::{LoadOptions, WeightsError, load},
/// };
///
/// let mut conv = Conv2dConfig::new(3, 4, 1).init(&Device::default());
/// match load(&mut conv, Path::new("missing.safetensors"), &LoadOptions::default()) {
///     Err(WeightsError::Open { path, source }) => {
///         assert_eq!(path, Path::new("missing.safetensors"));
///         assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
///     }
///     other => unreachable!("{other:?}"),
/// }
/// ```
#[derive(Debug, Error)]
pub enum WeightsError {
    /// The file is not there, or not to be opened.
    #[error("{path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The ending of the name is none of those known.
    #[error("{path}: weights are read from .safetensors, .pth and .pt files")]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what its ending says, or damaged.
    #[error("{path}: not readable as {format}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The format that its ending promises.
        format: &'static str,
        /// What the reader said.
        reason: String,
    },
    /// Two keys of the file name the same parameter, one in an older spelling.
    #[error("{path}: two keys stand for {key}")]
    DuplicateKey {
        /// The file.
        path: PathBuf,
        /// The parameter.
        key: String,
    },
    /// File and module have no key in common.
    #[error(
        "{path}: no key of the file is one of the model; the file has {}, the model {}",
        .found.join(", "), .expected.join(", ")
    )]
    NothingMatched {
        /// The file.
        path: PathBuf,
        /// The first keys of the file.
        found: Vec<String>,
        /// The first keys of the module.
        expected: Vec<String>,
    },
    /// Keys of file and module differ.
    #[error("{path}: {mismatch}")]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// All keys concerned.
        mismatch: Mismatch,
    },
    /// A parameter's values cannot be used.
    #[error("{path}: {key}: {reason}")]
    Values {
        /// The file.
        path: PathBuf,
        /// The parameter.
        key: String,
        /// What is wrong with them.
        reason: String,
    },
    /// The file could not be written.
    #[error("{path}: not written: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the writer said.
        reason: String,
    },
}
