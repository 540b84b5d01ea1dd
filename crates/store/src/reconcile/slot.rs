//! One slot and its payments, brought to what journal and chain prove.

use portcullis_core::id::SlotId;
use portcullis_core::slot::{Rail, Slot, SlotOutcome, SlotStage};
use portcullis_core::withdrawal::{HoldReason, State};
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter};

use super::forgotten::{forget, remember};
use super::insert::{Facts, insert_payment};
use super::place::{Truth, bind, forget_binding, mark_item_paid, place, unbind};
use super::reopen::{JOINED, look_again};
use super::{ImportedEnd, ImportedPayment, SlotImport};
use crate::audit::{AuditEntry, append_audit};
use crate::convert::{Place, bigint, wei_bigint};
use crate::db::{Source, Transaction};
use crate::entity::{attempt, sender, slot, withdrawal};
use crate::error::StoreError;
use crate::slot::{NewSlot, open_slots_by_id};
use crate::slot_rows::slot_row;
use crate::transition::apply;
use crate::withdrawal::{WithdrawalRecord, read_withdrawals, withdrawals_by_id};

pub(super) async fn import_in(tx: &Transaction, import: &SlotImport) -> Result<(), StoreError> {
    let id = write_slot(tx, import).await?;
    write_attempts(tx, id, import).await?;
    release_others(tx, id, import).await?;
    let detail = detail_of(import);
    if let Some(end) = &import.end {
        write_end(tx, id, end).await?;
    }
    let mut joined = false;
    for payment in &import.payments {
        joined |= import_payment(tx, id, import, payment, &detail).await?;
    }
    let was_read = import.seen.is_some_and(|stage| stage >= SlotStage::Included);
    if joined && was_read && import.end.is_none() {
        look_again(tx, id, JOINED).await?;
    }
    if let Some(end) = &import.end {
        release_unpaid(tx, id, (end.outcome, import.rail), &detail).await?;
    }
    raise_nonce(tx, import).await?;
    let subject = format!("{}:{}:{}", import.slot.chain_id, import.slot.sender, import.slot.nonce);
    let entry = AuditEntry {
        tenant: None,
        actor: "reconcile",
        action: "reconcile.slot",
        subject: &subject,
        detail: &detail,
    };
    append_audit(tx, &entry).await
}

fn detail_of(import: &SlotImport) -> String {
    match (&import.end, import.attempts.last()) {
        (Some(end), _) => {
            format!("{} by {} in block {}", end.outcome.as_str(), end.hash, end.block.number)
        }
        (None, Some(attempt)) => format!("signed as {}, not final yet", attempt.hash),
        (None, None) => "a gap, to be filled".to_owned(),
    }
}

async fn row_of(tx: &Transaction, key: Slot) -> Result<Option<slot::Model>, StoreError> {
    let query = slot::Entity::find()
        .filter(slot::Column::ChainId.eq(bigint(key.chain_id)))
        .filter(slot::Column::Sender.eq(key.sender.to_vec()))
        .filter(slot::Column::Nonce.eq(bigint(key.nonce)));
    tx.inner.holding(query).one(&tx.inner).await.map_err(|error| tx.failed(&error))
}

async fn write_slot(tx: &Transaction, import: &SlotImport) -> Result<SlotId, StoreError> {
    let row = row_of(tx, import.slot).await?;
    let stored = match &row {
        None => None,
        Some(row) => {
            let place = Place { table: "slots", row: &row.id };
            Some(place.known("stage", SlotStage::parse(&row.stage))?)
        }
    };
    tx.expect_rows(u64::from(stored == import.seen), 1)?;
    let sent = if import.attempts.is_empty() { SlotStage::Bound } else { SlotStage::Sent };
    let stage = stored.map_or(sent, |stored| stored.max(sent));
    let Some(row) = row else {
        insert_slot(tx, import, stage).await?;
        return Ok(import.id);
    };
    let place = Place { table: "slots", row: &row.id };
    let id = SlotId::from_bytes(place.id("id", &row.id)?);
    let written = slot::Entity::update_many()
        .col_expr(slot::Column::Purpose, Expr::value(import.purpose.as_str()))
        .col_expr(slot::Column::Rail, Expr::value(import.rail.as_str()))
        .col_expr(slot::Column::PayloadDigest, Expr::value(import.payload_digest.to_vec()))
        .col_expr(slot::Column::Stage, Expr::value(stage.as_str()))
        .col_expr(slot::Column::UpdatedAt, Expr::value(tx.now.as_millis()))
        .filter(slot::Column::Id.eq(row.id.clone()))
        .filter(slot::Column::Stage.eq(row.stage.clone()))
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    tx.expect_rows(written.rows_affected, 1)?;
    Ok(id)
}

