//! `[signer]`: the keystore. Only a process with the signer role reads what it names.

use std::path::{Component, Path, PathBuf};

use super::secret::SecretSource;
use super::section::Section;

/// `[signer]`
#[derive(Clone, Debug)]
pub(crate) struct SignerConfig {
    /// The encrypted keystore file. The journal lies beside it.
    pub(crate) keystore: PathBuf,
    /// What opens the keystore.
    pub(crate) passphrase: Option<SecretSource>,
    /// The operator's second secret, where the keystore was made with one.
    pub(crate) second_secret: Option<SecretSource>,
}

impl SignerConfig {
    pub(super) fn read(section: &mut Section<'_>, data_dir: &Path) -> Self {
        let keystore = section.path("keystore");
        let passphrase = section.secret("passphrase", "passphrase_file");
        let second_secret = section.secret("second_secret", "second_secret_file");
        let keystore = keystore.unwrap_or_else(|| section.beside_the_file("keys/keystore.json"));
        if plain(&keystore).starts_with(plain(data_dir)) {
            let allowed = format!(
                "a path outside data.dir ({}): the signer's journal lies beside the keystore, and a \
                 restored backup of the data must not bring back an old journal",
                data_dir.display()
            );
            section.refuse("keystore", keystore.display(), allowed);
        }
        Self { keystore, passphrase, second_secret }
    }

    pub(super) fn print(&self) -> toml::Table {
        let mut table = toml::Table::new();
        table.insert("keystore".into(), self.keystore.display().to_string().into());
        let secrets = [("passphrase", &self.passphrase), ("second_secret", &self.second_secret)];
        for (key, secret) in secrets {
            if let Some(secret) = secret {
                let (key, value) = secret.printed(key);
                table.insert(key, value.into());
            }
        }
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
