//! Answers on standard output: a table for people, one JSON object a line for machines. Failures and warnings on standard
//! error.

use std::io::Write;

use serde_json::Value;

/// Where answers go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// With `json`, for machines.
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether a machine reads.
    pub(crate) const fn is_json(self) -> bool {
        self.json
    }

    /// One thing: `text` for people, `value` for machines.
    pub(crate) fn show(self, text: &str, value: &Value) {
        if self.json {
            write_line(&value.to_string());
        } else {
            write_line(text);
        }
    }

    /// A list under the name `name`. `columns` are the fields that people see, in their order.
    pub(crate) fn list(self, name: &str, columns: &[&str], rows: Vec<Value>) {
        if self.json {
            write_line(&Value::from_iter([(name.to_owned(), Value::Array(rows))]).to_string());
        } else if rows.is_empty() {
            write_line(&format!("no {name}"));
        } else {
            write_line(&table(columns, &rows));
        }
    }
}

/// Columns as wide as their widest cell.
fn table(columns: &[&str], rows: &[Value]) -> String {
    let cell = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let head: Vec<String> =
        columns.iter().map(|column| column.to_uppercase().replace('_', " ")).collect();
    let body = rows.iter().map(|row| columns.iter().map(|column| cell(&row[*column])).collect());
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(body).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let padded = lines.iter().map(|line| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    padded.collect::<Vec<_>>().join("\n")
}

/// A reader that went away (`| head`) is no failure.
fn write_line(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _outcome = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// A line on standard error. Where nobody reads that either, there is nobody to tell.
pub(crate) fn write_error_line(line: &str) {
    let _outcome = writeln!(std::io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [
            json!({"name": "acme", "daily_max": Value::Null, "hidden": 1}),
            json!({"name": "b", "daily_max": 5}),
        ];
        assert_eq!(table(&["name", "daily_max"], &rows), "NAME  DAILY MAX\nacme  -\nb     5");
    }
}
