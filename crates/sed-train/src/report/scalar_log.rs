use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    ReportError,
    table::{csv_cells, csv_field},
    write_atomic,
};

/// The scalars of one iteration.
///
/// ```
/// use sed_train::report::{ScalarLog, ScalarRow};
///
/// # let dir = tempfile::tempdir()?;
/// let values = [("loss".to_owned(), 0.5)].into();
/// let mut log = ScalarLog::create(dir.path())?;
/// log.append(7, &values)?;
/// assert_eq!(log.read()?.rows(), [ScalarRow { iteration: 7, values }]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ScalarRow {
    /// The iteration that they belong to.
    pub iteration: u64,
    /// Values by name.
    pub values: BTreeMap<String, f64>,
}

/// The scalars of a run, written row by row to `metrics.jsonl` and `metrics.csv`.
///
/// A line of `metrics.jsonl` is an object of `iteration` and the row's values. `metrics.csv` has one
/// column a name: `iteration` first, then the names in the order of their first row, alphabetic
/// within it. A name that first appears later (a loss that starts after the burn-in) becomes a new
/// last column, so no column ever moves; a cell without a value is empty. A value that is not finite
/// is `null` in JSON and `NaN`, `inf` or `-inf` in CSV.
///
/// Both files are complete after each row. No row stays in memory: a long run has many.
///
/// ```
/// use sed_train::report::ScalarLog;
///
/// # let dir = tempfile::tempdir()?;
/// let mut log = ScalarLog::create(dir.path())?;
/// log.append(0, &[("loss".to_owned(), 0.5)].into())?;
/// log.append(1, &[("loss".to_owned(), 0.25), ("half".to_owned(), 2.0)].into())?;
/// log.sync()?; // as before a checkpoint
/// let csv = std::fs::read_to_string(dir.path().join("metrics.csv"))?;
/// assert_eq!(csv, "iteration,loss,half\n0,0.5,\n1,0.25,2\n");
///
/// // The run was stopped, and its last checkpoint is of iteration 1.
/// let log = ScalarLog::resume(dir.path(), 1)?;
/// assert_eq!(log.read()?.series("loss"), [(0.0, 0.5)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ScalarLog {
    jsonl_path: PathBuf,
    csv_path: PathBuf,
    jsonl: File,
    csv: File,
    columns: Vec<String>,
}

/// All rows of a [`ScalarLog`], as they were at one time.
///
/// ```
/// use sed_train::report::ScalarLog;
///
/// # let dir = tempfile::tempdir()?;
/// # let mut log = ScalarLog::create(dir.path())?;
/// # for (iteration, loss) in [(0, 0.5), (1, 0.25)] {
/// #     log.append(iteration, &[("loss".to_owned(), loss)].into())?;
/// # }
/// # log.append(1, &[("ap".to_owned(), 0.3)].into())?;
/// let scalars = log.read()?; // of two steps and an evaluation
/// assert_eq!(scalars.names(), ["loss", "ap"]);
/// assert_eq!(scalars.rows().len(), 3);
/// assert_eq!(scalars.series("loss"), [(0.0, 0.5), (1.0, 0.25)]);
/// assert_eq!(scalars.series("ap"), [(1.0, 0.3)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Scalars {
    names: Vec<String>,
    rows: Vec<ScalarRow>,
}

impl Scalars {
    /// The rows, in the order in which they came.
    pub fn rows(&self) -> &[ScalarRow] {
        &self.rows
    }

    /// The names, in the order of the columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The curve of a name: `(iteration, value)` of each row that has it.
    pub fn series(&self, name: &str) -> Vec<(f64, f64)> {
        self.rows
            .iter()
            .filter_map(|row| row.values.get(name).map(|&value| (row.iteration as f64, value)))
            .collect()
    }
}

impl ScalarLog {
    /// Starts `metrics.jsonl` and `metrics.csv` in a folder.
    ///
    /// # Errors
    ///
    /// If one of them exists, or the system refuses.
    pub fn create(folder: &Path) -> Result<Self, ReportError> {
        let (jsonl_path, csv_path) = (folder.join("metrics.jsonl"), folder.join("metrics.csv"));
        let mut csv = create_new(&csv_path)?;
        append(&mut csv, &csv_path, "iteration\n")?;
        let jsonl = create_new(&jsonl_path)?;
        Ok(Self { jsonl_path, csv_path, jsonl, csv, columns: Vec::new() })
    }

