//! The deployment, its epoch, and the halts that stop the engine.

use portcullis_core::id::DeploymentId;
use portcullis_core::time::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};

use crate::audit::{AuditEntry, append_audit};
use crate::convert::{Place, bigint};
use crate::db::{Source, Store, Transaction, transaction};
use crate::dialect::{close_halt_gate, share_halt_gate};
use crate::entity::{deployment, halt};
use crate::error::StoreError;
use crate::trip::Write;

/// The installation that this database belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// The domain of its seals and refs.
    pub id: DeploymentId,
    /// Counts its restores, from 1.
    pub epoch: u64,
}

/// A reason why the engine signs nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halt {
    /// Its row.
    pub id: i64,
    /// One stable word.
    pub reason: String,
    /// What was seen, and what to do.
    pub detail: String,
    /// Since when.
    pub raised_at: Timestamp,
}

impl Store {
    /// The deployment, once it is founded.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn deployment(&self) -> Result<Option<Deployment>, StoreError> {
        let row = deployment::Entity::find_by_id(1)
            .one(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("deployment", &error))?;
        row.map(|row| read_deployment(&row)).transpose()
    }

    /// Founds the deployment at the first start; later starts get the one that there is.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn found_deployment(&self, id: DeploymentId) -> Result<Deployment, StoreError> {
        // A start needs the write lock only once.
        if let Some(known) = self.deployment().await? {
            return Ok(known);
        }
        transaction!(self, "found_deployment", |tx| found_in(&tx, id))
    }

    /// The halts in force, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn halts(&self) -> Result<Vec<Halt>, StoreError> {
        let rows = halt::Entity::find()
            .filter(halt::Column::ClearedAt.is_null())
            .order_by_asc(halt::Column::Id)
            .all(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("halts", &error))?;
        Ok(rows.into_iter().map(read_halt).collect())
    }

    /// Stops the engine: nothing is bound or signed until an operator clears it. While a reason is in
    /// force it is not raised again; what it says stays as it was first seen.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn raise_halt(&self, reason: &str, detail: &str) -> Result<(), StoreError> {
        if self.halts().await?.iter().any(|halt| halt.reason == reason) {
            return Ok(());
        }
        tracing::error!(
            reason,
            detail,
            "the engine is halted: nothing is signed until an operator decides"
        );
        transaction!(self, "raise_halt", |tx| raise_in(&tx, reason, detail))
    }

    /// Lets the engine go on, with the reason that an operator gives.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn clear_halt(&self, id: i64, actor: &str, why: &str) -> Result<bool, StoreError> {
        transaction!(self, "clear_halt", |tx| clear_in(&tx, id, actor, why))
    }
}

