//! The signer, as in `engine::signer`, `keys::signer` and `store::slot`: bind, sign, journal, commit.

use super::state::{
    Attempt, Database, Journal, NOBODY, PRICE_CAP, Signer, Stage, Standing, Task, Transaction,
    World,
};
use super::{Broken, Command, Engines, Protocol, Rail, Step};

/// What the signer says of an intent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Fits,
    /// An earlier slot carries the payment, and the database knows that it left it: wait for evidence.
    Waits,
    /// The journal knows more than the database.
    Halts,
}

impl Protocol {
    pub(super) fn signer_steps(&self, world: &World, steps: &mut Vec<Step>) {
        for (signer, process) in (0u8..).zip(&world.signers) {
            if usize::from(self.database_of(signer)) >= world.databases.len() {
                continue;
            }
            match process.task {
                Task::Idle => self.idle_signer_steps(signer, *process, steps),
                Task::Planned(_) => steps.push(Step::Bind { signer }),
                Task::Intent(_) => steps.push(Step::Sign { signer }),
                Task::Signed(_) => steps.push(Step::Journal { signer }),
                Task::Journaled(_) => steps.push(Step::CommitAttempts { signer }),
            }
        }
    }

    fn idle_signer_steps(&self, signer: u8, process: Signer, steps: &mut Vec<Step>) {
        let mut believed = process.fences.iter().take(usize::from(self.senders));
        if believed.any(|fence| *fence == 0) {
            steps.push(Step::AcquireLeases { signer });
        }
        if !process.is_ready {
            return;
        }
        for slot in 0..self.slots {
            if process.fences[usize::from(self.sender_of(slot))] != 0 {
                steps.push(Step::Queued { signer, slot, batched: false });
                if self.rail == Rail::Vault {
                    steps.push(Step::Queued { signer, slot, batched: true });
                }
                steps.push(Step::Resume { signer, slot });
                steps.push(Step::Obey { signer, slot });
            }
            for payment in 0..self.payments {
                steps.push(Step::RecordRelease { signer, slot, payment });
            }
        }
    }

