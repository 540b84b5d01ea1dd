//! What tidy reads: every text file of the checkout that git would keep.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// One text file.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Its path from the root, with `/`.
    pub(super) path: String,
    /// Its whole text.
    pub(super) text: String,
}

impl Source {
    /// Whether the name ends in `.extension`.
    pub(super) fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|own| own == extension)
    }

    /// Whether a program wrote it: lock files and compiled contracts.
    pub(super) fn is_generated(&self) -> bool {
        self.path.ends_with("Cargo.lock")
            || self.path.ends_with("package-lock.json")
            || self.path.starts_with("contracts/artifacts/")
    }

    /// Its lines, numbered from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index.saturating_add(1), line))
    }
}

/// Reads the text files below `root`, in the order of their paths. It asks no git, so that it works
/// in an unpacked archive too, and honours the plain paths of the root's `.gitignore`.
pub(super) fn read(root: &Path) -> Result<Vec<Source>> {
    let ignored = ignored_paths(&fs::read_to_string(root.join(".gitignore")).unwrap_or_default())?;
    let mut sources = Vec::new();
    walk(root, "", &ignored, &mut sources)?;
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(sources)
}

fn walk(root: &Path, folder: &str, ignored: &[String], sources: &mut Vec<Source>) -> Result<()> {
    let path = root.join(folder);
    let entries = fs::read_dir(&path).with_context(|| format!("cannot list {}", path.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", path.display()))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let relative =
            if folder.is_empty() { name.into_owned() } else { format!("{folder}/{name}") };
        if is_ignored(&relative, ignored) {
            continue;
        }
        let kind = entry.file_type().with_context(|| format!("cannot look at {relative}"))?;
        if kind.is_dir() {
            walk(root, &relative, ignored, sources)?;
        } else if kind.is_file() {
            let bytes = fs::read(entry.path());
            let bytes = bytes.with_context(|| format!("cannot read {relative}"))?;
            // What is not UTF-8 is a picture or an archive: no rule speaks of it.
            if let Ok(text) = String::from_utf8(bytes) {
                sources.push(Source { path: relative, text });
            }
        }
    }
    Ok(())
}

/// The entries of a `.gitignore` that names plain paths; a pattern would need git's own reading.
fn ignored_paths(text: &str) -> Result<Vec<String>> {
    let entries = text.lines().map(str::trim).filter(|line| !line.is_empty());
    entries
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            ensure!(
                !line.contains(['*', '?', '[', '!']),
                ".gitignore has the pattern {line:?}, and tidy reads plain paths only: name the path"
            );
            Ok(line.trim_end_matches('/').to_owned())
        })
        .collect()
}

/// As git decides: an entry with a slash is a path from the root, one without is a name anywhere.
fn is_ignored(relative: &str, ignored: &[String]) -> bool {
    let name = relative.rsplit('/').next().unwrap_or(relative);
    name == ".git"
        || ignored.iter().any(|entry| match entry.strip_prefix('/') {
            Some(path) => path == relative,
            None if entry.contains('/') => entry == relative,
            None => entry == name,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_and_what_is_ignored_is_not() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["target/debug", "a/node_modules", "a/target", ".git"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
            fs::write(root.path().join(folder).join("file"), "text").unwrap();
        }
        fs::write(root.path().join(".gitignore"), "# built\n/target\nnode_modules/\n").unwrap();
        fs::write(root.path().join("picture.png"), [0xff, 0xfe, 0x00]).unwrap();
        let paths: Vec<_> =
            read(root.path()).unwrap().into_iter().map(|source| source.path).collect();
        assert_eq!(paths, [".gitignore", "a/target/file"]);
    }

    #[test]
    fn a_pattern_in_gitignore_is_refused() {
        let error = ignored_paths("/target\n*.log\n").unwrap_err().to_string();
        assert!(error.contains("\"*.log\""), "{error}");
    }

    #[test]
    fn lines_count_from_one_and_extensions_are_whole() {
        let source = Source { path: "a/b.rs".to_owned(), text: "one\ntwo\n".to_owned() };
        assert_eq!(source.lines().collect::<Vec<_>>(), [(1, "one"), (2, "two")]);
        assert!(source.has_extension("rs") && !source.has_extension("s"));
    }
}
