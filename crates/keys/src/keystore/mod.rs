//! The keystore: an encrypted file of private keys, each for one sender on one chain.
//!
//! One Argon2id run over the passphrase gives the file's key. Every private key is encrypted with a random data
//! key of its own; the data key is encrypted with the file's key, and once more with the second secret where one
//! is used. AES-256-GCM throughout, with chain, address, keystore and version as associated data.

mod document;
mod envelope;
mod error;
mod second_secret;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy_primitives::Address;
use k256::ecdsa::SigningKey;
use portcullis_core::id::DeploymentId;
use portcullis_core::time::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use self::document::{Body, HasSigned, KeyEntry, Unproved};
use crate::journal::JournalId;
use crate::private_file;
use crate::random;

pub use self::envelope::KdfCost;
pub(crate) use self::envelope::{DoesNotOpen, Key, Part, Sealed, sha256, subkey};
pub use self::error::KeystoreError;
pub use self::second_secret::{SecondSecret, parse_private_key};

/// The version of the file's format.
const VERSION: u32 = 1;

/// What the check items hold; which secret they prove is in their associated data.
const CHECK: &[u8] = b"portcullis";

const LABEL_CHARACTERS_MAX: usize = 64;

random::random_id!(
    /// Names one keystore, for ever; its journal bears the name too.
    KeystoreId
);

impl KeystoreId {
    /// The name of what has another name already: keys that are held elsewhere have no file that bears an id.
    pub(crate) fn of_name(name: &[u8]) -> Self {
        let hash = sha256(&[b"portcullis/keystore/", name].concat());
        Self(alloy_primitives::FixedBytes::from_slice(&hash[..16]))
    }

    /// The keys of a deployment, wherever they are held.
    #[must_use]
    pub fn of_deployment(deployment: DeploymentId) -> Self {
        Self::of_name(format!("deployment/{deployment}").as_bytes())
    }
}

/// What anybody who may read the file can know of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// The chain that it signs for.
    pub chain_id: u64,
    /// Its address.
    pub address: Address,
    /// What its owner calls it.
    pub label: Option<String>,
    /// When it was generated or imported.
    pub created_at: Timestamp,
}

impl From<&KeyEntry> for KeyInfo {
    fn from(entry: &KeyEntry) -> Self {
        Self {
            chain_id: entry.chain_id,
            address: entry.address,
            label: entry.label.clone(),
            created_at: entry.created_at_ms,
        }
    }
}

/// The private keys of an open keystore. Each is erased when the last holder lets go.
pub(crate) type UnlockedKeys = BTreeMap<(u64, Address), Arc<SigningKey>>;

/// An open keystore.
pub struct Keystore {
    path: PathBuf,
    body: Body,
    secrets: FileSecrets,
    keys: Arc<UnlockedKeys>,
}

/// What the passphrase and the second secret turned into.
struct FileSecrets {
    wrapping: Key,
    authentication: Key,
    second: Option<Key>,
}

impl fmt::Debug for Keystore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Keystore({}, {} keys)", self.path.display(), self.keys.len())
    }
}

impl Keystore {
    /// Makes a new keystore without keys, readable by its owner alone. Slow on purpose, as
    /// [`Keystore::open`] is: one Argon2id run.
    ///
    /// # Errors
    /// [`KeystoreError::Exists`]: no file is ever overwritten. See the others there.
    pub fn create(
        path: &Path,
        passphrase: &SecretString,
        second: Option<&SecondSecret>,
        cost: KdfCost,
        now: Timestamp,
    ) -> Result<Self, KeystoreError> {
        if passphrase.expose_secret().is_empty() {
            return Err(KeystoreError::EmptyPassphrase);
        }
        let id = KeystoreId::random()?;
        let salt = random::public()?;
        let secrets = FileSecrets::derive(passphrase, &salt, cost, second, id)?;
        let check = Sealed::seal(&secrets.wrapping, Part::Check, id, CHECK)?;
        let second_check = secrets
            .second
            .as_ref()
            .map(|key| Sealed::seal(key, Part::SecondCheck, id, CHECK))
            .transpose()?;
        let body = Body {
            id,
            created_at_ms: now,
            argon2id: cost,
            salt: salt.into(),
            check,
            second_check,
            has_signed: None,
            keys: Vec::new(),
        };
        let path = absolute(path).map_err(|source| KeystoreError::writing("find", path, source))?;
        let _lock = private_file::lock_directory(&path)
            .map_err(|source| KeystoreError::writing("lock the directory of", &path, source))?;
        if path.symlink_metadata().is_ok() {
            return Err(KeystoreError::Exists { path });
        }
        document::write(&path, &body, &secrets.authentication)?;
        Ok(Self { path, body, secrets, keys: Arc::default() })
    }

