//! Migrations are append-only: a database out there has already run them. `checksums.txt` holds the
//! SHA-256 of each in the form of `sha256sum`, and only ever grows.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::Finding;

/// The folder, from the root; one folder for each dialect is in it.
const FOLDER: &str = "crates/store/migrations";

/// Accepts what is new, and never changes a line.
const ACCEPT: &str = "cargo xtask tidy --accept-new-migrations";

/// Checksums by path below [`FOLDER`], such as `sqlite/0001_deployment.sql`.
type Sums = BTreeMap<String, String>;

/// Compares the migrations below `root` with the checksums that were accepted.
pub(super) fn check(root: &Path) -> Result<Vec<Finding>> {
    let accepted = read_accepted(root)?;
    let present = read_present(root)?;
    let mut findings = Vec::new();
    for (path, sum) in &accepted {
        let file = format!("{FOLDER}/{path}");
        match present.get(path) {
            None => findings.push(Finding::in_file(
                &file,
                "it was removed, but databases have run it",
                "Bring it back, and undo what it did in a new migration.",
            )),
            Some(own) if own != sum => findings.push(Finding::in_file(
                &file,
                "it was edited, but databases have run it as it was",
                "Bring the old text back, and write the change as a new migration.",
            )),
            Some(_) => {}
        }
    }
    for path in present.keys().filter(|path| !accepted.contains_key(*path)) {
        findings.push(Finding::in_file(
            &format!("{FOLDER}/{path}"),
            "it is new, and checksums.txt does not hold it",
            format!("When it is as it should be, run `{ACCEPT}`."),
        ));
    }
    findings.extend(check_numbers(&present));
    Ok(findings)
}

/// Adds the checksums of new migrations to the list and answers how many there were.
///
/// # Errors
/// An accepted migration was edited or removed, or a new one has a number that is not the next:
/// nothing is written then. Or the files cannot be read or written.
pub(super) fn accept_new(root: &Path) -> Result<usize> {
    let accepted = read_accepted(root)?;
    let present = read_present(root)?;
    for (path, sum) in &accepted {
        ensure!(
            present.get(path) == Some(sum),
            "{FOLDER}/{path} was accepted before and is not what it was: bring the old text back, and write the change as a new migration"
        );
    }
    if let Some(finding) = check_numbers(&present).into_iter().next() {
        anyhow::bail!("{finding}");
    }
    let new: Vec<_> = present.iter().filter(|(path, _)| !accepted.contains_key(*path)).collect();
    for (path, _) in &new {
        let last = accepted.keys().rfind(|old| dialect(old) == dialect(path));
        ensure!(
            last.is_none_or(|last| last < *path),
            "{FOLDER}/{path} comes before {} which was accepted already: give it the next number",
            last.map_or("", String::as_str)
        );
    }
    let path = list_path(root);
    let mut text = fs::read_to_string(&path).unwrap_or_default();
    for (name, sum) in &new {
        text.extend([sum.as_str(), "  ", name.as_str(), "\n"]);
    }
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(new.len())
}

fn list_path(root: &Path) -> PathBuf {
    root.join(FOLDER).join("checksums.txt")
}

