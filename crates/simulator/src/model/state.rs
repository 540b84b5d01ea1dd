//! What the model remembers: databases, journals, processes, the pool and the chain, as small as can be.

use std::collections::BTreeSet;

/// Payments that a model can have.
pub const PAYMENTS_MAX: usize = 2;

/// Slots that a model can have, over all senders.
pub const SLOTS_MAX: usize = 4;

/// Senders that a model can have.
pub const SENDERS_MAX: usize = 2;

/// The depth at which a withdrawal is `CONFIRMED`. A reorg can still undo it.
pub(super) const CONFIRMED_DEPTH: u8 = 1;

/// The chain's conservative depth: no reorg of the model goes deeper.
pub(super) const FINAL_DEPTH: u8 = 2;

/// The fee cap: a replacement that would bid more waits.
pub(super) const PRICE_CAP: u8 = 7;

/// Numbers of one epoch.
const EPOCH_SIZE: u8 = 8;

/// For each payment the payout number under which it is carried; zero where it is not.
pub type Items = [u8; PAYMENTS_MAX];

/// What carries nobody: a cancel or a filler.
pub(super) const NOBODY: Items = [0; PAYMENTS_MAX];

/// A payout number, `epoch ‖ sequence`.
pub(super) const fn number(epoch: u8, sequence: u8) -> u8 {
    epoch * EPOCH_SIZE + sequence
}

/// The epoch of a payout number.
pub(super) const fn epoch_of(number: u8) -> u8 {
    number / EPOCH_SIZE
}

/// Signed bytes. Two with the same fields have the same hash: signatures are deterministic (RFC 6979).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Transaction {
    /// The slot.
    pub slot: u8,
    /// What it bids: replacements bid more.
    pub price: u8,
    /// What it pays; nothing is a zero self-transfer.
    pub items: Items,
}

impl Transaction {
    pub(super) fn is_cancel(self) -> bool {
        self.items == NOBODY
    }

    pub(super) fn pays(self, payment: u8) -> bool {
        self.items[usize::from(payment)] != 0
    }
}

/// A transaction in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mined {
    pub(super) transaction: Transaction,
    /// Whether it succeeded.
    pub(super) succeeded: bool,
    /// The fork that its block was made on: with its place in the chain, the block's hash.
    pub(super) fork: u8,
    /// Fresh, confirmed, or final.
    pub(super) depth: u8,
}

/// Where a withdrawal stands. From `SIGNING` to `BROADCASTED` the stage of its slot says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Standing {
    /// The database does not know it.
    Absent,
    Queued,
    /// `SIGNING`, `SIGNED`, `BROADCASTING` or `BROADCASTED`.
    Bound,
    Confirming,
    Confirmed,
    /// `CONFIRMED` with `final: true`.
    Final,
    Canceled,
    Failed,
}

/// A row of a withdrawal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Withdrawal {
    pub(super) standing: Standing,
    pub(super) number: u8,
    /// The slot of its live binding; kept when that ends.
    pub(super) slot: u8,
    /// Whether the row says what to pay. One that was imported from the journal alone does not.
    pub(super) has_intent: bool,
}

/// The stages of a slot, as in `core::slot::SlotStage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Stage {
    /// Nobody opened it.
    Free,
    Bound,
    Signed,
    Sending,
    Sent,
    Included,
    Confirmed,
    Final,
}

/// What consumed a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    Paid,
    Reverted,
    Canceled,
}

/// A committed attempt. The slot's row says what it pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Attempt {
    pub(super) price: u8,
    pub(super) is_cancel: bool,
    /// Known by its hash alone: found on the chain, or imported from the journal.
    pub(super) is_adopted: bool,
}

/// Who asked for a cancel, and so what follows when it wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cancel {
    /// An operator: the payment is queued again.
    Requeue,
    /// The client: the payment ends, and the money is the client's again.
    Refund,
}