    /// Opens a keystore and all its keys. One Argon2id run, however many keys there are: call it where
    /// blocking is allowed.
    ///
    /// # Errors
    /// [`KeystoreError::WrongPassphrase`], [`KeystoreError::SecondSecretMissing`], …: see there.
    pub fn open(
        path: &Path,
        passphrase: &SecretString,
        second: Option<&SecondSecret>,
    ) -> Result<Self, KeystoreError> {
        let path = absolute(path).map_err(|source| KeystoreError::reading("find", path, source))?;
        let read = document::read(&path)?;
        let (id, salt) = (read.body.id, read.body.salt.0);
        let has_second = read.body.second_check.is_some();
        match second {
            None if has_second => return Err(KeystoreError::SecondSecretMissing { path }),
            Some(_) if !has_second => return Err(KeystoreError::SecondSecretUnneeded { path }),
            _ => {}
        }
        let secrets = FileSecrets::derive(passphrase, &salt, read.body.argon2id, second, id)?;
        if read.body.check.open(&secrets.wrapping, Part::Check, id).is_err() {
            return Err(KeystoreError::WrongPassphrase { path });
        }
        let body = proved(&path, read, &secrets.authentication)?;
        if let (Some(key), Some(check)) = (&secrets.second, &body.second_check)
            && check.open(key, Part::SecondCheck, id).is_err()
        {
            return Err(KeystoreError::SecondSecretWrong { path });
        }
        let mut keys = UnlockedKeys::new();
        for entry in &body.keys {
            let key = secrets.open_entry(id, entry).ok_or_else(|| {
                KeystoreError::damaged(&path, format!("the key of {} does not open", entry.address))
            })?;
            keys.insert((entry.chain_id, entry.address), Arc::new(key));
        }
        Ok(Self { path, body, secrets, keys: Arc::new(keys) })
    }

    /// What keys the file at `path` holds. Needs no passphrase, and so cannot tell whether somebody with
    /// access to the file has changed it: [`Keystore::open`] can.
    ///
    /// # Errors
    /// See [`KeystoreError`].
    pub fn list(path: &Path) -> Result<Vec<KeyInfo>, KeystoreError> {
        let read = document::read(path)?;
        Ok(read.body.keys.iter().map(KeyInfo::from).collect())
    }

    /// Generates a key and writes the file.
    ///
    /// # Errors
    /// See [`KeystoreError`].
    pub fn generate(
        &mut self,
        chain_id: u64,
        label: Option<&str>,
        now: Timestamp,
    ) -> Result<Address, KeystoreError> {
        loop {
            let bytes = random::secret::<32>()?;
            // One in 2^128 random scalars is none; then another is drawn.
            if SigningKey::from_slice(&*bytes).is_ok() {
                return self.import(chain_id, bytes, label, now);
            }
        }
    }

    /// Takes in a private key made elsewhere and writes the file.
    ///
    /// # Errors
    /// [`KeystoreError::InvalidPrivateKey`], [`KeystoreError::KeyExists`], …: see there.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "it takes the caller's copy, so that it is erased when this returns"
    )]
    pub fn import(
        &mut self,
        chain_id: u64,
        private_key: Zeroizing<[u8; 32]>,
        label: Option<&str>,
        now: Timestamp,
    ) -> Result<Address, KeystoreError> {
        if label.is_some_and(|label| !is_label(label)) {
            return Err(KeystoreError::InvalidLabel);
        }
        let key =
            SigningKey::from_slice(&*private_key).map_err(|_| KeystoreError::InvalidPrivateKey)?;
        let address = Address::from_public_key(key.verifying_key());
        let (data_key, private_key) =
            self.secrets.seal_entry(self.body.id, (chain_id, address), &private_key)?;
        let entry = KeyEntry {
            chain_id,
            address,
            label: label.map(str::to_owned),
            created_at_ms: now,
            data_key,
            private_key,
        };
        self.change(|body, _path| {
            if let Some(there) = body.keys.iter().find(|there| there.address == address) {
                return Err(KeystoreError::KeyExists { address, chain_id: there.chain_id });
            }
            body.keys.push(entry);
            Ok(())
        })?;
        Arc::make_mut(&mut self.keys).insert((chain_id, address), Arc::new(key));
        Ok(address)
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> KeystoreId {
        self.body.id
    }

    /// The journal that it has signed with; `None` before its first signature.
    #[must_use]
    pub fn signed_with(&self) -> Option<JournalId> {
        self.body.has_signed.map(|mark| mark.journal)
    }

    /// The addresses that it can sign for on a chain, in the order of their bytes.
    #[must_use]
    pub fn addresses(&self, chain_id: u64) -> Vec<Address> {
        self.keys.keys().filter(|(chain, _)| *chain == chain_id).map(|(_, it)| *it).collect()
    }

    pub(crate) fn unlocked(&self) -> Arc<UnlockedKeys> {
        Arc::clone(&self.keys)
    }

    /// Reads again what other processes may have written: above all whether it has signed.
    pub(crate) fn refresh(&mut self) -> Result<(), KeystoreError> {
        self.body = self.read_again()?;
        Ok(())
    }

    /// Writes down, before the first signature, that it has signed and with which journal.
    pub(crate) fn mark_signed(
        &mut self,
        journal: JournalId,
        now: Timestamp,
    ) -> Result<(), KeystoreError> {
        if self.signed_with() == Some(journal) {
            return Ok(());
        }
        self.change(|body, path| match body.has_signed {
            Some(mark) if mark.journal != journal => Err(KeystoreError::OtherJournal {
                path: path.to_owned(),
                recorded: mark.journal,
                asked: journal,
            }),
            _ => {
                body.has_signed = Some(HasSigned { journal, since_ms: now });
                Ok(())
            }
        })
    }

    /// Changes the file as it is now, not as it was when it was opened: another process may have added keys.
    fn change(
        &mut self,
        with: impl FnOnce(&mut Body, &Path) -> Result<(), KeystoreError>,
    ) -> Result<(), KeystoreError> {
        let _lock = private_file::lock_directory(&self.path).map_err(|source| {
            KeystoreError::reading("lock the directory of", &self.path, source)
        })?;
        let mut body = self.read_again()?;
        with(&mut body, &self.path)?;
        document::write(&self.path, &body, &self.secrets.authentication)?;
        self.body = body;
        Ok(())
    }

    fn read_again(&self) -> Result<Body, KeystoreError> {
        let read = document::read(&self.path)?;
        if read.body.id != self.body.id {
            return Err(KeystoreError::Replaced { path: self.path.clone() });
        }
        proved(&self.path, read, &self.secrets.authentication)
    }
}