async fn insert_slot(
    tx: &Transaction,
    import: &SlotImport,
    stage: SlotStage,
) -> Result<(), StoreError> {
    let new = NewSlot {
        id: import.id,
        slot: import.slot,
        purpose: import.purpose,
        rail: import.rail,
        payload_digest: import.payload_digest,
        payments: Vec::new(),
        gas_estimated: None,
        why: None,
    };
    let row = slot::ActiveModel {
        stage: ActiveValue::Set(stage.as_str().to_owned()),
        ..slot_row(tx, &new)
    };
    slot::Entity::insert(row)
        .exec_without_returning(&tx.inner)
        .await
        .map(|_| ())
        .map_err(|error| tx.failed(&error))
}

/// Adds the hashes that the row does not have. They have no bytes: nothing of them is sent, but they are known.
async fn write_attempts(
    tx: &Transaction,
    id: SlotId,
    import: &SlotImport,
) -> Result<(), StoreError> {
    let known = attempt::Entity::find()
        .filter(attempt::Column::SlotId.eq(id.to_bytes().to_vec()))
        .all(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let highest = known.iter().map(|row| row.ordinal).max().unwrap_or(0);
    let missing = import
        .attempts
        .iter()
        .filter(|attempt| !known.iter().any(|row| row.hash == attempt.hash.as_slice()));
    for (attempt, ordinal) in missing.zip(highest.saturating_add(1)..) {
        let row = attempt::ActiveModel {
            hash: ActiveValue::Set(attempt.hash.to_vec()),
            slot_id: ActiveValue::Set(id.to_bytes().to_vec()),
            ordinal: ActiveValue::Set(ordinal),
            kind: ActiveValue::Set(attempt.kind.as_str().to_owned()),
            raw: ActiveValue::Set(Vec::new()),
            max_fee_per_gas_wei: ActiveValue::Set(0),
            max_priority_fee_per_gas_wei: ActiveValue::Set(0),
            gas_limit: ActiveValue::Set(0),
            committed_at: ActiveValue::Set(attempt.at.as_millis()),
            sent_at: ActiveValue::Set(Some(attempt.at.as_millis())),
            sends: ActiveValue::Set(0),
            last_outcome: ActiveValue::Set(Some("known from the journal".into())),
            gas_used: ActiveValue::Set(None),
            effective_gas_price_wei: ActiveValue::Set(None),
        };
        attempt::Entity::insert(row)
            .exec_without_returning(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
    }
    Ok(())
}

/// What is bound here and not carried: nothing was signed of it in this slot.
async fn release_others(
    tx: &Transaction,
    id: SlotId,
    import: &SlotImport,
) -> Result<(), StoreError> {
    for record in bound_to(tx, id).await? {
        let carried = import.payments.iter().any(|payment| is_of(payment, &record));
        if !carried && import.end.is_none_or(|end| end.outcome == SlotOutcome::Paid) {
            unbind(tx, &record.id.to_bytes(), None).await?;
            let detail = "its slot was signed for another payment, or for none";
            place(tx, &record, id, Truth::Unbound, detail).await?;
            forget_binding(tx, id, &record.id.to_bytes()).await?;
        }
    }
    Ok(())
}

async fn bound_to(tx: &Transaction, id: SlotId) -> Result<Vec<WithdrawalRecord>, StoreError> {
    let open = open_slots_by_id(&tx.inner, tx.name, &[id]).await?;
    Ok(open.into_iter().flat_map(|open| open.payments).collect())
}

/// The payments that the slot of a nonce carries; none where it has no row.
pub(super) async fn bound_to_slot(
    tx: &Transaction,
    slot: Slot,
) -> Result<Vec<WithdrawalRecord>, StoreError> {
    let row = row_of(tx, slot).await?;
    let Some(row) = row else { return Ok(Vec::new()) };
    let place = Place { table: "slots", row: &row.id };
    bound_to(tx, SlotId::from_bytes(place.id("id", &row.id)?)).await
}

fn is_of(payment: &ImportedPayment, record: &WithdrawalRecord) -> bool {
    payment.reference == record.reference
}

/// Whether the payment joined the slot: it was not bound to it before.
async fn import_payment(
    tx: &Transaction,
    slot: SlotId,
    import: &SlotImport,
    payment: &ImportedPayment,
    detail: &str,
) -> Result<bool, StoreError> {
    let outcome = import.end.map(|end| end.outcome);
    let truth = match outcome {
        None => Truth::Sent,
        Some(SlotOutcome::Reverted) if import.rail == Rail::Vault => Truth::Unbound,
        Some(SlotOutcome::Paid) => Truth::Paid,
        Some(SlotOutcome::Reverted) => Truth::Reverted,
        Some(SlotOutcome::Canceled | SlotOutcome::Filled | SlotOutcome::Voided) => Truth::Unbound,
    };
    let known = find(tx, payment).await?;
    if let Some(record) = known.iter().find(|record| is_of(payment, record)) {
        let mut joins = false;
        if matches!(truth, Truth::Sent | Truth::Paid) {
            joins = bind(tx, &record.id.to_bytes(), slot).await?;
            place(tx, record, slot, truth, detail).await?;
            if truth == Truth::Paid && import.rail == Rail::Vault {
                mark_item_paid(tx, &record.id.to_bytes(), slot).await?;
            }
        }
        forget(tx, payment.reference).await?;
        return Ok(joins);
    }
    for record in &known {
        hold_contradicting(tx, record).await?;
    }
    match (&payment.request, payment.purpose) {
        (Some(request), Some(purpose)) if truth != Truth::Unbound => {
            let facts = Facts { import, payment, request, purpose, taken: !known.is_empty() };
            insert_payment(tx, slot, &facts, truth, detail).await?;
            forget(tx, payment.reference).await?;
            return Ok(true);
        }
        _ if matches!(truth, Truth::Sent | Truth::Paid) => {
            remember(tx, payment, slot, truth == Truth::Paid).await?;
        }
        _ => forget(tx, payment.reference).await?,
    }
    Ok(false)
}

/// The rows that may be this payment: of its id, or of its tenant and external id, or of its ref.
async fn find(
    tx: &Transaction,
    payment: &ImportedPayment,
) -> Result<Vec<WithdrawalRecord>, StoreError> {
    let Some(request) = &payment.request else {
        // Without an index: it is rare, and the number may be another one here.
        let query = withdrawal::Entity::find()
            .filter(withdrawal::Column::Reference.eq(payment.reference.0.to_vec()));
        let rows =
            tx.inner.holding(query).all(&tx.inner).await.map_err(|error| tx.failed(&error))?;
        return read_withdrawals(&tx.inner, tx.name, rows).await;
    };
    let mut records = withdrawals_by_id(&tx.inner, tx.name, &[request.withdrawal]).await?;
    let query = withdrawal::Entity::find()
        .filter(withdrawal::Column::TenantId.eq(request.tenant.to_bytes().to_vec()))
        .filter(withdrawal::Column::ExternalId.eq(request.external_id.as_str()));
    let rows = tx.inner.holding(query).all(&tx.inner).await.map_err(|error| tx.failed(&error))?;
    let by_name = read_withdrawals(&tx.inner, tx.name, rows).await?;
    records.extend(by_name);
    records.dedup_by_key(|record| record.id);
    Ok(records)
}

/// The client's id belongs to another request here: that one waits for an operator.
async fn hold_contradicting(tx: &Transaction, record: &WithdrawalRecord) -> Result<(), StoreError> {
    let is_free = matches!(
        record.state,
        State::Pending | State::Validating | State::AwaitingApproval | State::Queued
    );
    if !is_free {
        return Ok(());
    }
    let event = portcullis_core::withdrawal::Event::Held(HoldReason::Restore);
    let detail = "the journal has a payment of the same external id with another body";
    apply(tx, &[(record, event, Some(detail.to_owned()))]).await
}

/// The slot is over.
async fn write_end(tx: &Transaction, id: SlotId, end: &ImportedEnd) -> Result<(), StoreError> {
    let written = slot::Entity::update_many()
        .col_expr(slot::Column::Stage, Expr::value(SlotStage::Final.as_str()))
        .col_expr(slot::Column::Outcome, Expr::value(end.outcome.as_str()))
        .col_expr(slot::Column::TransactionHash, Expr::value(end.hash.to_vec()))
        .col_expr(slot::Column::BlockNumber, Expr::value(bigint(end.block.number)))
        .col_expr(slot::Column::BlockHash, Expr::value(end.block.hash.to_vec()))
        .col_expr(slot::Column::BlockAt, Expr::value(end.block_at.as_millis()))
        .col_expr(slot::Column::UpdatedAt, Expr::value(tx.now.as_millis()))
        .filter(slot::Column::Id.eq(id.to_bytes().to_vec()))
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    tx.expect_rows(written.rows_affected, 1)?;
    attempt::Entity::update_many()
        .col_expr(attempt::Column::GasUsed, Expr::value(bigint(end.gas_used)))
        .col_expr(
            attempt::Column::EffectiveGasPriceWei,
            Expr::value(wei_bigint(end.effective_gas_price_wei)),
        )
        .filter(attempt::Column::Hash.eq(end.hash.to_vec()))
        .filter(attempt::Column::SlotId.eq(id.to_bytes().to_vec()))
        .exec(&tx.inner)
        .await
        .map(|_| ())
        .map_err(|error| tx.failed(&error))
}

/// What the slot carried to its end and did not pay.
async fn release_unpaid(
    tx: &Transaction,
    id: SlotId,
    (outcome, rail): (SlotOutcome, Rail),
    detail: &str,
) -> Result<(), StoreError> {
    let truth = match outcome {
        SlotOutcome::Paid => return Ok(()),
        // The number is free: on the vault rail it rides again.
        SlotOutcome::Reverted if rail == Rail::Vault => Truth::Unbound,
        SlotOutcome::Voided => Truth::Voided,
        SlotOutcome::Reverted => Truth::Reverted,
        SlotOutcome::Canceled | SlotOutcome::Filled => Truth::Unbound,
    };
    for record in &bound_to(tx, id).await? {
        unbind(tx, &record.id.to_bytes(), None).await?;
        place(tx, record, id, truth, detail).await?;
    }
    Ok(())
}

/// The next nonce of the sender is above this one.
async fn raise_nonce(tx: &Transaction, import: &SlotImport) -> Result<(), StoreError> {
    let next = import.slot.nonce.saturating_add(1);
    let key = (bigint(import.slot.chain_id), import.slot.sender.to_vec());
    let known =
        sender::Entity::find_by_id(key).one(&tx.inner).await.map_err(|error| tx.failed(&error))?;
    if known.is_none() {
        let row = sender::ActiveModel {
            chain_id: ActiveValue::Set(bigint(import.slot.chain_id)),
            address: ActiveValue::Set(import.slot.sender.to_vec()),
            nonce_next: ActiveValue::Set(bigint(next)),
            registered_at: ActiveValue::Set(tx.now.as_millis()),
        };
        return sender::Entity::insert(row)
            .exec_without_returning(&tx.inner)
            .await
            .map(|_| ())
            .map_err(|error| tx.failed(&error));
    }
    sender::Entity::update_many()
        .col_expr(sender::Column::NonceNext, Expr::value(bigint(next)))
        .filter(sender::Column::ChainId.eq(bigint(import.slot.chain_id)))
        .filter(sender::Column::Address.eq(import.slot.sender.to_vec()))
        .filter(sender::Column::NonceNext.lt(bigint(next)))
        .exec(&tx.inner)
        .await
        .map(|_| ())
        .map_err(|error| tx.failed(&error))
}
