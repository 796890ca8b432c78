//! COCO annotation files.
//!
//! A file is read in two steps. [`CocoIndex::read`] takes its images and categories only;
//! [`CocoIndex::labels`] then takes the annotations of the images asked for and drops all others
//! while it parses, so that labels of an unlabeled image are never in memory. Annotations of
//! [PASCAL VOC](super::voc) are read to the same types.
//!
//! ```
//! use sed_train::data::{CocoIndex, DataPolicy};
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
//! let labels = index.labels(&[7], DataPolicy::STRICT)?;
//! let labeled = index.labeled_set(dir.path(), &labels)?;
//! let unlabeled = index.unlabeled_set(dir.path(), &[8])?;
//!
//! // The box leaves the image at the right, so it is clipped to its 40 columns.
//! assert_eq!(labeled.samples[0].targets.boxes, [[10., 10., 40., 20.]]);
//! assert_eq!(unlabeled.images[0].key, "b.png");
//! # Ok(())
//! # }
//! ```

mod annotated;
mod annotations;
mod entry;
mod index;
#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use sed_core::{ImageSize, Targets};

use super::files::ImageFolder;
use super::{
    Category, DataError, DataPolicy, DataReport, LabeledSample, LabeledSet, UnlabeledImage, UnlabeledSet, voc,
};

pub(super) use annotations::clip;
pub use annotations::{CocoAnnotation, CocoLabels};

/// An image as an annotation file lists it.
///
/// ```
/// use sed_train::data::CocoIndex;
///
/// # let dir = tempfile::tempdir()?;
/// # let file = dir.path().join("train.json");
/// std::fs::write(&file, r#"{
///     "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30}],
///     "categories": [{"id": 3, "name": "screw"}]
/// }"#)?;
/// let index = CocoIndex::read(&file)?;
/// let image = &index.images()[0];
/// assert_eq!((image.id, image.file_name.as_str()), (7, "a.png"));
/// assert_eq!((image.size.width, image.size.height), (40, 30));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CocoImage {
    /// Its id.
    pub id: u64,
    /// Its path, relative to the image folder.
    pub file_name: String,
    /// Its size.
    pub size: ImageSize,
}

/// The images and categories of a labeled dataset, each sorted by id; no annotations.
///
/// ```
/// use sed_train::data::CocoIndex;
///
/// # let dir = tempfile::tempdir()?;
/// # let file = dir.path().join("train.json");
/// std::fs::write(&file, r#"{
///     "images": [{"id": 8, "file_name": "b.png", "width": 40, "height": 30},
///                {"id": 7, "file_name": "a.png", "width": 40, "height": 30}],
///     "categories": [{"id": 90, "name": "screw"}, {"id": 3, "name": "nut"}]
/// }"#)?;
/// let index = CocoIndex::read(&file)?;
/// assert_eq!(index.image_ids(), [7, 8]);
/// assert_eq!(index.image(8).unwrap().file_name, "b.png");
/// assert_eq!(index.categories()[1].name, "screw"); // class 1, whatever its id
/// assert_eq!(index.path(), file);
/// assert!(index.report().is_clean());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CocoIndex {
    pub(super) path: PathBuf,
    pub(super) source: Source,
    pub(super) images: Vec<CocoImage>,
    pub(super) categories: Vec<Category>,
    /// Ids of listed images that were left out; their annotations are no problem.
    pub(super) dropped: HashSet<u64>,
    pub(super) report: DataReport,
}

/// Where the annotations lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// In the index' own file.
    Json,
    /// The VOC file of each image.
    Voc(HashMap<u64, PathBuf>),
}

impl CocoIndex {
    /// Reads `images` and `categories` of a COCO annotation file; every problem is an error.
    ///
    /// # Errors
    ///
    /// Those of [`CocoIndex::open`].
    ///
    /// ```
    /// use sed_train::data::{CocoIndex, DataError};
    ///
    /// let error = CocoIndex::read("no/such/file.json").unwrap_err();
    /// assert!(matches!(error, DataError::Io { .. }));
    /// assert!(error.to_string().starts_with("no/such/file.json: "));
    /// ```
    pub fn read(path: impl AsRef<Path>) -> Result<Self, DataError> {
        index::read(path.as_ref(), DataPolicy::STRICT)
    }

