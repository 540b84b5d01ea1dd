//! Intents: what the signer is asked to do. It sees these, never a hash or ready calldata.

use alloy_primitives::{Address, B256, Bytes};

use crate::access_list::ListedAccount;
use crate::amount::Amount;
use crate::fee::Fees;
use crate::id::{DeploymentId, ExternalId, TenantId, WithdrawalId};
use crate::number::{PaymentRef, PayoutNumber};
use crate::seal::{Seal, SealedPayment};
use crate::slot::{AttemptKind, Purpose, Rail, Slot};

/// One sealed payment, as the signer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentIntent {
    /// The withdrawal.
    pub withdrawal: WithdrawalId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The tenant's own id of it.
    pub external_id: ExternalId,
    /// Whose account pays.
    pub payer: B256,
    /// The token; `None` for the native coin.
    pub token: Option<Address>,
    /// How much.
    pub amount: Amount,
    /// To whom.
    pub to: Address,
    /// Its payout number.
    pub number: PayoutNumber,
    /// Its ref.
    pub reference: PaymentRef,
    /// The seal that intake put on it.
    pub seal: Seal,
}

impl PaymentIntent {
    /// What its seal must cover.
    #[must_use]
    pub const fn sealed(&self, deployment: DeploymentId, chain_id: u64) -> SealedPayment {
        SealedPayment {
            deployment,
            payer: self.payer,
            chain_id,
            token: self.token,
            amount: self.amount,
            to: self.to,
            number: self.number,
            reference: self.reference,
        }
    }
}

/// One attempt to be signed for a slot that the database has bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningIntent {
    /// The slot.
    pub slot: Slot,
    /// What the slot was opened for: whether its payload pays these payments or voids their numbers.
    pub purpose: Purpose,
    /// How its payload travels.
    pub rail: Rail,
    /// Whether it does what the slot was opened for, or cancels. A filler of a gap is a cancel of a slot
    /// without payments.
    pub kind: AttemptKind,
    /// The slot's fixed set of payments, in order: one on the `direct` rail; none in a filler.
    pub payments: Vec<PaymentIntent>,
    /// What it may cost.
    pub fees: Fees,
    /// Its gas limit.
    pub gas_limit: u64,
    /// What it says beforehand that it touches; no part of the payload, and left out of a cancel.
    pub access_list: Vec<ListedAccount>,
}

/// Signed bytes, journaled, not yet committed nor sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedAttempt {
    /// The slot.
    pub slot: Slot,
    /// Whether it pays or cancels.
    pub kind: AttemptKind,
    /// The digest of its payload.
    pub payload_digest: B256,
    /// The transaction's hash.
    pub hash: B256,
    /// The bytes for `eth_sendRawTransaction`.
    pub raw: Bytes,
    /// What it may cost.
    pub fees: Fees,
    /// Its gas limit.
    pub gas_limit: u64,
}
