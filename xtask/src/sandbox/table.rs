//! The live table: redrawn in place on a terminal, a line for each change elsewhere.

use std::io::{IsTerminal, Write};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// A row of the table.
#[derive(Clone, Debug)]
struct Row {
    what: String,
    status: String,
    bar: Option<ProgressBar>,
}

/// The table, on standard error.
#[derive(Debug)]
pub(super) struct LiveTable {
    rows: Vec<Row>,
}

impl LiveTable {
    /// A table with a row for each of `rows`, which say what it is about.
    pub(super) fn new(rows: impl IntoIterator<Item = String>) -> Self {
        let screen = std::io::stderr().is_terminal().then(MultiProgress::new);
        let style = ProgressStyle::with_template("{msg}");
        let row = |what: String| {
            let bar = screen.as_ref().map(|screen| screen.add(ProgressBar::new_spinner()));
            if let (Some(bar), Ok(style)) = (&bar, &style) {
                bar.set_style(style.clone());
                bar.set_message(what.clone());
            }
            Row { what, status: String::new(), bar }
        };
        Self { rows: rows.into_iter().map(row).collect() }
    }

    /// Shows a status, if it is another one than before.
    pub(super) fn show(&mut self, index: usize, status: &str, detail: &str) {
        let Some(row) = self.rows.get_mut(index).filter(|row| row.status != status) else {
            return;
        };
        status.clone_into(&mut row.status);
        let line = line(&row.what, status, detail);
        match &row.bar {
            Some(bar) => bar.set_message(line),
            None => eprintln!("{line}"),
        }
    }
}

/// The table stays on the screen as it is.
impl Drop for LiveTable {
    fn drop(&mut self) {
        for bar in self.rows.iter().filter_map(|row| row.bar.as_ref()) {
            bar.abandon();
        }
        if self.rows.iter().any(|row| row.bar.is_some()) {
            // The cursor is behind the last row. The terminal may be gone by now.
            let _unseen = writeln!(std::io::stderr());
        }
    }
}

fn line(what: &str, status: &str, detail: &str) -> String {
    format!("{what}  {status:<12} {detail}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        assert_eq!(line("1  5 POL", "QUEUED", ""), "1  5 POL  QUEUED");
        assert_eq!(line("1  5 POL", "CONFIRMED", "0xab"), "1  5 POL  CONFIRMED    0xab");
    }
}
