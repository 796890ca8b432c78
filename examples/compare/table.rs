//! The results of all runs as tables and pictures.

use std::path::Path;

use anyhow::Result;
use sed::train::{
    eval::CocoSummary,
    report::{
        Cell, Chart, Interval, ResultTable, RunReport, Series, curves_svg, intervals_svg, write_atomic,
    },
};

use crate::result::{Numbers, RunResult};

/// Of the twelve numbers AP, AP50, AP75, APs, APm, APl.
const SHOWN: usize = 6;

/// One row: the runs of a variant, looked at in one way.
struct Row<'a> {
    name: String,
    runs: Vec<&'a RunResult>,
    numbers: fn(&RunResult) -> Option<&Numbers>,
}

impl Row<'_> {
    /// Number `index` of each run that has it, in percent.
    fn values(&self, index: usize) -> Vec<f64> {
        let value =
            |run: &&RunResult| (self.numbers)(run).and_then(|numbers| numbers[index]).map(|v| 100.0 * v);
        self.runs.iter().filter_map(value).collect()
    }

    /// By how much its AP exceeds another row's, run by run of the same draw and seed.
    fn gains(&self, over: &Row) -> Vec<f64> {
        let ap = |row: &Row, run: &RunResult| (row.numbers)(run).and_then(|numbers| numbers[0]);
        let gain = |run: &&RunResult| {
            let same = |other: &&&RunResult| (other.fold, other.seed) == (run.fold, run.seed);
            let other = over.runs.iter().find(same)?;
            Some(100.0 * (ap(self, run)? - ap(over, other)?))
        };
        self.runs.iter().filter_map(gain).collect()
    }
}

/// The rows of the table: of the supervised runs the weights after the last step and their average, of each method the
/// teacher, and each teacher at several scales where that was asked for.
fn rows<'a>(variants: &[String], results: &'a [RunResult]) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    for name in variants {
        let runs: Vec<&RunResult> = results.iter().filter(|run| run.variant == *name).collect();
        let Some(first) = runs.first() else { continue };
        let mut push = |name: String, numbers: fn(&RunResult) -> Option<&Numbers>| {
            rows.push(Row { name, runs: runs.clone(), numbers });
        };
        if first.method.is_semi_supervised() {
            push(name.clone(), |run| Some(&run.teacher));
        } else {
            push(name.clone(), |run| Some(&run.student));
            push(format!("{name}, EMA"), |run| Some(&run.teacher));
        }
        if let Some(at) = &first.at_scales {
            let scales: Vec<String> = at.scales.iter().map(ToString::to_string).collect();
            push(format!("{name}, at {}", scales.join(" + ")), |run| {
                run.at_scales.as_ref().map(|at| &at.numbers)
            });
        }
    }
    rows
}

