//! Pseudo-labels as they change during a run.

use serde::{Deserialize, Serialize};

use super::{
    chart::Chart,
    page::{Figure, HtmlPage},
};
use crate::{
    diagnostics::PseudoLabelMatches,
    eval::{EvalError, GroundTruth, ImageDetections},
    report::{ReportError, Series},
};

/// The IoU from which on a pseudo-label is right.
const IOU: f64 = 0.5;

/// What a teacher made of the same unlabeled images after some iterations.
///
/// ```
/// use sed_train::report::PseudoLabelSnapshot;
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
/// # use setup::{found, truth};
/// # let truth = truth();
///
/// // The only object, of class 1 in image 1, is found, and something in image 2 that is not there.
/// let detections = [found(1, 1, 0.9), found(2, 1, 0.8)];
/// let snapshot = PseudoLabelSnapshot::new(100, 0.7, &detections, Some(&truth), vec![])?;
/// assert_eq!((snapshot.images, snapshot.labels), (2, 2));
/// assert_eq!((snapshot.precision, snapshot.recall), (Some(0.5), Some(1.0)));
/// // Where the true objects are not known, pseudo-labels are counted alone.
/// assert_eq!(PseudoLabelSnapshot::new(100, 0.7, &detections, None, vec![])?.precision, None);
/// # Ok::<(), sed_train::eval::EvalError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PseudoLabelSnapshot {
    /// Optimizer steps before it.
    pub iteration: usize,
    /// The least score of a pseudo-label.
    pub threshold: f32,
    /// The number of images.
    pub images: usize,
    /// Pseudo-labels on all of them.
    pub labels: usize,
    /// The share of right ones among them at an IoU of .5, where the true objects are known.
    pub precision: Option<f64>,
    /// The share of true objects that they find.
    pub recall: Option<f64>,
    /// Some of the images, the same in each snapshot of a run; not serialized.
    #[serde(skip)]
    pub pictures: Vec<Figure>,
}

impl PseudoLabelSnapshot {
    /// Counts the detections of at least `threshold`, one entry an image. True objects that no training sees may be given to
    /// measure with.
    ///
    /// # Errors
    ///
    /// [`EvalError`] on detections that do not fit the true objects.
    ///
    /// # Panics
    ///
    /// If `boxes`, `scores` and `labels` of an image differ in length.
    pub fn new(
        iteration: usize,
        threshold: f32,
        detections: &[ImageDetections],
        hidden: Option<&GroundTruth>,
        pictures: Vec<Figure>,
    ) -> Result<Self, EvalError> {
        let scores = detections.iter().flat_map(|one| &one.detections.scores);
        let quality = hidden
            .map(|truth| {
                Ok::<_, EvalError>(PseudoLabelMatches::new(truth, detections, IOU)?.curve(&[threshold]))
            })
            .transpose()?;
        let point = quality.as_ref().and_then(|curve| curve.points.first());
        Ok(Self {
            iteration,
            threshold,
            images: detections.len(),
            labels: scores.filter(|score| **score >= threshold).count(),
            precision: point.and_then(|point| point.precision),
            recall: point.and_then(|point| point.recall),
            pictures,
        })
    }
}

impl PseudoLabelSnapshot {
    /// The numbers in a sentence.
    fn describe(&self) -> String {
        let percent = |name: &str, value: Option<f64>| {
            value.map_or(String::new(), |value| format!(", {name} {:.1} %", 100.0 * value))
        };
        format!(
            "{:.1} pseudo-labels an image after {} iterations{}{}.",
            self.labels as f64 / self.images.max(1) as f64,
            self.iteration,
            percent("precision", self.precision),
            percent("recall", self.recall)
        )
    }
}

