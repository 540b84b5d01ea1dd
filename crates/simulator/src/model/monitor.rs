//! The monitor, as in `engine::monitor` and `store::chain`: it follows blocks, and a missing receipt
//! tells it nothing.

use super::state::{
    Attempt, CONFIRMED_DEPTH, Cancel, Database, FINAL_DEPTH, Mined, Outcome, Stage, Standing,
    World, mined_in,
};
use super::{Broken, Protocol, Rail};

impl Protocol {
    /// Stores what the chain shows now, and undoes what is no longer on it.
    pub(super) fn advance_chain(&self, world: &World, database: u8) -> Option<World> {
        let place = usize::from(database);
        if world.databases[place].view == world.chain {
            return None;
        }
        let mut next = world.clone();
        let base = &mut next.databases[place];
        base.view.clone_from(&world.chain);
        for slot in 0..self.slots {
            let row = &mut base.slots[usize::from(slot)];
            let Some((_, fork)) = row.consumed else { continue };
            if mined_in(&base.view, slot).is_some_and(|mined| mined.fork == fork) {
                continue;
            }
            if row.stage == Stage::Final {
                base.is_halted = true;
                continue;
            }
            row.stage = Stage::Sent;
            row.consumed = None;
            let live = row.live;
            if self.rail == Rail::Direct {
                for payment in (0..self.payments).filter(|payment| live & (1 << payment) != 0) {
                    unpay(base, payment);
                }
            }
        }
        if self.rail == Rail::Vault {
            for payment in 0..self.payments {
                let number = base.withdrawals[usize::from(payment)].number;
                if Self::payment_in(&base.view, payment, number).is_none() {
                    unpay(base, payment);
                }
            }
        }
        Some(next)
    }

    /// Consumed slots whose transaction is no attempt: the same payload and a cancel are adopted,
    /// anything else stops the engine.
    pub(super) fn adopt(&self, world: &World, database: u8) -> Option<World> {
        let base = &world.databases[usize::from(database)];
        let unexplained = base.view.iter().find(|mined| {
            let transaction = mined.transaction;
            let row = &base.slots[usize::from(transaction.slot)];
            row.is_unmined() && !row.knows(transaction.slot, transaction)
        })?;
        let transaction = unexplained.transaction;
        let mut next = world.clone();
        let base = &mut next.databases[usize::from(database)];
        let row = &mut base.slots[usize::from(transaction.slot)];
        if transaction.items != row.items && !transaction.is_cancel() {
            if base.is_halted {
                return None;
            }
            base.is_halted = true;
            return Some(next);
        }
        let is_cancel = transaction.is_cancel();
        row.attempts.push(Attempt { price: transaction.price, is_cancel, is_adopted: true });
        // Its bytes are out. As `SIGNED` nobody would replace them when a reorg forgets them.
        let stage = if self.is(Broken::AdoptAsSigned) { Stage::Signed } else { Stage::Sent };
        row.stage = row.stage.max(stage);
        Some(next)
    }

    pub(super) fn include(&self, world: &World, database: u8) -> Option<World> {
        let base = &world.databases[usize::from(database)];
        let is_news = base.view.iter().any(|mined| {
            let transaction = mined.transaction;
            let row = &base.slots[usize::from(transaction.slot)];
            // A payment whose row does not know of it yet is news on the vault rail, wherever it was made.
            self.rail == Rail::Vault
                || (row.is_unmined() && row.knows(transaction.slot, transaction))
        });
        if !is_news {
            return None;
        }
        let mut next = world.clone();
        let base = &mut next.databases[usize::from(database)];
        let mut included = false;
        for slot in 0..self.slots {
            let Some(mined) = mined_in(&base.view, slot).copied() else { continue };
            let row = &mut base.slots[usize::from(slot)];
            if !row.is_unmined() || !row.knows(slot, mined.transaction) {
                continue;
            }
            included = true;
            let outcome = judge(mined);
            row.stage = Stage::Included;
            row.consumed = Some((outcome, mined.fork));
            row.command = None;
            row.is_too_low = false;
            let live = row.live;
            if outcome == Outcome::Paid && self.rail == Rail::Direct {
                for payment in (0..self.payments).filter(|payment| live & (1 << payment) != 0) {
                    pay(base, payment);
                }
            }
        }
        if self.rail == Rail::Vault {
            for payment in 0..self.payments {
                let number = base.withdrawals[usize::from(payment)].number;
                if number != 0 && Self::payment_in(&base.view, payment, number).is_some() {
                    included |= pay(base, payment);
                }
            }
        }
        included.then_some(next)
    }

