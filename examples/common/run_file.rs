//! What a run folder says about itself, beside its settings.

use std::{fs, path::Path};

use anyhow::{Context, Result, anyhow};
use sed::train::{data::Category, train::Method};
use serde::{Deserialize, Serialize};

use super::args::DetectorName;

/// `run.toml` of a run folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunFile {
    /// The detector that was trained.
    pub detector: DetectorName,
    /// The methods; each has a sub-folder of its name.
    pub methods: Vec<Method>,
    /// The seed of weights, order and augmentation.
    pub seed: u64,
    /// The classes, in the order of the dense class ids.
    pub categories: Vec<Category>,
}

impl RunFile {
    /// The name of the file.
    pub const NAME: &str = "run.toml";

    /// Reads the file of a run folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(Self::NAME);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        toml::from_str(&text).map_err(|error| anyhow!("{}: {}", path.display(), error.message()))
    }
}
