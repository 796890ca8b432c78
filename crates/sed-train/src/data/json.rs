use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::marker::PhantomData;
use std::path::Path;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::DataError;

/// Reads a JSON file; an error names the file and the path of the field.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, DataError> {
    read_seed(path, PhantomData)
}

fn open(path: &Path) -> Result<serde_json::Deserializer<serde_json::de::IoRead<BufReader<File>>>, DataError> {
    let file = File::open(path).map_err(|source| DataError::io(path, source))?;
    Ok(serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 16, file)))
}

/// Reads a JSON file through a seed, which may drop what is not wanted while it is parsed.
pub(super) fn read_seed<'de, S: DeserializeSeed<'de>>(path: &Path, seed: S) -> Result<S::Value, DataError> {
    let mut json = open(path)?;
    let mut track = serde_path_to_error::Track::new();
    let value = seed.deserialize(serde_path_to_error::Deserializer::new(&mut json, &mut track)).map_err(
        |source| {
            // What is skipped has no path, so broken syntax in it is looked for once more.
            let within = if source.is_syntax() { locate_broken_syntax(path) } else { None };
            error(path, within.unwrap_or_else(|| track.path().to_string()), source)
        },
    )?;
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

pub(super) fn error(path: &Path, field: String, source: serde_json::Error) -> DataError {
    if source.is_io() {
        DataError::io(path, source.into())
    } else {
        DataError::Json { path: path.to_owned(), field, source }
    }
}

/// The path of the value at which a file stops being JSON.
fn locate_broken_syntax(path: &Path) -> Option<String> {
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(File::open(path).ok()?));
    let error = serde_path_to_error::deserialize::<_, AnyValue>(&mut json).err()?;
    Some(error.path().to_string())
}

/// Any JSON value. Each level is entered, so that the path of an error is known, and nothing is kept.
struct AnyValue;

impl<'de> Deserialize<'de> for AnyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<String, Self>()?.is_some() {}
        Ok(self)
    }
}