    /// Goes on with the log of a run that was stopped: rows from iteration `end` on are taken out of both files, and
    /// new rows follow those before. A line that was cut off in the middle counts as not written; a folder without a log gets
    /// an empty one.
    ///
    /// # Errors
    ///
    /// If `metrics.csv` is not such a log, or the system refuses.
    pub fn resume(folder: &Path, end: u64) -> Result<Self, ReportError> {
        let (jsonl_path, csv_path) = (folder.join("metrics.jsonl"), folder.join("metrics.csv"));
        let rows = if csv_path.exists() { read_rows(&csv_path)? } else { Vec::new() };
        let rows: Vec<ScalarRow> = rows.into_iter().filter(|row| row.iteration < end).collect();
        let mut columns = Vec::new();
        for row in &rows {
            join_names(&mut columns, row);
        }
        write_atomic(&jsonl_path, rows.iter().map(json_line).collect::<String>())?;
        write_atomic(&csv_path, csv_text(&columns, &rows))?;
        let (jsonl, csv) = (open_to_append(&jsonl_path)?, open_to_append(&csv_path)?);
        Ok(Self { jsonl_path, csv_path, jsonl, csv, columns })
    }

    /// Waits until both files are on the disk.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn sync(&self) -> Result<(), ReportError> {
        for (file, path) in [(&self.jsonl, &self.jsonl_path), (&self.csv, &self.csv_path)] {
            file.sync_data().map_err(|source| ReportError::Io { path: path.clone(), source })?;
        }
        Ok(())
    }

    /// Adds a row to both files.
    ///
    /// An iteration may have several rows, as when an evaluation follows a training step.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    ///
    /// # Panics
    ///
    /// If a value is named `iteration`.
    pub fn append(&mut self, iteration: u64, values: &BTreeMap<String, f64>) -> Result<(), ReportError> {
        assert!(!values.contains_key("iteration"), "ScalarLog: a value may not be named `iteration`");
        let row = ScalarRow { iteration, values: values.clone() };
        append(&mut self.jsonl, &self.jsonl_path, &json_line(&row))?;
        if !join_names(&mut self.columns, &row) {
            return append(&mut self.csv, &self.csv_path, &csv_line(&self.columns, &row));
        }
        // The earlier lines get an empty cell, so the file is written anew.
        let mut rows = read_rows(&self.csv_path)?;
        rows.push(row);
        write_atomic(&self.csv_path, csv_text(&self.columns, &rows))?;
        self.csv = open_to_append(&self.csv_path)?;
        Ok(())
    }

    /// Reads all rows so far.
    ///
    /// # Errors
    ///
    /// If the file is not as it was written, or the system refuses.
    pub fn read(&self) -> Result<Scalars, ReportError> {
        Ok(Scalars { names: self.columns.clone(), rows: read_rows(&self.csv_path)? })
    }
}

/// Gives the names of a row that are new a column each; whether there were any.
fn join_names(columns: &mut Vec<String>, row: &ScalarRow) -> bool {
    let new: Vec<_> = row.values.keys().filter(|name| !columns.contains(name)).cloned().collect();
    columns.extend_from_slice(&new);
    !new.is_empty()
}

fn csv_text(columns: &[String], rows: &[ScalarRow]) -> String {
    let header = std::iter::once("iteration".to_owned()).chain(columns.iter().map(|name| csv_field(name)));
    let mut text = header.collect::<Vec<_>>().join(",");
    text.push('\n');
    text.extend(rows.iter().map(|row| csv_line(columns, row)));
    text
}

fn csv_line(columns: &[String], row: &ScalarRow) -> String {
    let mut line = row.iteration.to_string();
    for name in columns {
        line.push(',');
        if let Some(value) = row.values.get(name) {
            line.push_str(&value.to_string());
        }
    }
    line.push('\n');
    line
}

fn json_line(row: &ScalarRow) -> String {
    let mut object = Map::new();
    object.insert("iteration".into(), row.iteration.into());
    object.extend(row.values.iter().map(|(name, &value)| (name.clone(), Value::from(value))));
    format!("{}\n", Value::Object(object))
}

