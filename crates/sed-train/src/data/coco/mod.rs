//! COCO annotation files.
//!
//! A file is read in two steps. [`CocoIndex::read`] takes its images and categories only;
//! [`CocoIndex::labels`] then takes the annotations of the images asked for and drops all others
//! while it parses, so that labels of an unlabeled image are never in memory.
//!
//! ```
//! use sed_train::data::{CocoIndex, InvalidBoxes};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let file = dir.path().join("train.json");
//! # std::fs::write(dir.path().join("a.png"), [])?;
//! # std::fs::write(dir.path().join("b.png"), [])?;
//! std::fs::write(&file, r#"{
//!     "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30},
//!                {"id": 8, "file_name": "b.png", "width": 40, "height": 30}],
//!     "categories": [{"id": 3, "name": "screw"}],
//!     "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 10, 40, 10]}]
//! }"#)?;
//! let index = CocoIndex::read(&file)?;
//! let labels = index.labels(&[7], InvalidBoxes::Refuse)?;
//! let labeled = index.labeled_set(dir.path(), &labels)?;
//! let unlabeled = index.unlabeled_set(dir.path(), &[8])?;
//!
//! // The box leaves the image at the right, so it is clipped to its 40 columns.
//! assert_eq!(labeled.samples[0].targets.boxes, [[10., 10., 40., 20.]]);
//! assert_eq!(unlabeled.images[0].key, "b.png");
//! # Ok(())
//! # }
//! ```

mod annotations;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use sed_core::{ImageSize, Targets};
use serde::Deserialize;

use super::{Category, DataError, LabeledSample, LabeledSet, UnlabeledImage, UnlabeledSet, json};

pub(crate) use annotations::zero_or_one;
pub use annotations::{CocoAnnotation, CocoLabels, InvalidBoxes};

/// An image as an annotation file lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CocoImage {
    /// Its id.
    pub id: u64,
    /// Its path, relative to the image folder.
    pub file_name: String,
    /// Its size.
    pub size: ImageSize,
}

