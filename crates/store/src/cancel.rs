//! The wish to take a withdrawal back, of its client or of an operator: at once while nothing carries it, else by a cancel
//! in its slot; and once the vault was asked to pay it, by voiding its number first.

use portcullis_core::id::{SlotId, TenantId, WithdrawalId};
use portcullis_core::slot::{Purpose, Rail, SlotStage};
use portcullis_core::withdrawal::{Event, HoldReason, State, StateCode};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, JoinType, PaginatorTrait, QueryFilter, QuerySelect};

use crate::audit::{AuditEntry, append_audit};
use crate::command::{CommandKind, request_in};
use crate::convert::Place;
use crate::db::{Source, Store, Transaction, transaction};
use crate::entity::{binding, slot, withdrawal};
use crate::error::StoreError;
use crate::gas::binding_to_slot;
use crate::transition::apply;
use crate::withdrawal::{WithdrawalRecord, read_slot_facts, withdrawals_by_id};

/// What became of a client's wish to cancel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// It is canceled, and the money available again.
    Canceled(Box<WithdrawalRecord>),
    /// A transaction carries it alone, and the signer was asked to put a cancel in its place: which of the two
    /// the chain takes is open. Or the vault was asked to pay it once, and its number is voided before the money is free.
    Asked(Box<WithdrawalRecord>),
    /// The tenant has no such withdrawal.
    Unknown,
    /// It stands where it cannot be canceled any more.
    Refused(StateCode),
    /// Its transaction carries others as well, or is one of the vault.
    BoundInBatch,
}

/// What became of an operator's wish to give a held withdrawal up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundOutcome {
    /// The money is available again.
    Refunded,
    /// Its number is voided on chain first.
    Voiding,
    /// There is no such withdrawal.
    Unknown,
    /// It is not held, a slot carries it still, or it arrived short.
    Refused(StateCode),
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

    /// Gives a held withdrawal up, for an operator who gives a reason: its money goes back, after its number was voided
    /// where the vault was asked to pay it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn refund(
        &self,
        id: WithdrawalId,
        actor: &str,
        why: &str,
    ) -> Result<RefundOutcome, StoreError> {
        transaction!(self, "refund", |tx| refund_in(&tx, id, actor, why))
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
    if rode_the_vault(tx, &record).await? {
        if !record.cancel_requested {
            wish(tx, &record, actor).await?;
        }
        void(tx, &record, &format!("by {actor}")).await?;
        return Ok(CancelOutcome::Asked(Box::new(record)));
    }
    apply(tx, &[(&record, Event::CancelRequested, Some(format!("by {actor}")))]).await?;
    audit(tx, &record, actor, "withdrawal.cancel").await?;
    Ok(CancelOutcome::Canceled(Box::new(record)))
}

async fn refund_in(
    tx: &Transaction,
    id: WithdrawalId,
    actor: &str,
    why: &str,
) -> Result<RefundOutcome, StoreError> {
    let mut records = withdrawals_by_id(&tx.inner, tx.name, &[id]).await?;
    let Some(record) = records.pop() else { return Ok(RefundOutcome::Unknown) };
    if record.state.give_up().is_err() {
        return Ok(RefundOutcome::Refused(record.state.code()));
    }
    let detail = format!("by {actor}: {why}");
    let outcome = if rode_the_vault(tx, &record).await? {
        void(tx, &record, &detail).await?;
        RefundOutcome::Voiding
    } else {
        apply(tx, &[(&record, Event::GivenUp, Some(detail))]).await?;
        RefundOutcome::Refunded
    };
    let subject = id.to_string();
    let entry = AuditEntry {
        tenant: Some(record.tenant),
        actor,
        action: "withdrawal.refund",
        subject: &subject,
        detail: why,
    };
    append_audit(tx, &entry).await?;
    Ok(outcome)
}

/// Holds it until its number is voided: the signer takes it from there.
async fn void(tx: &Transaction, record: &WithdrawalRecord, detail: &str) -> Result<(), StoreError> {
    let event = Event::Held(HoldReason::Voiding);
    apply(tx, &[(record, event, Some(detail.to_owned()))]).await
}

/// Whether any slot that ever carried it was one of the vault.
async fn rode_the_vault(tx: &Transaction, record: &WithdrawalRecord) -> Result<bool, StoreError> {
    let rides = binding::Entity::find()
        .join(JoinType::InnerJoin, binding_to_slot())
        .filter(binding::Column::WithdrawalId.eq(record.id.to_bytes().to_vec()))
        .filter(slot::Column::Rail.eq(Rail::Vault.as_str()))
        .count(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    Ok(rides > 0)
}

async fn ask_for_cancel(
    tx: &Transaction,
    mut record: WithdrawalRecord,
    slot_id: SlotId,
    actor: &str,
) -> Result<CancelOutcome, StoreError> {
    let key = slot_id.to_bytes().to_vec();
    let row = tx
        .inner
        .holding_named(slot::Entity::find_by_id(key.clone()))
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let place = Place { table: "slots", row: &key };
    let row = place.known("id", row)?;
    let facts = read_slot_facts(&row)?;
    if facts.stage >= SlotStage::Included {
        return Ok(CancelOutcome::Refused(record.state.code()));
    }
    // What the slot ever carried: a released one may not be paid by it any more, but rides in its bytes.
    let riders = binding::Entity::find()
        .filter(binding::Column::SlotId.eq(key.clone()))
        .count(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    if riders != 1 || row.rail == Rail::Vault.as_str() || row.purpose != Purpose::Pay.as_str() {
        return Ok(CancelOutcome::BoundInBatch);
    }
    if !record.cancel_requested {
        wish(tx, &record, actor).await?;
        record.cancel_requested = true;
    }
    if row.cancel_requested == 0 {
        request_in(tx, CommandKind::Cancel, facts.slot, actor, "its client takes it back").await?;
    }
    Ok(CancelOutcome::Asked(Box::new(record)))
}

/// Remembers that its client wants it back: when the slot's cancel is final, it ends instead of being queued again.
async fn wish(tx: &Transaction, record: &WithdrawalRecord, actor: &str) -> Result<(), StoreError> {
    let wished = withdrawal::Entity::update_many()
        .col_expr(withdrawal::Column::CancelRequested, Expr::value(1))
        .filter(withdrawal::Column::Id.eq(record.id.to_bytes().to_vec()))
        .filter(withdrawal::Column::State.eq(record.state.code().as_str()))
        .filter(withdrawal::Column::CancelRequested.eq(0))
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    tx.expect_rows(wished.rows_affected, 1)?;
    audit(tx, record, actor, "withdrawal.cancel-asked").await
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
