//! The images of a page.

use std::path::Path;

use anyhow::Result;
use sed::train::data::{
    CocoIndex, DataPolicy, LabeledSample, LabeledSet, SplitManifest, UnlabeledImage, scenes::SceneConfig,
};

use crate::common::{
    args::Args,
    data::{self, GENERATED_PERCENT, files, spread, unlabeled_images},
};

/// Training images, some of each part.
pub struct Images {
    /// Labeled images.
    pub labeled: Vec<LabeledSample>,
    /// Images that count as unlabeled, with the labels that the training does not see.
    pub hidden: Vec<LabeledSample>,
    /// Images of `--unlabeled`, of which nothing is known.
    pub unknown: Vec<UnlabeledImage>,
    /// The classes.
    pub names: Vec<String>,
    /// How many there are of each part.
    pub counts: [usize; 3],
}

impl Images {
    /// At most `count` images of each part of the data that the arguments name; `split` is the file of a run that says
    /// which were labeled.
    pub fn open(
        args: &Args,
        scenes: Option<&SceneConfig>,
        policy: DataPolicy,
        split: Option<&Path>,
        count: usize,
    ) -> Result<Self> {
        let files = files(args, scenes)?;
        let index = CocoIndex::open(&files.train_annotations, None, policy)?;
        let split = match split {
            Some(path) => SplitManifest::load(path, &index)?,
            None => {
                let percent = if args.user_data()?.is_some() { 100.0 } else { GENERATED_PERCENT };
                data::split(&index, args, percent)?
            }
        };
        let mut unknown = Vec::new();
        for path in &args.unlabeled {
            unknown.extend(unlabeled_images(path, policy)?.images);
        }
        let part = |ids: &[u64]| -> Result<LabeledSet> {
            Ok(index.labeled_set(&files.train_images, &index.labels(ids, policy)?)?)
        };
        let counts = [split.labeled.len(), split.unlabeled.len(), unknown.len()];
        Ok(Self {
            labeled: part(&spread(&split.labeled, count))?.samples,
            hidden: part(&spread(&split.unlabeled, count))?.samples,
            unknown: spread(&unknown, count),
            names: index.categories().iter().map(|category| category.name.clone()).collect(),
            counts,
        })
    }
}
