use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::marker::PhantomData;
use std::path::Path;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde::{Deserialize, Serialize};

use super::records::{NameSeed, Record, RecordSeed};
use super::{DataError, TextPosition};

/// Reads a JSON file; an error names the file and the path of the field.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, DataError> {
    read_seed(path, PhantomData)
}

fn open(path: &Path) -> Result<serde_json::Deserializer<serde_json::de::IoRead<BufReader<File>>>, DataError> {
    let file = File::open(path).map_err(|source| DataError::io(path, source))?;
    Ok(serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 16, file)))
}

/// Reads a JSON file through a seed, which may drop what is not wanted while it is parsed.
fn read_seed<'de, S: DeserializeSeed<'de>>(path: &Path, seed: S) -> Result<S::Value, DataError> {
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

/// A list of a file's top level, and the fields of its entries that are wanted.
pub(crate) struct ListOf {
    pub name: &'static str,
    pub fields: &'static [&'static str],
}

/// Hands each entry of the lists `wanted` to `take`: the list's name, the entry's position and the entry.
/// Everything else is dropped while the file is parsed. Gives the names of the lists that are there.
pub(crate) fn read_lists(
    path: &Path,
    wanted: &[ListOf],
    take: &mut dyn FnMut(&'static str, usize, Record) -> Result<(), DataError>,
) -> Result<HashSet<&'static str>, DataError> {
    let names: Vec<&'static str> = wanted.iter().map(|list| list.name).collect();
    let mut lists = Lists { wanted, names: &names, take, found: HashSet::new(), refused: None };
    let mut json = open(path)?;
    let parsed = DeserializeSeed::deserialize(&mut lists, &mut json).and_then(|()| json.end());
    let Lists { found, refused, .. } = lists;
    match (refused, parsed) {
        (None, Ok(())) => Ok(found),
        (None, Err(source)) => Err(locate(path, wanted, source)),
        (Some(DataError::Field { path, field, reason, .. }), Err(source)) => {
            let position = Some(TextPosition { line: source.line(), column: source.column() });
            Err(DataError::Field { path, field, reason, position })
        }
        (Some(error), _) => Err(error),
    }
}

/// The error of a file that could not be parsed, with the path of the field: the file is read once more for it, as to know
/// the path at all times costs a copy of each key.
fn locate(path: &Path, wanted: &[ListOf], source: serde_json::Error) -> DataError {
    let names: Vec<&'static str> = wanted.iter().map(|list| list.name).collect();
    let take = &mut |_: &'static str, _: usize, _: Record| Ok(());
    let mut lists = Lists { wanted, names: &names, take, found: HashSet::new(), refused: None };
    read_seed(path, &mut lists).err().unwrap_or_else(|| error(path, ".".to_owned(), source))
}

struct Lists<'a> {
    wanted: &'a [ListOf],
    names: &'a [&'static str],
    take: &'a mut dyn FnMut(&'static str, usize, Record) -> Result<(), DataError>,
    found: HashSet<&'static str>,
    /// A parser can only fail with its own error type; ours waits here meanwhile.
    refused: Option<DataError>,
}

impl<'de> DeserializeSeed<'de> for &mut Lists<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Lists<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "an object with the fields {}", self.names.join(", "))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(NameSeed(self.names))? {
            let list = self.wanted.iter().find(|list| Some(list.name) == name);
            let Some(list) = list else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if !self.found.insert(list.name) {
                return Err(de::Error::duplicate_field(list.name));
            }
            map.next_value_seed(Entries { lists: &mut *self, list })?;
        }
        Ok(())
    }
}

struct Entries<'a, 'b> {
    lists: &'a mut Lists<'b>,
    list: &'a ListOf,
}

impl<'de> DeserializeSeed<'de> for Entries<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a list of {}", self.list.name)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(record) = entries.next_element_seed(RecordSeed(self.list.fields))? {
            if let Err(error) = (self.lists.take)(self.list.name, index, record) {
                let stop = de::Error::custom(&error);
                self.lists.refused = Some(error);
                return Err(stop);
            }
            index += 1;
        }
        Ok(())
    }
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
