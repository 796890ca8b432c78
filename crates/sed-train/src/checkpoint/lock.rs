use std::{
    fs::{self, File, OpenOptions, TryLockError},
    path::Path,
};

use super::CheckpointError;

/// The right to write into a run folder, held by one process at a time.
///
/// It is a lock of the system on the file `run.lock`: it ends with the process, however that ends, and a file that is left
/// means nothing.
///
/// ```
/// use sed_train::checkpoint::{CheckpointError, RunLock};
///
/// # let run = tempfile::tempdir()?;
/// let lock = RunLock::acquire(run.path())?;
/// assert!(matches!(RunLock::acquire(run.path()), Err(CheckpointError::Locked { .. })));
/// drop(lock);
/// RunLock::acquire(run.path())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunLock {
    /// Takes the lock of a folder, which is made if it is missing.
    ///
    /// # Errors
    ///
    /// If another process, or another run of this one, holds it, or the system refuses.
    pub fn acquire(folder: &Path) -> Result<Self, CheckpointError> {
        fs::create_dir_all(folder).map_err(CheckpointError::io(folder))?;
        let path = folder.join("run.lock");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(CheckpointError::io(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(CheckpointError::Locked { path }),
            Err(TryLockError::Error(source)) => Err(CheckpointError::Io { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("run");
        let held = RunLock::acquire(&folder).unwrap();
        let error = RunLock::acquire(&folder).unwrap_err();
        assert!(
            matches!(&error, CheckpointError::Locked { path } if path.ends_with("run/run.lock")),
            "{error}"
        );
        drop(held);
        RunLock::acquire(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let error = RunLock::acquire(&file.join("run")).unwrap_err();
        assert!(error.to_string().contains("file/run"), "{error}");
    }
}
