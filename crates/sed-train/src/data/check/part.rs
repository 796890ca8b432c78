use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::data::files::{existing_file, in_parallel};
use crate::data::problem::{Inspector, Place};
use crate::data::{
    Category, CocoAnnotation, CocoIndex, DataError, DataPolicy, DataReport, PolicyMode, SkipBound,
    UnlabeledSet, image,
};

/// So that every problem is found.
const LENIENT: DataPolicy = DataPolicy::new(PolicyMode::Repair, SkipBound::Percent(100.0));

/// The objects of one class.
///
/// ```
/// use sed_train::data::check::{ClassCount, Part};
///
/// let class = |name: &str, objects| ClassCount { name: name.into(), objects };
/// let part = Part { classes: vec![class("nut", 12), class("screw", 0)], ..Part::default() };
/// assert_eq!(part.empty_classes().collect::<Vec<_>>(), ["screw"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// The class' name.
    pub name: String,
    /// Its objects, crowd regions not counted.
    pub objects: usize,
}

/// How large the objects of a part are.
///
/// ```
/// use sed_train::data::check::{self, Parts, Source};
///
/// # let dir = tempfile::tempdir()?;
/// # let (annotations, images) = (dir.path().join("train.json"), dir.path());
/// # image::RgbImage::new(100, 100).save(images.join("a.png"))?;
/// # std::fs::write(&annotations, r#"{
/// #     "images": [{"id": 7, "file_name": "a.png", "width": 100, "height": 100}],
/// #     "categories": [{"id": 3, "name": "screw"}],
/// #     "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [0, 0, 10, 10]},
/// #                     {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 20, 20]},
/// #                     {"id": 3, "image_id": 7, "category_id": 3, "bbox": [0, 0, 50, 50]}]
/// # }"#)?;
/// // Squares of 10, 20 and 50 pixels.
/// let train = Source::Labeled { annotations: &annotations, images };
/// let report = check::check(&Parts { train: Some(train), ..Parts::default() }, &|_, _| ());
/// let sizes = &report.parts[0].sizes;
/// assert_eq!((sizes.small, sizes.medium, sizes.large), (2, 1, 0));
/// assert_eq!(sizes.range, Some([10.0, 20.0, 50.0]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SizeSummary {
    /// Objects of an area up to 32² pixels.
    pub small: usize,
    /// Objects of an area above that, up to 96² pixels.
    pub medium: usize,
    /// Larger objects.
    pub large: usize,
    /// The least, the median and the largest `√area`, in pixels; `None` without objects.
    pub range: Option<[f64; 3]>,
}

impl SizeSummary {
    fn new(areas: impl Iterator<Item = f64>) -> Self {
        let mut sides: Vec<f64> = areas.map(f64::sqrt).collect();
        sides.sort_unstable_by(f64::total_cmp);
        let up_to = |side: f64| sides.partition_point(|&value| value <= side);
        let (small, medium) = (up_to(32.), up_to(96.));
        let range = match sides.as_slice() {
            [] => None,
            [least, .., largest] => Some([*least, sides[sides.len() / 2], *largest]),
            [one] => Some([*one; 3]),
        };
        Self { small, medium: medium - small, large: sides.len() - medium, range }
    }
}

/// What a part of the data holds, and its problems.
///
/// ```
/// use sed_train::data::check::{self, Parts, Source};
///
/// # let dir = tempfile::tempdir()?;
/// # let (annotations, images) = (dir.path().join("train.json"), dir.path());
/// # for name in ["a.png", "b.png"] {
/// #     image::RgbImage::new(40, 30).save(images.join(name))?;
/// # }
/// std::fs::write(&annotations, r#"{
///     "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30},
///                {"id": 8, "file_name": "b.png", "width": 40, "height": 30}],
///     "categories": [{"id": 3, "name": "nut"}, {"id": 90, "name": "screw"}],
///     "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [30, 10, 20, 10]}]
/// }"#)?;
/// let train = Source::Labeled { annotations: &annotations, images };
/// let report = check::check(&Parts { train: Some(train), ..Parts::default() }, &|_, _| ());
/// let part = &report.parts[0];
/// assert_eq!((part.images, part.background, part.objects, part.clipped), (2, 1, 1, 1));
/// assert_eq!(part.empty_classes().collect::<Vec<_>>(), ["screw"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Part {
    /// `train`, `unlabeled` or `validation`.
    pub name: &'static str,
    /// The annotation file, or the folder.
    pub path: PathBuf,
    /// Why it cannot be read at all.
    pub fatal: Option<String>,
    /// Images that can be used.
    pub images: usize,
    /// Of these, images without an object.
    pub background: usize,
    /// Objects that can be used.
    pub objects: usize,
    /// Regions of objects that are not labeled one by one, and difficult objects of VOC.
    pub crowds: usize,
    /// Boxes of which a part lies outside of the image; they are clipped.
    pub clipped: usize,
    /// The objects of each class, in the order of the dense class ids. Empty for unlabeled images.
    pub classes: Vec<ClassCount>,
    /// How large they are.
    pub sizes: SizeSummary,
    /// All that is wrong.
    pub report: DataReport,
}

