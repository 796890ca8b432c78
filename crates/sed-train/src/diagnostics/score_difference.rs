use sed_core::{
    Targets,
    ops::boxes::{area, intersection, iou},
};
use serde::Serialize;

use super::bins::Bins;

/// From this IoU with an object on an anchor is foreground.
///
/// ```
/// use sed_core::Targets;
/// use sed_train::diagnostics::{AnchorKind, FOREGROUND_IOU, anchor_kinds};
///
/// let objects = Targets { boxes: vec![[0., 0., 10., 10.]], labels: vec![0], crowds: vec![] };
/// let anchor = [0., 0., 10., 10. * FOREGROUND_IOU]; // half of the object
/// assert_eq!(anchor_kinds(&[anchor], &objects), [AnchorKind::Foreground]);
/// ```
pub const FOREGROUND_IOU: f32 = 0.5;

/// Below this IoU with every object an anchor is background.
///
/// ```
/// use sed_core::Targets;
/// use sed_train::diagnostics::{AnchorKind, BACKGROUND_IOU, anchor_kinds};
///
/// let objects = Targets { boxes: vec![[0., 0., 10., 10.]], labels: vec![0], crowds: vec![] };
/// let anchor = |iou: f32| [0., 0., 10., 10. * iou];
/// let kinds = anchor_kinds(&[anchor(BACKGROUND_IOU - 0.01), anchor(BACKGROUND_IOU + 0.01)], &objects);
/// assert_eq!(kinds, [AnchorKind::Background, AnchorKind::Neither]);
/// ```
pub const BACKGROUND_IOU: f32 = 0.4;

/// Background with more than this part of its area inside a crowd region is neither: objects there are not labeled one
/// by one.
const CROWD_OVERLAP: f32 = 0.5;

/// What an anchor stands for, by its IoU with the true objects alone.
///
/// ```
/// use sed_core::Targets;
/// use sed_train::diagnostics::{AnchorKind, anchor_kinds};
///
/// let objects =
///     Targets { boxes: vec![[0., 0., 10., 10.]], labels: vec![0], crowds: vec![[20., 0., 40., 20.]] };
/// let on_object = [0., 0., 10., 9.];
/// let in_crowd = [20., 0., 30., 10.];
/// let elsewhere = [0., 20., 10., 30.];
/// assert_eq!(
///     anchor_kinds(&[on_object, in_crowd, elsewhere], &objects),
///     [AnchorKind::Foreground, AnchorKind::Neither, AnchorKind::Background]
/// );
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnchorKind {
    /// An IoU of at least [`FOREGROUND_IOU`] with some object.
    Foreground,
    /// An IoU below [`BACKGROUND_IOU`] with every object.
    Background,
    /// Between the two, or background in a crowd region.
    Neither,
}

/// The kind of each anchor; `anchors` and `objects` are in pixels of the same image, `[x1, y1, x2, y2]`.
///
/// RetinaNet's thresholds. Unlike a matcher for training this gives no object its best anchor below the threshold, so
/// that foreground means the same for every detector (our design).
///
/// ```
/// use sed_core::Targets;
/// use sed_train::diagnostics::{AnchorKind, anchor_kinds};
///
/// // In an image without objects every anchor is background.
/// let kinds = anchor_kinds(&[[0., 0., 10., 10.], [10., 0., 20., 10.]], &Targets::default());
/// assert_eq!(kinds, [AnchorKind::Background; 2]);
/// ```
pub fn anchor_kinds(anchors: &[[f32; 4]], objects: &Targets) -> Vec<AnchorKind> {
    let kind = |anchor: &[f32; 4]| {
        let best = objects.boxes.iter().map(|object| iou(object, anchor)).fold(0.0, f32::max);
        let in_crowd = |crowd: &[f32; 4]| intersection(anchor, crowd) > CROWD_OVERLAP * area(anchor);
        if best >= FOREGROUND_IOU {
            AnchorKind::Foreground
        } else if best < BACKGROUND_IOU && !objects.crowds.iter().any(in_crowd) {
            AnchorKind::Background
        } else {
            AnchorKind::Neither
        }
    };
    anchors.iter().map(kind).collect()
}

/// Counts anchors by how much their score differs between an image and its half-size view.
///
/// For anchor `i` with foreground scores `p_i` on the image and `p̂_i` on the half-size view the difference is
/// `|p_i − p̂_i|` in `[0, 1]`. The range is cut into bins of equal width; a difference on a bound counts in the bin
/// above, 1 in the last. Images are [added](Self::add) one by one.
///
/// Source: Fig. 1b of the paper. Its claim is that the share of foreground rises with the difference.
///
/// ```
/// use sed_core::Targets;
/// use sed_train::diagnostics::ScoreDifferences;
///
/// let objects = Targets { boxes: vec![[0., 0., 10., 10.]], labels: vec![0], crowds: vec![] };
/// let anchors = [[0., 0., 10., 10.], [20., 0., 30., 10.], [40., 0., 50., 10.]];
/// let mut differences = ScoreDifferences::new(2);
/// // The object's anchor changes most between the image and its half-size view.
/// differences.add(&anchors, &[0.9, 0.1, 0.2], &[0.1, 0.1, 0.1], &objects);
/// let bins = differences.summary().bins;
/// assert_eq!((bins[0].foreground, bins[0].background), (0, 2));
/// assert_eq!((bins[1].foreground, bins[1].background), (1, 0));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreDifferences {
    bins: Bins,
    all: Tally,
    foreground: Tally,
    background: Tally,
}

