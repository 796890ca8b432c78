use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::marker::PhantomData;
use std::path::Path;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde::{Deserialize, Serialize};

use super::json_pieces::{Pieces, Stop};
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
pub(crate) struct ListOf<'a> {
    pub name: &'static str,
    pub fields: &'static [&'static str],
    /// Fields to look at first, if there are any, and whether their entry is wanted; of one that is not, the others are not read.
    pub first: Option<(&'static [&'static str], &'a dyn Fn(&Record) -> bool)>,
}

impl ListOf<'_> {
    /// All entries of a list, with these fields.
    pub const fn all(name: &'static str, fields: &'static [&'static str]) -> Self {
        Self { name, fields, first: None }
    }

    fn record(&self, entry: &[u8]) -> Result<Record, Stop> {
        if let Some((fields, is_wanted)) = self.first {
            let record = whole(RecordSeed(fields), entry)?;
            if !is_wanted(&record) {
                return Ok(record);
            }
        }
        whole(RecordSeed(self.fields), entry)
    }
}

/// A piece of a file through a seed. Its error has no place in the file, and so is not kept.
fn whole<'de, S: DeserializeSeed<'de>>(seed: S, piece: &'de [u8]) -> Result<S::Value, Stop> {
    let mut json = serde_json::Deserializer::from_slice(piece);
    let value = seed.deserialize(&mut json).map_err(|_| Stop::Broken)?;
    json.end().map_err(|_| Stop::Broken)?;
    Ok(value)
}

/// What is done with an entry: the list's name, the entry's position and the entry.
type Take<'a> = &'a mut dyn FnMut(&'static str, usize, Record) -> Result<(), DataError>;

/// Hands each entry of the lists `wanted` to `take`. Everything else is checked and dropped, entry by entry. Gives the names of the
/// lists that are there.
pub(crate) fn read_lists(
    path: &Path,
    wanted: &[ListOf],
    take: Take,
) -> Result<HashSet<&'static str>, DataError> {
    let file = File::open(path).map_err(|source| DataError::io(path, source))?;
    let mut pieces = Pieces::new(file);
    let mut refused = None;
    match take_lists(&mut pieces, wanted, take, &mut refused) {
        Ok(found) => Ok(found),
        Err(Stop::Io(source)) => Err(DataError::io(path, source)),
        Err(Stop::Broken) => match refused {
            None => Err(locate(path, wanted)),
            Some(DataError::Field { path, field, reason, .. }) => {
                let position = position(&path, pieces.offset()).ok();
                Err(DataError::Field { path, field, reason, position })
            }
            Some(error) => Err(error),
        },
    }
}

/// What `take` refuses goes to `refused`, and ends the reading.
fn take_lists(
    pieces: &mut Pieces<File>,
    wanted: &[ListOf],
    take: Take,
    refused: &mut Option<DataError>,
) -> Result<HashSet<&'static str>, Stop> {
    let names: Vec<&'static str> = wanted.iter().map(|list| list.name).collect();
    let mut found = HashSet::new();
    let mut first = true;
    pieces.expect(b'{')?;
    while pieces.has_next(first, b'}')? {
        first = false;
        let name = whole(NameSeed(&names), pieces.value()?)?;
        pieces.expect(b':')?;
        let list = wanted.iter().find(|list| Some(list.name) == name);
        let close = match (pieces.peek()?, list) {
            (Some(b'['), _) => b']',
            (Some(b'{'), None) => b'}',
            (_, None) => {
                whole(PhantomData::<IgnoredAny>, pieces.value()?)?;
                continue;
            }
            (_, Some(_)) => return Err(Stop::Broken),
        };
        if list.is_some_and(|list| !found.insert(list.name)) {
            return Err(Stop::Broken);
        }
        pieces.expect(if close == b']' { b'[' } else { b'{' })?;
        let mut index = 0;
        while pieces.has_next(index == 0, close)? {
            if close == b'}' {
                if pieces.peek()? != Some(b'"') {
                    return Err(Stop::Broken);
                }
                whole(PhantomData::<IgnoredAny>, pieces.value()?)?;
                pieces.expect(b':')?;
            }
            let entry = pieces.value()?;
            match list {
                None => _ = whole(PhantomData::<IgnoredAny>, entry)?,
                Some(list) => {
                    if let Err(error) = take(list.name, index, list.record(entry)?) {
                        *refused = Some(error);
                        return Err(Stop::Broken);
                    }
                }
            }
            index += 1;
        }
    }
    if pieces.peek()?.is_some() { Err(Stop::Broken) } else { Ok(found) }
}

