//! `[signer.journal]`: where the signer remembers what it has signed.

use std::path::PathBuf;

use portcullis_keys::journal::JournalId;

use super::HolderConfig;
use crate::config::secret::SecretSource;
use crate::config::section::Section;

/// `[signer.journal]`
#[derive(Clone, Debug)]
pub(crate) struct JournalConfig {
    /// Where it is.
    pub(crate) place: JournalPlace,
    /// Its name. Keys that are held elsewhere cannot remember it.
    pub(crate) id: Option<JournalId>,
    /// How long one statement may take.
    pub(crate) statement_timeout_ms: u64,
}

/// A file, or a database that several signers share.
#[derive(Clone, Debug)]
pub(crate) enum JournalPlace {
    File(PathBuf),
    /// Its URL; absent only where the configuration was refused.
    Mysql(Option<SecretSource>),
}

#[derive(Clone, Copy)]
enum Kind {
    File,
    Mysql,
}

const ID: &str =
    "the journal's name as `portcullis keys journal` prints it: 0x and 32 hexadecimal digits";
const URL: &str = "mysql://user:password@host:3306/portcullis_journal";

impl JournalConfig {
    pub(super) fn read(section: &mut Section<'_>, holder: &HolderConfig, beside: PathBuf) -> Self {
        let kind = section.word("kind", &[("file", Kind::File), ("mysql", Kind::Mysql)]);
        let path = section.path("path");
        let url = section.secret("url", "url_file");
        let id = section.parsed("id", ID, |text| text.parse().ok());
        let statement_timeout_ms = section.number("statement_timeout_ms", 100..=60_000);
        let place = match kind.unwrap_or(Kind::File) {
            Kind::File => {
                if url.is_some() {
                    section.refuse(
                        "url",
                        "[redacted]",
                        "only with signer.journal.kind = \"mysql\"",
                    );
                }
                if let Some(path) = &path
                    && holder.is_keystore()
                {
                    let allowed = "left out: the journal of a keystore lies beside it";
                    section.refuse("path", path.display(), allowed);
                }
                JournalPlace::File(path.unwrap_or(beside))
            }
            Kind::Mysql => {
                if let Some(path) = &path {
                    section.refuse(
                        "path",
                        path.display(),
                        "only with signer.journal.kind = \"file\"",
                    );
                }
                JournalPlace::Mysql(section.required("url", URL, url))
            }
        };
        Self { place, id, statement_timeout_ms: statement_timeout_ms.unwrap_or(5_000) }
    }

    pub(super) fn print(&self, is_keystore: bool) -> toml::Table {
        let mut table = toml::Table::new();
        match &self.place {
            JournalPlace::File(path) => {
                table.insert("kind".into(), "file".into());
                if !is_keystore {
                    table.insert("path".into(), path.display().to_string().into());
                }
            }
            JournalPlace::Mysql(url) => {
                table.insert("kind".into(), "mysql".into());
                if let Some(url) = url {
                    let (key, value) = url.printed("url");
                    table.insert(key, value.into());
                }
                let timeout = crate::config::integer(self.statement_timeout_ms);
                table.insert("statement_timeout_ms".into(), timeout);
            }
        }
        if let Some(id) = self.id {
            table.insert("id".into(), id.to_string().into());
        }
        table
    }
}
