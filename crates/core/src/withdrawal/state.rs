//! The states of a withdrawal. Variants carry their data; transitions consume the state.

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::code::{FailureReason, HoldReason, StateCode};
use crate::id::SlotId;

/// A block, named by number and hash: a number alone does not survive a reorg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockRef {
    /// Its height.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
}

/// Where a withdrawal stands, with the data that this state needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Accepted and reserved. Next: `Validating`, `Canceled`.
    Pending,
    /// The processor has it. Next: `AwaitingApproval`, `Queued`, `Rejected`, `Held`, `Canceled`.
    Validating,
    /// Policy wants somebody's consent. Next: `Queued`, `Rejected`, `Canceled`.
    AwaitingApproval,
    /// Free to be bound to a slot. Next: `Signing`, `Held`, `Canceled`, `Failed` (pre-flight), `Confirming` when a
    /// slot that it left on the vault rail pays it after a reorg.
    Queued,
    /// Bound to a slot, no signed bytes committed yet. Next: `Signed`; back: `Queued`.
    Signing {
        /// The slot.
        slot: SlotId,
    },
    /// Signed bytes are committed, none was sent. Next: `Broadcasting`, `Confirming`.
    Signed {
        /// The slot.
        slot: SlotId,
    },
    /// Bytes may have left us, no provider said so yet. Next: `Broadcasted`, `Confirming`.
    Broadcasting {
        /// The slot.
        slot: SlotId,
    },
    /// A provider took the bytes. Next: `Confirming`.
    Broadcasted {
        /// The slot.
        slot: SlotId,
    },
    /// In a block, not deep enough. Next: `Confirmed`; back: `Broadcasted` on a reorg.
    Confirming {
        /// The slot.
        slot: SlotId,
        /// The block that holds the payment.
        block: BlockRef,
    },
    /// Paid, with the chain's confirmations. Next: itself with `is_final`; back: `Broadcasted` on a reorg.
    Confirmed {
        /// The slot.
        slot: SlotId,
        /// The block that holds the payment.
        block: BlockRef,
        /// Whether the conservative depth is reached.
        is_final: bool,
    },
    /// Neither paid nor refunded until somebody decides. A payment that rode a slot stays bound to it.
    /// Next: `Queued` when an operator resumes one that is unbound.
    Held {
        /// Why.
        reason: HoldReason,
        /// The slot that carries it, where there is one.
        slot: Option<SlotId>,
    },
    /// Refused by policy or an approver; nothing was bound. Terminal.
    Rejected,
    /// Withdrawn by the client before a binding, or by our cancel that won the slot. Terminal.
    Canceled,
    /// Final evidence says that it was not paid. Terminal.
    Failed {
        /// The evidence in one word.
        reason: FailureReason,
    },
}

/// A move that the state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a withdrawal that is {from} cannot become {to}")]
pub struct InvalidTransition {
    /// Where it stands.
    pub from: StateCode,
    /// Where it was to go.
    pub to: StateCode,
}

impl State {
    /// The state without its data.
    #[must_use]
    pub const fn code(&self) -> StateCode {
        match self {
            Self::Pending => StateCode::Pending,
            Self::Validating => StateCode::Validating,
            Self::AwaitingApproval => StateCode::AwaitingApproval,
            Self::Queued => StateCode::Queued,
            Self::Signing { .. } => StateCode::Signing,
            Self::Signed { .. } => StateCode::Signed,
            Self::Broadcasting { .. } => StateCode::Broadcasting,
            Self::Broadcasted { .. } => StateCode::Broadcasted,
            Self::Confirming { .. } => StateCode::Confirming,
            Self::Confirmed { .. } => StateCode::Confirmed,
            Self::Held { .. } => StateCode::Held,
            Self::Rejected => StateCode::Rejected,
            Self::Canceled => StateCode::Canceled,
            Self::Failed { .. } => StateCode::Failed,
        }
    }

    /// The slot that the payment is bound to.
    #[must_use]
    pub const fn slot(&self) -> Option<SlotId> {
        match self {
            Self::Signing { slot }
            | Self::Signed { slot }
            | Self::Broadcasting { slot }
            | Self::Broadcasted { slot }
            | Self::Confirming { slot, .. }
            | Self::Confirmed { slot, .. } => Some(*slot),
            Self::Held { slot, .. } => *slot,
            _ => None,
        }
    }