impl Part {
    /// The classes without an object.
    pub fn empty_classes(&self) -> impl Iterator<Item = &str> {
        self.classes.iter().filter(|class| class.objects == 0).map(|class| class.name.as_str())
    }
}

/// A part, and what is compared between parts.
#[derive(Default)]
pub(super) struct Scanned {
    pub part: Part,
    pub categories: Vec<Category>,
    pub files: Vec<ScannedFile>,
}

/// An image that can be used.
pub(super) struct ScannedFile {
    pub path: PathBuf,
    /// Its name within its folder.
    pub key: String,
    pub sha256: [u8; 32],
}

pub(super) fn labeled(
    name: &'static str,
    path: &Path,
    root: &Path,
    classes: Option<&[Category]>,
    step: &(dyn Fn(usize) + Sync),
) -> Scanned {
    let mut scanned = Scanned::default();
    (scanned.part.name, scanned.part.path) = (name, path.to_owned());
    if let Err(error) = read_labeled(&mut scanned, path, root, classes, step) {
        scanned.part.fatal = Some(error.to_string());
    }
    scanned
}

fn read_labeled(
    scanned: &mut Scanned,
    path: &Path,
    root: &Path,
    classes: Option<&[Category]>,
    step: &(dyn Fn(usize) + Sync),
) -> Result<(), DataError> {
    let index = CocoIndex::open(path, classes, LENIENT)?;
    scanned.categories = index.categories().to_vec();
    let part = &mut scanned.part;
    part.report.extend(index.report());

    let total = index.images().len();
    let results = in_parallel(
        index.images(),
        |image| {
            let file = existing_file(root, &image.file_name)?;
            image::decode_listed(&file, image.id, image.size)?;
            Ok((sha256(&file)?, file))
        },
        || step(total),
    );
    let mut inspector = Inspector::new(LENIENT);
    for (image, result) in index.images().iter().zip(results) {
        match result {
            Ok((sha256, path)) => {
                scanned.files.push(ScannedFile { path, key: image.file_name.clone(), sha256 });
            }
            Err(error) => {
                let place = Place { image: Some(image.id), ..Place::default() };
                inspector.reject(&root.join(&image.file_name), &place, error);
            }
        }
    }
    part.images = scanned.files.len();
    part.report.extend(&inspector.report);

    let labels = index.labels(&index.image_ids(), LENIENT)?;
    part.report.extend(labels.report());
    part.crowds = labels.annotations().iter().filter(|annotation| annotation.iscrowd).count();
    let objects = || labels.annotations().iter().filter(|annotation| !annotation.iscrowd);
    part.objects = objects().count();
    part.sizes = SizeSummary::new(objects().map(|annotation| annotation.area));
    part.clipped = labels.annotations().iter().filter(|annotation| is_clipped(annotation)).count();
    let mut with_objects: Vec<u64> = objects().map(|annotation| annotation.image_id).collect();
    with_objects.sort_unstable();
    with_objects.dedup();
    part.background = total - with_objects.len();
    part.classes = index
        .categories()
        .iter()
        .enumerate()
        .map(|(label, category)| ClassCount {
            name: category.name.clone(),
            objects: objects().filter(|annotation| annotation.label == label).count(),
        })
        .collect();
    Ok(())
}

fn is_clipped(annotation: &CocoAnnotation) -> bool {
    let [x, y, width, height] = annotation.bbox;
    let whole = [x, y, x + width, y + height];
    // Of a box of whole pixels and a little more, rounding to single precision is not meant.
    whole.iter().zip(annotation.clipped).any(|(side, clipped)| (side - f64::from(clipped)).abs() > 0.5)
}

pub(super) fn unlabeled(name: &'static str, path: &Path, step: &(dyn Fn(usize) + Sync)) -> Scanned {
    let mut scanned = Scanned::default();
    (scanned.part.name, scanned.part.path) = (name, path.to_owned());
    let set = match UnlabeledSet::open(path) {
        Ok(set) => set,
        Err(error) => {
            scanned.part.fatal = Some(error.to_string());
            return scanned;
        }
    };
    let results = in_parallel(
        &set.images,
        |image| image.decode().and_then(|_| Ok(Sha256::digest(image.read()?).into())),
        || step(set.images.len()),
    );
    let mut inspector = Inspector::new(LENIENT);
    inspector.report.images = set.images.len();
    for (image, result) in set.images.into_iter().zip(results) {
        match result {
            Ok(sha256) => {
                let path = image.place().into_owned();
                scanned.files.push(ScannedFile { path, key: image.key, sha256 });
            }
            Err(error) => {
                inspector.reject(&image.place(), &Place::default(), error);
            }
        }
    }
    scanned.part.images = scanned.files.len();
    scanned.part.report = inspector.report;
    scanned
}

fn sha256(path: &Path) -> Result<[u8; 32], DataError> {
    let bytes = fs::read(path).map_err(|source| DataError::io(path, source))?;
    Ok(Sha256::digest(bytes).into())
}
