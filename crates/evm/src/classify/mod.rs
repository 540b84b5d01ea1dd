//! What an answer to `eth_sendRawTransaction` means: one function over one table.
//!
//! An answer is weak evidence in both directions. geth with a local tracker answers with success for
//! transactions that its pool refused (`eth/api_backend.go` `SendTx`, `core/txpool/locals/errors.go`), and
//! "already known" at Nethermind means "seen in the past". So the only hard statement taken from an answer is
//! [`SendOutcome::maybe_live`], and it is `true` for everything that is not on a short list.

mod table;
#[cfg(test)]
mod tests;

use std::fmt;

use alloy_primitives::B256;
pub use portcullis_core::error_class::ErrorClass;

use crate::failure::{RpcFailure, says_rate_limit};

/// What a node's answer to signed bytes means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The node returned our hash. Not a proof that a pool holds the bytes.
    Accepted,
    /// The node has seen exactly these bytes before.
    AlreadyKnown,
    /// The slot is consumed, most likely by one of our attempts.
    NonceTooLow,
    /// A predecessor is missing at this node, and it does not queue.
    NonceTooHigh,
    /// Another attempt of the slot is in the pool, and ours does not pay enough more.
    ReplacementUnderpriced,
    /// Below the node's price floor; on bor 2.10.3 and later also the refusal after a stranded eviction.
    Underpriced,
    /// The fee cap is below the base fee.
    FeeBelowBaseFee,
    /// The sender cannot pay for gas and value, pending transactions included.
    InsufficientFunds,
    /// The transaction itself is not acceptable under the current rules.
    Rejected(RejectKind),
    /// Gas limit times fee cap is above the node's `rpc.txfeecap`.
    FeeCapExceeded,
    /// The pool, or our share of it, is full.
    PoolFull,
    /// A limit for delegated (EIP-7702) or otherwise reserved accounts: the predecessor has to be mined first.
    DelegatedLimit,
    /// The provider limits our rate.
    RateLimited,
    /// A pre-flight execution reverted.
    Reverted,
    /// Nothing is known: in doubt.
    Unknown {
        /// Why.
        kind: UnknownKind,
        /// The node's words, or what happened, shortened.
        message: String,
    },
}

/// What is wrong with a refused transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectKind {
    /// Above the block's or the transaction's gas cap.
    GasLimitTooHigh,
    /// Below the intrinsic or the floor gas.
    GasLimitTooLow,
    /// Too many bytes.
    Oversized,
    /// A transaction type that the node does not take.
    UnsupportedType,
    /// Signed for another chain.
    WrongChain,
    /// A signature that recovers to nobody, or a sender with code.
    BadSender,
    /// Bytes or fields that make no sense.
    Malformed,
}

/// Why nothing is known of sent bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnknownKind {
    /// No answer in time.
    Timeout,
    /// The connection, or the HTTP layer, failed.
    Network,
    /// The node is syncing or indexing.
    NodeNotReady,
    /// The batch was answered without this item, or refused as a whole.
    Unanswered,
    /// The node returned another hash than ours, or something that is no hash.
    WrongAnswer,
    /// A message that the table does not know. An alarm: the table needs it.
    Unmatched,
}

/// What to do after an answer. Always in the same slot; no answer ever justifies another nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Remedy {
    /// Nothing now: watch for the receipt, and send the same bytes again as long as the slot is open.
    Watch,
    /// Ask for the receipts of all attempts of the slot, at a quorum. Never sign for another nonce.
    CheckReceipts,
    /// Send the committed bytes of the lower nonces, in order, then these.
    SendPredecessors,
    /// Sign a dearer attempt in the same slot when it stays open.
    Bump,
    /// Hold the sender until it has been topped up, then send the same bytes.
    TopUp,
    /// A bug or a wrong configuration: stop the sender, and replace in the same slot.
    Correct,
    /// The same bytes later.
    Wait,
    /// The same bytes again, at another provider where there is one.
    Resend,
    /// A payment that was never sent may fail; after any send it is in doubt.
    DecideOnEvidence,
}

impl SendOutcome {
    /// Whether these exact bytes can be in some pool or block after this answer. `true` is the safe side.
    ///
    /// It speaks of this send alone: bytes that were sent before, or elsewhere, stay as live as they were.
    /// `false` is kept for the answers of which every client's source says that the bytes are dropped
    /// (evm reference, section 2.2). Underpriced, full and reserved are not among them: geth tracks those.
    #[must_use]
    pub const fn maybe_live(&self) -> bool {
        !matches!(
            self,
            Self::NonceTooHigh | Self::InsufficientFunds | Self::Rejected(_) | Self::Reverted
        )
    }

