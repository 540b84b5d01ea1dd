//! Secrets that come in as text: the second, operator-held secret, and private keys to import.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use zeroize::Zeroizing;

use super::error::KeystoreError;
use crate::private_file::open_to_others;

/// Longer files hold something else.
const FILE_BYTES_MAX: u64 = 4_096;

/// A secret that an operator holds apart from the keystore's passphrase. With it, every data key is
/// encrypted twice: the passphrase alone opens nothing.
#[derive(Clone)]
pub struct SecondSecret(pub(super) Zeroizing<[u8; 32]>);

impl SecondSecret {
    /// From its 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// Its bytes, for deriving keys.
    pub(crate) const fn key(&self) -> &Zeroizing<[u8; 32]> {
        &self.0
    }

    /// From text: 64 hexadecimal digits, or base64. White space around it is ignored.
    ///
    /// # Errors
    /// [`KeystoreError::SecondSecretMalformed`].
    pub fn parse(text: &str) -> Result<Self, KeystoreError> {
        let text = text.trim();
        if let Some(bytes) = parse_hexadecimal(text) {
            return Ok(Self(bytes));
        }
        let decoded = STANDARD
            .decode(text)
            .or_else(|_| STANDARD_NO_PAD.decode(text))
            .map(Zeroizing::new)
            .map_err(|_| KeystoreError::SecondSecretMalformed)?;
        let mut bytes = Zeroizing::new([0; 32]);
        if decoded.len() != bytes.len() {
            return Err(KeystoreError::SecondSecretMalformed);
        }
        bytes.copy_from_slice(&decoded);
        Ok(Self(bytes))
    }

    /// From a file that only its owner can read.
    ///
    /// # Errors
    /// [`KeystoreError::Io`], [`KeystoreError::OpenToOthers`], [`KeystoreError::SecondSecretMalformed`].
    pub fn read(path: &Path) -> Result<Self, KeystoreError> {
        let failed = |source| KeystoreError::Io {
            action: "read the second secret at",
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        if let Some(mode) = open_to_others(&file).map_err(failed)? {
            return Err(KeystoreError::OpenToOthers { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::with_capacity(256));
        file.take(FILE_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(|_| KeystoreError::SecondSecretMalformed)?;
        Self::parse(&text)
    }
}

impl fmt::Debug for SecondSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecondSecret(hidden)")
    }
}

/// Reads a private key to import: 64 hexadecimal digits, with or without `0x`.
///
/// # Errors
/// [`KeystoreError::InvalidPrivateKey`], which never repeats the text.
pub fn parse_private_key(text: &str) -> Result<Zeroizing<[u8; 32]>, KeystoreError> {
    parse_hexadecimal(text.trim()).ok_or(KeystoreError::InvalidPrivateKey)
}

fn parse_hexadecimal(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut *bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_and_base64_are_read() {
        let digits = "07".repeat(32);
        let padded = STANDARD.encode([7; 32]);
        let bare = STANDARD_NO_PAD.encode([7; 32]);
        for text in [&digits, &format!("0x{digits}\n"), &padded, &bare] {
            let secret = SecondSecret::parse(text).expect("well formed");
            assert_eq!(*secret.0, [7; 32]);
            assert!(!format!("{secret:?}").contains("07"));
        }
    }

    #[test]
    fn other_lengths_and_letters_are_refused() {
        for text in ["", "0x", &"07".repeat(31), &"07".repeat(33), &"0g".repeat(32)] {
            assert!(SecondSecret::parse(text).is_err(), "{text:?}");
            assert!(parse_private_key(text).is_err(), "{text:?}");
        }
    }
}
