//! Clients, recovery, operators, and the faults that befall processes and databases.

use super::state::{
    Broadcaster, Cancel, Faults, Lease, SENDERS_MAX, Signer, Stage, Standing, Task, World,
    epoch_of, number,
};
use super::{Broken, Command, Engines, Protocol, Rail, Step};

impl Protocol {
    pub(super) fn fault_steps(&self, world: &World, steps: &mut Vec<Step>) {
        for database in (0u8..).take(world.databases.len()) {
            for slot in 0..self.slots {
                if world.databases[usize::from(database)].slots[usize::from(slot)].is_unmined() {
                    self.command_steps(database, slot, steps);
                    if world.faults.null_receipts > 0 {
                        steps.push(Step::NullReceipt { database, slot });
                    }
                }
            }
            if world.faults.crashes > 0 {
                steps.push(Step::CrashBroadcaster { database });
            }
            for sender in 0..self.senders {
                steps.push(Step::LeaseExpires { database, sender });
            }
        }
        if world.faults.crashes > 0 {
            let signers = (0u8..).take(world.signers.len());
            steps.extend(signers.map(|signer| Step::CrashSigner { signer }));
        }
        if world.faults.restores > 0 || world.faults.swaps > 0 {
            steps.push(Step::Backup);
            steps.push(Step::Restore { silently: true });
            steps.push(Step::Restore { silently: false });
        }
        if world.faults.copies > 0 {
            steps.push(Step::CopyDatabase);
        }
        steps.push(Step::FaultsStop);
    }

    fn command_steps(&self, database: u8, slot: u8, steps: &mut Vec<Step>) {
        steps.push(Step::RequestCommand { database, slot, command: Command::Bump });
        for command in Step::CANCELS {
            // On the vault rail a refund needs the number voided; the model has no void.
            if self.rail == Rail::Direct || command == Step::CANCELS[0] {
                steps.push(Step::RequestCommand { database, slot, command });
            }
        }
    }

    /// Intake is closed while the engine is halted, and finds what it knows already. Copies take nothing
    /// in: two intakes would give one request two numbers.
    pub(super) fn accept(world: &World, database: u8, payment: u8) -> Option<World> {
        let base = &world.databases[usize::from(database)];
        let known = base.withdrawals[usize::from(payment)].standing != Standing::Absent;
        if base.is_halted || known || world.databases.len() > 1 {
            return None;
        }
        let mut next = world.clone();
        let base = &mut next.databases[usize::from(database)];
        let sequence = base.sequence;
        base.sequence += 1;
        let withdrawal = &mut base.withdrawals[usize::from(payment)];
        withdrawal.standing = Standing::Queued;
        withdrawal.number = number(base.epoch, sequence);
        withdrawal.has_intent = true;
        Some(next)
    }

    /// Recovery bumps what waits; what was imported without bytes, and is in no pool, it has to replace.
    pub(super) fn request_command(
        &self,
        world: &World,
        database: u8,
        slot: u8,
        command: Command,
    ) -> Option<World> {
        let base = &world.databases[usize::from(database)];
        let row = &base.slots[usize::from(slot)];
        let is_sent = matches!(row.stage, Stage::Sending | Stage::Sent);
        if row.command.is_some() || base.is_halted {
            return None;
        }
        let in_pool = world.pool.iter().any(|bytes| row.knows(slot, *bytes));
        let is_stranded =
            row.newest_own(slot).is_none() && is_sent && !in_pool && !self.is_consumed(world, slot);
        let lacks_intent = (0..self.payments).any(|payment| {
            row.live & (1 << payment) != 0 && !base.withdrawals[usize::from(payment)].has_intent
        });
        let mut faults = world.faults;
        match command {
            Command::Bump if is_stranded && !lacks_intent => {}
            Command::Bump if is_sent && !lacks_intent => {
                faults.bumps = faults.bumps.checked_sub(1)?;
            }
            Command::Cancel(Cancel::Requeue) if is_stranded && lacks_intent => {}
            Command::Cancel(_) if row.cancel.is_none() => {
                faults.cancels = faults.cancels.checked_sub(1)?;
            }
            _ => return None,
        }
        let mut next = world.clone();
        next.faults = faults;
        let row = &mut next.databases[usize::from(database)].slots[usize::from(slot)];
        if let Command::Cancel(cancel) = command {
            row.cancel = Some(cancel);
        }
        row.command = Some(command);
        Some(next)
    }

