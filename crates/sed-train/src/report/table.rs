use std::path::Path;

use serde_json::{Map, Value};

use super::{ReportError, write_atomic};

/// One cell of a [`ResultTable`].
///
/// ```
/// use sed_train::report::{Cell, ResultTable};
///
/// let mut table = ResultTable::new(["text", "number", "missing"]);
/// table.push([Cell::from("sed"), Cell::number(34.25, 1), Cell::Missing]);
/// assert_eq!(table.to_json().to_string(), r#"[{"missing":null,"number":34.25,"text":"sed"}]"#);
/// assert!(table.to_markdown().contains("| sed "));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Text, aligned to the left.
    Text(String),
    /// A number, aligned to the right; CSV and JSON keep all its digits.
    Number {
        /// The value; one that is not finite is shown as missing.
        value: f64,
        /// Digits after the point in text and Markdown.
        decimals: usize,
    },
    /// A value that does not apply, such as the teacher of a run that has none.
    Missing,
}

impl Cell {
    /// A number with the given digits after the point.
    pub fn number(value: f64, decimals: usize) -> Self {
        Self::Number { value, decimals }
    }

    fn show(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number { value, decimals } if value.is_finite() => format!("{value:.decimals$}"),
            Self::Number { .. } | Self::Missing => "–".to_owned(),
        }
    }

    fn raw(&self) -> Value {
        match self {
            Self::Text(text) => text.clone().into(),
            // serde_json has no NaN: such a value becomes null.
            Self::Number { value, .. } => (*value).into(),
            Self::Missing => Value::Null,
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// A table of results as text, Markdown, CSV and JSON.
///
/// ```
/// use sed_train::report::{Cell, ResultTable};
///
/// let mut table = ResultTable::new(["method", "AP"]);
/// table.push([Cell::from("supervised"), Cell::number(9.24, 1)]);
/// table.push([Cell::from("sed"), Cell::Missing]);
/// assert_eq!(table.to_text(), "method       AP\nsupervised  9.2\nsed           –\n");
/// assert_eq!(table.to_csv(), "method,AP\nsupervised,9.24\nsed,\n");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ResultTable {
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

impl ResultTable {
    /// An empty table with the given column names.
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Self {
        Self { columns: columns.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row at the end.
    ///
    /// # Panics
    ///
    /// If the row has not one cell a column.
    pub fn push(&mut self, row: impl IntoIterator<Item = Cell>) {
        let row: Vec<_> = row.into_iter().collect();
        assert_eq!(
            row.len(),
            self.columns.len(),
            "ResultTable: a row of {} cells for {} columns",
            row.len(),
            self.columns.len()
        );
        self.rows.push(row);
    }

    /// Lines with aligned columns, two spaces apart.
    pub fn to_text(&self) -> String {
        let widths = self.widths();
        let mut text = String::new();
        for cells in self.shown() {
            let line: Vec<_> = cells
                .iter()
                .enumerate()
                .map(|(column, cell)| align(cell, widths[column], self.is_numeric(column)))
                .collect();
            text.push_str(line.join("  ").trim_end());
            text.push('\n');
        }
        text
    }

    /// A Markdown table, aligned in its source too.
    pub fn to_markdown(&self) -> String {
        let widths: Vec<_> = self.widths().into_iter().map(|width| width.max(3)).collect();
        let mut text = String::new();
        for (index, cells) in self.shown().into_iter().enumerate() {
            let line: Vec<_> = cells
                .iter()
                .enumerate()
                .map(|(column, cell)| align(&markdown(cell), widths[column], self.is_numeric(column)))
                .collect();
            text.push_str(&format!("| {} |\n", line.join(" | ")));
            if index == 0 {
                let rule: Vec<_> = (0..widths.len())
                    .map(|column| match self.is_numeric(column) {
                        true => format!("{}:", "-".repeat(widths[column] - 1)),
                        false => "-".repeat(widths[column]),
                    })
                    .collect();
                text.push_str(&format!("| {} |\n", rule.join(" | ")));
            }
        }
        text
    }

    /// Comma-separated values under a header, with all digits; a missing value is empty.
    pub fn to_csv(&self) -> String {
        let mut text = self.columns.iter().map(|name| csv_field(name)).collect::<Vec<_>>().join(",");
        text.push('\n');
        for row in &self.rows {
            let cells: Vec<_> = row
                .iter()
                .map(|cell| match cell {
                    Cell::Text(text) => csv_field(text),
                    Cell::Number { value, .. } => value.to_string(),
                    Cell::Missing => String::new(),
                })
                .collect();
            text.push_str(&cells.join(","));
            text.push('\n');
        }
        text
    }

    /// An array with one object a row, keyed by column, with all digits; a missing value is null.
    pub fn to_json(&self) -> Value {
        let object = |row: &Vec<Cell>| {
            let entries = self.columns.iter().zip(row).map(|(name, cell)| (name.clone(), cell.raw()));
            Value::Object(entries.collect::<Map<_, _>>())
        };
        Value::Array(self.rows.iter().map(object).collect())
    }

    /// Writes `stem.txt`, `stem.md`, `stem.csv` and `stem.json` into a folder.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    ///
    /// ```
    /// use sed_train::report::{Cell, ResultTable};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let mut table = ResultTable::new(["method", "AP"]);
    /// table.push([Cell::from("sed"), Cell::number(34.2, 1)]);
    /// table.write(dir.path(), "results")?;
    /// assert_eq!(std::fs::read_to_string(dir.path().join("results.csv"))?, table.to_csv());
    /// assert_eq!(std::fs::read_to_string(dir.path().join("results.md"))?, table.to_markdown());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write(&self, folder: &Path, stem: &str) -> Result<(), ReportError> {
        write_atomic(&folder.join(format!("{stem}.txt")), self.to_text())?;
        write_atomic(&folder.join(format!("{stem}.md")), self.to_markdown())?;
        write_atomic(&folder.join(format!("{stem}.csv")), self.to_csv())?;
        write_atomic(&folder.join(format!("{stem}.json")), format!("{:#}\n", self.to_json()))
    }

    /// The header and all rows as they are shown.
    pub(super) fn shown(&self) -> Vec<Vec<String>> {
        let rows = self.rows.iter().map(|row| row.iter().map(Cell::show).collect());
        std::iter::once(self.columns.clone()).chain(rows).collect()
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = vec![0; self.columns.len()];
        for cells in self.shown() {
            for (width, cell) in widths.iter_mut().zip(&cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }

    /// Whether a column holds numbers, and no text.
    pub(super) fn is_numeric(&self, column: usize) -> bool {
        let mut cells = self.rows.iter().map(|row| &row[column]);
        cells.clone().all(|cell| !matches!(cell, Cell::Text(_)))
            && cells.any(|cell| matches!(cell, Cell::Number { .. }))
    }
}

fn align(cell: &str, width: usize, right: bool) -> String {
    if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
}

/// A cell of a Markdown table, whose bars would end it.
fn markdown(text: &str) -> String {
    text.replace('|', "\\|")
}

/// A field of a CSV line: quoted where it holds a comma, a quote or a line break.
pub(super) fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// The fields of a CSV line, as [`csv_field`] writes them.
pub(super) fn csv_cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                cells.last_mut().into_iter().for_each(|cell| cell.push('"'));
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            other => cells.last_mut().into_iter().for_each(|cell| cell.push(other)),
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> ResultTable {
        let mut table = ResultTable::new(["method", "model", "AP", "time, s"]);
        table.push(["supervised".into(), "plain".into(), Cell::number(9.2, 1), Cell::number(61.04, 0)]);
        table.push(["sed".into(), "teacher".into(), Cell::number(11.28, 1), Cell::Missing]);
        table.push(["é".into(), "".into(), Cell::number(f64::NAN, 1), Cell::number(130.0, 0)]);
        table
    }

    #[test]
    fn csv_fields_are_read_back() {
        for fields in [&["a", "", "c"][..], &["x, \"y\"", "\"\"", ","], &[""], &["é", "1e-3"]] {
            let line = fields.iter().map(|field| csv_field(field)).collect::<Vec<_>>().join(",");
            assert_eq!(csv_cells(&line), fields);
        }
    }

    #[test]
    fn text_is_aligned() {
        let expected = "\
method      model      AP  time, s
supervised  plain     9.2       61
sed         teacher  11.3        –
é                       –      130
";
        assert_eq!(table().to_text(), expected);
    }

    #[test]
    fn markdown_is_aligned_and_numbers_stand_right() {
        let expected = "\
| method     | model   |   AP | time, s |
| ---------- | ------- | ---: | ------: |
| supervised | plain   |  9.2 |      61 |
| sed        | teacher | 11.3 |       – |
| é          |         |    – |     130 |
";
        assert_eq!(table().to_markdown(), expected);
    }

    #[test]
    fn bars_do_not_end_a_markdown_cell() {
        let mut table = ResultTable::new(["a|b"]);
        table.push(["c|d".into()]);
        assert_eq!(table.to_markdown(), "| a\\|b |\n| --- |\n| c\\|d |\n");
    }

    #[test]
    fn csv_and_json_keep_all_digits() {
        let csv = table().to_csv();
        assert_eq!(csv.lines().next(), Some("method,model,AP,\"time, s\""));
        assert_eq!(csv.lines().nth(1), Some("supervised,plain,9.2,61.04"));
        assert_eq!(csv.lines().nth(2), Some("sed,teacher,11.28,"));
        let json = table().to_json();
        assert_eq!(json[0]["time, s"], 61.04);
        assert_eq!(json[1]["AP"], 11.28);
        assert!(json[1]["time, s"].is_null() && json[2]["AP"].is_null());
    }

    #[test]
    fn all_four_files_are_written() {
        let folder = tempfile::tempdir().unwrap();
        table().write(folder.path(), "results").unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("results.txt"), table().to_text());
        assert_eq!(read("results.md"), table().to_markdown());
        assert_eq!(read("results.csv"), table().to_csv());
        assert_eq!(serde_json::from_str::<Value>(&read("results.json")).unwrap(), table().to_json());
    }

    #[test]
    #[should_panic(expected = "a row of 1 cells for 2 columns")]
    fn a_row_of_another_width_is_refused() {
        ResultTable::new(["a", "b"]).push([Cell::Missing]);
    }
}