    /// Reads the images and categories of a COCO annotation file, or of a folder or list of VOC files
    /// (see [`voc`]), whichever lies at `path`. VOC files know classes by their names alone: `classes` are
    /// the categories that the names stand for; without it the names found, sorted, with ids from 1. COCO
    /// files have categories of their own.
    ///
    /// # Errors
    ///
    /// A file that is missing or malformed, an empty list, a category that is wrong or occurs twice;
    /// unless `policy` has them left out, an image that lacks a field, whose id or file name occurs twice,
    /// whose file name leads out of the image folder, or whose size is zero.
    ///
    /// ```
    /// use sed_train::data::{CocoIndex, DataPolicy, PolicyMode, SkipBound};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let file = dir.path().join("train.json");
    /// std::fs::write(&file, r#"{
    ///     "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30},
    ///                {"id": 8, "file_name": "b.png", "width": 40, "height": 0}],
    ///     "categories": [{"id": 3, "name": "screw"}]
    /// }"#)?;
    /// assert!(CocoIndex::open(&file, None, DataPolicy::STRICT).is_err());
    ///
    /// let lenient = DataPolicy::new(PolicyMode::Skip, SkipBound::Percent(50.0));
    /// let index = CocoIndex::open(&file, None, lenient)?;
    /// assert_eq!(index.image_ids(), [7]);
    /// assert_eq!(index.report().skipped_images, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(
        path: impl AsRef<Path>,
        classes: Option<&[Category]>,
        policy: DataPolicy,
    ) -> Result<Self, DataError> {
        let path = path.as_ref();
        match voc::is_voc(path) {
            true => voc::read_index(path, classes, policy),
            false => index::read(path, policy),
        }
    }

    /// The images that were left out or repaired.
    pub fn report(&self) -> &DataReport {
        &self.report
    }

    /// The files that hold the annotations, in order.
    pub(super) fn annotation_files(&self) -> Vec<&Path> {
        match &self.source {
            Source::Json => vec![&self.path],
            Source::Voc(files) => {
                let mut files: Vec<_> = files.values().map(PathBuf::as_path).collect();
                files.sort_unstable();
                files
            }
        }
    }

    fn is_dropped(&self, id: u64) -> bool {
        self.dropped.contains(&id)
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
    /// A file that is missing or malformed, an id that was asked for twice or does not exist, no box at
    /// all; unless `policy` has them left out or repaired, an annotation that lacks a field, whose id
    /// occurs twice, whose image or category does not exist, whose area is negative, or whose box cannot
    /// be a target.
    ///
    /// ```
    /// use sed_train::data::{CocoIndex, DataError, DataPolicy};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let file = dir.path().join("train.json");
    /// std::fs::write(&file, r#"{
    ///     "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30},
    ///                {"id": 8, "file_name": "b.png", "width": 40, "height": 30}],
    ///     "categories": [{"id": 3, "name": "screw"}],
    ///     "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 10, 5, 5]},
    ///                     {"id": 2, "image_id": 8, "category_id": 3, "bbox": [20, 10, 5, 5]}]
    /// }"#)?;
    /// let index = CocoIndex::read(&file)?;
    /// let labels = index.labels(&[7], DataPolicy::STRICT)?; // the box of image 8 is never in memory
    /// assert_eq!(labels.annotations().len(), 1);
    /// assert!(matches!(index.labels(&[9], DataPolicy::STRICT), Err(DataError::ImageNotListed { id: 9, .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn labels(&self, image_ids: &[u64], policy: DataPolicy) -> Result<CocoLabels, DataError> {
        let mut image_ids = image_ids.to_vec();
        image_ids.sort_unstable();
        check_unique(&self.path, "the images asked for", image_ids.iter().copied())?;
        if let Some(&id) = image_ids.iter().find(|&&id| self.image(id).is_none()) {
            return Err(DataError::ImageNotListed { path: self.path.clone(), id });
        }
        let (annotations, report) = match &self.source {
            Source::Json => annotations::read(self, &image_ids, policy)?,
            Source::Voc(files) => voc::read_labels(self, files, &image_ids, policy)?,
        };
        if annotations.iter().all(|annotation| annotation.iscrowd) {
            return Err(DataError::NoBoxes { path: self.path.clone(), images: image_ids.len() });
        }
        Ok(CocoLabels { image_ids, annotations, report })
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
    ///
    /// ```
    /// use sed_train::data::{CocoIndex, DataPolicy};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let (file, root) = (dir.path().join("train.json"), dir.path());
    /// # std::fs::write(root.join("a.png"), [])?;
    /// std::fs::write(&file, r#"{
    ///     "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30}],
    ///     "categories": [{"id": 3, "name": "screw"}],
    ///     "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 10, 5, 5]},
    ///                     {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 9, 9], "iscrowd": 1}]
    /// }"#)?;
    /// let index = CocoIndex::read(&file)?;
    /// let labels = index.labels(&index.image_ids(), DataPolicy::STRICT)?;
    /// let set = index.labeled_set(root, &labels)?;
    /// assert_eq!(set.samples[0].targets.boxes, [[10.0, 10.0, 15.0, 15.0]]);
    /// assert_eq!(set.samples[0].targets.crowds, [[0.0, 0.0, 9.0, 9.0]]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
        let mut folder = ImageFolder::new(root.as_ref());
        let samples = labels
            .image_ids()
            .iter()
            .map(|id| {
                let image = self.image(*id).unwrap_or_else(|| panic!("labeled_set: no image {id} here"));
                Ok(LabeledSample {
                    id: image.id,
                    path: folder.existing_file(&image.file_name)?,
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
    ///
    /// ```
    /// use sed_train::data::{CocoIndex, DataError};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let (file, root) = (dir.path().join("train.json"), dir.path());
    /// # std::fs::write(root.join("b.png"), [])?;
    /// std::fs::write(&file, r#"{
    ///     "images": [{"id": 7, "file_name": "missing.png", "width": 40, "height": 30},
    ///                {"id": 8, "file_name": "b.png", "width": 40, "height": 30}],
    ///     "categories": [{"id": 3, "name": "screw"}]
    /// }"#)?;
    /// let index = CocoIndex::read(&file)?;
    /// assert_eq!(index.unlabeled_set(root, &[8])?.images[0].key, "b.png");
    /// assert!(matches!(index.unlabeled_set(root, &[7, 8]), Err(DataError::Io { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn unlabeled_set(
        &self,
        root: impl AsRef<Path>,
        image_ids: &[u64],
    ) -> Result<UnlabeledSet, DataError> {
        let mut folder = ImageFolder::new(root.as_ref());
        let images = image_ids
            .iter()
            .map(|&id| {
                let image = self
                    .image(id)
                    .ok_or_else(|| DataError::ImageNotListed { path: self.path.clone(), id })?;
                let path = folder.existing_file(&image.file_name)?;
                Ok(UnlabeledImage::file(image.file_name.clone(), path))
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
    ///
    /// ```
    /// use sed_train::data::UnlabeledSet;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let (list, root) = (dir.path().join("more.json"), dir.path());
    /// # std::fs::write(root.join("b.png"), [])?;
    /// # std::fs::write(root.join("a.png"), [])?;
    /// std::fs::write(&list, r#"{"images": [{"file_name": "b.png"}, {"file_name": "a.png"}]}"#)?;
    /// let set = UnlabeledSet::from_json(&list, root)?;
    /// assert_eq!(set.images[0].path, root.join("b.png"));
    /// assert_eq!(set.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_json(path: impl AsRef<Path>, root: impl AsRef<Path>) -> Result<Self, DataError> {
        let mut folder = ImageFolder::new(root.as_ref());
        let image = |key: String| {
            let path = folder.existing_file(&key)?;
            Ok(UnlabeledImage::file(key, path))
        };
        let images = index::read_names(path.as_ref())?.into_iter().map(image).collect::<Result<_, _>>()?;
        Ok(Self { images })
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