/// Anchors of one kind.
#[derive(Debug, Clone, PartialEq)]
struct Tally {
    counts: Vec<u64>,
    /// The sum of the differences.
    sum: f64,
}

impl Tally {
    fn add(&mut self, bin: usize, difference: f64) {
        self.counts[bin] += 1;
        self.sum += difference;
    }

    fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn mean(&self) -> Option<f64> {
        let total = self.total();
        (total > 0).then(|| self.sum / total as f64)
    }
}

/// The anchors whose score difference lies in one interval.
///
/// ```
/// use sed_train::diagnostics::ScoreDifferences;
///
/// let bins = ScoreDifferences::new(4).summary().bins;
/// assert_eq!((bins[1].from, bins[1].to), (0.25, 0.5));
/// assert_eq!((bins[1].all, bins[1].ratio), (0, None));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ScoreDifferenceBin {
    /// The lower bound, which belongs to the bin.
    pub from: f64,
    /// The upper bound, which belongs to the next bin.
    pub to: f64,
    /// All anchors.
    pub all: u64,
    /// Foreground anchors.
    pub foreground: u64,
    /// Background anchors.
    pub background: u64,
    /// Foreground over background; `None` without background.
    pub ratio: Option<f64>,
}

/// What [`ScoreDifferences`] counted.
///
/// ```
/// use sed_core::Targets;
/// use sed_train::diagnostics::ScoreDifferences;
///
/// let objects = Targets { boxes: vec![[0., 0., 10., 10.]], labels: vec![0], crowds: vec![] };
/// let mut differences = ScoreDifferences::new(10);
/// differences.add(&[[0., 0., 10., 10.], [20., 0., 30., 10.]], &[0.75, 0.25], &[0.25, 0.25], &objects);
/// let summary = differences.summary();
/// assert_eq!((summary.all, summary.ratio), (2, Some(1.0)));
/// assert_eq!((summary.mean_foreground, summary.mean_background), (Some(0.5), Some(0.0)));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoreDifferenceSummary {
    /// All anchors, of all images.
    pub all: u64,
    /// Foreground anchors.
    pub foreground: u64,
    /// Background anchors.
    pub background: u64,
    /// Foreground over background of all anchors; `None` without background.
    pub ratio: Option<f64>,
    /// The mean difference of all anchors; `None` without any.
    pub mean: Option<f64>,
    /// The mean difference of foreground anchors.
    pub mean_foreground: Option<f64>,
    /// The mean difference of background anchors.
    pub mean_background: Option<f64>,
    /// The anchors by their difference, from 0 to 1.
    pub bins: Vec<ScoreDifferenceBin>,
}

impl ScoreDifferences {
    /// No anchors yet, in `bins` bins.
    ///
    /// # Panics
    ///
    /// If there is no bin.
    pub fn new(bins: usize) -> Self {
        let none = Tally { counts: vec![0; bins], sum: 0.0 };
        Self {
            bins: Bins::new(0.0, 1.0, bins),
            all: none.clone(),
            foreground: none.clone(),
            background: none,
        }
    }

    /// Adds the anchors of one image: their boxes `[x1, y1, x2, y2]` and the image's `objects` in pixels of the image
    /// that the detector saw, and their foreground scores on the `full` image and on the `half`-size view.
    ///
    /// # Panics
    ///
    /// If the three lists differ in length, or a score lies outside `[0, 1]`.
    pub fn add(&mut self, anchors: &[[f32; 4]], full: &[f32], half: &[f32], objects: &Targets) {
        assert!(
            anchors.len() == full.len() && anchors.len() == half.len(),
            "ScoreDifferences: {} anchors, {} and {} scores",
            anchors.len(),
            full.len(),
            half.len()
        );
        let kinds = anchor_kinds(anchors, objects);
        for (kind, (&p, &q)) in kinds.into_iter().zip(full.iter().zip(half)) {
            let valid = |score: f32| (0.0..=1.0).contains(&score);
            assert!(valid(p) && valid(q), "ScoreDifferences: scores {p} and {q}");
            let difference = f64::from((p - q).abs());
            // Differences of two numbers in [0, 1] lie in the bins.
            let Some(bin) = self.bins.index(difference) else { continue };
            self.all.add(bin, difference);
            match kind {
                AnchorKind::Foreground => self.foreground.add(bin, difference),
                AnchorKind::Background => self.background.add(bin, difference),
                AnchorKind::Neither => {}
            }
        }
    }