    /// Whether nothing moves it any more, save a reorg below the conservative depth.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::Rejected
                | Self::Canceled
                | Self::Failed { .. }
                | Self::Confirmed { is_final: true, .. }
        )
    }

    /// The error of a move to `to`, which this state does not allow.
    #[must_use]
    pub const fn cannot_become(&self, to: StateCode) -> InvalidTransition {
        InvalidTransition { from: self.code(), to }
    }

    /// The processor takes it.
    ///
    /// # Errors
    /// Unless it is pending.
    pub fn validate(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Pending => Ok(Self::Validating),
            other => Err(other.cannot_become(StateCode::Validating)),
        }
    }

    /// Policy asks for consent.
    ///
    /// # Errors
    /// Unless it is being validated.
    pub fn await_approval(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Validating => Ok(Self::AwaitingApproval),
            other => Err(other.cannot_become(StateCode::AwaitingApproval)),
        }
    }

    /// It may be bound: policy passed, an approver consented, or an operator resumed it.
    ///
    /// # Errors
    /// Unless it is being validated, awaits approval, or is held without a slot.
    pub fn queue(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Held { reason: HoldReason::Voiding, .. } => {
                Err(self.cannot_become(StateCode::Queued))
            }
            Self::Validating | Self::AwaitingApproval | Self::Held { slot: None, .. } => {
                Ok(Self::Queued)
            }
            other => Err(other.cannot_become(StateCode::Queued)),
        }
    }

    /// Policy or an approver refuses it.
    ///
    /// # Errors
    /// Once it is queued.
    pub fn reject(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Validating | Self::AwaitingApproval => Ok(Self::Rejected),
            other => Err(other.cannot_become(StateCode::Rejected)),
        }
    }

    /// The client takes it back. What is held because nobody knows what happened to it (a restore, a changed row, a
    /// transfer that arrived short) is not given back by a wish.
    ///
    /// # Errors
    /// Once it is bound to a slot, held for such a reason, and in a terminal state.
    pub fn cancel(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Held {
                reason:
                    HoldReason::Voiding
                    | HoldReason::Restore
                    | HoldReason::Tamper
                    | HoldReason::Underpaid,
                ..
            } => Err(self.cannot_become(StateCode::Canceled)),
            Self::Pending
            | Self::Validating
            | Self::AwaitingApproval
            | Self::Queued
            | Self::Held { slot: None, .. } => Ok(Self::Canceled),
            other => Err(other.cannot_become(StateCode::Canceled)),
        }
    }

    /// An operator gives up what is held: it is not to be paid any more.
    ///
    /// # Errors
    /// Unless it is held without a slot; what arrived short has left, and what is being voided is given up already.
    pub fn give_up(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Held { reason: HoldReason::Voiding | HoldReason::Underpaid, .. } => {
                Err(self.cannot_become(StateCode::Canceled))
            }
            Self::Held { slot: None, .. } => Ok(Self::Canceled),
            other => Err(other.cannot_become(StateCode::Canceled)),
        }
    }

    /// The signer binds it to a slot.
    ///
    /// # Errors
    /// Unless it is queued.
    pub fn bind(self, slot: SlotId) -> Result<Self, InvalidTransition> {
        match self {
            Self::Queued => Ok(Self::Signing { slot }),
            other => Err(other.cannot_become(StateCode::Signing)),
        }
    }

    /// Signed bytes are committed.
    ///
    /// # Errors
    /// Unless it is being signed.
    pub fn sign(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Signing { slot } => Ok(Self::Signed { slot }),
            other => Err(other.cannot_become(StateCode::Signed)),
        }
    }

    /// The bytes are about to leave us.
    ///
    /// # Errors
    /// Unless it is signed.
    pub fn begin_broadcast(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Signed { slot } => Ok(Self::Broadcasting { slot }),
            other => Err(other.cannot_become(StateCode::Broadcasting)),
        }
    }

    /// A provider took the bytes.
    ///
    /// # Errors
    /// Unless they were on their way.
    pub fn finish_broadcast(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Broadcasting { slot } => Ok(Self::Broadcasted { slot }),
            other => Err(other.cannot_become(StateCode::Broadcasted)),
        }
    }

    /// A block holds the payment. That can be seen before any provider's answer was recorded.
    ///
    /// # Errors
    /// Unless signed bytes exist and it is not yet confirmed.
    pub fn include(self, block: BlockRef) -> Result<Self, InvalidTransition> {
        match self {
            Self::Signed { slot }
            | Self::Broadcasting { slot }
            | Self::Broadcasted { slot }
            | Self::Confirming { slot, .. } => Ok(Self::Confirming { slot, block }),
            other => Err(other.cannot_become(StateCode::Confirming)),
        }
    }

    /// A block holds the payment, in a slot that it left on the vault rail: a reorg let that slot pay after all.
    ///
    /// # Errors
    /// When it is paid already, or ended: the vault rail refunds nothing before its number is voided.
    pub fn include_by(self, slot: SlotId, block: BlockRef) -> Result<Self, InvalidTransition> {
        match self {
            Self::Validating
            | Self::AwaitingApproval
            | Self::Queued
            | Self::Signing { .. }
            | Self::Signed { .. }
            | Self::Broadcasting { .. }
            | Self::Broadcasted { .. }
            | Self::Held { .. } => Ok(Self::Confirming { slot, block }),
            other => Err(other.cannot_become(StateCode::Confirming)),
        }
    }

    /// The chain's confirmations are there.
    ///
    /// # Errors
    /// Unless it is confirming.
    pub fn confirm(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Confirming { slot, block } => {
                Ok(Self::Confirmed { slot, block, is_final: false })
            }
            other => Err(other.cannot_become(StateCode::Confirmed)),
        }
    }

    /// The conservative depth is there.
    ///
    /// # Errors
    /// Unless it is confirmed.
    pub fn finalize(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Confirmed { slot, block, is_final: false } => {
                Ok(Self::Confirmed { slot, block, is_final: true })
            }
            other => Err(other.cannot_become(StateCode::Confirmed)),
        }
    }

    /// Its block left the chain: the same bytes are sent again.
    ///
    /// # Errors
    /// Unless a block held it.
    pub fn reorg(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Confirming { slot, .. } | Self::Confirmed { slot, .. } => {
                Ok(Self::Broadcasted { slot })
            }
            other => Err(other.cannot_become(StateCode::Broadcasted)),
        }
    }

    /// Somebody has to decide. What is being voided stays so; only what no slot carries can come to be voided.
    ///
    /// # Errors
    /// In a terminal state, and once it is paid.
    pub fn hold(self, reason: HoldReason) -> Result<Self, InvalidTransition> {
        let voids_what_is_bound = reason == HoldReason::Voiding && self.slot().is_some();
        match self {
            _ if voids_what_is_bound => Err(self.cannot_become(StateCode::Held)),
            Self::Held { reason: HoldReason::Voiding, .. }
            | Self::Confirmed { .. }
            | Self::Rejected
            | Self::Canceled
            | Self::Failed { .. } => Err(self.cannot_become(StateCode::Held)),
            other => Ok(Self::Held { reason, slot: other.slot() }),
        }
    }
}
