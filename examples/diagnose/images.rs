//! The images to measure on, with their true objects.

use anyhow::{Result, ensure};
use sed::train::{
    data::{CocoIndex, LabeledSet, SplitManifest},
    eval::GroundTruth,
};

use crate::{
    common::data::{self, files},
    options::{Options, Part},
    subject::Subject,
};

/// Images and their true objects, which no training is given.
pub struct Images {
    /// The images, with their objects in pixels of the original images.
    pub set: LabeledSet,
    /// The same objects as the COCO protocol counts them.
    pub truth: GroundTruth,
    part: Part,
}

impl Images {
    /// The part of the data that `--images` names.
    pub fn open<M>(options: &Options, subject: &Subject<M>) -> Result<Self> {
        let files = files(&options.args, subject.scenes.as_ref())?;
        let (annotations, root) = match options.images {
            Part::Validation => (&files.val_annotations, &files.val_images),
            Part::Unlabeled => (&files.train_annotations, &files.train_images),
        };
        let policy = subject.policy;
        // VOC files of the validation may lack a class, and know no numbers.
        let classes = match options.images {
            Part::Validation => {
                CocoIndex::open(&files.train_annotations, None, policy)?.categories().to_vec()
            }
            Part::Unlabeled => Vec::new(),
        };
        let classes = (!classes.is_empty()).then_some(classes.as_slice());
        let index = CocoIndex::open(annotations, classes, policy)?.with_usable_files(root, policy)?;
        let ids = match (options.images, &subject.split) {
            (Part::Validation, _) => index.image_ids(),
            (Part::Unlabeled, Some(split)) => SplitManifest::load(split, &index)?.unlabeled,
            (Part::Unlabeled, None) => {
                let args = &options.args;
                let said = args.labeled_percent.is_some()
                    || args.split.is_some()
                    || args.unlabeled_without_annotations;
                ensure!(
                    said,
                    "--images unlabeled: give --run, or --labeled-percent or --split as in the training"
                );
                data::split(&index, args, 100.0)?.unlabeled
            }
        };
        ensure!(!ids.is_empty(), "--images unlabeled: all training images are labeled");
        let labels = index.labels(&ids, policy)?;
        Ok(Self {
            set: index.labeled_set(root, &labels)?,
            truth: GroundTruth::from_coco(&index, &labels),
            part: options.images,
        })
    }

    /// One line on what is measured on.
    pub fn describe(&self) -> String {
        format!(
            "{} {} images with {} objects of {} classes",
            self.set.len(),
            self.part.name(),
            self.set.num_objects(),
            self.set.categories.len()
        )
    }
}
