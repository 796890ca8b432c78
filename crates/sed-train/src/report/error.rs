use std::{io, path::PathBuf};

use thiserror::Error;

/// Why a part of the report could not be written.
///
/// ```
/// use sed_train::report::{ReportError, RunFolder};
///
/// # let dir = tempfile::tempdir()?;
/// let error = RunFolder::open(dir.path()).unwrap_err();
/// assert!(matches!(error, ReportError::NoRun { file: "config.toml", .. }));
/// assert!(error.to_string().ends_with("the folder holds no run (it has no config.toml)"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Error)]
pub enum ReportError {
    /// The folder already holds a run.
    #[error("{}: the folder already holds a run (it has a {file}); choose another", path.display())]
    RunExists {
        /// The folder.
        path: PathBuf,
        /// The file that says so.
        file: &'static str,
    },
    /// The folder holds no run.
    #[error("{}: the folder holds no run (it has no {file})", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
        /// The file that a run would have.
        file: &'static str,
    },
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file of metrics that is to be gone on with is none.
    #[error("{}:{line}: not a log of metrics: {reason}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A value has no TOML form.
    #[error("{}: not writable as TOML: {source}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// The serializer's reason.
        source: toml::ser::Error,
    },
    /// A value has no JSON form.
    #[error("{}: not writable as JSON: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The serializer's reason.
        source: serde_json::Error,
    },
    /// A picture could not be encoded.
    #[error("{}: not writable as PNG: {source}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// The encoder's reason.
        source: image::ImageError,
    },
    /// A curve could not be drawn.
    #[error("{}: cannot draw the curves: {reason}", path.display())]
    Curves {
        /// The file.
        path: PathBuf,
        /// The plotter's reason.
        reason: String,
    },
    /// A page could not be made.
    #[error("the page: {reason}")]
    Page {
        /// What part, and why.
        reason: String,
    },
}
