//! Pages in one file: the report of a run, and the parts that other pages are made of.

mod chart;
mod encode;
mod evaluation;
mod page;
mod pseudo_labels;

pub use chart::Chart;
pub use evaluation::EvaluationReport;
pub use page::{Figure, HtmlPage};
pub use pseudo_labels::PseudoLabelSnapshot;

use super::{ReportError, ResultTable};

/// All that a run's page shows. Parts that are empty are left out.
///
/// ```
/// use sed_train::report::{Cell, ResultTable, RunReport};
///
/// let mut results = ResultTable::new(["method", "AP"]);
/// results.push([Cell::from("sed"), Cell::number(34.2, 1)]);
/// let report = RunReport {
///     title: "Screws & nuts".into(),
///     facts: vec!["40 labeled images".into()],
///     warnings: vec![],
///     results,
///     curves: vec![],
///     models: vec![],
///     config: "seed = 7\n".into(),
/// };
/// let html = report.to_html()?;
/// assert!(html.contains("Screws &amp; nuts") && html.contains("34.2") && html.contains("seed = 7"));
/// # Ok::<(), sed_train::report::ReportError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RunReport {
    /// The title of the page.
    pub title: String,
    /// Lines on what was run, such as the data.
    pub facts: Vec<String>,
    /// What a reader should know first.
    pub warnings: Vec<String>,
    /// The results of all models.
    pub results: ResultTable,
    /// Curves over the iterations.
    pub curves: Vec<Chart>,
    /// A closer look at single models.
    pub models: Vec<ModelReport>,
    /// The configuration as it was run, TOML.
    pub config: String,
}

/// One model of a [`RunReport`].
///
/// ```
/// use sed_train::eval::CocoEvaluator;
/// use sed_train::report::{EvaluationReport, Figure, ModelReport, ResultTable, RunReport};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
/// # use setup::{found, truth};
/// # let truth = truth();
///
/// let model = ModelReport {
///     name: "sed (teacher)".into(),
///     // The only object, of class 1 in image 1, is found.
///     evaluation: EvaluationReport::new(&truth, &[found(1, 1, 0.9)], &CocoEvaluator)?,
///     best: vec![Figure { caption: "image 1".into(), picture: image::RgbImage::new(8, 8) }],
///     worst: vec![],
///     pseudo_labels: vec![],
/// };
/// # let report = RunReport {
/// #     title: "A run".into(),
/// #     facts: vec![],
/// #     warnings: vec![],
/// #     results: ResultTable::new(["method"]),
/// #     curves: vec![],
/// #     models: vec![model.clone()],
/// #     config: String::new(),
/// # };
/// let html = RunReport { models: vec![model], ..report }.to_html()?;
/// assert!(html.contains("sed (teacher)") && html.contains("image 1"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ModelReport {
    /// Its name.
    pub name: String,
    /// Its detections on the validation images.
    pub evaluation: EvaluationReport,
    /// Validation images on which it does well.
    pub best: Vec<Figure>,
    /// Validation images on which it does not.
    pub worst: Vec<Figure>,
    /// Its pseudo-labels during the run, the earliest first.
    pub pseudo_labels: Vec<PseudoLabelSnapshot>,
}

impl RunReport {
    /// The page, one HTML file that needs no other.
    ///
    /// # Errors
    ///
    /// If a picture has no pixels or a chart cannot be drawn.
    pub fn to_html(&self) -> Result<String, ReportError> {
        let mut page = HtmlPage::new(&self.title);
        self.facts.iter().for_each(|fact| page.text(fact));
        if !self.warnings.is_empty() {
            page.section("Warnings");
            page.warnings(&self.warnings);
        }
        page.section("Results");
        page.table(&self.results);
        if !self.curves.is_empty() {
            page.section("Curves");
            page.note("Of long runs each point is the mean of neighbouring iterations.");
            page.charts(&self.curves)?;
        }
        for model in &self.models {
            page.section(&model.name);
            model.evaluation.write(&mut page)?;
            for (title, figures) in
                [("Worst validation images", &model.worst), ("Best validation images", &model.best)]
            {
                if !figures.is_empty() {
                    page.heading(title);
                    page.pictures(figures)?;
                }
            }
            if !model.pseudo_labels.is_empty() {
                page.section(&format!("Pseudo-labels, {}", model.name));
                pseudo_labels::write(&model.pseudo_labels, &mut page)?;
            }
        }
        page.section("Configuration");
        page.folded("As it was run", &self.config);
        Ok(page.finish())
    }
}
