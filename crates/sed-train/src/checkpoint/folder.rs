use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use burn::{
    optim::OptimizerRecord,
    store::{ModuleRecord, RecordError},
    tensor::Bytes,
};
use toml::Table;

use super::{
    CheckpointError, Progress,
    manifest::{FileEntry, Manifest},
};
use crate::train::Evaluation;

/// The newest checkpoints that are kept, beside the best.
const KEPT: usize = 3;
const STUDENT: &str = "student.bpk";
const TEACHER: &str = "teacher.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const MANIFEST: &str = "manifest.toml";
/// What a folder's name starts with while it is written.
const UNFINISHED: &str = ".unfinished-";

/// Everything that a checkpoint holds.
///
/// ```
/// use burn::{module::Module, nn::LinearConfig, optim::AdamWConfig, tensor::Device};
/// use sed_train::checkpoint::{Progress, State};
///
/// # let layer = LinearConfig::new(3, 2).init(&Device::default());
/// # let optimizer = AdamWConfig::new().init();
/// # let progress = Progress {
/// #     iteration: 12,
/// #     skipped_steps: 0,
/// #     silent_steps: 0,
/// #     seconds: 1.5,
/// #     row: Default::default(),
/// #     evaluations: vec![],
/// # };
/// let state = State {
///     progress,
///     identity: toml::toml! { seed = 7 },
///     student: layer.clone().into_record(),
///     teacher: layer.into_record(),
///     optimizer: optimizer.to_record(),
/// };
/// assert_eq!(state.progress.iteration, 12);
/// ```
pub struct State {
    /// How far the run has come.
    pub progress: Progress,
    /// What must be the same when the run goes on.
    pub identity: Table,
    /// The student's weights.
    pub student: ModuleRecord,
    /// The teacher's weights.
    pub teacher: ModuleRecord,
    /// The optimizer's moments.
    pub optimizer: OptimizerRecord,
}

impl State {
    /// Reads the checkpoint of a folder as `checkpoints/000001000`.
    ///
    /// # Errors
    ///
    /// If it is not as it was written.
    ///
    /// ```
    /// use burn::module::Module;
    /// use sed_train::checkpoint::{CheckpointFolder, State};
    ///
    /// # use burn::{nn::LinearConfig, optim::AdamWConfig, tensor::Device};
    /// # use sed_train::checkpoint::Progress;
    /// # let run = tempfile::tempdir()?;
    /// # let layer = LinearConfig::new(3, 2).init(&Device::default());
    /// # let state = State {
    /// #     progress: Progress {
    /// #         iteration: 12,
    /// #         skipped_steps: 0,
    /// #         silent_steps: 0,
    /// #         seconds: 1.5,
    /// #         row: Default::default(),
    /// #         evaluations: vec![],
    /// #     },
    /// #     identity: toml::toml! { seed = 7 },
    /// #     student: layer.clone().into_record(),
    /// #     teacher: layer.clone().into_record(),
    /// #     optimizer: AdamWConfig::new().init().to_record(),
    /// # };
    /// let folder = CheckpointFolder::of_run(run.path()).save(state)?;
    /// let teacher = State::read(&folder)?.teacher;
    /// let layer = layer.try_load_record(teacher)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read(folder: &Path) -> Result<Self, CheckpointError> {
        let file = folder.join(MANIFEST);
        let text = fs::read(&file).map_err(|error| CheckpointError::damaged(&file, error.to_string()))?;
        let text = String::from_utf8(text).map_err(|_| CheckpointError::damaged(&file, "it is no text"))?;
        let manifest = Manifest::decode(&text).map_err(|reason| CheckpointError::damaged(&file, reason))?;
        let content = |name: &str| {
            let file = folder.join(name);
            let damaged = |reason: String| CheckpointError::damaged(&file, reason);
            let entry =
                manifest.files.get(name).ok_or_else(|| damaged("the manifest does not list it".into()))?;
            // The size is checked before the file is read into memory.
            let size = fs::metadata(&file).map_err(|error| damaged(error.to_string()))?.len();
            if size != entry.bytes {
                return Err(damaged(format!("{size} bytes instead of {}", entry.bytes)));
            }
            let content = fs::read(&file).map_err(|error| damaged(error.to_string()))?;
            if FileEntry::of(&content) != *entry {
                return Err(damaged("its content does not match its SHA-256".into()));
            }
            Ok(Bytes::from_bytes_vec(content))
        };
        let student = parse(folder, STUDENT, content(STUDENT)?, ModuleRecord::from_bytes)?;
        let teacher = parse(folder, TEACHER, content(TEACHER)?, ModuleRecord::from_bytes)?;
        let optimizer = parse(folder, OPTIMIZER, content(OPTIMIZER)?, OptimizerRecord::from_bytes)?;
        Ok(Self { progress: manifest.progress, identity: manifest.identity, student, teacher, optimizer })
    }
}

