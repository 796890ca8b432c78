use std::cell::RefCell;
use std::path::Path;

use roxmltree::{Document, Node};

use crate::data::problem::{Inspector, Place, Unit, Unusable};
use crate::data::{DataError, TextPosition};

/// An element of an annotation file, while it is read by the rules of a policy.
pub(super) struct Element<'a, 'b> {
    node: Node<'a, 'a>,
    file: &'a Path,
    place: Place,
    inspector: &'a RefCell<&'b mut Inspector>,
}

impl<'a, 'b> Element<'a, 'b> {
    pub fn root(
        document: &'a Document<'a>,
        file: &'a Path,
        place: Place,
        inspector: &'a RefCell<&'b mut Inspector>,
    ) -> Self {
        Self { node: document.root_element(), file, place, inspector }
    }

    pub fn name(&self) -> &'a str {
        self.node.tag_name().name()
    }

    pub fn file(&self) -> &'a Path {
        self.file
    }

    /// The id of the annotation that the element is part of.
    pub fn id(&self) -> Option<u64> {
        self.place.annotation
    }

    /// What is left out if something in the element is wrong.
    pub fn place(&mut self, unit: Unit, annotation: u64) {
        (self.place.unit, self.place.annotation) = (Some(unit), Some(annotation));
    }

    fn at(&self, node: Node<'a, 'a>, name: String) -> Self {
        let mut place = self.place.clone();
        place.field = if place.field.is_empty() { name } else { format!("{}/{name}", place.field) };
        Self { node, file: self.file, place, inspector: self.inspector }
    }

    /// All elements of this name right below, numbered from 1.
    pub fn children(&self, name: &str) -> Vec<Self> {
        let named = self.node.children().filter(|child| child.has_tag_name(name));
        named.zip(1..).map(|(child, number)| self.at(child, format!("{name}[{number}]"))).collect()
    }

    /// The element of this name right below, of which there may be one at most.
    pub fn optional(&self, name: &str) -> Result<Option<Self>, Unusable> {
        let mut named = self.node.children().filter(|child| child.has_tag_name(name));
        let Some(first) = named.next() else { return Ok(None) };
        match named.next() {
            Some(second) => Err(self.at(second, name.to_owned()).wrong("occurs more than once".to_owned())),
            None => Ok(Some(self.at(first, name.to_owned()))),
        }
    }

    /// The one element of this name right below.
    pub fn child(&self, name: &str) -> Result<Self, Unusable> {
        self.optional(name)?.ok_or_else(|| self.wrong(format!("missing element `{name}`")))
    }

    /// The text of the element; empty text is wrong.
    pub fn text(&self) -> Result<&'a str, Unusable> {
        match self.node.text().map(str::trim) {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(self.wrong("no text".to_owned())),
        }
    }

    /// The start of the text, for errors.
    pub fn short_text(&self) -> String {
        self.node.text().unwrap_or_default().trim().chars().take(60).collect()
    }

    /// The text of the element `name` right below, if there is one.
    pub fn class_name(&self) -> Option<String> {
        let name = self.node.children().find(|child| child.has_tag_name("name"))?;
        let text = name.text()?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    pub fn wrong(&self, reason: String) -> Unusable {
        self.reject(self.error(reason))
    }

    pub fn mended(&self, reason: String, repair: &'static str) -> Result<(), Unusable> {
        self.mend(self.error(reason), repair)
    }

    pub fn reject(&self, error: DataError) -> Unusable {
        self.inspector.borrow_mut().reject(self.file, &self.place, error)
    }

    pub fn mend(&self, error: DataError, repair: &'static str) -> Result<(), Unusable> {
        self.inspector.borrow_mut().mend(self.file, &self.place, error, repair)
    }

    fn error(&self, reason: String) -> DataError {
        let position = self.node.document().text_pos_at(self.node.range().start);
        let position = TextPosition { line: position.row as usize, column: position.col as usize };
        let field = if self.place.field.is_empty() { "." } else { &self.place.field };
        let field = field.to_owned();
        DataError::Field { path: self.file.to_owned(), field, reason, position: Some(position) }
    }
}
