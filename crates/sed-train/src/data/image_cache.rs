//! Decoded images that stay in memory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use image::RgbImage;
use sed_core::ImageSize;

use super::DataError;

/// Turns a file into pixels; an annotation file may list the image's id and size.
pub(super) type Decoder = fn(&Path, Option<Listed>) -> Result<RgbImage, DataError>;

/// An image's id and size in an annotation file.
pub(super) type Listed = (u64, ImageSize);

/// Which way an image is turned may depend on its listed size.
type Key = (PathBuf, Option<ImageSize>);

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
    images: HashMap<Key, Arc<RgbImage>>,
}

impl ImageCache {
    /// A cache of at most `budget` bytes of pixels; 0 keeps nothing.
    pub fn new(decode: Decoder, budget: usize) -> Self {
        Self { decode, budget, kept: Mutex::default() }
    }

    /// The pixels of a file.
    pub fn get(&self, path: &Path, listed: Option<Listed>) -> Result<Arc<RgbImage>, DataError> {
        let key = (path.to_owned(), listed.map(|(_, size)| size));
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(image) = lock().images.get(&key) {
            return Ok(Arc::clone(image));
        }
        // Decoded outside the lock; two threads may decode the same file, with the same result.
        let image = Arc::new((self.decode)(path, listed)?);
        let bytes = image.as_raw().len();
        let mut kept = lock();
        if kept.bytes + bytes <= self.budget && !kept.images.contains_key(&key) {
            kept.bytes += bytes;
            kept.images.insert(key, Arc::clone(&image));
        }
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three_by_two(_: &Path, _: Option<Listed>) -> Result<RgbImage, DataError> {
        Ok(RgbImage::new(3, 2))
    }

    #[test]
    fn images_are_kept_up_to_the_budget() {
        // 18 bytes an image: two fit.
        let cache = ImageCache::new(three_by_two, 40);
        let get = |name: &str| cache.get(Path::new(name), None).unwrap();
        let first = ["a", "b", "c"].map(get);
        let again = ["a", "b", "c"].map(get);
        let same = |i: usize| Arc::ptr_eq(&first[i], &again[i]);
        assert_eq!([same(0), same(1), same(2)], [true, true, false]);
        assert_eq!(cache.kept.lock().unwrap().bytes, 36);
        let none = ImageCache::new(three_by_two, 0);
        assert!(!Arc::ptr_eq(
            &none.get(Path::new("a"), None).unwrap(),
            &none.get(Path::new("a"), None).unwrap()
        ));
    }

    /// A column of as many pixels as the image is listed to be high.
    fn as_listed(_: &Path, listed: Option<Listed>) -> Result<RgbImage, DataError> {
        Ok(RgbImage::new(1, listed.map_or(9, |(_, size)| size.height as u32)))
    }

    #[test]
    fn an_image_is_kept_for_each_size_that_it_is_listed_with() {
        let cache = ImageCache::new(as_listed, 1 << 10);
        let height = |listed| cache.get(Path::new("a"), listed).unwrap().height();
        let of = |height| Some((7, ImageSize::new(height, 1)));
        assert_eq!(
            [height(None), height(of(3)), height(of(4)), height(None), height(of(3))],
            [9, 3, 4, 9, 3]
        );
    }
}
