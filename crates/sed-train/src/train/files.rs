//! What a run finds in its folder when it starts, and when it goes on.

use std::path::Path;

use toml::{Table, Value};

use super::{Run, TrainConfig, TrainError, monitor::Logs};
use crate::{
    checkpoint::{CheckpointError, CheckpointFolder, Restored, RunLock, require_same},
    report::{ReportError, ScalarLog, TensorBoardLog, WarningLog},
};

/// The folder of a run, locked, with its logs as they were when the checkpoint was taken.
pub(super) struct RunFiles {
    pub lock: RunLock,
    pub logs: Logs,
    pub checkpoints: CheckpointFolder,
    pub identity: Table,
    /// Absent for a run that starts.
    pub restored: Option<Restored>,
}

impl RunFiles {
    pub fn open(folder: &Path, run: &Run, config: &TrainConfig) -> Result<Self, TrainError> {
        let lock = RunLock::acquire(folder)?;
        let mut identity = run.identity.clone();
        let encode = |error: toml::ser::Error| CheckpointError::Encode {
            path: folder.into(),
            reason: error.to_string(),
        };
        identity.insert("train".into(), Value::try_from(config).map_err(encode)?);
        let checkpoints = CheckpointFolder::of_run(folder);
        checkpoints.remove_unfinished()?;
        if !run.resumes {
            if !checkpoints.iterations()?.is_empty() {
                return Err(ReportError::RunExists { path: folder.into(), file: "checkpoints" }.into());
            }
            let logs = Logs {
                scalars: ScalarLog::create(folder)?,
                board: TensorBoardLog::create(folder)?,
                warnings: WarningLog::create(folder)?,
            };
            return Ok(Self { lock, logs, checkpoints, identity, restored: None });
        }
        let restored = checkpoints.newest()?;
        let logs = match &restored {
            None => Logs {
                scalars: ScalarLog::resume(folder, 0)?,
                board: TensorBoardLog::resume(folder, 0)?,
                warnings: WarningLog::create(folder)?,
            },
            Some(Restored { state, .. }) => {
                require_same(&state.identity, &identity)?;
                let iteration = state.progress.iteration as u64;
                let mut scalars = ScalarLog::resume(folder, iteration)?;
                scalars.append(iteration, &state.progress.row)?;
                let mut board = TensorBoardLog::resume(folder, iteration.saturating_sub(1))?;
                board.append(iteration, &state.progress.row)?;
                Logs { scalars, board, warnings: WarningLog::resume(folder, iteration)? }
            }
        };
        Ok(Self { lock, logs, checkpoints, identity, restored })
    }
}
