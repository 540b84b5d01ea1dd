//! The queues of a fleet: their names, who looks when one rings, and what they are set to.

use portcullis_store::dead_letter::DeadLetterQueue;
use portcullis_store::transition::Stage;

use super::Bell;

/// How long SQS keeps a message, in any of the queues: four days.
pub const RETENTION_SECONDS: u32 = 345_600;

/// So many failed receives make a dead letter of a message.
pub const MAX_RECEIVES: u32 = 5;

/// Withdrawals that one message stands for, when a queue is filled up.
const SET_ROWS: u64 = 50;

/// How many messages stand for so much work. What a scaler reads: each is a set of at most 50 withdrawals.
#[must_use]
pub const fn sets_of(rows: u64) -> u64 {
    rows.div_ceil(SET_ROWS)
}

/// A queue of doorbells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Queue {
    /// Requests that were accepted: the processor's.
    TxRequest,
    /// Requests that policy let pass: the signer's.
    TxQueued,
    /// Signed transactions: the broadcaster's.
    SignedTx,
    /// Transactions that were sent: the monitor's.
    TxMonitor,
    /// Balances to look at: of whoever watches them.
    BalanceCheck,
    /// Transfers between own wallets: of whoever makes them.
    BalanceTransfer,
}

impl Queue {
    /// Every queue.
    pub const ALL: [Self; 6] = [
        Self::TxRequest,
        Self::TxQueued,
        Self::SignedTx,
        Self::TxMonitor,
        Self::BalanceCheck,
        Self::BalanceTransfer,
    ];

    /// The name, without a deployment's prefix.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TxRequest => "tx-request",
            Self::TxQueued => "tx-queued",
            Self::SignedTx => "signed-tx",
            Self::TxMonitor => "tx-monitor",
            Self::BalanceCheck => "balance-check",
            Self::BalanceTransfer => "balance-transfer",
        }
    }

    /// From the name, without a deployment's prefix.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|queue| queue.as_str() == text)
    }

    /// The queue that carries a bell; `None` for one that only a timer rings.
    #[must_use]
    pub const fn of(bell: Bell) -> Option<Self> {
        match bell {
            Bell::Validate => Some(Self::TxRequest),
            Bell::Sign => Some(Self::TxQueued),
            Bell::Broadcast => Some(Self::SignedTx),
            Bell::Monitor => Some(Self::TxMonitor),
            Bell::Recover => None,
        }
    }

    /// The stage whose work rows it stands for.
    #[must_use]
    pub const fn stage(self) -> Option<Stage> {
        match self {
            Self::TxRequest => Some(Stage::Validate),
            Self::TxQueued => Some(Stage::Sign),
            Self::SignedTx => Some(Stage::Broadcast),
            Self::TxMonitor => Some(Stage::Monitor),
            Self::BalanceCheck | Self::BalanceTransfer => None,
        }
    }

    /// Where a message goes that was received too often.
    #[must_use]
    pub const fn dead_letters(self) -> DeadLetterQueue {
        match self {
            Self::TxRequest | Self::TxQueued | Self::BalanceCheck | Self::BalanceTransfer => {
                DeadLetterQueue::Request
            }
            Self::SignedTx => DeadLetterQueue::SignedTx,
            Self::TxMonitor => DeadLetterQueue::BroadcastTx,
        }
    }

    /// How long a message that was received is out of sight: longer than a step of its role takes on a bad day. Whoever
    /// works on its set prolongs it.
    #[must_use]
    pub const fn visibility_seconds(self) -> u32 {
        match self {
            Self::TxRequest | Self::BalanceCheck => 30,
            Self::TxQueued | Self::SignedTx | Self::BalanceTransfer => 60,
            Self::TxMonitor => 120,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bell_but_that_of_recovery_has_a_queue_with_a_stage() {
        for bell in Bell::ALL {
            let queue = Queue::of(bell);
            assert_eq!(queue.is_none(), bell == Bell::Recover, "{bell:?}");
            assert!(queue.is_none_or(|queue| queue.stage().is_some()), "{bell:?}");
        }
        for queue in Queue::ALL {
            assert_eq!(Queue::parse(queue.as_str()), Some(queue));
        }
    }

    #[test]
    fn a_message_stands_for_a_set() {
        for (rows, sets) in [(0, 0), (1, 1), (50, 1), (51, 2), (2_000, 40)] {
            assert_eq!(sets_of(rows), sets, "{rows} rows");
        }
    }
}
