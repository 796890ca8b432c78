//! Curves of a page.

use std::ops::RangeInclusive;

use super::encode::escape;
use crate::report::{ReportError, Series, curves::Plot, palette::line_color};

/// Points a curve is drawn with, at most.
const POINTS: usize = 240;
/// Width and height of a chart before the page scales it.
const SIZE: (u32, u32) = (640, 340);

/// Curves over one horizontal axis.
///
/// ```
/// use sed_train::report::{Chart, HtmlPage, Series};
///
/// let chart = Chart {
///     title: "Loss".into(),
///     x_label: "iteration".into(),
///     x: None,
///     y: Some(0.0..=2.0),
///     series: vec![Series { name: "loss".into(), points: vec![(0.0, 2.0), (100.0, 1.0)] }],
/// };
/// let mut page = HtmlPage::new("A run");
/// page.charts(&[chart])?;
/// let html = page.finish();
/// assert!(html.contains("<svg") && html.contains("iteration"));
/// # Ok::<(), sed_train::report::ReportError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// The caption.
    pub title: String,
    /// What the horizontal axis counts, such as `iteration`.
    pub x_label: String,
    /// The range of the horizontal axis; without one it holds the points.
    pub x: Option<RangeInclusive<f64>>,
    /// The range of the vertical axis; without one it holds the points.
    pub y: Option<RangeInclusive<f64>>,
    /// The curves. Of a curve with more than 240 points the means of as many groups of neighbours are drawn.
    pub series: Vec<Series>,
}

impl Chart {
    /// The figure, its legend below the picture.
    pub(super) fn html(&self) -> Result<String, ReportError> {
        let thinned: Vec<Series> = self
            .series
            .iter()
            .map(|one| Series { name: one.name.clone(), points: thinned(&one.points, POINTS) })
            .collect();
        let plot = Plot {
            title: None,
            x_label: &self.x_label,
            x: self.x.clone(),
            y: self.y.clone(),
            legend: false,
            size: SIZE,
        };
        let svg = plot
            .draw(&thinned)
            .map_err(|error| ReportError::Page { reason: format!("{}: {error}", self.title) })?;
        let legend: String = self.series.iter().enumerate().map(|(index, one)| entry(index, one)).collect();
        let title = escape(&self.title);
        Ok(format!(
            "<figure><figcaption>{title}</figcaption>\
             <div class=\"chart\" role=\"img\" aria-label=\"{title}\">{svg}</div>\
             <div class=\"legend\">{legend}</div></figure>\n"
        ))
    }
}

fn entry(index: usize, series: &Series) -> String {
    let [r, g, b] = line_color(index);
    let drawn = series.points.iter().any(|(x, y)| x.is_finite() && y.is_finite());
    let empty = if drawn { "" } else { " (empty)" };
    format!("<span><i style=\"background:rgb({r},{g},{b})\"></i>{}{empty}</span>", escape(&series.name))
}

/// The points, or the means of groups of neighbours if there are more than `most`; points that are not finite are left out.
fn thinned(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    let finite: Vec<_> = points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    let group = finite.len().div_ceil(most).max(1);
    let mean = |group: &[(f64, f64)]| {
        let sum = group.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / group.len() as f64, sum.1 / group.len() as f64)
    };
    finite.chunks(group).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_points_become_means_of_neighbours() {
        let points: Vec<(f64, f64)> = (0..6).map(|i| (f64::from(i), f64::from(i * i))).collect();
        assert_eq!(thinned(&points, 6), points);
        assert_eq!(thinned(&points, 3), [(0.5, 0.5), (2.5, 6.5), (4.5, 20.5)]);
        // The last group may be smaller.
        assert_eq!(thinned(&points, 4).len(), 3);
        assert_eq!(thinned(&points[..5], 3), [(0.5, 0.5), (2.5, 6.5), (4.0, 16.0)]);
        assert_eq!(thinned(&[(0.0, f64::NAN), (1.0, 2.0)], 1), [(1.0, 2.0)]);
        assert_eq!(thinned(&[], 5), []);
    }

    #[test]
    fn names_are_escaped_and_empty_curves_said() {
        let series =
            |name: &str, points: &[(f64, f64)]| Series { name: name.into(), points: points.to_vec() };
        let chart = Chart {
            title: "<b>loss</b>".into(),
            x_label: "iteration".into(),
            x: None,
            y: None,
            series: vec![series("<script>", &[(0.0, 1.0), (1.0, 2.0)]), series("none", &[])],
        };
        let html = chart.html().unwrap();
        assert!(!html.contains("<script") && !html.contains("<b>"), "{html}");
        assert!(html.contains("&lt;script&gt;") && html.contains("none (empty)") && html.contains("<svg"));
    }
}
