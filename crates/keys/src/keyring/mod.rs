//! Who holds the private keys: a keystore file, AWS KMS, AWS Secrets Manager, or a hardware security module. The signer asks all
//! of them the same: which senders there are, and a signature over a digest.

#[cfg(test)]
mod asks;
mod aws;
mod error;
mod kms;
mod secret;
mod signature;
mod token;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Signature};
use portcullis_core::id::DeploymentId;
use portcullis_core::time::Timestamp;

pub use self::aws::AwsAccess;
pub use self::error::{KeyError, KeyringError};
pub use self::kms::{KmsKey, KmsKeys, KmsOptions};
pub use self::secret::{SecretError, SecretKeys, SecretOptions, SecretStore, Wrapping};
pub use self::signature::SignatureError;
pub use self::token::{TokenKey, TokenKeys, TokenOptions};

use crate::journal::JournalId;
use crate::keystore::{Keystore, KeystoreError, KeystoreId, UnlockedKeys};
use crate::signer::in_parts;

/// What the holders are called in errors.
const HELD_HERE: &str = "the keystore";
const HELD_BY_KMS: &str = "AWS KMS";
const HELD_BY_TOKEN: &str = "the PKCS#11 token";
const HELD_BY_SECRET: &str = "AWS Secrets Manager";

/// A key and what it is to sign.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    /// Chain and sender.
    pub(crate) key: (u64, Address),
    /// The digest.
    pub(crate) digest: B256,
}

/// What a holder answers to one.
pub(crate) type Signed = Result<Signature, KeyError>;

/// The keys that a signer signs with.
pub struct Keyring {
    id: KeystoreId,
    holder: Holder,
}

enum Holder {
    Keystore(Box<Keystore>),
    Kms(KmsKeys),
    Secret(SecretKeys),
    Token(TokenKeys),
}

impl fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.holder {
            Holder::Keystore(keystore) => keystore.fmt(formatter),
            Holder::Kms(keys) => keys.fmt(formatter),
            Holder::Secret(keys) => keys.fmt(formatter),
            Holder::Token(keys) => keys.fmt(formatter),
        }
    }
}

impl From<Keystore> for Keyring {
    fn from(keystore: Keystore) -> Self {
        Self { id: keystore.id(), holder: Holder::Keystore(Box::new(keystore)) }
    }
}

impl Keyring {
    /// The keys of a deployment in AWS KMS.
    #[must_use]
    pub fn of_kms(keys: KmsKeys, deployment: DeploymentId) -> Self {
        Self { id: KeystoreId::of_deployment(deployment), holder: Holder::Kms(keys) }
    }

    /// The keys of a deployment in AWS Secrets Manager.
    #[must_use]
    pub fn of_secret(keys: SecretKeys, deployment: DeploymentId) -> Self {
        Self { id: KeystoreId::of_deployment(deployment), holder: Holder::Secret(keys) }
    }

    /// The keys of a deployment in a hardware security module.
    #[must_use]
    pub fn of_token(keys: TokenKeys, deployment: DeploymentId) -> Self {
        Self { id: KeystoreId::of_deployment(deployment), holder: Holder::Token(keys) }
    }

    /// The name that its journal bears: the keystore's own, or one that is made of the deployment's.
    #[must_use]
    pub const fn id(&self) -> KeystoreId {
        self.id
    }

    /// The keystore, where it is one: it remembers by itself which journal it has signed with.
    pub(crate) fn keystore_mut(&mut self) -> Option<&mut Keystore> {
        match &mut self.holder {
            Holder::Keystore(keystore) => Some(keystore),
            Holder::Kms(_) | Holder::Secret(_) | Holder::Token(_) => None,
        }
    }

    /// Chain and address of every key.
    #[must_use]
    pub fn addresses(&self) -> BTreeSet<(u64, Address)> {
        match &self.holder {
            Holder::Keystore(keystore) => keystore.unlocked().keys().copied().collect(),
            Holder::Kms(keys) => keys.addresses().collect(),
            Holder::Secret(keys) => keys.addresses().collect(),
            Holder::Token(keys) => keys.addresses().collect(),
        }
    }

    /// Writes down, before the first signature, that it has signed and with which journal. Blocks. Keys that are held
    /// elsewhere cannot keep that: their journal is named in the configuration instead.
    pub(crate) fn mark_signed(
        &mut self,
        journal: JournalId,
        now: Timestamp,
    ) -> Result<(), KeystoreError> {
        self.keystore_mut().map_or(Ok(()), |keystore| keystore.mark_signed(journal, now))
    }

    /// The half that signs, for whoever waits for signatures.
    pub(crate) fn hand(&self) -> Hand {
        match &self.holder {
            Holder::Keystore(keystore) => Hand::Local(keystore.unlocked()),
            Holder::Kms(keys) => Hand::Kms(keys.clone()),
            Holder::Secret(keys) => Hand::Secret(keys.clone()),
            Holder::Token(keys) => Hand::Token(keys.clone()),
        }
    }
}

/// What signs. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Hand {
    Local(Arc<UnlockedKeys>),
    Kms(KmsKeys),
    Secret(SecretKeys),
    Token(TokenKeys),
}

impl Hand {
    /// One answer to each, in their order.
    pub(crate) async fn sign(&self, asked: Vec<Ask>) -> Vec<Signed> {
        match self {
            Self::Local(keys) => sign_locally(Arc::clone(keys), asked).await,
            Self::Kms(keys) => keys.sign(asked).await,
            Self::Secret(keys) => keys.sign(asked).await,
            Self::Token(keys) => keys.sign(asked).await,
        }
    }

    /// Lets go of what was to be kept for a time that is over.
    pub(crate) fn tidy(&self) {
        if let Self::Secret(keys) = self {
            keys.forget_expired();
        }
    }
}

/// Signs with keys that are in memory, on all cores.
async fn sign_locally(keys: Arc<UnlockedKeys>, asked: Vec<Ask>) -> Vec<Signed> {
    let count = asked.len();
    let signing =
        tokio::task::spawn_blocking(move || in_parts(&asked, |ask| sign_with(&keys, ask)));
    signing.await.unwrap_or_else(|_| {
        let reason = "the process is stopping".to_owned();
        vec![Err(KeyError::Unavailable { holder: HELD_HERE, reason }); count]
    })
}

/// With a deterministic nonce (RFC 6979) and a low `s` (EIP-2): the same digest gives the same signature.
fn sign_with(keys: &UnlockedKeys, ask: &Ask) -> Signed {
    let refused = |reason| KeyError::Refused { holder: HELD_HERE, reason };
    let key =
        keys.get(&ask.key).ok_or_else(|| refused(format!("there is no key of {}", ask.key.1)))?;
    let signature = key
        .sign_prehash_recoverable(ask.digest.as_slice())
        .map_err(|error| refused(error.to_string()))?;
    Ok(signature.into())
}
