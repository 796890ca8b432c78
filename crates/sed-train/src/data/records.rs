//! Entries of JSON lists whose fields may be of any type: what is wrong with one entry can be said
//! without giving up the file.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};

/// Elements of a list within an entry that are kept: one more than any that is read has.
const MAX_ELEMENTS: usize = 5;
/// Characters of a text that are repeated in an error.
const MAX_QUOTED: usize = 60;

/// A JSON value; nested lists and objects are not kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    /// The first elements, and the number of all.
    List(Vec<Node>, usize),
    Object,
}

impl Node {
    /// A number, and how it is read where it is not written as one.
    pub fn number(&self) -> Result<(f64, Option<&'static str>), String> {
        match self {
            Self::Unsigned(value) => Ok((*value as f64, None)),
            Self::Signed(value) => Ok((*value as f64, None)),
            Self::Float(value) => Ok((*value, None)),
            Self::Text(text) => match text.trim().parse::<f64>() {
                Ok(value) if value.is_finite() => Ok((value, Some("take the text as a number"))),
                _ => Err(self.not("f64")),
            },
            _ => Err(self.not("f64")),
        }
    }

    /// A whole number from 0, and how it is read where it is not written as one.
    pub fn unsigned(&self) -> Result<(u64, Option<&'static str>), String> {
        match self {
            Self::Unsigned(value) => Ok((*value, None)),
            Self::Text(text) => match text.trim().parse() {
                Ok(value) => Ok((value, Some("take the text as a number"))),
                Err(_) => Err(self.not("u64")),
            },
            // Above 2⁵³ not every whole number is a float, so that ids might be mixed up.
            Self::Float(value) if value.fract() == 0. && (0. ..9e15).contains(value) => {
                Ok((*value as u64, Some("take the number as a whole one")))
            }
            _ => Err(self.not("u64")),
        }
    }

    /// A text.
    pub fn text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(self.not("a string")),
        }
    }

    /// What is said of a value that is not what is `expected`.
    pub fn not(&self, expected: &str) -> String {
        let (kind, unexpected) = match self {
            Self::Null => ("type", Unexpected::Other("null")),
            Self::Bool(value) => ("type", Unexpected::Bool(*value)),
            Self::Unsigned(value) => ("type", Unexpected::Unsigned(*value)),
            Self::Signed(value) => ("value", Unexpected::Signed(*value)),
            Self::Float(value) => ("type", Unexpected::Float(*value)),
            Self::Text(text) => {
                let end = text.char_indices().nth(MAX_QUOTED).map_or(text.len(), |(at, _)| at);
                ("type", Unexpected::Str(&text[..end]))
            }
            Self::List(..) => ("type", Unexpected::Seq),
            Self::Object => ("type", Unexpected::Map),
        };
        format!("invalid {kind}: {unexpected}, expected {expected}")
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("any JSON value")
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                Ok(u64::try_from(value).map_or(Node::Signed(value), Node::Unsigned))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Unsigned(value))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
                Ok(Node::Float(value))
            }

            fn visit_str<E>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Text(value.to_owned()))
            }

            fn visit_string<E>(self, value: String) -> Result<Node, E> {
                Ok(Node::Text(value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
                let mut nodes = Vec::new();
                while nodes.len() < MAX_ELEMENTS {
                    match list.next_element()? {
                        Some(node) => nodes.push(node),
                        None => break,
                    }
                }
                let mut len = nodes.len();
                while list.next_element::<IgnoredAny>()?.is_some() {
                    len += 1;
                }
                Ok(Node::List(nodes, len))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Node::Object)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// An entry of a list, with those of its fields that were asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Record {
    Fields(Vec<(&'static str, Node)>),
    /// A field occurs twice.
    Repeated(&'static str),
    /// The entry is not an object.
    Other(Node),
}

impl Record {
    /// A field; `None` if it is missing.
    pub fn get(&self, name: &str) -> Option<&Node> {
        match self {
            Self::Fields(fields) => fields.iter().find(|(key, _)| *key == name).map(|(_, node)| node),
            _ => None,
        }
    }

    /// What is wrong with the entry as a whole.
    pub fn fault(&self) -> Option<String> {
        match self {
            Self::Fields(_) => None,
            Self::Repeated(name) => Some(format!("duplicate field `{name}`")),
            Self::Other(node) => Some(node.not("an object")),
        }
    }
}

/// Reads an entry and keeps the fields of these names.
#[derive(Clone, Copy)]
pub(crate) struct RecordSeed(pub &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for RecordSeed {
    type Value = Record;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Record, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RecordSeed {
    type Value = Record;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Record, E> {
        Ok(Record::Other(Node::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Record, E> {
        Ok(Record::Other(Node::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Record, E> {
        Ok(Record::Other(Node::Signed(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Record, E> {
        Ok(Record::Other(Node::Unsigned(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Record, E> {
        Ok(Record::Other(Node::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Record, E> {
        Ok(Record::Other(Node::Text(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Record, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Record::Other(Node::List(Vec::new(), 0)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record, A::Error> {
        let mut fields: Vec<(&'static str, Node)> = Vec::with_capacity(self.0.len());
        let mut repeated = None;
        while let Some(name) = map.next_key_seed(NameSeed(self.0))? {
            let Some(name) = name else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let node = map.next_value()?;
            if fields.iter().any(|(key, _)| *key == name) {
                repeated = Some(name);
            } else {
                fields.push((name, node));
            }
        }
        Ok(repeated.map_or(Record::Fields(fields), Record::Repeated))
    }
}

/// One of these names, or `None` for any other key.
#[derive(Clone, Copy)]
pub(crate) struct NameSeed<'a>(pub &'a [&'static str]);

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NameSeed<'_> {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().copied().find(|name| *name == key))
    }
}
