//! Looks at everything that a training would read, and says what is wrong with it.
//!
//! ```
//! use sed_train::data::check::{self, Parts, Source};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let (annotations, images) = (dir.path().join("train.json"), dir.path());
//! # image::RgbImage::new(4, 3).save(images.join("a.png"))?;
//! std::fs::write(&annotations, r#"{
//!     "images": [{"id": 7, "file_name": "a.png", "width": 4, "height": 3}],
//!     "categories": [{"id": 3, "name": "screw"}],
//!     "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 1, 0, 2]},
//!                     {"id": 2, "image_id": 7, "category_id": 3, "bbox": [1, 1, 2, 2]}]
//! }"#)?;
//! let train = Source::Labeled { annotations: &annotations, images };
//! let report = check::check(&Parts { train: Some(train), ..Parts::default() }, &|_, _| ());
//!
//! assert!(report.is_refused());
//! let problem = &report.parts[0].report.problems[0];
//! assert_eq!((problem.annotation, problem.field.as_str()), (Some(1), "annotations[0].bbox"));
//! # Ok(())
//! # }
//! ```

mod overlap;
mod part;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;

pub use overlap::Overlap;
pub use part::{ClassCount, Part, SizeSummary};

use super::Category;
use part::Scanned;

/// Where the images of a part lie.
///
/// ```
/// use std::path::Path;
///
/// use sed_train::data::check::{self, Parts, Source};
///
/// let train = Source::Labeled { annotations: Path::new("missing.json"), images: Path::new("images") };
/// let more = Source::Unlabeled(Path::new("no/such/folder"));
/// let parts = Parts { train: Some(train), unlabeled: vec![more], validation: None };
/// let report = check::check(&parts, &|_, _| ());
/// assert!(report.parts.iter().all(|part| part.fatal.is_some()));
/// ```
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// Images with labels.
    Labeled {
        /// A COCO file, or a folder or list of VOC files.
        annotations: &'a Path,
        /// The folder of the images.
        images: &'a Path,
    },
    /// What [`UnlabeledSet::open`](super::UnlabeledSet::open) takes: a folder of images or shards, a shard, or a JSON file that lists images.
    Unlabeled(&'a Path),
}

/// What a training would read.
///
/// ```
/// use sed_train::data::check::{self, Parts, Source};
///
/// # let dir = tempfile::tempdir()?;
/// # image::RgbImage::new(4, 3).save(dir.path().join("a.png"))?;
/// let parts = Parts { unlabeled: vec![Source::Unlabeled(dir.path())], ..Parts::default() };
/// let report = check::check(&parts, &|_, _| ());
/// assert_eq!((report.parts[0].name, report.parts[0].images), ("unlabeled", 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Parts<'a> {
    /// Labeled training images.
    pub train: Option<Source<'a>>,
    /// Unlabeled training images.
    pub unlabeled: Vec<Source<'a>>,
    /// Validation images.
    pub validation: Option<Source<'a>>,
}

/// What is known of a dataset after a look at all of it.
///
/// ```
/// use sed_train::data::check::{self, Parts, Source};
///
/// # let dir = tempfile::tempdir()?;
/// # let (train, val, images) = (dir.path().join("train.json"), dir.path().join("val.json"), dir.path());
/// # image::RgbImage::new(4, 3).save(images.join("a.png"))?;
/// # let text = |class: &str| format!(r#"{{
/// #     "images": [{{"id": 7, "file_name": "a.png", "width": 4, "height": 3}}],
/// #     "categories": [{{"id": 3, "name": "{class}"}}],
/// #     "annotations": [{{"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 1, 2, 2]}}]
/// # }}"#);
/// # std::fs::write(&train, text("screw"))?;
/// # std::fs::write(&val, text("screws"))?;
/// // The two files name their class `screw` and `screws`, and list the same image.
/// let parts = Parts {
///     train: Some(Source::Labeled { annotations: &train, images }),
///     validation: Some(Source::Labeled { annotations: &val, images }),
///     ..Parts::default()
/// };
/// let report = check::check(&parts, &|_, _| ());
/// assert!(report.is_refused());
/// assert_eq!(report.only_in_validation, ["3 screws"]);
/// assert_eq!(report.overlaps[0].same_content, 1);
/// assert_eq!(report.num_problems(), 0); // each file is fine by itself
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CheckReport {
    /// The parts: training, unlabeled ones, validation.
    pub parts: Vec<Part>,
    /// Images that two parts share.
    pub overlaps: Vec<Overlap>,
    /// Classes, as `id name`, of the training annotations alone; a training refuses any difference.
    pub only_in_train: Vec<String>,
    /// Classes of the validation annotations alone.
    pub only_in_validation: Vec<String>,
}

