//! The images that a shuffle buffer holds at a time.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::data::image::MAX_BYTES;
use crate::data::{DataError, FileSpan, UnlabeledImage};

/// Images that are read from their shards together, in sequence, when the first of them is asked for.
pub(in crate::data) struct Window {
    /// Their numbers as they follow one another in the shards.
    pub(super) sequence: Vec<u32>,
    /// Their numbers in the order in which they are drawn.
    pub(super) drawn: Vec<u32>,
    /// The bytes of those that were not drawn yet.
    bytes: OnceLock<Mutex<HashMap<u32, Vec<u8>>>>,
}

impl Window {
    pub(super) fn new(sequence: Vec<u32>, drawn: Vec<u32>) -> Self {
        Self { sequence, drawn, bytes: OnceLock::new() }
    }

    /// The bytes of image `number` of `all`, which lies in a shard. They leave the window; whoever asks again reads them again.
    ///
    /// # Errors
    ///
    /// As [`UnlabeledImage::read`]. What cannot be read ahead is an error of its own image alone.
    pub fn take(&self, number: usize, all: &[UnlabeledImage]) -> Result<Vec<u8>, DataError> {
        let bytes = self.bytes.get_or_init(|| Mutex::new(self.read_ahead(all)));
        let ahead = bytes.lock().unwrap_or_else(PoisonError::into_inner).remove(&(number as u32));
        match ahead {
            Some(bytes) => Ok(bytes),
            None => all[number].read(),
        }
    }

    fn read_ahead(&self, all: &[UnlabeledImage]) -> HashMap<u32, Vec<u8>> {
        let mut found = HashMap::with_capacity(self.sequence.len());
        let mut shard: Option<(&Path, Shard)> = None;
        for &number in &self.sequence {
            let image = &all[number as usize];
            let Some(span) = image.span.filter(|span| span.length <= MAX_BYTES) else { continue };
            if shard.as_ref().is_none_or(|(path, _)| *path != image.path) {
                shard = File::open(&image.path).ok().map(|file| (image.path.as_path(), Shard::new(file)));
            }
            if let Some(bytes) = shard.as_mut().and_then(|(_, shard)| shard.read(span).ok()) {
                found.insert(number, bytes);
            }
        }
        found
    }
}

/// An open shard. Between two images lie but a header and padding, so that a buffer's reads follow one another.
struct Shard {
    file: BufReader<File>,
    /// Where it stands; unknown before the first read and after one that failed.
    at: Option<u64>,
}

impl Shard {
    fn new(file: File) -> Self {
        Self { file: BufReader::with_capacity(1 << 20, file), at: None }
    }

    fn read(&mut self, span: FileSpan) -> io::Result<Vec<u8>> {
        let step = self
            .at
            .take()
            .and_then(|at| i64::try_from(span.offset).ok()?.checked_sub(i64::try_from(at).ok()?));
        match step {
            Some(step) => self.file.seek_relative(step)?,
            None => self.file.seek(SeekFrom::Start(span.offset)).map(drop)?,
        }
        let bytes = read_exactly(&mut self.file, span.length)?;
        self.at = Some(span.offset + span.length);
        Ok(bytes)
    }
}

/// A part of a file.
pub(in crate::data) fn read_span(path: &Path, span: FileSpan) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(span.offset))?;
    read_exactly(&mut file, span.length)
}

/// The buffer grows with what is there: a length that a file claims is not believed.
fn read_exactly(file: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    match bytes.len() as u64 == length {
        true => Ok(bytes),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
