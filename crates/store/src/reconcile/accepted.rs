//! What reconcile cannot repair and an operator has accepted, with a reason. Where somebody else's transaction has
//! consumed a nonce of ours for good, its slot ends with that, and what was bound to it leaves it.

use alloy_primitives::B256;
use portcullis_core::id::WithdrawalId;
use portcullis_core::slot::{Purpose, Rail};
use portcullis_core::time::Timestamp;
use portcullis_core::withdrawal::{Event, HoldReason, ReleaseCause, StateCode};
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use serde::Serialize;

use super::SlotImport;
use super::slot::{bound_to_slot, import_in};
use crate::audit::{AuditEntry, append_audit};
use crate::db::{Store, Transaction, transaction};
use crate::entity::{accepted_difference, attempt};
use crate::error::StoreError;
use crate::transition::apply;
use crate::withdrawal::{WithdrawalRecord, withdrawals_by_id};

/// A difference that is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AcceptedDifference {
    /// The digest of what was seen.
    pub id: String,
    /// What kind of difference it was.
    pub kind: String,
    /// What it was about.
    pub subject: String,
    /// What was seen.
    pub detail: String,
    /// Why it is accepted.
    pub reason: String,
    /// By whom.
    pub actor: String,
    /// When.
    #[serde(serialize_with = "in_words")]
    pub at: Timestamp,
}

/// A slot that somebody else's transaction has consumed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignSlot {
    /// The slot with its end. It carries no payments any more.
    pub import: SlotImport,
    /// What was bound to it and that transaction, or another that nobody explains, may have paid: held for an operator.
    pub held: Vec<WithdrawalId>,
}

/// What became of the payments of an accepted slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Freed {
    /// They are queued again, ended where their client had asked for it, or voided by another slot.
    pub released: usize,
    /// They wait for an operator.
    pub held: usize,
}

impl Store {
    /// Every difference that was ever accepted, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn accepted_differences(&self) -> Result<Vec<AcceptedDifference>, StoreError> {
        let rows = accepted_difference::Entity::find()
            .order_by_asc(accepted_difference::Column::At)
            .order_by_asc(accepted_difference::Column::Id)
            .all(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("accepted_differences", &error))?;
        let read = |row: accepted_difference::Model| AcceptedDifference {
            id: row.id,
            kind: row.kind,
            subject: row.subject,
            detail: row.detail,
            reason: row.reason,
            actor: row.actor,
            at: Timestamp::from_millis(row.at),
        };
        Ok(rows.into_iter().map(read).collect())
    }

    /// Accepts a difference, with what it means for the slot that it is about. Its time is the transaction's.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is accepted already, or the slot moved on since it was read; nothing is
    /// written then.
    pub async fn accept_difference(
        &self,
        accepted: &AcceptedDifference,
        foreign: Option<&ForeignSlot>,
    ) -> Result<Freed, StoreError> {
        transaction!(self, "accept_difference", |tx| accept_in(&tx, accepted, foreign))
    }
}

async fn accept_in(
    tx: &Transaction,
    accepted: &AcceptedDifference,
    foreign: Option<&ForeignSlot>,
) -> Result<Freed, StoreError> {
    let known = accepted_difference::Entity::find_by_id(accepted.id.clone())
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    tx.expect_rows(u64::from(known.is_some()), 0)?;
    let row = accepted_difference::ActiveModel {
        id: ActiveValue::Set(accepted.id.clone()),
        kind: ActiveValue::Set(accepted.kind.clone()),
        subject: ActiveValue::Set(accepted.subject.clone()),
        detail: ActiveValue::Set(accepted.detail.clone()),
        reason: ActiveValue::Set(accepted.reason.clone()),
        actor: ActiveValue::Set(accepted.actor.clone()),
        at: ActiveValue::Set(tx.now.as_millis()),
    };
    accepted_difference::Entity::insert(row)
        .exec_without_returning(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let detail = format!("{} {}: {}", accepted.kind, accepted.subject, accepted.reason);
    let entry = AuditEntry {
        tenant: None,
        actor: &accepted.actor,
        action: "reconcile.accept",
        subject: &accepted.id,
        detail: &detail,
    };
    append_audit(tx, &entry).await?;
    match foreign {
        Some(foreign) => end_foreign_slot(tx, foreign).await,
        None => Ok(Freed::default()),
    }
}

async fn end_foreign_slot(tx: &Transaction, foreign: &ForeignSlot) -> Result<Freed, StoreError> {
    let import = &foreign.import;
    // It is final evidence or none (invariant 4), and nothing of ours is paid by it.
    let Some(end) = import.end.filter(|_| import.payments.is_empty()) else {
        return Err(StoreError::Conflict { during: tx.name, expected: 1, found: 0 });
    };
    let hash = end.hash;
    let bound = bound_to_slot(tx, import.slot).await?;
    let release = |record: &WithdrawalRecord| match import.purpose {
        Purpose::Void => ReleaseCause::NotVoided,
        Purpose::Pay | Purpose::Fill => ReleaseCause::Canceled {
            // What rode the vault is refunded when its number is void, and what may be paid when somebody says so.
            requested: record.cancel_requested
                && import.rail == Rail::Direct
                && !foreign.held.contains(&record.id),
        },
    };
    let moves: Vec<_> = bound
        .iter()
        .map(|record| {
            let detail = format!("its nonce was consumed by {hash}, which is not ours");
            (record, Event::Released(release(record)), Some(detail))
        })
        .collect();
    apply(tx, &moves).await?;
    import_in(tx, import).await?;
    name_attempt(tx, hash).await?;
    let held: Vec<WithdrawalId> =
        bound.iter().map(|record| record.id).filter(|id| foreign.held.contains(id)).collect();
    let held = withdrawals_by_id(&tx.inner, tx.name, &held).await?;
    let detail = format!("{hash} may have paid it: refund it, or let it go on");
    let moves: Vec<_> = held
        .iter()
        .filter(|record| record.state.code() != StateCode::Held)
        .map(|record| (record, Event::Held(HoldReason::Restore), Some(detail.clone())))
        .collect();
    apply(tx, &moves).await?;
    Ok(Freed { released: bound.len().saturating_sub(moves.len()), held: moves.len() })
}

/// The transaction is no attempt of ours, and whoever looks at the slot is told so.
async fn name_attempt(tx: &Transaction, hash: B256) -> Result<(), StoreError> {
    let named = attempt::Entity::update_many()
        .col_expr(
            attempt::Column::LastOutcome,
            Expr::value("not ours, and accepted by an operator"),
        )
        .filter(attempt::Column::Hash.eq(hash.to_vec()))
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    tx.expect_rows(named.rows_affected, 1)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands every field over by reference")]
fn in_words<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.to_rfc3339())
}
