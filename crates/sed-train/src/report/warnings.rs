//! What a run warned of.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{ReportError, write_atomic};

/// When in an iteration a warning came up.
///
/// ```
/// use sed_train::report::Moment;
///
/// assert_eq!(serde_json::to_string(&Moment::Evaluation)?, "\"evaluation\"");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// Before the first step.
    Start,
    /// In the step.
    Step,
    /// In the evaluation after the step.
    Evaluation,
}

/// A warning of a run.
///
/// ```
/// use sed_train::report::{Moment, Warning};
///
/// let line = r#"{"iteration": 7, "moment": "step", "message": "the loss is not finite"}"#;
/// let warning: Warning = serde_json::from_str(line)?; // of a run's warnings.jsonl
/// assert_eq!((warning.iteration, warning.moment), (7, Moment::Step));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Optimizer steps begun before it.
    pub iteration: u64,
    /// When in the iteration.
    pub moment: Moment,
    /// What is wrong, and what may be the reason.
    pub message: String,
}

/// The warnings of a run, kept as `warnings.jsonl`, one object a line; without warnings there is no file.
///
/// ```
/// use sed_train::report::{Moment, Warning, WarningLog};
///
/// # let dir = tempfile::tempdir()?;
/// let warning = |iteration| Warning { iteration, moment: Moment::Step, message: "skipped".into() };
/// let mut log = WarningLog::create(dir.path())?;
/// log.append(warning(10))?;
/// log.append(warning(20))?;
/// drop(log);
///
/// // The run goes on from a checkpoint of iteration 15.
/// let log = WarningLog::resume(dir.path(), 15)?;
/// assert_eq!(log.warnings(), [warning(10)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct WarningLog {
    path: PathBuf,
    file: Option<File>,
    warnings: Vec<Warning>,
}

impl WarningLog {
    /// An empty log in a folder; an earlier one is removed.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn create(folder: &Path) -> Result<Self, ReportError> {
        let log = Self::empty(folder);
        match fs::remove_file(&log.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(log.refused(source)),
            _ => Ok(log),
        }
    }

    fn empty(folder: &Path) -> Self {
        Self { path: folder.join("warnings.jsonl"), file: None, warnings: Vec::new() }
    }

    /// Goes on with the log of a run that is resumed after the step of iteration `end`: what came later is taken out.
    ///
    /// # Errors
    ///
    /// If the file is not such a log, or the system refuses.
    pub fn resume(folder: &Path, end: u64) -> Result<Self, ReportError> {
        let mut log = Self::empty(folder);
        let text = match fs::read_to_string(&log.path) {
            Ok(text) => text,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(log),
            Err(source) => return Err(log.refused(source)),
        };
        let whole = text.rfind('\n').map_or("", |last| &text[..last]);
        for (index, line) in whole.lines().enumerate() {
            let warning: Warning = serde_json::from_str(line).map_err(|error| ReportError::Log {
                path: log.path.clone(),
                line: index + 1,
                reason: error.to_string(),
            })?;
            log.warnings.push(warning);
        }
        log.warnings.retain(|w| w.iteration < end || (w.iteration == end && w.moment != Moment::Evaluation));
        if log.warnings.is_empty() {
            fs::remove_file(&log.path).map_err(|source| log.refused(source))?;
        } else {
            write_atomic(&log.path, log.warnings.iter().map(line).collect::<String>())?;
        }
        Ok(log)
    }

    /// Adds a warning.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn append(&mut self, warning: Warning) -> Result<(), ReportError> {
        let text = line(&warning);
        self.warnings.push(warning);
        let file = match self.file.take() {
            Some(file) => Ok(file),
            None => OpenOptions::new().create(true).append(true).open(&self.path),
        };
        let written = file.and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            Ok(file)
        });
        self.file = Some(written.map_err(|source| self.refused(source))?);
        Ok(())
    }

    /// The warnings so far.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    fn refused(&self, source: io::Error) -> ReportError {
        ReportError::Io { path: self.path.clone(), source }
    }
}

fn line(warning: &Warning) -> String {
    let value = serde_json::json!({
        "iteration": warning.iteration,
        "moment": warning.moment,
        "message": warning.message,
    });
    format!("{value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(iteration: u64, moment: Moment) -> Warning {
        Warning { iteration, moment, message: format!("{moment:?} \"{iteration}\"") }
    }

    #[test]
    fn a_resumed_log_holds_what_came_before() {
        let all = [
            warning(0, Moment::Start),
            warning(3, Moment::Step),
            warning(4, Moment::Step),
            warning(4, Moment::Evaluation),
            warning(5, Moment::Step),
        ];
        for (end, kept) in [(0, 1), (3, 2), (4, 3), (5, 5)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("warnings.jsonl");
            let mut log = WarningLog::create(folder.path()).unwrap();
            all.iter().for_each(|warning| log.append(warning.clone()).unwrap());
            let whole = fs::read(&path).unwrap();
            fs::write(&path, [&whole[..], b"{\"iter"].concat()).unwrap();
            let mut log = WarningLog::resume(folder.path(), end).unwrap();
            assert_eq!(log.warnings(), &all[..kept]);
            all[kept..].iter().for_each(|warning| log.append(warning.clone()).unwrap());
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
    }

    #[test]
    fn a_log_without_warnings_has_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = WarningLog::create(folder.path()).unwrap();
        log.append(warning(3, Moment::Evaluation)).unwrap();
        assert!(WarningLog::resume(folder.path(), 3).unwrap().warnings().is_empty());
        assert!(!folder.path().join("warnings.jsonl").exists());
        assert!(WarningLog::resume(folder.path(), 3).unwrap().warnings().is_empty());
    }

    #[test]
    fn a_file_that_is_no_log_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("warnings.jsonl"), "{}\n").unwrap();
        let error = WarningLog::resume(folder.path(), 3).unwrap_err().to_string();
        assert!(error.contains("warnings.jsonl:1"), "{error}");
    }
}
