//! Files are small enough to be read at one sitting. Functions are clippy's business
//! (`too_many_lines`), so nothing may switch that lint off.

use super::Finding;
use super::tree::Source;

/// A source file has fewer lines than this.
const LINES_MAX: usize = 500;

/// What people write by hand and read from top to bottom.
const EXTENSIONS: [&str; 6] = ["rs", "sol", "ts", "tsx", "mjs", "sql"];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    if !EXTENSIONS.iter().any(|extension| source.has_extension(extension)) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let lines = source.text.lines().count();
    if lines >= LINES_MAX {
        findings.push(Finding::in_file(
            &source.path,
            format!("it has {lines} lines; a file has fewer than {LINES_MAX}"),
            "Find the second thing that it does, and move that to a module named for it.",
        ));
    }
    // In two parts, so that this file keeps its own rule.
    let lint = concat!("clippy::too_many", "_lines");
    for (line, text) in source.lines() {
        if text.contains(lint) {
            findings.push(Finding::at_line(
                &source.path,
                line,
                format!("it switches {lint} off; a function has at most 70 lines"),
                "Split the function.",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: String) -> Source {
        Source { path: path.to_owned(), text }
    }

    #[test]
    fn a_file_of_500_lines_is_too_long() {
        let findings = check(&source("crates/a/src/long.rs", "x\n".repeat(500)));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].what.starts_with("it has 500 lines"), "{}", findings[0]);
        assert_eq!(check(&source("crates/a/src/long.rs", "x\n".repeat(499))), []);
        assert_eq!(check(&source("docs/long.md", "x\n".repeat(900))), []);
    }

    #[test]
    fn the_lint_on_long_functions_stays_on() {
        let text = format!("\n#[expect(clippy::{})]\nfn f() {{}}\n", concat!("too_many", "_lines"));
        let findings = check(&source("crates/a/src/b.rs", text));
        assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<_>>(), [Some(2)]);
    }
}
