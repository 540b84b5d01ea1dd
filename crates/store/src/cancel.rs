//! A client's wish to take a withdrawal back: at once while nothing carries it, else by a cancel in its slot.

use portcullis_core::id::{SlotId, TenantId, WithdrawalId};
use portcullis_core::slot::SlotStage;
use portcullis_core::withdrawal::{Event, State, StateCode};
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};

use crate::audit::{AuditEntry, append_audit};
use crate::command::{CommandKind, request_in};
use crate::convert::Place;
use crate::db::{Store, Transaction, transaction};
use crate::entity::{binding, cancel_wish, slot};
use crate::error::StoreError;
use crate::transition::apply;
use crate::withdrawal::{WithdrawalRecord, read_slot_facts, withdrawals_by_id};

/// What became of a client's wish to cancel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// It is canceled, and the money available again.
    Canceled(Box<WithdrawalRecord>),
    /// A transaction carries it alone, and the signer was asked to put a cancel in its place. Which of the two
    /// the chain takes is open.
    Asked(Box<WithdrawalRecord>),
    /// The tenant has no such withdrawal.
    Unknown,
    /// It stands where it cannot be canceled any more.
    Refused(StateCode),
    /// Its transaction carries others as well, or is one of the vault.
    BoundInBatch,
}

impl Store {
    /// Cancels a withdrawal for its client: at once while it is not bound to a slot; by a cancel in the slot
    /// while that carries it alone and no block has consumed it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn cancel(
        &self,
        tenant: TenantId,
        id: WithdrawalId,
        actor: &str,
    ) -> Result<CancelOutcome, StoreError> {
        let outcome = transaction!(self, "cancel", |tx| cancel_in(&tx, tenant, id, actor))?;
        match outcome {
            CancelOutcome::Canceled(_) => {
                let record = self.withdrawal(tenant, id).await?;
                Ok(record.map_or(CancelOutcome::Unknown, |record| {
                    CancelOutcome::Canceled(Box::new(record))
                }))
            }
            other => Ok(other),
        }
    }
}

async fn cancel_in(
    tx: &Transaction,
    tenant: TenantId,
    id: WithdrawalId,
    actor: &str,
) -> Result<CancelOutcome, StoreError> {
    let mut records = withdrawals_by_id(&tx.inner, tx.name, &[id]).await?;
    let Some(record) = records.pop().filter(|record| record.tenant == tenant) else {
        return Ok(CancelOutcome::Unknown);
    };
    if record.state == State::Canceled {
        return Ok(CancelOutcome::Canceled(Box::new(record)));
    }
    if let Some(slot_id) = record.state.slot() {
        return ask_for_cancel(tx, record, slot_id, actor).await;
    }
    if record.state.cancel().is_err() {
        return Ok(CancelOutcome::Refused(record.state.code()));
    }
    apply(tx, &[(&record, Event::CancelRequested, Some(format!("by {actor}")))]).await?;
    audit(tx, &record, actor, "withdrawal.cancel").await?;
    Ok(CancelOutcome::Canceled(Box::new(record)))
}

async fn ask_for_cancel(
    tx: &Transaction,
    record: WithdrawalRecord,
    slot_id: SlotId,
    actor: &str,
) -> Result<CancelOutcome, StoreError> {
    let key = slot_id.to_bytes().to_vec();
    let row = slot::Entity::find_by_id(key.clone())
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let place = Place { table: "slots", row: &key };
    let facts = read_slot_facts(&place.known("id", row)?)?;
    if facts.stage >= SlotStage::Included {
        return Ok(CancelOutcome::Refused(record.state.code()));
    }
    // What the slot ever carried: a released one may not be paid by it any more, but rides in its bytes.
    let riders = binding::Entity::find()
        .filter(binding::Column::SlotId.eq(key.clone()))
        .count(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    if riders != 1 {
        return Ok(CancelOutcome::BoundInBatch);
    }
    let wish_key = (record.id.to_bytes().to_vec(), key.clone());
    let known = cancel_wish::Entity::find_by_id(wish_key)
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    if known.is_none() {
        let wish = cancel_wish::ActiveModel {
            withdrawal_id: ActiveValue::Set(record.id.to_bytes().to_vec()),
            slot_id: ActiveValue::Set(key),
            actor: ActiveValue::Set(actor.to_owned()),
            asked_at: ActiveValue::Set(tx.now.as_millis()),
        };
        cancel_wish::Entity::insert(wish)
            .exec_without_returning(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        audit(tx, &record, actor, "withdrawal.cancel-asked").await?;
        request_in(tx, CommandKind::Cancel, facts.slot, actor, "its client takes it back").await?;
    }
    Ok(CancelOutcome::Asked(Box::new(record)))
}

async fn audit(
    tx: &Transaction,
    record: &WithdrawalRecord,
    actor: &str,
    action: &str,
) -> Result<(), StoreError> {
    let subject = record.id.to_string();
    let entry = AuditEntry {
        tenant: Some(record.tenant),
        actor,
        action,
        subject: &subject,
        detail: record.external_id.as_str(),
    };
    append_audit(tx, &entry).await
}

/// Which of the withdrawals that these slots carried were taken back by their clients while they rode there.
pub(crate) async fn wishes_of(
    tx: &Transaction,
    slots: &[SlotId],
) -> Result<Vec<(WithdrawalId, SlotId)>, StoreError> {
    let rows = cancel_wish::Entity::find()
        .filter(cancel_wish::Column::SlotId.is_in(slots.iter().map(|id| id.to_bytes().to_vec())))
        .all(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    rows.iter()
        .map(|row| {
            let place = Place { table: "cancel_wishes", row: &row.slot_id };
            let withdrawal = place.id("withdrawal_id", &row.withdrawal_id)?;
            let slot = place.id("slot_id", &row.slot_id)?;
            Ok((WithdrawalId::from_bytes(withdrawal), SlotId::from_bytes(slot)))
        })
        .collect()
}

/// Forgets the wishes of slots that have ended.
pub(crate) async fn forget_wishes(tx: &Transaction, slots: &[SlotId]) -> Result<(), StoreError> {
    cancel_wish::Entity::delete_many()
        .filter(cancel_wish::Column::SlotId.is_in(slots.iter().map(|id| id.to_bytes().to_vec())))
        .exec(&tx.inner)
        .await
        .map(|_| ())
        .map_err(|error| tx.failed(&error))
}
