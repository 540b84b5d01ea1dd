//! Why payments travel together or alone, in words for the timeline. Few different texts: the payments of all calls
//! with the same text are written by one statement.

use std::fmt;

/// What keeps a call from carrying more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// The most payments that a single mistake may touch.
    BlastRadius,
    /// The most gas that the chain, or the signer, grants one transaction.
    TransactionGas,
    /// The most that a transaction may cost: `maxFeePerGas` × gas, as providers cap it (`rpc.txfeecap`).
    FeeCap,
    /// The share of a block that a call may take.
    BlockShare,
    /// The most bytes that nodes take.
    Calldata,
    /// The gas money of the operators.
    GasMoney,
}

impl Limit {
    /// Its name in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BlastRadius => "the blast radius",
            Self::TransactionGas => "the gas of a transaction",
            Self::FeeCap => "the cap on a transaction's fee",
            Self::BlockShare => "the share of a block",
            Self::Calldata => "the size of a transaction",
            Self::GasMoney => "the operators' gas money",
        }
    }
}

/// Why a payment has a transaction of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// The queue is too short for a batch.
    FewQueued {
        /// From as many payments on, there are batches.
        least: usize,
    },
    /// Too few of its token wait, and too few others for a mixed batch.
    FewOfToken {
        /// From as many payments of a token on, it has batches of its own.
        least: usize,
    },
}

/// Why a batch leaves before it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Early {
    /// One of it must not wait.
    Urgent,
    /// The oldest of it has waited long enough.
    Waited,
    /// There are fewer free slots than batches by token: these go in the order of the queue.
    FewSlots,
    /// Others of it would make the call fail, and were left out.
    Narrowed,
}

/// Why payments travel as they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// One payment, one transaction.
    Alone(Alone),
    /// As many as a call may carry.
    Full {
        /// How many.
        items: usize,
        /// What keeps it from carrying more.
        by: Limit,
    },
    /// Fewer than a call may carry.
    Part {
        /// How many.
        items: usize,
        /// Why it did not wait for more.
        early: Early,
    },
}

impl Reason {
    /// One word for metrics: `single` or `batch`.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Alone(_) => "single",
            Self::Full { .. } | Self::Part { .. } => "batch",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone(Alone::FewQueued { least }) => {
                write!(formatter, "single: fewer than {least} in the queue")
            }
            Self::Alone(Alone::FewOfToken { least }) => {
                write!(formatter, "single: fewer than {least} of its token in the queue")
            }
            Self::Full { items, by } => {
                write!(formatter, "batch of {items}, limited by {}", by.as_str())
            }
            Self::Part { items, early } => {
                let why = match early {
                    Early::Urgent => "one of it is urgent",
                    Early::Waited => "it waited long enough for more",
                    Early::FewSlots => "in the order of the queue, as free slots are few",
                    Early::Narrowed => "what would fail was left out",
                };
                write!(formatter, "batch of {items}: {why}")
            }
        }
    }
}
