//! The rows of new slots and of their bindings.

use portcullis_core::slot::SlotStage;
use sea_orm::{ActiveValue, EntityTrait};

use crate::convert::bigint;
use crate::db::Transaction;
use crate::entity::{binding, slot};
use crate::error::StoreError;
use crate::ledger::ROWS_PER_STATEMENT;
use crate::slot::NewSlot;

pub(crate) async fn insert_slots(tx: &Transaction, slots: &[NewSlot]) -> Result<(), StoreError> {
    let failed = |error| tx.failed(&error);
    for slots in slots.chunks(ROWS_PER_STATEMENT) {
        let rows = slots.iter().map(|new| slot::ActiveModel {
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
        });
        slot::Entity::insert_many(rows).exec_without_returning(&tx.inner).await.map_err(failed)?;
    }
    let mut bindings = Vec::new();
    for new in slots {
        for (payment, position) in new.payments.iter().zip(0..) {
            bindings.push(binding::ActiveModel {
                slot_id: ActiveValue::Set(new.id.to_bytes().to_vec()),
                position: ActiveValue::Set(position),
                withdrawal_id: ActiveValue::Set(payment.to_bytes().to_vec()),
                released_at: ActiveValue::Set(0),
                item: ActiveValue::Set(None),
            });
        }
    }
    for rows in bindings.chunks(ROWS_PER_STATEMENT) {
        binding::Entity::insert_many(rows.iter().cloned())
            .exec_without_returning(&tx.inner)
            .await
            .map_err(failed)?;
    }
    Ok(())
}
