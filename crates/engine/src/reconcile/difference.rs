//! What reconcile finds, in words for people and in JSON.

use std::fmt;

use alloy_primitives::{B256, hex, keccak256};
use portcullis_core::slot::Slot;
use portcullis_core::time::Timestamp;
use portcullis_store::reconcile::AcceptedDifference;
use serde::Serialize;

/// What kind of difference it is. The text form is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// The journal has signatures for a slot that the database does not know.
    UnknownSlot,
    /// The journal has attempts of a slot that the database does not know.
    UnknownAttempt,
    /// The database binds other payments to a slot than were signed for it.
    OtherPayments,
    /// A nonce below the next one that nothing was ever signed for.
    Gap,
    /// The chain consumed a slot for good, and the database does not know.
    NotEnded,
    /// The database calls a slot final, and the chain has not consumed it.
    LeftTheChain,
    /// A transaction that is called paid did not pay what was promised.
    NotPaid,
    /// Neither database nor journal knows what consumed a nonce of our sender.
    Foreign,
    /// A transfer out of our sender by a transaction that is not ours.
    UnknownTransfer,
    /// The database has signatures that the journal does not.
    JournalBehind,
    /// A withdrawal has a payout number that was signed for another one.
    UsedNumber,
    /// A withdrawal that no slot carries, and an unknown transfer pays the same.
    PerhapsPaid,
    /// The journal has payout numbers that this database is still to give.
    Numbers,
    /// The ledger is not what its postings add up to.
    Ledger,
    /// The audit log does not come to the head that the journal remembers.
    AuditLog,
    /// The needed history could not be read.
    Undecided,
}

impl DifferenceKind {
    /// The stable text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownSlot => "unknown_slot",
            Self::UnknownAttempt => "unknown_attempt",
            Self::OtherPayments => "other_payments",
            Self::Gap => "gap",
            Self::NotEnded => "not_ended",
            Self::LeftTheChain => "left_the_chain",
            Self::NotPaid => "not_paid",
            Self::Foreign => "foreign",
            Self::UnknownTransfer => "unknown_transfer",
            Self::JournalBehind => "journal_behind",
            Self::UsedNumber => "used_number",
            Self::PerhapsPaid => "perhaps_paid",
            Self::Numbers => "numbers",
            Self::Ledger => "ledger",
            Self::AuditLog => "audit_log",
            Self::Undecided => "undecided",
        }
    }

    /// Whether an operator may accept it, once it is final: nothing repairs it, and nothing is paid by accepting it.
    #[must_use]
    pub const fn is_for_operator(self) -> bool {
        matches!(self, Self::Foreign | Self::UnknownTransfer | Self::NotPaid)
    }

    /// What to do where `--repair` cannot.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Foreign | Self::UnknownTransfer => {
                "somebody else has the key, or an allowance: move the funds of this wallet and find out who"
            }
            Self::JournalBehind => {
                "the journal beside the keystore is older than the database: put the newest one back"
            }
            Self::NotPaid => {
                "compare the transaction with the withdrawal, and pay the rest by hand or not"
            }
            Self::Ledger | Self::AuditLog => {
                "a row was changed behind Portcullis: restore a sound copy, then reconcile it"
            }
            Self::Undecided => "let the providers answer, or add an archive node, and run it again",
            Self::LeftTheChain => {
                "wait until the providers agree; what was released there may be paid by the chain again"
            }
            _ => "run `portcullis reconcile --repair`",
        }
    }
}

/// One difference between database, journal, ledger and chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// A digest of what was seen, and of no words: the same at the next look.
    pub id: String,
    /// What kind.
    pub kind: DifferenceKind,
    /// What it is about: a slot, a withdrawal, a chain.
    pub subject: String,
    /// What was seen on either side.
    pub detail: String,
    /// Whether it was there and is not any more.
    pub repaired: bool,
    /// Whether `reconcile accept` takes it: nothing repairs it, and what it rests on is final.
    pub acceptable: bool,
}

impl Difference {
    pub(super) fn new(
        kind: DifferenceKind,
        subject: impl fmt::Display,
        detail: impl Into<String>,
    ) -> Self {
        let (subject, detail) = (subject.to_string(), detail.into());
        let id = id_of(kind, &subject, "");
        Self { id, kind, subject, detail, repaired: false, acceptable: false }
    }