impl CheckReport {
    /// Whether a training under [`PolicyMode::Strict`](super::PolicyMode::Strict) would refuse the data.
    /// Images that two parts share and classes without objects are no ground to refuse.
    pub fn is_refused(&self) -> bool {
        let classes_differ = !self.only_in_train.is_empty() || !self.only_in_validation.is_empty();
        classes_differ || self.parts.iter().any(|part| part.fatal.is_some() || !part.report.is_clean())
    }

    /// The problems of all parts.
    pub fn num_problems(&self) -> usize {
        self.parts.iter().map(|part| part.report.num_problems() + usize::from(part.fatal.is_some())).sum()
    }
}

/// Reads all annotations and decodes all images, on all cores. `progress` is told the images done and
/// the images of the part that is looked at.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// use sed_train::data::check::{self, Parts, Source};
///
/// # let dir = tempfile::tempdir()?;
/// # image::RgbImage::new(4, 3).save(dir.path().join("a.png"))?;
/// std::fs::write(dir.path().join("b.png"), "no image")?; // beside a.png, which is one
/// let parts = Parts { unlabeled: vec![Source::Unlabeled(dir.path())], ..Parts::default() };
/// let done = AtomicUsize::new(0);
/// let report = check::check(&parts, &|images, _| { done.fetch_max(images, Ordering::Relaxed); });
/// assert_eq!(done.into_inner(), 2);
/// assert!(report.parts[0].report.problems[0].file.ends_with("b.png"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn check(parts: &Parts, progress: &(dyn Fn(usize, usize) + Sync)) -> CheckReport {
    let train = parts.train.map(|source| scan("train", source, None, progress));
    let classes = train.as_ref().map(|part| part.categories.clone()).filter(|classes| !classes.is_empty());
    let unlabeled: Vec<Scanned> =
        parts.unlabeled.iter().map(|&source| scan("unlabeled", source, None, progress)).collect();
    let validation = parts.validation.map(|source| scan("validation", source, classes.as_deref(), progress));

    let mut report = CheckReport::default();
    if let (Some(train), Some(validation)) = (&train, &validation) {
        let both_read = !train.categories.is_empty() && !validation.categories.is_empty();
        if both_read {
            let only = |a: &[Category], b: &[Category]| {
                let only = a.iter().filter(|category| !b.contains(category));
                only.map(|category| format!("{} {}", category.id, category.name)).collect()
            };
            report.only_in_train = only(&train.categories, &validation.categories);
            report.only_in_validation = only(&validation.categories, &train.categories);
        }
    }
    if let Some(validation) = &validation {
        for other in train.iter().chain(&unlabeled) {
            report.overlaps.extend(Overlap::between(other, validation));
        }
    }
    let all = train.into_iter().chain(unlabeled).chain(validation);
    report.parts = all.map(|scanned| scanned.part).collect();
    report
}

fn scan(
    name: &'static str,
    source: Source,
    classes: Option<&[Category]>,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Scanned {
    let done = AtomicUsize::new(0);
    let step = |total| progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
    match source {
        Source::Labeled { annotations, images } => part::labeled(name, annotations, images, classes, &step),
        Source::Unlabeled(path) => part::unlabeled(name, path, &step),
    }
}
