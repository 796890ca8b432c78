//! Files below an image folder.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{num::NonZero, thread};

use super::DataError;

/// Refuses names that would leave the image folder when joined to it, on whichever system.
pub(super) fn check_file_name(path: &Path, file_name: &str) -> Result<(), DataError> {
    let mut components = Path::new(file_name).components().peekable();
    // A drive of Windows would replace the folder there.
    let drive = file_name.as_bytes().get(1) == Some(&b':');
    let inside = components.peek().is_some()
        && components.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        && !drive
        && !file_name.contains('\0');
    if inside {
        Ok(())
    } else {
        Err(DataError::UnsafeFileName { path: path.to_owned(), file_name: file_name.to_owned() })
    }
}

/// The file of this name below `root`. A link that leads out of `root` is refused.
pub(super) fn existing_file(root: &Path, file_name: &str) -> Result<PathBuf, DataError> {
    let file = root.join(file_name);
    let metadata = fs::metadata(&file).map_err(|source| DataError::io(&file, source))?;
    if !metadata.is_file() {
        return Err(DataError::io(&file, io::Error::other("not a file")));
    }
    check_inside(root, &file)?;
    Ok(file)
}

/// An image folder in which many files are looked up.
pub(super) struct ImageFolder<'a> {
    root: &'a Path,
    /// A folder that lies in `root` when links are followed. Files are listed folder by folder, so that the one of the
    /// last file is most often the next one's.
    inside: Option<PathBuf>,
}

impl<'a> ImageFolder<'a> {
    pub fn new(root: &'a Path) -> Self {
        Self { root, inside: None }
    }

    /// As [`existing_file`], with one call of the system for a plain file beside the last one.
    pub fn existing_file(&mut self, file_name: &str) -> Result<PathBuf, DataError> {
        let file = self.root.join(file_name);
        let plain = fs::symlink_metadata(&file).is_ok_and(|metadata| metadata.is_file());
        if plain && self.inside.is_some() && file.parent() == self.inside.as_deref() {
            return Ok(file);
        }
        let file = existing_file(self.root, file_name)?;
        // A file that is no link lies where its folder does.
        self.inside = if plain { file.parent().map(Path::to_owned) } else { None };
        Ok(file)
    }
}

/// Refuses a file below `root` that lies elsewhere when links are followed.
pub(super) fn check_inside(root: &Path, file: &Path) -> Result<(), DataError> {
    let resolve = |path: &Path| fs::canonicalize(path).map_err(|source| DataError::io(path, source));
    match resolve(file)?.starts_with(resolve(root)?) {
        true => Ok(()),
        false => Err(DataError::OutsideFolder { path: file.to_owned(), root: root.to_owned() }),
    }
}

/// `work` on each item, on all cores, in the order of the items; `done` is told after each.
pub(super) fn in_parallel<I: Sync, T: Send>(
    items: &[I],
    work: impl Fn(&I) -> T + Sync,
    done: impl Fn() + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(items.len());
    let share = || {
        let mut found = Vec::new();
        while let Some((index, item)) = at(items, next.fetch_add(1, Ordering::Relaxed)) {
            found.push((index, work(item)));
            done();
        }
        found
    };
    let mut all: Vec<(usize, T)> = thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(share)).collect();
        let joined = handles.into_iter().map(|handle| handle.join());
        joined.flat_map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    all.sort_unstable_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, value)| value).collect()
}

fn at<I>(items: &[I], index: usize) -> Option<(usize, &I)> {
    items.get(index).map(|item| (index, item))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_folder_on_any_system_are_refused() {
        let check = |name: &str| check_file_name(Path::new("a.json"), name);
        for name in ["a.png", "sub/b.png", "./c.png", "a:b.png".trim_start_matches("a:"), "..a.png"] {
            assert!(check(name).is_ok(), "{name}");
        }
        for name in ["", "/a.png", "../a.png", "x/../../a.png", "x/..", "C:/a.png", "a\0.png"] {
            assert!(check(name).is_err(), "{name:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_may_not_lead_out_of_the_folder() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("images");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(dir.path().join("outside.png"), []).unwrap();
        fs::write(root.join("inside.png"), []).unwrap();
        symlink("../../outside.png", root.join("sub/out.png")).unwrap();
        symlink("../inside.png", root.join("sub/in.png")).unwrap();
        symlink(dir.path(), root.join("up")).unwrap();
        symlink(&root, dir.path().join("linked-root")).unwrap();
        assert!(existing_file(&root, "sub/in.png").is_ok());
        // The folder itself may be a link.
        assert!(existing_file(&dir.path().join("linked-root"), "sub/in.png").is_ok());
        fs::write(root.join("sub/plain.png"), []).unwrap();
        for name in ["sub/out.png", "up/outside.png"] {
            let error = existing_file(&root, name).unwrap_err();
            let expected =
                format!("{}: leads out of the image folder {}", root.join(name).display(), root.display());
            assert_eq!(error.to_string(), expected);
            // Also beside files that are inside, and after one another.
            let mut folder = ImageFolder::new(&root);
            for inside in ["inside.png", "sub/plain.png", "sub/in.png", "sub/plain.png", "sub/plain.png"] {
                assert_eq!(folder.existing_file(inside).unwrap(), root.join(inside));
            }
            for _ in 0..2 {
                assert_eq!(folder.existing_file(name).unwrap_err().to_string(), expected);
            }
            assert!(folder.existing_file("sub/none.png").is_err());
        }
    }

    #[test]
    fn parallel_work_keeps_the_order() {
        let items: Vec<usize> = (0..100).collect();
        let count = AtomicUsize::new(0);
        let squares = in_parallel(&items, |i| i * i, || _ = count.fetch_add(1, Ordering::Relaxed));
        assert_eq!(squares, items.iter().map(|i| i * i).collect::<Vec<_>>());
        assert_eq!(count.into_inner(), 100);
        assert!(in_parallel(&[], |i: &usize| *i, || ()).is_empty());
    }
}
