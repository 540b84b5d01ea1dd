//! The protocol of binding, journal, signing, sending, replacing, reorgs, leases, restarts and restores
//! as a model that a checker explores exhaustively.
//!
//! A [`World`] holds what the parts of an engine remember: databases, journals, what processes have in
//! memory between two effects, the pool and the chain. A [`Step`] is one effect; its name is the code's.
//! Between any two steps any other may happen, so every order of effects, every crash between two of
//! them and every lag of one role behind another is a path of the model. Faults are bounded by
//! [`Faults`] and can stop at any moment; after that everything must come to an end by itself.
//!
//! [`Protocol::broken`] takes rules out of the protocol. The checker must then find what goes wrong;
//! that is how we know that it would.

mod broadcaster;
mod chain;
mod check;
mod monitor;
mod operator;
mod properties;
mod reconcile;
mod sightings;
mod signer;
mod state;
mod step;

use stateright::{Model, Property};

pub use check::{Finding, Report, Search, check, find_cycle};
pub use state::{
    Cancel, Command, Faults, Items, PAYMENTS_MAX, SENDERS_MAX, SLOTS_MAX, Transaction, World,
};
pub use step::{Delivery, Step};

use state::{
    Broadcaster, Database, JournalSlot, Lease, Signer, Slot, Standing, Withdrawal, Wrongs,
};

/// How payments travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rail {
    /// A plain transfer, one payment a transaction. The slot alone guards it.
    Direct,
    /// A contract that pays a number once, one or more payments a transaction.
    Vault,
}

/// Which engines there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engines {
    /// One.
    One,
    /// Two on one database and one journal.
    Two,
    /// A second one on a copy of the database, which opens the same journal.
    CopyWithJournal,
    /// A second one on a copy of the database and a copy of the journal. Nothing connects the two.
    CopyWithCopiedJournal,
}

/// A rule that is taken out of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Nothing is written to the journal, so nothing is refused because of it.
    SkipJournal,
    /// Bytes leave before they are committed.
    SendBeforeCommit,
    /// A send without an answer counts as failed, and the payment is queued again.
    TimeoutIsFailure,
    /// "Nonce too low" is answered with another nonce.
    RenonceOnTooLow,
    /// A replacement takes the place of the attempt before it.
    ForgetAttempt,
    /// A consumed nonce without a receipt counts as not paid.
    TrustNullReceipt,
    /// A binding is released at the chain's confirmations instead of the conservative depth.
    ReleaseEarly,
    /// A commit does not look at the lease.
    NoFencing,
    /// A bind does not compare what it moves with what it read.
    DropCompare,
    /// A restore opens no new epoch, and nobody notices a number that was used.
    ReuseNumber,
    /// After a halt the engine goes on without importing anything.
    SkipImport,
    /// A cancel counts as won when it is sent.
    TrustCancel,
    /// A transaction found on the chain leaves its slot `SIGNED`, as if nothing were out.
    AdoptAsSigned,
}

/// A protocol, faithful or broken, with the bounds within which it is explored.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// How payments travel.
    pub rail: Rail,
    /// Which engines there are.
    pub engines: Engines,
    /// Withdrawals that clients want, at most [`PAYMENTS_MAX`].
    pub payments: u8,
    /// How many of them are accepted before the first step.
    pub accepted: u8,
    /// Accounts that sign, at most [`SENDERS_MAX`].
    pub senders: u8,
    /// Slots over all senders, at most [`SLOTS_MAX`]; slot `k` is nonce `k / senders` of sender
    /// `k % senders`.
    pub slots: u8,
    /// How often each fault may happen.
    pub faults: Faults,
    /// The rules that are taken out.
    pub broken: Vec<Broken>,
}

impl Protocol {
    fn is(&self, broken: Broken) -> bool {
        self.broken.contains(&broken)
    }

    fn sender_of(&self, slot: u8) -> u8 {
        slot % self.senders
    }

    fn nonce_of(&self, slot: u8) -> u8 {
        slot / self.senders
    }

    /// The database that a signer writes to, and the journal that it has.
    fn database_of(&self, signer: u8) -> u8 {
        match self.engines {
            Engines::One | Engines::Two => 0,
            Engines::CopyWithJournal | Engines::CopyWithCopiedJournal => signer,
        }
    }

    fn journal_of(&self, signer: u8) -> usize {
        match self.engines {
            Engines::CopyWithCopiedJournal => usize::from(signer),
            _ => 0,
        }
    }

    const fn has_copies(&self) -> bool {
        matches!(self.engines, Engines::CopyWithJournal | Engines::CopyWithCopiedJournal)
    }

    /// The depth at which a payment may leave a slot that did not pay it (invariants 4 and 14).
    const fn release_depth(&self) -> u8 {
        match self.rail {
            Rail::Direct => state::FINAL_DEPTH,
            Rail::Vault => state::CONFIRMED_DEPTH,
        }
    }

