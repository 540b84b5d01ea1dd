//! The classes of errors that attempts, dead letters and the API speak of, and what is done about each.
//!
//! A class is a reading of a node's words, so it steers what is tried next and nothing more. Whether a
//! payment was made is told by evidence from the chain alone.

use std::fmt;

/// What went wrong, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorClass {
    /// A connection, an HTTP layer, a rate limit, a full pool, a node that is not ready.
    Network,
    /// No answer in time: in doubt.
    Timeout,
    /// The slot is consumed, most likely by one of our own attempts.
    NonceTooLow,
    /// A predecessor is missing at the node.
    NonceTooHigh,
    /// Below the node's floor or the base fee; on bor also the refusal after a stranded eviction.
    GasPriceTooLow,
    /// Another attempt of the slot is in the pool, and this one does not pay enough more.
    ReplacementUnderpriced,
    /// The gas limit is too low or too high, or a mined transaction used all of it up.
    OutOfGas,
    /// The sender cannot pay for gas and value.
    InsufficientFunds,
    /// The transaction is not acceptable under the node's rules, or the signer refuses to sign it.
    InvalidTransaction,
    /// Its execution reverted.
    ExecutionReverted,
    /// Words that the table does not know, or a row that cannot be worked on.
    Unknown,
}

/// What is done by itself about a class. Always in the same slot: no error justifies another nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorAction {
    /// The same bytes again, with growing pauses.
    SendAgain,
    /// The receipts of all attempts decide; nothing is signed anew.
    ReadReceipts,
    /// The lower nonces are sent again first; a true gap is filled.
    SendPredecessors,
    /// A dearer attempt in the same slot.
    Bump,
    /// Another ride with more gas, once the receipt is final; a few times at most.
    GiveMoreGas,
    /// The sender opens no new slots until its balance suffices; the same bytes are sent again.
    HoldSender,
    /// The chain's evidence decides; until then somebody is told.
    AwaitEvidence,
    /// The same bytes again, and somebody is told.
    Tell,
}

impl ErrorClass {
    /// Every class, in the order of the guide.
    pub const ALL: [Self; 11] = [
        Self::Network,
        Self::Timeout,
        Self::NonceTooLow,
        Self::NonceTooHigh,
        Self::GasPriceTooLow,
        Self::ReplacementUnderpriced,
        Self::OutOfGas,
        Self::InsufficientFunds,
        Self::InvalidTransaction,
        Self::ExecutionReverted,
        Self::Unknown,
    ];

    /// The stable text of the API and the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Network => "NETWORK",
            Self::Timeout => "TIMEOUT",
            Self::NonceTooLow => "NONCE_TOO_LOW",
            Self::NonceTooHigh => "NONCE_TOO_HIGH",
            Self::GasPriceTooLow => "GAS_PRICE_TOO_LOW",
            Self::ReplacementUnderpriced => "REPLACEMENT_UNDERPRICED",
            Self::OutOfGas => "OUT_OF_GAS",
            Self::InsufficientFunds => "INSUFFICIENT_FUNDS",
            Self::InvalidTransaction => "INVALID_TRANSACTION",
            Self::ExecutionReverted => "EXECUTION_REVERTED",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// From the stable text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }

    /// The class of an attempt's `last_outcome`, which begins with it: `TIMEOUT unknown: …`.
    #[must_use]
    pub fn of_outcome(outcome: &str) -> Option<Self> {
        outcome.split_whitespace().next().and_then(Self::parse)
    }

    /// What is done about it.
    #[must_use]
    pub const fn action(self) -> ErrorAction {
        match self {
            Self::Network | Self::Timeout => ErrorAction::SendAgain,
            Self::NonceTooLow => ErrorAction::ReadReceipts,
            Self::NonceTooHigh => ErrorAction::SendPredecessors,
            Self::GasPriceTooLow | Self::ReplacementUnderpriced => ErrorAction::Bump,
            Self::OutOfGas => ErrorAction::GiveMoreGas,
            Self::InsufficientFunds => ErrorAction::HoldSender,
            Self::InvalidTransaction | Self::ExecutionReverted => ErrorAction::AwaitEvidence,
            Self::Unknown => ErrorAction::Tell,
        }
    }

    /// Whether a dead letter of this class is redriven by itself. The others wait for an operator.
    #[must_use]
    pub const fn is_redriven(self) -> bool {
        !matches!(
            self,
            Self::InsufficientFunds
                | Self::InvalidTransaction
                | Self::ExecutionReverted
                | Self::Unknown
        )
    }
}

impl ErrorAction {
    /// What is done, in one sentence, for the guide.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::SendAgain => {
                "The same bytes are sent again, to every healthy provider, with growing pauses."
            }
            Self::ReadReceipts => {
                "The receipts of all attempts are read at the quorum. Nothing is signed for another nonce."
            }
            Self::SendPredecessors => {
                "The lower nonces are sent again first. A nonce that nobody ever signed is filled."
            }
            Self::Bump => {
                "A dearer attempt takes the same slot, at least 12.5 % above the highest one, up to the hard cap."
            }
            Self::GiveMoreGas => {
                "Before the block: the same bytes are sent again. In a block, on the direct rail: once the receipt \
                 is final, the payment rides again with more gas, three times at most."
            }
            Self::HoldSender => {
                "The wallet opens no new slots, and the same bytes are sent again. It goes on by itself when its \
                 balance suffices: top it up."
            }
            Self::AwaitEvidence => {
                "Before anything was signed the withdrawal fails or waits for an operator. After that only a final \
                 receipt decides."
            }
            Self::Tell => "The same bytes are sent again, and the letter waits for an operator.",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_read_back_also_from_an_outcome() {
        for class in ErrorClass::ALL {
            assert_eq!(ErrorClass::parse(class.as_str()), Some(class));
            assert_eq!(ErrorClass::of_outcome(&format!("{class} unknown: words")), Some(class));
        }
        assert_eq!(ErrorClass::of_outcome("accepted"), None);
        assert_eq!(ErrorClass::of_outcome(""), None);
    }

    #[test]
    fn what_money_or_a_person_must_mend_is_not_redriven_by_itself() {
        let waits: Vec<&str> = ErrorClass::ALL
            .into_iter()
            .filter(|class| !class.is_redriven())
            .map(ErrorClass::as_str)
            .collect();
        assert_eq!(
            waits,
            ["INSUFFICIENT_FUNDS", "INVALID_TRANSACTION", "EXECUTION_REVERTED", "UNKNOWN"]
        );
    }
}
