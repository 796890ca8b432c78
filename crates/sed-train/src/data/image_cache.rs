//! Decoded images that stay in memory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use image::RgbImage;
use sed_core::ImageSize;

use super::DataError;

/// Turns a file into pixels.
pub(super) type Decoder = fn(&Path) -> Result<RgbImage, DataError>;

/// Reads image files, and keeps the first ones up to a number of bytes.
///
/// Nothing is evicted: training visits all images equally often, so that any choice of which to
/// keep is as good as another.
pub(super) struct ImageCache {
    decode: Decoder,
    budget: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    bytes: usize,
    images: HashMap<PathBuf, Arc<RgbImage>>,
}

impl ImageCache {
    /// A cache of at most `budget` bytes of pixels; 0 keeps nothing.
    pub fn new(decode: Decoder, budget: usize) -> Self {
        Self { decode, budget, kept: Mutex::default() }
    }

    /// The pixels of a file.
    pub fn get(&self, path: &Path) -> Result<Arc<RgbImage>, DataError> {
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(image) = lock().images.get(path) {
            return Ok(Arc::clone(image));
        }
        // Decoded outside the lock; two threads may decode the same file, with the same result.
        let image = Arc::new((self.decode)(path)?);
        let bytes = image.as_raw().len();
        let mut kept = lock();
        if kept.bytes + bytes <= self.budget && !kept.images.contains_key(path) {
            kept.bytes += bytes;
            kept.images.insert(path.to_owned(), Arc::clone(&image));
        }
        Ok(image)
    }

    /// The pixels of an image of an annotation file, whose size must be the one listed there.
    pub fn get_listed(&self, path: &Path, id: u64, listed: ImageSize) -> Result<Arc<RgbImage>, DataError> {
        let image = self.get(path)?;
        let found = ImageSize::new(image.height() as usize, image.width() as usize);
        if found == listed {
            Ok(image)
        } else {
            Err(DataError::SizeMismatch { path: path.to_owned(), id, found, listed })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three_by_two(_: &Path) -> Result<RgbImage, DataError> {
        Ok(RgbImage::new(3, 2))
    }

    #[test]
    fn images_are_kept_up_to_the_budget() {
        // 18 bytes an image: two fit.
        let cache = ImageCache::new(three_by_two, 40);
        let get = |name: &str| cache.get(Path::new(name)).unwrap();
        let first = ["a", "b", "c"].map(get);
        let again = ["a", "b", "c"].map(get);
        let same = |i: usize| Arc::ptr_eq(&first[i], &again[i]);
        assert_eq!([same(0), same(1), same(2)], [true, true, false]);
        assert_eq!(cache.kept.lock().unwrap().bytes, 36);
        let none = ImageCache::new(three_by_two, 0);
        assert!(!Arc::ptr_eq(&none.get(Path::new("a")).unwrap(), &none.get(Path::new("a")).unwrap()));
    }

    #[test]
    fn another_size_than_listed_is_an_error() {
        let cache = ImageCache::new(three_by_two, 40);
        let get = |height, width| cache.get_listed(Path::new("a.png"), 7, ImageSize::new(height, width));
        assert!(get(2, 3).is_ok());
        let text = get(3, 2).unwrap_err().to_string();
        assert!(text.contains("a.png") && text.contains('7'), "{text}");
    }
}