/// A checkpoint that was read.
///
/// ```
/// use sed_train::checkpoint::CheckpointFolder;
///
/// # use burn::{module::Module, nn::LinearConfig, optim::AdamWConfig, tensor::Device};
/// # use sed_train::checkpoint::{Progress, State};
/// # let run = tempfile::tempdir()?;
/// # let layer = LinearConfig::new(3, 2).init(&Device::default());
/// # let state = |iteration| State {
/// #     progress: Progress {
/// #         iteration,
/// #         skipped_steps: 0,
/// #         silent_steps: 0,
/// #         seconds: 1.5,
/// #         row: Default::default(),
/// #         evaluations: vec![],
/// #     },
/// #     identity: toml::toml! { seed = 7 },
/// #     student: layer.clone().into_record(),
/// #     teacher: layer.clone().into_record(),
/// #     optimizer: AdamWConfig::new().init().to_record(),
/// # };
/// let checkpoints = CheckpointFolder::of_run(run.path());
/// checkpoints.save(state(10))?;
/// let newest = checkpoints.save(state(20))?;
/// std::fs::write(newest.join("student.bpk"), "not what was written")?;
///
/// let restored = checkpoints.newest()?.unwrap();
/// assert_eq!(restored.state.progress.iteration, 10);
/// assert!(restored.damaged[0].to_string().contains("student.bpk: damaged checkpoint"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Restored {
    /// Its folder.
    pub path: PathBuf,
    /// Its content.
    pub state: State,
    /// What is wrong with newer ones, which were passed over.
    pub damaged: Vec<CheckpointError>,
}

/// The checkpoints of one run: the newest three, and the best.
///
/// ```
/// use sed_train::checkpoint::CheckpointFolder;
///
/// # use burn::{module::Module, nn::LinearConfig, optim::AdamWConfig, tensor::Device};
/// # use sed_train::checkpoint::{Progress, State};
/// # let run = tempfile::tempdir()?;
/// # let layer = LinearConfig::new(3, 2).init(&Device::default());
/// # let state = |iteration| State {
/// #     progress: Progress {
/// #         iteration,
/// #         skipped_steps: 0,
/// #         silent_steps: 0,
/// #         seconds: 1.5,
/// #         row: Default::default(),
/// #         evaluations: vec![],
/// #     },
/// #     identity: toml::toml! { seed = 7 },
/// #     student: layer.clone().into_record(),
/// #     teacher: layer.clone().into_record(),
/// #     optimizer: AdamWConfig::new().init().to_record(),
/// # };
/// let checkpoints = CheckpointFolder::of_run(run.path());
/// assert!(checkpoints.newest()?.is_none());
/// for iteration in [10, 20, 30, 40] {
///     checkpoints.save(state(iteration))?;
/// }
/// assert_eq!(checkpoints.iterations()?, [20, 30, 40]);
/// let restored = checkpoints.newest()?.unwrap();
/// assert_eq!(restored.state.progress.iteration, 40);
/// assert!(restored.path.ends_with("checkpoints/000000040"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct CheckpointFolder {
    path: PathBuf,
}

impl CheckpointFolder {
    /// The folder `checkpoints` of a run folder; it is made with the first checkpoint.
    pub fn of_run(run: &Path) -> Self {
        Self { path: run.join("checkpoints") }
    }

