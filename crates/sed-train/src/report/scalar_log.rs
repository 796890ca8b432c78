use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{ReportError, table::csv_field, write_atomic};

/// The scalars of one iteration.
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
/// Both files are complete after each row.
#[derive(Debug)]
pub struct ScalarLog {
    jsonl_path: PathBuf,
    csv_path: PathBuf,
    jsonl: File,
    csv: File,
    columns: Vec<String>,
    rows: Vec<ScalarRow>,
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
        Ok(Self { jsonl_path, csv_path, jsonl, csv, columns: Vec::new(), rows: Vec::new() })
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
        let mut object = Map::new();
        object.insert("iteration".into(), iteration.into());
        object.extend(values.iter().map(|(name, &value)| (name.clone(), Value::from(value))));
        append(&mut self.jsonl, &self.jsonl_path, &format!("{}\n", Value::Object(object)))?;

        self.rows.push(ScalarRow { iteration, values: values.clone() });
        let new: Vec<_> = values.keys().filter(|name| !self.columns.contains(name)).cloned().collect();
        if new.is_empty() {
            let line = self.csv_line(&self.rows[self.rows.len() - 1]);
            append(&mut self.csv, &self.csv_path, &line)
        } else {
            self.columns.extend(new);
            self.rewrite_csv()
        }
    }

    /// The rows so far, in the order in which they came.
    pub fn rows(&self) -> &[ScalarRow] {
        &self.rows
    }

    /// The names so far, in the order of the columns.
    pub fn names(&self) -> &[String] {
        &self.columns
    }

    /// The curve of a name: `(iteration, value)` of each row that has it.
    pub fn series(&self, name: &str) -> Vec<(f64, f64)> {
        self.rows
            .iter()
            .filter_map(|row| row.values.get(name).map(|&value| (row.iteration as f64, value)))
            .collect()
    }

    fn csv_line(&self, row: &ScalarRow) -> String {
        let mut line = row.iteration.to_string();
        for name in &self.columns {
            line.push(',');
            if let Some(value) = row.values.get(name) {
                line.push_str(&value.to_string());
            }
        }
        line.push('\n');
        line
    }

    /// A new header: the earlier lines get an empty cell, so the file is written anew.
    fn rewrite_csv(&mut self) -> Result<(), ReportError> {
        let mut text = String::from("iteration");
        for name in &self.columns {
            text.push(',');
            text.push_str(&csv_field(name));
        }
        text.push('\n');
        text.extend(self.rows.iter().map(|row| self.csv_line(row)));
        write_atomic(&self.csv_path, text)?;
        self.csv = OpenOptions::new()
            .append(true)
            .open(&self.csv_path)
            .map_err(|source| ReportError::Io { path: self.csv_path.clone(), source })?;
        Ok(())
    }
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
        assert_eq!(log.names(), ["box", "loss", "ap"]);
        assert_eq!(log.series("ap"), [(2.0, 0.25), (3.0, 0.5)]);
        assert_eq!(log.series("nothing"), []);
        assert_eq!(log.rows().len(), 4);
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
    #[should_panic(expected = "may not be named `iteration`")]
    fn the_name_iteration_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let _ = ScalarLog::create(folder.path()).unwrap().append(1, &row(&[("iteration", 1.0)]));
    }
}
