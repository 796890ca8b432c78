//! Why a batch could not be made.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::ordered::panic_message;
use super::{DataError, InvalidConfig};

/// Why a batch could not be made.
///
/// ```
/// use burn::data::dataloader::DataLoader;
/// use sed_train::data::{EvalImage, EvalLoader, EvalLoaderConfig, LoaderError};
///
/// let none = EvalLoader::from_images(vec![], EvalLoaderConfig::default());
/// assert!(matches!(none, Err(LoaderError::EmptySet { set: "evaluation" })));
///
/// // A file that cannot be read is an error of its batch, which the iterator hands out as Burn's.
/// let missing = EvalImage { id: 7, path: "missing.png".into(), listed_size: None };
/// let loader = EvalLoader::from_images(vec![missing], EvalLoaderConfig::default())?;
/// let error = loader.iter().next().unwrap().unwrap_err();
/// assert!(error.to_string().starts_with("batch 0: missing.png: "));
/// # Ok::<(), LoaderError>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum LoaderError {
    /// A field of the configuration is out of range.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// Images are asked for of a set that has none.
    #[error("the set of {set} images is empty")]
    EmptySet {
        /// Labeled, unlabeled or evaluation.
        set: &'static str,
    },
    /// An image cannot be read; its file is named in the source.
    #[error("batch {batch}: {source}")]
    Image {
        /// The iteration, or the number of an evaluation batch.
        batch: usize,
        /// What is wrong with the file.
        source: DataError,
    },
    /// Preparing an image panicked.
    #[error("batch {batch}: {}: preparing the image panicked: {message}", path.display())]
    Panic {
        /// The iteration, or the number of an evaluation batch.
        batch: usize,
        /// The image file.
        path: PathBuf,
        /// What the panic says.
        message: String,
    },
    /// A worker thread panicked outside of any image.
    #[error("batch {batch}: a worker thread panicked: {message}")]
    Worker {
        /// The iteration, or the number of an evaluation batch.
        batch: usize,
        /// What the panic says.
        message: String,
    },
}

/// Runs the work on one image of a batch; errors and panics come back with the file's name.
pub(super) fn prepare<T>(
    batch: usize,
    path: &Path,
    work: impl FnOnce() -> Result<T, DataError>,
) -> Result<T, LoaderError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|source| LoaderError::Image { batch, source }),
        Err(payload) => {
            let message = panic_message(payload.as_ref());
            Err(LoaderError::Panic { batch, path: path.to_owned(), message })
        }
    }
}
