//! Secrets of the configuration: given directly or in a file, and read only when a role needs them,
//! so that a process that does not sign also cannot read what the signer reads.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::problem::{Origin, Problem};

/// What stands in the place of a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// Where a secret is.
#[derive(Clone)]
enum Place {
    Direct(SecretString),
    File(PathBuf),
}

/// A secret that was configured.
#[derive(Clone)]
pub(crate) struct SecretSource {
    key: String,
    origin: Origin,
    place: Place,
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Direct(_) => write!(formatter, "{} = {REDACTED}", self.key),
            Place::File(path) => write!(formatter, "{} = {}", self.key, path.display()),
        }
    }
}

impl SecretSource {
    /// Given as the value of `key`.
    pub(crate) fn direct(key: String, origin: Origin, secret: SecretString) -> Self {
        Self { key, origin, place: Place::Direct(secret) }
    }

    /// In the file that `key` names.
    pub(crate) fn file(key: String, origin: Origin, path: PathBuf) -> Self {
        Self { key, origin, place: Place::File(path) }
    }

    /// The file that holds it.
    pub(crate) fn path(&self) -> Option<&PathBuf> {
        match &self.place {
            Place::Direct(_) => None,
            Place::File(path) => Some(path),
        }
    }

    /// The secret itself. The line end of a file is not part of it.
    pub(crate) fn reveal(&self) -> Result<SecretString, Problem> {
        let path = match &self.place {
            Place::Direct(secret) => return Ok(secret.clone()),
            Place::File(path) => path,
        };
        let refuse = |allowed: String| Problem::Value {
            key: self.key.clone(),
            value: path.display().to_string(),
            origin: self.origin.clone(),
            allowed,
        };
        let unreadable = |error| refuse(format!("a file that this process can read ({error})"));
        let mut file = File::open(path).map_err(unreadable)?;
        if let Some(mode) = open_to_others(&file).map_err(unreadable)? {
            return Err(refuse(open_text(mode, path)));
        }
        let mut text = Zeroizing::new(String::new());
        file.read_to_string(&mut text).map_err(unreadable)?;
        let secret = text.trim_end_matches(['\r', '\n']);
        if secret.trim().is_empty() {
            return Err(refuse("a file that is not empty".to_owned()));
        }
        Ok(SecretString::from(secret.to_owned()))
    }

    /// What `parse` makes of the secret; `allowed` says what it accepts.
    pub(crate) fn parse<T>(
        &self,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Problem> {
        let secret = self.reveal()?;
        parse(secret.expose_secret()).ok_or_else(|| self.refused(allowed))
    }

    /// That the secret is not `allowed`, without showing it.
    pub(crate) fn refused(&self, allowed: &str) -> Problem {
        Problem::Value {
            key: self.key.clone(),
            value: self.path().map_or(REDACTED.to_owned(), |path| path.display().to_string()),
            origin: self.origin.clone(),
            allowed: allowed.to_owned(),
        }
    }

    /// The key and the value that `config print` shows for the setting `key`.
    pub(crate) fn printed(&self, key: &str) -> (String, String) {
        self.printed_unless(key, |_| true)
    }

    /// As [`SecretSource::printed`], for a setting that is not secret in each of its forms.
    pub(crate) fn printed_unless(
        &self,
        key: &str,
        is_secret: impl FnOnce(&str) -> bool,
    ) -> (String, String) {
        match &self.place {
            Place::Direct(value) if !is_secret(value.expose_secret()) => {
                (key.to_owned(), value.expose_secret().to_owned())
            }
            Place::Direct(_) => (key.to_owned(), REDACTED.to_owned()),
            Place::File(path) => (format!("{key}_file"), path.display().to_string()),
        }
    }
}

/// Access of everybody, and writing by the group. A group may read: orchestrators hand a secret to a process
/// that is not root that way.
const OPEN_BITS: u32 = 0o027;

/// The mode of a regular file that others may read, or a group may change. Pipes and terminals have no
/// mode that says anything.
fn open_to_others(file: &File) -> std::io::Result<Option<u32>> {
    let metadata = file.metadata()?;
    let mode = metadata.permissions().mode() & 0o777;
    Ok((metadata.is_file() && mode & OPEN_BITS != 0).then_some(mode))
}

fn open_text(mode: u32, path: &Path) -> String {
    let path = path.display();
    format!(
        "a file that only its owner and group can read, and it has mode {mode:04o}: run `chmod 600 {path}`"
    )
}
