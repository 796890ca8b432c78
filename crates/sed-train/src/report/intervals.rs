use std::path::Path;

use plotters::prelude::*;

use super::{ReportError, palette::line_color, write_atomic};

/// Several measurements of one thing.
///
/// ```
/// use sed_train::report::Interval;
///
/// let values = vec![33.0, 34.0, 35.0];
/// let mean = values.iter().sum::<f64>() / 3.0;
/// let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
/// let interval = Interval { name: "sed".into(), mean, deviation, values };
/// assert_eq!((interval.mean, interval.deviation), (34.0, 1.0));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Interval {
    /// What was measured.
    pub name: String,
    /// The mean of the values.
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: f64,
    /// The values.
    pub values: Vec<f64>,
}

/// Draws one line an entry, the first at the top: a dot at the mean, a bar of one standard deviation to either side, and
/// a small ring for each value. `unit` names the axis. An entry without a finite mean has an empty line.
///
/// # Errors
///
/// If the system refuses to write the file.
///
/// ```
/// use sed_train::report::{Interval, intervals_svg};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("ap.svg");
/// let interval = |name: &str, mean| Interval {
///     name: name.into(),
///     mean,
///     deviation: 1.0,
///     values: vec![mean - 1.0, mean, mean + 1.0],
/// };
/// intervals_svg(&path, "Three seeds", "AP", &[interval("supervised", 27.0), interval("sed", 34.0)])?;
/// let svg = std::fs::read_to_string(&path)?;
/// assert!(svg.contains("supervised") && svg.contains("Three seeds"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn intervals_svg(
    path: &Path,
    title: &str,
    unit: &str,
    intervals: &[Interval],
) -> Result<(), ReportError> {
    let svg = draw(title, unit, intervals)
        .map_err(|error| ReportError::Curves { path: path.to_owned(), reason: error.to_string() })?;
    write_atomic(path, svg)
}

fn draw(title: &str, unit: &str, intervals: &[Interval]) -> Result<String, Box<dyn std::error::Error>> {
    let ends = |one: &Interval| [one.mean - one.deviation, one.mean + one.deviation];
    let all = intervals.iter().flat_map(|one| ends(one).into_iter().chain(one.values.iter().copied()));
    let finite: Vec<f64> = all.filter(|value| value.is_finite()).collect();
    let low = finite.iter().copied().reduce(f64::min).unwrap_or(0.0);
    let high = finite.iter().copied().reduce(f64::max).unwrap_or(1.0);
    let margin = ((high - low) * 0.05).max(0.5);
    let count = intervals.len();
    // Line `i` from the top lies at the height count − i − 1.
    let height_of = |index: usize| (count - index - 1) as f64;
    let name_at = |y: &f64| {
        let line = y.round();
        let index = (count as f64 - line - 1.0) as usize;
        let near = (y - line).abs() < 1e-6 && line >= 0.0 && line < count as f64;
        if near { intervals[index].name.clone() } else { String::new() }
    };

    let mut svg = String::new();
    {
        let root =
            SVGBackend::with_string(&mut svg, (960, 110 + 34 * count.max(1) as u32)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 22))
            .margin(14)
            .x_label_area_size(42)
            .y_label_area_size(260)
            .build_cartesian_2d(low - margin..high + margin, (-1.0..count.max(1) as f64).step(1.0))?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc(unit)
            .y_labels(count + 2)
            .y_label_formatter(&name_at)
            .label_style(("sans-serif", 14))
            .draw()?;
        for (index, one) in intervals.iter().enumerate().filter(|(_, one)| one.mean.is_finite()) {
            let [r, g, b] = line_color(index);
            let (color, y) = (RGBColor(r, g, b), height_of(index));
            let [left, right] = ends(one);
            chart.draw_series([PathElement::new([(left, y), (right, y)], color.stroke_width(3))])?;
            chart.draw_series([Circle::new((one.mean, y), 5, color.filled())])?;
            let values = one.values.iter().filter(|value| value.is_finite());
            chart.draw_series(values.map(|&value| Circle::new((value, y), 4, color.stroke_width(1))))?;
        }
        root.present()?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_has_its_name_its_bar_and_its_values() {
        let one = |name: &str, values: &[f64]| Interval {
            name: name.into(),
            mean: values.iter().sum::<f64>() / values.len() as f64,
            deviation: 1.0,
            values: values.to_vec(),
        };
        let svg =
            draw("AP", "percent", &[one("supervised", &[1.0, 3.0]), one("sed", &[4.0, 6.0, 8.0])]).unwrap();
        for text in ["supervised", "sed", "percent"] {
            assert!(svg.contains(text), "{text}");
        }
        // A dot and the values of each.
        assert_eq!(svg.matches("<circle").count(), 2 + 2 + 3);
    }

    #[test]
    fn nothing_and_entries_without_values_are_drawn_too() {
        draw("nothing", "AP", &[]).unwrap();
        let empty = Interval { name: "failed".into(), mean: f64::NAN, deviation: 0.0, values: Vec::new() };
        let svg = draw("one", "AP", &[empty]).unwrap();
        assert!(svg.contains("failed") && !svg.contains("<circle"));
    }
}