/// Mean and standard deviation (n − 1), the latter 0 for a single value.
fn spread(values: &[f64]) -> Option<(f64, f64)> {
    if values.is_empty() {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let square: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((mean, if values.len() > 1 { (square / (n - 1.0)).sqrt() } else { 0.0 }))
}

fn spread_cell(values: &[f64], decimals: usize) -> Cell {
    match spread(values) {
        None => Cell::Missing,
        Some((mean, _)) if values.len() == 1 => Cell::number(mean, decimals),
        Some((mean, deviation)) => Cell::from(format!("{mean:.decimals$} ± {deviation:.decimals$}")),
    }
}

/// Writes `results.md` and `results.csv` (means and deviations), `runs.csv` (each run), `ap.svg` and `curves.svg`, all of it
/// with the `recipe` of the runs as `report.html`, and prints the table.
pub fn write(
    folder: &Path,
    title: &str,
    variants: &[String],
    results: &[RunResult],
    recipe: &str,
) -> Result<()> {
    let rows = rows(variants, results);
    let baseline = rows.iter().find(|row| row.name == "supervised, EMA");
    let mut shown = ResultTable::new(
        ["run", "n"]
            .iter()
            .chain(&CocoSummary::NAMES[..SHOWN])
            .chain(&["gain", "steps", "minutes", "MiB"])
            .copied(),
    );
    let spread_names = CocoSummary::NAMES.map(|name| [name.to_string(), format!("{name} sd")]).concat();
    let mut csv = ResultTable::new(["run".to_string(), "n".to_string()].into_iter().chain(spread_names));
    for row in &rows {
        let n = Cell::number(row.runs.len() as f64, 0);
        let gain = baseline.map_or(Cell::Missing, |baseline| spread_cell(&row.gains(baseline), 1));
        let mean = |of: fn(&RunResult) -> Option<f64>| {
            let values: Vec<f64> = row.runs.iter().filter_map(|run| of(run)).collect();
            spread(&values).map(|(mean, _)| mean)
        };
        let cell =
            |value: Option<f64>, decimals| value.map_or(Cell::Missing, |value| Cell::number(value, decimals));
        let cells = [Cell::from(row.name.clone()), n.clone()].into_iter();
        let cells = cells.chain((0..SHOWN).map(|index| spread_cell(&row.values(index), 1)));
        shown.push(cells.chain([
            gain,
            cell(mean(|run| Some(run.iterations as f64)), 0),
            cell(mean(|run| Some(run.seconds / 60.0)), 1),
            cell(mean(|run| run.peak_mib), 0),
        ]));
        let numbers = (0..CocoSummary::NAMES.len()).flat_map(|index| match spread(&row.values(index)) {
            Some((mean, deviation)) => [Cell::number(mean, 2), Cell::number(deviation, 2)],
            None => [Cell::Missing, Cell::Missing],
        });
        csv.push([Cell::from(row.name.clone()), n].into_iter().chain(numbers));
    }
    write_atomic(&folder.join("results.md"), shown.to_markdown())?;
    write_atomic(&folder.join("results.csv"), csv.to_csv())?;
    write_atomic(&folder.join("runs.csv"), each_run(results).to_csv())?;

    let interval = |row: &Row| {
        let values = row.values(0);
        let (mean, deviation) = spread(&values).unwrap_or((f64::NAN, 0.0));
        Interval { name: row.name.clone(), mean, deviation, values }
    };
    let intervals: Vec<Interval> = rows.iter().map(interval).collect();
    intervals_svg(&folder.join("ap.svg"), title, "AP", &intervals)?;
    let curves = Chart {
        title: "AP of the teachers, mean of the runs".into(),
        x_label: "iteration".into(),
        x: None,
        y: None,
        series: curves(variants, results),
    };
    curves_svg(&folder.join("curves.svg"), &curves.title, &curves.series)?;

    println!("\n{}", shown.to_text());
    for run in results.iter().filter(|run| run.at_scales.is_some()).take(1) {
        if let Some(at) = &run.at_scales {
            println!(
                "detection at {} scales: {:.1} ms an image, at one {:.1} ms",
                at.scales.len(),
                at.milliseconds,
                at.single_milliseconds
            );
        }
    }
    let report = RunReport {
        title: title.to_string(),
        facts: vec![format!("{} runs; means and standard deviations over those of a row.", results.len())],
        warnings: Vec::new(),
        results: shown,
        curves: vec![curves],
        models: Vec::new(),
        config: recipe.to_string(),
    };
    write_atomic(&folder.join("report.html"), report.to_html()?)?;
    println!("tables, curves and all runs, also on a page, report.html: {}", folder.display());
    Ok(())
}

/// A row a run, with all numbers of student and teacher.
fn each_run(results: &[RunResult]) -> ResultTable {
    let names =
        ["student", "teacher"].map(|side| CocoSummary::NAMES.map(|name| format!("{side} {name}"))).concat();
    let first = ["run", "method", "fold", "seed", "steps", "seconds", "MiB"].map(String::from);
    let mut table = ResultTable::new(first.into_iter().chain(names));
    for run in results {
        let number = |value: Option<f64>| value.map_or(Cell::Missing, |value| Cell::number(value, 4));
        let cells = [
            Cell::from(run.variant.clone()),
            Cell::from(run.method.name()),
            Cell::number(run.fold as f64, 0),
            Cell::number(run.seed as f64, 0),
            Cell::number(run.iterations as f64, 0),
            Cell::number(run.seconds, 1),
            number(run.peak_mib),
        ];
        let numbers = run.student.iter().chain(&run.teacher).map(|value| number(*value));
        table.push(cells.into_iter().chain(numbers));
    }
    table
}

/// The mean AP of each variant's teachers over the steps.
fn curves(variants: &[String], results: &[RunResult]) -> Vec<Series> {
    let series = |name: &String| {
        let runs: Vec<&RunResult> = results.iter().filter(|run| run.variant == *name).collect();
        let steps = runs.first()?.curve.iter().map(|point| point.0);
        let point = |step: usize| {
            let at =
                |run: &&RunResult| run.curve.iter().find(|point| point.0 == step).and_then(|point| point.2);
            let values: Vec<f64> = runs.iter().filter_map(at).collect();
            Some((step as f64, 100.0 * spread(&values)?.0))
        };
        Some(Series { name: name.clone(), points: steps.filter_map(point).collect() })
    };
    variants.iter().filter_map(series).collect()
}
