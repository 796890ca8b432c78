//! Unlabeled images in tar files ("shards").
//!
//! Millions of small files are slow to list, to copy and, on a network file system, to open one by one. In shards they are read in
//! sequence: an index of where each image lies is made when a shard is opened, and a training goes through shards in a random order,
//! and through what follows one another in random order again, a [`shuffle_buffer`](super::LoaderConfig::shuffle_buffer) at a time.

mod order;
mod window;

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use super::folder::is_image;
use super::{DataError, UnlabeledImage, UnlabeledSet};

pub(super) use order::ShardOrder;
pub(super) use window::{Window, read_span};

/// The part of a file that an image takes.
///
/// ```
/// use sed_train::data::{FileSpan, UnlabeledImage};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("day.tar");
/// std::fs::write(&path, "....image....")?;
/// let span = Some(FileSpan { offset: 4, length: 5 });
/// let image = UnlabeledImage { key: "day.tar/1.png".into(), path, span };
/// assert_eq!(image.read()?, b"image");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSpan {
    /// Bytes before it.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
}

/// The first bytes of compressed files, and what makes them.
const COMPRESSED: [(&[u8], &str); 4] = [
    (&[0x1f, 0x8b], "gzip"),
    (b"BZh", "bzip2"),
    (&[0xfd, b'7', b'z', b'X', b'Z'], "xz"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
];

impl UnlabeledSet {
    /// All JPEG and PNG files in tar files, shard by shard as given, and as they follow one another in a shard.
    ///
    /// A file counts by its extension; hidden ones (with a part of the path that starts with a dot) are left out. Keys are
    /// `SHARD/PATH`, as `day.tar/0001.jpg`. The headers alone are read.
    ///
    /// # Errors
    ///
    /// [`DataError::Io`] with the shard that cannot be read, [`DataError::Shard`] if it is compressed, no tar file, or ends within a
    /// member, and [`DataError::EmptyFolder`] with the first of them if there is no image in any.
    ///
    /// ```
    /// use sed_train::data::UnlabeledSet;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let shard = dir.path().join("day.tar");
    /// # let mut tar = tar::Builder::new(std::fs::File::create(&shard)?);
    /// # for name in ["0001.png", "0001.txt", "0002.png"] {
    /// #     let mut header = tar::Header::new_gnu();
    /// #     header.set_size(3);
    /// #     tar.append_data(&mut header, name, &b"abc"[..])?;
    /// # }
    /// # tar.finish()?;
    /// let set = UnlabeledSet::from_shards([&shard])?; // with 0001.png, 0001.txt and 0002.png
    /// let keys: Vec<&str> = set.images.iter().map(|image| image.key.as_str()).collect();
    /// assert_eq!(keys, ["day.tar/0001.png", "day.tar/0002.png"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_shards<P: AsRef<Path>>(shards: impl IntoIterator<Item = P>) -> Result<Self, DataError> {
        let mut images = Vec::new();
        let mut first = None;
        for shard in shards {
            let shard = shard.as_ref();
            first.get_or_insert_with(|| shard.to_owned());
            list_members(shard, &mut images)?;
        }
        match images.is_empty() {
            true => Err(DataError::EmptyFolder { path: first.unwrap_or_default() }),
            false => Ok(Self { images }),
        }
    }
}

/// The tar files of a folder, sorted by name; hidden ones and those of folders below are left out.
pub(super) fn shards_of(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut shards = Vec::new();
    for entry in fs::read_dir(folder).map_err(|source| DataError::io(folder, source))? {
        let path = entry.map_err(|source| DataError::io(folder, source))?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && is_shard(&path) && path.is_file() {
            shards.push(path);
        }
    }
    shards.sort_unstable();
    Ok(shards)
}

/// Whether a file is a shard by its extension.
pub(super) fn is_shard(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tar"))
}

fn list_members(shard: &Path, images: &mut Vec<UnlabeledImage>) -> Result<(), DataError> {
    let io_error = |source| DataError::io(shard, source);
    let refuse = |reason: String| DataError::Shard { path: shard.to_owned(), reason };
    let mut file = File::open(shard).map_err(io_error)?;
    let length = file.metadata().map_err(io_error)?.len();
    let mut start = Vec::new();
    file.by_ref().take(8).read_to_end(&mut start).map_err(io_error)?;
    if let Some((_, by)) = COMPRESSED.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(refuse(format!("compressed by {by}: images are read in place, from a plain tar file")));
    }
    file.rewind().map_err(io_error)?;

    let name = shard.file_name().unwrap_or_default().to_string_lossy();
    let mut archive = tar::Archive::new(io::BufReader::new(file));
    // The parser's errors of a broken header and those of the system are alike, and both name no file.
    let broken = |source: io::Error| refuse(format!("not readable as a tar file: {source}"));
    for entry in archive.entries_with_seek().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.into_owned();
        let span = FileSpan { offset: entry.raw_file_position(), length: entry.size() };
        let member = path.to_string_lossy().replace('\\', "/");
        let member = member.trim_start_matches("./");
        // Where a member goes is of no importance: it is never unpacked.
        if !entry.header().entry_type().is_file()
            || !is_image(&path)
            || member.split('/').any(|part| part.starts_with('.'))
        {
            continue;
        }
        if span.offset.checked_add(span.length).is_none_or(|end| end > length) {
            return Err(refuse(format!("it ends within {member}")));
        }
        images.push(UnlabeledImage {
            key: format!("{name}/{member}"),
            path: shard.to_owned(),
            span: Some(span),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
