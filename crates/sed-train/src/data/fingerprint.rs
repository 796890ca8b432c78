//! Short sums of datasets, by which a run knows that it goes on with the data that it began with.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::{LabeledSet, UnlabeledSet};

impl LabeledSet {
    /// A sum of the classes, and of each image's id, size, objects, and the length of its file; 16 hexadecimal digits.
    ///
    /// Where the folder lies does not enter, nor do the pixels: a file that was replaced by one of the same length is not noticed.
    ///
    /// ```
    /// use sed_core::{ImageSize, Targets};
    /// use sed_train::data::{Category, LabeledSample, LabeledSet};
    ///
    /// let set = |label| LabeledSet {
    ///     categories: vec![Category { id: 3, name: "nut".into() }, Category { id: 90, name: "screw".into() }],
    ///     samples: vec![LabeledSample {
    ///         id: 7,
    ///         path: "a.png".into(),
    ///         size: ImageSize::new(30, 40),
    ///         targets: Targets { boxes: vec![[10., 10., 15., 15.]], labels: vec![label], crowds: vec![] },
    ///     }],
    /// };
    /// assert_eq!(set(0).fingerprint(), set(0).fingerprint());
    /// assert_ne!(set(0).fingerprint(), set(1).fingerprint());
    /// assert_eq!(set(0).fingerprint().len(), 16);
    /// ```
    pub fn fingerprint(&self) -> String {
        let mut sum = Sha256::new();
        for category in &self.categories {
            sum.update(category.id.to_le_bytes());
            text(&mut sum, &category.name);
        }
        for sample in &self.samples {
            sum.update(sample.id.to_le_bytes());
            length(&mut sum, &sample.path);
            for number in
                [sample.size.height, sample.size.width, sample.targets.len(), sample.targets.crowds.len()]
            {
                sum.update((number as u64).to_le_bytes());
            }
            let corners = sample.targets.boxes.iter().chain(&sample.targets.crowds).flatten();
            corners.for_each(|corner| sum.update(corner.to_le_bytes()));
            sample.targets.labels.iter().for_each(|&label| sum.update((label as u64).to_le_bytes()));
        }
        finish(sum)
    }
}

impl UnlabeledSet {
    /// A sum of each image's name within its folder or shard and its length in bytes; 16 hexadecimal digits.
    ///
    /// ```
    /// use sed_train::data::UnlabeledSet;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # std::fs::write(dir.path().join("a.png"), [])?;
    /// let before = UnlabeledSet::from_folder(dir.path())?.fingerprint();
    /// std::fs::write(dir.path().join("b.png"), [])?;
    /// assert_ne!(UnlabeledSet::from_folder(dir.path())?.fingerprint(), before);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fingerprint(&self) -> String {
        let mut sum = Sha256::new();
        for image in &self.images {
            text(&mut sum, &image.key);
            match image.span {
                None => length(&mut sum, &image.path),
                Some(span) => sum.update(span.length.to_le_bytes()),
            }
        }
        finish(sum)
    }
}

fn text(sum: &mut Sha256, text: &str) {
    sum.update((text.len() as u64).to_le_bytes());
    sum.update(text);
}

/// A file that is missing has no length; who reads it will say so.
fn length(sum: &mut Sha256, path: &Path) {
    let length = path.metadata().map_or(u64::MAX, |metadata| metadata.len());
    sum.update(length.to_le_bytes());
}

fn finish(sum: Sha256) -> String {
    sum.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sed_core::{ImageSize, Targets};

    use super::*;
    use crate::data::{Category, LabeledSample, UnlabeledImage};

    fn labeled(folder: &Path) -> LabeledSet {
        fs::write(folder.join("a.png"), "abc").unwrap();
        LabeledSet {
            categories: vec![Category { id: 3, name: "cat".into() }],
            samples: vec![LabeledSample {
                id: 7,
                path: folder.join("a.png"),
                size: ImageSize::new(4, 5),
                targets: Targets {
                    boxes: vec![[0.0, 1.0, 2.0, 3.0]],
                    labels: vec![0],
                    crowds: vec![[1.0, 1.0, 2.0, 2.0]],
                },
            }],
        }
    }

    #[test]
    fn anything_that_training_reads_of_the_labels_changes_it() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let set = labeled(a.path());
        let same = labeled(b.path()).fingerprint();
        assert_eq!(set.fingerprint(), same, "another folder");
        type Change = fn(&mut LabeledSet);
        let changes: [Change; 8] = [
            |set| set.categories[0].name.push('s'),
            |set| set.categories[0].id = 4,
            |set| set.samples[0].id = 8,
            |set| set.samples[0].size.width = 6,
            |set| set.samples[0].targets.boxes[0][1] = 1.5,
            |set| set.samples[0].targets.labels[0] = 1,
            |set| set.samples[0].targets.crowds.clear(),
            |set| set.samples[0].path = "nowhere".into(),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut changed = set.clone();
            change(&mut changed);
            assert_ne!(changed.fingerprint(), same, "change {index}");
        }
        fs::write(a.path().join("a.png"), "abcd").unwrap();
        assert_ne!(set.fingerprint(), same, "a longer file");
    }

    #[test]
    fn names_and_lengths_of_unlabeled_files_enter() {
        let folder = tempfile::tempdir().unwrap();
        let set = |keys: &[&str]| UnlabeledSet {
            images: keys.iter().map(|key| UnlabeledImage::file(*key, folder.path().join(key))).collect(),
        };
        fs::write(folder.path().join("a"), "1").unwrap();
        let first = set(&["a", "b"]).fingerprint();
        assert_ne!(set(&["b", "a"]).fingerprint(), first);
        assert_ne!(set(&["a"]).fingerprint(), first);
        fs::write(folder.path().join("a"), "12").unwrap();
        assert_ne!(set(&["a", "b"]).fingerprint(), first);
    }
}
