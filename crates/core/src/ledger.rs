//! The ledger's rules: double entry, in four buckets, never out of balance.
//!
//! A posting moves an amount of one asset between two buckets of one account, so the sum over all
//! buckets is zero after every posting: `available + held + outside + paid = 0`, where `outside`
//! (what came in) is the only bucket that goes below zero.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::withdrawal::Effect;

/// Where money of an account stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bucket {
    /// The world that deposits come from.
    Outside,
    /// Free to be withdrawn.
    Available,
    /// Reserved for withdrawals under way.
    Held,
    /// Paid on chain.
    Paid,
}

/// Why money moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostingKind {
    /// A deposit was credited.
    Deposit,
    /// A withdrawal was accepted.
    Reserve,
    /// A withdrawal was paid.
    Settle,
    /// A reorg took a payment back.
    Unsettle,
    /// A withdrawal ended unpaid.
    Release,
    /// `reconcile` found a payment whose payer nobody knows any more: what it moved came in on the suspense account.
    Import,
    /// The payer of an imported payment is known: the suspense account gives it back.
    Claim,
}

impl PostingKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Deposit,
        Self::Reserve,
        Self::Settle,
        Self::Unsettle,
        Self::Release,
        Self::Import,
        Self::Claim,
    ];

    /// From which bucket to which. A reorg posts paid → held, never → available (invariant 11).
    #[must_use]
    pub const fn buckets(self) -> (Bucket, Bucket) {
        match self {
            Self::Deposit | Self::Import => (Bucket::Outside, Bucket::Available),
            Self::Reserve => (Bucket::Available, Bucket::Held),
            Self::Settle => (Bucket::Held, Bucket::Paid),
            Self::Unsettle => (Bucket::Paid, Bucket::Held),
            Self::Release => (Bucket::Held, Bucket::Available),
            Self::Claim => (Bucket::Available, Bucket::Outside),
        }
    }

    /// The posting that an effect of a withdrawal's move asks for.
    #[must_use]
    pub const fn of_effect(effect: Effect) -> Option<Self> {
        match effect {
            Effect::Settle => Some(Self::Settle),
            Effect::Unsettle => Some(Self::Unsettle),
            Effect::Release => Some(Self::Release),
            Effect::Unbind | Effect::Revalidate | Effect::Finish => None,
        }
    }

    /// The stable text of the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deposit => "deposit",
            Self::Reserve => "reserve",
            Self::Settle => "settle",
            Self::Unsettle => "unsettle",
            Self::Release => "release",
            Self::Import => "import",
            Self::Claim => "claim",
        }
    }
}

impl fmt::Display for PostingKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reorg_never_frees_money() {
        assert_eq!(PostingKind::Unsettle.buckets(), (Bucket::Paid, Bucket::Held));
    }

    #[test]
    fn only_a_release_makes_held_money_available() {
        for kind in PostingKind::ALL {
            let (from, to) = kind.buckets();
            assert_ne!(from, to);
            let frees = from == Bucket::Held && to == Bucket::Available;
            assert_eq!(frees, kind == PostingKind::Release);
        }
    }
}