    /// The counts and ratios of all images so far.
    pub fn summary(&self) -> ScoreDifferenceSummary {
        let edges = self.bins.edges();
        let bin = |i: usize| {
            let (foreground, background) = (self.foreground.counts[i], self.background.counts[i]);
            ScoreDifferenceBin {
                from: edges[i],
                to: edges[i + 1],
                all: self.all.counts[i],
                foreground,
                background,
                ratio: ratio(foreground, background),
            }
        };
        let (foreground, background) = (self.foreground.total(), self.background.total());
        ScoreDifferenceSummary {
            all: self.all.total(),
            foreground,
            background,
            ratio: ratio(foreground, background),
            mean: self.all.mean(),
            mean_foreground: self.foreground.mean(),
            mean_background: self.background.mean(),
            bins: (0..self.bins.len()).map(bin).collect(),
        }
    }
}

fn ratio(foreground: u64, background: u64) -> Option<f64> {
    (background > 0).then(|| foreground as f64 / background as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use AnchorKind::{Background, Foreground, Neither};

    /// 10 high, from `x1` to `x2`.
    fn strip(x1: f32, x2: f32) -> [f32; 4] {
        [x1, 0.0, x2, 10.0]
    }

    fn objects(boxes: &[[f32; 4]], crowds: &[[f32; 4]]) -> Targets {
        Targets { boxes: boxes.to_vec(), labels: vec![0; boxes.len()], crowds: crowds.to_vec() }
    }

    #[test]
    fn thresholds_split_the_anchors() {
        let object = objects(&[strip(0., 100.)], &[]);
        // IoU .5, .49, .4, .39, 0.
        let anchors = [strip(0., 50.), strip(0., 49.), strip(0., 40.), strip(0., 39.), strip(200., 300.)];
        assert_eq!(anchor_kinds(&anchors, &object), [Foreground, Neither, Neither, Background, Background]);
        assert_eq!(anchor_kinds(&anchors, &Targets::default()), [Background; 5]);
    }

    #[test]
    fn background_in_a_crowd_is_left_out_and_foreground_is_not() {
        let scene = objects(&[strip(0., 100.)], &[strip(0., 220.)]);
        // Of the second 30 of 60 lie in the crowd, of the third 20 of 60.
        let anchors = [strip(0., 90.), strip(190., 250.), strip(200., 260.), strip(150., 200.)];
        assert_eq!(anchor_kinds(&anchors, &scene), [Foreground, Background, Background, Neither]);
    }

    #[test]
    fn anchors_are_counted_by_difference_and_kind() {
        let object = objects(&[strip(0., 100.)], &[]);
        let anchors = [strip(0., 100.), strip(0., 45.), strip(300., 400.), strip(300., 400.)];
        let mut differences = ScoreDifferences::new(4);
        // Differences 0.75, 0.5, 0.25, 0: foreground, neither, background, background.
        differences.add(&anchors, &[1.0, 0.0, 0.5, 0.5], &[0.25, 0.5, 0.25, 0.5], &object);
        // A second image, without objects: differences 1, 0, 0.125, 0.
        differences.add(&anchors, &[0.0, 0.5, 0.125, 1.0], &[1.0, 0.5, 0.0, 1.0], &Targets::default());
        let summary = differences.summary();
        let bin = |i: usize| {
            let bin = summary.bins[i];
            (bin.from, bin.to, bin.all, bin.foreground, bin.background, bin.ratio)
        };
        assert_eq!(bin(0), (0.0, 0.25, 4, 0, 4, Some(0.0)));
        assert_eq!(bin(1), (0.25, 0.5, 1, 0, 1, Some(0.0)));
        assert_eq!(bin(2), (0.5, 0.75, 1, 0, 0, None));
        assert_eq!(bin(3), (0.75, 1.0, 2, 1, 1, Some(1.0)));
        assert_eq!((summary.all, summary.foreground, summary.background), (8, 1, 6));
        assert_eq!(summary.ratio, Some(1.0 / 6.0));
        // (.75 + .5 + .25 + 0 + 1 + 0 + .125 + 0)/8, .75/1, (.25 + 0 + 1 + 0 + .125 + 0)/6.
        assert_eq!(summary.mean, Some(2.625 / 8.0));
        assert_eq!(summary.mean_foreground, Some(0.75));
        assert_eq!(summary.mean_background, Some(1.375 / 6.0));
    }

    #[test]
    fn without_anchors_there_are_no_means() {
        let summary = ScoreDifferences::new(2).summary();
        assert_eq!((summary.all, summary.ratio, summary.mean), (0, None, None));
        assert_eq!(summary.bins.len(), 2);
    }

    #[test]
    #[should_panic(expected = "1 anchors, 1 and 2 scores")]
    fn lists_of_other_lengths_are_refused() {
        ScoreDifferences::new(2).add(&[strip(0., 1.)], &[0.5], &[0.5, 0.5], &Targets::default());
    }

    #[test]
    #[should_panic(expected = "scores 0.5 and NaN")]
    fn scores_outside_their_range_are_refused() {
        ScoreDifferences::new(2).add(&[strip(0., 1.)], &[0.5], &[f32::NAN], &Targets::default());
    }
}
