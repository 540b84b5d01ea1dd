//! The keystore file: its shape, how it is read, proved whole and written.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use alloy_primitives::{Address, B256, FixedBytes};
use portcullis_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::envelope::{self, KdfCost, Key, Sealed};
use super::error::KeystoreError;
use super::{KeystoreId, VERSION};
use crate::journal::JournalId;
use crate::private_file;
use crate::random;

const FORMAT: &str = "portcullis-keystore";

/// The file. `digest` shows damage to anybody; `mac` shows to who has the passphrase that nobody else
/// has changed it, the mark that it has signed included.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    version: u32,
    body: Body,
    digest: B256,
    mac: B256,
}

/// All that every version has.
#[derive(Deserialize)]
struct Heading {
    format: String,
    version: u32,
}

/// What digest and MAC cover, with the version.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    pub(super) id: KeystoreId,
    pub(super) created_at_ms: Timestamp,
    pub(super) argon2id: KdfCost,
    pub(super) salt: FixedBytes<32>,
    /// Opens with the right passphrase, whatever the keys are.
    pub(super) check: Sealed,
    /// Opens with the right second secret; absent where none is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) second_check: Option<Sealed>,
    /// Set before the first signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) has_signed: Option<HasSigned>,
    pub(super) keys: Vec<KeyEntry>,
}

/// The mark of a keystore that has signed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HasSigned {
    pub(super) journal: JournalId,
    pub(super) since_ms: Timestamp,
}

/// One key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyEntry {
    pub(super) chain_id: u64,
    pub(super) address: Address,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) label: Option<String>,
    pub(super) created_at_ms: Timestamp,
    pub(super) data_key: Sealed,
    pub(super) private_key: Sealed,
}

/// A body as it was read, with the code that its reader has yet to check.
pub(super) struct Unproved {
    pub(super) body: Body,
    mac: B256,
}

impl Unproved {
    /// Whether who wrote it had the passphrase.
    pub(super) fn is_authentic(&self, key: &Key) -> bool {
        envelope::is_authentic(key, &covered(&self.body), self.mac)
    }
}

/// Reads the file and proves it whole.
pub(super) fn read(path: &Path) -> Result<Unproved, KeystoreError> {
    let failed = |source| KeystoreError::reading("read", path, source);
    let mut file = File::open(path).map_err(failed)?;
    if let Some(mode) = private_file::open_to_others(&file).map_err(failed)? {
        return Err(KeystoreError::OpenToOthers { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    let unreadable = |error: serde_json::Error| KeystoreError::damaged(path, error.to_string());
    let heading: Heading = serde_json::from_slice(&bytes).map_err(unreadable)?;
    if heading.format != FORMAT {
        return Err(KeystoreError::damaged(path, "it is no Portcullis keystore"));
    }
    if heading.version != VERSION {
        let (version, supported) = (heading.version, VERSION);
        return Err(KeystoreError::UnsupportedVersion {
            path: path.to_owned(),
            version,
            supported,
        });
    }
    let document: Document = serde_json::from_slice(&bytes).map_err(unreadable)?;
    if envelope::sha256(&covered(&document.body)) != document.digest {
        return Err(KeystoreError::damaged(path, "its digest does not match its content"));
    }
    Ok(Unproved { body: document.body, mac: document.mac })
}

/// Writes the file, wholly or not at all.
pub(super) fn write(path: &Path, body: &Body, key: &Key) -> Result<(), KeystoreError> {
    let covered = covered(body);
    let document = Document {
        format: FORMAT.to_owned(),
        version: VERSION,
        body: body.clone(),
        digest: envelope::sha256(&covered),
        mac: envelope::authenticate(key, &covered),
    };
    let mut bytes = serde_json::to_vec_pretty(&document).expect("plain data has a JSON form");
    bytes.push(b'\n');
    let tag = hex::encode(random::public::<8>()?);
    private_file::replace(path, &bytes, &tag)
        .map_err(|source| KeystoreError::writing("write", path, source))
}

/// The bytes under digest and MAC: compact JSON, so that white space in the file means nothing.
fn covered(body: &Body) -> Vec<u8> {
    let mut bytes = VERSION.to_be_bytes().to_vec();
    bytes.extend(serde_json::to_vec(body).expect("plain data has a JSON form"));
    bytes
}
