//! Folders of images.

use std::fs;
use std::path::Path;

use super::files::check_inside;
use super::shards::{is_shard, shards_of};
use super::{DataError, UnlabeledImage, UnlabeledSet};

impl UnlabeledSet {
    /// The images of a folder (see [`UnlabeledSet::from_folder`]); if it has none but tar files, the images in these, or those in one tar
    /// file (see [`UnlabeledSet::from_shards`]); or those that a JSON file lists relative to its own folder (see
    /// [`UnlabeledSet::from_json`]).
    ///
    /// # Errors
    ///
    /// Those of the three.
    ///
    /// ```
    /// use sed_train::data::UnlabeledSet;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # std::fs::write(dir.path().join("a.png"), [])?;
    /// # std::fs::write(dir.path().join("b.png"), [])?;
    /// assert_eq!(UnlabeledSet::open(dir.path())?.len(), 2); // a folder with a.png and b.png
    ///
    /// let list = dir.path().join("some.json");
    /// std::fs::write(&list, r#"{"images": [{"file_name": "b.png"}]}"#)?;
    /// assert_eq!(UnlabeledSet::open(&list)?.images[0].key, "b.png");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        if path.is_dir() {
            return match Self::from_folder(path) {
                Err(error @ DataError::EmptyFolder { .. }) => match shards_of(path)? {
                    shards if shards.is_empty() => Err(error),
                    shards => Self::from_shards(shards),
                },
                images => images,
            };
        }
        match is_shard(path) {
            true => Self::from_shards([path]),
            false => Self::from_json(path, path.parent().unwrap_or(Path::new("."))),
        }
    }

    /// All JPEG and PNG files in a folder and the folders below, sorted by key.
    ///
    /// A file counts by its extension, in upper or lower case. Hidden files and folders (those
    /// whose name starts with a dot) are left out; symbolic links to folders are not followed, so
    /// a link to a parent folder cannot loop.
    ///
    /// # Errors
    ///
    /// [`DataError::Io`] with the folder that cannot be read, [`DataError::OutsideFolder`] with a link to a
    /// file elsewhere, [`DataError::EmptyFolder`] if nothing is found.
    ///
    /// ```
    /// use sed_train::data::{DataError, UnlabeledSet};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let error = UnlabeledSet::from_folder(dir.path()).unwrap_err();
    /// assert!(matches!(error, DataError::EmptyFolder { .. }));
    ///
    /// std::fs::write(dir.path().join("PHOTO.JPG"), [])?; // decoded when it is used
    /// assert_eq!(UnlabeledSet::from_folder(dir.path())?.images[0].key, "PHOTO.JPG");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_folder(root: impl AsRef<Path>) -> Result<Self, DataError> {
        let root = root.as_ref();
        let mut images = Vec::new();
        let mut folders = vec![(root.to_owned(), String::new())];
        while let Some((folder, prefix)) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(|source| DataError::io(&folder, source))? {
                let entry = entry.map_err(|source| DataError::io(&folder, source))?;
                let path = entry.path();
                let file_type = entry.file_type().map_err(|source| DataError::io(&path, source))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with('.') {
                    continue;
                }
                let key = format!("{prefix}{name}");
                if file_type.is_dir() {
                    folders.push((path, format!("{key}/")));
                } else if is_image(&path) && path.is_file() {
                    if file_type.is_symlink() {
                        check_inside(root, &path)?;
                    }
                    images.push(UnlabeledImage::file(key, path));
                }
            }
        }
        if images.is_empty() {
            return Err(DataError::EmptyFolder { path: root.to_owned() });
        }
        images.sort_unstable_by(|a, b| (&a.key, &a.path).cmp(&(&b.key, &b.path)));
        Ok(Self { images })
    }
}

/// Whether a file is an image by its extension.
pub(super) fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["jpg", "jpeg", "png"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn touch(root: &Path, name: &str) -> PathBuf {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, []).unwrap();
        path
    }

    #[test]
    fn images_of_all_levels_sorted_by_key() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in ["b.PNG", "a/z.jpeg", "a/b/c.jpg", "notes.txt", ".hidden.png", ".git/x.png"] {
            touch(root, name);
        }
        let set = UnlabeledSet::from_folder(root).unwrap();
        let keys: Vec<_> = set.images.iter().map(|image| image.key.as_str()).collect();
        assert_eq!(keys, ["a/b/c.jpg", "a/z.jpeg", "b.PNG"]);
        assert_eq!(set.images[0].path, root.join("a").join("b").join("c.jpg"));
    }

    #[cfg(unix)]
    #[test]
    fn linked_folders_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), "a.png");
        std::os::unix::fs::symlink(dir.path(), dir.path().join("loop")).unwrap();
        assert_eq!(UnlabeledSet::from_folder(dir.path()).unwrap().len(), 1);
    }

    #[test]
    fn a_folder_without_images_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), "notes.txt");
        let error = UnlabeledSet::from_folder(dir.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{}: no .jpg, .jpeg or .png file in this folder or below", dir.path().display())
        );
    }

    #[test]
    fn a_missing_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("nowhere");
        let error = UnlabeledSet::from_folder(&missing).unwrap_err();
        assert!(matches!(&error, DataError::Io { path, .. } if *path == missing), "{error}");
        assert!(error.to_string().starts_with(&missing.display().to_string()), "{error}");
    }

    #[test]
    fn concat_keeps_the_order() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), "one/b.png");
        touch(dir.path(), "two/a.png");
        let sets = ["one", "two"].map(|name| UnlabeledSet::from_folder(dir.path().join(name)).unwrap());
        let keys: Vec<_> = UnlabeledSet::concat(sets).images.into_iter().map(|image| image.key).collect();
        assert_eq!(keys, ["b.png", "a.png"]);
    }
}
