//! Who may read what must stay secret.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use portcullis_store::backup::file_of;

use super::Findings;
use crate::config::{Config, JournalPlace};

/// Group and others.
const OTHERS: u32 = 0o077;

pub(super) fn check(config: &Config, findings: &mut Findings) {
    let keystore = &config.signer.keystore;
    if config.signer.holder.is_keystore() {
        if keystore.exists() {
            private(keystore, "keystore", findings);
        } else {
            let detail = format!("{} is not here: this host cannot sign", keystore.display());
            findings.warn("keystore", detail);
        }
    }
    if let JournalPlace::File(journal) = &config.signer.journal.place
        && journal.exists()
    {
        private(journal, "journal file", findings);
    }
    if let Some(database) = config.database.url().ok().and_then(|url| file_of(&url)) {
        let readable = mode_of(&database).is_some_and(|mode| mode & OTHERS != 0);
        if readable {
            let detail = format!("{} can be read by others: chmod 600 it", database.display());
            findings.warn("database file", detail);
        } else {
            findings.ok("database file", database.display().to_string());
        }
    }
}

fn private(path: &Path, what: &str, findings: &mut Findings) {
    match mode_of(path) {
        Some(mode) if mode & OTHERS == 0 => findings.ok(what, path.display().to_string()),
        Some(mode) => findings
            .fail(what, format!("{} has mode {:o}: chmod 600 it", path.display(), mode & 0o777)),
        None => findings.fail(what, format!("{} cannot be looked at", path.display())),
    }
}

fn mode_of(path: &Path) -> Option<u32> {
    std::fs::metadata(path).ok().map(|metadata| metadata.permissions().mode())
}
