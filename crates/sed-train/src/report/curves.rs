use std::{ops::RangeInclusive, path::Path};

use plotters::prelude::*;

use super::{ReportError, palette::line_color, write_atomic};

/// Room for the legend above the values, as a part of their range.
pub(super) const LEGEND_ROOM: f64 = 0.3;

/// One curve.
///
/// ```
/// use sed_train::report::{Series, curves_svg};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("loss.svg");
/// let loss = Series { name: "loss".into(), points: vec![(0.0, 2.0), (100.0, 1.0), (200.0, f64::NAN)] };
/// let half = Series { name: "half".into(), points: vec![] }; // stays in the legend
/// curves_svg(&path, "Losses", &[loss, half])?;
/// let svg = std::fs::read_to_string(&path)?;
/// assert!(svg.contains("loss") && svg.contains("half"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The name in the legend.
    pub name: String,
    /// `(x, value)`, where `x` is the iteration for [`curves_svg`], in the order in which they are joined; points
    /// that are not finite are left out.
    pub points: Vec<(f64, f64)>,
}

/// Draws curves over the iterations into one SVG picture of 960×540.
///
/// Curves without a finite point stay in the legend, marked as empty, so that a loss that never
/// came is not taken for one that was not asked for.
///
/// # Errors
///
/// If the system refuses to write the file.
///
/// ```
/// use sed_train::report::{Series, curves_svg};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("loss.svg");
/// let points = (0..100).map(|i| (f64::from(i), 1.0 / f64::from(1 + i))).collect();
/// curves_svg(&path, "Losses of the run", &[Series { name: "loss".into(), points }])?;
/// let svg = std::fs::read_to_string(&path)?;
/// assert!(svg.starts_with("<svg width=\"960\" height=\"540\"") && svg.contains("Losses of the run"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn curves_svg(path: &Path, title: &str, series: &[Series]) -> Result<(), ReportError> {
    write(path, Plot::framed(title, "iteration", None).draw(series))
}

/// Draws lines like [`curves_svg`], over what `x_label` names and with a vertical axis of the range `y`.
///
/// # Errors
///
/// If the system refuses to write the file.
///
/// # Panics
///
/// If the range does not ascend.
///
/// ```
/// use sed_train::report::{Series, lines_svg};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("precision.svg");
/// let screw = Series { name: "screw".into(), points: vec![(0.0, 1.0), (0.5, 0.8), (1.0, 0.3)] };
/// lines_svg(&path, "Precision", "recall", 0.0..=1.0, &[screw])?;
/// assert!(std::fs::read_to_string(&path)?.contains("recall"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn lines_svg(
    path: &Path,
    title: &str,
    x_label: &str,
    y: RangeInclusive<f64>,
    series: &[Series],
) -> Result<(), ReportError> {
    assert!(y.start() < y.end(), "lines_svg: a range of {y:?}");
    write(path, Plot::framed(title, x_label, Some(y)).draw(series))
}

fn write(path: &Path, svg: Result<String, Box<dyn std::error::Error>>) -> Result<(), ReportError> {
    let svg =
        svg.map_err(|error| ReportError::Curves { path: path.to_owned(), reason: error.to_string() })?;
    write_atomic(path, svg)
}

/// How curves are drawn.
pub(super) struct Plot<'a> {
    /// The caption, if the picture has one.
    pub title: Option<&'a str>,
    /// What the horizontal axis counts.
    pub x_label: &'a str,
    /// The range of the horizontal axis. Without one it holds the points.
    pub x: Option<RangeInclusive<f64>>,
    /// The range of the vertical axis. Without one it holds the points, and the legend may hide some of them.
    pub y: Option<RangeInclusive<f64>>,
    /// Whether the picture names the curves.
    pub legend: bool,
    /// Width and height of the picture.
    pub size: (u32, u32),
}

impl<'a> Plot<'a> {
    /// A picture of 960×540 with caption and legend.
    fn framed(title: &'a str, x_label: &'a str, y: Option<RangeInclusive<f64>>) -> Self {
        Self { title: Some(title), x_label, x: None, y, legend: true, size: (960, 540) }
    }