/// The rows of a log, from its table: that holds what JSON has no numbers for, and its numbers are read back to the bit.
fn read_rows(csv: &Path) -> Result<Vec<ScalarRow>, ReportError> {
    let text = fs::read_to_string(csv);
    let text = text.map_err(|source| ReportError::Io { path: csv.to_owned(), source })?;
    let refused = |(line, reason)| ReportError::Log { path: csv.to_owned(), line, reason };
    parse_rows(&text).map_err(refused)
}

/// The rows of `metrics.csv`, or the number of the line that is none, with the reason.
fn parse_rows(text: &str) -> Result<Vec<ScalarRow>, (usize, String)> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = whole.lines();
    let header = csv_cells(lines.next().unwrap_or("iteration"));
    if header.first().map(String::as_str) != Some("iteration") {
        return Err((1, "the first column is not `iteration`".into()));
    }
    let row = |(index, line): (usize, &str)| {
        let cells = csv_cells(line);
        let refuse = |reason: String| (index + 2, reason);
        if cells.len() != header.len() {
            return Err(refuse(format!("{} cells under {} columns", cells.len(), header.len())));
        }
        let iteration = cells[0].parse().map_err(|_| refuse(format!("{:?} is no iteration", cells[0])))?;
        let mut values = BTreeMap::new();
        for (name, cell) in header.iter().zip(&cells).skip(1).filter(|(_, cell)| !cell.is_empty()) {
            let value = cell.parse().map_err(|_| refuse(format!("{name}: {cell:?} is no number")))?;
            values.insert(name.clone(), value);
        }
        Ok(ScalarRow { iteration, values })
    };
    lines.enumerate().map(row).collect()
}

fn open_to_append(path: &Path) -> Result<File, ReportError> {
    let file = OpenOptions::new().append(true).open(path);
    file.map_err(|source| ReportError::Io { path: path.to_owned(), source })
}

fn create_new(path: &Path) -> Result<File, ReportError> {
    File::create_new(path).map_err(|source| ReportError::Io { path: path.to_owned(), source })
}

