use std::io;
use std::path::{Path, PathBuf};

use sed_core::ImageSize;

use super::SkipBound;

/// A place in a text file.
///
/// ```
/// use sed_train::data::{CocoIndex, DataError, TextPosition};
///
/// # let dir = tempfile::tempdir()?;
/// # let file = dir.path().join("train.json");
/// std::fs::write(&file, "{\"images\": [\n{\"id\": 7, \"file_name\": 1}]}")?;
/// let Err(DataError::Field { position: Some(position), .. }) = CocoIndex::read(&file) else {
///     panic!("the file name is no text");
/// };
/// assert_eq!(position.line, 2);
/// assert_eq!(TextPosition { line: 2, column: 9 }.to_string(), "line 2 column 9");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line} column {column}")]
pub struct TextPosition {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
}

/// What is wrong with a box of an annotation file; see [`DataError::InvalidBox`].
///
/// ```
/// use sed_train::data::{BoxProblem, CocoIndex, DataError, DataPolicy};
///
/// # let dir = tempfile::tempdir()?;
/// # let file = dir.path().join("train.json");
/// std::fs::write(&file, r#"{
///     "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30}],
///     "categories": [{"id": 3, "name": "screw"}],
///     "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [50, 10, 5, 5]}]
/// }"#)?;
/// match CocoIndex::read(&file)?.labels(&[7], DataPolicy::STRICT) {
///     Err(DataError::InvalidBox { annotation: 1, problem, .. }) => {
///         assert_eq!(problem, BoxProblem::Outside { width: 40, height: 30 });
///     }
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum BoxProblem {
    /// Width or height is zero or negative, or vanishes in single precision.
    #[error("width and height must be positive")]
    ZeroSize,
    /// No part of the box lies in the image.
    #[error("it lies outside the image of {width}×{height} pixels (width × height)")]
    Outside {
        /// Columns of the image.
        width: usize,
        /// Rows of the image.
        height: usize,
    },
}

