//! Moves a withdrawal to where the evidence puts it, from wherever the database has it: the one way around the table
//! of states, and only for reconcile.

use portcullis_core::id::SlotId;
use portcullis_core::ledger::{Bucket, PostingKind};
use portcullis_core::slot::ItemOutcome;
use portcullis_core::turn::head_start_ms;
use portcullis_core::withdrawal::{FailureReason, State, StateCode};
use sea_orm::sea_query::{Expr, ExprTrait, Func};
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter};

use crate::convert::bigint;
use crate::db::Transaction;
use crate::entity::{binding, withdrawal, work};
use crate::error::StoreError;
use crate::ledger::{NewPosting, post};
use crate::timeline;
use crate::transition::{Stage, purse_of};
use crate::withdrawal::WithdrawalRecord;

/// Where the evidence puts a withdrawal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Truth {
    /// No slot carries it.
    Unbound,
    /// Bytes of it may be anywhere.
    Sent,
    /// It was paid as far as we knew, and its slot is looked at again.
    Reopened,
    /// Paid, for good.
    Paid,
    /// Its transaction reverted, for good.
    Reverted,
    /// Its number is used up in the vault without a payment, for good.
    Voided,
}

impl Truth {
    const fn code(self) -> StateCode {
        match self {
            Self::Unbound => StateCode::Queued,
            Self::Sent | Self::Reopened => StateCode::Broadcasted,
            Self::Paid => StateCode::Confirmed,
            Self::Reverted => StateCode::Failed,
            Self::Voided => StateCode::Canceled,
        }
    }

    const fn bucket(self) -> Bucket {
        match self {
            Self::Unbound | Self::Sent | Self::Reopened => Bucket::Held,
            Self::Paid => Bucket::Paid,
            Self::Reverted | Self::Voided => Bucket::Available,
        }
    }

    pub(crate) const fn stage(self) -> Option<Stage> {
        match self {
            // Policy looks at it anew.
            Self::Unbound => Some(Stage::Validate),
            Self::Sent | Self::Reopened => Some(Stage::Monitor),
            Self::Paid | Self::Reverted | Self::Voided => None,
        }
    }
}

/// In which bucket the money of a withdrawal is.
const fn bucket_of(state: &State) -> Bucket {
    match state.code() {
        StateCode::Confirmed => Bucket::Paid,
        StateCode::Rejected | StateCode::Canceled | StateCode::Failed => Bucket::Available,
        _ => Bucket::Held,
    }
}

/// The postings that bring money from one bucket to another.
pub(crate) fn between(from: Bucket, to: Bucket) -> Vec<PostingKind> {
    match (from, to) {
        (Bucket::Available, Bucket::Held) => vec![PostingKind::Reserve],
        (Bucket::Available, Bucket::Paid) => vec![PostingKind::Reserve, PostingKind::Settle],
        (Bucket::Held, Bucket::Paid) => vec![PostingKind::Settle],
        (Bucket::Held, Bucket::Available) => vec![PostingKind::Release],
        (Bucket::Paid, Bucket::Held) => vec![PostingKind::Unsettle],
        (Bucket::Paid, Bucket::Available) => vec![PostingKind::Unsettle, PostingKind::Release],
        _ => Vec::new(),
    }
}

/// Whether the record stands there already. What is on its way, or held in its slot, is the monitor's.
fn stands_there(record: &WithdrawalRecord, slot: SlotId, truth: Truth) -> bool {
    let in_slot = record.state.slot() == Some(slot);
    match truth {
        Truth::Unbound => record.state.slot().is_none() && bucket_of(&record.state) == Bucket::Held,
        Truth::Sent => {
            in_slot
                && matches!(
                    record.state,
                    State::Broadcasted { .. }
                        | State::Confirming { .. }
                        | State::Confirmed { .. }
                        | State::Held { .. }
                )
        }
        Truth::Reopened => false,
        Truth::Paid => {
            in_slot && matches!(record.state, State::Confirmed { .. } | State::Held { .. })
        }
        Truth::Voided => {
            matches!(record.state, State::Canceled | State::Rejected | State::Failed { .. })
        }
        Truth::Reverted => {
            matches!(record.state, State::Failed { reason: FailureReason::Reverted })
        }
    }
}