    /// The picture as SVG.
    pub(super) fn draw(&self, series: &[Series]) -> Result<String, Box<dyn std::error::Error>> {
        let finite: Vec<Vec<(f64, f64)>> = series
            .iter()
            .map(|one| one.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect())
            .collect();
        let (x_min, x_max) = match &self.x {
            Some(x) => (*x.start(), *x.end()),
            None => range(finite.iter().flatten().map(|point| point.0)),
        };
        let (low, high, top, legend) = match &self.y {
            Some(y) => {
                let (low, high) = (*y.start(), *y.end());
                let room = if self.legend { LEGEND_ROOM } else { 0.0 };
                (low, high, high + (high - low) * room, SeriesLabelPosition::UpperMiddle)
            }
            None => {
                let (low, high) = range(finite.iter().flatten().map(|point| point.1));
                let margin = (high - low) * 0.05;
                (low - margin, high + margin, high + margin, SeriesLabelPosition::UpperRight)
            }
        };

        // Ticks are sums, so the last may lie above the range by an error of rounding.
        let labeled = high + (high - low) * 1e-9;

        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, self.size).into_drawing_area();
            root.fill(&WHITE)?;
            let mut builder = ChartBuilder::on(&root);
            if let Some(title) = self.title {
                builder.caption(title, ("sans-serif", 22));
            }
            let mut chart = builder
                .margin(14)
                .x_label_area_size(42)
                .y_label_area_size(66)
                .build_cartesian_2d(x_min..x_max, low..top)?;
            chart
                .configure_mesh()
                .light_line_style(WHITE)
                .x_desc(self.x_label)
                .x_label_formatter(&|x| format_tick(*x))
                .y_label_formatter(&|y| if *y > labeled { String::new() } else { format_tick(*y) })
                .label_style(("sans-serif", 14))
                .draw()?;
            for (index, (one, points)) in series.iter().zip(&finite).enumerate() {
                let [r, g, b] = line_color(index);
                let color = RGBColor(r, g, b);
                let name = if points.is_empty() { format!("{} (empty)", one.name) } else { one.name.clone() };
                chart
                    .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?
                    .label(name)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(3)));
                // A line through few points hides where they are, and through one point it is nothing.
                if points.len() <= 40 {
                    chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, color.filled())))?;
                }
            }
            if self.legend && !series.is_empty() {
                chart
                    .configure_series_labels()
                    .position(legend)
                    .background_style(WHITE.mix(0.8))
                    .border_style(RGBColor(190, 190, 190))
                    .label_font(("sans-serif", 14))
                    .draw()?;
            }
            root.present()?;
        }
        Ok(svg)
    }
}

/// The smallest range with a width that holds all values; `0..1` without values.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (min, max) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    if min > max {
        (0.0, 1.0)
    } else if max - min > f64::EPSILON * min.abs().max(max.abs()) {
        (min, max)
    } else {
        // All equal: half the value on both sides, or one where the value is zero.
        let pad = if min == 0.0 { 1.0 } else { min.abs() * 0.5 };
        (min - pad, max + pad)
    }
}

/// A number of at most four digits where that says enough.
pub(super) fn format_tick(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".to_owned()
    } else if !(1e-3..1e6).contains(&size) {
        format!("{value:.2e}")
    } else {
        let decimals = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
        let text = format!("{value:.decimals$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, points: &[(f64, f64)]) -> Series {
        Series { name: name.into(), points: points.to_vec() }
    }

    #[test]
    fn each_curve_is_a_line_with_its_name() {
        let curves =
            [series("loss <class>", &[(0.0, 2.0), (50.0, 1.0), (100.0, 0.5)]), series("box", &[(0.0, 1.0)])];
        let svg = Plot::framed("Training & more", "iteration", None).draw(&curves).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains("Training &amp; more"), "special letters are escaped");
        assert!(svg.contains("loss &lt;class&gt;"));
        assert!(svg.contains("iteration"));
        // Three points and one point are few enough to be marked.
        assert_eq!(svg.matches("<circle").count(), 4);
        let [r, g, b] = line_color(0);
        let stroke = format!("stroke=\"#{r:02X}{g:02X}{b:02X}\"");
        assert!(svg.lines().any(|line| line.starts_with("<polyline") && line.contains(&stroke)), "{svg}");
    }

    #[test]
    fn points_that_are_not_finite_are_left_out() {
        let curves = [series("a", &[(0.0, 1.0), (1.0, f64::NAN), (2.0, f64::INFINITY), (3.0, 4.0)])];
        let svg = Plot::framed("t", "iteration", None).draw(&curves).unwrap();
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn nothing_to_draw_is_said() {
        assert!(
            Plot::framed("t", "iteration", None)
                .draw(&[series("never", &[])])
                .unwrap()
                .contains("never (empty)")
        );
        assert!(Plot::framed("t", "iteration", None).draw(&[]).unwrap().contains("</svg>"));
    }

    #[test]
    fn the_range_of_the_values_can_be_given() {
        let svg = Plot::framed("t", "threshold", Some(0.0..=1.0))
            .draw(&[series("precision", &[(0.5, 0.25)])])
            .unwrap();
        assert!(svg.contains("threshold") && !svg.contains("iteration"));
        // Ticks above the range have no number.
        let ticks: Vec<f64> = svg.lines().filter_map(|line| line.parse().ok()).collect();
        assert!(ticks.contains(&0.0) && ticks.contains(&1.0) && !ticks.contains(&1.2), "{ticks:?}");
    }

    #[test]
    fn ranges_are_never_empty() {
        assert_eq!(range([].into_iter()), (0.0, 1.0));
        assert_eq!(range([2.0, 2.0].into_iter()), (1.0, 3.0));
        assert_eq!(range([0.0].into_iter()), (-1.0, 1.0));
        assert_eq!(range([-1.0, 3.0].into_iter()), (-1.0, 3.0));
        for value in [1e-300, 1e300] {
            let (min, max) = range([value].into_iter());
            assert!(min < max && max.is_finite());
        }
    }

    #[test]
    fn ticks_are_short() {
        let cases = [
            (0.0, "0"),
            (0.05, "0.05"),
            (1.5, "1.5"),
            (12_000.0, "12000"),
            (2e-5, "2.00e-5"),
            (-0.25, "-0.25"),
        ];
        for (value, text) in cases {
            assert_eq!(format_tick(value), text);
        }
    }

    #[test]
    fn the_file_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curves/loss.svg");
        curves_svg(&path, "loss", &[series("a", &[(0.0, 1.0), (1.0, 2.0)])]).unwrap();
        assert!(std::fs::read_to_string(path).unwrap().contains("</svg>"));
    }
}
