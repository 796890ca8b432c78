use std::collections::HashMap;

use sed_core::ImageSize;

use super::CocoIndex;
use super::entry::Entry;
use crate::data::id_set::IdSet;
use crate::data::json::{self, ListOf};
use crate::data::problem::{Inspector, Unusable, taken};
use crate::data::records::Node;
use crate::data::{BoxProblem, DataError, DataPolicy, DataReport};

/// One annotation of an image.
///
/// ```
/// use sed_train::data::{CocoIndex, DataPolicy};
///
/// # let dir = tempfile::tempdir()?;
/// # let file = dir.path().join("train.json");
/// std::fs::write(&file, r#"{
///     "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30}],
///     "categories": [{"id": 3, "name": "screw"}],
///     "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [30, 10, 20, 10]}]
/// }"#)?;
/// let index = CocoIndex::read(&file)?;
/// let labels = index.labels(&[7], DataPolicy::STRICT)?;
/// let annotation = &labels.annotations()[0];
/// assert_eq!(annotation.bbox, [30., 10., 20., 10.]);
/// assert_eq!(annotation.clipped, [30., 10., 40., 20.]); // the image has 40 columns
/// assert_eq!((annotation.label, annotation.area, annotation.iscrowd), (0, 200., false));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CocoAnnotation {
    /// Its id in the file.
    pub id: u64,
    /// The id of its image.
    pub image_id: u64,
    /// Its dense class id.
    pub label: usize,
    /// `[x, y, width, height]` as in the file, in pixels.
    pub bbox: [f64; 4],
    /// The part of the box in the image, `[x1, y1, x2, y2]`; not empty.
    pub clipped: [f32; 4],
    /// The area of the object in pixels², from the file; width × height where the file has none.
    pub area: f64,
    /// Whether it marks a region of objects that are not labeled one by one.
    pub iscrowd: bool,
}

/// The annotations of the images that were asked for.
///
/// ```
/// use sed_train::data::{CocoIndex, DataPolicy, PolicyMode, SkipBound};
///
/// # let dir = tempfile::tempdir()?;
/// # let file = dir.path().join("train.json");
/// std::fs::write(&file, r#"{
///     "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30},
///                {"id": 8, "file_name": "b.png", "width": 40, "height": 30}],
///     "categories": [{"id": 3, "name": "screw"}],
///     "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 10, 5, 5]},
///                     {"id": 2, "image_id": 7, "category_id": 3, "bbox": [15, 15, -5, -5]}]
/// }"#)?;
/// let index = CocoIndex::read(&file)?;
/// let repair = DataPolicy::new(PolicyMode::Repair, SkipBound::Count(0));
/// let labels = index.labels(&[7, 8], repair)?;
/// assert_eq!(labels.image_ids(), [7, 8]); // 8 is background
/// assert_eq!(labels.annotations()[1].bbox, [10., 10., 5., 5.]);
/// assert_eq!(labels.report().repairs, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CocoLabels {
    pub(in crate::data) image_ids: Vec<u64>,
    pub(in crate::data) annotations: Vec<CocoAnnotation>,
    pub(in crate::data) report: DataReport,
}

impl CocoLabels {
    /// The images that were asked for, ascending; also those without annotations.
    pub fn image_ids(&self) -> &[u64] {
        &self.image_ids
    }

    /// Their annotations, in the order of the file.
    pub fn annotations(&self) -> &[CocoAnnotation] {
        &self.annotations
    }

    /// The annotations that were left out or repaired.
    pub fn report(&self) -> &DataReport {
        &self.report
    }
}

const FIELDS: &[&str] = &["id", "image_id", "category_id", "bbox", "area", "iscrowd"];

pub(super) fn read(
    index: &CocoIndex,
    image_ids: &[u64],
    policy: DataPolicy,
) -> Result<(Vec<CocoAnnotation>, DataReport), DataError> {
    let path = index.path();
    let labels = index.categories().iter().enumerate().map(|(label, category)| (category.id, label));
    let mut collector = Collector {
        index,
        wanted: image_ids.iter().copied().collect(),
        known: index.images().iter().map(|image| image.id).collect(),
        labels: labels.collect(),
        seen: IdSet::default(),
    };
    let mut inspector = Inspector::new(policy);
    let (mut looked_at, mut annotations) = (0, Vec::new());
    let lists = [ListOf { name: "annotations", fields: FIELDS }];
    let found = json::read_lists(path, &lists, &mut |list, number, record| {
        let entry = Entry::new(path, list, number, &record, &mut inspector);
        match taken(collector.take(entry))? {
            Some(Taken::OfAnotherImage) => return Ok(()),
            Some(Taken::Annotation(annotation)) => annotations.push(annotation),
            None => {}
        }
        looked_at += 1;
        Ok(())
    })?;
    if found.is_empty() {
        let (field, reason) = (".".to_owned(), "missing field `annotations`".to_owned());
        return Err(DataError::Field { path: path.to_owned(), field, reason, position: None });
    }
    inspector.report.annotations = looked_at;
    Ok((annotations, inspector.finish(path)?))
}

enum Taken {
    Annotation(CocoAnnotation),
    OfAnotherImage,
}

