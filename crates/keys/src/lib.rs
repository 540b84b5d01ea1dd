//! The signer's world: the keystore, the journal, the caps, the seal check. It speaks to no node and no
//! database: intents come in, signed bytes go out, and the journal knows of them first.

#[cfg(test)]
mod fixtures;
mod random;

pub mod journal;
pub mod keystore;
mod private_file;
pub mod signer;

pub use journal::{Journal, JournalError, JournalReader};
pub use keystore::{KdfCost, KeyInfo, Keystore, KeystoreError, SecondSecret};
pub use signer::{ChainCaps, Signer, SigningRefusal};
