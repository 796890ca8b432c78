//! A teacher's detections as targets for the student: hard pseudo-labels.

use serde::{Deserialize, Serialize};

use crate::error::InvalidOption;
use crate::structures::{Detections, Targets};

/// Objects narrower or lower than this, in pixels, are no targets.
const LEAST_SIDE: f32 = 1.0;

/// How detections become targets, and what is learned from them.
///
/// The teacher's detections on the weak view, after non-maximum suppression, are true objects where their score reaches the
/// threshold; all else is background. The student learns them by its supervised losses.
///
/// ```
/// use sed_core::{Detections, pseudo_labels::PseudoLabels};
///
/// let found = Detections {
///     boxes: vec![[0.0, 0.0, 8.0, 8.0]; 3],
///     scores: vec![0.95, 0.8, 0.6],
///     labels: vec![0, 1, 2],
/// };
/// let kept = |rule: PseudoLabels| rule.targets(&found).labels;
/// assert_eq!(kept(PseudoLabels::stac()), [0]);
/// assert_eq!(kept(PseudoLabels::unbiased_teacher()), [0, 1]);
/// assert_eq!(kept(PseudoLabels { threshold: 0.5, ..Default::default() }), [0, 1, 2]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PseudoLabels {
    /// The weight of the loss in the total.
    pub weight: f64,
    /// The least score of a pseudo-label, in `[0, 1]`.
    pub threshold: f32,
    /// Whether the boxes are learned too, or the classes alone.
    pub learn_boxes: bool,
}

impl Default for PseudoLabels {
    fn default() -> Self {
        Self::unbiased_teacher()
    }
}

impl PseudoLabels {
    /// Weight 4, threshold 0.7, classes alone. (Liu et al., *Unbiased Teacher for Semi-Supervised Object Detection*,
    /// ICLR 2021.)
    ///
    /// ```
    /// use sed_core::pseudo_labels::PseudoLabels;
    ///
    /// assert_eq!(PseudoLabels::unbiased_teacher(), PseudoLabels::default());
    /// ```
    pub fn unbiased_teacher() -> Self {
        Self { weight: 4.0, threshold: 0.7, learn_boxes: false }
    }

    /// Weight 2, threshold 0.9, classes and boxes. (Sohn et al., *A Simple Semi-Supervised Learning Framework for Object
    /// Detection*, 2020; its teacher is a fixed one.)
    ///
    /// ```
    /// use sed_core::pseudo_labels::PseudoLabels;
    ///
    /// let stac = PseudoLabels::stac();
    /// assert_eq!(stac, PseudoLabels { weight: 2.0, threshold: 0.9, learn_boxes: true });
    /// ```
    pub fn stac() -> Self {
        Self { weight: 2.0, threshold: 0.9, learn_boxes: true }
    }

    /// Weight 2, threshold 0.5, classes alone, for pseudo-labels that the full and the half-size view share. (Li et al.,
    /// *PseCo: Pseudo Labeling and Consistency Training for Semi-Supervised Object Detection*, ECCV 2022, whose
    /// assignment by predictions and whose vote on boxes are left out.)
    ///
    /// ```
    /// use sed_core::pseudo_labels::PseudoLabels;
    ///
    /// let pseco = PseudoLabels::pseco();
    /// assert_eq!(pseco, PseudoLabels { weight: 2.0, threshold: 0.5, learn_boxes: false });
    /// ```
    pub fn pseco() -> Self {
        Self { weight: 2.0, threshold: 0.5, learn_boxes: false }
    }

    /// Checks the options.
    ///
    /// # Errors
    ///
    /// If the weight is negative or the threshold outside `[0, 1]`.
    ///
    /// ```
    /// use sed_core::pseudo_labels::PseudoLabels;
    ///
    /// assert!(PseudoLabels::stac().validate().is_ok());
    /// let in_percent = PseudoLabels { threshold: 90.0, ..PseudoLabels::stac() };
    /// assert_eq!(in_percent.validate().unwrap_err().option, "threshold");
    /// ```
    pub fn validate(&self) -> Result<(), InvalidOption> {
        InvalidOption::unless_non_negative("weight", self.weight)?;
        InvalidOption::unless_fraction("threshold", self.threshold.into())
    }

