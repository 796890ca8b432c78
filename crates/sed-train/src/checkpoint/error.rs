use std::{io, path::PathBuf};

use thiserror::Error;

/// Why a checkpoint was not written, or a run cannot go on.
///
/// ```
/// use sed_train::checkpoint::{CheckpointError, CheckpointFolder};
///
/// # let run = tempfile::tempdir()?;
/// # let folder = run.path().join("checkpoints/000000012");
/// std::fs::create_dir_all(&folder)?;
/// std::fs::write(folder.join("manifest.toml"), "version = 1\n")?; // cut off
/// let error = CheckpointFolder::of_run(run.path()).newest().err().unwrap();
/// let CheckpointError::NoneWhole { newest, .. } = error else { panic!("{error}") };
/// assert!(matches!(*newest, CheckpointError::Damaged { .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A checkpoint that is not as it was written.
    #[error("{}: damaged checkpoint: {reason}", path.display())]
    Damaged {
        /// The checkpoint's folder, or the file in it.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There are checkpoints, and none of them is whole.
    #[error("{}: no whole checkpoint; the newest: {newest}", folder.display())]
    NoneWhole {
        /// The folder of the checkpoints.
        folder: PathBuf,
        /// What is wrong with the newest.
        newest: Box<CheckpointError>,
    },
    /// The run would not go on as it began.
    #[error("cannot resume: `{key}` was {was} when the run began and is {now} now")]
    Changed {
        /// The key, with the tables that it lies in.
        key: String,
        /// Its value in the checkpoint, or `absent`.
        was: String,
        /// Its value now, or `absent`.
        now: String,
    },
    /// A checkpoint of another detector or optimizer.
    #[error("{}: does not fit: {reason}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// Burn's reason.
        reason: String,
    },
    /// A weight that is not finite; such a state is not written.
    #[error("iteration {iteration}: the weight {name} is not finite; no checkpoint is written")]
    NonFinite {
        /// Optimizer steps taken.
        iteration: usize,
        /// The parameter, as `student.head…`.
        name: String,
    },
    /// A value has no form in the file.
    #[error("{}: not writable: {reason}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// The serializer's reason.
        reason: String,
    },
    /// Another process writes into the run folder.
    #[error("{}: another process is at work in this run folder", path.display())]
    Locked {
        /// The file that the other process holds.
        path: PathBuf,
    },
}

impl CheckpointError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    pub(super) fn damaged(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.into(), reason: reason.into() }
    }
}
