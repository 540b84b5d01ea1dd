//! `cargo xtask tidy`: the house rules that neither the compiler nor clippy checks. Every rule is a
//! function from what was read to its findings, with a bad example beside it as a test, and a test
//! runs all of them on this repository.

mod crates;
mod migrations;
mod names;
mod places;
mod size;
mod syntax;
mod texts;
mod tree;
mod words;

use std::fmt;
use std::path::Path;

use anyhow::{Result, bail};
use clap::Args;

/// What tidy does.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct TidyOptions {
    /// First add the checksums of migrations that are new; never changes those that are there
    #[arg(long)]
    pub accept_new_migrations: bool,
}

/// A house rule that is broken somewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// The file, from the root of the repository, with `/`.
    file: String,
    /// The line, from 1; nothing where the whole file or folder is meant.
    line: Option<usize>,
    /// What is wrong, and why it is not wanted.
    what: String,
    /// What to do about it.
    advice: String,
}

impl Finding {
    fn in_file(file: &str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, what: what.into(), advice: advice.into() }
    }

    fn at_line(
        file: &str,
        line: usize,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { line: Some(line), ..Self::in_file(file, what, advice) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}\n    {}", self.what, self.advice)
    }
}

/// Does what `cargo xtask tidy` was asked for, on the repository at `root`.
///
/// # Errors
/// As [`check`]; or a new migration cannot be accepted.
pub fn run(root: &Path, options: TidyOptions) -> Result<()> {
    if options.accept_new_migrations {
        let count = migrations::accept_new(root)?;
        println!("{count} new migrations are accepted");
    }
    check(root)?;
    println!("the house rules are kept");
    Ok(())
}

/// Checks the repository at `root`.
///
/// # Errors
/// A rule is broken: the message lists every place, what is wrong there and what to do. Or the
/// repository could not be read.
pub fn check(root: &Path) -> Result<()> {
    let findings = findings(root)?;
    if findings.is_empty() {
        return Ok(());
    }
    let list = findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("\n");
    bail!("{} house rules are broken (CONTRIBUTING.md explains them):\n{list}", findings.len());
}

/// Every text of the repository with its path: for tests of what they name in each other.
#[cfg(test)]
pub(crate) fn texts_of(root: &Path) -> Result<Vec<(String, String)>> {
    Ok(tree::read(root)?.into_iter().map(|source| (source.path, source.text)).collect())
}

/// Every broken rule, in the order of the files.
fn findings(root: &Path) -> Result<Vec<Finding>> {
    let sources = tree::read(root)?;
    let mut findings = Vec::new();
    for source in &sources {
        findings.extend(size::check(source));
        findings.extend(names::check_path(&source.path));
        findings.extend(words::check(source));
        findings.extend(places::check(source));
        if source.has_extension("rs") {
            findings.extend(syntax::check(source));
        }
    }
    findings.extend(crates::check(root)?);
    findings.extend(migrations::check(root)?);
    findings.extend(texts::check(&sources));
    findings.sort();
    findings.dedup();
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::workspace_root;

    #[test]
    fn this_repository_keeps_the_house_rules() {
        if let Err(error) = check(&workspace_root()) {
            panic!("{error:#}");
        }
    }

    #[test]
    fn a_finding_says_where_what_and_what_to_do() {
        let finding = Finding::at_line("crates/a/src/b.rs", 7, "it is wrong: why", "Do this.");
        assert_eq!(finding.to_string(), "crates/a/src/b.rs:7: it is wrong: why\n    Do this.");
        let whole = Finding::in_file("LICENSE", "it is missing", "Write it.");
        assert_eq!(whole.to_string(), "LICENSE: it is missing\n    Write it.");
    }
}
