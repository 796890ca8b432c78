use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::marker::PhantomData;
use std::path::Path;

use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed};

use super::DataError;

/// Reads a JSON file; an error names the file and the path of the field.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, DataError> {
    read_seed(path, PhantomData)
}

/// Reads a JSON file through a seed, which may drop what is not wanted while it is parsed.
pub(crate) fn read_seed<'de, S: DeserializeSeed<'de>>(path: &Path, seed: S) -> Result<S::Value, DataError> {
    let file = File::open(path).map_err(|source| DataError::io(path, source))?;
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 16, file));
    let mut track = serde_path_to_error::Track::new();
    let value = seed
        .deserialize(serde_path_to_error::Deserializer::new(&mut json, &mut track))
        .map_err(|source| error(path, track.path().to_string(), source))?;
    json.end().map_err(|source| error(path, ".".to_owned(), source))?;
    Ok(value)
}

/// Writes `value` as JSON: first to a file aside, which then takes the place of `path`, so that a
/// reader never sees half a file.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let aside = path.with_file_name(name);
    let written = write_to(&aside, value).and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        // The first error is the one worth reporting.
        let _ = fs::remove_file(&aside);
    }
    written
}

fn write_to(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut writer = io::BufWriter::new(File::create(path)?);
    serde_json::to_writer(&mut writer, value)?;
    writer.write_all(b"\n")?;
    writer.into_inner()?.sync_all()
}

fn error(path: &Path, field: String, source: serde_json::Error) -> DataError {
    if source.is_io() {
        DataError::io(path, source.into())
    } else {
        DataError::Json { path: path.to_owned(), field, source }
    }
}
