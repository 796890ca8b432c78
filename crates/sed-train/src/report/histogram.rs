use std::path::Path;

use plotters::prelude::*;

use super::{
    ReportError,
    curves::{LEGEND_ROOM, format_tick},
    palette::line_color,
    write_atomic,
};

/// The share of a bin's width that its bars take together.
const FILLED: f64 = 0.875;

/// One kind of what a [`Histogram`] counts.
///
/// ```
/// use sed_train::report::{Bars, Histogram, VerticalScale, histogram_svg};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("sizes.svg");
/// let bars = |name: &str, counts: [f64; 2]| Bars { name: name.into(), counts: counts.into() };
/// let histogram = Histogram {
///     title: "Sizes".into(),
///     x_label: "pixels".into(),
///     y_label: "objects".into(),
///     edges: vec![0.0, 32.0, 96.0],
///     bars: vec![bars("train", [12.0, 5.0]), bars("validation", [3.0, 4.0])], // side by side
///     line: None,
///     scale: VerticalScale::Linear,
/// };
/// histogram_svg(&path, &histogram)?;
/// assert!(std::fs::read_to_string(&path)?.contains("validation"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Bars {
    /// The name in the legend.
    pub name: String,
    /// The height in each bin.
    pub counts: Vec<f64>,
}

/// A line over the bins of a [`Histogram`], with an axis of its own on the right.
///
/// ```
/// use sed_train::report::{BinLine, Histogram, VerticalScale, histogram_svg};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("ratio.svg");
/// let ratio = BinLine {
///     name: "foreground / background".into(),
///     values: vec![Some(0.1), None, Some(0.6)], // no anchors in the second bin
///     reference: Some(0.2),
/// };
/// let histogram = Histogram {
///     title: "Score differences".into(),
///     x_label: "difference".into(),
///     y_label: "anchors".into(),
///     edges: vec![0.0, 0.25, 0.5, 1.0],
///     bars: vec![],
///     line: Some(ratio),
///     scale: VerticalScale::Linear,
/// };
/// histogram_svg(&path, &histogram)?;
/// assert!(std::fs::read_to_string(&path)?.contains("foreground / background"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct BinLine {
    /// The name in the legend and at the axis.
    pub name: String,
    /// The value in each bin; the line is interrupted where there is none.
    pub values: Vec<Option<f64>>,
    /// A value that is marked by a dashed line across the picture.
    pub reference: Option<f64>,
}

/// How the vertical axes of a [`Histogram`] run.
///
/// ```
/// use sed_train::report::{Bars, Histogram, VerticalScale, histogram_svg};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("anchors.svg");
/// let svg = |scale| {
///     let histogram = Histogram {
///         title: "Anchors".into(),
///         x_label: "score".into(),
///         y_label: "anchors".into(),
///         edges: vec![0.0, 0.5, 1.0],
///         bars: vec![Bars { name: "all".into(), counts: vec![100_000.0, 10.0] }],
///         line: None,
///         scale,
///     };
///     histogram_svg(&path, &histogram).map(|()| std::fs::read_to_string(&path).unwrap_or_default())
/// };
/// // In equal steps the second bar would hardly be seen.
/// assert_ne!(svg(VerticalScale::Linear)?, svg(VerticalScale::Logarithmic)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerticalScale {
    /// In equal steps, bars from 0 on.
    Linear,
    /// In powers of ten, bars from ½ on; values of 0 and below are left out.
    Logarithmic,
}

/// Bars over bins, those of one bin side by side, and a line above them.
///
/// ```
/// use sed_train::diagnostics::SizeDistribution;
/// use sed_train::report::{Bars, Histogram, VerticalScale};
///
/// let sizes = SizeDistribution::new(&[10.0, 20.0, 90.0], 3);
/// let counts = sizes.counts.iter().map(|&count| count as f64).collect();
/// let histogram = Histogram {
///     title: "Sizes of objects".into(),
///     x_label: "pixels".into(),
///     y_label: "objects".into(),
///     edges: sizes.edges,
///     bars: vec![Bars { name: "train".into(), counts }],
///     line: None,
///     scale: VerticalScale::Linear,
/// };
/// assert_eq!(histogram.edges.len(), histogram.bars[0].counts.len() + 1);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// The caption.
    pub title: String,
    /// What the bins divide.
    pub x_label: String,
    /// What the bars count.
    pub y_label: String,
    /// The bounds of the bins, ascending, one more than there are bins.
    pub edges: Vec<f64>,
    /// The bars.
    pub bars: Vec<Bars>,
    /// The line.
    pub line: Option<BinLine>,
    /// The scale of both vertical axes.
    pub scale: VerticalScale,
}

