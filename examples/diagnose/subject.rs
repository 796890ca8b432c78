//! What is measured: a configuration and the weights that belong to it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sed::train::data::{DataPolicy, scenes::SceneConfig};
use serde::Serialize;

use crate::{
    common::{
        args::DetectorName,
        models::Model,
        settings::{Settings, override_settings},
        trained::RunConfig,
    },
    options::Options,
};

/// Where a run folder has the weights before and after.
const RUN_WEIGHTS: [(&str, &str); 2] =
    [("before", "supervised/teacher.safetensors"), ("after", "sed/teacher.safetensors")];

/// A detector's configuration with its weights.
pub struct Subject<M> {
    /// The detector.
    pub model: M,
    /// Side of the square that images are fitted into.
    pub image_size: usize,
    /// The generated dataset that belongs to it.
    pub scenes: Option<SceneConfig>,
    /// What was done about data that cannot be used.
    pub policy: DataPolicy,
    /// Which training images were labeled, if a run says so.
    pub split: Option<PathBuf>,
    /// The files of weights: `before` and `after`, as far as they are there.
    pub weights: Vec<(&'static str, PathBuf)>,
}

/// What a folder of measurements was made from.
#[derive(Serialize)]
pub struct Record<'a, M> {
    detector: &'static str,
    images: &'static str,
    image_size: usize,
    threshold: f32,
    weights: Vec<&'a Path>,
    model: &'a M,
    scenes: Option<&'a SceneConfig>,
}

impl<M: Model> Subject<M> {
    /// The configuration and the teachers of a run folder.
    pub fn of_run(run: &Path, detector: DetectorName) -> Result<Self> {
        let config = RunConfig::<M>::read(run)
            .with_context(|| format!("--run: not of --detector {}", detector.name()))?;
        let files = RUN_WEIGHTS.map(|(name, file)| (name, run.join(file)));
        let weights: Vec<_> = files.into_iter().filter(|(_, file)| file.is_file()).collect();
        ensure!(
            !weights.is_empty(),
            "{}: neither {} nor {}",
            run.display(),
            RUN_WEIGHTS[0].1,
            RUN_WEIGHTS[1].1
        );
        Ok(Self {
            model: config.model,
            image_size: config.images.augment.image_size,
            scenes: config.images.scenes,
            policy: config.images.data,
            split: Some(run.join("split.json")),
            weights,
        })
    }

    /// The files of `--before` and `--after` and the configuration of a training with the same arguments.
    pub fn of_files(options: &Options, preset: &Settings<M>) -> Result<Self> {
        let args = &options.args;
        let settings = override_settings(preset, args.config.as_deref(), &args.set)?;
        let files = [("before", &options.before), ("after", &options.after)];
        Ok(Self {
            model: settings.model,
            image_size: settings.augment.image_size,
            scenes: settings.scenes,
            policy: settings.data,
            split: None,
            weights: files.into_iter().filter_map(|(name, file)| Some((name, file.clone()?))).collect(),
        })
    }

    /// What is written beside the results.
    pub fn record(&self, options: &Options) -> Record<'_, M> {
        Record {
            detector: options.detector.name(),
            images: options.images.name(),
            image_size: self.image_size,
            threshold: options.threshold,
            weights: self.weights.iter().map(|(_, file)| file.as_path()).collect(),
            model: &self.model,
            scenes: self.scenes.as_ref(),
        }
    }
}
