//! The steps of the model: the code's own names, and those of the world around it.

use super::state::{Cancel, Command, Transaction};

/// How a send ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// It arrives, and the answer too.
    Answered,
    /// It never arrives.
    Lost,
    /// It arrives; the answer does not.
    AnswerLost,
}

/// One effect of one role, or of the world. `database` and `signer` say whose.
#[expect(missing_docs, reason = "the fields say by name which part of the model a step is about")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Intake: a client posts a withdrawal, or posts it again.
    Accept { database: u8, payment: u8 },
    /// Signer: compares database, journal and chain if it just started, then takes what leases
    /// are free.
    AcquireLeases { signer: u8 },
    /// Signer: reads queued work and plans a slot for it; `batched` takes all there is.
    Queued { signer: u8, slot: u8, batched: bool },
    /// Signer: commits slot and bindings.
    Bind { signer: u8 },
    /// Signer: reads a slot that was bound and never signed.
    Resume { signer: u8, slot: u8 },
    /// Signer: reads a command.
    Obey { signer: u8, slot: u8 },
    /// Signer: checks the journal and signs, in memory.
    Sign { signer: u8 },
    /// Signer: appends to the journal.
    Journal { signer: u8 },
    /// Signer: commits the bytes.
    CommitAttempts { signer: u8 },
    /// Signer: journals the evidence that a payment left a slot.
    RecordRelease { signer: u8, slot: u8, payment: u8 },
    /// Recovery, an operator or a client: wants a replacement.
    RequestCommand { database: u8, slot: u8, command: Command },
    /// Broadcaster: claims committed bytes, and commits that they may be out.
    ClaimSendable { database: u8, slot: u8 },
    /// Broadcaster: sends them.
    Send { database: u8, delivery: Delivery },
    /// Broadcaster: records the outcome.
    RecordSends { database: u8 },
    /// Monitor: stores new blocks, and undoes what a reorg undid.
    AdvanceChain { database: u8 },
    /// Monitor: explains consumed slots that no attempt explains.
    Adopt { database: u8 },
    /// Monitor: records which slots are consumed, and by what.
    Include { database: u8 },
    /// Monitor: counts confirmations.
    Confirm { database: u8 },
    /// Monitor: ends what is final.
    Finalize { database: u8 },
    /// Monitor: sees more transactions of a sender than it opened slots.
    NoticeForeignUse { database: u8 },
    /// Operator: imports what journal and chain prove, and lets the engine go on.
    Reconcile { database: u8 },
    /// Chain: a block takes a transaction from the pool.
    Mine { transaction: Transaction, reverts: bool },
    /// Chain: blocks pass.
    BlocksPass,
    /// Fault: blocks leave the chain from this place on; their transactions go back to the pool or not.
    Reorg { kept: u8, reinjects: bool },
    /// Fault: the pool forgets a transaction.
    Drop { transaction: Transaction },
    /// Fault: somebody sends forgotten bytes again.
    Replay { transaction: Transaction },
    /// Fault: a node shows no receipt where there is one.
    NullReceipt { database: u8, slot: u8 },
    /// Fault: a signer ends.
    CrashSigner { signer: u8 },
    /// Fault: a broadcaster ends.
    CrashBroadcaster { database: u8 },
    /// Fault, or just time where the holder ended: a lease runs out.
    LeaseExpires { database: u8, sender: u8 },
    /// Fault: the database is copied, to be put back later.
    Backup,
    /// Fault: the copy is put back; `silently`, under running processes, or as `portcullis restore` does.
    Restore { silently: bool },
    /// Fault: a second engine starts on a copy of the database.
    CopyDatabase,
    /// From here on there are no faults.
    FaultsStop,
}

impl Step {
    /// Both kinds of cancel.
    pub(super) const CANCELS: [Command; 2] =
        [Command::Cancel(Cancel::Requeue), Command::Cancel(Cancel::Refund)];
}