/// Takes annotations one by one, those of the wanted images.
struct Collector<'a> {
    index: &'a CocoIndex,
    wanted: IdSet,
    /// The images of the index: most annotations are of one that is not wanted.
    known: IdSet,
    labels: HashMap<u64, usize>,
    seen: IdSet,
}

impl Collector<'_> {
    fn take(&mut self, mut entry: Entry) -> Result<Taken, Unusable> {
        let path = || self.index.path().to_owned();
        entry.check()?;
        let id = entry.unsigned("id")?;
        entry.place.annotation = Some(id);
        let image_id = entry.unsigned("image_id")?;
        entry.place.image = Some(image_id);
        if !self.seen.insert(id) {
            let error = DataError::DuplicateId { path: path(), field: "annotations", id };
            return Err(entry.reject(".id", error));
        }
        let wanted = if self.wanted.contains(image_id) { self.index.image(image_id) } else { None };
        let image = match wanted {
            Some(image) => image,
            None if self.known.contains(image_id) => return Ok(Taken::OfAnotherImage),
            None if self.index.is_dropped(image_id) => return Ok(Taken::OfAnotherImage),
            None => {
                let error = DataError::UnknownImage { path: path(), annotation: id, id: image_id };
                return Err(entry.reject(".image_id", error));
            }
        };
        let category_id = entry.unsigned("category_id")?;
        let Some(&label) = self.labels.get(&category_id) else {
            let error = DataError::UnknownCategory { path: path(), annotation: id, id: category_id };
            return Err(entry.reject(".category_id", error));
        };
        let iscrowd = iscrowd(&mut entry)?;
        let mut bbox = bbox(&mut entry)?;
        let invalid = |bbox, problem| DataError::InvalidBox {
            path: path(),
            annotation: id,
            image: image_id,
            bbox,
            problem,
        };
        if (bbox[2] < 0. || bbox[3] < 0.) && clip(swapped(bbox), image.size).is_ok() {
            entry.mend(".bbox", invalid(bbox, BoxProblem::ZeroSize), "swap the corners")?;
            bbox = swapped(bbox);
        }
        let clipped =
            clip(bbox, image.size).map_err(|problem| entry.reject(".bbox", invalid(bbox, problem)))?;
        let mut area = match entry.optional("area") {
            Some(node) => entry.float(".area", node)?,
            None => bbox[2] * bbox[3],
        };
        if area < 0. {
            let error = DataError::NegativeArea { path: path(), annotation: id, area };
            entry.mend(".area", error, "take the area of the box")?;
            area = bbox[2] * bbox[3];
        }
        Ok(Taken::Annotation(CocoAnnotation { id, image_id, label, bbox, clipped, area, iscrowd }))
    }
}

fn iscrowd(entry: &mut Entry) -> Result<bool, Unusable> {
    match entry.optional("iscrowd") {
        None | Some(Node::Unsigned(0)) => Ok(false),
        Some(Node::Unsigned(1)) => Ok(true),
        Some(Node::Bool(value)) => {
            let reason = Node::Bool(*value).not("0 or 1");
            entry.mended(".iscrowd", reason, "take the truth value as 0 or 1")?;
            Ok(*value)
        }
        Some(Node::Unsigned(other)) => {
            Err(entry.wrong(".iscrowd", format!("invalid value: integer `{other}`, expected 0 or 1")))
        }
        Some(other) => Err(entry.wrong(".iscrowd", other.not("0 or 1"))),
    }
}

fn bbox(entry: &mut Entry) -> Result<[f64; 4], Unusable> {
    match entry.node("bbox")? {
        Node::List(nodes, 4) => {
            let mut bbox = [0.; 4];
            for (i, (value, node)) in bbox.iter_mut().zip(nodes).enumerate() {
                *value = entry.float(&format!(".bbox[{i}]"), node)?;
            }
            Ok(bbox)
        }
        Node::List(_, len) => {
            Err(entry.wrong(".bbox", format!("invalid length {len}, expected an array of length 4")))
        }
        other => Err(entry.wrong(".bbox", other.not("an array of length 4"))),
    }
}

/// The same box with width and height not negative.
fn swapped([x, y, width, height]: [f64; 4]) -> [f64; 4] {
    [x + width.min(0.), y + height.min(0.), width.abs(), height.abs()]
}

/// `[x, y, width, height]` to the corners of its part within the image.
pub(in crate::data) fn clip(
    [x, y, width, height]: [f64; 4],
    size: ImageSize,
) -> Result<[f32; 4], BoxProblem> {
    if width <= 0. || height <= 0. {
        return Err(BoxProblem::ZeroSize);
    }
    let (x1, x2) = (x.max(0.), (x + width).min(size.width as f64));
    let (y1, y2) = (y.max(0.), (y + height).min(size.height as f64));
    if x1 >= x2 || y1 >= y2 {
        // Far from zero a tiny width is lost in the sum, though the box lies within.
        let within = (0. ..size.width as f64).contains(&x) && (0. ..size.height as f64).contains(&y);
        return Err(match within {
            true => BoxProblem::ZeroSize,
            false => BoxProblem::Outside { width: size.width, height: size.height },
        });
    }
    let corners = [x1 as f32, y1 as f32, x2 as f32, y2 as f32];
    if corners[0] < corners[2] && corners[1] < corners[3] { Ok(corners) } else { Err(BoxProblem::ZeroSize) }
}
