//! One model on the validation images.

use super::{chart::Chart, encode::escape, page::HtmlPage};
use crate::{
    data::Category,
    diagnostics::{ObjectRecall, PseudoLabelMatches, RecallBySize},
    eval::{
        CocoSummary, ConfusionMatrix, DetectionEvaluator, EvalError, GroundTruth, ImageDetections,
        ImageScore, PrecisionRecall, image_scores, precision_recall,
    },
    report::{Cell, ReportError, ResultTable, Series, list},
};

/// The IoU from which on a detection is right, but for the AP over several.
const IOU: f64 = 0.5;
/// Classes a chart, so that each has a colour of its own.
const CURVES: usize = 10;
/// The largest number of classes whose confusion matrix is shown whole.
const MATRIX: usize = 30;
/// Confusions that are listed where there are more classes.
const CONFUSIONS: usize = 30;

/// What is found right and wrong on labeled images by one set of detections.
///
/// ```
/// use sed_train::eval::CocoEvaluator;
/// use sed_train::report::EvaluationReport;
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
/// # use setup::{found, truth};
/// # let truth = truth();
///
/// // The only object, of class 1 in image 1, is found, and something in image 2 that is not there.
/// let report = EvaluationReport::new(&truth, &[found(1, 1, 0.9), found(2, 1, 0.3)], &CocoEvaluator)?;
/// assert_eq!(report.confusion.count(Some(1), Some(1)), 1);
/// assert!(report.threshold > 0.3 && report.threshold <= 0.9); // the wrong one is left out
/// assert_eq!(report.best(5)[0].image_id, 1);
/// assert!(report.worst(5).is_empty());
/// assert!(report.warnings("teacher")[0].contains("nut")); // without an object nothing is known of it
/// # Ok::<(), sed_train::eval::EvalError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluationReport {
    /// The COCO numbers.
    pub summary: CocoSummary,
    /// The least score of a detection that counts in what follows but for the curves: of 0.05, 0.1, …, 0.95 that of the
    /// highest F1 over all classes at an IoU of .5, 0.5 if nothing is found.
    pub threshold: f32,
    /// Precision and recall of each class at an IoU of .5.
    pub curves: Vec<PrecisionRecall>,
    /// Classes against classes at an IoU of .5.
    pub confusion: ConfusionMatrix,
    /// The share of objects found, by size, at an IoU of .5.
    pub sizes: RecallBySize,
    /// Each image.
    pub images: Vec<ImageScore>,
}

impl EvaluationReport {
    /// Compares detections, in pixels of the original images, with the objects of `truth`.
    ///
    /// # Errors
    ///
    /// [`EvalError`] as [`DetectionEvaluator::evaluate`].
    ///
    /// # Panics
    ///
    /// If `boxes`, `scores` and `labels` of an image differ in length.
    pub fn new(
        truth: &GroundTruth,
        detections: &[ImageDetections],
        evaluator: &dyn DetectionEvaluator,
    ) -> Result<Self, EvalError> {
        let matches = PseudoLabelMatches::new(truth, detections, IOU)?;
        let threshold = best_threshold(&matches);
        Ok(Self {
            summary: evaluator.evaluate(truth, detections)?,
            threshold,
            curves: precision_recall(truth, detections, IOU)?,
            confusion: ConfusionMatrix::new(truth, detections, threshold, IOU)?,
            sizes: matches.recall_by_size(threshold),
            images: image_scores(truth, detections, threshold, IOU)?,
        })
    }

