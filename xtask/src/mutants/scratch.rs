//! The copy of the checkout that is broken on purpose. The checkout itself is only read.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Folders that no build needs.
const LEFT_OUT: [&str; 3] = ["target", "node_modules", ".git"];

/// The copy, with a target directory of its own that the next run finds again.
pub(super) struct Scratch {
    /// The copy of the checkout.
    pub(super) tree: PathBuf,
    /// Where it is built.
    pub(super) target: PathBuf,
    /// Held for as long as the copy is used.
    _lock: File,
}

impl Scratch {
    /// Brings the copy below `root`'s target directory up to date. A file that has not changed is left alone, so that
    /// cargo does not build it again. Waits for another run to end.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let folder = root.join("target").join("mutants");
        let tree = folder.join("tree");
        create_folder(&tree)?;
        let lock_path = folder.join("lock");
        let lock = File::create(&lock_path)
            .and_then(|file| file.lock().map(|()| file))
            .with_context(|| format!("cannot lock {}", lock_path.display()))?;
        let mut wanted = BTreeSet::new();
        list(root, Path::new(""), &mut wanted)?;
        let mut found = BTreeSet::new();
        list(&tree, Path::new(""), &mut found)?;
        for path in &wanted {
            copy(&root.join(path), &tree.join(path))?;
        }
        for path in found.difference(&wanted) {
            let path = tree.join(path);
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(Self { tree, target: folder.join("build"), _lock: lock })
    }

    /// Writes a mutant's files over the copy's, and returns what was there.
    pub(super) fn put(&self, files: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
        let mut before = BTreeMap::new();
        for (file, text) in files {
            let path = self.tree.join(file);
            let old = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            before.insert(file.clone(), old);
        }
        Ok(before)
    }
}

fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
}

/// The files below `folder` of `root`, by their paths from the root.
fn list(root: &Path, folder: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    let path = root.join(folder);
    let entries = fs::read_dir(&path).with_context(|| format!("cannot list {}", path.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", path.display()))?;
        let name = entry.file_name();
        let kind =
            entry.file_type().with_context(|| format!("cannot look at {}", name.display()))?;
        let relative = folder.join(&name);
        if kind.is_dir() && !LEFT_OUT.iter().any(|left_out| name == *left_out) {
            list(root, &relative, files)?;
        } else if kind.is_file() && name != ".git" {
            files.insert(relative);
        }
    }
    Ok(())
}

/// Copies unless it is there already.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        create_folder(folder)?;
    }
    fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_follows_the_checkout_and_leaves_alone_what_is_the_same() {
        let root = tempfile::tempdir().expect("a folder");
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("has one")).expect("a folder");
            fs::write(path, text).expect("writes");
        };
        write("src/same.rs", "same");
        write("src/gone.rs", "gone");
        write("src/other.rs", "old");
        write("node_modules/big.js", "big");
        let scratch = Scratch::open(root.path()).expect("opens");
        let tree = scratch.tree.clone();
        let same = fs::metadata(tree.join("src/same.rs")).and_then(|it| it.modified());
        let same = same.expect("a time");
        let broken = BTreeMap::from([("src/other.rs".to_owned(), "broken".to_owned())]);
        let before = scratch.put(&broken).expect("writes");
        assert_eq!(before["src/other.rs"], "old");
        drop(scratch);
        fs::remove_file(root.path().join("src/gone.rs")).expect("removes");
        Scratch::open(root.path()).expect("opens again");
        let text = |path: &str| fs::read_to_string(tree.join(path)).ok();
        assert_eq!(text("src/other.rs").as_deref(), Some("old"), "a run that was cut off");
        assert_eq!((text("src/gone.rs"), text("node_modules/big.js")), (None, None));
        let again = fs::metadata(tree.join("src/same.rs")).and_then(|it| it.modified());
        assert_eq!(again.expect("a time"), same);
        assert_eq!(text("src/same.rs").as_deref(), Some("same"));
    }
}
