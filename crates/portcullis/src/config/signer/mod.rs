//! `[signer]`: who holds the keys, and where the journal is. Only a process with the signer role reads what it names.

mod holder;
mod journal;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::problem::{Origin, Problem};
use super::secret::SecretSource;
use super::section::Section;

pub(crate) use holder::{HolderConfig, KeyConfig, SecretConfig, TokenConfig, WrapWord};
pub(crate) use journal::{JournalConfig, JournalPlace};

const MODULE: &str = "signer.pkcs11.module";

/// `[signer]`
#[derive(Clone, Debug)]
pub(crate) struct SignerConfig {
    /// Who holds the keys.
    pub(crate) holder: HolderConfig,
    /// The encrypted keystore file, where the keys are in one. The journal lies beside it.
    pub(crate) keystore: PathBuf,
    /// What opens the keystore.
    pub(crate) passphrase: Option<SecretSource>,
    /// The operator's second secret, where keystore or secret were made with one.
    pub(crate) second_secret: Option<SecretSource>,
    /// Where the journal is.
    pub(crate) journal: JournalConfig,
}

impl SignerConfig {
    pub(super) fn read(section: &mut Section<'_>, data_dir: &Path) -> Self {
        let holder = HolderConfig::read(section);
        let keystore = section.path("keystore");
        let passphrase = section.secret("passphrase", "passphrase_file");
        let second_secret = section.secret("second_secret", "second_secret_file");
        let keystore = keystore.unwrap_or_else(|| section.beside_the_file("keys/keystore.json"));
        if holder.is_keystore() && plain(&keystore).starts_with(plain(data_dir)) {
            let allowed = format!(
                "a path outside data.dir ({}): the signer's journal lies beside the keystore, and a \
                 restored backup of the data must not bring back an old journal",
                data_dir.display()
            );
            section.refuse("keystore", keystore.display(), allowed);
        }
        let beside = if holder.is_keystore() {
            portcullis_keys::Journal::path_of(&keystore)
        } else {
            section.beside_the_file("keys/signer.journal")
        };
        let journal = section.section("journal", |it| JournalConfig::read(it, &holder, beside));
        if let JournalPlace::File(path) = &journal.place
            && !holder.is_keystore()
            && plain(path).starts_with(plain(data_dir))
        {
            let allowed = format!(
                "a path outside data.dir ({}): a restored backup of the data must not bring back an old journal",
                data_dir.display()
            );
            section.refuse("journal.path", path.display(), allowed);
        }
        Self { holder, keystore, passphrase, second_secret, journal }
    }

    /// What stops a signer, of the secrets that are needed at its start.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let pin = match &self.holder {
            HolderConfig::Token(token) => token.pin.as_ref(),
            _ => None,
        };
        let url = match &self.journal.place {
            JournalPlace::Mysql(url) => url.as_ref(),
            JournalPlace::File(_) => None,
        };
        let secrets = [self.passphrase.as_ref(), self.second_secret.as_ref(), pin, url];
        secrets.into_iter().flatten().filter_map(|secret| secret.reveal().err()).collect()
    }

    /// That the library of a token is not where it is configured. A name without a folder is looked for where this machine has
    /// its libraries.
    pub(crate) fn missing_module(&self, origins: &BTreeMap<String, Origin>) -> Option<Problem> {
        let HolderConfig::Token(TokenConfig { module, .. }) = &self.holder else { return None };
        let has_folder = module.parent().is_some_and(|folder| !folder.as_os_str().is_empty());
        if !has_folder || module.is_file() {
            return None;
        }
        Some(Problem::Value {
            key: MODULE.to_owned(),
            value: module.display().to_string(),
            origin: origins.get(MODULE).cloned().unwrap_or(Origin::File),
            allowed: "the PKCS#11 library of the module's maker, and there is no such file: install it, or correct the path"
                .to_owned(),
        })
    }

    pub(super) fn print(&self) -> toml::Table {
        let mut table = toml::Table::new();
        self.holder.print(&mut table);
        if self.holder.is_keystore() {
            table.insert("keystore".into(), self.keystore.display().to_string().into());
        }
        let secrets = [("passphrase", &self.passphrase), ("second_secret", &self.second_secret)];
        for (key, secret) in secrets {
            if let Some(secret) = secret {
                let (key, value) = secret.printed(key);
                table.insert(key, value.into());
            }
        }
        table.insert("journal".into(), self.journal.print(self.holder.is_keystore()).into());
        table
    }
}

/// The absolute path without `.` and `..`, as far as names tell: the file need not exist.
fn plain(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut plain = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}