    /// The iterations of the checkpoints that are there, whole or not, ascending.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn iterations(&self) -> Result<Vec<usize>, CheckpointError> {
        let mut iterations = Vec::new();
        for name in self.names()? {
            iterations.extend(name.parse::<usize>().ok());
        }
        iterations.sort_unstable();
        Ok(iterations)
    }

    /// Removes what a process left that was killed while it wrote. Only for the holder of the run's lock.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    ///
    /// ```
    /// use sed_train::checkpoint::{CheckpointFolder, RunLock};
    ///
    /// # let run = tempfile::tempdir()?;
    /// # let unfinished = run.path().join("checkpoints/.unfinished-000000010");
    /// std::fs::create_dir_all(&unfinished)?; // as a process leaves it that is killed
    /// let _lock = RunLock::acquire(run.path())?;
    /// let checkpoints = CheckpointFolder::of_run(run.path());
    /// assert!(checkpoints.iterations()?.is_empty()); // it is no checkpoint
    /// checkpoints.remove_unfinished()?;
    /// assert!(!unfinished.exists());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove_unfinished(&self) -> Result<(), CheckpointError> {
        for name in self.names()?.iter().filter(|name| name.starts_with(UNFINISHED)) {
            let path = self.path.join(name);
            fs::remove_dir_all(&path).map_err(CheckpointError::io(&path))?;
        }
        Ok(())
    }

    /// Writes a checkpoint, and then removes those that are neither among the newest three nor the best by the evaluations so
    /// far.
    ///
    /// # Errors
    ///
    /// If the system refuses, as when the disk is full; the checkpoints that were there are then as before.
    pub fn save(&self, state: State) -> Result<PathBuf, CheckpointError> {
        let State { progress, identity, student, teacher, optimizer } = state;
        let (iteration, best) =
            (progress.iteration, Evaluation::best(&progress.evaluations).map(|best| best.iteration));
        let unfinished = self.path.join(format!("{UNFINISHED}{iteration:09}"));
        let path = self.checkpoint(iteration);
        let write = || -> Result<(), CheckpointError> {
            remove_if_there(&unfinished)?;
            fs::create_dir_all(&unfinished).map_err(CheckpointError::io(&unfinished))?;
            let mut files = BTreeMap::new();
            let records = [
                (STUDENT, student.into_bytes()),
                (TEACHER, teacher.into_bytes()),
                (OPTIMIZER, optimizer.into_bytes()),
            ];
            for (name, content) in records {
                let file = unfinished.join(name);
                let encode = |error: RecordError| CheckpointError::Encode {
                    path: file.clone(),
                    reason: error.to_string(),
                };
                let content = content.map_err(encode)?;
                write_synced(&file, &content)?;
                files.insert(name.to_owned(), FileEntry::of(&content));
            }
            let file = unfinished.join(MANIFEST);
            let text = Manifest::new(progress, identity, files).encode();
            let text = text
                .map_err(|error| CheckpointError::Encode { path: file.clone(), reason: error.to_string() })?;
            write_synced(&file, text.as_bytes())?;
            sync_folder(&unfinished)?;
            // Only a checkpoint that was found damaged, or that a run passed over, stands in the way.
            remove_if_there(&path)?;
            fs::rename(&unfinished, &path).map_err(CheckpointError::io(&path))?;
            sync_folder(&self.path)
        };
        let written = write();
        if written.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_dir_all(&unfinished);
        }
        written?;
        self.prune(best)?;
        Ok(path)
    }

    /// Removes all checkpoints but the newest three and that of iteration `best`.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    ///
    /// ```
    /// use sed_train::checkpoint::CheckpointFolder;
    ///
    /// # let run = tempfile::tempdir()?;
    /// # for iteration in [10, 20, 30, 40, 50] {
    /// #     std::fs::create_dir_all(run.path().join(format!("checkpoints/{iteration:09}")))?;
    /// # }
    /// let checkpoints = CheckpointFolder::of_run(run.path());
    /// assert_eq!(checkpoints.iterations()?, [10, 20, 30, 40, 50]);
    /// checkpoints.prune(Some(10))?;
    /// assert_eq!(checkpoints.iterations()?, [10, 30, 40, 50]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn prune(&self, best: Option<usize>) -> Result<(), CheckpointError> {
        let iterations = self.iterations()?;
        let old = &iterations[..iterations.len().saturating_sub(KEPT)];
        old.iter()
            .filter(|&&old| Some(old) != best)
            .try_for_each(|&old| remove_if_there(&self.checkpoint(old)))
    }

    /// The newest whole checkpoint; `None` if there is none at all.
    ///
    /// # Errors
    ///
    /// If there are some and none is whole, or the system refuses.
    pub fn newest(&self) -> Result<Option<Restored>, CheckpointError> {
        let mut damaged = Vec::new();
        for iteration in self.iterations()?.into_iter().rev() {
            let path = self.checkpoint(iteration);
            match State::read(&path) {
                Ok(state) => return Ok(Some(Restored { path, state, damaged })),
                Err(error) => damaged.push(error),
            }
        }
        match damaged.into_iter().next() {
            None => Ok(None),
            Some(newest) => {
                Err(CheckpointError::NoneWhole { folder: self.path.clone(), newest: newest.into() })
            }
        }
    }

    fn checkpoint(&self, iteration: usize) -> PathBuf {
        self.path.join(format!("{iteration:09}"))
    }

    fn names(&self) -> Result<Vec<String>, CheckpointError> {
        if !self.path.exists() {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(&self.path).map_err(CheckpointError::io(&self.path))?;
        let name = |entry: std::io::Result<fs::DirEntry>| {
            let entry = entry.map_err(CheckpointError::io(&self.path))?;
            Ok(entry.file_name().to_string_lossy().into_owned())
        };
        entries.map(name).collect()
    }
}

/// A file whose sum is right is what somebody wrote, which may not have been this program: Burn's reader panics on some such.
fn parse<T>(
    path: &Path,
    name: &str,
    content: Bytes,
    parse: impl FnOnce(Bytes) -> Result<T, RecordError>,
) -> Result<T, CheckpointError> {
    let reason = match catch_unwind(AssertUnwindSafe(|| parse(content))) {
        Ok(Ok(record)) => return Ok(record),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "Burn cannot read it".into(),
    };
    Err(CheckpointError::damaged(path.join(name), reason))
}

fn write_synced(path: &Path, content: &[u8]) -> Result<(), CheckpointError> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create_new(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(CheckpointError::io(path))
}

/// Brings the names in a folder to the disk; other systems than Unix have no such call.
fn sync_folder(path: &Path) -> Result<(), CheckpointError> {
    if cfg!(unix) {
        File::open(path).and_then(|folder| folder.sync_all()).map_err(CheckpointError::io(path))?;
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> Result<(), CheckpointError> {
    if path.exists() {
        fs::remove_dir_all(path).map_err(CheckpointError::io(path))?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
