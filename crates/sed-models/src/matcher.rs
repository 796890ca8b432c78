//! Assigning anchors to labeled objects.

use sed_core::{
    Targets,
    ops::boxes::{self, iou},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Background with more than this part of its area inside a crowd is ignored.
const CROWD_OVERLAP: f32 = 0.5;

/// What an anchor stands for.
///
/// ```
/// use sed_models::matcher::{Assignment, Matcher};
///
/// let objects = [[0.0, 0.0, 10.0, 10.0]];
/// let anchors = [[0.0, 0.0, 10.0, 9.0], [0.0, 0.0, 10.0, 4.5], [20.0, 0.0, 30.0, 10.0]];
/// // IoU of 0.9, 0.45 and 0.
/// assert_eq!(
///     Matcher::default().assign(&objects, &anchors),
///     [Assignment::Matched(0), Assignment::Ignored, Assignment::Background]
/// );
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignment {
    /// The object of this index.
    Matched(usize),
    /// No object.
    Background,
    /// Neither: the anchor takes no part in the loss.
    Ignored,
}

/// Assigns each anchor to the object it overlaps most, by two thresholds of IoU.
///
/// IoU ≥ `high`: matched. IoU < `low`: background. Between them: ignored. With
/// `allow_low_quality`, the anchors that overlap an object more than all other anchors do are
/// matched too, whatever their IoU, each to the object that it itself overlaps most
/// (torchvision's rule, except that an object which no anchor touches gets none, where torchvision
/// would match every anchor).
///
/// ```
/// use sed_models::matcher::{Assignment, Matcher};
///
/// // A small object in a large anchor: an IoU of 0.04.
/// let (objects, anchors) = ([[0.0, 0.0, 2.0, 2.0]], [[0.0, 0.0, 10.0, 10.0]]);
/// let matcher = Matcher { high: 0.7, low: 0.3, allow_low_quality: false };
/// assert_eq!(matcher.assign(&objects, &anchors), [Assignment::Background]);
/// let matcher = Matcher { allow_low_quality: true, ..matcher };
/// assert_eq!(matcher.assign(&objects, &anchors), [Assignment::Matched(0)]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Matcher {
    /// From this IoU on an anchor is matched.
    pub high: f32,
    /// Below this IoU an anchor is background.
    pub low: f32,
    /// Whether each object also gets its best anchors.
    pub allow_low_quality: bool,
}

/// What is wrong with a [`Matcher`].
///
/// ```
/// use sed_models::matcher::{Matcher, MatcherError};
///
/// let checked: Result<(), MatcherError> = Matcher { high: 0.3, low: 0.7, ..Default::default() }.validate();
/// assert_eq!(
///     checked.unwrap_err().to_string(),
///     "matcher: thresholds need 0 ≤ low ≤ high ≤ 1, not low 0.7 and high 0.3"
/// );
/// ```
#[derive(Debug, Error, PartialEq)]
#[error("matcher: thresholds need 0 ≤ low ≤ high ≤ 1, not low {low} and high {high}")]
pub struct MatcherError {
    low: f32,
    high: f32,
}

impl Default for Matcher {
    /// RetinaNet's: 0.4, 0.5, with low-quality matches.
    fn default() -> Self {
        Self { high: 0.5, low: 0.4, allow_low_quality: true }
    }
}

impl Matcher {
    /// Checks the thresholds.
    ///
    /// # Errors
    ///
    /// If they are out of order or outside `[0, 1]`.
    ///
    /// ```
    /// use sed_models::matcher::Matcher;
    ///
    /// assert!(Matcher::default().validate().is_ok());
    /// assert!(Matcher { high: 1.5, ..Default::default() }.validate().is_err());
    /// ```
    pub fn validate(&self) -> Result<(), MatcherError> {
        let Self { low, high, .. } = *self;
        if 0.0 <= low && low <= high && high <= 1.0 { Ok(()) } else { Err(MatcherError { low, high }) }
    }

    /// [`assign`](Self::assign), but background that lies mostly (more than half of its area) in a crowd
    /// region is ignored: objects there are not labeled one by one. (Our design.)
    ///
    /// ```
    /// use sed_core::Targets;
    /// use sed_models::matcher::{Assignment, Matcher};
    ///
    /// let targets = Targets { crowds: vec![[0.0, 0.0, 50.0, 50.0]], ..Targets::default() };
    /// // Inside the crowd, and a quarter of it inside.
    /// let anchors = [[10.0, 10.0, 20.0, 20.0], [45.0, 45.0, 55.0, 55.0]];
    /// let assignments = Matcher::default().assign_outside_crowds(&targets, &anchors);
    /// assert_eq!(assignments, [Assignment::Ignored, Assignment::Background]);
    /// ```
    pub fn assign_outside_crowds(&self, targets: &Targets, anchors: &[[f32; 4]]) -> Vec<Assignment> {
        let mut assignments = self.assign(&targets.boxes, anchors);
        if targets.crowds.is_empty() {
            return assignments;
        }
        for (assignment, anchor) in assignments.iter_mut().zip(anchors) {
            let inside = |crowd| boxes::intersection(anchor, crowd) > CROWD_OVERLAP * boxes::area(anchor);
            if *assignment == Assignment::Background && targets.crowds.iter().any(inside) {
                *assignment = Assignment::Ignored;
            }
        }
        assignments
    }

