//! Detectors of torchvision.

use std::path::Path;

use anyhow::{Result, ensure};
use burn::tensor::Device;
use clap::ValueEnum;
use sed::{
    models::{
        faster_rcnn::FasterRcnnConfig,
        retinanet::RetinaNetConfig,
        weights::{self, LoadOptions},
    },
    train::data::Category,
};

use crate::common::{models::Model, trained::TrainedDetector};

/// `--architecture`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Architecture {
    /// RetinaNet with ResNet-50 and P3 to P7.
    RetinanetResnet50Fpn,
    /// Faster R-CNN with ResNet-50 and P2 to P6.
    FasterrcnnResnet50Fpn,
}

impl Architecture {
    /// The detector, with torchvision's `classes`, and the weights of a state dict.
    pub fn load(
        self,
        file: &Path,
        classes: usize,
        epsilon: f64,
        threshold: Option<f32>,
        device: &Device,
    ) -> Result<TrainedDetector> {
        Ok(match self {
            Self::RetinanetResnet50Fpn => {
                let mut config = RetinaNetConfig::torchvision(classes);
                config.backbone.body.norm_epsilon = epsilon;
                TrainedDetector::RetinaNet(Box::new(filled(config, file, threshold, device)?))
            }
            Self::FasterrcnnResnet50Fpn => {
                ensure!(classes >= 2, "--classes {classes}: one is the background");
                let mut config = FasterRcnnConfig::torchvision(classes - 1);
                config.backbone.body.norm_epsilon = epsilon;
                TrainedDetector::FasterRcnn(Box::new(filled(config, file, threshold, device)?))
            }
        })
    }

    /// The classes, whose ids are torchvision's labels; their names are those of the same ids in `known`.
    pub fn categories(self, classes: usize, known: &[Category]) -> Vec<Category> {
        let first = match self {
            Self::RetinanetResnet50Fpn => 0,
            // Label 0 is the background.
            Self::FasterrcnnResnet50Fpn => 1,
        };
        let name = |id: u64| known.iter().find(|category| category.id == id).map(|known| known.name.clone());
        let category = |id: u64| Category { id, name: name(id).unwrap_or_else(|| format!("class {id}")) };
        (first..classes as u64).map(category).collect()
    }
}

/// A detector with the weights of a state dict.
fn filled<M: Model>(
    mut config: M,
    file: &Path,
    threshold: Option<f32>,
    device: &Device,
) -> Result<M::Detector> {
    if let Some(threshold) = threshold {
        config.set_score_threshold(threshold);
    }
    let mut detector = config.init(device)?;
    weights::load(&mut detector, file, &LoadOptions::default())?;
    Ok(detector)
}
