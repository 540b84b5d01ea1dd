//! What can be wrong with a journal.

use std::io;
use std::path::{Path, PathBuf};

use portcullis_core::number::PayoutNumber;
use portcullis_core::slot::Slot;
use thiserror::Error;

use super::JournalId;
use crate::keystore::{KeystoreError, KeystoreId};
use crate::random::NoRandomness;

/// Why the journal was not opened, read or written. Nothing is signed without it.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The keystore has signed, and its memory is gone.
    #[error(
        "the keystore has signed with journal {journal}, and {place} is missing: bring it back; without it a payment could be made twice"
    )]
    Missing {
        /// Where it was looked for.
        place: String,
        /// Which it was.
        journal: JournalId,
    },
    /// Another journal than the one that the keystore has signed with.
    #[error(
        "{place} is journal {found}, and the keystore has signed with {expected}: bring back the right one"
    )]
    OtherJournal {
        /// Where it is.
        place: String,
        /// What the keystore names.
        expected: JournalId,
        /// What is there.
        found: JournalId,
    },
    /// The journal of another keystore.
    #[error("{place} belongs to keystore {found}, not to {expected}: bring back the right one")]
    OtherKeystore {
        /// Where it is.
        place: String,
        /// The keystore that is open.
        expected: KeystoreId,
        /// The keystore that the journal names.
        found: KeystoreId,
    },
    /// Another process has it open. Two signers with one key would not know of each other's payments.
    #[error(
        "{path} is open in another process: only one signer may run with a keystore; stop the other"
    )]
    Locked {
        /// The file.
        path: PathBuf,
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
    /// A line is not what was written.
    #[error(
        "{place} is damaged or was changed at line {line} ({what}): bring back what was there; do not shorten it, it knows what was signed"
    )]
    Damaged {
        /// Where it is.
        place: String,
        /// The first bad line, counted from 0.
        line: u64,
        /// What does not fit.
        what: String,
    },
    /// Written by a later release.
    #[error(
        "{place} is a journal of version {version}, and this release reads version {supported}: upgrade"
    )]
    UnsupportedVersion {
        /// Where it is.
        place: String,
        /// Its version.
        version: u32,
        /// What this release reads.
        supported: u32,
    },
    /// The file was removed, replaced, shortened or written to by somebody else while it was open.
    #[error(
        "{path} was changed or replaced while it was open: stop, bring it back, then start again"
    )]
    ChangedUnderneath {
        /// The file.
        path: PathBuf,
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
    /// An append failed, and the file cannot be put in order yet. Nothing is lost, and nothing is signed.
    #[error(
        "{place} cannot be written ({reason}): free space or repair the disk; it goes on by itself then, and nothing is signed before"
    )]
    Unwritable {
        /// Where it is.
        place: String,
        /// What the file system said.
        reason: String,
    },
    /// The file was found changed, and is not touched any more.
    #[error(
        "{place} failed before ({reason}): repair the cause, then start again to read what is there"
    )]
    Broken {
        /// Where it is.
        place: String,
        /// The first failure.
        reason: String,
    },
    /// A release of a payment that the slot does not carry.
    #[error(
        "payment {number} is not journaled in {slot:?}: nothing to release; check the evidence"
    )]
    NothingToRelease {
        /// The payment.
        number: PayoutNumber,
        /// The slot.
        slot: Slot,
    },
    /// The evidence names a transaction that did something else than it says.
    #[error(
        "the evidence that payment {number} was not made by {slot:?} names a transaction that the journal knows otherwise: release nothing, check the evidence"
    )]
    EvidenceContradicts {
        /// The payment.
        number: PayoutNumber,
        /// The slot.
        slot: Slot,
    },
    /// Another signer appended first. Nothing was written; what it wrote is known now.
    #[error("another signer wrote to {place} at the same moment: ask again")]
    Overtaken {
        /// Where it is.
        place: String,
    },
    /// The database gives no answer, or none that helps. Nothing was written.
    #[error("cannot {action} {place}: {reason}")]
    Away {
        /// What was tried.
        action: &'static str,
        /// Which database.
        place: String,
        /// What happened.
        reason: String,
    },
    /// The database answers, and does not do it.
    #[error("cannot {action} {place}: {reason}")]
    Sql {
        /// What was tried.
        action: &'static str,
        /// Which database.
        place: String,
        /// What it said.
        reason: String,
    },
    /// The database may or may not have taken an append. Nothing of it is sent.
    #[error(
        "{place} did not say whether it took an append ({reason}): nothing of it was sent; look after the database"
    )]
    Unsure {
        /// Which database.
        place: String,
        /// What happened last.
        reason: String,
    },
    /// The database is not set up as the journal needs it.
    #[error("{place} is not set up for the journal ({what}): see docs/guide/journal.sql")]
    Unprepared {
        /// Which database.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// The account may change what was written.
    #[error(
        "the account that opens {place} may do more than add and read ({privilege}): grant it SELECT and INSERT alone, see docs/guide/journal.sql"
    )]
    Privilege {
        /// Which database.
        place: String,
        /// The first thing that it may do and should not.
        privilege: String,
    },
    /// Keys that are held elsewhere cannot remember their journal, so that it has to be named.
    #[error(
        "{place} is journal {found}, and the configuration names none: set signer.journal.id to it, after a look whether it is the right one"
    )]
    Unnamed {
        /// Where it is.
        place: String,
        /// What is there.
        found: JournalId,
    },
    /// An empty place, for keys that may have signed before.
    #[error(
        "{place} holds no journal: bring back the one that was there; for new keys, begin one with `portcullis keys journal`"
    )]
    NotBegun {
        /// Where it was looked for.
        place: String,
    },
    /// There is one, and journals are never replaced.
    #[error("{place} holds journal {found} already: it is kept, use it")]
    Exists {
        /// Where it is.
        place: String,
        /// What is there.
        found: JournalId,
    },
    /// The process stops.
    #[error("the process is stopping: the append may or may not have happened")]
    Stopping,
    /// The keystore did not take its part.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// No random bytes.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

impl JournalError {
    /// Whether the same may go well later: the journal's database or its disk is what is missing, not the right journal.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Away { .. }
                | Self::Unsure { .. }
                | Self::Unwritable { .. }
                | Self::Overtaken { .. }
        )
    }

    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}