    /// The targets that detections in one image give.
    ///
    /// ```
    /// use sed_core::{Detections, pseudo_labels::PseudoLabels};
    ///
    /// let found = Detections {
    ///     boxes: vec![[0.0, 0.0, 8.0, 8.0], [2.0, 2.0, 4.0, 4.0]],
    ///     scores: vec![0.9, 0.3],
    ///     labels: vec![2, 0],
    /// };
    /// let targets = PseudoLabels::unbiased_teacher().targets(&found);
    /// assert_eq!((targets.boxes, targets.labels), (vec![[0.0, 0.0, 8.0, 8.0]], vec![2]));
    /// ```
    pub fn targets(&self, found: &Detections) -> Targets {
        let kept =
            (0..found.len()).filter(|&i| found.scores[i] >= self.threshold && is_object(&found.boxes[i]));
        let (boxes, labels) = kept.map(|i| (found.boxes[i], found.labels[i])).unzip();
        Targets { boxes, labels, crowds: Vec::new() }
    }
}

/// The same targets on the half-size view; those of which less than a pixel is left are dropped.
///
/// ```
/// use sed_core::{Targets, pseudo_labels::halved};
///
/// let boxes = vec![[0.0, 4.0, 8.0, 8.0], [0.0, 0.0, 1.5, 9.0]];
/// let half = halved(&Targets { boxes, labels: vec![2, 0], crowds: Vec::new() });
/// // The second would be 0.75 pixels wide.
/// assert_eq!((half.boxes, half.labels), (vec![[0.0, 2.0, 4.0, 4.0]], vec![2]));
/// ```
pub fn halved(targets: &Targets) -> Targets {
    let half = |b: &[f32; 4]| b.map(|side| side / 2.0);
    let pairs = targets.boxes.iter().map(half).zip(targets.labels.iter().copied());
    let (boxes, labels) = pairs.filter(|(b, _)| is_object(b)).unzip();
    Targets { boxes, labels, crowds: targets.crowds.iter().map(half).collect() }
}

fn is_object(b: &[f32; 4]) -> bool {
    b[2] - b[0] >= LEAST_SIDE && b[3] - b[1] >= LEAST_SIDE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Detections {
        Detections {
            boxes: vec![
                [0.0, 0.0, 8.0, 6.0],
                [1.0, 1.0, 2.5, 9.0],
                [3.0, 3.0, 3.5, 9.0],
                [0.0, 0.0, 4.0, 4.0],
            ],
            scores: vec![0.95, 0.7, 0.9, 0.69],
            labels: vec![1, 0, 2, 1],
        }
    }

    #[test]
    fn scores_at_the_threshold_count_and_slivers_do_not() {
        let targets = PseudoLabels::unbiased_teacher().targets(&found());
        assert_eq!(targets.labels, [1, 0]);
        assert_eq!(PseudoLabels::stac().targets(&found()).labels, [1]);
        assert_eq!(PseudoLabels::pseco().targets(&found()).labels, [1, 0, 1]);
    }

    #[test]
    fn the_half_view_shows_the_same_objects_at_half_size() {
        let half = halved(&PseudoLabels::unbiased_teacher().targets(&found()));
        // The second would be 0.75 pixels wide.
        assert_eq!((half.boxes, half.labels), (vec![[0.0, 0.0, 4.0, 3.0]], vec![1]));
    }

    #[test]
    fn options_are_checked_and_named() {
        let base = PseudoLabels::default();
        assert!(base.validate().is_ok());
        assert_eq!(PseudoLabels { weight: -1.0, ..base }.validate().unwrap_err().option, "weight");
        assert_eq!(PseudoLabels { threshold: 1.5, ..base }.validate().unwrap_err().option, "threshold");
    }
}
