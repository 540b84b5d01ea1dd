//! What some path must show, so that the other properties are not proved of a world where nothing happens.

use stateright::Property;

use super::properties::ends;
use super::state::{Answer, Broadcaster, Standing, Task, World};
use super::{Engines, Faults, Protocol, Rail};

type Sighting = Property<Protocol>;

impl Protocol {
    pub(super) fn sightings(&self) -> Vec<Sighting> {
        let mut all = Vec::new();
        if !self.has_copies() {
            all.push(Property::sometimes("all is paid", |model: &Self, world: &World| {
                ends(model, world, Standing::Final).count() == usize::from(model.payments)
            }));
        }
        if self.engines == Engines::Two {
            all.push(Property::sometimes("a lease is lost in the middle of a task", lost_lease));
        }
        if self.rail == Rail::Vault && (self.faults.reorgs > 0 || self.has_copies()) {
            all.push(Property::sometimes("the vault skips a number", vault_skips));
        }
        if self.faults.restores + self.faults.swaps > 0 {
            all.extend(of_restores());
        }
        all.extend(of_processes(self.faults));
        all.extend(of_the_chain(self.faults));
        all
    }
}

fn of_processes(faults: Faults) -> Vec<Sighting> {
    let mut all = Vec::new();
    if faults.crashes > 0 {
        all.push(Property::sometimes(
            "every crash happens, and all ends",
            |model: &Protocol, world: &World| {
                !world.is_calm && world.faults.crashes == 0 && model.all_ended(world)
            },
        ));
    }
    if faults.losses > 0 {
        all.push(Property::sometimes("an answer is lost after acceptance", answer_lost));
    }
    all
}

fn of_restores() -> Vec<Sighting> {
    vec![
        Property::sometimes(
            "a restore happens, and all ends",
            |model: &Protocol, world: &World| {
                !world.is_calm && model.is_restored(world) && model.all_ended(world)
            },
        ),
        Property::sometimes("a restore stops the engine", |model: &Protocol, world: &World| {
            !world.is_calm && model.is_restored(world) && world.databases[0].is_halted
        }),
    ]
}

fn of_the_chain(faults: Faults) -> Vec<Sighting> {
    let mut all = Vec::new();
    if faults.reorgs > 0 {
        all.push(Property::sometimes(
            "a reorg undoes a confirmed payment",
            |model: &Protocol, world: &World| {
                ends(model, world, Standing::Confirmed).any(|paid| paid == 0)
            },
        ));
        all.push(Property::sometimes(
            "every reorg happens, and all ends",
            |model: &Protocol, world: &World| {
                !world.is_calm && world.faults.reorgs == 0 && model.all_ended(world)
            },
        ));
    }
    if faults.cancels > 0 {
        all.push(Property::sometimes("a cancel wins its slot", |_, world: &World| {
            world.chain.iter().any(|mined| mined.transaction.is_cancel())
        }));
        all.push(Property::sometimes("a canceled slot pays all the same", canceled_too_late));
    }
    if faults.bumps > 0 {
        all.push(Property::sometimes("a bump is mined", |_, world: &World| {
            let mut mined = world.chain.iter().map(|mined| mined.transaction);
            mined.any(|bytes| bytes.price > 0 && !bytes.is_cancel())
        }));
    }
    all
}

/// Two blocks carry one number.
fn vault_skips(model: &Protocol, world: &World) -> bool {
    (0..model.payments).any(|payment| {
        let carrying = world.chain.iter().filter(|mined| mined.transaction.pays(payment));
        carrying.count() > 1
    })
}

fn lost_lease(_: &Protocol, world: &World) -> bool {
    let base = &world.databases[0];
    (0u8..).zip(&world.signers).any(|(signer, process)| {
        process.task != Task::Idle
            && base.leases.iter().zip(process.fences).any(|(lease, believed)| {
                believed != 0 && lease.holder.is_some_and(|holder| holder != signer)
            })
    })
}

fn answer_lost(_: &Protocol, world: &World) -> bool {
    world.broadcasters.iter().any(|broadcaster| match broadcaster {
        Broadcaster::Answered(bytes, Answer::Timeout) => world.pool.contains(bytes),
        _ => false,
    })
}

/// A cancel was committed, and the payload is what the block took.
fn canceled_too_late(_: &Protocol, world: &World) -> bool {
    world.databases.iter().flat_map(|base| (0u8..).zip(&base.slots)).any(|(slot, row)| {
        row.attempts.iter().any(|attempt| attempt.is_cancel)
            && world.mined(slot).is_some_and(|mined| !mined.transaction.is_cancel())
    })
}
