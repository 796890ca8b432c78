use std::path::PathBuf;

use super::{DataError, ListedNumbers};

/// A split list that cannot be used. The text names the file, and the entry where there is one.
///
/// ```
/// use sed_train::data::{CocoIndex, SplitListError, SplitManifest};
///
/// # let dir = tempfile::tempdir()?;
/// # let (file, list) = (dir.path().join("train.json"), dir.path().join("list.txt"));
/// # std::fs::write(&file, r#"{
/// #     "images": [{"id": 7, "file_name": "a.png", "width": 4, "height": 4}],
/// #     "categories": [{"id": 1, "name": "screw"}]
/// # }"#)?;
/// let index = CocoIndex::read(&file)?; // of image 7 alone
/// std::fs::write(&list, "9\n")?;
/// let error = SplitManifest::import(&list, None, None, &index).unwrap_err();
/// assert!(matches!(error, SplitListError::UnknownId { id: 9, .. }));
/// assert!(error.to_string().contains("image id 9 is not in "));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum SplitListError {
    /// A file that is missing or malformed.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file with several lists, or without the one asked for.
    #[error("{}: {}: choose one of {}", path.display(), match key {
        Some(key) => format!("no list {key}"),
        None => "several lists".to_owned(),
    }, keys.join(", "))]
    Key {
        /// The file.
        path: PathBuf,
        /// The list asked for.
        key: Option<String>,
        /// The lists that there are.
        keys: Vec<String>,
    },
    /// A list was asked for of a file that is one.
    #[error("{}: the file is a single list, there is none named {key}", path.display())]
    SingleList {
        /// The file.
        path: PathBuf,
        /// The list asked for.
        key: String,
    },
    /// A file of a form whose numbers are positions in some programs and ids in others.
    #[error(
        "{}: such lists hold positions in a sorted list of images or image ids, which cannot be told apart: say which of {}",
        path.display(), ListedNumbers::ALL.map(ListedNumbers::name).join(", ")
    )]
    Meaning {
        /// The file.
        path: PathBuf,
    },
    /// A meaning of numbers was given for a file that says itself what it holds.
    #[error("{}: the file has image ids or file names, no positions", path.display())]
    NoPositions {
        /// The file.
        path: PathBuf,
    },
    /// An id that the annotation file does not list.
    #[error("{}: image id {id} is not in {}; if the numbers are positions, say so", path.display(), annotations.display())]
    UnknownId {
        /// The file.
        path: PathBuf,
        /// The id.
        id: u64,
        /// The annotation file.
        annotations: PathBuf,
    },
    /// A position beyond the last image.
    #[error("{}: position {position} is beyond the {images} images that are counted", path.display())]
    Position {
        /// The file.
        path: PathBuf,
        /// The position, from 0.
        position: u64,
        /// The number of images.
        images: usize,
    },
    /// A file name that no image of the annotation file has, or several have.
    #[error("{}: {name:?} is the name of {matches} images in {}", path.display(), annotations.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
        /// How many images have it: not one.
        matches: usize,
        /// The annotation file.
        annotations: PathBuf,
    },
    /// An image of a COCO file whose id stands for another file in the annotation file.
    #[error("{}: image id {id} is {found:?} but {listed:?} in {}", path.display(), annotations.display())]
    OtherImage {
        /// The file.
        path: PathBuf,
        /// The id.
        id: u64,
        /// The file name in the list.
        found: String,
        /// The file name in the annotation file.
        listed: String,
        /// The annotation file.
        annotations: PathBuf,
    },
    /// An image that is listed twice.
    #[error("{}: image id {id} is listed more than once", path.display())]
    Repeated {
        /// The file.
        path: PathBuf,
        /// The id.
        id: u64,
    },
    /// A list without images.
    #[error("{}: the list is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}
