//! Pictures, JSON and the table.

use anyhow::Result;
use sed::train::{
    diagnostics::{PseudoLabelCurve, PseudoLabelPoint, ScoreDifferenceSummary, SizeDistribution},
    report::{
        Bars, BinLine, Cell, Histogram, ResultTable, RunFolder, Series, VerticalScale, histogram_svg,
        lines_svg,
    },
};
use serde::Serialize;

use crate::measure::ModelDiagnosis;

/// All results: what `diagnostics.json` holds.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// What was measured on.
    images: String,
    /// The least score of a pseudo-label in the table.
    threshold: f32,
    /// (a)
    pub sizes: SizeDistribution,
    /// (b) and (c), for each file of weights.
    pub models: Vec<ModelDiagnosis>,
}

impl Diagnosis {
    /// Without models yet.
    pub fn new(images: String, threshold: f32, sizes: SizeDistribution) -> Self {
        Self { images, threshold, sizes, models: Vec::new() }
    }

    /// Writes the pictures and `diagnostics.json`.
    pub fn write(&self, folder: &RunFolder) -> Result<()> {
        folder.write_json("diagnostics.json", self)?;
        histogram_svg(&folder.file("sizes.svg"), &sizes_histogram(&self.sizes))?;
        for model in &self.models {
            let name = model.weights;
            histogram_svg(
                &folder.file(format!("score_difference_{name}.svg")),
                &difference_histogram(name, &model.score_difference),
            )?;
            lines_svg(
                &folder.file(format!("pseudo_labels_{name}.svg")),
                &format!("Pseudo-labels, {name}"),
                "score threshold",
                0.0..=1.0,
                &model.pseudo_labels.iter().flat_map(lines).collect::<Vec<_>>(),
            )?;
        }
        Ok(())
    }

    /// The sizes in one line, and a row for each set of weights.
    pub fn to_text(&self) -> String {
        let mut text = format!("{}; {}\n", self.images, describe_sizes(&self.sizes));
        if self.models.is_empty() {
            text.push_str("for scores and pseudo-labels give weights: --run, or --before and --after\n");
            return text;
        }
        let mut table = ResultTable::new([
            "weights", "fg : bg", "diff fg", "diff bg", "P50", "R50", "P90", "R90", "R50s", "R50m", "R50l",
        ]);
        for model in &self.models {
            let difference = &model.score_difference;
            let mut cells = vec![
                Cell::from(model.weights),
                Cell::from(fg_to_bg(difference)),
                number(difference.mean_foreground, 1.0, 4),
                number(difference.mean_background, 1.0, 4),
            ];
            for point in model.at_threshold.iter().flat_map(|curve| &curve.points) {
                cells.extend([percent(point.precision), percent(point.recall)]);
            }
            let sizes = &model.recall_by_size;
            cells.extend([&sizes.small, &sizes.medium, &sizes.large].map(|size| percent(size.recall)));
            table.push(cells);
        }
        text.push_str(&format!(
            "anchors: foreground to background, and the mean score difference of each between an image and its half-size \
             view\npseudo-labels of score {} and above: precision P and recall R in percent at IoU .5 and .9, of small, \
             medium, large objects\n\n{}",
            self.threshold,
            table.to_text()
        ));
        text
    }
}

fn number(value: Option<f64>, factor: f64, decimals: usize) -> Cell {
    value.map_or(Cell::Missing, |value| Cell::number(factor * value, decimals))
}

fn percent(value: Option<f64>) -> Cell {
    number(value, 100.0, 1)
}

fn fg_to_bg(difference: &ScoreDifferenceSummary) -> String {
    match difference.foreground {
        0 => format!("0 : {}", difference.background),
        foreground => format!("1 : {:.0}", difference.background as f64 / foreground as f64),
    }
}

fn describe_sizes(sizes: &SizeDistribution) -> String {
    match (sizes.mean, sizes.standard_deviation) {
        (Some(mean), Some(deviation)) => {
            format!("instance size: mean {mean:.1} px, standard deviation {deviation:.1} px")
        }
        _ => "no objects".into(),
    }
}

fn sizes_histogram(sizes: &SizeDistribution) -> Histogram {
    Histogram {
        title: format!("Objects; {}", describe_sizes(sizes)),
        x_label: "square root of the box area, px".into(),
        y_label: "objects".into(),
        edges: sizes.edges.clone(),
        bars: vec![Bars { name: "objects".into(), counts: counts(sizes.counts.iter().copied()) }],
        line: None,
        scale: VerticalScale::Linear,
    }
}

fn difference_histogram(name: &str, difference: &ScoreDifferenceSummary) -> Histogram {
    let bins = &difference.bins;
    let edges = bins.iter().map(|bin| bin.from).chain(bins.last().map(|bin| bin.to));
    let bars = |name: &str, values: Vec<f64>| Bars { name: name.into(), counts: values };
    Histogram {
        title: format!(
            "Anchors by score difference, {name}; foreground to background {}",
            fg_to_bg(difference)
        ),
        x_label: "score difference between an image and its half-size view".into(),
        y_label: "anchors".into(),
        edges: edges.collect(),
        bars: vec![
            bars("all", counts(bins.iter().map(|bin| bin.all))),
            bars("foreground", counts(bins.iter().map(|bin| bin.foreground))),
            bars("background", counts(bins.iter().map(|bin| bin.background))),
        ],
        line: Some(BinLine {
            name: "foreground : background".into(),
            values: bins.iter().map(|bin| bin.ratio).collect(),
            reference: Some(1.0),
        }),
        scale: VerticalScale::Logarithmic,
    }
}

fn counts(values: impl Iterator<Item = u64>) -> Vec<f64> {
    values.map(|count| count as f64).collect()
}

/// Precision and recall of one IoU against the threshold.
fn lines(curve: &PseudoLabelCurve) -> [Series; 2] {
    let line = |what: &str, value: fn(&PseudoLabelPoint) -> Option<f64>| Series {
        name: format!("{what}, IoU {}", curve.iou),
        points: curve
            .points
            .iter()
            .filter_map(|point| Some((f64::from(point.threshold), value(point)?)))
            .collect(),
    };
    [line("precision", |point| point.precision), line("recall", |point| point.recall)]
}
