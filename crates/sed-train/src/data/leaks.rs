//! Images that are both trained on and validated on.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use super::{LabeledSet, UnlabeledSet};

/// Names that a message lists at most.
const LISTED: usize = 5;

/// A sentence for each part of the training images that shares files with the validation set. Files are compared by their real
/// path; [`check`](super::check) compares their content.
///
/// ```
/// use sed_core::{ImageSize, Targets};
/// use sed_train::data::{LabeledSample, LabeledSet, UnlabeledImage, UnlabeledSet, validation_leaks};
///
/// let labeled = |path: &str| LabeledSet {
///     categories: vec![],
///     samples: vec![LabeledSample {
///         id: 7,
///         path: path.into(),
///         size: ImageSize::new(30, 40),
///         targets: Targets::default(),
///     }],
/// };
/// let image = UnlabeledImage::file("b.png", "val/b.png");
/// let leaks =
///     validation_leaks(&labeled("train/a.png"), &UnlabeledSet { images: vec![image] }, &labeled("val/b.png"));
/// assert_eq!(leaks.len(), 1);
/// assert!(leaks[0].starts_with("1 unlabeled images are also in the validation set (b.png)"));
/// ```
pub fn validation_leaks(labeled: &LabeledSet, unlabeled: &UnlabeledSet, valid: &LabeledSet) -> Vec<String> {
    let mut leaks = Vec::new();
    let real = |path: &Path| -> PathBuf { path.canonicalize().unwrap_or_else(|_| path.to_owned()) };
    let validation: HashSet<PathBuf> = valid.samples.iter().map(|sample| real(&sample.path)).collect();
    let labeled_paths = labeled.samples.iter().map(|sample| (&sample.path, sample.id.to_string()));
    // An image in a shard is no file that could be in two places.
    let files = unlabeled.images.iter().filter(|image| image.span.is_none());
    let unlabeled_paths = files.map(|image| (&image.path, image.key.clone()));
    let parts: [(&str, Vec<(&PathBuf, String)>); 2] =
        [("labeled", labeled_paths.collect()), ("unlabeled", unlabeled_paths.collect())];
    for (part, images) in parts {
        let shared = images.iter().filter(|(path, _)| validation.contains(&real(path)));
        let shared: Vec<&str> = shared.map(|(_, name)| name.as_str()).collect();
        if !shared.is_empty() {
            leaks.push(format!(
                "{} {part} images are also in the validation set ({}): its numbers will flatter",
                shared.len(),
                listed(&shared)
            ));
        }
    }
    leaks
}

fn listed(names: &[&str]) -> String {
    let mut text = names.iter().take(LISTED).copied().collect::<Vec<_>>().join(", ");
    if names.len() > LISTED {
        text.push_str(", …");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sed_core::{ImageSize, Targets};

    use super::*;
    use crate::data::{Category, LabeledSample, UnlabeledImage};

    fn set(folder: &Path, images: &[(&str, usize)]) -> LabeledSet {
        let sample = |(id, (name, label)): (usize, &(&str, usize))| LabeledSample {
            id: id as u64,
            path: folder.join(name),
            size: ImageSize::new(4, 4),
            targets: Targets { boxes: vec![[0.0, 0.0, 2.0, 2.0]], labels: vec![*label], crowds: Vec::new() },
        };
        LabeledSet {
            categories: ["cat", "dog"].map(|name| Category { id: 1, name: name.into() }).into(),
            samples: images.iter().enumerate().map(sample).collect(),
        }
    }

    fn unlabeled(folder: &Path, names: &[&str]) -> UnlabeledSet {
        let image = |name: &&str| UnlabeledImage::file(*name, folder.join(name));
        UnlabeledSet { images: names.iter().map(image).collect() }
    }

    #[test]
    fn shared_images_are_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("x")).unwrap();
        ["a", "b"].iter().for_each(|name| fs::write(folder.path().join(name), "").unwrap());
        let labeled = set(folder.path(), &[("a", 1)]);
        let valid = set(folder.path(), &[("x/../a", 0), ("b", 0)]);
        let found = validation_leaks(&labeled, &unlabeled(folder.path(), &["c", "b"]), &valid);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("1 labeled images") && found[0].contains("(0)"), "{}", found[0]);
        assert!(found[1].contains("1 unlabeled images") && found[1].contains("(b)"), "{}", found[1]);
        let apart = set(folder.path(), &[("d", 0)]);
        assert!(validation_leaks(&labeled, &unlabeled(folder.path(), &["c"]), &apart).is_empty());
    }
}
