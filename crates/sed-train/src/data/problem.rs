//! What was found wrong with the data, and what was done about it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{DataError, DataPolicy, PolicyMode};

/// What is left out with a problem that is not repaired.
///
/// ```
/// use sed_train::data::{CocoIndex, DataPolicy, PolicyMode, SkipBound, Unit};
///
/// # let dir = tempfile::tempdir()?;
/// # let file = dir.path().join("train.json");
/// std::fs::write(&file, r#"{
///     "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30},
///                {"id": 8, "file_name": "b.png", "width": 40, "height": 0}],
///     "categories": [{"id": 3, "name": "screw"}]
/// }"#)?;
/// let skip = DataPolicy::new(PolicyMode::Skip, SkipBound::Count(1));
/// let index = CocoIndex::open(&file, None, skip)?;
/// assert_eq!(index.report().problems[0].unit, Unit::Image);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// One annotation.
    Annotation,
    /// An image with its annotations.
    Image,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Annotation => "annotation",
            Self::Image => "image",
        }
    }
}

/// One problem of the data.
///
/// ```
/// use sed_train::data::{CocoIndex, DataPolicy, PolicyMode, SkipBound};
///
/// # let dir = tempfile::tempdir()?;
/// # let file = dir.path().join("train.json");
/// std::fs::write(&file, r#"{
///     "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30}],
///     "categories": [{"id": 3, "name": "screw"}],
///     "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [15, 15, -5, -5]}]
/// }"#)?;
/// let repair = DataPolicy::new(PolicyMode::Repair, SkipBound::Count(0));
/// let labels = CocoIndex::read(&file)?.labels(&[7], repair)?;
/// let problem = &labels.report().problems[0];
/// assert_eq!((problem.image, problem.annotation), (Some(7), Some(1)));
/// assert_eq!(problem.field, "annotations[0].bbox");
/// assert_eq!(problem.action(PolicyMode::Skip), "skip the annotation");
/// assert_eq!(problem.action(PolicyMode::Repair), "swap the corners");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DataProblem {
    /// The annotation or image file.
    pub file: PathBuf,
    /// The image's id, if it is known.
    pub image: Option<u64>,
    /// The annotation's id, if there is one and it is known.
    pub annotation: Option<u64>,
    /// The path of the field in its file, as `annotations[3].bbox`; empty for an image file.
    pub field: String,
    /// What is wrong, in the words of the error by which [`PolicyMode::Strict`] refuses it.
    pub reason: String,
    /// What [`PolicyMode::Skip`] leaves out.
    pub unit: Unit,
    /// What [`PolicyMode::Repair`] does; `None` where it leaves out the same.
    pub repair: Option<&'static str>,
}

impl DataProblem {
    /// What a mode does about it.
    pub fn action(&self, mode: PolicyMode) -> String {
        match (mode, self.repair) {
            (PolicyMode::Strict, _) => "refuse".to_owned(),
            (PolicyMode::Repair, Some(repair)) => repair.to_owned(),
            _ => format!("skip the {}", self.unit.name()),
        }
    }
}

/// All problems of a file or folder that were met by skipping and repairing.
///
/// ```
/// use sed_train::data::DataReport;
///
/// let mut report = DataReport { images: 5, annotations: 20, ..DataReport::default() };
/// assert!(report.is_clean());
///
/// let other = DataReport { annotations: 10, skipped_annotations: 2, ..DataReport::default() };
/// report.extend(&other);
/// assert_eq!(report.num_problems(), 2);
/// assert_eq!(report.to_string(), "0 of 5 images and 2 of 30 annotations skipped, 0 repairs");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DataReport {
    /// Images that were looked at.
    pub images: usize,
    /// Annotations that were looked at.
    pub annotations: usize,
    /// Images left out.
    pub skipped_images: usize,
    /// Annotations left out.
    pub skipped_annotations: usize,
    /// Repairs.
    pub repairs: usize,
    /// The problems, in the order in which they were found; the first [`DataReport::MAX_LISTED`].
    pub problems: Vec<DataProblem>,
}

impl DataReport {
    /// Problems that are listed one by one; all are counted.
    ///
    /// ```
    /// use sed_train::data::DataReport;
    ///
    /// let report = DataReport { skipped_annotations: 1_000_000, ..DataReport::default() };
    /// // However bad the data is, the list stays short.
    /// assert!(report.num_problems() > DataReport::MAX_LISTED);
    /// ```
    pub const MAX_LISTED: usize = 10_000;

    /// Whether nothing was left out and nothing repaired.
    pub fn is_clean(&self) -> bool {
        self.num_problems() == 0
    }

