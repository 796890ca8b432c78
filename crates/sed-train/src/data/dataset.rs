use std::path::PathBuf;

use sed_core::{ImageSize, Targets};
use serde::{Deserialize, Serialize};

/// A class of objects.
///
/// A dense class id is the position of the category in a list that is sorted by `id`.
///
/// ```
/// use sed_train::data::Category;
///
/// let categories = [Category { id: 3, name: "nut".into() }, Category { id: 90, name: "screw".into() }];
/// // Detectors and targets count classes from 0; files have ids of their own.
/// let label = categories.iter().position(|category| category.id == 90);
/// assert_eq!(label, Some(1));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Category {
    /// The id in the annotation file; ids may have gaps.
    pub id: u64,
    /// The name in the annotation file.
    pub name: String,
}

/// An image with its labeled objects.
///
/// ```
/// use sed_core::{ImageSize, Targets};
/// use sed_train::data::LabeledSample;
///
/// let sample = LabeledSample {
///     id: 7,
///     path: "images/a.png".into(),
///     size: ImageSize::new(30, 40),
///     targets: Targets { boxes: vec![[10., 10., 15., 15.]], labels: vec![0], crowds: vec![] },
/// };
/// assert_eq!(sample.targets.len(), 1);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LabeledSample {
    /// The image's id in the annotation file.
    pub id: u64,
    /// The image file.
    pub path: PathBuf,
    /// The size that the annotation file gives.
    pub size: ImageSize,
    /// The objects, in pixels of the original image, clipped to it. Empty for a background image.
    pub targets: Targets,
}

/// Images with their labeled objects, ordered by image id.
///
/// ```
/// use sed_core::{ImageSize, Targets};
/// use sed_train::data::{Category, LabeledSample, LabeledSet};
///
/// let sample = |id: u64, targets| {
///     LabeledSample { id, path: format!("{id}.png").into(), size: ImageSize::new(30, 40), targets }
/// };
/// let object = Targets { boxes: vec![[10., 10., 15., 15.]], labels: vec![0], crowds: vec![] };
/// let set = LabeledSet {
///     categories: vec![Category { id: 3, name: "screw".into() }],
///     samples: vec![sample(7, object), sample(8, Targets::default())],
/// };
/// assert_eq!((set.len(), set.num_objects()), (2, 1));
/// assert!(!set.is_empty());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LabeledSet {
    /// The classes; `categories[c]` is dense class id `c`.
    pub categories: Vec<Category>,
    /// The images.
    pub samples: Vec<LabeledSample>,
}

impl LabeledSet {
    /// The number of images.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The number of labeled objects, crowds not counted.
    pub fn num_objects(&self) -> usize {
        self.samples.iter().map(|sample| sample.targets.len()).sum()
    }
}

/// An image of which nothing but the file is known.
///
/// ```
/// use sed_train::data::{UnlabeledImage, UnlabeledSet};
///
/// let image = UnlabeledImage { key: "day/1.png".into(), path: "photos/day/1.png".into() };
/// let set = UnlabeledSet { images: vec![image] };
/// assert_eq!(set.len(), 1);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnlabeledImage {
    /// A name for logs and pictures: the path within the folder, with `/` between its parts.
    pub key: String,
    /// The image file.
    pub path: PathBuf,
}

/// Images without labels. It has no place for any: neither boxes nor categories.
///
/// ```
/// use sed_train::data::UnlabeledSet;
///
/// # let dir = tempfile::tempdir()?;
/// # std::fs::create_dir(dir.path().join("b"))?;
/// # for name in ["c.png", "b/a.jpg", "notes.txt"] {
/// #     std::fs::write(dir.path().join(name), [])?;
/// # }
/// let set = UnlabeledSet::open(dir.path())?; // a folder with c.png, b/a.jpg and notes.txt
/// let keys: Vec<&str> = set.images.iter().map(|image| image.key.as_str()).collect();
/// assert_eq!(keys, ["b/a.jpg", "c.png"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnlabeledSet {
    /// The images.
    pub images: Vec<UnlabeledImage>,
}

impl UnlabeledSet {
    /// The number of images.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// The images of several sets, one after another.
    ///
    /// ```
    /// use sed_train::data::{UnlabeledImage, UnlabeledSet};
    ///
    /// let set = |key: &str| UnlabeledSet { images: vec![UnlabeledImage { key: key.into(), path: key.into() }] };
    /// let all = UnlabeledSet::concat([set("day.png"), set("night.png")]);
    /// assert_eq!((all.len(), all.images[1].key.as_str()), (2, "night.png"));
    /// assert!(UnlabeledSet::concat([]).is_empty());
    /// ```
    pub fn concat(sets: impl IntoIterator<Item = Self>) -> Self {
        Self { images: sets.into_iter().flat_map(|set| set.images).collect() }
    }
}