    pub(super) fn confirm(&self, world: &World, database: u8) -> Option<World> {
        if !ripens(&world.databases[usize::from(database)], Stage::Included, Standing::Confirming) {
            return None;
        }
        let mut next = world.clone();
        let mut confirmed = self.confirm_slots(&mut next, database);
        let base = &mut next.databases[usize::from(database)];
        for payment in 0..self.payments {
            let withdrawal = base.withdrawals[usize::from(payment)];
            if withdrawal.standing == Standing::Confirming
                && self.depth_paid(base, payment) >= Some(CONFIRMED_DEPTH)
            {
                base.withdrawals[usize::from(payment)].standing = Standing::Confirmed;
                confirmed = true;
            }
        }
        confirmed.then_some(next)
    }

    fn confirm_slots(&self, next: &mut World, database: u8) -> bool {
        let place = usize::from(database);
        let mut confirmed = false;
        for slot in 0..self.slots {
            let base = &mut next.databases[place];
            let row = &mut base.slots[usize::from(slot)];
            let depth = mined_in(&base.view, slot).map(|mined| mined.depth);
            if row.stage != Stage::Included || depth < Some(CONFIRMED_DEPTH) {
                continue;
            }
            row.stage = Stage::Confirmed;
            confirmed = true;
            // On the vault rail the number guards a payment that rides again before finality.
            if self.rail == Rail::Vault || self.is(Broken::ReleaseEarly) {
                self.release(next, database, slot);
            }
        }
        confirmed
    }

    pub(super) fn finalize(&self, world: &World, database: u8) -> Option<World> {
        let place = usize::from(database);
        if !ripens(&world.databases[place], Stage::Confirmed, Standing::Confirmed) {
            return None;
        }
        let mut next = world.clone();
        let mut ended = false;
        for slot in 0..self.slots {
            let base = &mut next.databases[place];
            let depth = mined_in(&base.view, slot).map(|mined| mined.depth);
            let row = &mut base.slots[usize::from(slot)];
            if row.stage != Stage::Confirmed || depth < Some(FINAL_DEPTH) {
                continue;
            }
            row.stage = Stage::Final;
            ended = true;
            self.release(&mut next, database, slot);
        }
        let base = &mut next.databases[place];
        for payment in 0..self.payments {
            let standing = base.withdrawals[usize::from(payment)].standing;
            if standing == Standing::Confirmed
                && self.depth_paid(base, payment) >= Some(FINAL_DEPTH)
            {
                base.withdrawals[usize::from(payment)].standing = Standing::Final;
                ended = true;
            }
        }
        ended.then_some(next)
    }