fn dialect(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

/// What was accepted; nothing where there is no list yet.
fn read_accepted(root: &Path) -> Result<Sums> {
    let path = list_path(root);
    if !path.exists() {
        return Ok(Sums::new());
    }
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines()
        .map(|line| {
            let (sum, name) = line.split_once("  ").with_context(|| {
                format!("{} has the line {line:?}, which sha256sum would not write", path.display())
            })?;
            Ok((name.to_owned(), sum.to_owned()))
        })
        .collect()
}

/// What is there.
fn read_present(root: &Path) -> Result<Sums> {
    let mut sums = Sums::new();
    let folder = root.join(FOLDER);
    for dialect in children(&folder)?.into_iter().filter(|path| path.is_dir()) {
        for file in children(&dialect)?.into_iter().filter(|path| path.is_file()) {
            let bytes =
                fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let name = file.strip_prefix(&folder).unwrap_or(&file);
            let name = name.to_string_lossy().replace('\\', "/");
            sums.insert(name, hex::encode(Sha256::digest(bytes)));
        }
    }
    Ok(sums)
}

fn children(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    entries.map(|entry| Ok(entry.context("cannot list the migrations")?.path())).collect()
}

/// Each dialect counts 0001, 0002, … without a gap.
fn check_numbers(present: &Sums) -> Vec<Finding> {
    let mut next: BTreeMap<&str, usize> = BTreeMap::new();
    let mut findings = Vec::new();
    for path in present.keys() {
        let number = next.entry(dialect(path)).or_insert(0);
        *number = number.saturating_add(1);
        let name = path.rsplit('/').next().unwrap_or(path);
        if !name.starts_with(&format!("{number:04}_"))
            || Path::new(name).extension().is_none_or(|extension| extension != "sql")
        {
            findings.push(Finding::in_file(
                &format!("{FOLDER}/{path}"),
                format!("the {number}. migration of its folder is not {number:04}_NAME.sql"),
                "Number migrations in one row, without a gap, in the order in which they run.",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkout(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            write(root.path(), name, text);
        }
        root
    }

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(FOLDER).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn new_migrations_are_accepted_once_and_checked_for_ever() {
        let root = checkout(&[("sqlite/0001_a.sql", "a"), ("sqlite/0002_b.sql", "b")]);
        let root = root.path();
        assert_eq!(check(root).unwrap().len(), 2, "nothing is accepted yet");
        assert_eq!(accept_new(root).unwrap(), 2);
        assert_eq!(check(root).unwrap(), []);
        let before = fs::read_to_string(list_path(root)).unwrap();

        write(root, "sqlite/0003_c.sql", "c");
        write(root, "mysql/0001_a.sql", "a");
        assert_eq!(accept_new(root).unwrap(), 2);
        assert_eq!(accept_new(root).unwrap(), 0);
        assert!(fs::read_to_string(list_path(root)).unwrap().starts_with(&before));
        assert_eq!(check(root).unwrap(), []);
    }

    #[test]
    fn an_edited_migration_is_found_and_never_accepted() {
        let root = checkout(&[("sqlite/0001_a.sql", "a")]);
        accept_new(root.path()).unwrap();
        write(root.path(), "sqlite/0001_a.sql", "a changed");
        write(root.path(), "sqlite/0002_b.sql", "b");
        let list = fs::read_to_string(list_path(root.path())).unwrap();
        let findings = check(root.path()).unwrap();
        assert!(findings[0].what.starts_with("it was edited"), "{findings:?}");
        let error = accept_new(root.path()).unwrap_err().to_string();
        assert!(error.contains("sqlite/0001_a.sql"), "{error}");
        assert_eq!(fs::read_to_string(list_path(root.path())).unwrap(), list);
    }

    #[test]
    fn a_removed_migration_is_found() {
        let root = checkout(&[("sqlite/0001_a.sql", "a"), ("sqlite/0002_b.sql", "b")]);
        accept_new(root.path()).unwrap();
        fs::remove_file(root.path().join(FOLDER).join("sqlite/0002_b.sql")).unwrap();
        let findings = check(root.path()).unwrap();
        assert!(findings[0].what.starts_with("it was removed"), "{findings:?}");
        assert!(accept_new(root.path()).is_err());
    }

    #[test]
    fn a_gap_and_a_migration_in_between_are_refused() {
        let root = checkout(&[("sqlite/0001_a.sql", "a"), ("sqlite/0003_c.sql", "c")]);
        assert!(accept_new(root.path()).unwrap_err().to_string().contains("0002_NAME.sql"));

        let root = checkout(&[("sqlite/0001_b.sql", "b")]);
        accept_new(root.path()).unwrap();
        write(root.path(), "sqlite/0001_a.sql", "a");
        assert!(!check(root.path()).unwrap().is_empty());
        assert!(accept_new(root.path()).is_err());
    }
}