fn append(file: &mut File, path: &Path, text: &str) -> Result<(), ReportError> {
    // One write call a line: a reader never meets half a line.
    let result: io::Result<()> = file.write_all(text.as_bytes());
    result.map_err(|source| ReportError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn row(values: &[(&str, f64)]) -> BTreeMap<String, f64> {
        values.iter().map(|&(name, value)| (name.to_owned(), value)).collect()
    }

    #[test]
    fn columns_keep_their_place_when_names_join_later() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = ScalarLog::create(folder.path()).unwrap();
        let csv = || fs::read_to_string(folder.path().join("metrics.csv")).unwrap();
        assert_eq!(csv(), "iteration\n");
        log.append(1, &row(&[("loss", 2.5), ("box", 0.5)])).unwrap();
        log.append(2, &row(&[("loss", 2.0)])).unwrap();
        assert_eq!(csv(), "iteration,box,loss\n1,0.5,2.5\n2,,2\n");
        log.append(2, &row(&[("ap", 0.25), ("loss", 1.0)])).unwrap();
        log.append(3, &row(&[("ap", 0.5), ("box", 0.125)])).unwrap();
        assert_eq!(csv(), "iteration,box,loss,ap\n1,0.5,2.5,\n2,,2,\n2,,1,0.25\n3,0.125,,0.5\n");
        let scalars = log.read().unwrap();
        assert_eq!(scalars.names(), ["box", "loss", "ap"]);
        assert_eq!(scalars.series("ap"), [(2.0, 0.25), (3.0, 0.5)]);
        assert_eq!(scalars.series("nothing"), []);
        assert_eq!(scalars.rows().len(), 4);
    }

    #[test]
    fn json_lines_hold_each_row_as_it_came() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = ScalarLog::create(folder.path()).unwrap();
        log.append(1, &row(&[("loss", 0.1)])).unwrap();
        log.append(2, &row(&[("loss", f64::NAN), ("norm", f64::INFINITY)])).unwrap();
        let text = fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0], serde_json::json!({"iteration": 1, "loss": 0.1}));
        assert_eq!(lines[1], serde_json::json!({"iteration": 2, "loss": null, "norm": null}));
        let csv = fs::read_to_string(folder.path().join("metrics.csv")).unwrap();
        assert_eq!(csv.lines().last(), Some("2,NaN,inf"));
    }

    #[test]
    fn names_with_commas_are_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = ScalarLog::create(folder.path()).unwrap();
        log.append(1, &row(&[("ap \"cat, dog\"", 1.0)])).unwrap();
        let csv = fs::read_to_string(folder.path().join("metrics.csv")).unwrap();
        assert_eq!(csv, "iteration,\"ap \"\"cat, dog\"\"\"\n1,1\n");
    }

    #[test]
    fn an_earlier_log_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        ScalarLog::create(folder.path()).unwrap().append(1, &row(&[("loss", 1.0)])).unwrap();
        let error = ScalarLog::create(folder.path()).unwrap_err();
        assert!(error.to_string().contains("metrics.csv"), "{error}");
        assert!(fs::read_to_string(folder.path().join("metrics.csv")).unwrap().contains("1,1"));
    }

    #[test]
    fn a_resumed_log_ends_as_one_that_was_never_stopped() {
        let third = 1.0 / 3.0;
        let rows = [
            (1, row(&[("loss", third), ("a, \"b\"", f64::NAN)])),
            (2, row(&[("loss", f64::MIN_POSITIVE), ("norm", f64::INFINITY)])),
            (2, row(&[("ap", 0.1 + 0.2)])),
            (3, row(&[("loss", -0.0), ("late", 1e300)])),
            (4, row(&[("loss", 2.0)])),
        ];
        let files =
            |folder: &Path| ["metrics.csv", "metrics.jsonl"].map(|name| fs::read(folder.join(name)).unwrap());
        let whole = tempfile::tempdir().unwrap();
        let mut log = ScalarLog::create(whole.path()).unwrap();
        rows.iter().for_each(|(iteration, values)| log.append(*iteration, values).unwrap());

        for end in 0..6 {
            for stopped_after in 0..=rows.len() {
                let folder = tempfile::tempdir().unwrap();
                let mut log = ScalarLog::create(folder.path()).unwrap();
                rows[..stopped_after].iter().for_each(|(i, values)| log.append(*i, values).unwrap());
                // What a killed process leaves of a row.
                append(&mut log.csv, &log.csv_path, "9,0.").unwrap();
                append(&mut log.jsonl, &log.jsonl_path, "{\"iteration\":9,").unwrap();
                let mut log = ScalarLog::resume(folder.path(), end).unwrap();
                let kept = rows[..stopped_after].iter().filter(|(iteration, _)| *iteration < end).count();
                assert_eq!(log.read().unwrap().rows().len(), kept);
                log.sync().unwrap();
                rows[kept..].iter().for_each(|(i, values)| log.append(*i, values).unwrap());
                assert_eq!(
                    files(folder.path()),
                    files(whole.path()),
                    "end {end}, stopped after {stopped_after}"
                );
            }
        }
    }

    #[test]
    fn a_file_that_is_no_log_is_refused_with_its_line() {
        for (text, line, reason) in [
            ("loss\n1\n", 1, "first column"),
            ("iteration,loss\n1,2\nx,2\n", 3, "no iteration"),
            ("iteration,loss\n1\n", 2, "1 cells under 2"),
            ("iteration,loss\n1,abc\n", 2, "no number"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("metrics.csv"), text).unwrap();
            let error = ScalarLog::resume(folder.path(), 5).unwrap_err().to_string();
            assert!(error.contains(&format!("metrics.csv:{line}")) && error.contains(reason), "{error}");
        }
        let empty = tempfile::tempdir().unwrap();
        assert!(ScalarLog::resume(empty.path(), 5).unwrap().read().unwrap().rows().is_empty());
        assert_eq!(fs::read_to_string(empty.path().join("metrics.csv")).unwrap(), "iteration\n");
    }

    #[test]
    #[should_panic(expected = "may not be named `iteration`")]
    fn the_name_iteration_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let _ = ScalarLog::create(folder.path()).unwrap().append(1, &row(&[("iteration", 1.0)]));
    }
}
