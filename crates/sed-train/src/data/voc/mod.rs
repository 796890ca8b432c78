//! PASCAL VOC annotations: an XML file an image.
//!
//! They are read to the types of [`coco`](super::coco), through [`CocoIndex::open`]: from a folder of XML files, a
//! folder with the sub-folder `Annotations`, or a list of `ImageSets`, a text file with the name of a file
//! of `Annotations` at the start of each line.
//!
//! - Images are numbered from 1 in the order of their file names, classes in that of their names.
//! - VOC counts pixels from 1 and includes the last: a box is `[xmin − 1, ymin − 1, xmax, ymax]`.
//! - An object marked `difficult` counts as a crowd region: detections there are neither right nor wrong.
//! - Field paths are those of XPath, so that `object[1]` is the first.
//! - Document types, and with them entities, are refused.
//!
//! ```
//! use sed_train::data::{CocoIndex, DataPolicy};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! std::fs::write(dir.path().join("7.xml"), "<annotation>
//!     <filename>7.png</filename><size><width>40</width><height>30</height></size>
//!     <object><name>screw</name>
//!         <bndbox><xmin>11</xmin><ymin>11</ymin><xmax>20</xmax><ymax>15</ymax></bndbox>
//!     </object>
//! </annotation>")?;
//! let index = CocoIndex::open(dir.path(), None, DataPolicy::STRICT)?;
//! let labels = index.labels(&index.image_ids(), DataPolicy::STRICT)?;
//! assert_eq!(labels.annotations()[0].clipped, [10., 10., 20., 15.]);
//! assert_eq!(index.categories()[0].name, "screw");
//! # Ok(())
//! # }
//! ```

mod element;
mod listing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use roxmltree::{Document, ParsingOptions};
use sed_core::ImageSize;

use super::coco::{Source, clip};
use super::files::check_file_name;
use super::problem::{Inspector, Place, Unit, Unusable, taken};
use super::{BoxProblem, Category, CocoAnnotation, CocoImage, CocoIndex, DataError, DataPolicy, DataReport};
use element::Element;

pub(super) use listing::is_voc;

/// The largest annotation file of an image, in bytes.
///
/// ```
/// use sed_train::data::{CocoIndex, DataError, DataPolicy, voc::MAX_FILE_BYTES};
///
/// # let dir = tempfile::tempdir()?;
/// std::fs::File::create(dir.path().join("a.xml"))?.set_len(MAX_FILE_BYTES + 1)?;
/// let index = CocoIndex::open(dir.path(), None, DataPolicy::STRICT);
/// assert!(matches!(index, Err(DataError::TooLarge { limit: MAX_FILE_BYTES, .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const MAX_FILE_BYTES: u64 = 16 << 20;
/// The most elements, attributes and texts of a file.
const MAX_NODES: u32 = 500_000;

pub(super) fn read_index(
    path: &Path,
    classes: Option<&[Category]>,
    policy: DataPolicy,
) -> Result<CocoIndex, DataError> {
    let files = listing::files(path)?;
    let mut inspector = Inspector::new(policy);
    let (mut images, mut names, mut dropped) = (Vec::new(), BTreeSet::new(), HashSet::new());
    let mut file_names = HashSet::new();
    for (file, id) in files.iter().zip(1..) {
        let read = with_root(file, id, &mut inspector, |root| {
            let mut image = image(root, id)?;
            // Which classes there are is known from the objects of all images; nothing else of them is kept.
            names.extend(root.children("object").iter().filter_map(Element::class_name));
            if !file_names.insert(image.file_name.clone()) {
                let file_name = std::mem::take(&mut image.file_name);
                return Err(root.reject(DataError::DuplicateFileName { path: file.clone(), file_name }));
            }
            Ok(image)
        });
        match taken(read)? {
            Some(image) => images.push(image),
            None => _ = dropped.insert(id),
        }
    }
    inspector.report.images = files.len();
    let report = inspector.finish(path)?;
    let found = || names.into_iter().zip(1..).map(|(name, id)| Category { id, name });
    let categories: Vec<Category> = classes.map_or_else(|| found().collect(), <[_]>::to_vec);
    if categories.is_empty() {
        return Err(DataError::NoCategories { path: path.to_owned() });
    }
    let source = Source::Voc((1..).zip(files).collect());
    Ok(CocoIndex { path: path.to_owned(), source, images, categories, dropped, report })
}

pub(super) fn read_labels(
    index: &CocoIndex,
    files: &HashMap<u64, PathBuf>,
    image_ids: &[u64],
    policy: DataPolicy,
) -> Result<(Vec<CocoAnnotation>, DataReport), DataError> {
    let labels: HashMap<&str, usize> =
        index.categories().iter().enumerate().map(|(label, category)| (&*category.name, label)).collect();
    let mut inspector = Inspector::new(policy);
    let (mut looked_at, mut annotations) = (0, Vec::new());
    for &id in image_ids {
        let (Some(image), Some(file)) = (index.image(id), files.get(&id)) else {
            return Err(DataError::ImageNotListed { path: index.path().to_owned(), id });
        };
        let read = with_root(file, id, &mut inspector, |root| {
            let objects = root.children("object");
            for (mut object, number) in objects.into_iter().zip(1..) {
                looked_at += 1;
                // Ids are those of the image and of the object within its file.
                object.place(Unit::Annotation, id << 24 | number);
                match annotation(&object, image, &labels) {
                    Ok(annotation) => annotations.push(annotation),
                    Err(Unusable::Skipped) => {}
                    Err(refused) => return Err(refused),
                }
            }
            Ok(())
        });
        taken(read)?;
    }
    inspector.report.annotations = looked_at;
    Ok((annotations, inspector.finish(index.path())?))
}