/// What recovery or an operator wants signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// The same payload, dearer.
    Bump,
    /// A zero self-transfer in the same slot.
    Cancel(Cancel),
}

/// A row of a slot, with its bindings, attempts and open command.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    pub(super) stage: Stage,
    pub(super) items: Items,
    /// The payments whose binding is live, one bit each.
    pub(super) live: u8,
    pub(super) attempts: Vec<Attempt>,
    /// What consumed it, and on which fork.
    pub(super) consumed: Option<(Outcome, u8)>,
    pub(super) command: Option<Command>,
    pub(super) cancel: Option<Cancel>,
    /// Every provider said "nonce too low": sent again only if the chain forgets that nonce.
    pub(super) is_too_low: bool,
}

impl Slot {
    pub(super) const FREE: Self = Self {
        stage: Stage::Free,
        items: NOBODY,
        live: 0,
        attempts: Vec::new(),
        consumed: None,
        command: None,
        cancel: None,
        is_too_low: false,
    };

    pub(super) fn is_unmined(&self) -> bool {
        (Stage::Bound..=Stage::Sent).contains(&self.stage)
    }

    /// The bytes of an attempt.
    pub(super) fn bytes(&self, slot: u8, attempt: Attempt) -> Transaction {
        let items = if attempt.is_cancel { NOBODY } else { self.items };
        Transaction { slot, price: attempt.price, items }
    }

    pub(super) fn knows(&self, slot: u8, transaction: Transaction) -> bool {
        self.attempts.iter().any(|attempt| self.bytes(slot, *attempt) == transaction)
    }

    /// The newest bytes that can be sent.
    pub(super) fn newest_own(&self, slot: u8) -> Option<Transaction> {
        let newest = self.attempts.iter().rev().find(|attempt| !attempt.is_adopted)?;
        Some(self.bytes(slot, *newest))
    }
}

/// A sender's lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Lease {
    /// The signer that has it until it expires.
    pub(super) holder: Option<u8>,
    pub(super) fence: u8,
}

/// A database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Database {
    pub(super) withdrawals: [Withdrawal; PAYMENTS_MAX],
    pub(super) slots: [Slot; SLOTS_MAX],
    pub(super) nonce_next: [u8; SENDERS_MAX],
    pub(super) leases: [Lease; SENDERS_MAX],
    pub(super) epoch: u8,
    pub(super) sequence: u8,
    pub(super) is_halted: bool,
    /// The chain as the monitor last stored it. Behind the real one for as long as anybody likes.
    pub(super) view: Vec<Mined>,
}

/// What the journal knows of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct JournalSlot {
    pub(super) items: Items,
    /// The prices at which its payload was signed, one bit each.
    pub(super) payloads: u8,
    /// The prices at which a cancel was signed, one bit each.
    pub(super) cancels: u8,
    /// The payments that evidence released from it, one bit each.
    pub(super) released: u8,
}

impl JournalSlot {
    pub(super) const fn is_empty(self) -> bool {
        self.payloads == 0 && self.cancels == 0
    }

    pub(super) const fn carries(self, payment: u8) -> bool {
        self.items[payment as usize] != 0 && self.released & (1 << payment) == 0
    }

    pub(super) fn attempts(self) -> impl Iterator<Item = Attempt> {
        let known = |mask: u8, is_cancel: bool| {
            (0..=PRICE_CAP)
                .filter(move |price| mask & (1 << price) != 0)
                .map(move |price| Attempt { price, is_cancel, is_adopted: true })
        };
        known(self.payloads, false).chain(known(self.cancels, true))
    }
}

/// The signer's append-only memory, outside of every backup.
pub(super) type Journal = [JournalSlot; SLOTS_MAX];

/// What a signer has in memory between two effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Task {
    Idle,
    /// Work was read, and a slot chosen for it.
    Planned(Transaction),
    /// The slot is bound; this is what is to be signed.
    Intent(Transaction),
    /// Bytes exist, and the journal's lock is held.
    Signed(Transaction),
    /// The journal has them.
    Journaled(Transaction),
}