impl FileSecrets {
    fn derive(
        passphrase: &SecretString,
        salt: &[u8; 32],
        cost: KdfCost,
        second: Option<&SecondSecret>,
        id: KeystoreId,
    ) -> Result<Self, KeystoreError> {
        let master = cost.derive(passphrase.expose_secret(), salt)?;
        Ok(Self {
            wrapping: envelope::subkey(&master, "wrapping", id),
            authentication: envelope::subkey(&master, "authentication", id),
            second: second.map(|secret| envelope::subkey(&secret.0, "second", id)),
        })
    }

    /// The sealed data key and the sealed private key.
    fn seal_entry(
        &self,
        id: KeystoreId,
        (chain_id, address): (u64, Address),
        private_key: &Key,
    ) -> Result<(Sealed, Sealed), KeystoreError> {
        let data_key = random::secret::<32>()?;
        let sealed_key =
            Sealed::seal(&data_key, Part::PrivateKey { chain_id, address }, id, &**private_key)?;
        let inner =
            Sealed::seal(&self.wrapping, Part::DataKey { chain_id, address }, id, &*data_key)?;
        let wrapped = match &self.second {
            None => inner,
            Some(key) => Sealed::seal(key, Part::OuterDataKey { chain_id, address }, id, &inner.0)?,
        };
        Ok((wrapped, sealed_key))
    }

    /// The key of an entry, `None` when any layer does not open or the key is not the address's.
    fn open_entry(&self, id: KeystoreId, entry: &KeyEntry) -> Option<SigningKey> {
        let (chain_id, address) = (entry.chain_id, entry.address);
        let inner = match &self.second {
            None => entry.data_key.clone(),
            Some(key) => {
                let part = Part::OuterDataKey { chain_id, address };
                Sealed(entry.data_key.open(key, part, id).ok()?.to_vec().into())
            }
        };
        let data_key =
            inner.open_key(&self.wrapping, Part::DataKey { chain_id, address }, id).ok()?;
        let private_key = entry
            .private_key
            .open_key(&data_key, Part::PrivateKey { chain_id, address }, id)
            .ok()?;
        let key = SigningKey::from_slice(&*private_key).ok()?;
        (Address::from_public_key(key.verifying_key()) == address).then_some(key)
    }
}

fn proved(path: &Path, read: Unproved, key: &Key) -> Result<Body, KeystoreError> {
    if read.is_authentic(key) {
        Ok(read.body)
    } else {
        Err(KeystoreError::damaged(path, "it was written by somebody without the passphrase"))
    }
}

/// The real place of the file, so that the journal lies beside it whatever the working directory is.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    if path.exists() {
        return path.canonicalize();
    }
    let name = path.file_name().ok_or(io::ErrorKind::NotFound)?;
    Ok(private_file::directory_of(path).canonicalize()?.join(name))
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.chars().count() <= LABEL_CHARACTERS_MAX
        && !label.chars().any(char::is_control)
}
