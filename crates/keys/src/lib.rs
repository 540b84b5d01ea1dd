//! The signer's world: the keys, wherever they are held, the journal, the caps, the seal check. It speaks to no node and
//! not to the database of withdrawals: intents come in, signed bytes go out, and the journal knows of them first.

#[cfg(test)]
mod fixtures;
mod random;
#[cfg(test)]
mod servers;

pub mod journal;
pub mod keyring;
pub mod keystore;
mod private_file;
pub mod signer;

pub use journal::{Journal, JournalError, JournalReader};
pub use keyring::Keyring;
pub use keystore::{KdfCost, KeyInfo, Keystore, KeystoreError, SecondSecret};
pub use signer::{ChainCaps, Signer, SigningRefusal};
