//! Which images of an annotation file are labeled and which are not.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{CocoIndex, DataError, json};

/// A division of all images of an annotation file into a labeled and an unlabeled part.
///
/// The labeled part is drawn without replacement from the ascending image ids, those of images
/// without objects among them (all 118,287 of COCO's `train2017`, not only the 117,266 with
/// objects). The draw depends on the ids, the percentage and the fold alone, so it is the same on
/// every machine and in every version that writes manifest version [`SplitManifest::VERSION`].
/// Image ids are kept, not positions, and the checksum tells whether the file is still the same.
///
/// ```
/// use sed_train::data::{CocoIndex, SplitManifest};
///
/// # let dir = tempfile::tempdir()?;
/// # let file = dir.path().join("train.json");
/// # let image = |id: u64| format!(r#"{{"id": {id}, "file_name": "{id}.png", "width": 4, "height": 4}}"#);
/// # let images = (1..=50).map(image).collect::<Vec<_>>().join(",");
/// # std::fs::write(&file, format!(
/// #     r#"{{"images": [{images}], "categories": [{{"id": 1, "name": "screw"}}], "annotations": []}}"#
/// # ))?;
/// let index = CocoIndex::read(&file)?; // of 50 images
/// let split = SplitManifest::draw(&index, 10.0, 1)?;
/// assert_eq!((split.labeled.len(), split.unlabeled.len()), (5, 45));
///
/// split.save(dir.path().join("split.json"))?;
/// assert_eq!(SplitManifest::load(dir.path().join("split.json"), &index)?, split);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitManifest {
    /// The version of the format and of the drawing procedure.
    pub version: u32,
    /// The share of labeled images, in `(0, 100]`; of the annotated ones where only those were drawn from.
    pub percent: f64,
    /// The number of the draw; each fold draws anew from all images.
    pub fold: u64,
    /// SHA-256 of the annotation file, or of all VOC files one after another, in lower-case hexadecimal.
    pub annotations_sha256: String,
    /// The ids of labeled images, ascending.
    pub labeled: Vec<u64>,
    /// The ids of all other images, ascending.
    pub unlabeled: Vec<u64>,
}

impl SplitManifest {
    /// The version of the format and of the drawing procedure that this program writes and reads.
    ///
    /// ```
    /// use sed_train::data::{CocoIndex, DataError, SplitManifest};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let (file, manifest) = (dir.path().join("train.json"), dir.path().join("split.json"));
    /// # std::fs::write(&file, r#"{
    /// #     "images": [{"id": 7, "file_name": "a.png", "width": 4, "height": 4}],
    /// #     "categories": [{"id": 1, "name": "screw"}]
    /// # }"#)?;
    /// let index = CocoIndex::read(&file)?;
    /// let split = SplitManifest::draw(&index, 100.0, 1)?;
    /// assert_eq!(split.version, SplitManifest::VERSION);
    ///
    /// SplitManifest { version: SplitManifest::VERSION + 1, ..split }.save(&manifest)?;
    /// assert!(matches!(SplitManifest::load(&manifest, &index), Err(DataError::ManifestVersion { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const VERSION: u32 = 1;

