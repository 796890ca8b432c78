//! Which annotation files a folder or a list stands for.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::DataError;
use super::super::files::check_file_name;

/// Whether the path is a folder or a list of VOC files, and no COCO file.
pub(in crate::data) fn is_voc(path: &Path) -> bool {
    path.is_dir() || path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("txt"))
}

/// The annotation files, sorted by name; at least one.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = if path.is_dir() { of_folder(path)? } else { of_list(path)? };
    files.sort_unstable();
    if let Some(pair) = files.windows(2).find(|pair| pair[0] == pair[1]) {
        let file_name = pair[0].display().to_string();
        return Err(DataError::DuplicateFileName { path: path.to_owned(), file_name });
    }
    if files.is_empty() {
        return Err(DataError::NoImages { path: path.to_owned() });
    }
    Ok(files)
}

fn of_folder(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let below = folder.join("Annotations");
    let folder = if below.is_dir() { &below } else { folder };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|source| DataError::io(folder, source))? {
        let path = entry.map_err(|source| DataError::io(folder, source))?.path();
        let is_xml = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("xml"));
        if is_xml && path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

fn of_list(list: &Path) -> Result<Vec<PathBuf>, DataError> {
    let text = fs::read_to_string(list).map_err(|source| DataError::io(list, source))?;
    // `ImageSets/Main/train.txt` lies two folders below the one of `Annotations`.
    let folder = list.ancestors().skip(1).take(3).map(|folder| folder.join("Annotations"));
    let own = list.parent().unwrap_or(Path::new("")).to_owned();
    let folder = folder.into_iter().find(|folder| folder.is_dir()).unwrap_or(own);
    // Lists of single classes have a second column, which says whether the class is in the image.
    let names = text.lines().filter_map(|line| line.split_whitespace().next());
    names
        .map(|name| {
            let name = format!("{}.xml", name.strip_suffix(".xml").unwrap_or(name));
            check_file_name(list, &name)?;
            Ok(folder.join(name))
        })
        .collect()
}
