use std::collections::HashMap;
use std::path::PathBuf;

use serde::Serialize;

use super::part::Scanned;

/// Images that a part shares with the validation.
///
/// ```
/// use sed_train::data::check::{self, Parts, Source};
///
/// # let dir = tempfile::tempdir()?;
/// # let (val, more) = (dir.path().join("val"), dir.path().join("more"));
/// # for folder in [&val, &more] {
/// #     std::fs::create_dir(folder)?;
/// #     image::RgbImage::new(4, 3).save(folder.join("a.png"))?;
/// # }
/// # std::fs::copy(val.join("a.png"), more.join("copy.png"))?;
/// # image::RgbImage::new(5, 5).save(more.join("a.png"))?;
/// // `more` has a copy of the validation image under another name, and another image under its name.
/// let parts = Parts {
///     unlabeled: vec![Source::Unlabeled(&more)],
///     validation: Some(Source::Unlabeled(&val)),
///     ..Parts::default()
/// };
/// let overlap = &check::check(&parts, &|_, _| ()).overlaps[0];
/// assert_eq!((overlap.same_content, overlap.same_name), (1, 1));
/// assert_eq!(overlap.pairs, [(more.join("copy.png"), val.join("a.png"))]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overlap {
    /// The part's name.
    pub part: &'static str,
    /// The part's annotation file or folder.
    pub path: PathBuf,
    /// Files that are equal byte by byte: what is trained on is then validated on.
    pub same_content: usize,
    /// The first pairs of these, the validation's file second.
    pub pairs: Vec<(PathBuf, PathBuf)>,
    /// Names that occur in both, of files that differ.
    pub same_name: usize,
}

impl Overlap {
    /// Pairs that are listed one by one; all are counted.
    ///
    /// ```
    /// use sed_train::data::check::{self, Overlap, Parts, Source};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # for number in 0..30 {
    /// #     image::RgbImage::new(2, 2).save(dir.path().join(format!("{number}.png")))?;
    /// # }
    /// let all = Source::Unlabeled(dir.path()); // 30 images, given twice
    /// let parts = Parts { unlabeled: vec![all], validation: Some(all), ..Parts::default() };
    /// let overlap = &check::check(&parts, &|_, _| ()).overlaps[0];
    /// assert_eq!((overlap.same_content, overlap.pairs.len()), (30, Overlap::MAX_PAIRS));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const MAX_PAIRS: usize = 20;

    /// `None` if the parts share neither content nor a name.
    pub(super) fn between(part: &Scanned, validation: &Scanned) -> Option<Self> {
        let contents: HashMap<_, _> = validation.files.iter().map(|file| (file.sha256, file)).collect();
        let names: HashMap<_, _> = validation.files.iter().map(|file| (file.key.as_str(), file)).collect();
        let mut overlap = Self {
            part: part.part.name,
            path: part.part.path.clone(),
            same_content: 0,
            pairs: Vec::new(),
            same_name: 0,
        };
        for file in &part.files {
            if let Some(same) = contents.get(&file.sha256) {
                overlap.same_content += 1;
                if overlap.pairs.len() < Self::MAX_PAIRS {
                    overlap.pairs.push((file.path.clone(), same.path.clone()));
                }
            } else if names.contains_key(file.key.as_str()) {
                overlap.same_name += 1;
            }
        }
        (overlap.same_content + overlap.same_name > 0).then_some(overlap)
    }
}