    /// The class that the API and dead letters show; `None` when it is no error.
    #[must_use]
    pub const fn error_class(&self) -> Option<ErrorClass> {
        let class = match self {
            Self::Accepted | Self::AlreadyKnown => return None,
            Self::NonceTooLow => ErrorClass::NonceTooLow,
            Self::NonceTooHigh | Self::DelegatedLimit => ErrorClass::NonceTooHigh,
            Self::ReplacementUnderpriced => ErrorClass::ReplacementUnderpriced,
            Self::Underpriced | Self::FeeBelowBaseFee => ErrorClass::GasPriceTooLow,
            Self::InsufficientFunds => ErrorClass::InsufficientFunds,
            Self::Rejected(RejectKind::GasLimitTooHigh | RejectKind::GasLimitTooLow) => {
                ErrorClass::OutOfGas
            }
            Self::Rejected(_) | Self::FeeCapExceeded => ErrorClass::InvalidTransaction,
            Self::PoolFull | Self::RateLimited => ErrorClass::Network,
            Self::Reverted => ErrorClass::ExecutionReverted,
            Self::Unknown { kind, .. } => match kind {
                UnknownKind::Timeout => ErrorClass::Timeout,
                UnknownKind::Network | UnknownKind::NodeNotReady | UnknownKind::Unanswered => {
                    ErrorClass::Network
                }
                UnknownKind::WrongAnswer | UnknownKind::Unmatched => ErrorClass::Unknown,
            },
        };
        Some(class)
    }

    /// What to do next (evm reference, section 2.2).
    #[must_use]
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Accepted | Self::AlreadyKnown => Remedy::Watch,
            Self::NonceTooLow => Remedy::CheckReceipts,
            Self::NonceTooHigh => Remedy::SendPredecessors,
            Self::ReplacementUnderpriced | Self::Underpriced | Self::FeeBelowBaseFee => {
                Remedy::Bump
            }
            Self::InsufficientFunds => Remedy::TopUp,
            Self::Rejected(_) => Remedy::Correct,
            Self::PoolFull | Self::DelegatedLimit => Remedy::Wait,
            Self::FeeCapExceeded | Self::RateLimited | Self::Unknown { .. } => Remedy::Resend,
            Self::Reverted => Remedy::DecideOnEvidence,
        }
    }

    /// A short stable name, for metrics, logs and the store.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::AlreadyKnown => "already_known",
            Self::NonceTooLow => "nonce_too_low",
            Self::NonceTooHigh => "nonce_too_high",
            Self::ReplacementUnderpriced => "replacement_underpriced",
            Self::Underpriced => "underpriced",
            Self::FeeBelowBaseFee => "fee_below_base_fee",
            Self::InsufficientFunds => "insufficient_funds",
            Self::Rejected(_) => "rejected",
            Self::FeeCapExceeded => "fee_cap_exceeded",
            Self::PoolFull => "pool_full",
            Self::DelegatedLimit => "delegated_limit",
            Self::RateLimited => "rate_limited",
            Self::Reverted => "reverted",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// The stronger of two answers to the same bytes from two providers. What says "live" beats what is in
    /// doubt, and what is in doubt beats what says "not live": so a merge never hides that bytes may be live.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        if other.strength() > self.strength() { other } else { self }
    }

    const fn strength(&self) -> u8 {
        match self {
            Self::Accepted => 9,
            Self::AlreadyKnown => 8,
            Self::NonceTooLow => 7,
            Self::ReplacementUnderpriced => 6,
            Self::Underpriced | Self::FeeBelowBaseFee => 5,
            Self::PoolFull | Self::DelegatedLimit | Self::FeeCapExceeded => 4,
            Self::RateLimited => 3,
            Self::Unknown { .. } => 2,
            Self::NonceTooHigh | Self::InsufficientFunds => 1,
            Self::Rejected(_) | Self::Reverted => 0,
        }
    }
}

impl fmt::Display for SendOutcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())?;
        match self {
            Self::Rejected(kind) => write!(formatter, " ({kind:?})"),
            Self::Unknown { kind, message } => write!(formatter, " ({kind:?}: {message})"),
            _ => Ok(()),
        }
    }
}

/// Classifies what came back for bytes whose hash is `ours`.
///
/// Decides by the message and never by the code: −32005 is a rate limit (EIP-1474, Infura) and Besu's gas
/// limit; −32001 is "resource not found" and Besu's "nonce too low". Only 429 counts, and only towards doubt.
#[must_use]
pub fn classify_send(ours: B256, answer: &Result<B256, RpcFailure>) -> SendOutcome {
    let unknown = |kind, message: String| SendOutcome::Unknown { kind, message };
    match answer {
        Ok(hash) if *hash == ours => SendOutcome::Accepted,
        Ok(hash) => unknown(UnknownKind::WrongAnswer, format!("the node returned hash {hash}")),
        Err(RpcFailure::Rpc { message, .. }) => classify_message(message),
        Err(RpcFailure::RateLimited { .. } | RpcFailure::Throttled { .. }) => {
            SendOutcome::RateLimited
        }
        Err(failure) => {
            let kind = match failure {
                RpcFailure::Timeout => UnknownKind::Timeout,
                RpcFailure::Missing | RpcFailure::BatchRefused { .. } => UnknownKind::Unanswered,
                RpcFailure::Malformed(_) => UnknownKind::WrongAnswer,
                _ => UnknownKind::Network,
            };
            unknown(kind, failure.to_string())
        }
    }
}

fn classify_message(message: &str) -> SendOutcome {
    if says_rate_limit(message) {
        return SendOutcome::RateLimited;
    }
    let text = message.to_ascii_lowercase();
    let unknown = |kind| SendOutcome::Unknown { kind, message: crate::failure::shorten(message) };
    match table::look_up(&text) {
        None => unknown(UnknownKind::Unmatched),
        Some(table::Meaning::InDoubt(kind)) => unknown(*kind),
        Some(table::Meaning::Outcome(outcome)) => outcome.clone(),
    }
}
