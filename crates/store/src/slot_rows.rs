//! The rows of new slots, of their bindings and of their attempts.

use portcullis_core::id::{SlotId, WithdrawalId};
use portcullis_core::intent::SignedAttempt;
use portcullis_core::slot::SlotStage;
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter};

use crate::convert::{bigint, wei_bigint};
use crate::db::Transaction;
use crate::entity::{attempt, binding, slot};
use crate::error::StoreError;
use crate::ledger::ROWS_PER_STATEMENT;
use crate::slot::NewSlot;
use crate::trip::Write;

/// What inserts new slots and binds what they carry.
pub(crate) fn slot_inserts(tx: &Transaction, slots: &[NewSlot]) -> Vec<Write> {
    let insert_set = |slots: &[NewSlot]| {
        let rows = slots.iter().map(|new| slot_row(tx, new));
        Write::new(slot::Entity::insert_many(rows), slots.len())
    };
    let mut writes: Vec<Write> = slots.chunks(ROWS_PER_STATEMENT).map(insert_set).collect();
    let bindings: Vec<binding::ActiveModel> = slots.iter().flat_map(binding_rows).collect();
    writes.extend(
        bindings
            .chunks(ROWS_PER_STATEMENT)
            .map(|rows| Write::new(binding::Entity::insert_many(rows.iter().cloned()), rows.len())),
    );
    writes
}

/// The row of a slot that is being opened.
pub(crate) fn slot_row(tx: &Transaction, new: &NewSlot) -> slot::ActiveModel {
    slot::ActiveModel {
        id: ActiveValue::Set(new.id.to_bytes().to_vec()),
        chain_id: ActiveValue::Set(bigint(new.slot.chain_id)),
        sender: ActiveValue::Set(new.slot.sender.to_vec()),
        nonce: ActiveValue::Set(bigint(new.slot.nonce)),
        purpose: ActiveValue::Set(new.purpose.as_str().to_owned()),
        rail: ActiveValue::Set(new.rail.as_str().to_owned()),
        payload_digest: ActiveValue::Set(new.payload_digest.to_vec()),
        stage: ActiveValue::Set(SlotStage::Bound.as_str().to_owned()),
        outcome: ActiveValue::Set(None),
        transaction_hash: ActiveValue::Set(None),
        block_number: ActiveValue::Set(None),
        block_hash: ActiveValue::Set(None),
        block_at: ActiveValue::Set(None),
        cancel_requested: ActiveValue::Set(0),
        due_at: ActiveValue::Set(tx.now.as_millis()),
        receives: ActiveValue::Set(0),
        claim: ActiveValue::Set(None),
        claimed_until: ActiveValue::Set(0),
        opened_at: ActiveValue::Set(tx.now.as_millis()),
        updated_at: ActiveValue::Set(tx.now.as_millis()),
        gas_estimated: ActiveValue::Set(new.gas_estimated.map(bigint)),
    }
}

fn binding_rows(new: &NewSlot) -> Vec<binding::ActiveModel> {
    let row = |(payment, position): (&WithdrawalId, i32)| binding::ActiveModel {
        slot_id: ActiveValue::Set(new.id.to_bytes().to_vec()),
        position: ActiveValue::Set(position),
        withdrawal_id: ActiveValue::Set(payment.to_bytes().to_vec()),
        released_at: ActiveValue::Set(0),
        item: ActiveValue::Set(None),
    };
    new.payments.iter().zip(0..).map(row).collect()
}

/// The row of new signed bytes of a slot that has so many attempts before.
pub(crate) fn attempt_row(
    tx: &Transaction,
    slot: SlotId,
    before: usize,
    signed: &SignedAttempt,
) -> attempt::ActiveModel {
    let ordinal = i32::try_from(before.saturating_add(1)).unwrap_or(i32::MAX);
    attempt::ActiveModel {
        hash: ActiveValue::Set(signed.hash.to_vec()),
        slot_id: ActiveValue::Set(slot.to_bytes().to_vec()),
        ordinal: ActiveValue::Set(ordinal),
        kind: ActiveValue::Set(signed.kind.as_str().to_owned()),
        raw: ActiveValue::Set(signed.raw.to_vec()),
        max_fee_per_gas_wei: ActiveValue::Set(wei_bigint(signed.fees.max_fee_per_gas_wei)),
        max_priority_fee_per_gas_wei: ActiveValue::Set(wei_bigint(
            signed.fees.max_priority_fee_per_gas_wei,
        )),
        gas_limit: ActiveValue::Set(bigint(signed.gas_limit)),
        committed_at: ActiveValue::Set(tx.now.as_millis()),
        sent_at: ActiveValue::Set(None),
        sends: ActiveValue::Set(0),
        last_outcome: ActiveValue::Set(None),
        gas_used: ActiveValue::Set(None),
        effective_gas_price_wei: ActiveValue::Set(None),
    }
}

/// Gives attempts that were known by their hash alone their bytes and their price. Signing is deterministic, so the same
/// payload at the same price is the attempt that an earlier life of this database signed. Left without its bytes it
/// would be neither sent nor outbid.
pub(crate) async fn complete_attempts(
    tx: &Transaction,
    attempts: &[(SlotId, &SignedAttempt)],
) -> Result<(), StoreError> {
    for (slot, signed) in attempts {
        let completed = attempt::Entity::update_many()
            .set(attempt::ActiveModel {
                ordinal: ActiveValue::NotSet,
                ..attempt_row(tx, *slot, 0, signed)
            })
            .filter(attempt::Column::Hash.eq(signed.hash.to_vec()))
            .filter(attempt::Column::SlotId.eq(slot.to_bytes().to_vec()))
            .filter(attempt::Column::Raw.eq(Vec::<u8>::new()))
            .exec(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        tx.expect_rows(completed.rows_affected, 1)?;
    }
    Ok(())
}