/// An image, annotation file or split manifest that cannot be used.
///
/// The text names the file and, where there is one, the field path or the id.
///
/// ```
/// use sed_train::data::{CocoIndex, DataError};
///
/// # let dir = tempfile::tempdir()?;
/// # let file = dir.path().join("train.json");
/// std::fs::write(&file, r#"{
///     "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30},
///                {"id": 7, "file_name": "b.png", "width": 40, "height": 30}],
///     "categories": [{"id": 3, "name": "screw"}]
/// }"#)?;
/// let error = CocoIndex::read(&file).unwrap_err();
/// assert!(matches!(error, DataError::DuplicateId { field: "images", id: 7, .. }));
/// assert!(error.to_string().ends_with("train.json: images: id 7 occurs more than once"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder is missing or cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not JSON, or a field is missing or of the wrong type.
    #[error("{}: at {field}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The path of the field, as `annotations[3].bbox[2]`; `.` is the whole file.
        field: String,
        /// What the parser says, with line and column.
        source: serde_json::Error,
    },
    /// A field of an annotation file that is missing or of the wrong type or value.
    #[error("{}: at {field}: {reason}{}", path.display(), position.map_or(String::new(), |p| format!(" at {p}")))]
    Field {
        /// The file.
        path: PathBuf,
        /// The path of the field, as `annotations[3].bbox[2]` or `object[2]/bndbox/xmin`.
        field: String,
        /// What is wrong with it.
        reason: String,
        /// Where it is in the file, or where reading stopped.
        position: Option<TextPosition>,
    },
    /// A file is not XML.
    #[error("{}: not readable as XML: {reason}", path.display())]
    Xml {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and column.
        reason: String,
    },
    /// More was to be left out than the policy allows, or all images.
    #[error(
        "{}: {skipped} of {total} {unit}s cannot be used, and {bound} may be skipped; the first: {first}",
        path.display()
    )]
    TooManySkipped {
        /// The file or folder.
        path: PathBuf,
        /// `image` or `annotation`.
        unit: &'static str,
        /// How many would be left out.
        skipped: usize,
        /// Of how many.
        total: usize,
        /// How many may be.
        bound: SkipBound,
        /// The first problem.
        first: String,
    },
    /// An image that is neither JPEG nor PNG.
    #[error("{}: {found}; JPEG and PNG files are read", path.display())]
    UnsupportedImage {
        /// The file.
        path: PathBuf,
        /// What it is instead, as `a GIF image` or `an empty file`.
        found: String,
    },
    /// A file that is larger than any of its kind may be.
    #[error("{}: {bytes} bytes, at most {limit} are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A link in the image folder that leads out of it.
    #[error("{}: leads out of the image folder {}", path.display(), root.display())]
    OutsideFolder {
        /// The file.
        path: PathBuf,
        /// The image folder.
        root: PathBuf,
    },
    /// An annotation file that lists no image.
    #[error("{}: `images` is missing or empty", path.display())]
    NoImages {
        /// The file.
        path: PathBuf,
    },
    /// An annotation file that lists no category.
    #[error("{}: `categories` is missing or empty", path.display())]
    NoCategories {
        /// The file.
        path: PathBuf,
    },
    /// The images asked for have no box, crowd regions not counted.
    #[error("{}: no boxes on the {images} images asked for", path.display())]
    NoBoxes {
        /// The file.
        path: PathBuf,
        /// How many images were asked for.
        images: usize,
    },
    /// An id that occurs more than once.
    #[error("{}: {field}: id {id} occurs more than once", path.display())]
    DuplicateId {
        /// The file.
        path: PathBuf,
        /// The list that repeats it, as `images`.
        field: &'static str,
        /// The id.
        id: u64,
    },
    /// A file name that two images share.
    #[error("{}: images: file name {file_name:?} occurs more than once", path.display())]
    DuplicateFileName {
        /// The file.
        path: PathBuf,
        /// The name.
        file_name: String,
    },
    /// An annotation of a category that the file does not define.
    #[error("{}: annotation {annotation}: category_id {id} is not in `categories`", path.display())]
    UnknownCategory {
        /// The file.
        path: PathBuf,
        /// The annotation's id.
        annotation: u64,
        /// The category's id.
        id: u64,
    },
    /// An annotation of an image that the file does not list.
    #[error("{}: annotation {annotation}: image_id {id} is not in `images`", path.display())]
    UnknownImage {
        /// The file.
        path: PathBuf,
        /// The annotation's id.
        annotation: u64,
        /// The image's id.
        id: u64,
    },
    /// An image was asked for that the file does not list.
    #[error("{}: image id {id} was asked for but is not in `images`", path.display())]
    ImageNotListed {
        /// The file.
        path: PathBuf,
        /// The image's id.
        id: u64,
    },
    /// A box that cannot be a target.
    #[error("{}: annotation {annotation} (image {image}): bbox {bbox:?}: {problem}", path.display())]
    InvalidBox {
        /// The file.
        path: PathBuf,
        /// The annotation's id.
        annotation: u64,
        /// The image's id.
        image: u64,
        /// `[x, y, width, height]` as in the file.
        bbox: [f64; 4],
        /// What is wrong.
        problem: BoxProblem,
    },
    /// A negative area.
    #[error("{}: annotation {annotation}: area {area} is negative", path.display())]
    NegativeArea {
        /// The file.
        path: PathBuf,
        /// The annotation's id.
        annotation: u64,
        /// The area.
        area: f64,
    },
    /// An image whose listed height or width is 0.
    #[error("{}: image {id}: width {width} and height {height} must be positive", path.display())]
    EmptyImage {
        /// The file.
        path: PathBuf,
        /// The image's id.
        id: u64,
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// A file name that is empty, absolute, or leads out of the image folder.
    #[error("{}: file name {file_name:?} does not stay inside the image folder", path.display())]
    UnsafeFileName {
        /// The annotation file.
        path: PathBuf,
        /// The name.
        file_name: String,
    },
    /// A folder or shard without a JPEG or PNG file.
    #[error("{}: no .jpg, .jpeg or .png file {}", path.display(), if path.is_dir() { "in this folder or below" } else { "in this file" })]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A tar file that cannot be read in place.
    #[error("{}: {reason}", path.display())]
    Shard {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An image file that is corrupt, of another format, or beyond the limits.
    #[error("{}: cannot decode the image: {source}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        source: image::ImageError,
    },
    /// A JPEG or PNG that ends before its end marker.
    #[error("{}: the image is truncated: its end marker is missing", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
    },
    /// An image whose pixels are not of the size that the annotation file gives.
    #[error(
        "{}: image {id} is {}×{} pixels (width × height) but its annotations say {}×{}",
        path.display(), found.width, found.height, listed.width, listed.height
    )]
    SizeMismatch {
        /// The image file.
        path: PathBuf,
        /// The image's id.
        id: u64,
        /// The size of the decoded image.
        found: ImageSize,
        /// The size in the annotation file.
        listed: ImageSize,
    },
    /// A percentage that is not in `(0, 100]`.
    #[error("a split of {percent} percent: must be above 0 and at most 100")]
    InvalidPercent {
        /// The percentage asked for.
        percent: f64,
    },
    /// A split manifest of another version of this format.
    #[error("{}: version: {found} is not the supported {supported}", path.display())]
    ManifestVersion {
        /// The manifest.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The version that this program reads.
        supported: u32,
    },
    /// A split manifest that was drawn from another annotation file.
    #[error(
        "{}: annotations_sha256: {found} is not that of {}, {actual}",
        path.display(), annotations.display()
    )]
    ManifestChecksum {
        /// The manifest.
        path: PathBuf,
        /// The checksum in the manifest.
        found: String,
        /// The annotation file.
        annotations: PathBuf,
        /// The checksum of the annotation file.
        actual: String,
    },
    /// A split manifest without a labeled image.
    #[error("{}: labeled: the list is empty", path.display())]
    ManifestWithoutLabels {
        /// The manifest.
        path: PathBuf,
    },
    /// A split manifest with an image that the annotation file does not list.
    #[error("{}: image id {id} is not in {}", path.display(), annotations.display())]
    ManifestUnknownImage {
        /// The manifest.
        path: PathBuf,
        /// The image's id.
        id: u64,
        /// The annotation file.
        annotations: PathBuf,
    },
    /// A split manifest that leaves out an image of the annotation file.
    #[error("{}: image id {id} is in neither `labeled` nor `unlabeled`", path.display())]
    ManifestIncomplete {
        /// The manifest.
        path: PathBuf,
        /// The image's id.
        id: u64,
    },
}

impl DataError {
    /// An [`io::Error`] with the file that caused it.
    ///
    /// ```
    /// use sed_train::data::DataError;
    ///
    /// let read = |path: &str| std::fs::read(path).map_err(|source| DataError::io(path, source));
    /// assert!(read("no/such/file").unwrap_err().to_string().starts_with("no/such/file: "));
    /// ```
    pub fn io(path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Io { path: path.as_ref().to_owned(), source }
    }
}
