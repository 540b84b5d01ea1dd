//! The broadcaster, as in `store::send` and `engine::broadcaster`: committed bytes only, again and again.

use super::state::{Answer, Broadcaster, Stage, Standing, Transaction, World, Wrongs};
use super::step::Delivery;
use super::{Broken, Protocol, Step};

impl Protocol {
    pub(super) fn broadcaster_steps(&self, world: &World, database: u8, steps: &mut Vec<Step>) {
        match world.broadcasters[usize::from(database)] {
            Broadcaster::Idle => {
                let slots = 0..self.slots;
                steps.extend(slots.map(|slot| Step::ClaimSendable { database, slot }));
            }
            Broadcaster::Claimed(_) => {
                for delivery in [Delivery::Answered, Delivery::Lost, Delivery::AnswerLost] {
                    steps.push(Step::Send { database, delivery });
                }
            }
            Broadcaster::Answered(..) => steps.push(Step::RecordSends { database }),
        }
    }

    pub(super) fn claim_sendable(&self, world: &World, database: u8, slot: u8) -> Option<World> {
        let row = &world.databases[usize::from(database)].slots[usize::from(slot)];
        let transaction = row.newest_own(slot)?;
        let consumed = self.is_consumed(world, slot);
        let due = match row.stage {
            Stage::Signed => true,
            Stage::Sending => !(row.is_too_low && consumed),
            // Sent again when the pool forgot it. While it is there, sending again changes nothing.
            Stage::Sent => !consumed && !world.pool.contains(&transaction),
            _ => false,
        };
        if !due {
            return None;
        }
        let mut next = world.clone();
        let row = &mut next.databases[usize::from(database)].slots[usize::from(slot)];
        row.stage = row.stage.max(Stage::Sending);
        next.broadcasters[usize::from(database)] = Broadcaster::Claimed(transaction);
        Some(next)
    }

    pub(super) fn send(&self, world: &World, database: u8, delivery: Delivery) -> Option<World> {
        let Broadcaster::Claimed(transaction) = world.broadcasters[usize::from(database)] else {
            return None;
        };
        if delivery != Delivery::Answered && world.faults.losses == 0 {
            return None;
        }
        let mut next = world.clone();
        let arrives = delivery != Delivery::Lost;
        if delivery != Delivery::Answered {
            next.faults.losses -= 1;
        }
        let too_low = self.is_consumed(world, transaction.slot);
        if arrives && !too_low {
            next.forgotten.remove(&transaction);
            next.pool.insert(transaction);
        }
        let answer = match delivery {
            Delivery::Answered if too_low => Answer::NonceTooLow,
            Delivery::Answered => Answer::Accepted,
            Delivery::Lost | Delivery::AnswerLost => Answer::Timeout,
        };
        next.broadcasters[usize::from(database)] = Broadcaster::Answered(transaction, answer);
        Some(next)
    }

    pub(super) fn record_sends(&self, world: &World, database: u8) -> Option<World> {
        let place = usize::from(database);
        let Broadcaster::Answered(transaction, answer) = world.broadcasters[place] else {
            return None;
        };
        let mut next = world.clone();
        next.broadcasters[place] = Broadcaster::Idle;
        let row = &mut next.databases[place].slots[usize::from(transaction.slot)];
        if matches!(row.stage, Stage::Sending | Stage::Sent) {
            match answer {
                Answer::Accepted => row.stage = Stage::Sent,
                Answer::NonceTooLow => row.is_too_low = true,
                Answer::Timeout => {}
            }
        }
        let gives_up = match answer {
            Answer::Accepted => self.is(Broken::TrustCancel) && transaction.is_cancel(),
            Answer::NonceTooLow => self.is(Broken::RenonceOnTooLow),
            Answer::Timeout => self.is(Broken::TimeoutIsFailure),
        };
        if gives_up {
            self.release_unproven(&mut next, database, transaction);
        }
        Some(next)
    }

    /// What a broken protocol does on hearsay: the slot's payments are queued again.
    pub(super) fn release_unproven(
        &self,
        next: &mut World,
        database: u8,
        transaction: Transaction,
    ) {
        let base = &mut next.databases[usize::from(database)];
        let row = &mut base.slots[usize::from(transaction.slot)];
        for payment in 0..self.payments {
            let withdrawal = &mut base.withdrawals[usize::from(payment)];
            let bound = row.live & (1 << payment) != 0 && withdrawal.standing == Standing::Bound;
            if bound {
                withdrawal.standing = Standing::Queued;
                row.live &= !(1 << payment);
                next.wrongs = Wrongs { unproven_release: true, ..next.wrongs };
            }
        }
    }
}
