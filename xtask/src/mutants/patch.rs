//! A mutant: a small change of the source that breaks one invariant, and the test that must notice.
//!
//! ```text
//! invariant: 6
//! breaks: what the change does, in a sentence
//! guard: -p portcullis-store --test exercise slots::a_payment_is_bound_to_one_slot
//!
//! file: crates/store/src/transition.rs
//! find:
//!         the text as it stands, which occurs once in the file
//! replace:
//!         the text as the mutant has it, which may be empty
//! end
//! ```
//!
//! A mutant has one change or several, in one file or several. Finding the text by itself and not by the number of its line lets
//! a mutant live through changes of everything around it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// Where the mutants are, from the root of the checkout.
pub const FOLDER: &str = "xtask/mutants";

/// The invariants of the design are numbered from 1 to this.
pub const INVARIANTS: u8 = 14;

/// A test, by package, target and full name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guard {
    /// The package.
    pub package: String,
    /// The integration test that it is in; `None` for a unit test of the library.
    pub test: Option<String>,
    /// Its full name, as the test runner prints it.
    pub name: String,
}

/// One change of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// From the root of the checkout, with `/`.
    pub file: String,
    find: String,
    replace: String,
}

/// A mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// The name of its file, without `.patch`.
    pub name: String,
    /// The invariant that it breaks.
    pub invariant: u8,
    /// What it does, in a sentence.
    pub breaks: String,
    /// The test that must notice.
    pub guard: Guard,
    /// What it changes, in order.
    pub changes: Vec<Change>,
}

impl fmt::Display for Guard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let package = self.package.strip_prefix("portcullis-").unwrap_or(&self.package);
        write!(formatter, "{package}::{}", self.name)
    }
}

impl Guard {
    fn parse(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (package, test, name) = match words.as_slice() {
            ["-p", package, name] => (package, None, name),
            ["-p", package, "--test", test, name] => (package, Some((*test).to_owned()), name),
            _ => bail!("a guard reads `-p PACKAGE [--test TARGET] TEST`, and this one {line:?}"),
        };
        Ok(Self { package: (*package).to_owned(), test, name: (*name).to_owned() })
    }

    /// The name of the test's function.
    #[must_use]
    pub fn function(&self) -> &str {
        self.name.rsplit("::").next().unwrap_or(&self.name)
    }
}

/// The mutants of the checkout at `root`, by name.
///
/// # Errors
/// The folder or a file in it cannot be read, or a file is no mutant.
pub fn load(root: &Path) -> Result<Vec<Mutant>> {
    let folder = root.join(FOLDER);
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut mutants = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.extension().is_none_or(|extension| extension != "patch") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        mutants.push(parse(&name, &text).with_context(|| format!("{FOLDER}/{name}.patch"))?);
    }
    mutants.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(mutants)
}

/// Reads one mutant.
///
/// # Errors
/// It has not the form that this module describes.
pub fn parse(name: &str, text: &str) -> Result<Mutant> {
    let mut lines = text.lines();
    let mut header: BTreeMap<&str, String> = BTreeMap::new();
    let mut changes = Vec::new();
    while let Some(line) = lines.next() {
        if line.trim().is_empty() {
            continue;
        }
        let (key, value) = line
            .split_once(':')
            .with_context(|| format!("{line:?} is no `key: value` outside of a change"))?;
        if key == "file" {
            changes.push(read_change(value.trim(), &mut lines)?);
        } else {
            let first = header.insert(key, value.trim().to_owned());
            ensure!(first.is_none(), "`{key}:` stands there twice");
        }
    }
    let mut take = |key: &str| {
        let value = header.remove(key).filter(|value| !value.is_empty());
        value.with_context(|| format!("it lacks `{key}:`"))
    };
    let mutant = Mutant {
        name: name.to_owned(),
        invariant: take("invariant")?.parse().context("`invariant:` is no number")?,
        breaks: take("breaks")?,
        guard: Guard::parse(&take("guard")?)?,
        changes,
    };
    ensure!(header.is_empty(), "nobody knows {:?}", header.keys().collect::<Vec<_>>());
    ensure!(
        (1..=INVARIANTS).contains(&mutant.invariant),
        "the invariants are numbered from 1 to {INVARIANTS}"
    );
    ensure!(!mutant.changes.is_empty(), "it changes nothing");
    Ok(mutant)
}

fn read_change<'a>(file: &str, lines: &mut impl Iterator<Item = &'a str>) -> Result<Change> {
    ensure!(lines.next() == Some("find:"), "behind `file: {file}` comes `find:`");
    let find = read_until(lines, "replace:")?;
    let replace = read_until(lines, "end")?;
    ensure!(!find.trim().is_empty(), "an empty `find:` fits everywhere");
    ensure!(find != replace, "the change of {file} changes nothing");
    Ok(Change { file: file.to_owned(), find, replace })
}

fn read_until<'a>(lines: &mut impl Iterator<Item = &'a str>, end: &str) -> Result<String> {
    let mut text = String::new();
    for line in lines {
        if line == end {
            return Ok(text);
        }
        text.push_str(line);
        text.push('\n');
    }
    bail!("`{end}` is missing")
}

