//! The directory in which a sandbox lives: what is where, and that only one sandbox uses it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use alloy_primitives::Address;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::testbed::Payers;

/// Shows that a directory is a sandbox's: only such a one is ever cleared.
const MARKER: &str = "sandbox.lock";
const RECORD: &str = "sandbox.json";

/// What is known of a sandbox that was set up completely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// The secret of the API key.
    pub(super) api_key: String,
    /// The hot wallets.
    pub(super) wallets: Vec<Address>,
    /// The vault that they operate.
    #[serde(default)]
    pub(super) vault: Option<Address>,
}

impl Record {
    /// Who pays.
    pub(super) fn payers(&self) -> Payers {
        Payers { wallets: self.wallets.clone(), vault: self.vault }
    }
}

/// The directory, locked for as long as this lives.
#[derive(Debug)]
pub(super) struct Home {
    dir: PathBuf,
    _lock: File,
}

impl Home {
    /// Opens the directory, or makes it; with `is_fresh` an earlier sandbox in it is cleared away.
    ///
    /// # Errors
    /// Another sandbox runs there, or it holds something that is not a sandbox.
    pub(super) fn open(dir: &Path, is_fresh: bool) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let marker = dir.join(MARKER);
        let is_empty = fs::read_dir(dir)?.next().is_none();
        ensure!(
            is_empty || marker.is_file(),
            "{} holds files that are not a sandbox's: choose another --dir",
            dir.display()
        );
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&marker)
            .with_context(|| format!("cannot write {}", marker.display()))?;
        if lock.try_lock().is_err() {
            bail!("another sandbox runs in {}: stop it, or choose another --dir", dir.display());
        }
        let home = Self { dir: dir.to_path_buf(), _lock: lock };
        if is_fresh {
            home.clear()?;
        } else if home.record()?.is_none() {
            // An earlier setting up was interrupted: nothing of it is in use yet.
            home.clear()?;
        }
        Ok(home)
    }

    /// The directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the chain is kept between runs.
    pub(super) fn chain_state(&self) -> PathBuf {
        self.dir.join("chain.json")
    }

    /// The installation of Portcullis.
    pub(super) fn installation(&self) -> PathBuf {
        self.dir.join("portcullis")
    }

    /// What an earlier run has set up, if it came to its end.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub(super) fn record(&self) -> Result<Option<Record>> {
        let path = self.dir.join(RECORD);
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map(Some).with_context(|| {
                format!("{} is not of this version: start again with --fresh", path.display())
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Writes that the sandbox is set up completely. The file holds the key: its owner alone may
    /// read it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn save(&self, record: &Record) -> Result<()> {
        let path = self.dir.join(RECORD);
        let text = serde_json::to_string_pretty(record)?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes everything but the lock.
    fn clear(&self) -> Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_name() == MARKER {
                continue;
            }
            let removed = if entry.file_type()?.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            api_key: "pk_live_1".to_owned(),
            wallets: vec![Address::repeat_byte(1)],
            vault: None,
        }
    }

    #[test]
    fn what_was_set_up_is_found_again_until_it_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("sandbox");
        let home = Home::open(&dir, false).unwrap();
        assert_eq!(home.record().unwrap(), None);
        fs::create_dir(home.installation()).unwrap();
        home.save(&record()).unwrap();
        drop(home);

        let home = Home::open(&dir, false).unwrap();
        assert_eq!(home.record().unwrap(), Some(record()));
        assert!(home.installation().is_dir());
        drop(home);

        let home = Home::open(&dir, true).unwrap();
        assert_eq!(home.record().unwrap(), None);
        assert!(!home.installation().exists());
    }

    #[test]
    fn half_a_sandbox_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path(), false).unwrap();
        fs::create_dir(home.installation()).unwrap();
        drop(home);
        assert!(!Home::open(folder.path(), false).unwrap().installation().exists());
    }

    #[test]
    fn a_foreign_directory_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let letters = folder.path().join("letters.txt");
        fs::write(&letters, "dear").unwrap();
        let error = Home::open(folder.path(), true).unwrap_err().to_string();
        assert!(error.contains("choose another --dir"), "{error}");
        assert!(letters.is_file());
    }

    #[test]
    fn a_directory_has_one_sandbox() {
        let folder = tempfile::tempdir().unwrap();
        let _home = Home::open(folder.path(), false).unwrap();
        let error = Home::open(folder.path(), true).unwrap_err().to_string();
        assert!(error.contains("another sandbox runs"), "{error}");
    }
}
