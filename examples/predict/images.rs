//! The images to look at, with the ids that their objects carry.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, ensure};
use sed::train::data::{Category, CocoIndex, UnlabeledImage, UnlabeledSet};

/// One image.
pub struct Image {
    /// Its id in `--annotations`, or its number from 1.
    pub id: u64,
    /// Its path within the folder that was given, or its file name.
    pub key: String,
    /// The file.
    pub path: PathBuf,
}

/// All images.
pub struct Images {
    /// In the order of the arguments, and of their names within a folder.
    pub images: Vec<Image>,
    /// The classes of `--annotations`, if given.
    pub categories: Vec<Category>,
}

impl Images {
    /// The files that `--images` names.
    pub fn open(paths: &[PathBuf], annotations: Option<&Path>) -> Result<Self> {
        let mut found = Vec::new();
        for path in paths {
            let set = if path.is_dir() { UnlabeledSet::from_folder(path) } else { Ok(single(path)) };
            found.extend(set.with_context(|| format!("--images {}", path.display()))?.images);
        }
        let mut keys: Vec<&str> = found.iter().map(|image| image.key.as_str()).collect();
        keys.sort_unstable();
        if let Some(pair) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(anyhow!("--images: {} occurs more than once", pair[0]));
        }
        let Some(annotations) = annotations else {
            let numbered = |(index, image): (usize, UnlabeledImage)| with_id(index as u64 + 1, image);
            let images = found.into_iter().enumerate().map(numbered).collect();
            return Ok(Self { images, categories: Vec::new() });
        };
        let index = CocoIndex::read(annotations)?;
        let ids: HashMap<&str, u64> =
            index.images().iter().map(|image| (image.file_name.as_str(), image.id)).collect();
        let listed = |image: UnlabeledImage| {
            let id = ids.get(image.key.as_str()).copied();
            let id = id.ok_or_else(|| anyhow!("{}: no image {}", annotations.display(), image.key))?;
            Ok(with_id(id, image))
        };
        let images = found.into_iter().map(listed).collect::<Result<Vec<_>>>()?;
        ensure!(!images.is_empty(), "--images: no images");
        Ok(Self { images, categories: index.categories().to_vec() })
    }
}

fn single(path: &Path) -> UnlabeledSet {
    let key = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    UnlabeledSet { images: vec![UnlabeledImage::file(key, path)] }
}

fn with_id(id: u64, image: UnlabeledImage) -> Image {
    Image { id, key: image.key, path: image.path }
}
