//! A withdrawal: its states, the events that move it, and what each move causes.

mod code;
mod decide;
mod state;
#[cfg(test)]
mod tests;

pub use code::{FailureReason, HoldReason, StateCode, UnknownState};
pub use decide::{Effect, Event, Refused, ReleaseCause, decide};
pub use state::{BlockRef, InvalidTransition, State};

use serde::{Deserialize, Serialize};

/// Who is served first. `urgent` before `vip` before `standard`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// The default.
    #[default]
    Standard,
    /// Before standard.
    Vip,
    /// Before everything; never waits for a batch to fill.
    Urgent,
}

impl Priority {
    /// Every priority, lowest first.
    pub const ALL: [Self; 3] = [Self::Standard, Self::Vip, Self::Urgent];

    /// The number that the store orders by: higher first.
    #[must_use]
    pub const fn rank(self) -> i32 {
        match self {
            Self::Standard => 0,
            Self::Vip => 1,
            Self::Urgent => 2,
        }
    }

    /// From the store's number.
    #[must_use]
    pub fn from_rank(rank: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.rank() == rank)
    }
}

/// How a payment travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rail {
    /// A plain transfer from a hot wallet: one payment a transaction.
    Direct,
}