/// The place in a file after so many bytes.
fn position(path: &Path, offset: u64) -> io::Result<TextPosition> {
    let (mut line, mut column) = (1, 0);
    let mut rest = BufReader::with_capacity(1 << 16, File::open(path)?).take(offset);
    loop {
        let block = rest.fill_buf()?;
        if block.is_empty() {
            return Ok(TextPosition { line, column });
        }
        for byte in block {
            (line, column) = if *byte == b'\n' { (line + 1, 0) } else { (line, column + 1) };
        }
        let length = block.len();
        rest.consume(length);
    }
}

/// The error of a file that could not be read in pieces, with the path of the field: the file is parsed once more for it.
fn locate(path: &Path, wanted: &[ListOf]) -> DataError {
    let names: Vec<&'static str> = wanted.iter().map(|list| list.name).collect();
    let mut lists = Lists { wanted, names: &names, found: HashSet::new() };
    let unknown = || error(path, ".".to_owned(), de::Error::custom("not readable as a JSON object"));
    read_seed(path, &mut lists).err().unwrap_or_else(unknown)
}

/// The same form as [`take_lists`] reads, for a parser that keeps nothing but the place of an error.
struct Lists<'a> {
    wanted: &'a [ListOf<'a>],
    names: &'a [&'static str],
    found: HashSet<&'static str>,
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
            map.next_value_seed(Entries(list))?;
        }
        Ok(())
    }
}

struct Entries<'a>(&'a ListOf<'a>);

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a list of {}", self.0.name)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while entries.next_element_seed(RecordSeed(self.0.fields))?.is_some() {}
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{HostRng, Purpose};

    const LISTS: [ListOf; 2] = [ListOf::all("images", &["id", "size"]), ListOf::all("boxes", &["at"])];

    /// Whatever is damaged in a file, reading it in pieces takes it where parsing it as a whole does, and only there.
    #[test]
    fn pieces_take_what_a_parser_of_the_whole_file_takes() {
        let text = r#"{"info": {"year": 2026, "a\"b": [1, {"c": null}]}, "images": [{"id": 7, "size": [1.5, -2e3], "other": "x]}"},
            {"id": 8}, 3, "text", []], "note": "a { b", "flag": true, "boxes": [ {"at": [[1], {}]} , {} ], "licenses": []}"#;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let (mut taken, mut refused) = (0, 0);
        for round in 0..3000 {
            let mut rng = HostRng::new(1, Purpose::TrainScene, round, 0);
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..rng.below(3) {
                let at = rng.below(bytes.len());
                match rng.below(3) {
                    0 => bytes[at] = b"{}[],:\"\\ 1ax\n\xff"[rng.below(14)],
                    1 => _ = bytes.remove(at),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            fs::write(&path, &bytes).unwrap();
            let in_pieces = read_lists(&path, &LISTS, &mut |_, _, _| Ok(()));
            let mut lists = Lists { wanted: &LISTS, names: &["images", "boxes"], found: HashSet::new() };
            let as_a_whole = read_seed(&path, &mut lists);
            let text = String::from_utf8_lossy(&bytes);
            assert_eq!(in_pieces.is_ok(), as_a_whole.is_ok(), "{text}: {in_pieces:?}, {as_a_whole:?}");
            match in_pieces {
                Ok(found) => {
                    assert_eq!(found, lists.found, "{text}");
                    taken += 1;
                }
                Err(_) => refused += 1,
            }
        }
        assert!(taken > 500 && refused > 500, "{taken} files taken, {refused} refused");
    }

    #[test]
    fn fields_that_come_first_decide_whether_the_others_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        fs::write(&path, r#"{"boxes": [{"at": 1, "id": 7}, {"id": 8, "at": 2}, {"at": 3}]}"#).unwrap();
        let is_wanted = |record: &Record| record.get("id") != Some(&super::super::records::Node::Unsigned(7));
        let lists = [ListOf { name: "boxes", fields: &["id", "at"], first: Some((&["id"], &is_wanted)) }];
        let mut found = Vec::new();
        read_lists(&path, &lists, &mut |_, index, record| {
            found.push((index, record.get("id").is_some(), record.get("at").is_some()));
            Ok(())
        })
        .unwrap();
        assert_eq!(found, [(0, true, false), (1, true, true), (2, false, true)]);
    }
}
