use std::path::Path;

use crate::data::DataError;
use crate::data::problem::{Inspector, Place, Unit, Unusable};
use crate::data::records::{Node, Record};

/// One entry of a list of an annotation file, while it is read by the rules of a policy.
pub(super) struct Entry<'a> {
    path: &'a Path,
    name: String,
    record: &'a Record,
    pub inspector: &'a mut Inspector,
    pub place: Place,
}

impl<'a> Entry<'a> {
    pub fn new(
        path: &'a Path,
        list: &str,
        index: usize,
        record: &'a Record,
        inspector: &'a mut Inspector,
    ) -> Self {
        let unit = Some(if list == "annotations" { Unit::Annotation } else { Unit::Image });
        let name = format!("{list}[{index}]");
        let place = Place { unit, field: name.clone(), ..Place::default() };
        Self { path, name, record, inspector, place }
    }

    /// Refuses what is not an object.
    pub fn check(&mut self) -> Result<(), Unusable> {
        match self.record.fault() {
            Some(reason) => Err(self.wrong("", reason)),
            None => Ok(()),
        }
    }

    /// A field that may be missing.
    pub fn optional(&self, field: &str) -> Option<&'a Node> {
        self.record.get(field).filter(|node| **node != Node::Null)
    }

    /// A field that must be there.
    pub fn node(&mut self, field: &str) -> Result<&'a Node, Unusable> {
        match self.record.get(field) {
            Some(node) => Ok(node),
            None => Err(self.wrong("", format!("missing field `{field}`"))),
        }
    }

    pub fn unsigned(&mut self, field: &str) -> Result<u64, Unusable> {
        let node = self.node(field)?;
        let at = format!(".{field}");
        match node.unsigned() {
            Ok((value, None)) => Ok(value),
            Ok((value, Some(repair))) => {
                self.mended(&at, node.not("u64"), repair)?;
                Ok(value)
            }
            Err(reason) => Err(self.wrong(&at, reason)),
        }
    }

    /// The number at `at`, as `.bbox[2]`, of a node.
    pub fn number(&mut self, at: &str, node: &Node) -> Result<f64, Unusable> {
        match node.number() {
            Ok((value, None)) => Ok(value),
            Ok((value, Some(repair))) => {
                self.mended(at, node.not("f64"), repair)?;
                Ok(value)
            }
            Err(reason) => Err(self.wrong(at, reason)),
        }
    }

    /// The field `at`, as `.bbox[2]`, is wrong, and the entry cannot be used.
    pub fn wrong(&mut self, at: &str, reason: String) -> Unusable {
        let error = self.error(at, reason);
        self.reject(at, error)
    }

    /// The field `at` is wrong and can be repaired; `Ok` if that is to be done.
    pub fn mended(&mut self, at: &str, reason: String, repair: &'static str) -> Result<(), Unusable> {
        let error = self.error(at, reason);
        self.mend(at, error, repair)
    }

    pub fn reject(&mut self, at: &str, error: DataError) -> Unusable {
        self.place.field = format!("{}{at}", self.name);
        self.inspector.reject(self.path, &self.place, error)
    }

    pub fn mend(&mut self, at: &str, error: DataError, repair: &'static str) -> Result<(), Unusable> {
        self.place.field = format!("{}{at}", self.name);
        self.inspector.mend(self.path, &self.place, error, repair)
    }

    fn error(&self, at: &str, reason: String) -> DataError {
        let field = format!("{}{at}", self.name);
        DataError::Field { path: self.path.to_owned(), field, reason, position: None }
    }
}
