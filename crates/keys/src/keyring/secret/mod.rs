//! Private keys in AWS Secrets Manager, encrypted before they go there.
//!
//! The secret holds each private key as AES-256-GCM ciphertext under a data key that is new with every version. The data key
//! is wrapped by AWS KMS, by a key that the operator holds, or by both. Keys are fetched when something is to be signed,
//! kept no longer than configured, and erased.

mod document;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use alloy_primitives::Address;
use portcullis_core::time::{Clock, Timestamp};
use tokio::sync::Mutex;

pub use self::document::Wrapping;
pub use self::store::{SecretError, SecretOptions, SecretStore};

use self::store::{Opened, Stage};
use super::error::{KeyError, KeyringError};
use super::{Ask, HELD_BY_SECRET, Signed, sign_locally};
use crate::keystore::UnlockedKeys;

/// The keys of a secret. Cheap to clone; all clones share what is in memory.
#[derive(Clone)]
pub struct SecretKeys {
    keeper: Arc<Keeper>,
}

struct Keeper {
    store: SecretStore,
    /// Known since the start: the signer's senders do not change while it runs.
    addresses: BTreeSet<(u64, Address)>,
    kept_for: Duration,
    kept: StdMutex<Option<Kept>>,
    /// Held while keys are fetched, so that one caller does it for all.
    fetching: Mutex<()>,
    clock: Arc<dyn Clock>,
}

struct Kept {
    keys: Arc<UnlockedKeys>,
    fetched_at: Timestamp,
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Keeper { store, addresses, .. } = &*self.keeper;
        write!(formatter, "SecretKeys({}, {} keys)", store.name(), addresses.len())
    }
}

impl SecretKeys {
    /// Fetches the keys once, to know whose they are. Those of the version before count too: what was bound to them
    /// can be finished.
    ///
    /// # Errors
    /// See [`KeyringError`].
    pub async fn open(
        store: SecretStore,
        kept_for: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, KeyringError> {
        let fetched_at = clock.now();
        let keys =
            fetch(&store, |_| false).await.map_err(|error| error.to_keyring_error(&store))?;
        let keeper = Keeper {
            addresses: keys.keys().copied().collect(),
            store,
            kept_for,
            kept: StdMutex::new(Some(Kept { keys: Arc::new(keys), fetched_at })),
            fetching: Mutex::default(),
            clock,
        };
        let opened = Self { keeper: Arc::new(keeper) };
        opened.forget_expired();
        Ok(opened)
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = (u64, Address)> {
        self.keeper.addresses.iter().copied()
    }

    /// Whether any private key is in memory now.
    #[must_use]
    pub fn holds_keys(&self) -> bool {
        self.kept().is_some()
    }

    pub(super) async fn sign(&self, asked: Vec<Ask>) -> Vec<Signed> {
        match self.keys_for(&asked).await {
            Ok(keys) => {
                let signed = sign_locally(keys, asked).await;
                self.forget_expired();
                signed
            }
            Err(error) => vec![Err(error); asked.len()],
        }
    }

    /// Erases the keys when they were kept for as long as is allowed.
    pub(crate) fn forget_expired(&self) {
        let mut kept = self.keeper.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_some_and(|kept| !self.is_fresh(kept)) {
            *kept = None;
        }
    }

    async fn keys_for(&self, asked: &[Ask]) -> Result<Arc<UnlockedKeys>, KeyError> {
        let _fetching = self.keeper.fetching.lock().await;
        self.forget_expired();
        let has_all = |keys: &UnlockedKeys| asked.iter().all(|ask| keys.contains_key(&ask.key));
        if let Some(keys) = self.kept().filter(|keys| has_all(keys)) {
            return Ok(keys);
        }
        let fetched_at = self.keeper.clock.now();
        let keys =
            fetch(&self.keeper.store, has_all).await.map_err(|error| error.to_key_error())?;
        let keys = Arc::new(keys);
        *self.keeper.kept.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Kept { keys: Arc::clone(&keys), fetched_at });
        Ok(keys)
    }

    fn kept(&self) -> Option<Arc<UnlockedKeys>> {
        let kept = self.keeper.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|kept| self.is_fresh(kept)).map(|kept| Arc::clone(&kept.keys))
    }

    /// Not when the clock was put back either: nobody knows how long it was then.
    fn is_fresh(&self, kept: &Kept) -> bool {
        let age_ms = self.keeper.clock.now().millis_since(kept.fetched_at);
        u64::try_from(age_ms).is_ok_and(|age| u128::from(age) < self.keeper.kept_for.as_millis())
    }
}

/// The keys of the present version, and those of the one before where the present one does not open or is not enough.
async fn fetch(
    store: &SecretStore,
    is_enough: impl Fn(&UnlockedKeys) -> bool,
) -> Result<UnlockedKeys, SecretError> {
    let current = match store.read(Stage::Current).await {
        Ok(Opened { keys, .. }) if is_enough(&keys) => return Ok(keys),
        Ok(opened) => Ok(opened.keys),
        Err(error) if error.is_passing() => return Err(error),
        Err(error) => {
            tracing::error!(secret = store.name(), %error, "the present version of the secret cannot be used; the one before is tried");
            Err(error)
        }
    };
    match (store.read(Stage::Previous).await, current) {
        (Ok(before), Ok(mut keys)) => {
            for (key, secret) in before.keys {
                keys.entry(key).or_insert(secret);
            }
            Ok(keys)
        }
        (Ok(before), Err(_)) => Ok(before.keys),
        // Of no use where it is missing or spoiled: the present one counts.
        (Err(_), current) => current,
    }
}