    /// Draws `round(n · percent / 100)` of `n` images, at least one, as labeled.
    ///
    /// # Errors
    ///
    /// A percentage outside `(0, 100]`, or an annotation file that can no longer be read.
    ///
    /// ```
    /// use sed_train::data::{CocoIndex, DataError, SplitManifest};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let file = dir.path().join("train.json");
    /// # let image = |id: u64| format!(r#"{{"id": {id}, "file_name": "{id}.png", "width": 4, "height": 4}}"#);
    /// # let images = (1..=50).map(image).collect::<Vec<_>>().join(",");
    /// # std::fs::write(&file, format!(r#"{{"images": [{images}], "categories": [{{"id": 1, "name": "a"}}]}}"#))?;
    /// let index = CocoIndex::read(&file)?; // of 50 images
    /// let draw = |fold| SplitManifest::draw(&index, 20.0, fold);
    /// assert_eq!(draw(1)?, draw(1)?);
    /// assert_ne!(draw(1)?.labeled, draw(2)?.labeled);
    /// assert!(matches!(SplitManifest::draw(&index, 0.0, 1), Err(DataError::InvalidPercent { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn draw(index: &CocoIndex, percent: f64, fold: u64) -> Result<Self, DataError> {
        if !(percent > 0. && percent <= 100.) {
            return Err(DataError::InvalidPercent { percent });
        }
        let (labeled, unlabeled) = draw_ids(index.image_ids(), percent, fold);
        Self::new(index, percent, fold, labeled, unlabeled)
    }

    /// Draws `round(n · percent / 100)` of the `n` [annotated images](CocoIndex::annotated_images), at least one, as
    /// labeled. Images without annotations are unlabeled, not background.
    ///
    /// # Errors
    ///
    /// Those of [`SplitManifest::draw`], and a file without any annotation.
    ///
    /// ```
    /// use sed_train::data::{CocoIndex, SplitManifest};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let file = dir.path().join("train.json");
    /// std::fs::write(&file, r#"{
    ///     "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30},
    ///                {"id": 8, "file_name": "b.png", "width": 40, "height": 30}],
    ///     "categories": [{"id": 3, "name": "screw"}],
    ///     "annotations": [{"id": 1, "image_id": 8, "category_id": 3, "bbox": [10, 10, 5, 5]}]
    /// }"#)?;
    /// let split = SplitManifest::draw_annotated(&CocoIndex::read(&file)?, 100.0, 1)?;
    /// assert_eq!((split.labeled, split.unlabeled), (vec![8], vec![7]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn draw_annotated(index: &CocoIndex, percent: f64, fold: u64) -> Result<Self, DataError> {
        if !(percent > 0. && percent <= 100.) {
            return Err(DataError::InvalidPercent { percent });
        }
        let annotated = index.annotated_images()?;
        if annotated.is_empty() {
            let images = index.images().len();
            return Err(DataError::NoBoxes { path: index.path().to_owned(), images });
        }
        let (labeled, _) = draw_ids(annotated, percent, fold);
        Self::of_labeled(index, percent, fold, labeled)
    }

    /// These images, ascending, are labeled, and all others are not.
    pub(super) fn of_labeled(
        index: &CocoIndex,
        percent: f64,
        fold: u64,
        labeled: Vec<u64>,
    ) -> Result<Self, DataError> {
        let mut unlabeled = index.image_ids();
        unlabeled.retain(|id| labeled.binary_search(id).is_err());
        Self::new(index, percent, fold, labeled, unlabeled)
    }

    fn new(
        index: &CocoIndex,
        percent: f64,
        fold: u64,
        labeled: Vec<u64>,
        unlabeled: Vec<u64>,
    ) -> Result<Self, DataError> {
        let annotations_sha256 = sha256(index)?;
        Ok(Self { version: Self::VERSION, percent, fold, annotations_sha256, labeled, unlabeled })
    }

    /// Writes the manifest as JSON; the file appears whole or not at all.
    ///
    /// # Errors
    ///
    /// [`DataError::Io`] if it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), DataError> {
        let path = path.as_ref();
        json::write(path, self).map_err(|source| DataError::io(path, source))
    }

    /// Reads a manifest and checks it against the annotation file it belongs to.
    ///
    /// # Errors
    ///
    /// A file that is missing or malformed, of another version, or drawn from another annotation
    /// file; an id that is not in the annotation file, occurs twice, or is in neither part; no
    /// labeled image.
    ///
    /// ```
    /// use sed_train::data::{CocoIndex, DataError, SplitManifest};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let (file, manifest) = (dir.path().join("train.json"), dir.path().join("split.json"));
    /// # let text = r#"{
    /// #     "images": [{"id": 7, "file_name": "a.png", "width": 4, "height": 4}],
    /// #     "categories": [{"id": 1, "name": "screw"}]
    /// # }"#;
    /// # std::fs::write(&file, text)?;
    /// let index = CocoIndex::read(&file)?;
    /// SplitManifest::draw(&index, 100.0, 1)?.save(&manifest)?;
    /// assert_eq!(SplitManifest::load(&manifest, &index)?.labeled, [7]);
    ///
    /// std::fs::write(&file, text.replace("screw", "nut"))?; // another annotation file
    /// assert!(matches!(SplitManifest::load(&manifest, &index), Err(DataError::ManifestChecksum { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load(path: impl AsRef<Path>, index: &CocoIndex) -> Result<Self, DataError> {
        let path = path.as_ref();
        let manifest: Self = json::read(path)?;
        manifest.check(path, index)?;
        Ok(manifest)
    }

    fn check(&self, path: &Path, index: &CocoIndex) -> Result<(), DataError> {
        let path = || path.to_owned();
        if self.version != Self::VERSION {
            let (found, supported) = (self.version, Self::VERSION);
            return Err(DataError::ManifestVersion { path: path(), found, supported });
        }
        let actual = sha256(index)?;
        if self.annotations_sha256 != actual {
            let (found, annotations) = (self.annotations_sha256.clone(), index.path().to_owned());
            return Err(DataError::ManifestChecksum { path: path(), found, annotations, actual });
        }
        if self.labeled.is_empty() {
            return Err(DataError::ManifestWithoutLabels { path: path() });
        }
        let mut ids = [self.labeled.as_slice(), &self.unlabeled].concat();
        ids.sort_unstable();
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            let field = "labeled, unlabeled";
            return Err(DataError::DuplicateId { path: path(), field, id: pair[0] });
        }
        if let Some(&id) = ids.iter().find(|&&id| index.image(id).is_none()) {
            return Err(DataError::ManifestUnknownImage {
                path: path(),
                id,
                annotations: index.path().to_owned(),
            });
        }
        match index.images().iter().find(|image| ids.binary_search(&image.id).is_err()) {
            Some(image) => Err(DataError::ManifestIncomplete { path: path(), id: image.id }),
            None => Ok(()),
        }
    }
}

/// The labeled and the other ids, both ascending, of `ids`, ascending.
fn draw_ids(mut ids: Vec<u64>, percent: f64, fold: u64) -> (Vec<u64>, Vec<u64>) {
    let count = (ids.len() as f64 * percent / 100.).round() as usize;
    let count = count.clamp(1.min(ids.len()), ids.len());
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&percent.to_bits().to_le_bytes());
    seed[8..16].copy_from_slice(&fold.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(seed);
    // The first steps of a Fisher-Yates shuffle: place `at` gets one of the ids not yet drawn.
    for at in 0..count {
        let rest = (ids.len() - at) as u64;
        ids.swap(at, at + below(&mut rng, rest) as usize);
    }
    let mut unlabeled = ids.split_off(count);
    ids.sort_unstable();
    unlabeled.sort_unstable();
    (ids, unlabeled)
}

/// A uniform integer in `0..bound`.
fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    // Above the largest multiple of `bound` the remainders would not be equally frequent.
    let limit = u64::MAX - u64::MAX % bound;
    loop {
        let value = rng.next_u64();
        if value < limit {
            return value % bound;
        }
    }
}

fn sha256(index: &CocoIndex) -> Result<String, DataError> {
    let mut hasher = Sha256::new();
    for path in index.annotation_files() {
        add_file(&mut hasher, path).map_err(|source| DataError::io(path, source))?;
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn add_file(hasher: &mut Sha256, path: &Path) -> io::Result<()> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod tests;
