//! Signed bytes on their way into the database: held against the slot that they were signed for, and committed before any of
//! them is sent (invariants 2 and 3).

use std::collections::BTreeMap;

use alloy_primitives::B256;
use portcullis_core::id::SlotId;
use portcullis_core::intent::SignedAttempt;
use portcullis_core::slot::{AttemptKind, Slot, SlotStage};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use crate::command::finish_commands;
use crate::convert::Place;
use crate::db::{Source, Transaction};
use crate::entity::{attempt, slot};
use crate::error::StoreError;
use crate::lease::{Lease, check_leases};
use crate::ledger::ROWS_PER_STATEMENT;
use crate::send::send_from;
use crate::slot::{NewAttempt, OpenAttempt, attempts_in_short, read_open_attempt, sign_slots};
use crate::slot_moves::slot_keys;
use crate::slot_rows::{attempt_row, complete_attempts};
use crate::trip::{Trip, Write};
use crate::withdrawal::read_slot_facts;

pub(crate) async fn commit_in(
    tx: &Transaction,
    leases: &[Lease],
    attempts: &[NewAttempt],
    commands: &[(i64, String)],
) -> Result<(), StoreError> {
    check_leases(tx, leases).await?;
    let ids: Vec<SlotId> = attempts.iter().map(|new| new.slot_id).collect();
    let slots = unsigned_slots(tx, &ids).await?;
    let (mut rows, mut completed) = (Vec::with_capacity(attempts.len()), Vec::new());
    let (mut first, mut replaced) = (Vec::new(), Vec::new());
    for new in attempts {
        let Some(slot) = slots.get(&new.slot_id) else {
            return Err(StoreError::Conflict { during: tx.name, expected: 1, found: 0 });
        };
        check_attempt(tx, slot, &new.signed)?;
        match slot.attempts.iter().find(|known| known.hash == new.signed.hash) {
            Some(known) if known.is_adopted => completed.push((new.slot_id, &new.signed)),
            Some(_) => continue,
            None => rows.push(attempt_row(tx, new.slot_id, slot.attempts.len(), &new.signed)),
        }
        match slot.stage {
            SlotStage::Bound => first.push(new.slot_id),
            _ => replaced.push(slot.slot),
        }
    }
    let insert = |rows: &[attempt::ActiveModel]| {
        Write::new(attempt::Entity::insert_many(rows.iter().cloned()), rows.len())
    };
    let inserts = rows.chunks(ROWS_PER_STATEMENT).map(insert).collect();
    complete_attempts(tx, &completed).await?;
    sign_slots(tx, inserts, &first).await?;
    send_from(tx, &replaced).await?;
    finish_commands(tx, commands).await
}

/// What new signed bytes are held against.
struct UnsignedSlot {
    slot: Slot,
    stage: SlotStage,
    payload_digest: B256,
    attempts: Vec<OpenAttempt>,
}

/// Slots with their attempts and without their payments, which were fixed when they were bound.
async fn unsigned_slots(
    tx: &Transaction,
    ids: &[SlotId],
) -> Result<BTreeMap<SlotId, UnsignedSlot>, StoreError> {
    let mut slots = BTreeMap::new();
    for ids in ids.chunks(ROWS_PER_STATEMENT) {
        let mut trip = Trip::default();
        let rows = slot::Entity::find().filter(slot::Column::Id.is_in(slot_keys(ids)));
        let rows = trip.ask(tx.inner.holding_named(rows));
        let attempts = attempts_in_short().filter(attempt::Column::SlotId.is_in(slot_keys(ids)));
        let attempts = trip.ask(attempts);
        let mut answers = trip.go(tx).await?;
        for row in answers.take(&rows)? {
            let place = Place { table: "slots", row: &row.id };
            let facts = read_slot_facts(&row)?;
            let payload_digest = place.hash("payload_digest", &row.payload_digest)?;
            let (slot, stage, attempts) = (facts.slot, facts.stage, Vec::new());
            slots.insert(facts.id, UnsignedSlot { slot, stage, payload_digest, attempts });
        }
        for row in answers.take(&attempts)? {
            let place = Place { table: "attempts", row: &row.hash };
            let id = SlotId::from_bytes(place.id("slot_id", &row.slot_id)?);
            if let Some(slot) = slots.get_mut(&id) {
                slot.attempts.push(read_open_attempt(&row)?);
            }
        }
    }
    Ok(slots)
}

/// Only bytes of this slot and, unless they cancel, of its own payload are committed (invariant 3);
/// none once a block has consumed it.
fn check_attempt(
    tx: &Transaction,
    slot: &UnsignedSlot,
    signed: &SignedAttempt,
) -> Result<(), StoreError> {
    let pays = signed.kind == AttemptKind::Payload;
    let own_payload = signed.payload_digest == slot.payload_digest;
    let open = slot.stage <= SlotStage::Sent;
    if open && signed.slot == slot.slot && (!pays || own_payload) {
        return Ok(());
    }
    Err(StoreError::Conflict { during: tx.name, expected: 1, found: 0 })
}
