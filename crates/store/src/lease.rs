//! Leases with fencing tokens: one writer per name, whatever sleeps or wakes late.

use std::collections::BTreeMap;

use portcullis_core::time::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter};

use crate::convert::{Place, bigint};
use crate::db::{Source, Store, Transaction, transaction};
use crate::entity::lease;
use crate::error::StoreError;

/// The right to write under a name until it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What it is for: `sender:137:0x…`, `monitor:137`.
    pub name: String,
    /// Who has it.
    pub holder: String,
    /// Counts the times that it changed hands.
    pub fence: u64,
    /// By the database's clock.
    pub expires_at: Timestamp,
}

impl Store {
    /// Takes or prolongs leases for `holder`; those that others hold are absent from the answer.
    /// A holder `identity#incarnation` takes over at once what an earlier incarnation held. The fence
    /// rises whenever a lease was not held by the same holder without a break.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn acquire_leases(
        &self,
        names: &[String],
        holder: &str,
        ttl_ms: i64,
    ) -> Result<Vec<Lease>, StoreError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        transaction!(self, "acquire_leases", |tx| acquire_in(&tx, names, holder, ttl_ms))
    }

    /// Gives leases back before they expire; a graceful stop does.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn release_leases(&self, leases: &[Lease]) -> Result<(), StoreError> {
        if leases.is_empty() {
            return Ok(());
        }
        transaction!(self, "release_leases", |tx| release_in(&tx, leases))
    }
}

async fn acquire_in(
    tx: &Transaction,
    names: &[String],
    holder: &str,
    ttl_ms: i64,
) -> Result<Vec<Lease>, StoreError> {
    let known = load(tx, names).await?;
    let expires_at = tx.now.plus_millis(ttl_ms);
    let mut leases = Vec::with_capacity(names.len());
    let mut prolonged = Vec::new();
    for name in names {
        let fence = match known.get(name) {
            None => {
                insert(tx, name, holder, expires_at).await?;
                1
            }
            Some(row) if row.expires_at <= tx.now.as_millis() => {
                take_over(tx, row, holder, expires_at).await?
            }
            Some(row) if row.holder == holder => {
                prolonged.push(name.clone());
                row.fence
            }
            Some(row) if identity_of(&row.holder) == identity_of(holder) => {
                take_over(tx, row, holder, expires_at).await?
            }
            Some(_) => continue,
        };
        let place = Place { table: "leases", row: name.as_bytes() };
        leases.push(Lease {
            name: name.clone(),
            holder: holder.to_owned(),
            fence: place.unsigned("fence", fence)?,
            expires_at,
        });
    }
    if !prolonged.is_empty() {
        let written = lease::Entity::update_many()
            .col_expr(lease::Column::ExpiresAt, Expr::value(expires_at.as_millis()))
            .filter(lease::Column::Name.is_in(prolonged.iter().cloned()))
            .filter(lease::Column::Holder.eq(holder))
            .exec(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        tx.expect_rows(written.rows_affected, prolonged.len())?;
    }
    Ok(leases)
}

/// What a holder `identity#incarnation` keeps over a restart. The fence of a take-over shuts the
/// incarnation before out, dead or not; a holder without a `#` is its own identity.
fn identity_of(holder: &str) -> &str {
    holder.split_once('#').map_or(holder, |(identity, _)| identity)
}

async fn load(
    tx: &Transaction,
    names: &[String],
) -> Result<BTreeMap<String, lease::Model>, StoreError> {
    let query = lease::Entity::find().filter(lease::Column::Name.is_in(names.iter().cloned()));
    let rows =
        tx.inner.holding_named(query).all(&tx.inner).await.map_err(|error| tx.failed(&error))?;
    Ok(rows.into_iter().map(|row| (row.name.clone(), row)).collect())
}

async fn insert(
    tx: &Transaction,
    name: &str,
    holder: &str,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    let row = lease::ActiveModel {
        name: ActiveValue::Set(name.to_owned()),
        holder: ActiveValue::Set(holder.to_owned()),
        fence: ActiveValue::Set(1),
        expires_at: ActiveValue::Set(expires_at.as_millis()),
    };
    lease::Entity::insert(row)
        .exec_without_returning(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    Ok(())
}

async fn take_over(
    tx: &Transaction,
    row: &lease::Model,
    holder: &str,
    expires_at: Timestamp,
) -> Result<i64, StoreError> {
    let fence = row.fence.saturating_add(1);
    let taken = lease::Entity::update_many()
        .col_expr(lease::Column::Holder, Expr::value(holder))
        .col_expr(lease::Column::Fence, Expr::value(fence))
        .col_expr(lease::Column::ExpiresAt, Expr::value(expires_at.as_millis()))
        .filter(lease::Column::Name.eq(row.name.as_str()))
        .filter(lease::Column::Fence.eq(row.fence))
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    tx.expect_rows(taken.rows_affected, 1)?;
    Ok(fence)
}

async fn release_in(tx: &Transaction, leases: &[Lease]) -> Result<(), StoreError> {
    for lease in leases {
        lease::Entity::update_many()
            .col_expr(lease::Column::ExpiresAt, Expr::value(0))
            .filter(lease::Column::Name.eq(lease.name.as_str()))
            .filter(lease::Column::Holder.eq(lease.holder.as_str()))
            .filter(lease::Column::Fence.eq(bigint(lease.fence)))
            .exec(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
    }
    Ok(())
}

/// Refuses a transaction whose writer lost one of its leases (invariant 7).
pub(crate) async fn check_leases(tx: &Transaction, leases: &[Lease]) -> Result<(), StoreError> {
    let names: Vec<String> = leases.iter().map(|lease| lease.name.clone()).collect();
    let rows = load(tx, &names).await?;
    for lease in leases {
        let held = rows.get(&lease.name).is_some_and(|row| {
            row.holder == lease.holder
                && row.fence == bigint(lease.fence)
                && row.expires_at > tx.now.as_millis()
        });
        if !held {
            return Err(StoreError::LeaseLost { name: lease.name.clone() });
        }
    }
    Ok(())
}
