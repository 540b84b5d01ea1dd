//! Why the signer does not sign.

use alloy_primitives::{Address, B256};
use portcullis_core::address::DestinationError;
use portcullis_core::amount::Amount;
use portcullis_core::id::WithdrawalId;
use portcullis_core::number::PayoutNumber;
use portcullis_core::seal::SealError;
use portcullis_core::slot::Slot;
use thiserror::Error;

use crate::keyring::KeyError;

/// Why one intent was not signed. No byte of it exists outside the signer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SigningRefusal {
    /// There is no such key.
    #[error(
        "the signer has no key of {sender} for chain {chain_id}: generate, import or configure it, then restart the signer"
    )]
    UnknownSender {
        /// The chain.
        chain_id: u64,
        /// The sender that was asked for.
        sender: Address,
    },
    /// Nobody set limits for the chain.
    #[error("the signer has no caps for chain {chain_id}: configure them")]
    NoCaps {
        /// The chain.
        chain_id: u64,
    },
    /// The `direct` rail pays exactly one payment a transaction, and a vault's call at most 200.
    #[error(
        "{slot:?} is to carry {given} payments: a direct transfer carries one, a call of the vault 1 to 200; bind it anew"
    )]
    PaymentCount {
        /// The slot.
        slot: Slot,
        /// How many there are.
        given: usize,
    },
    /// The payments are to go through a vault, and none is configured.
    #[error(
        "chain {chain_id} has no vault in the signer's configuration: set `vault`, or drain the vault's slots before taking it out"
    )]
    NoVault {
        /// The chain.
        chain_id: u64,
    },
    /// The payment is not what intake accepted.
    #[error("{withdrawal} {reason}: hold it and find out who changed it")]
    Seal {
        /// The withdrawal.
        withdrawal: WithdrawalId,
        /// What is wrong.
        reason: SealError,
    },
    /// Its ref is not that of its fields: tenant or external id were changed.
    #[error(
        "{withdrawal} has a ref that its own fields do not give: hold it and find out who changed it"
    )]
    Reference {
        /// The withdrawal.
        withdrawal: WithdrawalId,
    },
    /// Its destination is one that nobody is paid at.
    #[error("the destination {to} of {withdrawal} {reason}: cancel the withdrawal")]
    Destination {
        /// The withdrawal.
        withdrawal: WithdrawalId,
        /// The destination.
        to: Address,
        /// What is wrong with it.
        reason: DestinationError,
    },
    /// The token has no cap.
    #[error(
        "{withdrawal} is in token {token:?} of chain {chain_id}, which the signer's caps do not list: list it, or cancel the withdrawal"
    )]
    TokenNotListed {
        /// The withdrawal.
        withdrawal: WithdrawalId,
        /// The chain.
        chain_id: u64,
        /// The token; `None` is the native coin.
        token: Option<Address>,
    },
    /// The payment is too large.
    #[error(
        "{withdrawal} pays {asked} atomic units, above the signer's cap of {cap}: raise the cap, or cancel the withdrawal"
    )]
    AmountAboveCap {
        /// The withdrawal.
        withdrawal: WithdrawalId,
        /// Its amount.
        asked: Amount,
        /// The cap.
        cap: Amount,
    },
    /// The price of gas is too high.
    #[error(
        "{slot:?} is to pay {asked_wei} wei per gas, above the signer's cap of {cap_wei}: wait, or raise the cap"
    )]
    FeePerGasAboveCap {
        /// The slot.
        slot: Slot,
        /// `maxFeePerGas`.
        asked_wei: u128,
        /// The cap.
        cap_wei: u128,
    },
    /// The tip is above the whole price, which no node accepts (EIP-1559).
    #[error("{slot:?} is to tip {tip_wei} wei per gas out of {fee_wei}: compute the fees anew")]
    TipAboveFee {
        /// The slot.
        slot: Slot,
        /// `maxPriorityFeePerGas`.
        tip_wei: u128,
        /// `maxFeePerGas`.
        fee_wei: u128,
    },
    /// The gas limit is too high.
    #[error(
        "{slot:?} asks for {asked} gas, above the signer's cap of {cap}: estimate anew, or raise the cap"
    )]
    GasLimitAboveCap {
        /// The slot.
        slot: Slot,
        /// The gas limit.
        asked: u64,
        /// The cap.
        cap: u64,
    },
    /// Gas would cost too much in all.
    #[error(
        "{slot:?} may cost {asked_wei} wei of gas, above the signer's cap of {cap_wei}: wait, or raise the cap"
    )]
    TransactionFeeAboveCap {
        /// The slot.
        slot: Slot,
        /// `maxFeePerGas` × gas limit.
        asked_wei: u128,
        /// The cap.
        cap_wei: u128,
    },
    /// The access list leaves too little gas for the call itself.
    #[error(
        "the access list of {slot:?} takes {list_gas} of {gas_limit} gas: sign it without a list"
    )]
    AccessListTooLong {
        /// The slot.
        slot: Slot,
        /// What the list costs.
        list_gas: u64,
        /// The gas limit.
        gas_limit: u64,
    },
    /// The slot, or the payment, came earlier in the same call.
    #[error("{slot:?} or a payment of it appears twice in one call: ask for one at a time")]
    RepeatedInCall {
        /// The later slot.
        slot: Slot,
    },
    /// The slot carries something else, for ever.
    #[error(
        "{slot:?} was signed for payload {journaled}, and {asked} is another: the database is not where the journal is; reconcile"
    )]
    SlotUsed {
        /// The slot.
        slot: Slot,
        /// The digest in the journal.
        journaled: B256,
        /// The digest that was asked for.
        asked: B256,
    },
    /// The slot does the same as asked, for other payments: one transfer cannot make two of them.
    #[error(
        "{slot:?} was signed for payments {journaled:?}, not for these: the database is not where the journal is; reconcile"
    )]
    SlotOfOthers {
        /// The slot.
        slot: Slot,
        /// The payments that it carries.
        journaled: Vec<PayoutNumber>,
    },
    /// The slot was canceled or filled before anything was paid in it.
    #[error(
        "{slot:?} was signed for a zero self-transfer, and no payment before: it never pays; bind another slot"
    )]
    SlotCanceled {
        /// The slot.
        slot: Slot,
    },
    /// It may have been paid by another slot.
    #[error(
        "{withdrawal} (payment {number}) was signed in {elsewhere:?}, which is not released: follow that slot; reconcile"
    )]
    PaymentElsewhere {
        /// The withdrawal.
        withdrawal: WithdrawalId,
        /// The number under which it was signed.
        number: PayoutNumber,
        /// The slot that carries it.
        elsewhere: Slot,
    },
    /// It rode the vault, where only its number keeps it from being paid twice.
    #[error(
        "{withdrawal} (payment {number}) rode the vault in {elsewhere:?}: it can be paid by the vault under that number only; configure the vault again, or reconcile"
    )]
    RodeVault {
        /// The withdrawal.
        withdrawal: WithdrawalId,
        /// The number under which it rode.
        number: PayoutNumber,
        /// The slot that carried it.
        elsewhere: Slot,
    },
    /// Its number was given to the vault to be voided.
    #[error("{withdrawal} (payment {number}) is voided: it is never paid; refund it")]
    PaymentVoided {
        /// The withdrawal.
        withdrawal: WithdrawalId,
        /// The number.
        number: PayoutNumber,
    },
    /// The slot was given up by this payment.
    #[error("payment {number} was released from {slot:?}: bind another slot")]
    PaymentReleased {
        /// The payment.
        number: PayoutNumber,
        /// The slot.
        slot: Slot,
    },
    /// The number was given to two payments.
    #[error(
        "{withdrawal} has number {number}, which was signed for another ref: hold it; reconcile"
    )]
    NumberReused {
        /// The withdrawal.
        withdrawal: WithdrawalId,
        /// The number.
        number: PayoutNumber,
    },
    /// Whoever holds the key gives no signature. It may pass, or somebody repairs it: no slot is given up for it.
    #[error("the key of {sender} gives no signature: {reason}")]
    Key {
        /// The sender.
        sender: Address,
        /// What its holder said.
        reason: KeyError,
    },
    /// The journal, or the keystore's mark, could not be written, so nothing was signed away. What `reason` says is to be
    /// done.
    #[error("the journal did not take it, and nothing was signed away: {reason}")]
    Journal {
        /// What happened.
        reason: String,
    },
}

impl SigningRefusal {
    /// Whether the withdrawal is not what intake accepted. The engine holds it, with `HoldReason::Tamper`.
    /// A seal by an unknown key is not counted: most often a key is missing from the configuration.
    #[must_use]
    pub const fn is_tamper(&self) -> bool {
        matches!(self, Self::Seal { reason: SealError::Mismatch, .. } | Self::Reference { .. })
    }

    /// Whether the journal knows more than the database: the engine stops until `reconcile` has imported it
    /// (invariant 12).
    #[must_use]
    pub const fn journal_knows_more(&self) -> bool {
        matches!(
            self,
            Self::SlotUsed { .. }
                | Self::SlotOfOthers { .. }
                | Self::SlotCanceled { .. }
                | Self::PaymentElsewhere { .. }
                | Self::PaymentReleased { .. }
                | Self::NumberReused { .. }
        )
    }
}
