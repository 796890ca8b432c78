//! Reading of settings, with errors that name the key, and the keys that there are.

use std::{cell::RefCell, collections::BTreeSet, fmt};

use serde::{
    Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Unexpected, Visitor, value::StrDeserializer,
    },
    forward_to_deserialize_any,
};
use toml::{Table, Value};

/// What is wrong with a value; the key is not known here.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// A key that does not exist.
    #[error("unknown setting {key}")]
    UnknownKey {
        /// Its last part.
        key: String,
        /// The keys that exist beside it.
        known: &'static [&'static str],
    },
    /// A value of another type.
    #[error("expected {expected}, found {found}")]
    Type {
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl serde::de::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Other(message.to_string())
    }

    fn invalid_type(found: Unexpected, expected: &dyn serde::de::Expected) -> Self {
        Self::Type { expected: in_words(&expected.to_string()), found: found.to_string() }
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::UnknownKey { key: key.to_string(), known }
    }
}

/// The types of Rust in a user's words.
fn in_words(expected: &str) -> String {
    let words = match expected {
        "usize" | "u64" | "u32" => "a whole number, 0 or above",
        "f64" | "f32" => "a number",
        "a boolean" => "true or false",
        _ if expected.starts_with("struct ") || expected.contains("tagged enum") => "a table",
        _ => expected,
    };
    words.to_string()
}

/// A key that cannot be read.
#[derive(Debug)]
pub struct KeyError {
    /// The names of the tables and of the value, with points between them.
    pub key: String,
    /// What is wrong with its value.
    pub error: ValueError,
}

/// The settings of a table.
pub fn read<T: DeserializeOwned>(table: &Table) -> Result<T, KeyError> {
    read_and_note(table, &RefCell::default())
}

/// All keys of settings of the type `T`, tables among them: those that `table` has, and those of optional values that it lacks.
pub fn known_keys<T: DeserializeOwned>(table: &Table) -> BTreeSet<String> {
    let keys = RefCell::new(table_keys(table));
    // What a table that cannot be read has shown until then is still true.
    let _: Result<T, KeyError> = read_and_note(table, &keys);
    keys.into_inner()
}

/// The keys of a table and of those in it.
pub fn table_keys(table: &Table) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    note_table(table, "", &mut keys);
    keys
}

fn note_table(table: &Table, path: &str, keys: &mut BTreeSet<String>) {
    for (name, value) in table {
        let path = join(path, name);
        if let Value::Table(inner) = value {
            note_table(inner, &path, keys);
        }
        keys.insert(path);
    }
}

fn read_and_note<T: DeserializeOwned>(
    table: &Table,
    keys: &RefCell<BTreeSet<String>>,
) -> Result<T, KeyError> {
    let value = Value::Table(table.clone());
    serde_path_to_error::deserialize(Node { value: &value, path: String::new(), keys }).map_err(|error| {
        let path = error.path().to_string();
        let mut key = if path == "." { String::new() } else { path };
        let error = error.into_inner();
        // A table with a `kind` is read as a whole, so that the path ends at it.
        if let ValueError::UnknownKey { key: last, .. } = &error
            && key.rsplit('.').next() != Some(last)
        {
            key = join(&key, last);
        }
        KeyError { key, error }
    })
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}

/// A value that notes the fields of the structures that are read from it.
struct Node<'a> {
    value: &'a Value,
    path: String,
    keys: &'a RefCell<BTreeSet<String>>,
}

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.value {
            Value::String(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::Datetime(time) => visitor.visit_string(time.to_string()),
            Value::Array(values) => visitor.visit_seq(Items { values: values.iter(), node: self }),
            Value::Table(table) => {
                visitor.visit_map(Entries { entries: table.iter(), value: None, node: self })
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.keys.borrow_mut().extend(fields.iter().map(|field| join(&self.path, field)));
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let value = self.value.clone();
        value
            .deserialize_enum(name, variants, visitor)
            .map_err(|e| ValueError::Other(e.message().to_string()))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct Items<'a> {
    values: std::slice::Iter<'a, Value>,
    node: Node<'a>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = ValueError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ValueError> {
        let Some(value) = self.values.next() else { return Ok(None) };
        let path = format!("{}[]", self.node.path);
        seed.deserialize(Node { value, path, keys: self.node.keys }).map(Some)
    }
}

struct Entries<'a> {
    entries: toml::map::Iter<'a, String, Value>,
    value: Option<(&'a String, &'a Value)>,
    node: Node<'a>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = ValueError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ValueError> {
        self.value = self.entries.next();
        let Some((name, _)) = self.value else { return Ok(None) };
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ValueError> {
        let missing = || ValueError::Other("a value was asked for before its key".to_string());
        let (name, value) = self.value.take().ok_or_else(missing)?;
        seed.deserialize(Node { value, path: join(&self.node.path, name), keys: self.node.keys })
    }
}

/// The known key that was most likely meant by `written`: one that differs by two letters at most, or by one at another place, or has
/// the same last name elsewhere.
pub fn suggestion<'a>(written: &str, known: &'a BTreeSet<String>) -> Option<&'a str> {
    let parts = written.split('.').count();
    let cost = |key: &str| {
        let start = key.rmatch_indices('.').nth(parts - 1).map_or(0, |(at, _)| at + 1);
        let elsewhere = if start > 0 { edit_distance(written, &key[start..]) + 1 } else { usize::MAX };
        let same_name = key.rsplit('.').next() == written.rsplit('.').next();
        edit_distance(written, key).min(elsewhere).min(if same_name { 2 } else { usize::MAX })
    };
    let nearest = known.iter().map(|key| (cost(key), key)).min()?;
    (nearest.0 <= 2).then_some(nearest.1.as_str())
}

/// The least number of letters that are put in, taken away or replaced to make `b` of `a` (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