impl Mutant {
    /// The files that it changes, with their text as the mutant has it. Nothing is written.
    ///
    /// # Errors
    /// A file cannot be read, or a text is not there, or there more than once: then the source has moved on, and the
    /// mutant has to follow.
    pub fn apply(&self, root: &Path) -> Result<BTreeMap<String, String>> {
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for change in &self.changes {
            let file = &change.file;
            let text = match files.remove(file) {
                Some(text) => text,
                None => fs::read_to_string(root.join(file))
                    .with_context(|| format!("{}: cannot read {file}", self.name))?,
            };
            let count = text.matches(&change.find).count();
            ensure!(
                count == 1,
                "{}: what it looks for is {count} times in {file}, and has to be there once: follow the source in \
                 {FOLDER}/{}.patch",
                self.name,
                self.name
            );
            files.insert(file.clone(), text.replacen(&change.find, &change.replace, 1));
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::workspace_root;

    const TEXT: &str = "\
invariant: 6
breaks: the answer is wrong
guard: -p portcullis-core --test all a::b

file: src/a.rs
find:
    let answer = 42;
replace:
    let answer = 41;

    // A line: with a colon.
end
file: src/a.rs
find:
    check();
replace:
end
";

    #[test]
    fn a_mutant_is_read_and_applied() {
        let mutant = parse("wrong-answer", TEXT).expect("reads");
        assert_eq!((mutant.invariant, mutant.breaks.as_str()), (6, "the answer is wrong"));
        assert_eq!(mutant.guard.to_string(), "core::a::b");
        assert_eq!((mutant.guard.test.as_deref(), mutant.guard.function()), (Some("all"), "b"));
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir(root.path().join("src")).expect("a folder");
        let source = "fn f() {\n    let answer = 42;\n    check();\n}\n";
        fs::write(root.path().join("src/a.rs"), source).expect("writes");
        let changed = mutant.apply(root.path()).expect("applies");
        let expected = "fn f() {\n    let answer = 41;\n\n    // A line: with a colon.\n}\n";
        assert_eq!(changed.into_iter().collect::<Vec<_>>(), [("src/a.rs".into(), expected.into())]);
        for source in ["fn f() {}\n", "    let answer = 42;\n    let answer = 42;\n    check();\n"]
        {
            fs::write(root.path().join("src/a.rs"), source).expect("writes");
            let refused = mutant.apply(root.path()).expect_err("does not fit").to_string();
            assert!(refused.contains("times in src/a.rs"), "{refused}");
        }
    }

    #[test]
    fn what_is_no_mutant_is_refused() {
        for (from, to, expected) in [
            ("invariant: 6", "invariant: 15", "numbered"),
            ("invariant: 6", "invariant: six", "no number"),
            ("breaks: the answer is wrong\n", "", "lacks `breaks:`"),
            ("guard: -p", "guard: -q", "a guard reads"),
            ("find:\n    check();", "find:\n", "fits everywhere"),
            ("\nreplace:\nend", "\nend", "`replace:` is missing"),
            ("\nfind:\n    check", "\n    check", "comes `find:`"),
            ("breaks:", "brakes: no\nbreaks:", "nobody knows"),
            (
                "    let answer = 42;",
                "    let answer = 41;\n\n    // A line: with a colon.",
                "nothing",
            ),
        ] {
            let text = TEXT.replacen(from, to, 1);
            assert_ne!(text, TEXT);
            let refused = format!("{:#}", parse("x", &text).expect_err("is no mutant"));
            assert!(refused.contains(expected), "{expected}: {refused}");
        }
    }

    #[test]
    fn every_mutant_of_the_checkout_applies_and_its_guard_is_there() {
        let root = workspace_root();
        let mutants = load(&root).expect("all are mutants");
        assert!(mutants.len() >= 16, "only {} mutants", mutants.len());
        let tree = crate::tidy::texts_of(&root).expect("reads");
        for mutant in &mutants {
            mutant.apply(&root).expect("applies");
            let folder =
                mutant.guard.package.strip_prefix("portcullis-").unwrap_or(&mutant.guard.package);
            let function = format!("fn {}(", mutant.guard.function());
            let is_there = tree.iter().any(|(path, text)| {
                path.starts_with(&format!("crates/{folder}/")) && text.contains(&function)
            });
            assert!(is_there, "{}: {} has no {function}", mutant.name, mutant.guard.package);
        }
    }

    #[test]
    fn every_invariant_has_a_mutant_and_the_document_names_them_all() {
        let root = workspace_root();
        let document = fs::read_to_string(root.join("docs/safety.md")).expect("reads");
        let mutants = load(&root).expect("all are mutants");
        for invariant in 1..=INVARIANTS {
            let has_one = mutants.iter().any(|mutant| mutant.invariant == invariant);
            assert!(has_one, "nothing breaks invariant {invariant}");
        }
        for mutant in mutants {
            let row = document.lines().find(|line| line.contains(&format!("`{}`", mutant.name)));
            let row = row.unwrap_or_else(|| panic!("docs/safety.md lacks {}", mutant.name));
            let starts = row.starts_with(&format!("| {} ", mutant.invariant));
            let guard = mutant.guard.to_string();
            assert!(starts && row.contains(&guard), "{}: {guard}: {row}", mutant.name);
        }
    }
}
