//! What must hold in every state, what every path must come to, and what some path must show.

use stateright::Property;

use super::state::{NOBODY, Standing, World};
use super::{Engines, Protocol};

impl Protocol {
    pub(super) fn all_properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![
            Property::always("nothing is paid twice", |model: &Self, world: &World| {
                (0..model.payments).all(|payment| model.times_paid(world, payment) <= 1)
            }),
            Property::always("what was refunded is not paid", refunds_are_true),
            Property::always(
                "what is final is paid on the chain",
                |model: &Self, world: &World| {
                    ends(model, world, Standing::Final).all(|paid| paid == 1)
                },
            ),
            Property::always("a payment has one live binding", one_live_binding),
            Property::always("a slot carries one payload", one_payload),
            Property::always("a number belongs to one payment", one_number),
            Property::always("bytes are committed before they are sent", |_, world: &World| {
                world.sent().all(|bytes| world.committed.contains(&bytes))
            }),
            Property::always("bytes that were sent are a known attempt", sent_is_known),
            Property::always("a binding is released on final evidence only", |_, world: &World| {
                !world.wrongs.unproven_release
            }),
            Property::always("one writer per sender", |_, world: &World| !world.wrongs.stale_write),
        ];
        if !self.has_copies() {
            all.push(Property::eventually("every payment ends", |model: &Self, world: &World| {
                world.faults == super::Faults::NONE && model.all_ended(world)
            }));
        }
        all.extend(self.sightings());
        all
    }

    /// Every withdrawal that clients want has come to an end.
    pub(super) fn all_ended(&self, world: &World) -> bool {
        let base = &world.databases[0];
        let mut wanted = base.withdrawals.iter().take(usize::from(self.payments));
        !base.is_halted
            && wanted.all(|withdrawal| {
                matches!(
                    withdrawal.standing,
                    Standing::Final | Standing::Canceled | Standing::Failed
                )
            })
    }

    /// Whether the database may have been put back: once the faults stopped, it is taken for granted.
    pub(super) fn is_restored(&self, world: &World) -> bool {
        world.faults.restores < self.faults.restores || world.faults.swaps < self.faults.swaps
    }
}

/// How often each payment was paid whose withdrawal stands at `end` in some database.
pub(super) fn ends<'a>(
    model: &'a Protocol,
    world: &'a World,
    end: Standing,
) -> impl Iterator<Item = usize> + 'a {
    world.databases.iter().flat_map(move |base| {
        (0..model.payments)
            .filter(move |payment| base.withdrawals[usize::from(*payment)].standing == end)
            .map(|payment| model.times_paid(world, payment))
    })
}

fn refunds_are_true(model: &Protocol, world: &World) -> bool {
    let canceled = ends(model, world, Standing::Canceled);
    canceled.chain(ends(model, world, Standing::Failed)).all(|paid| paid == 0)
}

fn one_live_binding(model: &Protocol, world: &World) -> bool {
    world.databases.iter().all(|base| {
        (0..model.payments).all(|payment| {
            let live = base.slots.iter().filter(|row| row.live & (1 << payment) != 0);
            live.count() <= 1
        })
    })
}

fn one_payload(model: &Protocol, world: &World) -> bool {
    // Two copies with two journals share nothing that could hold this; the vault holds what matters.
    if model.engines == Engines::CopyWithCopiedJournal {
        return true;
    }
    let mut payloads = [NOBODY; super::SLOTS_MAX];
    world.sent().filter(|bytes| !bytes.is_cancel()).all(|bytes| {
        let payload = &mut payloads[usize::from(bytes.slot)];
        let first = *payload == NOBODY;
        if first {
            *payload = bytes.items;
        }
        *payload == bytes.items
    })
}

fn one_number(model: &Protocol, world: &World) -> bool {
    let sent = world.sent().map(|bytes| bytes.items);
    let journaled = world.journals.iter().flatten().map(|known| known.items);
    let all: Vec<_> = sent.chain(journaled).filter(|items| *items != NOBODY).collect();
    (0..model.payments).all(|one| {
        (0..model.payments).filter(|other| *other != one).all(|other| {
            let mut numbers =
                all.iter().map(|items| items[usize::from(one)]).filter(|number| *number != 0);
            numbers.all(|number| all.iter().all(|items| items[usize::from(other)] != number))
        })
    })
}

/// Every hash on its way is an attempt in a database, or, after a restore, in the journal.
fn sent_is_known(model: &Protocol, world: &World) -> bool {
    let is_restored = model.is_restored(world);
    world.sent().all(|bytes| {
        let slot = usize::from(bytes.slot);
        world.databases.iter().any(|base| base.slots[slot].knows(bytes.slot, bytes))
            || (is_restored
                && world.journals.iter().any(|journal| {
                    let known = journal[slot];
                    let prices = if bytes.is_cancel() { known.cancels } else { known.payloads };
                    prices & (1 << bytes.price) != 0
                }))
    })
}
