//! The chain and its pool. What was signed once can be mined for as long as its nonce is not used up.

use super::state::{FINAL_DEPTH, Mined, Transaction, World};
use super::{Protocol, Rail, Step};

impl Protocol {
    pub(super) fn chain_steps(world: &World, steps: &mut Vec<Step>) {
        for transaction in world.pool.iter().copied() {
            steps.push(Step::Mine { transaction, reverts: false });
            if world.faults.reverts > 0 && !transaction.is_cancel() {
                steps.push(Step::Mine { transaction, reverts: true });
            }
            if world.faults.drops > 0 {
                steps.push(Step::Drop { transaction });
            }
        }
        if world.faults.replays > 0 {
            let forgotten = world.forgotten.iter().copied();
            steps.extend(forgotten.map(|transaction| Step::Replay { transaction }));
        }
        steps.push(Step::BlocksPass);
        if world.faults.reorgs > 0 {
            for (kept, mined) in (0u8..).zip(&world.chain) {
                if mined.depth < FINAL_DEPTH {
                    steps.push(Step::Reorg { kept, reinjects: true });
                    steps.push(Step::Reorg { kept, reinjects: false });
                }
            }
        }
    }

    /// A sender's transaction count in a picture of the chain.
    pub(super) fn count(&self, view: &[Mined], sender: u8) -> u8 {
        let own = view.iter().filter(|mined| self.sender_of(mined.transaction.slot) == sender);
        own.fold(0, |count, _| count + 1)
    }

    /// Whether the real chain used a slot's nonce up.
    pub(super) fn is_consumed(&self, world: &World, slot: u8) -> bool {
        self.count(&world.chain, self.sender_of(slot)) > self.nonce_of(slot)
    }

    /// The first transaction that paid a number.
    pub(super) fn payment_in(view: &[Mined], payment: u8, number: u8) -> Option<&Mined> {
        view.iter().find(|mined| {
            mined.succeeded && mined.transaction.items[usize::from(payment)] == number
        })
    }

    /// How often the chain pays a customer.
    pub(super) fn times_paid(&self, world: &World, payment: u8) -> usize {
        let paying = world.chain.iter().filter(|mined| mined.succeeded);
        let mut numbers: Vec<u8> = paying
            .map(|mined| mined.transaction.items[usize::from(payment)])
            .filter(|number| *number != 0)
            .collect();
        if self.rail == Rail::Vault {
            numbers.sort_unstable();
            numbers.dedup();
        }
        numbers.len()
    }

    pub(super) fn mine(
        &self,
        world: &World,
        transaction: Transaction,
        reverts: bool,
    ) -> Option<World> {
        let count = self.count(&world.chain, self.sender_of(transaction.slot));
        if count != self.nonce_of(transaction.slot) {
            return None;
        }
        let mut next = world.clone();
        next.pool.remove(&transaction);
        if reverts {
            next.faults.reverts -= 1;
        }
        let fork = next.fork;
        next.chain.push(Mined { transaction, succeeded: !reverts, fork, depth: 0 });
        Some(next)
    }

    pub(super) fn blocks_pass(world: &World) -> Option<World> {
        if world.chain.iter().all(|mined| mined.depth == FINAL_DEPTH) {
            return None;
        }
        let mut next = world.clone();
        for mined in next.chain.iter_mut().filter(|mined| mined.depth < FINAL_DEPTH) {
            mined.depth += 1;
        }
        Some(next)
    }

    pub(super) fn reorg(world: &World, kept: u8, reinjects: bool) -> Option<World> {
        let mut next = world.clone();
        next.faults.reorgs = next.faults.reorgs.checked_sub(1)?;
        next.fork += 1;
        for mined in next.chain.split_off(usize::from(kept)) {
            if reinjects {
                next.pool.insert(mined.transaction);
            } else {
                next.forgotten.insert(mined.transaction);
            }
        }
        Some(next)
    }

    pub(super) fn drop_transaction(world: &World, transaction: Transaction) -> Option<World> {
        let mut next = world.clone();
        next.faults.drops = next.faults.drops.checked_sub(1)?;
        next.pool.remove(&transaction);
        next.forgotten.insert(transaction);
        Some(next)
    }

    pub(super) fn replay(world: &World, transaction: Transaction) -> Option<World> {
        let mut next = world.clone();
        next.faults.replays = next.faults.replays.checked_sub(1)?;
        next.forgotten.remove(&transaction);
        next.pool.insert(transaction);
        Some(next)
    }
}