/// A signer's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Signer {
    /// Whether it compared database, journal and chain since it started.
    pub(super) is_ready: bool,
    /// The fences of the leases that it believes to hold; zero is none.
    pub(super) fences: [u8; SENDERS_MAX],
    pub(super) task: Task,
}

impl Signer {
    pub(super) const STARTED: Self =
        Self { is_ready: false, fences: [0; SENDERS_MAX], task: Task::Idle };
}

/// What a send came to, as the broadcaster sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    Accepted,
    NonceTooLow,
    Timeout,
}

/// What a broadcaster has in memory between two effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Broadcaster {
    Idle,
    Claimed(Transaction),
    Answered(Transaction, Answer),
}

/// How often each fault may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// A process ends between two effects.
    pub crashes: u8,
    /// A lease runs out while its holder sleeps.
    pub expiries: u8,
    /// A send, or the answer to it, is lost.
    pub losses: u8,
    /// A node shows no receipt for a transaction that a block holds.
    pub null_receipts: u8,
    /// The pool forgets a transaction.
    pub drops: u8,
    /// Somebody sends forgotten bytes once more.
    pub replays: u8,
    /// Blocks that are not final leave the chain.
    pub reorgs: u8,
    /// A transaction reverts.
    pub reverts: u8,
    /// Recovery asks for a dearer attempt.
    pub bumps: u8,
    /// Somebody asks for a cancel.
    pub cancels: u8,
    /// A copy of the database is put back with `portcullis restore`.
    pub restores: u8,
    /// A copy of the database is put back under running processes.
    pub swaps: u8,
    /// Whether a copy of the database is put to work beside it.
    pub copies: u8,
}

impl Faults {
    /// None of any kind.
    pub const NONE: Self = Self {
        crashes: 0,
        expiries: 0,
        losses: 0,
        null_receipts: 0,
        drops: 0,
        replays: 0,
        reorgs: 0,
        reverts: 0,
        bumps: 0,
        cancels: 0,
        restores: 0,
        swaps: 0,
        copies: 0,
    };
}

/// What went wrong, where a later state would not show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Wrongs {
    /// A binding was released without final evidence.
    pub(super) unproven_release: bool,
    /// A signer wrote after its lease had passed on.
    pub(super) stale_write: bool,
}

/// A state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// One, or two once a copy is at work.
    pub(super) databases: Vec<Database>,
    pub(super) journals: Vec<Journal>,
    pub(super) signers: Vec<Signer>,
    /// One for each database.
    pub(super) broadcasters: Vec<Broadcaster>,
    pub(super) backup: Option<Box<Database>>,
    /// Bytes that a block producer may take.
    pub(super) pool: BTreeSet<Transaction>,
    /// Bytes that the pool forgot. They are valid for as long as their nonce is.
    pub(super) forgotten: BTreeSet<Transaction>,
    pub(super) chain: Vec<Mined>,
    pub(super) fork: u8,
    /// Everything that was ever committed, whatever became of the database.
    pub(super) committed: BTreeSet<Transaction>,
    pub(super) faults: Faults,
    /// Whether the faults stopped by themselves.
    pub(super) is_calm: bool,
    pub(super) wrongs: Wrongs,
}

impl World {
    /// All bytes that exist outside of a signer.
    pub(super) fn sent(&self) -> impl Iterator<Item = Transaction> + '_ {
        let mined = self.chain.iter().map(|mined| mined.transaction);
        self.pool.iter().chain(&self.forgotten).copied().chain(mined)
    }

    /// The block that holds a slot's transaction.
    pub(super) fn mined(&self, slot: u8) -> Option<&Mined> {
        mined_in(&self.chain, slot)
    }
}

/// The transaction that consumed a slot in a picture of the chain.
pub(super) fn mined_in(view: &[Mined], slot: u8) -> Option<&Mined> {
    view.iter().find(|mined| mined.transaction.slot == slot)
}