    /// Names the transaction that it rests on, and says whether that is final.
    pub(super) fn resting_on(self, hash: B256, is_final: bool) -> Self {
        let id = id_of(self.kind, &self.subject, &hash.to_string());
        Self { id, acceptable: is_final && self.kind.is_for_operator(), ..self }
    }

    pub(super) fn of_slot(kind: DifferenceKind, slot: Slot, detail: impl Into<String>) -> Self {
        let Slot { chain_id, sender, nonce } = slot;
        Self::new(kind, format!("slot {chain_id}:{sender}:{nonce}"), detail)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.repaired { "repaired" } else { self.kind.remedy() };
        write!(formatter, "{}: {}: {} [{end}", self.kind.as_str(), self.subject, self.detail)?;
        if self.acceptable && !self.repaired {
            write!(
                formatter,
                "; or accept it: `portcullis reconcile accept {} --reason …`",
                self.id
            )?;
        } else if self.kind.is_for_operator() && !self.repaired {
            write!(formatter, "; it can be accepted once it is final")?;
        }
        write!(formatter, "]")
    }
}

/// Twelve hexadecimal digits.
fn id_of(kind: DifferenceKind, subject: &str, evidence: &str) -> String {
    let digest = keccak256(format!("{}\n{subject}\n{evidence}", kind.as_str()));
    hex::encode(&digest[..6])
}

/// Which history of a chain was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct History {
    /// The chain.
    pub network: &'static str,
    /// Slots of our senders that were compared.
    pub slots: u64,
    /// Receipts that were asked for.
    pub receipts: u64,
    /// The first block whose Transfer logs were read; 0 with `to_block` 0 when none were.
    pub from_block: u64,
    /// The newest block.
    pub to_block: u64,
    /// When that first block was made, as the chain tells it: an hour before the deployment was founded, or where the
    /// providers' headers begin. Milliseconds since 1970.
    pub from_ms: i64,
    /// Transfer logs of our senders.
    pub transfers: u64,
}

impl fmt::Display for History {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}: {} slots, {} receipts, {} transfers in the logs of blocks {} to {}: everything since {}. Providers that \
             keep receipts and logs for less leave `undecided` differences, and what consumed a nonce is found by the \
             state of old blocks: both take an archive node",
            self.network,
            self.slots,
            self.receipts,
            self.transfers,
            self.from_block,
            self.to_block,
            Timestamp::from_millis(self.from_ms).to_rfc3339()
        )
    }
}

/// What a reconciliation came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reconciliation {
    /// Everything that was found.
    pub differences: Vec<Difference>,
    /// What was read.
    pub history: Vec<History>,
    /// Halts that were lifted because nothing remains.
    pub halts_lifted: Vec<String>,
    /// Balances of the ledger that were recomputed.
    pub balances: u64,
    /// Differences that an operator has accepted, ever.
    pub accepted: Vec<AcceptedDifference>,
    /// Payments that wait for a client's retry to say what they pay or whose they are.
    pub forgotten: u64,
}

impl Reconciliation {
    /// Differences that are still there.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.differences.iter().filter(|difference| !difference.repaired).count()
    }
}

impl fmt::Display for Reconciliation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.differences {
            writeln!(formatter, "{difference}")?;
        }
        for history in &self.history {
            writeln!(formatter, "read {history}")?;
        }
        for accepted in &self.accepted {
            let AcceptedDifference { id, kind, subject, reason, actor, .. } = accepted;
            writeln!(formatter, "accepted {id}: {kind}: {subject} [by {actor}: {reason}]")?;
        }
        for halt in &self.halts_lifted {
            writeln!(formatter, "the halt {halt} is lifted")?;
        }
        if self.forgotten > 0 {
            writeln!(
                formatter,
                "{} payments wait for their clients to ask again: their retry is matched to them",
                self.forgotten
            )?;
        }
        let found = self.differences.len();
        let remaining = self.remaining();
        write!(
            formatter,
            "{found} differences, {} repaired, {remaining} remain",
            found.saturating_sub(remaining)
        )
    }
}