/// Counts and quality over the run, then the pictures of each snapshot.
pub(super) fn write(snapshots: &[PseudoLabelSnapshot], page: &mut HtmlPage) -> Result<(), ReportError> {
    let Some(first) = snapshots.first() else { return Ok(()) };
    page.note(&format!(
        "Detections of the teacher on {} unlabeled images, of score {} and above; right from an IoU of .5 on.",
        first.images, first.threshold
    ));
    let line = |name: &str, value: fn(&PseudoLabelSnapshot) -> Option<f64>| Series {
        name: name.into(),
        points: snapshots.iter().filter_map(|one| Some((one.iteration as f64, value(one)?))).collect(),
    };
    let chart = |title: &str, y, series| Chart {
        title: title.into(),
        x_label: "iteration".into(),
        x: None,
        y,
        series,
    };
    let count =
        line("labels an image", |one| (one.images > 0).then(|| one.labels as f64 / one.images as f64));
    let mut charts = vec![chart("Pseudo-labels an image", None, vec![count])];
    let quality = vec![line("precision", |one| one.precision), line("recall", |one| one.recall)];
    if quality.iter().any(|series| !series.points.is_empty()) {
        charts.push(chart("Quality against hidden labels", Some(0.0..=1.0), quality));
    }
    if snapshots.len() > 1 {
        page.charts(&charts)?;
    } else {
        page.text(&first.describe());
    }
    for snapshot in snapshots.iter().filter(|snapshot| !snapshot.pictures.is_empty()) {
        page.heading(&format!("After {} iterations", snapshot.iteration));
        page.pictures(&snapshot.pictures)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sed_core::Detections;

    use super::*;
    use crate::{data::Category, eval::GroundTruthBox};

    fn detections() -> Vec<ImageDetections> {
        let boxes = vec![[0., 0., 10., 10.], [50., 0., 60., 10.], [0., 50., 9., 60.]];
        let found = Detections { boxes, scores: vec![0.9, 0.8, 0.4], labels: vec![0; 3] };
        vec![
            ImageDetections { image_id: 1, detections: found },
            ImageDetections { image_id: 2, detections: Detections::default() },
        ]
    }

    #[test]
    fn counts_and_quality() {
        let object =
            |x| GroundTruthBox { image_id: 1, label: 0, bbox: [x, 0., 10., 10.], area: 100., iscrowd: false };
        let truth = GroundTruth {
            image_ids: vec![1, 2],
            categories: vec![Category { id: 1, name: "a".into() }],
            boxes: vec![object(0.), object(100.), object(200.), object(300.)],
        };
        let snapshot = PseudoLabelSnapshot::new(50, 0.5, &detections(), Some(&truth), Vec::new()).unwrap();
        assert_eq!((snapshot.images, snapshot.labels), (2, 2));
        assert_eq!((snapshot.precision, snapshot.recall), (Some(0.5), Some(0.25)));
        let blind = PseudoLabelSnapshot::new(50, 0.3, &detections(), None, Vec::new()).unwrap();
        assert_eq!((blind.labels, blind.precision, blind.recall), (3, None, None));
    }

    #[test]
    fn quality_is_shown_where_it_is_known() {
        let shown = |precision| {
            let mut page = HtmlPage::new("t");
            let snapshot = |iteration| PseudoLabelSnapshot {
                iteration,
                threshold: 0.5,
                images: 2,
                labels: 3,
                precision,
                recall: precision,
                pictures: vec![Figure { caption: "one".into(), picture: image::RgbImage::new(4, 4) }],
            };
            write(&[snapshot(10), snapshot(20)], &mut page).unwrap();
            page.finish()
        };
        assert!(shown(Some(0.5)).contains("Quality against hidden labels"));
        let blind = shown(None);
        assert!(!blind.contains("Quality against hidden labels") && blind.contains("After 20 iterations"));
        assert_eq!(blind.matches("data:image/png").count(), 2);
    }

    #[test]
    fn a_single_look_is_a_sentence() {
        let snapshot = PseudoLabelSnapshot {
            iteration: 10,
            threshold: 0.5,
            images: 2,
            labels: 3,
            precision: Some(0.25),
            recall: None,
            pictures: Vec::new(),
        };
        let mut page = HtmlPage::new("t");
        write(&[snapshot], &mut page).unwrap();
        let html = page.finish();
        assert!(html.contains("1.5 pseudo-labels an image after 10 iterations, precision 25.0 %."), "{html}");
        assert!(!html.contains("<svg"));
    }
}
