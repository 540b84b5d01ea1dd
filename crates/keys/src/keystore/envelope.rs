//! The cryptography of the keystore: Argon2id, AES-256-GCM and HMAC-SHA-256.

use alloy_primitives::{Address, B256};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, hmac};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::error::KeystoreError;
use super::{KeystoreId, VERSION};
use crate::random;

/// A symmetric key, erased when dropped.
pub(crate) type Key = Zeroizing<[u8; 32]>;

/// The most memory that a file may make this process take: the costs are read before anything
/// about the file is proved.
const MEMORY_KIB_MAX: u32 = 4 * 1024 * 1024;
const ITERATIONS_MAX: u32 = 1_000;
const PARALLELISM_MAX: u32 = 64;

/// What one Argon2id run costs. The file keeps it, so a keystore opens at the cost that it was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KdfCost {
    /// Memory.
    pub memory_kib: u32,
    /// Passes over it.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
}

impl Default for KdfCost {
    /// 64 MiB and three passes: the second recommended option of RFC 9106 section 4, with one lane.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, iterations: 3, parallelism: 1 }
    }
}

impl KdfCost {
    fn refused(self, reason: impl Into<String>) -> KeystoreError {
        KeystoreError::KdfCost {
            memory_kib: self.memory_kib,
            iterations: self.iterations,
            parallelism: self.parallelism,
            reason: reason.into(),
        }
    }

    /// The one slow step: from the passphrase to the key that all keys of the file hang on.
    pub(super) fn derive(self, passphrase: &str, salt: &[u8; 32]) -> Result<Key, KeystoreError> {
        if self.memory_kib > MEMORY_KIB_MAX
            || self.iterations > ITERATIONS_MAX
            || self.parallelism > PARALLELISM_MAX
        {
            return Err(self.refused("more than this release allows"));
        }
        let params = Params::new(self.memory_kib, self.iterations, self.parallelism, Some(32))
            .map_err(|error| self.refused(error.to_string()))?;
        let mut key = Key::default();
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), salt, &mut *key)
            .map_err(|error| self.refused(error.to_string()))?;
        Ok(key)
    }
}

/// A key for one use, derived from a key for several.
pub(crate) fn subkey(key: &Key, domain: &str, id: KeystoreId) -> Key {
    let input = format!("portcullis/keystore/{domain}/v{VERSION}/{id}");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &**key), input.as_bytes());
    let mut derived = Key::default();
    derived.copy_from_slice(tag.as_ref());
    derived
}

/// The keyed code over a document, as hexadecimal text.
pub(super) fn authenticate(key: &Key, bytes: &[u8]) -> B256 {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &**key), bytes);
    B256::from_slice(tag.as_ref())
}

/// Whether `code` is [`authenticate`]'s, compared in constant time.
pub(super) fn is_authentic(key: &Key, bytes: &[u8], code: B256) -> bool {
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &**key), bytes, code.as_slice()).is_ok()
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> B256 {
    B256::from_slice(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Which of a file's ciphertexts this is; none passes for another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// Proves the passphrase.
    Check,
    /// Proves the second secret.
    SecondCheck,
    /// A data key under the passphrase's key.
    DataKey { chain_id: u64, address: Address },
    /// That once more, under the second secret's key.
    OuterDataKey { chain_id: u64, address: Address },
    /// A private key under its data key.
    PrivateKey { chain_id: u64, address: Address },
}

impl Part {
    /// Associated data: part, version, keystore, chain, address. Every field has a fixed width.
    fn associated_data(self, id: KeystoreId) -> Vec<u8> {
        let (name, chain_id, address): (&[u8; 4], u64, Address) = match self {
            Self::Check => (b"chck", 0, Address::ZERO),
            Self::SecondCheck => (b"2chk", 0, Address::ZERO),
            Self::DataKey { chain_id, address } => (b"data", chain_id, address),
            Self::OuterDataKey { chain_id, address } => (b"2dat", chain_id, address),
            Self::PrivateKey { chain_id, address } => (b"priv", chain_id, address),
        };
        let mut bytes = b"portcullis/keystore".to_vec();
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(id.0.as_slice());
        bytes.extend_from_slice(&chain_id.to_be_bytes());
        bytes.extend_from_slice(address.as_slice());
        bytes
    }
}

/// `nonce ‖ ciphertext ‖ tag`, in the file as hexadecimal text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Sealed(pub(crate) alloy_primitives::Bytes);

/// The ciphertext does not open: another key, or not what was sealed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DoesNotOpen;

impl Sealed {
    /// Encrypts with a random 96-bit nonce.
    pub(crate) fn seal(
        key: &Key,
        part: Part,
        id: KeystoreId,
        plain: &[u8],
    ) -> Result<Self, KeystoreError> {
        let nonce: [u8; NONCE_LEN] = random::public()?;
        // Room for all at once: a buffer that grew would leave the plain bytes in freed memory.
        let mut bytes = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(plain);
        let tag = cipher(key)
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(part.associated_data(id)),
                &mut bytes[NONCE_LEN..],
            )
            .expect("AES-GCM refuses only inputs of gigabytes");
        bytes.extend_from_slice(tag.as_ref());
        Ok(Self(bytes.into()))
    }

    /// Decrypts.
    pub(crate) fn open(
        &self,
        key: &Key,
        part: Part,
        id: KeystoreId,
    ) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
        let (nonce, rest) = self.0.split_at_checked(NONCE_LEN).ok_or(DoesNotOpen)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| DoesNotOpen)?;
        let mut bytes = Zeroizing::new(rest.to_vec());
        let length = cipher(key)
            .open_in_place(nonce, Aad::from(part.associated_data(id)), &mut bytes)
            .map_err(|_| DoesNotOpen)?
            .len();
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Decrypts a key.
    pub(crate) fn open_key(
        &self,
        key: &Key,
        part: Part,
        id: KeystoreId,
    ) -> Result<Key, DoesNotOpen> {
        let plain = self.open(key, part, id)?;
        let mut opened = Key::default();
        if plain.len() != opened.len() {
            return Err(DoesNotOpen);
        }
        opened.copy_from_slice(&plain);
        Ok(opened)
    }
}

fn cipher(key: &Key) -> LessSafeKey {
    let key = UnboundKey::new(&AES_256_GCM, &**key).expect("AES-256 takes 32 bytes");
    LessSafeKey::new(key)
}
