//! `run.toml`: what a run folder has to say of itself beside its settings.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use sed::train::{data::Category, report::RunFolder, train::Method};
use serde::{Deserialize, Serialize};

use super::args::{Args, DEFAULT_DEVICE, DetectorName, TrainingArgs};

/// The detector, the classes, and the arguments that the run was started with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunFile {
    /// The detector.
    pub detector: DetectorName,
    /// The methods that it is trained by, each in a folder of its name.
    pub methods: Vec<Method>,
    /// The arguments, with all paths absolute.
    pub arguments: Args,
    /// The classes, in the order of the dense ids.
    pub categories: Vec<Category>,
}

impl RunFile {
    /// The name of the file.
    pub const NAME: &str = "run.toml";

    /// Writes it into a run folder.
    pub fn write(&self, folder: &RunFolder) -> Result<()> {
        folder.write_toml(Self::NAME, self)?;
        Ok(())
    }

    /// Reads it from a run folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(Self::NAME);
        let text =
            fs::read_to_string(&path).with_context(|| format!("{}: not a run folder", path.display()))?;
        toml::from_str(&text).map_err(|error| anyhow!("{}: {error}", path.display()))
    }
}

/// What a training example is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Train.
    Start,
    /// Go on with a training.
    Resume,
    /// Say what a training would take.
    DryRun,
    /// Say with which settings it would run.
    DumpConfig,
}

impl TrainingArgs {
    /// The arguments, with `--resume` those that the run of this detector began with, changed by the few that may be given along;
    /// and what is to be done with them.
    pub fn arguments(self, detector: DetectorName) -> Result<(Args, Task)> {
        let Self { args: given, resume, dry_run, dump_config } = self;
        let Some(folder) = resume else {
            let task = match (dry_run, dump_config) {
                (_, true) => Task::DumpConfig,
                (true, _) => Task::DryRun,
                _ => Task::Start,
            };
            return Ok((given, task));
        };
        let file = RunFile::read(&folder)?;
        // A training lies a folder deeper, except where `compare` made it.
        if folder.join("checkpoints").is_dir() {
            bail!(
                "--resume {}: a run of the example compare, which goes on with its own runs",
                folder.display()
            );
        }
        if file.detector != detector {
            bail!("--resume {}: a run of the detector {}", folder.display(), file.detector.name());
        }
        let args = Args {
            device: if given.device == DEFAULT_DEVICE { file.arguments.device } else { given.device },
            method: file.methods,
            config: Some(folder.join("config.toml")),
            set: given.set,
            run_dir: Some(folder),
            #[cfg(feature = "dashboard")]
            dashboard: given.dashboard,
            checkpoint_every: given.checkpoint_every.or(file.arguments.checkpoint_every),
            cache_dir: given.cache_dir.or(file.arguments.cache_dir),
            ..file.arguments
        };
        Ok((args, Task::Resume))
    }
}

impl Args {
    /// These arguments as another process in another folder has to understand them.
    pub fn for_the_record(&self) -> Result<Self> {
        let absolute =
            |path: &PathBuf| std::path::absolute(path).with_context(|| format!("{}", path.display()));
        let maybe = |path: &Option<PathBuf>| path.as_ref().map(absolute).transpose();
        Ok(Self {
            train_annotations: maybe(&self.train_annotations)?,
            train_images: maybe(&self.train_images)?,
            unlabeled: self.unlabeled.iter().map(absolute).collect::<Result<_>>()?,
            val_annotations: maybe(&self.val_annotations)?,
            val_images: maybe(&self.val_images)?,
            split: maybe(&self.split)?,
            weights: maybe(&self.weights)?,
            cache_dir: maybe(&self.cache_dir)?,
            // All of these are in config.toml.
            config: None,
            set: Vec::new(),
            ..self.clone()
        })
    }
}