async fn found_in(tx: &Transaction, id: DeploymentId) -> Result<Deployment, StoreError> {
    let known = deployment::Entity::find_by_id(1)
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    if let Some(row) = known {
        return read_deployment(&row);
    }
    let row = deployment::ActiveModel {
        id: ActiveValue::Set(1),
        deployment_id: ActiveValue::Set(id.to_bytes().to_vec()),
        epoch: ActiveValue::Set(1),
        sequence_next: ActiveValue::Set(1),
        created_at: ActiveValue::Set(tx.now.as_millis()),
    };
    deployment::Entity::insert(row)
        .exec_without_returning(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    Ok(Deployment { id, epoch: 1 })
}

/// Asks for the row that payout numbers are taken from.
pub(crate) fn numbers() -> Select<deployment::Entity> {
    deployment::Entity::find_by_id(1)
}

/// Takes the next `count` payout numbers; returns the epoch and the first sequence.
pub(crate) async fn take_numbers(tx: &Transaction, count: u64) -> Result<(u64, u64), StoreError> {
    let query = tx.inner.holding_named(numbers());
    let row = query.one(&tx.inner).await.map_err(|error| tx.failed(&error))?;
    let (taken, write) = numbers_write(row.as_ref(), count)?;
    tx.write_together(vec![write]).await?;
    Ok(taken)
}

/// The next `count` payout numbers (the epoch and the first sequence), and what takes them.
pub(crate) fn numbers_write(
    row: Option<&deployment::Model>,
    count: u64,
) -> Result<((u64, u64), Write), StoreError> {
    let row = row.ok_or_else(|| {
        StoreError::corrupt("deployment", "id", &1, &"the deployment is not founded")
    })?;
    let next = row.sequence_next.checked_add(bigint(count)).ok_or_else(|| {
        StoreError::corrupt(
            "deployment",
            "sequence_next",
            &1,
            &"all numbers of this epoch are given",
        )
    })?;
    let moved = deployment::Entity::update_many()
        .col_expr(deployment::Column::SequenceNext, Expr::value(next))
        .filter(deployment::Column::Id.eq(1))
        .filter(deployment::Column::SequenceNext.eq(row.sequence_next))
        .filter(deployment::Column::Epoch.eq(row.epoch));
    let place = Place { table: "deployment", row: &[1] };
    let taken =
        (place.unsigned("epoch", row.epoch)?, place.unsigned("sequence_next", row.sequence_next)?);
    Ok((taken, Write::new(moved, 1)))
}

/// No halt is raised between the look at them and the end of this transaction: whoever is told that the engine is halted
/// finds that nothing is bound afterwards.
pub(crate) async fn hold_off_halts(tx: &Transaction) -> Result<(), StoreError> {
    if tx.is_alone() {
        return Ok(());
    }
    share_halt_gate(&tx.inner).await.map_err(|error| tx.failed(&error))
}

/// Refuses to go on while a halt is in force: checked in the transaction that binds.
pub(crate) async fn refuse_while_halted(tx: &Transaction) -> Result<(), StoreError> {
    hold_off_halts(tx).await?;
    let halted = halt::Entity::find()
        .filter(halt::Column::ClearedAt.is_null())
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    match halted {
        Some(halt) => Err(StoreError::Halted { reason: halt.reason }),
        None => Ok(()),
    }
}

/// Halts that say that this database may be an old one: a request that it does not know may be paid.
const RESTORED: [&str; 2] = ["restore", "journal"];

/// Asks for such a halt that is in force, behind [`hold_off_halts`].
pub(crate) fn restored() -> Select<halt::Entity> {
    halt::Entity::find()
        .filter(halt::Column::ClearedAt.is_null())
        .filter(halt::Column::Reason.is_in(RESTORED))
        .limit(1)
}

/// Refuses new requests while there is one (invariant 12).
pub(crate) fn refuse_restored(restored: Vec<halt::Model>) -> Result<(), StoreError> {
    match restored.into_iter().next() {
        Some(halt) => Err(StoreError::Halted { reason: halt.reason }),
        None => Ok(()),
    }
}

pub(crate) async fn raise_in(
    tx: &Transaction,
    reason: &str,
    detail: &str,
) -> Result<(), StoreError> {
    if !tx.is_alone() {
        close_halt_gate(&tx.inner).await.map_err(|error| tx.failed(&error))?;
    }
    let known = halt::Entity::find()
        .filter(halt::Column::ClearedAt.is_null())
        .filter(halt::Column::Reason.eq(reason))
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    if known.is_some() {
        return Ok(());
    }
    let row = halt::ActiveModel {
        id: ActiveValue::NotSet,
        reason: ActiveValue::Set(reason.to_owned()),
        detail: ActiveValue::Set(detail.to_owned()),
        raised_at: ActiveValue::Set(tx.now.as_millis()),
        cleared_at: ActiveValue::Set(None),
        cleared_with: ActiveValue::Set(None),
    };
    halt::Entity::insert(row)
        .exec_without_returning(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let entry =
        AuditEntry { tenant: None, actor: "engine", action: "halt.raise", subject: reason, detail };
    append_audit(tx, &entry).await
}

async fn clear_in(tx: &Transaction, id: i64, actor: &str, why: &str) -> Result<bool, StoreError> {
    let cleared = halt::Entity::update_many()
        .col_expr(halt::Column::ClearedAt, Expr::value(tx.now.as_millis()))
        .col_expr(halt::Column::ClearedWith, Expr::value(why))
        .filter(halt::Column::Id.eq(id))
        .filter(halt::Column::ClearedAt.is_null())
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    if cleared.rows_affected == 0 {
        return Ok(false);
    }
    let subject = id.to_string();
    let entry =
        AuditEntry { tenant: None, actor, action: "halt.clear", subject: &subject, detail: why };
    append_audit(tx, &entry).await?;
    Ok(true)
}

fn read_deployment(row: &deployment::Model) -> Result<Deployment, StoreError> {
    let place = Place { table: "deployment", row: &[1] };
    Ok(Deployment {
        id: DeploymentId::from_bytes(place.id("deployment_id", &row.deployment_id)?),
        epoch: place.unsigned("epoch", row.epoch)?,
    })
}

fn read_halt(row: halt::Model) -> Halt {
    Halt {
        id: row.id,
        reason: row.reason,
        detail: row.detail,
        raised_at: Timestamp::from_millis(row.raised_at),
    }
}