/// Moves a withdrawal to the truth, with its money and its work row. Its bindings are the caller's.
pub(crate) async fn place(
    tx: &Transaction,
    record: &WithdrawalRecord,
    slot: SlotId,
    truth: Truth,
    detail: &str,
) -> Result<(), StoreError> {
    let id = record.id.to_bytes().to_vec();
    if stands_there(record, slot, truth) {
        if truth == Truth::Paid && matches!(record.state, State::Confirmed { .. }) {
            write_work(tx, record, None).await?;
        }
        return Ok(());
    }
    let line = timeline::line(tx.now, "reconciled", Some(detail));
    let appended =
        Func::cust("CONCAT").arg(Expr::col(withdrawal::Column::Timeline)).arg(Expr::value(line));
    let reason = (truth == Truth::Reverted).then(|| FailureReason::Reverted.as_str());
    let moved = withdrawal::Entity::update_many()
        .col_expr(withdrawal::Column::State, Expr::value(truth.code().as_str()))
        .col_expr(withdrawal::Column::Reason, Expr::value(reason))
        .col_expr(
            withdrawal::Column::EventSequence,
            Expr::col(withdrawal::Column::EventSequence).add(1),
        )
        .col_expr(withdrawal::Column::Timeline, appended.into())
        .col_expr(withdrawal::Column::UpdatedAt, Expr::value(tx.now.as_millis()))
        .filter(withdrawal::Column::Id.eq(id))
        .filter(withdrawal::Column::State.eq(record.state.code().as_str()))
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    tx.expect_rows(moved.rows_affected, 1)?;
    write_work(tx, record, truth.stage()).await?;
    let postings = between(bucket_of(&record.state), truth.bucket());
    // One by one: what is reserved by the first is settled by the second.
    for kind in postings {
        let posting = NewPosting {
            purse: purse_of(record),
            kind,
            amount: record.amount,
            subject: record.id.to_bytes(),
        };
        post(tx, vec![posting]).await?;
    }
    Ok(())
}

/// The work row of a withdrawal, made anew: it may be gone.
pub(crate) async fn write_work(
    tx: &Transaction,
    record: &WithdrawalRecord,
    stage: Option<Stage>,
) -> Result<(), StoreError> {
    let id = record.id.to_bytes();
    work::Entity::delete_many()
        .filter(work::Column::WithdrawalId.eq(id.to_vec()))
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let Some(stage) = stage else { return Ok(()) };
    let row = work::ActiveModel {
        withdrawal_id: ActiveValue::Set(id.to_vec()),
        chain_id: ActiveValue::Set(bigint(record.chain_id)),
        stage: ActiveValue::Set(stage.as_str().to_owned()),
        shard: ActiveValue::Set(i32::from(id[15])),
        priority: ActiveValue::Set(record.priority.rank()),
        due_at: ActiveValue::Set(tx.now.as_millis()),
        receives: ActiveValue::Set(0),
        trace: ActiveValue::Set(None),
        entered_at: ActiveValue::Set(tx.now.as_millis()),
        // It was accepted before anything that waits.
        turn_at: ActiveValue::Set(
            record.created_at.plus_millis(-head_start_ms(record.priority)).as_millis(),
        ),
    };
    work::Entity::insert(row)
        .exec_without_returning(&tx.inner)
        .await
        .map(|_| ())
        .map_err(|error| tx.failed(&error))
}