    fn base<'a>(&self, world: &'a World, signer: u8) -> &'a Database {
        &world.databases[usize::from(self.database_of(signer))]
    }

    fn base_mut<'a>(&self, world: &'a mut World, signer: u8) -> &'a mut Database {
        &mut world.databases[usize::from(self.database_of(signer))]
    }

    fn halted(&self, world: &World, signer: u8) -> World {
        let mut next = world.clone();
        self.base_mut(&mut next, signer).is_halted = true;
        next.signers[usize::from(signer)].task = Task::Idle;
        next
    }

    pub(super) fn acquire_leases(&self, world: &World, signer: u8) -> Option<World> {
        let base = self.base(world, signer);
        let is_free = |sender: &u8| base.leases[usize::from(*sender)].holder.is_none();
        let free: Vec<u8> = (0..self.senders).filter(is_free).collect();
        if base.is_halted || free.is_empty() {
            return None;
        }
        let process = world.signers[usize::from(signer)];
        if !process.is_ready {
            // One file, one lock: the second process that asks for the journal is refused.
            let locked = self.engines == Engines::CopyWithJournal
                && world.signers.iter().any(|other| other.is_ready);
            if locked {
                return None;
            }
            if self.knows_more(world, signer) {
                return Some(self.halted(world, signer));
            }
        }
        let mut next = world.clone();
        next.signers[usize::from(signer)].is_ready = true;
        for sender in free.into_iter().map(usize::from) {
            let lease = &mut self.base_mut(&mut next, signer).leases[sender];
            lease.holder = Some(signer);
            lease.fence += 1;
            let fence = lease.fence;
            next.signers[usize::from(signer)].fences[sender] = fence;
        }
        Some(next)
    }

    /// `engine::signer::prepare`: whether chain or journal know more than the database, or the journal
    /// knows less.
    pub(super) fn knows_more(&self, world: &World, signer: u8) -> bool {
        let base = self.base(world, signer);
        let journal = &world.journals[self.journal_of(signer)];
        let foreign = (0..self.senders)
            .any(|sender| self.count(&world.chain, sender) > base.nonce_next[usize::from(sender)]);
        foreign
            || (0..self.slots).any(|slot| {
                let known = journal[usize::from(slot)];
                let row = &base.slots[usize::from(slot)];
                let unopened =
                    self.nonce_of(slot) >= base.nonce_next[usize::from(self.sender_of(slot))];
                let missing = row.attempts.iter().any(|attempt| {
                    let mask = if attempt.is_cancel { known.cancels } else { known.payloads };
                    !attempt.is_adopted && mask & (1 << attempt.price) == 0
                });
                (unopened && !known.is_empty()) || (missing && !self.is(Broken::SkipJournal))
            })
    }

    /// What the journal says to a payment in a slot (`keys::signer::rules::check_journal`).
    fn check_payment(
        &self,
        base: &Database,
        journal: &Journal,
        payment: u8,
        at: (u8, u8),
    ) -> Verdict {
        let (slot, number) = at;
        let mut verdict = Verdict::Fits;
        for (other, known) in (0u8..).zip(journal) {
            let reused = (0..self.payments)
                .any(|someone| someone != payment && known.items[usize::from(someone)] == number);
            if reused && !self.is(Broken::ReuseNumber) {
                return Verdict::Halts;
            }
            let journaled = known.items[usize::from(payment)];
            if other == slot {
                if journaled != 0 && known.released & (1 << payment) != 0 {
                    return Verdict::Halts;
                }
                continue;
            }
            if known.carries(payment) {
                let row = &base.slots[usize::from(other)];
                let has_left = row.live & (1 << payment) == 0 && row.stage >= self.released_stage();
                if !has_left {
                    return Verdict::Halts;
                }
                verdict = Verdict::Waits;
            }
        }
        verdict
    }

    /// The stage at which a slot's payments may have left it.
    pub(super) const fn released_stage(&self) -> Stage {
        match self.rail {
            Rail::Direct => Stage::Final,
            Rail::Vault => Stage::Confirmed,
        }
    }

    fn check_journal(&self, world: &World, signer: u8, transaction: Transaction) -> Verdict {
        if transaction.is_cancel() {
            return Verdict::Fits;
        }
        let journal = &world.journals[self.journal_of(signer)];
        let known = journal[usize::from(transaction.slot)];
        let is_used = !known.is_empty();
        if is_used && (known.payloads == 0 || known.items != transaction.items) {
            return Verdict::Halts;
        }
        let base = self.base(world, signer);
        let mut verdict = Verdict::Fits;
        for payment in (0..self.payments).filter(|payment| transaction.pays(*payment)) {
            let at = (transaction.slot, transaction.items[usize::from(payment)]);
            match self.check_payment(base, journal, payment, at) {
                Verdict::Fits => {}
                Verdict::Waits => verdict = Verdict::Waits,
                Verdict::Halts => return Verdict::Halts,
            }
        }
        verdict
    }

    pub(super) fn queued(
        &self,
        world: &World,
        signer: u8,
        slot: u8,
        batched: bool,
    ) -> Option<World> {
        let base = self.base(world, signer);
        let next_nonce = base.nonce_next[usize::from(self.sender_of(slot))];
        if base.is_halted || self.nonce_of(slot) != next_nonce {
            return None;
        }
        let mut items = NOBODY;
        let mut taken = 0;
        for (item, withdrawal) in items.iter_mut().zip(&base.withdrawals) {
            if withdrawal.standing == Standing::Queued && (batched || taken == 0) {
                *item = withdrawal.number;
                taken += 1;
            }
        }
        if taken == 0 || (batched && taken == 1) {
            return None;
        }
        let transaction = Transaction { slot, price: 0, items };
        // Asked with a nonce that was never signed, so that only the payments are looked at.
        let journal = &world.journals[self.journal_of(signer)];
        for payment in (0..self.payments).filter(|payment| transaction.pays(*payment)) {
            let at = (u8::MAX, items[usize::from(payment)]);
            match self.check_payment(base, journal, payment, at) {
                Verdict::Fits => {}
                Verdict::Waits => return None,
                Verdict::Halts => return Some(self.halted(world, signer)),
            }
        }
        let mut next = world.clone();
        next.signers[usize::from(signer)].task = Task::Planned(transaction);
        Some(next)
    }

    /// Whether a signer may write for a sender: the lease in the database is still its own.
    fn fence_holds(&self, next: &mut World, signer: u8, sender: u8) -> bool {
        let believed = next.signers[usize::from(signer)].fences[usize::from(sender)];
        let lease = self.base(next, signer).leases[usize::from(sender)];
        if lease.holder == Some(signer) && lease.fence == believed {
            return true;
        }
        if self.is(Broken::NoFencing) {
            next.wrongs.stale_write = true;
            return true;
        }
        // A lost race: it asks for its leases anew.
        next.signers[usize::from(signer)].fences = [0; super::SENDERS_MAX];
        false
    }

    pub(super) fn bind(&self, world: &World, signer: u8) -> Option<World> {
        let Task::Planned(transaction) = world.signers[usize::from(signer)].task else {
            return None;
        };
        let mut next = world.clone();
        next.signers[usize::from(signer)].task = Task::Idle;
        let sender = self.sender_of(transaction.slot);
        if !self.fence_holds(&mut next, signer, sender) {
            return Some(next);
        }
        let base = self.base_mut(&mut next, signer);
        let payments = (0..self.payments).filter(|payment| transaction.pays(*payment));
        let unmoved = payments.clone().all(|payment| {
            let withdrawal = base.withdrawals[usize::from(payment)];
            withdrawal.standing == Standing::Queued
                && withdrawal.number == transaction.items[usize::from(payment)]
        });
        let nonce_free = base.nonce_next[usize::from(sender)] == self.nonce_of(transaction.slot);
        let moved_on = !unmoved && !self.is(Broken::DropCompare);
        if base.is_halted || !nonce_free || moved_on {
            return Some(next);
        }
        base.nonce_next[usize::from(sender)] += 1;
        let row = &mut base.slots[usize::from(transaction.slot)];
        row.stage = Stage::Bound;
        row.items = transaction.items;
        for payment in payments {
            let withdrawal = &mut base.withdrawals[usize::from(payment)];
            withdrawal.standing = Standing::Bound;
            withdrawal.slot = transaction.slot;
            row.live |= 1 << payment;
        }
        next.signers[usize::from(signer)].task = Task::Intent(transaction);
        Some(next)
    }

    pub(super) fn resume(&self, world: &World, signer: u8, slot: u8) -> Option<World> {
        let base = self.base(world, signer);
        let row = &base.slots[usize::from(slot)];
        if base.is_halted || row.stage != Stage::Bound {
            return None;
        }
        // A payment that left a slot before any byte was signed is not signed for it.
        let cancels = row.cancel.is_some() || row.live == 0;
        let items = if cancels { NOBODY } else { row.items };
        let mut next = world.clone();
        let intent = Transaction { slot, price: 0, items };
        next.signers[usize::from(signer)].task = Task::Intent(intent);
        Some(next)
    }

    pub(super) fn obey(&self, world: &World, signer: u8, slot: u8) -> Option<World> {
        let base = self.base(world, signer);
        let row = &base.slots[usize::from(slot)];
        let command = row.command?;
        if base.is_halted {
            return None;
        }
        let mut next = world.clone();
        let newest = row.attempts.last();
        let (true, Some(newest)) = (row.is_unmined(), newest) else {
            // Answered without a signature: too late, or resuming does it.
            self.base_mut(&mut next, signer).slots[usize::from(slot)].command = None;
            return Some(next);
        };
        let highest = row.attempts.iter().map(|attempt| attempt.price).max().unwrap_or(0);
        if highest == PRICE_CAP {
            return None;
        }
        let cancels = matches!(command, Command::Cancel(_)) || newest.is_cancel;
        let items = if cancels { NOBODY } else { row.items };
        let intent = Transaction { slot, price: highest + 1, items };
        next.signers[usize::from(signer)].task = Task::Intent(intent);
        Some(next)
    }

    pub(super) fn sign(&self, world: &World, signer: u8) -> Option<World> {
        let Task::Intent(intent) = world.signers[usize::from(signer)].task else { return None };
        let journal = self.journal_of(signer);
        let locked = (0u8..).zip(&world.signers).any(|(other, process)| {
            self.journal_of(other) == journal && matches!(process.task, Task::Signed(_))
        });
        if locked {
            return None;
        }
        if self.check_journal(world, signer, intent) != Verdict::Fits {
            return Some(self.halted(world, signer));
        }
        let mut next = world.clone();
        next.signers[usize::from(signer)].task = Task::Signed(intent);
        Some(next)
    }

    pub(super) fn journal(&self, world: &World, signer: u8) -> Option<World> {
        let Task::Signed(transaction) = world.signers[usize::from(signer)].task else {
            return None;
        };
        let mut next = world.clone();
        next.signers[usize::from(signer)].task = Task::Journaled(transaction);
        if !self.is(Broken::SkipJournal) {
            let slot = usize::from(transaction.slot);
            let known = &mut next.journals[self.journal_of(signer)][slot];
            if transaction.is_cancel() {
                known.cancels |= 1 << transaction.price;
            } else {
                known.payloads |= 1 << transaction.price;
                known.items = transaction.items;
            }
        }
        if self.is(Broken::SendBeforeCommit) {
            next.pool.insert(transaction);
        }
        Some(next)
    }

    pub(super) fn commit_attempts(&self, world: &World, signer: u8) -> Option<World> {
        let Task::Journaled(transaction) = world.signers[usize::from(signer)].task else {
            return None;
        };
        let mut next = world.clone();
        next.signers[usize::from(signer)].task = Task::Idle;
        if !self.fence_holds(&mut next, signer, self.sender_of(transaction.slot)) {
            return Some(next);
        }
        let row = &mut self.base_mut(&mut next, signer).slots[usize::from(transaction.slot)];
        let own_payload = transaction.is_cancel() || transaction.items == row.items;
        if !row.is_unmined() || !own_payload {
            return Some(next);
        }
        if transaction.price > 0 {
            row.command = None;
        }
        if !row.knows(transaction.slot, transaction) {
            if self.is(Broken::ForgetAttempt) {
                row.attempts.clear();
            }
            let is_cancel = transaction.is_cancel();
            row.attempts.push(Attempt { price: transaction.price, is_cancel, is_adopted: false });
        }
        row.stage = row.stage.max(Stage::Signed);
        row.is_too_low = false;
        next.committed.insert(transaction);
        Some(next)
    }

    /// `engine::signer::release`: the signer's own reading of the evidence, journaled.
    pub(super) fn record_release(
        &self,
        world: &World,
        signer: u8,
        slot: u8,
        payment: u8,
    ) -> Option<World> {
        let base = self.base(world, signer);
        let waits = base.withdrawals[usize::from(payment)].standing == Standing::Queued;
        let row = &base.slots[usize::from(slot)];
        let has_left = row.live & (1 << payment) == 0 && row.stage >= self.released_stage();
        let journal = self.journal_of(signer);
        let carries = world.journals[journal][usize::from(slot)].carries(payment);
        if base.is_halted || !waits || !has_left || !carries {
            return None;
        }
        let mined = world.mined(slot)?;
        let pays = mined.succeeded && mined.transaction.pays(payment);
        if pays || mined.depth < self.release_depth() {
            return None;
        }
        let mut next = world.clone();
        next.journals[journal][usize::from(slot)].released |= 1 << payment;
        Some(next)
    }
}