    /// Releases the payments of a slot that was consumed without paying them.
    fn release(&self, next: &mut World, database: u8, slot: u8) {
        let base = &mut next.databases[usize::from(database)];
        let row = &mut base.slots[usize::from(slot)];
        let Some((outcome, _)) = row.consumed else { return };
        if outcome == Outcome::Paid {
            return;
        }
        // What the evidence has to show, whoever reads it: the chain for a plain transfer; for the
        // vault the picture that the monitor has, because the number guards the rest.
        let picture = if self.rail == Rail::Direct { &next.chain } else { &base.view };
        let is_proven = mined_in(picture, slot).is_some_and(|mined| {
            judge(*mined) != Outcome::Paid && mined.depth >= self.release_depth()
        });
        for payment in 0..self.payments {
            let withdrawal = &mut base.withdrawals[usize::from(payment)];
            let bound = row.live & (1 << payment) != 0 && withdrawal.standing == Standing::Bound;
            if !bound {
                continue;
            }
            row.live &= !(1 << payment);
            withdrawal.standing = match (outcome, row.cancel) {
                _ if !withdrawal.has_intent => Standing::Absent,
                (Outcome::Reverted, _) if self.rail == Rail::Direct => Standing::Failed,
                (Outcome::Canceled, Some(Cancel::Refund)) if self.rail == Rail::Direct => {
                    Standing::Canceled
                }
                _ => Standing::Queued,
            };
            next.wrongs.unproven_release |= !is_proven;
        }
    }

    /// How deep the evidence lies that a payment was made.
    fn depth_paid(&self, base: &Database, payment: u8) -> Option<u8> {
        let withdrawal = base.withdrawals[usize::from(payment)];
        let mined = match self.rail {
            Rail::Direct => mined_in(&base.view, withdrawal.slot),
            Rail::Vault => Self::payment_in(&base.view, payment, withdrawal.number),
        };
        mined.map(|mined| mined.depth)
    }

    /// `engine::monitor::consumption`: more transactions than slots stop the engine.
    pub(super) fn notice_foreign_use(&self, world: &World, database: u8) -> Option<World> {
        let base = &world.databases[usize::from(database)];
        let foreign = (0..self.senders)
            .any(|sender| self.count(&base.view, sender) > base.nonce_next[usize::from(sender)]);
        if base.is_halted || !foreign {
            return None;
        }
        let mut next = world.clone();
        next.databases[usize::from(database)].is_halted = true;
        Some(next)
    }

    /// A node shows no receipt of a slot that its own transaction count says is consumed.
    pub(super) fn null_receipt(&self, world: &World, database: u8, slot: u8) -> Option<World> {
        let base = &world.databases[usize::from(database)];
        let mined = mined_in(&base.view, slot)?;
        if !base.slots[usize::from(slot)].is_unmined() {
            return None;
        }
        let transaction = mined.transaction;
        let mut next = world.clone();
        next.faults.null_receipts = next.faults.null_receipts.checked_sub(1)?;
        if self.is(Broken::TrustNullReceipt) {
            self.release_unproven(&mut next, database, transaction);
        }
        Some(next)
    }
}

/// Whether anything stands where depth would move it on.
fn ripens(base: &Database, stage: Stage, standing: Standing) -> bool {
    base.slots.iter().any(|row| row.stage == stage)
        || base.withdrawals.iter().any(|withdrawal| withdrawal.standing == standing)
}

fn judge(mined: Mined) -> Outcome {
    match (mined.transaction.is_cancel(), mined.succeeded) {
        (true, _) => Outcome::Canceled,
        (false, true) => Outcome::Paid,
        (false, false) => Outcome::Reverted,
    }
}

/// A block holds the payment; says whether that is news.
fn pay(base: &mut Database, payment: u8) -> bool {
    let withdrawal = &mut base.withdrawals[usize::from(payment)];
    let waits = matches!(withdrawal.standing, Standing::Queued | Standing::Bound);
    if waits {
        withdrawal.standing = Standing::Confirming;
    }
    waits
}

/// The block that held the payment is gone.
fn unpay(base: &mut Database, payment: u8) {
    let carried = base.slots.iter().any(|row| row.live & (1 << payment) != 0);
    let withdrawal = &mut base.withdrawals[usize::from(payment)];
    if matches!(withdrawal.standing, Standing::Confirming | Standing::Confirmed) {
        withdrawal.standing = if carried { Standing::Bound } else { Standing::Queued };
    }
}