/// Draws a histogram into one SVG picture of 960×540.
///
/// # Errors
///
/// If the system refuses to write the file.
///
/// # Panics
///
/// If there is no bin, the bounds do not ascend, or bars or line have not one value a bin.
///
/// ```
/// use sed_train::report::{Bars, Histogram, VerticalScale, histogram_svg};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("sizes.svg");
/// let histogram = Histogram {
///     title: "Sizes of objects".into(),
///     x_label: "pixels".into(),
///     y_label: "objects".into(),
///     edges: vec![0.0, 32.0, 96.0],
///     bars: vec![Bars { name: "train".into(), counts: vec![12.0, 5.0] }],
///     line: None,
///     scale: VerticalScale::Linear,
/// };
/// histogram_svg(&path, &histogram)?;
/// assert!(std::fs::read_to_string(&path)?.contains("Sizes of objects"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn histogram_svg(path: &Path, histogram: &Histogram) -> Result<(), ReportError> {
    histogram.check();
    let svg = draw(histogram)
        .map_err(|error| ReportError::Curves { path: path.to_owned(), reason: error.to_string() })?;
    write_atomic(path, svg)
}

impl Histogram {
    fn check(&self) {
        let ascending = self.edges.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(self.edges.len() > 1 && ascending, "Histogram: bins with the bounds {:?}", self.edges);
        let bins = self.edges.len() - 1;
        let lengths = self.bars.iter().map(|bars| bars.counts.len());
        for values in lengths.chain(self.line.iter().map(|line| line.values.len())) {
            assert!(values == bins, "Histogram: {values} values for {bins} bins");
        }
    }

    fn center(&self, bin: usize) -> f64 {
        (self.edges[bin] + self.edges[bin + 1]) / 2.0
    }

    /// The corners of the bars of one kind, in axis units.
    fn rectangles(&self, kind: usize, floor: f64) -> Vec<[(f64, f64); 2]> {
        let kinds = self.bars.len() as f64;
        let bars = self.bars[kind].counts.iter().enumerate().filter_map(|(bin, &count)| {
            let top = self.scale.position(count).filter(|&top| top > floor)?;
            let width = (self.edges[bin + 1] - self.edges[bin]) * FILLED / kinds;
            let left = self.center(bin) + (kind as f64 - kinds / 2.0) * width;
            Some([(left, floor), (left + width, top)])
        });
        bars.collect()
    }

    /// The line's points in axis units, a new part after each bin without a value.
    fn line_parts(&self, line: &BinLine) -> Vec<Vec<(f64, f64)>> {
        let mut parts = vec![Vec::new()];
        for (bin, value) in line.values.iter().enumerate() {
            match (value.and_then(|value| self.scale.position(value)), parts.last_mut()) {
                (Some(y), Some(part)) => part.push((self.center(bin), y)),
                _ => parts.push(Vec::new()),
            }
        }
        parts.retain(|part| !part.is_empty());
        parts
    }
}

impl VerticalScale {
    /// Where a value stands on the axis, if it can.
    fn position(self, value: f64) -> Option<f64> {
        match self {
            Self::Linear => Some(value).filter(|value| value.is_finite()),
            Self::Logarithmic => Some(value.log10()).filter(|position| position.is_finite()),
        }
    }

    /// Where bars begin.
    fn floor(self) -> f64 {
        match self {
            Self::Linear => 0.0,
            // Below 1, so that a bar of one is seen.
            Self::Logarithmic => 0.5_f64.log10(),
        }
    }

    /// The text at a tick; powers of ten alone have one on a logarithmic axis.
    fn tick(self, position: f64) -> String {
        match self {
            Self::Linear => format_tick(position),
            Self::Logarithmic if (position - position.round()).abs() < 1e-6 => {
                format_tick(10.0_f64.powf(position.round()))
            }
            Self::Logarithmic => String::new(),
        }
    }
}

