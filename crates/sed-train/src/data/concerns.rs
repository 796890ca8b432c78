//! What may be wrong with the parts of a dataset together, though each part is sound.

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
};

use super::{LabeledSet, UnlabeledSet};

/// Names that a message lists at most.
const LISTED: usize = 5;

/// Reasons, in plain words, for a training on these images to disappoint: a class without an example, and images of the
/// validation set among those that are trained on. Files are compared by their real path.
pub fn concerns(labeled: &LabeledSet, unlabeled: &UnlabeledSet, valid: &LabeledSet) -> Vec<String> {
    let mut concerns = Vec::new();
    let seen: BTreeSet<usize> =
        labeled.samples.iter().flat_map(|sample| sample.targets.labels.iter().copied()).collect();
    let missing = labeled.categories.iter().enumerate().filter(|(class, _)| !seen.contains(class));
    let missing: Vec<&str> = missing.map(|(_, category)| category.name.as_str()).collect();
    if !missing.is_empty() {
        let of = labeled.categories.len();
        let rest = "it can be learned from no label, and no teacher finds it";
        concerns.push(format!(
            "{} of {of} classes have no example among the labeled images ({}): {rest}",
            missing.len(),
            listed(&missing)
        ));
    }

    let real = |path: &Path| -> PathBuf { path.canonicalize().unwrap_or_else(|_| path.to_owned()) };
    let validation: HashSet<PathBuf> = valid.samples.iter().map(|sample| real(&sample.path)).collect();
    let labeled_paths = labeled.samples.iter().map(|sample| (&sample.path, sample.id.to_string()));
    let unlabeled_paths = unlabeled.images.iter().map(|image| (&image.path, image.key.clone()));
    let parts: [(&str, Vec<(&PathBuf, String)>); 2] =
        [("labeled", labeled_paths.collect()), ("unlabeled", unlabeled_paths.collect())];
    for (part, images) in parts {
        let shared = images.iter().filter(|(path, _)| validation.contains(&real(path)));
        let shared: Vec<&str> = shared.map(|(_, name)| name.as_str()).collect();
        if !shared.is_empty() {
            concerns.push(format!(
                "{} {part} images are also in the validation set ({}): its numbers will flatter",
                shared.len(),
                listed(&shared)
            ));
        }
    }
    concerns
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
        let image = |name: &&str| UnlabeledImage { key: name.to_string(), path: folder.join(name) };
        UnlabeledSet { images: names.iter().map(image).collect() }
    }

    #[test]
    fn sound_parts_give_no_concern() {
        let folder = tempfile::tempdir().unwrap();
        let labeled = set(folder.path(), &[("a", 0), ("b", 1)]);
        assert!(
            concerns(&labeled, &unlabeled(folder.path(), &["c"]), &set(folder.path(), &[("d", 0)]))
                .is_empty()
        );
    }

    #[test]
    fn a_class_without_example_and_shared_images_are_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("x")).unwrap();
        ["a", "b"].iter().for_each(|name| fs::write(folder.path().join(name), "").unwrap());
        let labeled = set(folder.path(), &[("a", 1)]);
        let valid = set(folder.path(), &[("x/../a", 0), ("b", 0)]);
        let found = concerns(&labeled, &unlabeled(folder.path(), &["c", "b"]), &valid);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("1 of 2 classes") && found[0].contains("cat"), "{}", found[0]);
        assert!(found[1].contains("1 labeled images") && found[1].contains("(0)"), "{}", found[1]);
        assert!(found[2].contains("1 unlabeled images") && found[2].contains("(b)"), "{}", found[2]);
    }
}
