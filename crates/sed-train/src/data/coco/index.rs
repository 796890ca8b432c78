use std::collections::HashSet;
use std::path::Path;

use sed_core::ImageSize;

use super::entry::Entry;
use super::{CocoImage, CocoIndex, Source};
use crate::data::files::check_file_name;
use crate::data::json::{self, ListOf};
use crate::data::problem::{Inspector, Place, Unit, Unusable, taken};
use crate::data::records::Record;
use crate::data::{Category, DataError, DataPolicy};

const LISTS: [ListOf; 2] = [
    ListOf { name: "images", fields: &["id", "file_name", "width", "height"] },
    ListOf { name: "categories", fields: &["id", "name"] },
];

pub(super) fn read(path: &Path, policy: DataPolicy) -> Result<CocoIndex, DataError> {
    let mut inspector = Inspector::new(policy);
    // The class of an object is the position of its category, so that none may be left out.
    let mut strict = Inspector::new(DataPolicy::STRICT);
    let (mut listed, mut images, mut categories) = (0, Vec::new(), Vec::new());
    let mut dropped = HashSet::new();
    json::read_lists(path, &LISTS, &mut |list, index, record| {
        if list == "images" {
            listed += 1;
            let mut entry = Entry::new(path, list, index, &record, &mut inspector);
            let image = image(path, &mut entry);
            let id = entry.place.image;
            match taken(image)? {
                Some(image) => images.push((index, image)),
                None => dropped.extend(id),
            }
        } else {
            categories.extend(taken(category(Entry::new(path, list, index, &record, &mut strict)))?);
        }
        Ok(())
    })?;
    if listed == 0 {
        return Err(DataError::NoImages { path: path.to_owned() });
    }
    if categories.is_empty() {
        return Err(DataError::NoCategories { path: path.to_owned() });
    }
    categories.sort_unstable_by_key(|category: &Category| category.id);
    super::check_unique(path, "categories", categories.iter().map(|category| category.id))?;

    let images = unique(path, images, &mut dropped, &mut inspector)?;
    inspector.report.images = listed;
    let report = inspector.finish(path)?;
    // An image that cannot be used may have the id of one that can.
    dropped.retain(|id| images.binary_search_by_key(id, |image| image.id).is_err());
    Ok(CocoIndex { path: path.to_owned(), source: Source::Json, images, categories, dropped, report })
}

fn image(path: &Path, entry: &mut Entry) -> Result<CocoImage, Unusable> {
    entry.check()?;
    let id = entry.unsigned("id")?;
    entry.place.image = Some(id);
    let file_name = file_name(path, entry)?;
    let (width, height) = (entry.unsigned("width")?, entry.unsigned("height")?);
    match (usize::try_from(width), usize::try_from(height)) {
        (Ok(width), Ok(height)) if width > 0 && height > 0 => {
            Ok(CocoImage { id, file_name, size: ImageSize::new(height, width) })
        }
        (width, height) => {
            let (width, height) = (width.unwrap_or(usize::MAX), height.unwrap_or(usize::MAX));
            Err(entry.reject("", DataError::EmptyImage { path: path.to_owned(), id, width, height }))
        }
    }
}

/// The file name of an entry, inside of the image folder.
pub(super) fn file_name(path: &Path, entry: &mut Entry) -> Result<String, Unusable> {
    let name = match entry.node("file_name")?.text() {
        Ok(name) => name,
        Err(reason) => return Err(entry.wrong(".file_name", reason)),
    };
    let slashed = name.replace('\\', "/");
    if let Err(error) = check_file_name(path, &slashed) {
        return Err(entry.reject(".file_name", error));
    }
    if slashed != name {
        let error = DataError::UnsafeFileName { path: path.to_owned(), file_name: name.to_owned() };
        entry.mend(".file_name", error, "turn backslashes into slashes")?;
    }
    Ok(slashed)
}

fn category(mut entry: Entry) -> Result<Category, Unusable> {
    entry.check()?;
    let id = entry.unsigned("id")?;
    match entry.node("name")?.text() {
        Ok(name) => Ok(Category { id, name: name.to_owned() }),
        Err(reason) => Err(entry.wrong(".name", reason)),
    }
}

/// Images whose id is theirs alone, and of those that share a file name the first; sorted by id. The ids of the
/// others go to `dropped`.
fn unique(
    path: &Path,
    mut images: Vec<(usize, CocoImage)>,
    dropped: &mut HashSet<u64>,
    inspector: &mut Inspector,
) -> Result<Vec<CocoImage>, DataError> {
    images.sort_by_key(|(_, image)| image.id);
    let mut names = HashSet::with_capacity(images.len());
    let mut refused = Vec::new();
    for (at, (index, image)) in images.iter().enumerate() {
        let place = |field: &str| Place {
            unit: Some(Unit::Image),
            image: Some(image.id),
            field: format!("images[{index}].{field}"),
            ..Place::default()
        };
        let file = || path.to_owned();
        let has_its_id =
            |other: Option<&(usize, CocoImage)>| other.is_some_and(|(_, other)| other.id == image.id);
        let before = at.checked_sub(1).and_then(|before| images.get(before));
        // Whose objects are whose cannot be told, so that none of them is taken.
        let problem = if has_its_id(before) || has_its_id(images.get(at + 1)) {
            Some((place("id"), DataError::DuplicateId { path: file(), field: "images", id: image.id }))
        } else if !names.insert(image.file_name.as_str()) {
            let file_name = image.file_name.clone();
            Some((place("file_name"), DataError::DuplicateFileName { path: file(), file_name }))
        } else {
            None
        };
        if let Some((place, error)) = problem {
            taken::<()>(Err(inspector.reject(path, &place, error)))?;
            refused.push(at);
        }
    }
    drop(names);
    let mut refused = refused.into_iter().peekable();
    let mut kept = Vec::with_capacity(images.len());
    for (at, (_, image)) in images.into_iter().enumerate() {
        match refused.next_if_eq(&at) {
            Some(_) => _ = dropped.insert(image.id),
            None => kept.push(image),
        }
    }
    Ok(kept)
}

/// The file names that a JSON file lists under `images`; nothing else is looked at.
pub(super) fn read_names(path: &Path) -> Result<Vec<String>, DataError> {
    let mut inspector = Inspector::new(DataPolicy::STRICT);
    let mut names = Vec::new();
    let lists = [ListOf { name: "images", fields: &["file_name"] }];
    json::read_lists(path, &lists, &mut |list, index, record: Record| {
        let mut entry = Entry::new(path, list, index, &record, &mut inspector);
        let name = entry.check().and_then(|()| file_name(path, &mut entry));
        names.extend(taken(name)?);
        Ok(())
    })?;
    if names.is_empty() {
        return Err(DataError::NoImages { path: path.to_owned() });
    }
    let mut seen = HashSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(name) => Err(DataError::DuplicateFileName { path: path.to_owned(), file_name: name.clone() }),
        None => Ok(names),
    }
}