fn draw(histogram: &Histogram) -> Result<String, Box<dyn std::error::Error>> {
    let scale = histogram.scale;
    let floor = scale.floor();
    let counts = histogram.bars.iter().flat_map(|bars| &bars.counts);
    let highest = counts.filter_map(|&count| scale.position(count)).fold(floor, f64::max);
    let highest = if highest > floor { highest } else { floor + 1.0 };
    let with_legend = histogram.bars.len() + usize::from(histogram.line.is_some()) > 1;
    let top = highest + (highest - floor) * if with_legend { LEGEND_ROOM } else { 0.05 };
    let (x_min, x_max) = (histogram.edges[0], histogram.edges[histogram.edges.len() - 1]);
    let parts = histogram.line.as_ref().map(|line| histogram.line_parts(line)).unwrap_or_default();
    let reference = histogram.line.as_ref().and_then(|line| line.reference);
    let reference = reference.and_then(|value| scale.position(value));
    let (right_min, right_max) =
        right_range(parts.iter().flatten().map(|point| point.1).chain(reference), scale);

    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (960, 540)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(&histogram.title, ("sans-serif", 22))
            .margin(14)
            .x_label_area_size(42)
            .y_label_area_size(72)
            .right_y_label_area_size(if histogram.line.is_some() { 72 } else { 0 })
            .build_cartesian_2d(x_min..x_max, floor..top)?
            .set_secondary_coord(x_min..x_max, right_min..right_max);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE)
            .x_desc(&histogram.x_label)
            .y_desc(&histogram.y_label)
            .x_label_formatter(&|x| format_tick(*x))
            .y_label_formatter(&|y| scale.tick(*y))
            .label_style(("sans-serif", 14))
            .draw()?;
        for (kind, bars) in histogram.bars.iter().enumerate() {
            let color = rgb(kind);
            let rectangles = histogram.rectangles(kind, floor);
            chart
                .draw_series(rectangles.into_iter().map(|corners| Rectangle::new(corners, color.filled())))?
                .label(&bars.name)
                .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 18, y + 5)], color.filled()));
        }
        if let Some(line) = &histogram.line {
            let color = BLACK;
            chart
                .configure_secondary_axes()
                .y_desc(&line.name)
                .y_label_formatter(&|y: &f64| scale.tick(*y))
                .label_style(("sans-serif", 14))
                .draw()?;
            if let Some(y) = reference {
                let grey = RGBColor(110, 110, 110).stroke_width(1);
                chart.draw_secondary_series(DashedLineSeries::new([(x_min, y), (x_max, y)], 6, 4, grey))?;
            }
            for part in &parts {
                chart.draw_secondary_series(LineSeries::new(part.iter().copied(), color.stroke_width(2)))?;
                chart.draw_secondary_series(part.iter().map(|&at| Circle::new(at, 3, color.filled())))?;
            }
            chart
                .draw_secondary_series(std::iter::empty::<Circle<(f64, f64), i32>>())?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(3)));
        }
        if with_legend {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperMiddle)
                .background_style(WHITE.mix(0.8))
                .border_style(RGBColor(190, 190, 190))
                .label_font(("sans-serif", 14))
                .draw()?;
        }
        root.present()?;
    }
    Ok(svg)
}

/// The range of the axis on the right, from 0 on if it is linear, with room for the legend.
fn right_range(positions: impl Iterator<Item = f64>, scale: VerticalScale) -> (f64, f64) {
    let start = match scale {
        VerticalScale::Linear => Some(0.0),
        VerticalScale::Logarithmic => None,
    };
    let (min, max) = positions
        .chain(start)
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), value| (min.min(value), max.max(value)));
    if min > max {
        return (0.0, 1.0);
    }
    let width = if max > min { max - min } else { 1.0 };
    match scale {
        VerticalScale::Linear => (min, max + width * LEGEND_ROOM),
        VerticalScale::Logarithmic => (min - width * 0.1, max + width * LEGEND_ROOM),
    }
}