/// Ends the live binding of a withdrawal, whatever slot it leads to, but for `keep`.
pub(crate) async fn unbind(
    tx: &Transaction,
    withdrawal: &[u8],
    keep: Option<SlotId>,
) -> Result<(), StoreError> {
    let failed = |error| tx.failed(&error);
    let rows = binding::Entity::find()
        .filter(binding::Column::WithdrawalId.eq(withdrawal.to_vec()))
        .all(&tx.inner)
        .await
        .map_err(failed)?;
    let kept = keep.map(|slot| slot.to_bytes().to_vec());
    for row in rows.iter().filter(|row| row.released_at == 0) {
        if kept.as_ref() == Some(&row.slot_id) {
            continue;
        }
        // Two releases may fall into one millisecond, and each needs its own mark.
        let mut released_at = std::cmp::Ord::max(tx.now.as_millis(), 1);
        while rows.iter().any(|other| other.released_at == released_at) {
            released_at = released_at.saturating_add(1);
        }
        let released = binding::Entity::update_many()
            .col_expr(binding::Column::ReleasedAt, Expr::value(released_at))
            .filter(binding::Column::SlotId.eq(row.slot_id.clone()))
            .filter(binding::Column::Position.eq(row.position))
            .filter(binding::Column::ReleasedAt.eq(0))
            .exec(&tx.inner)
            .await
            .map_err(failed)?;
        tx.expect_rows(released.rows_affected, 1)?;
    }
    Ok(())
}

/// Writes down that the vault paid this item of the slot.
pub(crate) async fn mark_item_paid(
    tx: &Transaction,
    withdrawal: &[u8],
    slot: SlotId,
) -> Result<(), StoreError> {
    let written = binding::Entity::update_many()
        .col_expr(binding::Column::Item, Expr::value(ItemOutcome::Paid.as_str()))
        .filter(binding::Column::SlotId.eq(slot.to_bytes().to_vec()))
        .filter(binding::Column::WithdrawalId.eq(withdrawal.to_vec()))
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    tx.expect_rows(written.rows_affected, 1)
}

/// Binds a withdrawal to a slot, or again. Whether it joined: it was not bound to it before.
pub(crate) async fn bind(
    tx: &Transaction,
    withdrawal: &[u8],
    slot: SlotId,
) -> Result<bool, StoreError> {
    unbind(tx, withdrawal, Some(slot)).await?;
    let slot_id = slot.to_bytes().to_vec();
    let rows = binding::Entity::find()
        .filter(binding::Column::SlotId.eq(slot_id.clone()))
        .all(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    if let Some(row) = rows.iter().find(|row| row.withdrawal_id == withdrawal) {
        binding::Entity::update_many()
            .col_expr(binding::Column::ReleasedAt, Expr::value(0))
            .filter(binding::Column::SlotId.eq(slot_id))
            .filter(binding::Column::Position.eq(row.position))
            .exec(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        return Ok(row.released_at != 0);
    }
    let next = rows.iter().map(|row| row.position).max().map_or(0, |most| most.saturating_add(1));
    let row = binding::ActiveModel {
        slot_id: ActiveValue::Set(slot_id),
        position: ActiveValue::Set(next),
        withdrawal_id: ActiveValue::Set(withdrawal.to_vec()),
        released_at: ActiveValue::Set(0),
        item: ActiveValue::Set(None),
    };
    binding::Entity::insert(row)
        .exec_without_returning(&tx.inner)
        .await
        .map(|_| true)
        .map_err(|error| tx.failed(&error))
}

/// Nothing was ever signed for the withdrawal in that slot: it never rode it.
pub(super) async fn forget_binding(
    tx: &Transaction,
    slot: SlotId,
    withdrawal: &[u8],
) -> Result<(), StoreError> {
    binding::Entity::delete_many()
        .filter(binding::Column::SlotId.eq(slot.to_bytes().to_vec()))
        .filter(binding::Column::WithdrawalId.eq(withdrawal.to_vec()))
        .filter(binding::Column::ReleasedAt.ne(0))
        .exec(&tx.inner)
        .await
        .map(|_| ())
        .map_err(|error| tx.failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_goes_from_any_bucket_of_a_withdrawal_to_any_other() {
        let buckets = [Bucket::Available, Bucket::Held, Bucket::Paid];
        for from in buckets {
            for to in buckets {
                let mut at = from;
                for kind in between(from, to) {
                    let (gives, takes) = kind.buckets();
                    assert_eq!(gives, at, "{from:?} to {to:?}");
                    at = takes;
                }
                assert_eq!(at, to, "{from:?} to {to:?}");
            }
        }
    }
}
