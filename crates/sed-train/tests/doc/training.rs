// A training for the examples of the documentation, which include this file: four steps of two labeled and two
// unlabeled images, the first of them burn-in, and an evaluation after every second step.

use std::{path::Path, sync::Arc};

use sed_train::{
    data::{AugmentConfig, EvalLoader, EvalLoaderConfig, LoaderConfig, TrainLoader, scenes::ScenePaths},
    eval::{CocoEvaluator, GroundTruth},
    train::{TrainConfig, TrainData},
};

mod detector {
    include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/whole_image.rs"));
}
mod scenes {
    include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/scenes.rs"));
}
pub use detector::WholeImage;
use scenes::{Sets, sets};

pub struct Training {
    pub config: TrainConfig,
    pub paths: ScenePaths,
    pub loader: TrainLoader,
    pub data: TrainData,
}

pub fn training(folder: &Path) -> Result<Training, Box<dyn std::error::Error>> {
    let Sets { paths, index, labels, labeled, unlabeled } = sets(folder)?;
    let config = TrainConfig {
        iterations: 4,
        evaluate_every: 2,
        batch_labeled: 2,
        batch_unlabeled: 2,
        burn_in: 1,
        ..TrainConfig::default()
    };
    let augment = AugmentConfig { image_size: 32, ..AugmentConfig::default() };
    let batches = LoaderConfig {
        labeled_batch: 2,
        unlabeled_batch: 2,
        iterations_per_epoch: 2,
        ..LoaderConfig::default()
    };
    let valid = EvalLoaderConfig { image_size: 32, ..EvalLoaderConfig::default() };
    let valid = EvalLoader::new(&labeled, valid)?;
    let loader = TrainLoader::new(labeled, unlabeled, augment, batches)?;
    let data = TrainData {
        train: Arc::new(loader.clone()),
        valid: Arc::new(valid),
        truth: Arc::new(GroundTruth::from_coco(&index, &labels)),
        evaluator: Arc::new(CocoEvaluator),
    };
    Ok(Training { config, paths, loader, data })
}