/// The images and categories of an annotation file, each sorted by id; no annotations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CocoIndex {
    path: PathBuf,
    images: Vec<CocoImage>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct RawIndex {
    #[serde(default)]
    images: Vec<RawImage>,
    #[serde(default)]
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct RawImage {
    id: u64,
    file_name: String,
    width: usize,
    height: usize,
}

impl CocoIndex {
    /// Reads `images` and `categories` of an annotation file.
    ///
    /// # Errors
    ///
    /// A file that is missing or malformed, an empty list, an id or file name that occurs twice,
    /// a file name that leads out of the image folder, an image of size zero.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        let raw: RawIndex = json::read(path)?;
        if raw.images.is_empty() {
            return Err(DataError::NoImages { path: path.to_owned() });
        }
        if raw.categories.is_empty() {
            return Err(DataError::NoCategories { path: path.to_owned() });
        }

        let mut images = raw
            .images
            .into_iter()
            .map(|RawImage { id, file_name, width, height }| {
                if width == 0 || height == 0 {
                    return Err(DataError::EmptyImage { path: path.to_owned(), id, width, height });
                }
                check_file_name(path, &file_name)?;
                Ok(CocoImage { id, file_name, size: ImageSize::new(height, width) })
            })
            .collect::<Result<Vec<_>, _>>()?;
        images.sort_unstable_by_key(|image| image.id);
        check_unique(path, "images", images.iter().map(|image| image.id))?;
        check_unique_names(path, images.iter().map(|image| image.file_name.as_str()))?;

        let mut categories = raw.categories;
        categories.sort_unstable_by_key(|category| category.id);
        check_unique(path, "categories", categories.iter().map(|category| category.id))?;
        Ok(Self { path: path.to_owned(), images, categories })
    }

    /// The annotation file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The images, sorted by id.
    pub fn images(&self) -> &[CocoImage] {
        &self.images
    }

    /// The categories, sorted by id: a category's position is its dense class id.
    pub fn categories(&self) -> &[Category] {
        &self.categories
    }

    /// The ids of all images, ascending.
    pub fn image_ids(&self) -> Vec<u64> {
        self.images.iter().map(|image| image.id).collect()
    }

    /// Reads the annotations of the images `image_ids`, in the order of the file. Annotations of
    /// other images are dropped while the file is parsed; segmentations are never kept.
    ///
    /// # Errors
    ///
    /// A file that is missing or malformed, an id that does not exist or occurs twice, a negative
    /// area, a box that cannot be a target (unless `invalid` says to skip it), or no box at all.
    pub fn labels(&self, image_ids: &[u64], invalid: InvalidBoxes) -> Result<CocoLabels, DataError> {
        annotations::read(self, image_ids, invalid)
    }

    /// The images of `labels`, below the folder `root`, with their objects.
    ///
    /// # Errors
    ///
    /// [`DataError::Io`] with the first image file that is missing.
    ///
    /// # Panics
    ///
    /// If `labels` is of another file.
    pub fn labeled_set(&self, root: impl AsRef<Path>, labels: &CocoLabels) -> Result<LabeledSet, DataError> {
        let mut targets: HashMap<u64, Targets> = HashMap::with_capacity(labels.image_ids().len());
        for annotation in labels.annotations() {
            let targets = targets.entry(annotation.image_id).or_default();
            if annotation.iscrowd {
                targets.crowds.push(annotation.clipped);
            } else {
                targets.boxes.push(annotation.clipped);
                targets.labels.push(annotation.label);
            }
        }
        let samples = labels
            .image_ids()
            .iter()
            .map(|id| {
                let image = self.image(*id).unwrap_or_else(|| panic!("labeled_set: no image {id} here"));
                Ok(LabeledSample {
                    id: image.id,
                    path: existing_file(root.as_ref(), &image.file_name)?,
                    size: image.size,
                    targets: targets.remove(&image.id).unwrap_or_default(),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(LabeledSet { categories: self.categories.clone(), samples })
    }

    /// The images `image_ids`, below the folder `root`, without their objects. A key is the
    /// image's file name.
    ///
    /// # Errors
    ///
    /// An id that is not listed, or the first image file that is missing.
    pub fn unlabeled_set(
        &self,
        root: impl AsRef<Path>,
        image_ids: &[u64],
    ) -> Result<UnlabeledSet, DataError> {
        let images = image_ids
            .iter()
            .map(|&id| {
                let image = self
                    .image(id)
                    .ok_or_else(|| DataError::ImageNotListed { path: self.path.clone(), id })?;
                let path = existing_file(root.as_ref(), &image.file_name)?;
                Ok(UnlabeledImage { key: image.file_name.clone(), path })
            })
            .collect::<Result<_, _>>()?;
        Ok(UnlabeledSet { images })
    }

    /// The image of an id.
    pub fn image(&self, id: u64) -> Option<&CocoImage> {
        self.images.binary_search_by_key(&id, |image| image.id).ok().map(|at| &self.images[at])
    }
}

impl UnlabeledSet {
    /// The images that a JSON file lists under `images`, below the folder `root`, in the order of
    /// the file. Each needs a `file_name`; ids, sizes, categories and annotations are not looked at.
    ///
    /// # Errors
    ///
    /// A file that is missing or malformed, no images, a file name that occurs twice or leads out
    /// of `root`, an image file that is missing.
    pub fn from_json(path: impl AsRef<Path>, root: impl AsRef<Path>) -> Result<Self, DataError> {
        #[derive(Deserialize)]
        struct Listing {
            #[serde(default)]
            images: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            file_name: String,
        }

        let path = path.as_ref();
        let listing: Listing = json::read(path)?;
        if listing.images.is_empty() {
            return Err(DataError::NoImages { path: path.to_owned() });
        }
        check_unique_names(path, listing.images.iter().map(|image| image.file_name.as_str()))?;
        let images = listing
            .images
            .into_iter()
            .map(|Entry { file_name }| {
                check_file_name(path, &file_name)?;
                let file = existing_file(root.as_ref(), &file_name)?;
                Ok(UnlabeledImage { key: file_name, path: file })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { images })
    }
}

/// Refuses names that would leave the image folder when joined to it.
fn check_file_name(path: &Path, file_name: &str) -> Result<(), DataError> {
    let mut components = Path::new(file_name).components().peekable();
    let inside = components.peek().is_some()
        && components.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        && !file_name.contains('\0');
    if inside {
        Ok(())
    } else {
        Err(DataError::UnsafeFileName { path: path.to_owned(), file_name: file_name.to_owned() })
    }
}

fn existing_file(root: &Path, file_name: &str) -> Result<PathBuf, DataError> {
    let file = root.join(file_name);
    match fs::metadata(&file) {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(DataError::io(&file, std::io::Error::other("not a file"))),
        Err(source) => Err(DataError::io(&file, source)),
    }
}

/// `ids` are sorted, so a repeated one has its like beside it.
fn check_unique(path: &Path, field: &'static str, ids: impl Iterator<Item = u64>) -> Result<(), DataError> {
    let mut previous = None;
    for id in ids {
        if previous == Some(id) {
            return Err(DataError::DuplicateId { path: path.to_owned(), field, id });
        }
        previous = Some(id);
    }
    Ok(())
}

fn check_unique_names<'a>(path: &Path, names: impl Iterator<Item = &'a str>) -> Result<(), DataError> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(DataError::DuplicateFileName { path: path.to_owned(), file_name: name.to_owned() });
        }
    }
    Ok(())
}