    fn first_database(&self) -> Database {
        let withdrawal = |payment: u8| {
            let accepted = payment < self.accepted;
            Withdrawal {
                standing: if accepted { Standing::Queued } else { Standing::Absent },
                number: if accepted { state::number(1, payment) } else { 0 },
                slot: 0,
                has_intent: accepted,
            }
        };
        Database {
            withdrawals: [withdrawal(0), withdrawal(1)],
            slots: [const { Slot::FREE }; SLOTS_MAX],
            nonce_next: [0; SENDERS_MAX],
            leases: [Lease::default(); SENDERS_MAX],
            epoch: 1,
            sequence: self.accepted,
            is_halted: false,
            view: Vec::new(),
        }
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let signers = if self.engines == Engines::One { 1 } else { 2 };
        let journals = if self.engines == Engines::CopyWithCopiedJournal { 2 } else { 1 };
        vec![World {
            databases: vec![self.first_database()],
            journals: vec![[JournalSlot::default(); SLOTS_MAX]; journals],
            signers: vec![Signer::STARTED; signers],
            broadcasters: vec![Broadcaster::Idle],
            backup: None,
            pool: std::collections::BTreeSet::new(),
            forgotten: std::collections::BTreeSet::new(),
            chain: Vec::new(),
            fork: 0,
            committed: std::collections::BTreeSet::new(),
            faults: self.faults,
            is_calm: false,
            wrongs: Wrongs::default(),
        }]
    }

    /// Every step that could be one. Whether it is, [`Protocol::next_state`] decides.
    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        self.signer_steps(world, steps);
        for database in (0u8..).take(world.databases.len()) {
            self.broadcaster_steps(world, database, steps);
            steps.extend([
                Step::AdvanceChain { database },
                Step::Adopt { database },
                Step::Include { database },
                Step::Confirm { database },
                Step::Finalize { database },
                Step::NoticeForeignUse { database },
                Step::Reconcile { database },
            ]);
            for payment in 0..self.payments {
                steps.push(Step::Accept { database, payment });
            }
        }
        Self::chain_steps(world, steps);
        self.fault_steps(world, steps);
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        match step {
            Step::Accept { database, payment } => Self::accept(world, database, payment),
            Step::AcquireLeases { signer } => self.acquire_leases(world, signer),
            Step::Queued { signer, slot, batched } => self.queued(world, signer, slot, batched),
            Step::Bind { signer } => self.bind(world, signer),
            Step::Resume { signer, slot } => self.resume(world, signer, slot),
            Step::Obey { signer, slot } => self.obey(world, signer, slot),
            Step::Sign { signer } => self.sign(world, signer),
            Step::Journal { signer } => self.journal(world, signer),
            Step::CommitAttempts { signer } => self.commit_attempts(world, signer),
            Step::RecordRelease { signer, slot, payment } => {
                self.record_release(world, signer, slot, payment)
            }
            Step::RequestCommand { database, slot, command } => {
                self.request_command(world, database, slot, command)
            }
            Step::ClaimSendable { database, slot } => self.claim_sendable(world, database, slot),
            Step::Send { database, delivery } => self.send(world, database, delivery),
            Step::RecordSends { database } => self.record_sends(world, database),
            Step::AdvanceChain { database } => self.advance_chain(world, database),
            Step::Adopt { database } => self.adopt(world, database),
            Step::Include { database } => self.include(world, database),
            Step::Confirm { database } => self.confirm(world, database),
            Step::Finalize { database } => self.finalize(world, database),
            Step::NoticeForeignUse { database } => self.notice_foreign_use(world, database),
            Step::NullReceipt { database, slot } => self.null_receipt(world, database, slot),
            Step::Reconcile { database } => self.reconcile(world, database),
            Step::Mine { transaction, reverts } => self.mine(world, transaction, reverts),
            Step::BlocksPass => Self::blocks_pass(world),
            Step::Reorg { kept, reinjects } => Self::reorg(world, kept, reinjects),
            Step::Drop { transaction } => Self::drop_transaction(world, transaction),
            Step::Replay { transaction } => Self::replay(world, transaction),
            Step::CrashSigner { signer } => Self::crash_signer(world, signer),
            Step::CrashBroadcaster { database } => Self::crash_broadcaster(world, database),
            Step::LeaseExpires { database, sender } => self.lease_expires(world, database, sender),
            Step::Backup => Self::backup(world),
            Step::Restore { silently } => self.restore(world, silently),
            Step::CopyDatabase => self.copy_database(world),
            Step::FaultsStop => Self::stop_faults(world),
        }
    }

    fn properties(&self) -> Vec<Property<Self>> {
        self.all_properties()
    }
}
