//! Slots, attempts and payloads: what the chain lets happen at most once, and what we try to put there.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use serde::{Deserialize, Serialize};

/// `(chain_id, sender, nonce)`: the chain executes at most one transaction of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// The chain.
    pub chain_id: u64,
    /// The account that sends.
    pub sender: Address,
    /// Its transaction count before this one.
    pub nonce: u64,
}

/// What a slot was opened for. Fixed for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// It carries payments.
    Pay,
    /// It fills a gap: a zero self-transfer by the system, without a withdrawal.
    Fill,
    /// It uses up payout numbers in the vault, so that what they stood for can be refunded.
    Void,
}

impl Purpose {
    /// The stable text of the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pay => "pay",
            Self::Fill => "fill",
            Self::Void => "void",
        }
    }

    /// From the store's text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pay, Self::Fill, Self::Void].into_iter().find(|purpose| purpose.as_str() == text)
    }
}

/// How a slot's payments travel. Fixed for ever.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Rail {
    /// A plain transfer from the sender's own money: one payment a transaction.
    #[default]
    Direct,
    /// A call of the vault, which pays a number at most once: any number of payments a transaction.
    Vault,
}

impl Rail {
    /// The stable text of the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Vault => "vault",
        }
    }

    /// From the store's text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Direct, Self::Vault].into_iter().find(|rail| rail.as_str() == text)
    }
}

impl AttemptKind {
    /// The stable text of the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Payload => "payload",
            Self::Cancel => "cancel",
        }
    }

    /// From the store's text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Payload, Self::Cancel].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What one set of signed bytes does in its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptKind {
    /// What the slot was opened for.
    Payload,
    /// A zero self-transfer, so that the slot is consumed without paying.
    Cancel,
}

/// How far a slot has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotStage {
    /// The nonce is allocated; no signed bytes are committed. Next: `Signed`.
    Bound,
    /// Signed bytes are committed, none was sent. Next: `Sending`, `Included`.
    Signed,
    /// Bytes may have left us. Next: `Sent`, `Included`.
    Sending,
    /// A provider took bytes of it. Next: `Included`.
    Sent,
    /// Consumed by a block. Next: `Confirmed`, `Final`; back: `Sent` on a reorg.
    Included,
    /// Consumed, with the chain's confirmations. Next: `Final`; back: `Sent` on a reorg.
    Confirmed,
    /// Consumed for good.
    Final,
}

impl SlotStage {
    /// Every stage, in order.
    pub const ALL: [Self; 7] = [
        Self::Bound,
        Self::Signed,
        Self::Sending,
        Self::Sent,
        Self::Included,
        Self::Confirmed,
        Self::Final,
    ];

    /// The stable text of the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Signed => "signed",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Included => "included",
            Self::Confirmed => "confirmed",
            Self::Final => "final",
        }
    }

    /// From the store's text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == text)
    }
}

/// What consumed a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotOutcome {
    /// Its payload, successfully. On the vault rail each item has an outcome of its own.
    Paid,
    /// Its payload, reverted: nothing was paid.
    Reverted,
    /// A zero self-transfer in a slot of payments: nothing was paid.
    Canceled,
    /// The zero self-transfer that a slot of the system was opened for.
    Filled,
    /// The voids that it was opened for, successfully; each number's own event says whether it was free.
    Voided,
}

impl SlotOutcome {
    /// Every outcome.
    pub const ALL: [Self; 5] =
        [Self::Paid, Self::Reverted, Self::Canceled, Self::Filled, Self::Voided];

    /// The stable text of the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Reverted => "reverted",
            Self::Canceled => "canceled",
            Self::Filled => "filled",
            Self::Voided => "voided",
        }
    }

    /// From the store's text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }
}

/// What became of one payment in a transaction that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemOutcome {
    /// Exactly what was promised reached the recipient.
    Paid,
    /// Something else than was promised: less arrived, or the logs contradict each other. Somebody has to look.
    Short,
    /// The vault did not pay it, and its number is free.
    Failed,
    /// The vault did nothing: the number was used before. Never evidence of a payment.
    Skipped,
    /// The vault used the number up without a payment.
    Voided,
}

impl ItemOutcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [Self::Paid, Self::Short, Self::Failed, Self::Skipped, Self::Voided];

    /// The stable text of the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Short => "short",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Voided => "voided",
        }
    }

    /// From the store's text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }
}

