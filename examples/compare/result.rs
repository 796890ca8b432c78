//! What one run leaves for the table.

use std::{fs, io::ErrorKind, path::Path};

use anyhow::{Context, Result};
use sed::train::{report::ResidentMemory, train::Method};
use serde::{Deserialize, Serialize};

/// The file whose presence says that a run has finished.
pub const RESULT_FILE: &str = "result.json";

/// The twelve COCO numbers, in the order of [`CocoSummary::NAMES`](sed::train::eval::CocoSummary::NAMES).
pub type Numbers = [Option<f64>; 12];

/// A finished run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunResult {
    /// The row that it belongs to.
    pub variant: String,
    /// Its method.
    pub method: Method,
    /// The draw of labels.
    pub fold: u64,
    /// The seed.
    pub seed: u64,
    /// Optimizer steps.
    pub iterations: usize,
    /// Wall time of the training, evaluations included.
    pub seconds: f64,
    /// Largest resident memory of the process in MiB, where the system tells.
    pub peak_mib: Option<f64>,
    /// The student after the last step.
    pub student: Numbers,
    /// The teacher after the last step; the average of the weights for methods without one.
    pub teacher: Numbers,
    /// AP of student and teacher after so many steps.
    pub curve: Vec<(usize, Option<f64>, Option<f64>)>,
    /// The teacher at several image sizes, where asked for.
    pub at_scales: Option<AtScales>,
}

/// A teacher that looks at each image at several sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtScales {
    /// The sizes, as factors.
    pub scales: Vec<f64>,
    /// What it reaches.
    pub numbers: Numbers,
    /// Milliseconds an image at all sizes.
    pub milliseconds: f64,
    /// Milliseconds an image at its own size alone.
    pub single_milliseconds: f64,
}

impl RunResult {
    /// The result in a run's folder, if the run has finished.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(RESULT_FILE);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(serde_json::from_str(&text).with_context(|| format!("{}", path.display()))?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{}", path.display())),
        }
    }

    /// One line for the terminal.
    pub fn line(&self) -> String {
        let percent = |ap: Option<f64>| ap.map_or("–".to_string(), |ap| format!("{:.1}", 100.0 * ap));
        format!(
            "{}, fold {}, seed {}: AP {} student, {} teacher, {:.1} min",
            self.variant,
            self.fold,
            self.seed,
            percent(self.student[0]),
            percent(self.teacher[0]),
            self.seconds / 60.0
        )
    }
}

/// Largest resident memory of this process so far in MiB, where the system tells.
pub fn peak_mib() -> Option<f64> {
    ResidentMemory::of_this_process().map(|memory| memory.peak as f64 / f64::from(1 << 20))
}
