//! The teacher of a run.

use std::{fs, path::Path};

use anyhow::{Context, Result, anyhow};
use burn::tensor::Device;
use sed::{
    models::weights::{self, LoadOptions},
    train::{
        data::{AugmentConfig, scenes::SceneConfig},
        train::Method,
    },
};
use serde::Deserialize;

use crate::common::models::Model;

/// What a page needs of a run's configuration.
#[derive(Deserialize)]
pub struct RunConfig<M> {
    model: M,
    /// How views are drawn.
    pub augment: AugmentConfig,
    /// The generated dataset that belongs to the run.
    pub scenes: Option<SceneConfig>,
}

impl<M: Model> RunConfig<M> {
    /// Reads the configuration of a run folder.
    pub fn read(run: &Path) -> Result<Self> {
        let path = run.join("config.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("--checkpoint: {}", path.display()))?;
        toml::from_str(&text)
            .map_err(|error| anyhow!("{}: not of this --detector: {}", path.display(), error.message()))
    }

    /// The teacher of a method.
    pub fn teacher(
        &mut self,
        run: &Path,
        method: Method,
        classes: usize,
        device: &Device,
    ) -> Result<M::Detector> {
        self.model.set_classes(classes);
        let mut detector = self.model.init(device)?;
        let file = run.join(method.name()).join("teacher.safetensors");
        weights::load(&mut detector, &file, &LoadOptions::default()).context("--checkpoint")?;
        Ok(detector)
    }
}
