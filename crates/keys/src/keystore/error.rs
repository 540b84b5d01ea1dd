//! What can be wrong with a keystore.

use std::io;
use std::path::{Path, PathBuf};

use alloy_primitives::Address;
use thiserror::Error;

use crate::journal::JournalId;
use crate::private_file::directory_of;
use crate::random::NoRandomness;

/// Why a keystore was not created, opened or changed. Nothing was written then.
#[derive(Debug, Error)]
pub enum KeystoreError {
    /// There is a file already, and keystores are never overwritten.
    #[error("{path} exists already: choose another path, or use the keystore that is there")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is no file.
    #[error(
        "there is no keystore at {path}: check the path, or make one with `portcullis keys new`"
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is no folder that a new keystore could be in.
    #[error(
        "the folder {folder} does not exist, so no keystore can be made at {path}: create the folder, or name another path"
    )]
    FolderMissing {
        /// The keystore that was to be.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Others than its owner may read or write the file.
    #[error(
        "{path} has mode {mode:04o}, so others than its owner have access: run `chmod 600 {path}`"
    )]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Written by a later release.
    #[error(
        "{path} is a keystore of version {version}, and this release reads version {supported}: upgrade"
    )]
    UnsupportedVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// What this release reads.
        supported: u32,
    },
    /// The content is not what was written: a bad disk, a partial copy, or a change by hand.
    #[error("{path} is damaged or was changed ({what}): restore it from a copy")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// The file is whole, and the passphrase does not open it.
    #[error("the passphrase does not open {path}: the file is whole, try the passphrase again")]
    WrongPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// An empty passphrase protects nothing.
    #[error("the passphrase is empty: give one")]
    EmptyPassphrase,
    /// The keystore was made with a second secret, and none was given.
    #[error(
        "{path} needs its second secret as well as the passphrase: name the file that holds it"
    )]
    SecondSecretMissing {
        /// The keystore.
        path: PathBuf,
    },
    /// A second secret was given, and it is another one.
    #[error("the second secret is not the one that {path} was made with: name the right file")]
    SecondSecretWrong {
        /// The keystore.
        path: PathBuf,
    },
    /// A second secret was given to a keystore that has none.
    #[error("{path} was made without a second secret: leave it out")]
    SecondSecretUnneeded {
        /// The keystore.
        path: PathBuf,
    },
    /// The text is no second secret.
    #[error("a second secret is 32 bytes, as 64 hexadecimal digits or as base64: check its file")]
    SecondSecretMalformed,
    /// Argon2id cannot run, or should not be run, at this cost.
    #[error(
        "Argon2id cannot run with {memory_kib} KiB, {iterations} iterations and {parallelism} lanes ({reason}): choose other costs"
    )]
    KdfCost {
        /// Memory.
        memory_kib: u32,
        /// Passes.
        iterations: u32,
        /// Lanes.
        parallelism: u32,
        /// Why not.
        reason: String,
    },
    /// The key is there already. A key belongs to one chain.
    #[error(
        "the key of {address} is in this keystore for chain {chain_id}, and a key belongs to one chain: use it there, or generate another"
    )]
    KeyExists {
        /// Its address.
        address: Address,
        /// Its chain.
        chain_id: u64,
    },
    /// Not the scalar of a private key.
    #[error(
        "what was given is not a private key: give 32 bytes as 64 hexadecimal digits, between 1 and the order of secp256k1"
    )]
    InvalidPrivateKey,
    /// Labels are for people, on one line.
    #[error("a label is 1 to 64 characters without control characters: choose another")]
    InvalidLabel,
    /// The keystore has signed with another journal.
    #[error(
        "{path} has signed with journal {recorded}, not with {asked}: bring back that journal, it knows what was signed"
    )]
    OtherJournal {
        /// The keystore.
        path: PathBuf,
        /// The journal that it names.
        recorded: JournalId,
        /// The journal that was offered.
        asked: JournalId,
    },
    /// Another keystore took the place of the one that is open.
    #[error(
        "another keystore is at {path} than the one that was opened: stop, and find out who put it there"
    )]
    Replaced {
        /// The file.
        path: PathBuf,
    },
    /// No random bytes.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

impl KeystoreError {
    /// Of a keystore that is to be there.
    pub(crate) fn reading(action: &'static str, path: &Path, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::NotFound {
            return Self::Missing { path: path.to_owned() };
        }
        Self::Io { action, path: path.to_owned(), source }
    }

    /// Of a keystore that is to be written: what can be missing is its folder.
    pub(crate) fn writing(action: &'static str, path: &Path, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::NotFound {
            let folder = directory_of(path).to_owned();
            return Self::FolderMissing { path: path.to_owned(), folder };
        }
        Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), what: what.into() }
    }
}
