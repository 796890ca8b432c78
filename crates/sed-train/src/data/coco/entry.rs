use std::path::Path;

use crate::data::DataError;
use crate::data::problem::{Inspector, Place, Unit, Unusable};
use crate::data::records::{Node, Record};

/// One entry of a list of an annotation file, while it is read by the rules of a policy.
pub(super) struct Entry<'a> {
    path: &'a Path,
    list: &'a str,
    number: usize,
    record: &'a Record,
    pub inspector: &'a mut Inspector,
    pub place: Place,
}

impl<'a> Entry<'a> {
    pub fn new(
        path: &'a Path,
        list: &'a str,
        number: usize,
        record: &'a Record,
        inspector: &'a mut Inspector,
    ) -> Self {
        let unit = Some(if list == "annotations" { Unit::Annotation } else { Unit::Image });
        let place = Place { unit, ..Place::default() };
        Self { path, list, number, record, inspector, place }
    }

    /// The path of the field `at`, as `.bbox[2]`, in the file.
    fn field(&self, at: &str) -> String {
        format!("{}[{}]{at}", self.list, self.number)
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
        match node.unsigned() {
            Ok((value, None)) => Ok(value),
            Ok((value, Some(repair))) => {
                self.mended(&format!(".{field}"), node.not("u64"), repair)?;
                Ok(value)
            }
            Err(reason) => Err(self.wrong(&format!(".{field}"), reason)),
        }
    }

    /// The number at `at`, as `.bbox[2]`, of a node.
    pub fn float(&mut self, at: &str, node: &Node) -> Result<f64, Unusable> {
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
        self.place.field = self.field(at);
        self.inspector.reject(self.path, &self.place, error)
    }

    pub fn mend(&mut self, at: &str, error: DataError, repair: &'static str) -> Result<(), Unusable> {
        self.place.field = self.field(at);
        self.inspector.mend(self.path, &self.place, error, repair)
    }

    fn error(&self, at: &str, reason: String) -> DataError {
        DataError::Field { path: self.path.to_owned(), field: self.field(at), reason, position: None }
    }
}
