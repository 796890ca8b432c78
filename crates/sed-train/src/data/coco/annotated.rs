//! Which images have annotations at all.

use std::collections::BTreeSet;

use super::{CocoIndex, Source};
use crate::data::json::{self, ListOf};
use crate::data::records::Node;
use crate::data::{DataError, voc};

const LISTS: [ListOf; 1] = [ListOf { name: "annotations", fields: &["image_id", "iscrowd"] }];

impl CocoIndex {
    /// The images that have at least one annotation, ascending. In a file that is labeled in part, an image without any may be
    /// one that nobody has looked at, and not one without objects. Nothing of the annotations but their image is kept.
    ///
    /// An annotation counts whatever its box is. Annotations of no listed image are passed over; [`CocoIndex::labels`] has an opinion on
    /// them.
    ///
    /// # Errors
    ///
    /// A file that is missing or malformed.
    ///
    /// ```
    /// use sed_train::data::CocoIndex;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let file = dir.path().join("train.json");
    /// std::fs::write(&file, r#"{
    ///     "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30},
    ///                {"id": 8, "file_name": "b.png", "width": 40, "height": 30}],
    ///     "categories": [{"id": 3, "name": "screw"}],
    ///     "annotations": [{"id": 1, "image_id": 8, "category_id": 3, "bbox": [10, 10, 5, 5]}]
    /// }"#)?;
    /// let index = CocoIndex::read(&file)?;
    /// assert_eq!(index.image_ids(), [7, 8]);
    /// assert_eq!(index.annotated_images()?, [8]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn annotated_images(&self) -> Result<Vec<u64>, DataError> {
        self.images_with(|_| true)
    }

    /// The images that have at least one object outside of crowd regions, ascending; see [`CocoIndex::annotated_images`].
    ///
    /// # Errors
    ///
    /// A file that is missing or malformed.
    pub(in crate::data) fn images_with_objects(&self) -> Result<Vec<u64>, DataError> {
        self.images_with(|crowd| !crowd)
    }

    fn images_with(&self, counts: impl Fn(bool) -> bool) -> Result<Vec<u64>, DataError> {
        let mut ids = BTreeSet::new();
        match &self.source {
            Source::Json => {
                json::read_lists(&self.path, &LISTS, &mut |_, _, record| {
                    let crowd = matches!(record.get("iscrowd"), Some(Node::Unsigned(1) | Node::Bool(true)));
                    let id = record.get("image_id").and_then(|node| node.unsigned().ok());
                    if let Some((id, _)) = id
                        && counts(crowd)
                        && self.image(id).is_some()
                    {
                        ids.insert(id);
                    }
                    Ok(())
                })?;
            }
            Source::Voc(files) => {
                let found = voc::images_with(self, files, counts)?;
                ids.extend(found);
            }
        }
        Ok(ids.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::DataPolicy;

    #[test]
    fn images_without_annotations_are_told_from_those_with() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.json");
        let images: Vec<String> = (1..=5)
            .map(|id| format!(r#"{{"id": {id}, "file_name": "{id}.png", "width": 4, "height": 4}}"#))
            .collect();
        // A good box, a crowd, a box without a size beside a good one, an image that is not listed; 4 has nothing.
        let annotations = r#"{"id": 1, "image_id": 5, "category_id": 1, "bbox": [0, 0, 2, 2]},
            {"id": 2, "image_id": 2, "category_id": 1, "bbox": [0, 0, 2, 2], "iscrowd": 1},
            {"id": 3, "image_id": 1, "category_id": 1, "bbox": [0, 0, 0, 2]},
            {"id": 4, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 2]},
            {"id": 5, "image_id": 9, "category_id": 1, "bbox": [0, 0, 1, 2]}"#;
        let text = format!(
            r#"{{"images": [{}], "categories": [{{"id": 1, "name": "a"}}], "annotations": [{annotations}]}}"#,
            images.join(", ")
        );
        fs::write(&file, text).unwrap();
        let index = CocoIndex::read(&file).unwrap();
        assert_eq!(index.annotated_images().unwrap(), [1, 2, 5]);
        assert_eq!(index.images_with_objects().unwrap(), [1, 5]);
    }

    #[test]
    fn voc_files_without_objects_are_told_from_those_with() {
        let dir = tempfile::tempdir().unwrap();
        let object = |difficult: u8| {
            let bndbox = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax></bndbox>";
            format!("<object><name>cat</name><difficult>{difficult}</difficult>{bndbox}</object>")
        };
        for (name, objects) in [("a", object(0)), ("b", String::new()), ("c", object(1))] {
            let size = "<size><width>4</width><height>4</height></size>";
            let text = format!("<annotation><filename>{name}.png</filename>{size}{objects}</annotation>");
            fs::write(dir.path().join(format!("{name}.xml")), text).unwrap();
        }
        let index = CocoIndex::open(dir.path(), None, DataPolicy::STRICT).unwrap();
        assert_eq!(index.annotated_images().unwrap(), [1, 3]);
        assert_eq!(index.images_with_objects().unwrap(), [1]);
    }
}