    pub(super) fn crash_signer(world: &World, signer: u8) -> Option<World> {
        let process = world.signers[usize::from(signer)];
        if !process.is_ready && process.task == Task::Idle {
            return None;
        }
        let mut next = world.clone();
        next.faults.crashes -= 1;
        next.signers[usize::from(signer)] = Signer::STARTED;
        Some(next)
    }

    pub(super) fn crash_broadcaster(world: &World, database: u8) -> Option<World> {
        let place = usize::from(database);
        if world.broadcasters[place] == Broadcaster::Idle {
            return None;
        }
        let mut next = world.clone();
        next.faults.crashes -= 1;
        next.broadcasters[place] = Broadcaster::Idle;
        Some(next)
    }

    pub(super) fn lease_expires(&self, world: &World, database: u8, sender: u8) -> Option<World> {
        let place = usize::from(sender);
        let lease = world.databases[usize::from(database)].leases[place];
        let holder = lease.holder?;
        let mut faults = world.faults;
        let is_believed = self.database_of(holder) == database
            && world.signers[usize::from(holder)].fences[place] == lease.fence;
        if is_believed {
            faults.expiries = faults.expiries.checked_sub(1)?;
        }
        let mut next = world.clone();
        next.faults = faults;
        next.databases[usize::from(database)].leases[place].holder = None;
        Some(next)
    }

    pub(super) fn backup(world: &World) -> Option<World> {
        if world.backup.is_some() {
            return None;
        }
        let mut next = world.clone();
        next.backup = Some(Box::new(world.databases[0].clone()));
        Some(next)
    }

    /// A silent restore swaps the file under running processes. `portcullis restore` stops them, opens a
    /// new epoch and halts the engine until the import.
    pub(super) fn restore(&self, world: &World, silently: bool) -> Option<World> {
        let backup = world.backup.as_deref()?;
        if *backup == world.databases[0] {
            return None;
        }
        let left = if silently { world.faults.swaps } else { world.faults.restores };
        if left == 0 {
            return None;
        }
        let mut next = world.clone();
        if silently {
            next.faults.swaps -= 1;
        } else {
            next.faults.restores -= 1;
        }
        if next.faults.restores == 0 && next.faults.swaps == 0 {
            next.backup = None;
        }
        next.databases[0] = backup.clone();
        if !silently {
            next.signers[0] = Signer::STARTED;
            next.broadcasters[0] = Broadcaster::Idle;
            let base = &mut next.databases[0];
            base.is_halted = true;
            base.leases = [Lease::default(); SENDERS_MAX];
            if !self.is(Broken::ReuseNumber) {
                base.epoch = next_epoch(world, base.epoch);
                base.sequence = 0;
            }
        }
        Some(next)
    }

    pub(super) fn copy_database(&self, world: &World) -> Option<World> {
        if world.databases.len() > 1 || !self.has_copies() {
            return None;
        }
        let mut next = world.clone();
        next.faults.copies = next.faults.copies.checked_sub(1)?;
        let mut copy = world.databases[0].clone();
        copy.leases = [Lease::default(); SENDERS_MAX];
        next.databases.push(copy);
        next.broadcasters.push(Broadcaster::Idle);
        if self.engines == Engines::CopyWithCopiedJournal {
            next.journals[1] = world.journals[0];
        }
        Some(next)
    }

    pub(super) fn stop_faults(world: &World) -> Option<World> {
        if world.faults == Faults::NONE {
            return None;
        }
        let mut next = world.clone();
        next.faults = Faults::NONE;
        next.backup = None;
        next.is_calm = true;
        Some(next)
    }
}

/// An epoch that neither the database nor the journal has seen.
pub(super) fn next_epoch(world: &World, own: u8) -> u8 {
    let items = world.journals.iter().flatten().flat_map(|known| known.items);
    items.map(epoch_of).max().unwrap_or(0).max(own) + 1
}