/// What a transaction does, apart from fees, gas limit and access list. All attempts of a slot
/// that pay have the same payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The account or contract that is called.
    pub to: Address,
    /// Wei that travel with the call.
    pub value: U256,
    /// Calldata.
    pub input: Bytes,
}

impl Payload {
    /// A zero self-transfer: the cancel, and the filler of a gap.
    #[must_use]
    pub const fn self_transfer(sender: Address) -> Self {
        Self { to: sender, value: U256::ZERO, input: Bytes::new() }
    }

    /// Whether it is a zero self-transfer of `sender`.
    #[must_use]
    pub fn is_self_transfer(&self, sender: Address) -> bool {
        self.to == sender && self.value.is_zero() && self.input.is_empty()
    }

    /// What the journal and the slot remember of it, bound to the slot.
    #[must_use]
    pub fn digest(&self, slot: Slot) -> B256 {
        let mut bytes = Vec::with_capacity(132_usize.saturating_add(self.input.len()));
        bytes.extend_from_slice(b"portcullis/payload/v1");
        bytes.extend_from_slice(&slot.chain_id.to_be_bytes());
        bytes.extend_from_slice(slot.sender.as_slice());
        bytes.extend_from_slice(&slot.nonce.to_be_bytes());
        bytes.extend_from_slice(self.to.as_slice());
        bytes.extend_from_slice(&self.value.to_be_bytes::<32>());
        bytes.extend_from_slice(&self.input);
        keccak256(&bytes)
    }
}

/// What a consumed slot's transaction turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumption {
    /// One of our committed attempts.
    KnownAttempt,
    /// Not among our attempts, but the same payload: adopted as an attempt.
    SamePayload,
    /// A zero self-transfer that we did not commit: adopted as a cancel.
    SelfTransfer,
    /// Something else: another holder of the key. The engine stops until an operator decides.
    Foreign,
}

/// Decodes what consumed a slot (invariant 4).
#[must_use]
pub fn explain_consumption(
    slot: Slot,
    ours: B256,
    known_hashes: &[B256],
    mined_hash: B256,
    mined: &Payload,
) -> Consumption {
    if known_hashes.contains(&mined_hash) {
        Consumption::KnownAttempt
    } else if mined.digest(slot) == ours {
        Consumption::SamePayload
    } else if mined.is_self_transfer(slot.sender) {
        Consumption::SelfTransfer
    } else {
        Consumption::Foreign
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Slot = Slot { chain_id: 137, sender: Address::with_last_byte(7), nonce: 3 };

    fn payload(value: u64) -> Payload {
        Payload { to: Address::with_last_byte(9), value: U256::from(value), input: Bytes::new() }
    }

    #[test]
    fn the_digest_binds_payload_and_slot() {
        let digest = payload(1).digest(SLOT);
        assert_ne!(digest, payload(2).digest(SLOT));
        assert_ne!(digest, payload(1).digest(Slot { nonce: 4, ..SLOT }));
        assert_ne!(digest, payload(1).digest(Slot { chain_id: 1, ..SLOT }));
        assert_ne!(digest, payload(1).digest(Slot { sender: Address::ZERO, ..SLOT }));
        let with_input = Payload { input: Bytes::from_static(&[1]), ..payload(1) };
        assert_ne!(digest, with_input.digest(SLOT));
    }

    #[test]
    fn a_consumed_slot_is_explained() {
        let ours = payload(1).digest(SLOT);
        let known = [B256::with_last_byte(1)];
        let explain = |hash, mined: &Payload| explain_consumption(SLOT, ours, &known, hash, mined);
        let other = B256::with_last_byte(2);
        assert_eq!(explain(known[0], &payload(1)), Consumption::KnownAttempt);
        assert_eq!(explain(other, &payload(1)), Consumption::SamePayload);
        let cancel = Payload::self_transfer(SLOT.sender);
        assert_eq!(explain(other, &cancel), Consumption::SelfTransfer);
        assert_eq!(explain(other, &payload(2)), Consumption::Foreign);
        let paying_cancel = Payload { value: U256::from(1), ..cancel };
        assert_eq!(explain(other, &paying_cancel), Consumption::Foreign);
    }
}