fn rgb(index: usize) -> RGBColor {
    let [r, g, b] = line_color(index);
    RGBColor(r, g, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bins 0..2, 2..4, 4..8 with two kinds of bars and a line.
    fn histogram(scale: VerticalScale) -> Histogram {
        Histogram {
            title: "Anchors & more".into(),
            x_label: "score difference".into(),
            y_label: "anchors".into(),
            edges: vec![0.0, 2.0, 4.0, 8.0],
            bars: vec![
                Bars { name: "all".into(), counts: vec![1000.0, 10.0, 0.0] },
                Bars { name: "foreground".into(), counts: vec![10.0, 1.0, 0.0] },
            ],
            line: Some(BinLine {
                name: "ratio".into(),
                values: vec![Some(0.01), None, Some(0.1)],
                reference: Some(1.0),
            }),
            scale,
        }
    }

    #[test]
    fn bars_stand_side_by_side_on_the_floor() {
        let linear = histogram(VerticalScale::Linear);
        // A bin of 2 has bars of 2 · 0.875 / 2 = 0.875 to both sides of its centre; nothing is drawn for zero.
        assert_eq!(
            linear.rectangles(0, 0.0),
            [[(1.0 - 0.875, 0.0), (1.0, 1000.0)], [(3.0 - 0.875, 0.0), (3.0, 10.0)]]
        );
        assert_eq!(linear.rectangles(1, 0.0)[0], [(1.0, 0.0), (1.875, 10.0)]);
        let log = histogram(VerticalScale::Logarithmic);
        let floor = VerticalScale::Logarithmic.floor();
        let tops: Vec<f64> = log.rectangles(0, floor).iter().map(|corners| corners[1].1).collect();
        assert_eq!(tops, [3.0, 1.0]);
        assert_eq!(log.rectangles(1, floor)[1][1].1, 0.0);
    }

    #[test]
    fn the_line_is_interrupted_where_there_is_no_value() {
        let mut shown = histogram(VerticalScale::Logarithmic);
        let line = shown.line.clone().unwrap();
        assert_eq!(shown.line_parts(&line), [[(1.0, -2.0)], [(6.0, -1.0)]]);
        shown.scale = VerticalScale::Linear;
        let whole = BinLine { values: vec![Some(1.0), Some(0.0), Some(2.0)], ..line };
        assert_eq!(shown.line_parts(&whole), [[(1.0, 1.0), (3.0, 0.0), (6.0, 2.0)]]);
    }

    #[test]
    fn a_picture_has_its_bars_line_and_names() {
        for scale in [VerticalScale::Linear, VerticalScale::Logarithmic] {
            let svg = draw(&histogram(scale)).unwrap();
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
            for name in ["Anchors &amp; more", "score difference", "anchors", "all", "foreground", "ratio"] {
                assert!(svg.contains(name), "{name}");
            }
            assert_eq!(svg.matches("<circle").count(), 2);
            // Two bars of each kind and one in the legend.
            let [r, g, b] = line_color(1);
            let fill = format!("fill=\"#{r:02X}{g:02X}{b:02X}\"");
            let bars = svg.lines().filter(|line| line.starts_with("<rect") && line.contains(&fill));
            assert_eq!(bars.count(), 3, "{svg}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"));
        }
    }

    #[test]
    fn nothing_to_count_is_a_picture_too() {
        let mut empty = histogram(VerticalScale::Logarithmic);
        for bars in &mut empty.bars {
            bars.counts = vec![0.0; 3];
        }
        empty.line = Some(BinLine { name: "ratio".into(), values: vec![None; 3], reference: None });
        assert!(draw(&empty).unwrap().contains("ratio"));
        empty.line = None;
        assert!(!draw(&empty).unwrap().contains("ratio"));
    }

    #[test]
    fn powers_of_ten_have_a_tick() {
        let tick = |position| VerticalScale::Logarithmic.tick(position);
        assert_eq!([tick(-2.0), tick(0.0), tick(0.5), tick(4.0)], ["0.01", "1", "", "10000"]);
        assert_eq!(VerticalScale::Linear.tick(0.5), "0.5");
    }

    #[test]
    fn the_right_axis_holds_all_values() {
        assert_eq!(right_range([-2.0, 0.0].into_iter(), VerticalScale::Logarithmic), (-2.2, 0.6));
        assert_eq!(right_range([0.0].into_iter(), VerticalScale::Logarithmic), (-0.1, 0.3));
        assert_eq!(right_range([2.0].into_iter(), VerticalScale::Linear), (0.0, 2.6));
        assert_eq!(right_range([].into_iter(), VerticalScale::Logarithmic), (0.0, 1.0));
    }

    #[test]
    #[should_panic(expected = "2 values for 3 bins")]
    fn a_bar_for_each_bin_is_needed() {
        let mut short = histogram(VerticalScale::Linear);
        short.bars[1].counts.pop();
        let _ = histogram_svg(Path::new("never.svg"), &short);
    }
}
