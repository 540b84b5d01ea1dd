//! Failed receives, and the letters that they become.

use portcullis_core::id::{SlotId, WithdrawalId};
use portcullis_core::recovery::{RECEIVES_MAX, redrive_after_ms};
use portcullis_core::time::Timestamp;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use serde_json::json;

use super::{DeadLetterQueue, FailedRequest, FailedSlot, LetterError};
use crate::db::{Source, Transaction};
use crate::entity::{attempt, dead_letter, slot, withdrawal, work};
use crate::error::StoreError;
use crate::timeline::shortened;
use crate::transition::Stage;

/// Work that waits for its letter to be redriven is due at the end of time.
pub(super) const NEVER_MS: i64 = i64::MAX;

/// A letter to be written.
struct NewLetter<'a> {
    queue: DeadLetterQueue,
    subject: Vec<u8>,
    tenant: Option<Vec<u8>>,
    message: String,
    error: &'a LetterError,
    chance: u64,
}

pub(super) async fn fail_requests_in(
    tx: &Transaction,
    failed: &[FailedRequest],
) -> Result<Vec<WithdrawalId>, StoreError> {
    let mut letters = Vec::new();
    for failed in failed {
        let key = failed.withdrawal.to_bytes().to_vec();
        let query = work::Entity::find_by_id(key.clone())
            .filter(work::Column::Stage.is_in([Stage::Validate.as_str(), Stage::Sign.as_str()]));
        let row = tx
            .inner
            .holding_named(query)
            .one(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        // One that moved on meanwhile has not failed.
        let Some(row) = row.filter(|row| row.due_at != NEVER_MS) else { continue };
        let receives = row.receives.saturating_add(1);
        let is_dead = u32::try_from(receives).unwrap_or(u32::MAX) >= RECEIVES_MAX;
        let due_at = if is_dead { NEVER_MS } else { failed.retry_at.as_millis() };
        let counted = work::Entity::update_many()
            .col_expr(work::Column::Receives, Expr::value(receives))
            .col_expr(work::Column::DueAt, Expr::value(due_at))
            .filter(work::Column::WithdrawalId.eq(key.clone()))
            .filter(work::Column::Stage.eq(row.stage.as_str()))
            .filter(work::Column::Receives.eq(row.receives))
            .exec(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        tx.expect_rows(counted.rows_affected, 1)?;
        if !is_dead {
            continue;
        }
        let (tenant, message) = request_message(tx, failed.withdrawal, &row).await?;
        let new = NewLetter {
            queue: DeadLetterQueue::Request,
            subject: key,
            tenant,
            message,
            error: &failed.error,
            chance: failed.chance,
        };
        if write_letter(tx, new).await? {
            letters.push(failed.withdrawal);
        }
    }
    Ok(letters)
}

pub(super) async fn fail_slots_in(
    tx: &Transaction,
    failed: &[FailedSlot],
) -> Result<Vec<SlotId>, StoreError> {
    for failed in failed {
        slot::Entity::update_many()
            .col_expr(slot::Column::Receives, Expr::col(slot::Column::Receives).add(1))
            .filter(slot::Column::Id.eq(failed.slot.to_bytes().to_vec()))
            .exec(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
    }
    slot_letters_in(tx, failed).await
}

/// Letters of those that failed often enough. Their slots stay as due as they were.
pub(super) async fn slot_letters_in(
    tx: &Transaction,
    failed: &[FailedSlot],
) -> Result<Vec<SlotId>, StoreError> {
    let mut letters = Vec::new();
    for failed in failed {
        let key = failed.slot.to_bytes().to_vec();
        let row = slot::Entity::find_by_id(key.clone())
            .one(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        let often = |row: &slot::Model| u32::try_from(row.receives).unwrap_or(0) >= RECEIVES_MAX;
        let Some(row) = row.filter(often) else { continue };
        let new = NewLetter {
            queue: failed.queue,
            subject: key,
            tenant: None,
            message: slot_message(tx, &row).await?,
            error: &failed.error,
            chance: failed.chance,
        };
        if write_letter(tx, new).await? {
            letters.push(failed.slot);
        }
    }
    Ok(letters)
}

/// Writes the letter; an open one of the same subject gets the newest error instead. Says whether it is new.
async fn write_letter(tx: &Transaction, new: NewLetter<'_>) -> Result<bool, StoreError> {
    let of_subject = || {
        dead_letter::Entity::find()
            .filter(dead_letter::Column::Queue.eq(new.queue.as_str()))
            .filter(dead_letter::Column::Subject.eq(new.subject.clone()))
    };
    let open = of_subject()
        .filter(dead_letter::Column::EndedAt.eq(0))
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    if let Some(open) = open {
        let updated = dead_letter::Entity::update_many()
            .col_expr(dead_letter::Column::ErrorType, Expr::value(new.error.class.as_str()))
            .col_expr(dead_letter::Column::ErrorCode, Expr::value(new.error.code.as_deref()))
            .col_expr(dead_letter::Column::ErrorMessage, Expr::value(shortened(&new.error.message)))
            .col_expr(
                dead_letter::Column::Attempts,
                Expr::col(dead_letter::Column::Attempts).add(1),
            )
            .col_expr(dead_letter::Column::FailedAt, Expr::value(tx.now.as_millis()))
            .filter(dead_letter::Column::Id.eq(open.id))
            .filter(dead_letter::Column::EndedAt.eq(0))
            .exec(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        tx.expect_rows(updated.rows_affected, 1)?;
        return Ok(false);
    }
    let earlier = of_subject()
        .order_by_desc(dead_letter::Column::Id)
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let (redrives, before) =
        earlier.map_or((0, 0), |letter| (letter.redrives.saturating_add(1), letter.attempts));
    let receives = i32::try_from(RECEIVES_MAX).unwrap_or(i32::MAX);
    dead_letter::Entity::insert(letter_row(tx.now, new, redrives, before.saturating_add(receives)))
        .exec_without_returning(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    Ok(true)
}

fn letter_row(
    now: Timestamp,
    new: NewLetter<'_>,
    redrives: i32,
    attempts: i32,
) -> dead_letter::ActiveModel {
    let earlier = u32::try_from(redrives).unwrap_or(0);
    let redrive_at = new
        .error
        .class
        .is_redriven()
        .then(|| now.plus_millis(redrive_after_ms(earlier, new.chance)).as_millis());
    dead_letter::ActiveModel {
        id: ActiveValue::NotSet,
        queue: ActiveValue::Set(new.queue.as_str().to_owned()),
        subject: ActiveValue::Set(new.subject),
        tenant_id: ActiveValue::Set(new.tenant),
        message: ActiveValue::Set(new.message),
        error_type: ActiveValue::Set(new.error.class.as_str().to_owned()),
        error_code: ActiveValue::Set(new.error.code.clone()),
        error_message: ActiveValue::Set(shortened(&new.error.message).to_owned()),
        error_details: ActiveValue::Set(new.error.details.clone()),
        attempts: ActiveValue::Set(attempts),
        redrives: ActiveValue::Set(redrives),
        failed_at: ActiveValue::Set(now.as_millis()),
        redrive_at: ActiveValue::Set(redrive_at),
        ended_at: ActiveValue::Set(0),
        ended_how: ActiveValue::Set(None),
        ended_by: ActiveValue::Set(None),
        end_reason: ActiveValue::Set(None),
    }
}

/// What was to be worked on. The withdrawal's row is read column by column: it may be what is damaged.
async fn request_message(
    tx: &Transaction,
    id: WithdrawalId,
    work: &work::Model,
) -> Result<(Option<Vec<u8>>, String), StoreError> {
    let row = withdrawal::Entity::find_by_id(id.to_bytes().to_vec())
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let message = json!({
        "withdrawal_id": id.to_string(),
        "external_id": row.as_ref().map(|row| row.external_id.as_str()),
        "account_id": row.as_ref().map(|row| row.account_id.as_str()),
        "chain_id": work.chain_id,
        "amount_atomic": row.as_ref().map(|row| row.amount.as_str()),
        "to_address": row.as_ref().map(|row| hex_of(&row.to_address)),
        "status": row.as_ref().map(|row| row.state.as_str()),
        "stage": work.stage,
        "entered_at": Timestamp::from_millis(work.entered_at).to_rfc3339(),
    });
    Ok((row.map(|row| row.tenant_id), message.to_string()))
}

async fn slot_message(tx: &Transaction, row: &slot::Model) -> Result<String, StoreError> {
    let newest = attempt::Entity::find()
        .filter(attempt::Column::SlotId.eq(row.id.clone()))
        .order_by_desc(attempt::Column::Ordinal)
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let source = if row.purpose == "fill" { "SYSTEM" } else { "REQUEST" };
    let message = json!({
        "chain_id": row.chain_id,
        "sender": hex_of(&row.sender),
        "nonce": row.nonce,
        "source": source,
        "stage": row.stage,
        "hash": newest.as_ref().map(|attempt| hex_of(&attempt.hash)),
        "attempt": newest.as_ref().map(|attempt| attempt.ordinal),
        "sends": newest.as_ref().map(|attempt| attempt.sends),
    });
    Ok(message.to_string())
}

fn hex_of(bytes: &[u8]) -> String {
    alloy_primitives::hex::encode_prefixed(bytes)
}
