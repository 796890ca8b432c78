//! Leaving out images whose files cannot be used, before a training starts.

use std::path::Path;

use super::files::{existing_file, in_parallel};
use super::problem::{Inspector, Place};
use super::{CocoIndex, DataError, DataPolicy, DataReport, PolicyMode, UnlabeledImage, UnlabeledSet, image};

impl CocoIndex {
    /// Decodes the image files below `root`, on all cores. Under a policy that skips, images whose file
    /// is missing, damaged, no JPEG or PNG, or not of the listed size are left out. Nothing is done under
    /// [`PolicyMode::Strict`], where the first use of such a file is an error.
    ///
    /// # Errors
    ///
    /// If more images than `policy` allows would be left out, or all.
    ///
    /// ```
    /// use sed_train::data::{CocoIndex, DataPolicy, PolicyMode, SkipBound};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let (file, root) = (dir.path().join("train.json"), dir.path());
    /// # image::RgbImage::new(40, 30).save(root.join("a.png"))?;
    /// std::fs::write(&file, r#"{
    ///     "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30},
    ///                {"id": 8, "file_name": "missing.png", "width": 40, "height": 30}],
    ///     "categories": [{"id": 3, "name": "screw"}]
    /// }"#)?;
    /// let skip = DataPolicy::new(PolicyMode::Skip, SkipBound::Percent(50.0));
    /// let index = CocoIndex::read(&file)?.with_usable_files(root, skip)?;
    /// assert_eq!(index.image_ids(), [7]);
    /// assert_eq!(index.report().problems[0].image, Some(8));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_usable_files(
        mut self,
        root: impl AsRef<Path>,
        policy: DataPolicy,
    ) -> Result<Self, DataError> {
        if policy.mode == PolicyMode::Strict {
            return Ok(self);
        }
        let root = root.as_ref();
        let decode = |image: &super::CocoImage| {
            image::decode_listed(&existing_file(root, &image.file_name)?, image.id, image.size).map(drop)
        };
        let found = in_parallel(&self.images, decode, || ());
        let mut inspector = Inspector::new(policy);
        inspector.report.images = self.images.len();
        let mut kept = Vec::with_capacity(self.images.len());
        for (image, found) in self.images.into_iter().zip(found) {
            let Err(error) = found else {
                kept.push(image);
                continue;
            };
            let place = Place { image: Some(image.id), ..Place::default() };
            inspector.reject(&root.join(&image.file_name), &place, error);
            self.dropped.insert(image.id);
        }
        let report = inspector.finish(root)?;
        self.report.extend(&DataReport { images: 0, ..report });
        self.images = kept;
        Ok(self)
    }
}

impl UnlabeledSet {
    /// Decodes the images, on all cores. Under a policy that skips, those whose file is missing, damaged
    /// or no JPEG or PNG are left out, and listed in the report; `path` names the set in errors. Nothing is
    /// done under [`PolicyMode::Strict`].
    ///
    /// # Errors
    ///
    /// If more images than `policy` allows would be left out, or all.
    ///
    /// ```
    /// use sed_train::data::{DataError, DataPolicy, PolicyMode, SkipBound, UnlabeledSet};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let folder = dir.path();
    /// # image::RgbImage::new(40, 30).save(folder.join("a.png"))?;
    /// std::fs::write(folder.join("b.png"), "no image")?; // beside a.png, which is one
    /// let set = UnlabeledSet::from_folder(folder)?;
    /// let skip = |most| DataPolicy::new(PolicyMode::Skip, SkipBound::Count(most));
    /// let (usable, report) = set.clone().with_usable_files(folder, skip(1))?;
    /// assert_eq!((usable.len(), report.skipped_images), (1, 1));
    ///
    /// let refused = set.with_usable_files(folder, skip(0));
    /// assert!(matches!(refused, Err(DataError::TooManySkipped { skipped: 1, total: 2, .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_usable_files(
        self,
        path: impl AsRef<Path>,
        policy: DataPolicy,
    ) -> Result<(Self, DataReport), DataError> {
        if policy.mode == PolicyMode::Strict {
            return Ok((self, DataReport::default()));
        }
        let decode = |image: &UnlabeledImage| image.decode().map(drop);
        let found = in_parallel(&self.images, decode, || ());
        let mut inspector = Inspector::new(policy);
        inspector.report.images = self.images.len();
        let mut images = Vec::with_capacity(self.images.len());
        for (image, found) in self.images.into_iter().zip(found) {
            match found {
                Ok(()) => images.push(image),
                Err(error) => {
                    inspector.reject(&image.place(), &Place::default(), error);
                }
            }
        }
        Ok((Self { images }, inspector.finish(path.as_ref())?))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::SkipBound;

    #[test]
    fn unlabeled_images_that_cannot_be_used_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        ::image::RgbImage::new(4, 3).save(dir.path().join("a.png")).unwrap();
        fs::write(dir.path().join("b.jpg"), "text").unwrap();
        let set = UnlabeledSet::from_folder(dir.path()).unwrap();
        let with = |mode, most| {
            set.clone().with_usable_files(dir.path(), DataPolicy::new(mode, SkipBound::Count(most)))
        };
        assert_eq!(with(PolicyMode::Strict, 0).unwrap().0, set);
        let (usable, report) = with(PolicyMode::Skip, 1).unwrap();
        assert_eq!(usable.images, set.images[..1]);
        assert_eq!((report.images, report.skipped_images), (2, 1));
        assert_eq!(report.problems[0].file, dir.path().join("b.jpg"));
        let text = with(PolicyMode::Skip, 0).unwrap_err().to_string();
        assert!(text.contains("1 of 2 images cannot be used, and 0 may be skipped; the first: "), "{text}");
        fs::remove_file(dir.path().join("a.png")).unwrap();
        let all = UnlabeledSet::from_folder(dir.path())
            .unwrap()
            .with_usable_files(dir.path(), DataPolicy::new(PolicyMode::Skip, SkipBound::Percent(100.)));
        assert!(matches!(all, Err(DataError::TooManySkipped { skipped: 1, total: 1, .. })));
    }
}
