//! What can be wrong with keys that are held elsewhere.

use alloy_primitives::Address;
use thiserror::Error;

use super::signature::SignatureError;

/// Why the holder of a key gave no signature. Nothing was signed that anybody could send.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// It is slow, busy, unplugged or away. The same question may be answered in a moment.
    #[error("{holder} gives no answer ({reason}): it is asked again, look after it if this stays")]
    Unavailable {
        /// Who was asked.
        holder: &'static str,
        /// What happened.
        reason: String,
    },
    /// It answers, and does not do it: a permission, a key that is switched off, a PIN. Asking again changes nothing.
    #[error("{holder} refuses ({reason}): repair the permission or the key, then try again")]
    Refused {
        /// Who was asked.
        holder: &'static str,
        /// What it said.
        reason: String,
    },
    /// What it answered is not the signature of this key.
    #[error("{holder} answered something else ({reason}): find out which key it used")]
    Answer {
        /// Who was asked.
        holder: &'static str,
        /// What is wrong with the answer.
        reason: SignatureError,
    },
}

impl KeyError {
    /// Whether the same question may be answered later, without anybody repairing anything.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// Why keys that are held elsewhere could not be taken into use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyringError {
    /// Its holder gave no answer that helps.
    #[error("{key}: {reason}")]
    Key {
        /// The key as the configuration names it.
        key: String,
        /// What happened.
        reason: KeyError,
    },
    /// The holder has no such key.
    #[error("{holder} has no key {key}: {hint}")]
    Missing {
        /// Who was asked.
        holder: &'static str,
        /// The key as the configuration names it.
        key: String,
        /// What to look at.
        hint: String,
    },
    /// The key cannot sign transactions.
    #[error("{key} {what}: name a key pair of the curve secp256k1 that may sign")]
    Unsuited {
        /// The key as the configuration names it.
        key: String,
        /// What is wrong with it.
        what: String,
    },
    /// The configuration expects another address: a name that leads to another key than it did.
    #[error("{key} has the address {found}, and {expected} is configured: name the right key")]
    OtherAddress {
        /// The key as the configuration names it.
        key: String,
        /// What is configured.
        expected: Address,
        /// What it is.
        found: Address,
    },
    /// One key twice. A key belongs to one chain.
    #[error("the key of {address} is named twice: a key belongs to one chain, leave one out")]
    Twice {
        /// Its address.
        address: Address,
    },
    /// What the holder runs on does not start.
    #[error("{holder}: {reason}")]
    Setup {
        /// Who.
        holder: &'static str,
        /// Why not, and what to do.
        reason: String,
    },
}

impl KeyringError {
    /// Whether it may pass by itself.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Key { reason, .. } if reason.is_retryable())
    }
}
