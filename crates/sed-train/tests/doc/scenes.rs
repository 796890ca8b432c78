// Data for the examples of the documentation, which include this file: eight generated images of 32×32 pixels, those
// with the ids 1 to 4 labeled, the others not.

use std::path::Path;

use sed_train::data::{
    CocoIndex, CocoLabels, DataPolicy, LabeledSet, UnlabeledSet,
    scenes::{SceneConfig, ScenePaths, generate},
};

pub struct Sets {
    pub paths: ScenePaths,
    pub index: CocoIndex,
    pub labels: CocoLabels,
    pub labeled: LabeledSet,
    pub unlabeled: UnlabeledSet,
}

pub fn sets(folder: &Path) -> Result<Sets, Box<dyn std::error::Error>> {
    let config = SceneConfig { image_size: 32, train_images: 8, val_images: 1, ..SceneConfig::default() };
    let paths = generate(&config, &folder.join("scenes"))?;
    let index = CocoIndex::read(&paths.train_annotations)?;
    let labels = index.labels(&[1, 2, 3, 4], DataPolicy::STRICT)?;
    let labeled = index.labeled_set(&paths.train_images, &labels)?;
    let unlabeled = index.unlabeled_set(&paths.train_images, &[5, 6, 7, 8])?;
    Ok(Sets { paths, index, labels, labeled, unlabeled })
}
