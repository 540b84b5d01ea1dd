//! `portcullis reconcile --repair`: brings a database to what the journal proves. What the chain proves,
//! the monitor then reads as always.

use super::operator::next_epoch;
use super::state::{
    Database, Journal, JournalSlot, Slot, Stage, Standing, Withdrawal, World, epoch_of,
};
use super::{Broken, Protocol};

impl Protocol {
    pub(super) fn reconcile(&self, world: &World, database: u8) -> Option<World> {
        let base = &world.databases[usize::from(database)];
        // Of two living copies neither can be brought to the truth: an operator ends one first.
        if !base.is_halted || self.has_copies() {
            return None;
        }
        let mut next = world.clone();
        let base = &mut next.databases[usize::from(database)];
        base.is_halted = false;
        if self.is(Broken::SkipImport) {
            return Some(next);
        }
        let journal = &world.journals[usize::from(database)];
        for (slot, known) in (0u8..).zip(journal) {
            if !known.is_empty() {
                self.import_slot(base, slot, *known);
            }
        }
        for slot in 0..self.slots {
            self.close_gap(base, slot);
        }
        if self.is(Broken::ReuseNumber) {
            return Some(next);
        }
        self.drop_used_numbers(base, journal);
        if gave_more(base, journal) {
            base.epoch = next_epoch(world, base.epoch);
            base.sequence = 0;
        }
        Some(next)
    }

    /// The slot carries what the journal says, and its hashes are attempts.
    fn import_slot(&self, base: &mut Database, slot: u8, known: JournalSlot) {
        let sender = usize::from(self.sender_of(slot));
        base.nonce_next[sender] = base.nonce_next[sender].max(self.nonce_of(slot) + 1);
        let place = usize::from(slot);
        if known.payloads != 0 && base.slots[place].items != known.items {
            // What the database bound here meanwhile was never signed.
            self.unbind(base, slot);
            base.slots[place].items = known.items;
        }
        let row = &mut base.slots[place];
        for attempt in known.attempts() {
            if !row.knows(slot, row.bytes(slot, attempt)) {
                row.attempts.push(attempt);
                row.stage = row.stage.max(Stage::Sent);
            }
        }
        row.attempts.sort_by_key(|attempt| attempt.price);
        // Where the chain has shown already that the slot did not pay, nobody is bound to it again.
        if row.stage >= self.released_stage() {
            return;
        }
        for payment in (0..self.payments).filter(|payment| known.carries(*payment)) {
            Self::import_payment(base, slot, payment, known);
        }
    }

    fn import_payment(base: &mut Database, slot: u8, payment: u8, known: JournalSlot) {
        let withdrawal = base.withdrawals[usize::from(payment)];
        let is_open =
            matches!(withdrawal.standing, Standing::Absent | Standing::Queued | Standing::Bound);
        if !is_open {
            return;
        }
        for row in &mut base.slots {
            row.live &= !(1 << payment);
        }
        base.slots[usize::from(slot)].live |= 1 << payment;
        base.withdrawals[usize::from(payment)] = Withdrawal {
            standing: Standing::Bound,
            number: known.items[usize::from(payment)],
            slot,
            has_intent: withdrawal.has_intent,
        };
    }

    fn unbind(&self, base: &mut Database, slot: u8) {
        let row = &mut base.slots[usize::from(slot)];
        for payment in 0..self.payments {
            let withdrawal = &mut base.withdrawals[usize::from(payment)];
            if row.live & (1 << payment) != 0 && withdrawal.standing == Standing::Bound {
                withdrawal.standing = Standing::Queued;
            }
        }
        row.live = 0;
    }

    /// A nonce below an imported one that nobody opened is filled by the system.
    fn close_gap(&self, base: &mut Database, slot: u8) {
        let opened = self.nonce_of(slot) < base.nonce_next[usize::from(self.sender_of(slot))];
        let row = &mut base.slots[usize::from(slot)];
        if opened && row.stage == Stage::Free {
            *row = Slot { stage: Stage::Bound, ..Slot::FREE };
        }
    }

    /// An unbound withdrawal whose number another payment has used is refused; its client posts it again.
    fn drop_used_numbers(&self, base: &mut Database, journal: &Journal) {
        for payment in 0..self.payments {
            let withdrawal = &mut base.withdrawals[usize::from(payment)];
            let used = (0..self.payments).filter(|someone| *someone != payment).any(|someone| {
                journal.iter().any(|known| known.items[usize::from(someone)] == withdrawal.number)
            });
            if used && withdrawal.standing == Standing::Queued {
                withdrawal.standing = Standing::Absent;
                withdrawal.has_intent = false;
            }
        }
    }
}

/// Whether the journal holds numbers that this database never gave.
fn gave_more(base: &Database, journal: &Journal) -> bool {
    let next = super::state::number(base.epoch, base.sequence);
    let numbers = journal.iter().flat_map(|known| known.items).filter(|number| *number != 0);
    let mut later = numbers.filter(|number| epoch_of(*number) == base.epoch && *number >= next);
    later.next().is_some()
}