/// The images that have an object which `counts`, told whether it is difficult.
pub(super) fn images_with(
    index: &CocoIndex,
    files: &HashMap<u64, PathBuf>,
    counts: impl Fn(bool) -> bool,
) -> Result<Vec<u64>, DataError> {
    let mut inspector = Inspector::new(DataPolicy::STRICT);
    let mut ids = Vec::new();
    for id in index.image_ids() {
        let Some(file) = files.get(&id) else {
            return Err(DataError::ImageNotListed { path: index.path().to_owned(), id });
        };
        // What is wrong with an object is said when its labels are asked for.
        let difficult = |object: &Element| {
            let value = object.optional("difficult").ok().flatten();
            value.is_some_and(|value| value.text().is_ok_and(|text| text == "1"))
        };
        let found = with_root(file, id, &mut inspector, |root| {
            Ok(root.children("object").iter().any(|object| counts(difficult(object))))
        });
        if taken(found)? == Some(true) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// `read` on the root element of a file.
fn with_root<T>(
    file: &Path,
    image: u64,
    inspector: &mut Inspector,
    read: impl FnOnce(&Element) -> Result<T, Unusable>,
) -> Result<T, Unusable> {
    let place = Place { unit: Some(Unit::Image), image: Some(image), ..Place::default() };
    let text = text_of(file).map_err(|error| inspector.reject(file, &place, error))?;
    let options = ParsingOptions { nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(&text, options).map_err(|error| {
        let error = DataError::Xml { path: file.to_owned(), reason: error.to_string() };
        inspector.reject(file, &place, error)
    })?;
    let inspector = std::cell::RefCell::new(inspector);
    let root = Element::root(&document, file, place, &inspector);
    if root.name() != "annotation" {
        return Err(root.wrong(format!("the root element is `{}`, expected `annotation`", root.name())));
    }
    read(&root)
}

fn text_of(file: &Path) -> Result<String, DataError> {
    let error = |source| DataError::io(file, source);
    let metadata = fs::metadata(file).map_err(error)?;
    if metadata.is_file() && metadata.len() > MAX_FILE_BYTES {
        let (bytes, limit) = (metadata.len(), MAX_FILE_BYTES);
        return Err(DataError::TooLarge { path: file.to_owned(), bytes, limit });
    }
    let bytes = fs::read(file).map_err(error)?;
    String::from_utf8(bytes).map_err(|error| DataError::Xml {
        path: file.to_owned(),
        reason: format!("not UTF-8 from byte {} on", error.utf8_error().valid_up_to()),
    })
}

fn image(root: &Element, id: u64) -> Result<CocoImage, Unusable> {
    let name = root.child("filename")?;
    let text = name.text()?;
    let slashed = text.replace('\\', "/");
    if let Err(error) = check_file_name(name.file(), &slashed) {
        return Err(name.reject(error));
    }
    if slashed != text {
        let error = DataError::UnsafeFileName { path: name.file().to_owned(), file_name: text.to_owned() };
        name.mend(error, "turn backslashes into slashes")?;
    }
    let size = root.child("size")?;
    let side = |name: &str| {
        let side = size.child(name)?;
        match side.text()?.parse::<u32>() {
            Ok(0) => Err(side.wrong("must be positive".to_owned())),
            Ok(value) => Ok(value as usize),
            Err(_) => Err(side.wrong(format!("{:?} is no whole number of pixels", side.short_text()))),
        }
    };
    let (width, height) = (side("width")?, side("height")?);
    Ok(CocoImage { id, file_name: slashed, size: ImageSize::new(height, width) })
}

fn annotation(
    object: &Element,
    image: &CocoImage,
    labels: &HashMap<&str, usize>,
) -> Result<CocoAnnotation, Unusable> {
    let name = object.child("name")?;
    let Some(&label) = labels.get(name.text()?) else {
        return Err(name.wrong(format!("{:?} is none of the {} classes", name.short_text(), labels.len())));
    };
    let iscrowd = match object.optional("difficult")? {
        None => false,
        Some(difficult) => match difficult.text()? {
            "0" => false,
            "1" => true,
            _ => return Err(difficult.wrong(format!("{:?} is not 0 or 1", difficult.short_text()))),
        },
    };
    let bndbox = object.child("bndbox")?;
    let number = |name: &str| {
        let side = bndbox.child(name)?;
        match side.text()?.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ => Err(side.wrong(format!("{:?} is no finite number", side.short_text()))),
        }
    };
    let mut corners = [number("xmin")?, number("ymin")?, number("xmax")?, number("ymax")?];
    let problem = |corners: [f64; 4], problem: BoxProblem| format!("{corners:?}: {problem}");
    if corners[0] > corners[2] || corners[1] > corners[3] {
        bndbox.mended(problem(corners, BoxProblem::ZeroSize), "swap the corners")?;
        let [x1, y1, x2, y2] = corners;
        corners = [x1.min(x2), y1.min(y2), x1.max(x2), y1.max(y2)];
    }
    let [x1, y1, x2, y2] = corners;
    // Of one pixel by VOC's count, but written by tools for a click without a box.
    if x1 == x2 || y1 == y2 {
        return Err(bndbox.wrong(problem(corners, BoxProblem::ZeroSize)));
    }
    let bbox = [x1 - 1., y1 - 1., x2 - x1 + 1., y2 - y1 + 1.];
    let clipped = clip(bbox, image.size).map_err(|p| bndbox.wrong(problem(corners, p)))?;
    let id = object.id().unwrap_or_default();
    Ok(CocoAnnotation { id, image_id: image.id, label, bbox, clipped, area: bbox[2] * bbox[3], iscrowd })
}