    /// The number of problems.
    pub fn num_problems(&self) -> usize {
        self.skipped_images + self.skipped_annotations + self.repairs
    }

    /// Takes over what another report has.
    pub fn extend(&mut self, other: &Self) {
        self.images += other.images;
        self.annotations += other.annotations;
        self.skipped_images += other.skipped_images;
        self.skipped_annotations += other.skipped_annotations;
        self.repairs += other.repairs;
        let room = Self::MAX_LISTED.saturating_sub(self.problems.len());
        self.problems.extend(other.problems.iter().take(room).cloned());
    }
}

impl fmt::Display for DataReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { images, annotations, skipped_images, skipped_annotations, repairs, .. } = self;
        write!(
            f,
            "{skipped_images} of {images} images and {skipped_annotations} of {annotations} annotations skipped, \
             {repairs} repairs"
        )
    }
}

/// Where in the data a problem lies.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    pub unit: Option<Unit>,
    pub image: Option<u64>,
    pub annotation: Option<u64>,
    pub field: String,
}

/// Why an entry of the data is not taken.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// It is left out; that is in the report.
    Skipped,
    /// The policy refuses it.
    Refused(DataError),
}

/// The entry, `None` if it is left out, or the error by which it is refused.
pub(crate) fn taken<T>(result: Result<T, Unusable>) -> Result<Option<T>, DataError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Unusable::Skipped) => Ok(None),
        Err(Unusable::Refused(error)) => Err(error),
    }
}

/// Meets problems by a policy, and keeps the report.
#[derive(Debug)]
pub(crate) struct Inspector {
    policy: DataPolicy,
    pub report: DataReport,
}

impl Inspector {
    pub fn new(policy: DataPolicy) -> Self {
        Self { policy, report: DataReport::default() }
    }

    /// Whether what has a plain meaning is put right.
    pub fn repairs(&self) -> bool {
        self.policy.mode == PolicyMode::Repair
    }

    /// Meets a problem that nothing can be done about.
    pub fn reject(&mut self, file: &Path, place: &Place, error: DataError) -> Unusable {
        if self.policy.mode == PolicyMode::Strict {
            return Unusable::Refused(error);
        }
        match self.note(file, place, &error, None) {
            Unit::Annotation => self.report.skipped_annotations += 1,
            Unit::Image => self.report.skipped_images += 1,
        }
        Unusable::Skipped
    }

    /// Meets a problem that can be repaired as `repair` says; `Ok` if that is to be done.
    pub fn mend(
        &mut self,
        file: &Path,
        place: &Place,
        error: DataError,
        repair: &'static str,
    ) -> Result<(), Unusable> {
        if !self.repairs() {
            return Err(self.reject(file, place, error));
        }
        self.note(file, place, &error, Some(repair));
        self.report.repairs += 1;
        Ok(())
    }

    fn note(&mut self, file: &Path, place: &Place, error: &DataError, repair: Option<&'static str>) -> Unit {
        let unit = place.unit.unwrap_or(Unit::Image);
        if self.report.problems.len() < DataReport::MAX_LISTED {
            let text = error.to_string();
            let prefix = format!("{}: ", file.display());
            let reason = text.strip_prefix(&prefix).unwrap_or(&text);
            let reason = reason.strip_prefix(&format!("at {}: ", place.field)).unwrap_or(reason).to_owned();
            let Place { image, annotation, field, .. } = place.clone();
            let file = file.to_owned();
            self.report.problems.push(DataProblem { file, image, annotation, field, reason, unit, repair });
        }
        unit
    }

    /// The report, unless more was left out than the policy allows, or all images.
    pub fn finish(self, path: &Path) -> Result<DataReport, DataError> {
        let report = self.report;
        for (unit, skipped, total) in [
            (Unit::Image, report.skipped_images, report.images),
            (Unit::Annotation, report.skipped_annotations, report.annotations),
        ] {
            let none_left = unit == Unit::Image && skipped == total && total > 0;
            if none_left || !self.policy.max_skipped.allows(skipped, total) {
                let first = report.problems.iter().find(|p| p.unit == unit && p.repair.is_none());
                let first = first.map(|p| match p.field.is_empty() {
                    true => format!("{}: {}", p.file.display(), p.reason),
                    false => format!("{}: at {}: {}", p.file.display(), p.field, p.reason),
                });
                return Err(DataError::TooManySkipped {
                    path: path.to_owned(),
                    unit: unit.name(),
                    skipped,
                    total,
                    bound: self.policy.max_skipped,
                    first: first.unwrap_or_default(),
                });
            }
        }
        Ok(report)
    }
}