    /// One assignment for each anchor; of equally good objects the first counts.
    ///
    /// ```
    /// use sed_models::matcher::{Assignment, Matcher};
    ///
    /// let objects = [[0.0, 0.0, 10.0, 10.0], [8.0, 0.0, 18.0, 10.0]];
    /// let assignments = Matcher::default().assign(&objects, &[[7.0, 0.0, 17.0, 10.0]]);
    /// // It overlaps both, the second more.
    /// assert_eq!(assignments, [Assignment::Matched(1)]);
    /// ```
    pub fn assign(&self, objects: &[[f32; 4]], anchors: &[[f32; 4]]) -> Vec<Assignment> {
        let mut best: Vec<(f32, usize)> = vec![(0.0, 0); anchors.len()];
        let mut forced = Vec::new();
        let mut tied = Vec::new();
        for (g, object) in objects.iter().enumerate() {
            let mut highest = 0.0;
            tied.clear();
            for (a, anchor) in anchors.iter().enumerate() {
                let overlap = iou(object, anchor);
                if overlap > best[a].0 {
                    best[a] = (overlap, g);
                }
                if overlap > highest {
                    highest = overlap;
                    tied.clear();
                }
                if overlap == highest && highest > 0.0 {
                    tied.push(a);
                }
            }
            if self.allow_low_quality {
                forced.append(&mut tied);
            }
        }
        let mut assignments: Vec<Assignment> = best
            .iter()
            .map(|&(overlap, g)| match overlap {
                v if v >= self.high && v > 0.0 => Assignment::Matched(g),
                v if v < self.low || v == 0.0 => Assignment::Background,
                _ => Assignment::Ignored,
            })
            .collect();
        for a in forced {
            assignments[a] = Assignment::Matched(best[a].1);
        }
        assignments
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Assignment::{Background, Ignored, Matched};

    /// 10 high, from `x1` to `x2`.
    fn strip(x1: f32, x2: f32) -> [f32; 4] {
        [x1, 0.0, x2, 10.0]
    }

    #[test]
    fn thresholds_split_matched_ignored_background() {
        let object = [strip(0., 100.)];
        // IoU .5, .49, .4, .39, 0.
        let anchors = [strip(0., 50.), strip(0., 49.), strip(0., 40.), strip(0., 39.), strip(200., 300.)];
        let matcher = Matcher { allow_low_quality: false, ..Matcher::default() };
        assert_eq!(matcher.assign(&object, &anchors), [Matched(0), Ignored, Ignored, Background, Background]);
    }

    #[test]
    fn the_best_anchors_of_an_object_are_matched_at_any_iou() {
        let objects = [strip(0., 100.), strip(200., 300.), strip(500., 600.)];
        // Anchors 0 and 1 tie for object 0 at IoU .2; anchor 2 is the best of object 1 at .3;
        // no anchor touches object 2.
        let anchors = [strip(0., 20.), strip(80., 100.), strip(200., 230.), strip(0., 10.)];
        assert_eq!(
            Matcher::default().assign(&objects, &anchors),
            [Matched(0), Matched(0), Matched(1), Background]
        );
        let strict = Matcher { allow_low_quality: false, ..Matcher::default() };
        assert_eq!(strict.assign(&objects, &anchors), [Background; 4]);
    }

    #[test]
    fn a_forced_anchor_keeps_the_object_it_overlaps_most() {
        // The one anchor is the best of both objects, and overlaps the second more.
        let objects = [strip(0., 30.), strip(20., 100.)];
        assert_eq!(Matcher::default().assign(&objects, &[strip(10., 90.)]), [Matched(1)]);
    }

    #[test]
    fn of_equal_objects_the_first_counts() {
        assert_eq!(Matcher::default().assign(&[strip(0., 9.); 2], &[strip(0., 9.)]), [Matched(0)]);
    }

    #[test]
    fn without_objects_all_is_background() {
        assert_eq!(Matcher::default().assign(&[], &[strip(0., 9.); 3]), [Background; 3]);
        // Also when the thresholds would call an IoU of 0 a match.
        let open = Matcher { high: 0.0, low: 0.0, allow_low_quality: false };
        assert_eq!(open.assign(&[], &[strip(0., 9.)]), [Background]);
    }

    #[test]
    fn thresholds_out_of_order_are_refused() {
        assert!(Matcher::default().validate().is_ok());
        assert!(Matcher { low: 0.6, ..Matcher::default() }.validate().is_err());
        assert!(Matcher { high: f32::NAN, ..Matcher::default() }.validate().is_err());
    }
}
