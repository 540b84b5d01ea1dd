//! The ends of letters. None of them touches what a slot carries.

use portcullis_core::id::WithdrawalId;
use portcullis_core::slot::SlotStage;
use portcullis_core::withdrawal::HoldReason;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::write::NEVER_MS;
use super::{DeadLetterQueue, LetterEnd, LetterOutcome};
use crate::audit::{AuditEntry, append_audit};
use crate::convert::Place;
use crate::db::{Source, Transaction};
use crate::entity::{dead_letter, slot, work};
use crate::error::StoreError;
use crate::quarantine::hold_unread;
use crate::sender::UNMINED;

/// Letters that one look at resolved ones takes.
const LOOK_MAX: u64 = 500;

pub(super) async fn redrive_in(
    tx: &Transaction,
    id: i64,
    actor: &str,
    reason: &str,
) -> Result<LetterOutcome, StoreError> {
    let letter = match open_letter(tx, id).await? {
        Ok(letter) => letter,
        Err(outcome) => return Ok(outcome),
    };
    match DeadLetterQueue::parse(&letter.queue) {
        Some(DeadLetterQueue::Request) => {
            work::Entity::update_many()
                .col_expr(work::Column::DueAt, Expr::value(tx.now.as_millis()))
                .col_expr(work::Column::Receives, Expr::value(0))
                .filter(work::Column::WithdrawalId.eq(letter.subject.clone()))
                .filter(work::Column::DueAt.eq(NEVER_MS))
                .exec(&tx.inner)
                .await
                .map_err(|error| tx.failed(&error))?;
        }
        _ => {
            slot::Entity::update_many()
                .col_expr(slot::Column::DueAt, Expr::value(tx.now.as_millis()))
                .col_expr(slot::Column::Receives, Expr::value(0))
                .filter(slot::Column::Id.eq(letter.subject.clone()))
                .exec(&tx.inner)
                .await
                .map_err(|error| tx.failed(&error))?;
        }
    }
    end_letter(tx, &letter, LetterEnd::Redriven, actor, reason).await?;
    Ok(LetterOutcome::Done)
}

pub(super) async fn discard_in(
    tx: &Transaction,
    id: i64,
    actor: &str,
    reason: &str,
) -> Result<LetterOutcome, StoreError> {
    let letter = match open_letter(tx, id).await? {
        Ok(letter) => letter,
        Err(outcome) => return Ok(outcome),
    };
    end_letter(tx, &letter, LetterEnd::Discarded, actor, reason).await?;
    if DeadLetterQueue::parse(&letter.queue) != Some(DeadLetterQueue::Request) {
        return Ok(LetterOutcome::Done);
    }
    let place = Place { table: "dead_letters", row: &letter.subject };
    let withdrawal = WithdrawalId::from_bytes(place.id("subject", &letter.subject)?);
    let detail = format!("its dead letter was discarded by {actor}: {reason}");
    if hold_unread(tx, &letter.subject, HoldReason::Failing, &detail).await? {
        return Ok(LetterOutcome::Held(withdrawal));
    }
    Ok(LetterOutcome::Done)
}

async fn open_letter(
    tx: &Transaction,
    id: i64,
) -> Result<Result<dead_letter::Model, LetterOutcome>, StoreError> {
    let row = dead_letter::Entity::find_by_id(id)
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    Ok(match row {
        None => Err(LetterOutcome::Unknown),
        Some(row) if row.ended_at != 0 => Err(LetterOutcome::Ended),
        Some(row) => Ok(row),
    })
}

async fn end_letter(
    tx: &Transaction,
    letter: &dead_letter::Model,
    how: LetterEnd,
    actor: &str,
    reason: &str,
) -> Result<(), StoreError> {
    let ended = dead_letter::Entity::update_many()
        .col_expr(dead_letter::Column::EndedAt, Expr::value(std::cmp::max(tx.now.as_millis(), 1)))
        .col_expr(dead_letter::Column::EndedHow, Expr::value(how.as_str()))
        .col_expr(dead_letter::Column::EndedBy, Expr::value(actor))
        .col_expr(dead_letter::Column::EndReason, Expr::value(reason))
        .filter(dead_letter::Column::Id.eq(letter.id))
        .filter(dead_letter::Column::EndedAt.eq(0))
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    tx.expect_rows(ended.rows_affected, 1)?;
    let subject = format!("{}:{}", letter.queue, letter.id);
    let action = format!("dead-letter.{}", how.as_str());
    let entry =
        AuditEntry { tenant: None, actor, action: &action, subject: &subject, detail: reason };
    append_audit(tx, &entry).await
}

/// Open letters whose work has gone on: a request whose work row is due again, moved on or is gone, and a slot that a
/// block consumed or a provider took since.
pub(super) async fn find_resolved<C: Source>(connection: &C) -> Result<Vec<i64>, StoreError> {
    let during = "tidy_dead_letters";
    let failed = |error| StoreError::of_statement(during, &error);
    let letters = dead_letter::Entity::find()
        .filter(dead_letter::Column::EndedAt.eq(0))
        .order_by_asc(dead_letter::Column::Id)
        .limit(LOOK_MAX)
        .all(connection)
        .await
        .map_err(failed)?;
    let mut resolved = Vec::new();
    for letter in letters {
        let stands = match DeadLetterQueue::parse(&letter.queue) {
            Some(DeadLetterQueue::Request) => work::Entity::find_by_id(letter.subject.clone())
                .filter(work::Column::DueAt.eq(NEVER_MS))
                .one(connection)
                .await
                .map_err(failed)?
                .is_some(),
            Some(DeadLetterQueue::SignedTx) => slot::Entity::find_by_id(letter.subject.clone())
                .filter(slot::Column::Stage.is_in(UNMINED))
                .filter(slot::Column::Receives.gt(0))
                .one(connection)
                .await
                .map_err(failed)?
                .is_some(),
            _ => slot::Entity::find_by_id(letter.subject.clone())
                .filter(slot::Column::Stage.ne(SlotStage::Final.as_str()))
                .filter(slot::Column::Receives.gt(0))
                .one(connection)
                .await
                .map_err(failed)?
                .is_some(),
        };
        if !stands {
            resolved.push(letter.id);
        }
    }
    Ok(resolved)
}

pub(super) async fn has_ended_before<C: Source>(
    connection: &C,
    before: portcullis_core::time::Timestamp,
) -> Result<bool, StoreError> {
    let found = dead_letter::Entity::find()
        .filter(dead_letter::Column::EndedAt.gt(0))
        .filter(dead_letter::Column::EndedAt.lt(before.as_millis()))
        .limit(1)
        .one(connection)
        .await
        .map_err(|error| StoreError::of_statement("tidy_dead_letters", &error))?;
    Ok(found.is_some())
}

pub(super) async fn tidy_in(
    tx: &Transaction,
    resolved: &[i64],
    before: portcullis_core::time::Timestamp,
) -> Result<usize, StoreError> {
    let mut ended = 0;
    for id in resolved {
        if let Ok(letter) = open_letter(tx, *id).await? {
            let reason = "its work went on";
            end_letter(tx, &letter, LetterEnd::Resolved, "recovery", reason).await?;
            ended += 1;
        }
    }
    dead_letter::Entity::delete_many()
        .filter(dead_letter::Column::EndedAt.gt(0))
        .filter(dead_letter::Column::EndedAt.lt(before.as_millis()))
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    Ok(ended)
}
