//! Setting a damaged row aside, so that one withdrawal that cannot be read never stops the others.

use portcullis_core::id::WithdrawalId;
use portcullis_core::withdrawal::{HoldReason, StateCode};
use sea_orm::sea_query::{Expr, ExprTrait, Func};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use crate::audit::{AuditEntry, append_audit};
use crate::db::{Store, Transaction, transaction};
use crate::entity::{withdrawal, work};
use crate::error::StoreError;
use crate::timeline;
use crate::transition::Stage;

/// States without a binding: nothing was signed, so nothing is under way.
const UNBOUND: [&str; 4] = [
    StateCode::Pending.as_str(),
    StateCode::Validating.as_str(),
    StateCode::AwaitingApproval.as_str(),
    StateCode::Queued.as_str(),
];

impl Store {
    /// Holds a withdrawal whose row cannot be read, without reading it. `false` when it is bound to a
    /// slot or ended: then it is no longer a matter of one row.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn quarantine(&self, id: WithdrawalId, problem: &str) -> Result<bool, StoreError> {
        transaction!(self, "quarantine", |tx| quarantine_in(&tx, id, problem))
    }
}

async fn quarantine_in(
    tx: &Transaction,
    id: WithdrawalId,
    problem: &str,
) -> Result<bool, StoreError> {
    if !hold_unread(tx, &id.to_bytes(), HoldReason::Tamper, problem).await? {
        return Ok(false);
    }
    let subject = id.to_string();
    let entry = AuditEntry {
        tenant: None,
        actor: "engine",
        action: "withdrawal.quarantine",
        subject: &subject,
        detail: problem,
    };
    append_audit(tx, &entry).await?;
    Ok(true)
}

/// Holds an unbound withdrawal without reading its row, which may be what is damaged. A bound one goes on, and it says
/// `false`.
pub(crate) async fn hold_unread(
    tx: &Transaction,
    key: &[u8],
    reason: HoldReason,
    detail: &str,
) -> Result<bool, StoreError> {
    let line = timeline::line(tx.now, "held", Some(detail));
    let appended =
        Func::cust("CONCAT").arg(Expr::col(withdrawal::Column::Timeline)).arg(Expr::value(line));
    let held = withdrawal::Entity::update_many()
        .col_expr(withdrawal::Column::State, Expr::value(StateCode::Held.as_str()))
        .col_expr(withdrawal::Column::Reason, Expr::value(reason.as_str()))
        .col_expr(withdrawal::Column::Timeline, appended.into())
        .col_expr(
            withdrawal::Column::EventSequence,
            Expr::col(withdrawal::Column::EventSequence).add(1),
        )
        .col_expr(withdrawal::Column::UpdatedAt, Expr::value(tx.now.as_millis()))
        .filter(withdrawal::Column::Id.eq(key.to_vec()))
        .filter(withdrawal::Column::State.is_in(UNBOUND))
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    if held.rows_affected == 0 {
        return Ok(false);
    }
    let moved = work::Entity::update_many()
        .col_expr(work::Column::Stage, Expr::value(Stage::Held.as_str()))
        .col_expr(work::Column::DueAt, Expr::value(tx.now.as_millis()))
        .col_expr(work::Column::Receives, Expr::value(0))
        .filter(work::Column::WithdrawalId.eq(key.to_vec()))
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    tx.expect_rows(moved.rows_affected, 1)?;
    Ok(true)
}