    /// The `count` images of the highest F1 above 0, of equal ones those with more objects found.
    pub fn best(&self, count: usize) -> Vec<ImageScore> {
        let mut images: Vec<(f64, ImageScore)> = self.scored().filter(|(f1, _)| *f1 > 0.0).collect();
        images.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.right.cmp(&a.1.right)));
        images.into_iter().take(count).map(|(_, image)| image).collect()
    }

    /// The `count` images of the lowest F1 below 1, of equal ones those with more errors.
    pub fn worst(&self, count: usize) -> Vec<ImageScore> {
        let mut images: Vec<(f64, ImageScore)> = self.scored().filter(|(f1, _)| *f1 < 1.0).collect();
        let errors = |image: &ImageScore| image.wrong + image.missed;
        images.sort_by(|a, b| a.0.total_cmp(&b.0).then(errors(&b.1).cmp(&errors(&a.1))));
        images.into_iter().take(count).map(|(_, image)| image).collect()
    }

    /// What a reader of the numbers should know about single classes.
    pub fn warnings(&self, model: &str) -> Vec<String> {
        let mut warnings = Vec::new();
        let names = |keep: &dyn Fn(&PrecisionRecall) -> bool| -> Vec<&str> {
            let kept = self.curves.iter().filter(|curve| keep(curve));
            kept.map(|curve| curve.category.name.as_str()).collect()
        };
        let absent = names(&|curve| curve.objects == 0);
        if !absent.is_empty() {
            warnings.push(format!(
                "No validation image has an object of: {}. AP leaves these classes out.",
                list(&absent)
            ));
        }
        let lost = names(&|curve| curve.objects > 0 && curve.points.iter().all(|point| point.recall == 0.0));
        if !lost.is_empty() {
            warnings.push(format!("{model} finds no object at all of: {}.", list(&lost)));
        }
        warnings
    }

    fn scored(&self) -> impl Iterator<Item = (f64, ImageScore)> {
        self.images.iter().filter_map(|image| Some((image.f1()?, *image)))
    }

    /// The curves by class, the confusion matrix and the sizes.
    pub(super) fn write(&self, page: &mut HtmlPage) -> Result<(), ReportError> {
        page.heading("Classes");
        page.table(&self.classes_table());
        page.heading("Precision against recall, IoU .5");
        page.charts(&self.charts())?;
        page.heading("Confusion, IoU .5");
        page.note(&format!(
            "Detections of score {} and above, the threshold of the highest F1 on these images. Rows are true classes, \
             columns what they were taken for; shades are shares of a row. Background: missed objects in its column, \
             detections of nothing in its row.",
            self.threshold
        ));
        if self.confusion.classes() <= MATRIX {
            page.push(&self.matrix_html());
        } else {
            page.text("The most frequent ones of many classes:");
            page.table(&self.confusions_table());
        }
        page.heading("Object size");
        page.note(&format!(
            "Found: the share of objects that a detection of score {} and above finds at an IoU of .5. AP and AR are \
             COCO's, over the IoUs .50 to .95.",
            self.threshold
        ));
        page.table(&self.sizes_table());
        Ok(())
    }

    fn category(&self, label: Option<usize>) -> &str {
        let category = label.and_then(|label| self.curves.get(label));
        category.map_or("background", |curve| curve.category.name.as_str())
    }

    fn classes_table(&self) -> ResultTable {
        let mut table = ResultTable::new(["class", "objects", "AP", "AP50", "detections"]);
        let percent = |value: Option<f64>| value.map_or(Cell::Missing, |v| Cell::number(100.0 * v, 1));
        for (label, (curve, class)) in self.curves.iter().zip(&self.summary.classes).enumerate() {
            let classes = (0..self.confusion.classes()).map(Some).chain([None]);
            let found: u64 = classes.map(|truth| self.confusion.count(truth, Some(label))).sum();
            let Category { name, .. } = &curve.category;
            table.push([
                Cell::from(name.as_str()),
                Cell::number(curve.objects as f64, 0),
                percent(class.ap),
                percent(class.ap50),
                Cell::number(found as f64, 0),
            ]);
        }
        table
    }

    fn charts(&self) -> Vec<Chart> {
        let shown: Vec<&PrecisionRecall> = self.curves.iter().filter(|curve| curve.objects > 0).collect();
        let series = |curve: &&PrecisionRecall| {
            let highest = curve.points.last().map_or(0.0, |point| point.recall);
            let points = curve.interpolated().into_iter().filter(|point| point.0 <= highest);
            let ap = 100.0 * curve.average_precision().unwrap_or(0.0);
            Series { name: format!("{} ({ap:.1})", curve.category.name), points: points.collect() }
        };
        let charts = shown.chunks(CURVES).enumerate().map(|(index, curves)| Chart {
            title: match shown.len() <= CURVES {
                true => "Precision against recall (AP50)".into(),
                false => {
                    format!("Classes {} to {} (AP50)", index * CURVES + 1, index * CURVES + curves.len())
                }
            },
            x_label: "recall".into(),
            x: Some(0.0..=1.0),
            y: Some(0.0..=1.0),
            series: curves.iter().map(series).collect(),
        });
        charts.collect()
    }

    fn matrix_html(&self) -> String {
        let classes: Vec<Option<usize>> = (0..self.confusion.classes()).map(Some).chain([None]).collect();
        let name = |class: &Option<usize>| escape(self.category(*class));
        let heads: String = classes.iter().map(|class| format!("<th>{}</th>", name(class))).collect();
        let mut rows = String::new();
        for truth in &classes {
            let counts: Vec<u64> =
                classes.iter().map(|predicted| self.confusion.count(*truth, *predicted)).collect();
            let sum = counts.iter().sum::<u64>().max(1);
            rows.push_str(&format!("<tr><th>{}</th>", name(truth)));
            for (predicted, count) in classes.iter().zip(counts) {
                let class = if predicted == truth { "right" } else { "wrong" };
                let share = (55 * count).div_ceil(sum);
                rows.push_str(&match count {
                    0 => "<td class=\"none\">·</td>".to_owned(),
                    count => format!("<td class=\"{class}\" style=\"--share:{share}%\">{count}</td>"),
                });
            }
            rows.push_str("</tr>\n");
        }
        format!(
            "<div class=\"scroll\"><table class=\"matrix\"><thead><tr><th>true \\ found as</th>{heads}</tr></thead>\
             <tbody>\n{rows}</tbody></table></div>\n"
        )
    }

    fn confusions_table(&self) -> ResultTable {
        let mut table = ResultTable::new(["true", "found as", "count"]);
        for confusion in self.confusion.confusions().iter().take(CONFUSIONS) {
            table.push([
                Cell::from(self.category(confusion.truth)),
                Cell::from(self.category(confusion.predicted)),
                Cell::number(confusion.count as f64, 0),
            ]);
        }
        table
    }

    fn sizes_table(&self) -> ResultTable {
        let mut table = ResultTable::new(["size", "objects", "found", "found %", "AP", "AR"]);
        let percent = |value: Option<f64>| value.map_or(Cell::Missing, |v| Cell::number(100.0 * v, 1));
        let (sizes, summary) = (&self.sizes, &self.summary);
        let rows: [(&str, &ObjectRecall, Option<f64>, Option<f64>); 3] = [
            ("small, up to 32² px", &sizes.small, summary.ap_small, summary.ar_small),
            ("medium, up to 96² px", &sizes.medium, summary.ap_medium, summary.ar_medium),
            ("large", &sizes.large, summary.ap_large, summary.ar_large),
        ];
        for (name, recall, ap, ar) in rows {
            table.push([
                Cell::from(name),
                Cell::number(recall.objects as f64, 0),
                Cell::number(recall.found as f64, 0),
                percent(recall.recall),
                percent(ap),
                percent(ar),
            ]);
        }
        table
    }
}

/// The threshold of the highest F1, the lowest of equal ones.
fn best_threshold(matches: &PseudoLabelMatches) -> f32 {
    let thresholds: Vec<f32> = (1..20).map(|i| i as f32 / 20.0).collect();
    let curve = matches.curve(&thresholds);
    let mut best = (0.0, 0.5);
    for point in &curve.points {
        let f1 = 2.0 * point.right as f64 / (point.right + point.wrong + curve.objects).max(1) as f64;
        if f1 > best.0 {
            best = (f1, point.threshold);
        }
    }
    best.1
}

#[cfg(test)]
#[path = "evaluation_tests.rs"]
mod tests;
