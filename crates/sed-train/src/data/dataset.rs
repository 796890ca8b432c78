use std::borrow::Cow;
use std::path::{Path, PathBuf};

use ::image::RgbImage;
use sed_core::{ImageSize, Targets};
use serde::{Deserialize, Serialize};

use super::shards::read_span;
use super::{DataError, FileSpan, image};

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
/// let image = UnlabeledImage::file("day/1.png", "photos/day/1.png");
/// let set = UnlabeledSet { images: vec![image] };
/// assert_eq!(set.len(), 1);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnlabeledImage {
    /// A name for logs and pictures: the path within the folder, with `/` between its parts.
    pub key: String,
    /// The image file, or the shard that the image lies in.
    pub path: PathBuf,
    /// The part of the file that it takes; `None` is all of it.
    pub span: Option<FileSpan>,
}

impl UnlabeledImage {
    /// An image that is a file of its own.
    pub fn file(key: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { key: key.into(), path: path.into(), span: None }
    }

    /// What a message names: the file, or the image's path within its shard below that of the shard.
    ///
    /// ```
    /// use sed_train::data::{FileSpan, UnlabeledImage};
    ///
    /// let span = Some(FileSpan { offset: 512, length: 9 });
    /// let image = UnlabeledImage { key: "day.tar/x/1.png".into(), path: "photos/day.tar".into(), span };
    /// assert_eq!(image.place().to_str(), Some("photos/day.tar/x/1.png"));
    /// assert_eq!(UnlabeledImage::file("1.png", "photos/1.png").place().to_str(), Some("photos/1.png"));
    /// ```
    pub fn place(&self) -> Cow<'_, Path> {
        if self.span.is_none() {
            return Cow::Borrowed(&self.path);
        }
        let shard = self.path.file_name().unwrap_or_default().to_string_lossy();
        let member =
            self.key.split_once(&format!("{shard}/")).map_or(self.key.as_str(), |(_, member)| member);
        Cow::Owned(self.path.join(member))
    }

    /// Its bytes.
    ///
    /// # Errors
    ///
    /// [`DataError::Io`] if it cannot be read, [`DataError::TooLarge`] beyond [`MAX_BYTES`](image::MAX_BYTES).
    pub fn read(&self) -> Result<Vec<u8>, DataError> {
        let Some(span) = self.span else { return image::read(&self.path) };
        if span.length > image::MAX_BYTES {
            let (bytes, limit) = (span.length, image::MAX_BYTES);
            return Err(DataError::TooLarge { path: self.place().into_owned(), bytes, limit });
        }
        read_span(&self.path, span).map_err(|source| DataError::io(self.place(), source))
    }

    /// Its pixels.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read) and of [`image::decode`].
    ///
    /// ```
    /// use sed_train::data::UnlabeledImage;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("a.png");
    /// image::RgbImage::new(4, 3).save(&path)?;
    /// assert_eq!(UnlabeledImage::file("a.png", path).decode()?.dimensions(), (4, 3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decode(&self) -> Result<RgbImage, DataError> {
        image::decode_bytes(&self.place(), &self.read()?)
    }
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
    /// let set = |key: &str| UnlabeledSet { images: vec![UnlabeledImage::file(key, key)] };
    /// let all = UnlabeledSet::concat([set("day.png"), set("night.png")]);
    /// assert_eq!((all.len(), all.images[1].key.as_str()), (2, "night.png"));
    /// assert!(UnlabeledSet::concat([]).is_empty());
    /// ```
    pub fn concat(sets: impl IntoIterator<Item = Self>) -> Self {
        Self { images: sets.into_iter().flat_map(|set| set.images).collect() }
    }
}
