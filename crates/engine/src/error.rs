//! What can end a step early. Every one of them is safe: the next step reads again and goes on.

use portcullis_evm::{FollowError, QuorumError, ReadError};
use portcullis_keys::JournalError;
use portcullis_store::StoreError;
use thiserror::Error;

/// An error of a step.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A provider.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Too few independent providers answered, or they do not agree.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    /// The chain as the follower sees it.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// The signer's journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A role ended by a bug.
    #[error(
        "a role ended by a panic ({cause}): nothing is lost; restart the process and report it"
    )]
    Panicked {
        /// What it said.
        cause: String,
    },
    /// A role without the parts that it needs.
    #[error("{role} cannot run: {missing}")]
    Incomplete {
        /// The role.
        role: &'static str,
        /// What is missing, and how to give it.
        missing: String,
    },
}

impl EngineError {
    /// Whether another writer was first: no fault, the step just runs again.
    #[must_use]
    pub const fn is_lost_race(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_lost_race())
    }
}
