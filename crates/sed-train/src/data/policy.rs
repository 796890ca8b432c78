//! What happens to annotations and images that cannot be used as they are.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a problem of the data is met.
///
/// ```
/// use sed_train::data::PolicyMode;
///
/// assert_eq!("repair".parse(), Ok(PolicyMode::Repair));
/// assert_eq!(PolicyMode::default().name(), "strict");
/// assert_eq!(PolicyMode::ALL.map(PolicyMode::name), ["strict", "skip", "repair"]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyMode {
    /// The first problem is an error.
    #[default]
    Strict,
    /// The annotation or image is left out and counted.
    Skip,
    /// What has one plain meaning is put right and counted; the rest is left out as by [`PolicyMode::Skip`]:
    ///
    /// - a negative width or height: the corners are swapped;
    /// - a negative area: that of the box is taken;
    /// - a number written as text, a whole number written with a point, a truth value for `iscrowd`;
    /// - backslashes in a file name become slashes.
    Repair,
}

impl PolicyMode {
    /// All modes.
    pub const ALL: [Self; 3] = [Self::Strict, Self::Skip, Self::Repair];

    /// The name in settings and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Skip => "skip",
            Self::Repair => "repair",
        }
    }
}

impl FromStr for PolicyMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.name() == text)
            .ok_or_else(|| format!("{text:?} is none of strict, skip, repair"))
    }
}

/// How much of a list may be left out.
///
/// ```
/// use sed_train::data::SkipBound;
///
/// assert_eq!("20".parse(), Ok(SkipBound::Count(20)));
/// assert_eq!("1.5%".parse(), Ok(SkipBound::Percent(1.5)));
/// assert_eq!(SkipBound::Percent(1.5).to_string(), "1.5%");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "NumberOrText", into = "String")]
pub enum SkipBound {
    /// So many entries.
    Count(usize),
    /// So many percent of the entries, in `0..=100`.
    Percent(f64),
}

impl SkipBound {
    /// Whether `skipped` of `total` entries may be left out.
    ///
    /// ```
    /// use sed_train::data::SkipBound;
    ///
    /// assert!(SkipBound::Count(2).allows(2, 10) && !SkipBound::Count(2).allows(3, 10));
    /// assert!(SkipBound::Percent(20.0).allows(2, 10) && !SkipBound::Percent(20.0).allows(3, 10));
    /// ```
    pub fn allows(self, skipped: usize, total: usize) -> bool {
        match self {
            Self::Count(most) => skipped <= most,
            Self::Percent(percent) => skipped as f64 <= percent / 100. * total as f64,
        }
    }
}

impl fmt::Display for SkipBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(most) => write!(f, "{most}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for SkipBound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?}: want a count as 20, or a share as 1.5%");
        match text.strip_suffix('%') {
            None => text.parse().map(Self::Count).map_err(|_| wrong()),
            Some(share) => match share.trim().parse() {
                Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Self::Percent(percent)),
                _ => Err(wrong()),
            },
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(usize),
    Text(String),
}

impl TryFrom<NumberOrText> for SkipBound {
    type Error = String;

    fn try_from(value: NumberOrText) -> Result<Self, String> {
        match value {
            NumberOrText::Number(most) => Ok(Self::Count(most)),
            NumberOrText::Text(text) => text.parse(),
        }
    }
}

impl From<SkipBound> for String {
    fn from(bound: SkipBound) -> Self {
        bound.to_string()
    }
}

/// What is done about annotations and images that cannot be used.
///
/// Some things are refused whatever the mode: a file that is not JSON or XML, a wrong category (to
/// leave it out would number the others anew), a file without images, categories or boxes.
///
/// A box that leaves its image in part is no problem in any mode: its part in the image is the target.
///
/// ```
/// use sed_train::data::{CocoIndex, DataError, DataPolicy, PolicyMode, SkipBound};
///
/// # let dir = tempfile::tempdir()?;
/// # let file = dir.path().join("train.json");
/// std::fs::write(&file, r#"{
///     "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30}],
///     "categories": [{"id": 3, "name": "screw"}],
///     "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 10, 5, 5]},
///                     {"id": 2, "image_id": 7, "category_id": 3, "bbox": [10, 10, 0, 5]}]
/// }"#)?;
/// let index = CocoIndex::read(&file)?;
/// let objects = |policy| index.labels(&[7], policy).map(|labels| labels.annotations().len());
///
/// assert!(matches!(objects(DataPolicy::STRICT), Err(DataError::InvalidBox { annotation: 2, .. })));
/// assert_eq!(objects(DataPolicy::new(PolicyMode::Skip, SkipBound::Count(1)))?, 1);
/// let none = objects(DataPolicy::new(PolicyMode::Skip, SkipBound::Count(0)));
/// assert!(matches!(none, Err(DataError::TooManySkipped { skipped: 1, total: 2, .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataPolicy {
    /// How a problem is met.
    pub mode: PolicyMode,
    /// How many images of a file, and how many annotations of the images asked for, may be left out
    /// before the file is refused. Annotations of an image that is left out do not count.
    pub max_skipped: SkipBound,
}

impl DataPolicy {
    /// Every problem is an error.
    ///
    /// ```
    /// use sed_train::data::{DataPolicy, PolicyMode};
    ///
    /// assert_eq!(DataPolicy::STRICT.mode, PolicyMode::Strict);
    /// assert_eq!(DataPolicy::default(), DataPolicy::STRICT);
    /// ```
    pub const STRICT: Self = Self { mode: PolicyMode::Strict, max_skipped: SkipBound::Percent(1.0) };

    /// A mode with a bound.
    pub const fn new(mode: PolicyMode, max_skipped: SkipBound) -> Self {
        Self { mode, max_skipped }
    }
}

impl Default for DataPolicy {
    fn default() -> Self {
        Self::STRICT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_and_written() {
        for (text, bound) in [("20", SkipBound::Count(20)), ("1.5%", SkipBound::Percent(1.5))] {
            assert_eq!(text.parse(), Ok(bound));
            assert_eq!(bound.to_string(), text);
        }
        for text in ["", "-1", "1.5", "101%", "-1%", "NaN%", "some"] {
            assert!(text.parse::<SkipBound>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_table_of_settings_takes_numbers_and_shares() {
        let read = |text: &str| toml::from_str::<DataPolicy>(text);
        let repair = |max_skipped| DataPolicy { mode: PolicyMode::Repair, max_skipped };
        assert_eq!(read("mode = 'repair'\nmax_skipped = 3").unwrap(), repair(SkipBound::Count(3)));
        assert_eq!(read("mode = 'repair'\nmax_skipped = '3%'").unwrap(), repair(SkipBound::Percent(3.0)));
        assert_eq!(read("").unwrap(), DataPolicy::STRICT);
        assert!(read("mode = 'lenient'").is_err() && read("policy = 'skip'").is_err());
        let written = toml::to_string(&repair(SkipBound::Count(3))).unwrap();
        assert_eq!(read(&written).unwrap(), repair(SkipBound::Count(3)));
    }
}
