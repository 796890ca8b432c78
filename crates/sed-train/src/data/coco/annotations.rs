use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

use sed_core::ImageSize;
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};

use super::CocoIndex;
use crate::data::{BoxProblem, DataError, json};

/// What to do with a box that has no area inside its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InvalidBoxes {
    /// Give an error with the annotation's id.
    #[default]
    Refuse,
    /// Leave the box out and list it in [`CocoLabels::skipped`]. Hand-made annotation files often hold
    /// a few boxes without width or height.
    Skip,
}

/// One annotation of an image.
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
#[derive(Debug, Clone, PartialEq)]
pub struct CocoLabels {
    image_ids: Vec<u64>,
    annotations: Vec<CocoAnnotation>,
    skipped: Vec<u64>,
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

    /// The ids of annotations left out because of [`InvalidBoxes::Skip`].
    pub fn skipped(&self) -> &[u64] {
        &self.skipped
    }
}

pub(super) fn read(
    index: &CocoIndex,
    image_ids: &[u64],
    invalid: InvalidBoxes,
) -> Result<CocoLabels, DataError> {
    let path = index.path();
    let mut image_ids = image_ids.to_vec();
    image_ids.sort_unstable();
    super::check_unique(path, "the images asked for", image_ids.iter().copied())?;
    let wanted = image_ids
        .iter()
        .map(|&id| match index.image(id) {
            Some(image) => Ok((id, image.size)),
            None => Err(DataError::ImageNotListed { path: path.to_owned(), id }),
        })
        .collect::<Result<_, _>>()?;

    let mut collector = Collector {
        path,
        index,
        wanted,
        labels: index.categories().iter().enumerate().map(|(label, category)| (category.id, label)).collect(),
        invalid,
        seen: HashSet::new(),
        annotations: Vec::new(),
        skipped: Vec::new(),
        error: None,
    };
    let parsed = json::read_seed(path, FileSeed(&mut collector));
    if let Some(error) = collector.error {
        return Err(error);
    }
    parsed?;
    let Collector { annotations, skipped, .. } = collector;
    if annotations.iter().all(|annotation| annotation.iscrowd) {
        return Err(DataError::NoBoxes { path: path.to_owned(), images: image_ids.len() });
    }
    Ok(CocoLabels { image_ids, annotations, skipped })
}

#[derive(Deserialize)]
struct RawAnnotation {
    id: u64,
    image_id: u64,
    category_id: u64,
    bbox: [f64; 4],
    area: Option<f64>,
    #[serde(default, deserialize_with = "zero_or_one")]
    iscrowd: bool,
}

/// A flag that files write as 0 or 1.
pub(crate) fn zero_or_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match u64::deserialize(deserializer)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(de::Error::invalid_value(Unexpected::Unsigned(other), &"0 or 1")),
    }
}

/// Takes annotations one by one and keeps those of the wanted images.
struct Collector<'a> {
    path: &'a Path,
    index: &'a CocoIndex,
    wanted: HashMap<u64, ImageSize>,
    labels: HashMap<u64, usize>,
    invalid: InvalidBoxes,
    seen: HashSet<u64>,
    annotations: Vec<CocoAnnotation>,
    skipped: Vec<u64>,
    /// A parser can only fail with its own error type; ours waits here meanwhile.
    error: Option<DataError>,
}

impl Collector<'_> {
    fn take(&mut self, raw: RawAnnotation) -> Result<(), DataError> {
        let path = || self.path.to_owned();
        let RawAnnotation { id, image_id, category_id, bbox, area, iscrowd } = raw;
        if !self.seen.insert(id) {
            return Err(DataError::DuplicateId { path: path(), field: "annotations", id });
        }
        let Some(&size) = self.wanted.get(&image_id) else {
            return match self.index.image(image_id) {
                Some(_) => Ok(()),
                None => Err(DataError::UnknownImage { path: path(), annotation: id, id: image_id }),
            };
        };
        let Some(&label) = self.labels.get(&category_id) else {
            return Err(DataError::UnknownCategory { path: path(), annotation: id, id: category_id });
        };
        let area = area.unwrap_or(bbox[2] * bbox[3]);
        match (clip(bbox, size), self.invalid) {
            (Ok(_), _) if area < 0. => Err(DataError::NegativeArea { path: path(), annotation: id, area }),
            (Ok(clipped), _) => {
                self.annotations.push(CocoAnnotation { id, image_id, label, bbox, clipped, area, iscrowd });
                Ok(())
            }
            (Err(_), InvalidBoxes::Skip) => {
                self.skipped.push(id);
                Ok(())
            }
            (Err(problem), InvalidBoxes::Refuse) => {
                Err(DataError::InvalidBox { path: path(), annotation: id, image: image_id, bbox, problem })
            }
        }
    }
}

/// `[x, y, width, height]` to the corners of its part within the image.
fn clip([x, y, width, height]: [f64; 4], size: ImageSize) -> Result<[f32; 4], BoxProblem> {
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

/// The whole file; every field but `annotations` is skipped.
struct FileSeed<'a, 'b>(&'a mut Collector<'b>);

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum FileField {
    Annotations,
    #[serde(other)]
    Other,
}

impl<'de> DeserializeSeed<'de> for FileSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FileSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object with the field `annotations`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut found = false;
        while let Some(field) = map.next_key()? {
            match field {
                FileField::Annotations if found => return Err(de::Error::duplicate_field("annotations")),
                FileField::Annotations => {
                    found = true;
                    map.next_value_seed(ListSeed(&mut *self.0))?;
                }
                FileField::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if found { Ok(()) } else { Err(de::Error::missing_field("annotations")) }
    }
}

/// The list of annotations.
struct ListSeed<'a, 'b>(&'a mut Collector<'b>);

impl<'de> DeserializeSeed<'de> for ListSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ListSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of annotations")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(raw) = list.next_element()? {
            if let Err(error) = self.0.take(raw) {
                let stop = de::Error::custom(&error);
                self.0.error = Some(error);
                return Err(stop);
            }
        }
        Ok(())
    }
}
