//! Turns of what is accepted: `core::turn` decides, the table `lines` remembers where the lines end. A line means something
//! only while its end lies ahead, so nothing has to be undone when a payment is made, taken back or put off.

use std::collections::BTreeMap;

use portcullis_core::id::TenantId;
use portcullis_core::time::Timestamp;
use portcullis_core::turn::{ACCOUNTS_COUNTED_MAX, Line, TenantLine, front};
use portcullis_core::withdrawal::Priority;
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::Submission;
use crate::convert::{Place, bigint};
use crate::db::Transaction;
use crate::entity::{line, work};
use crate::error::StoreError;
use crate::ledger::ROWS_PER_STATEMENT;
use crate::transition::Stage;

/// The line of a tenant's accounts themselves. No account has an empty id.
const ACCOUNTS: &str = "";

type Lines = BTreeMap<String, Line>;

/// Places what is accepted, in the order of the submissions; returns the instant of each one's turn.
pub(super) async fn take_turns(
    tx: &Transaction,
    accepted: &[&Submission],
) -> Result<Vec<Timestamp>, StoreError> {
    let mut by_chain: BTreeMap<u64, BTreeMap<TenantId, Vec<usize>>> = BTreeMap::new();
    for (index, submission) in accepted.iter().enumerate() {
        let tenants = by_chain.entry(submission.chain_id).or_default();
        tenants.entry(submission.tenant).or_default().push(index);
    }
    let mut turns = vec![tx.now; accepted.len()];
    for (chain_id, tenants) in by_chain {
        let next = next_in_queue(tx, chain_id).await?;
        if next.is_none() {
            end_lines(tx, chain_id).await?;
        }
        let front = front(tx.now, next);
        let has_lines = next.is_some();
        for (tenant, indexes) in tenants {
            let of_tenant: Vec<&Submission> =
                indexes.iter().map(|index| accepted[*index]).collect();
            let placed = place(tx, (chain_id, tenant), (front, has_lines), &of_tenant).await?;
            for (index, turn) in indexes.into_iter().zip(placed) {
                turns[index] = turn;
            }
        }
    }
    Ok(turns)
}

/// The turn and priority of what is paid next on a chain; `None` when nothing is due.
async fn next_in_queue(
    tx: &Transaction,
    chain_id: u64,
) -> Result<Option<(Timestamp, Priority)>, StoreError> {
    for stage in [Stage::Sign, Stage::Validate] {
        let row = work::Entity::find()
            .filter(work::Column::Stage.eq(stage.as_str()))
            .filter(work::Column::ChainId.eq(bigint(chain_id)))
            .filter(work::Column::DueAt.lte(tx.now.as_millis()))
            .order_by_asc(work::Column::TurnAt)
            .order_by_asc(work::Column::WithdrawalId)
            .limit(1)
            .one(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        if let Some(row) = row {
            let place = Place { table: "work", row: &row.withdrawal_id };
            let priority = place.known("priority", Priority::from_rank(row.priority))?;
            return Ok(Some((Timestamp::from_millis(row.turn_at), priority)));
        }
    }
    Ok(None)
}

async fn end_lines(tx: &Transaction, chain_id: u64) -> Result<(), StoreError> {
    line::Entity::delete_many()
        .filter(line::Column::ChainId.eq(bigint(chain_id)))
        .exec(&tx.inner)
        .await
        .map(|_| ())
        .map_err(|error| tx.failed(&error))
}

async fn place(
    tx: &Transaction,
    of: (u64, TenantId),
    (front, has_lines): (Timestamp, bool),
    accepted: &[&Submission],
) -> Result<Vec<Timestamp>, StoreError> {
    let mut names: Vec<&str> =
        accepted.iter().map(|submission| submission.account.as_str()).collect();
    names.push(ACCOUNTS);
    names.sort_unstable();
    names.dedup();
    let known = if has_lines {
        forget_ended(tx, of).await?;
        load(tx, of, &names).await?
    } else {
        Lines::new()
    };
    let of_accounts = known.keys().filter(|name| *name != ACCOUNTS).count();
    // Whoever stands in no line cannot be spaced, so the others need not be counted for him.
    let waiting = if of_accounts == 0 { 0 } else { count_waiting(tx, of, front).await? };
    let accounts = known.get(ACCOUNTS).copied().unwrap_or_default();
    let mut tenant = TenantLine { front, accounts, waiting };
    let mut lines = known.clone();
    let turns = accepted
        .iter()
        .map(|submission| {
            let line = lines.entry(submission.account.as_str().to_owned()).or_default();
            tenant.place(line, submission.priority)
        })
        .collect();
    lines.insert(ACCOUNTS.to_owned(), tenant.accounts);
    lines.retain(|name, line| known.get(name) != Some(&*line));
    store(tx, of, &known, &lines).await?;
    Ok(turns)
}

/// Lines that ended before now.
async fn forget_ended(tx: &Transaction, of: (u64, TenantId)) -> Result<(), StoreError> {
    line::Entity::delete_many()
        .filter(line::Column::ChainId.eq(bigint(of.0)))
        .filter(line::Column::TenantId.eq(of.1.to_bytes().to_vec()))
        .filter(line::Column::StandardAt.lte(tx.now.as_millis()))
        .exec(&tx.inner)
        .await
        .map(|_| ())
        .map_err(|error| tx.failed(&error))
}

async fn load(tx: &Transaction, of: (u64, TenantId), names: &[&str]) -> Result<Lines, StoreError> {
    let mut known = Lines::new();
    for names in names.chunks(ROWS_PER_STATEMENT) {
        let rows = line::Entity::find()
            .filter(line::Column::ChainId.eq(bigint(of.0)))
            .filter(line::Column::TenantId.eq(of.1.to_bytes().to_vec()))
            .filter(line::Column::AccountId.is_in(names.iter().copied()))
            .all(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        known.extend(rows.into_iter().map(|row| {
            let line = Line {
                urgent: Timestamp::from_millis(row.urgent_at),
                vip: Timestamp::from_millis(row.vip_at),
                standard: Timestamp::from_millis(row.standard_at),
            };
            (row.account_id, line)
        }));
    }
    Ok(known)
}

/// How many lines of a tenant reach beyond the front; the line of its accounts may be one of them.
async fn count_waiting(
    tx: &Transaction,
    of: (u64, TenantId),
    front: Timestamp,
) -> Result<u64, StoreError> {
    let rows: Vec<i64> = line::Entity::find()
        .select_only()
        .column(line::Column::StandardAt)
        .filter(line::Column::ChainId.eq(bigint(of.0)))
        .filter(line::Column::TenantId.eq(of.1.to_bytes().to_vec()))
        .filter(line::Column::StandardAt.gt(front.as_millis()))
        .filter(line::Column::AccountId.ne(ACCOUNTS))
        .limit(ACCOUNTS_COUNTED_MAX)
        .into_tuple()
        .all(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    Ok(rows.len() as u64)
}

async fn store(
    tx: &Transaction,
    of: (u64, TenantId),
    known: &Lines,
    changed: &Lines,
) -> Result<(), StoreError> {
    let replaced: Vec<&str> =
        changed.keys().filter(|name| known.contains_key(*name)).map(String::as_str).collect();
    for names in replaced.chunks(ROWS_PER_STATEMENT) {
        let removed = line::Entity::delete_many()
            .filter(line::Column::ChainId.eq(bigint(of.0)))
            .filter(line::Column::TenantId.eq(of.1.to_bytes().to_vec()))
            .filter(line::Column::AccountId.is_in(names.iter().copied()))
            .exec(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        tx.expect_rows(removed.rows_affected, names.len())?;
    }
    let rows: Vec<line::ActiveModel> = changed
        .iter()
        .map(|(name, line)| line::ActiveModel {
            chain_id: ActiveValue::Set(bigint(of.0)),
            tenant_id: ActiveValue::Set(of.1.to_bytes().to_vec()),
            account_id: ActiveValue::Set(name.clone()),
            urgent_at: ActiveValue::Set(line.urgent.as_millis()),
            vip_at: ActiveValue::Set(line.vip.as_millis()),
            standard_at: ActiveValue::Set(line.standard.as_millis()),
        })
        .collect();
    for rows in rows.chunks(ROWS_PER_STATEMENT) {
        line::Entity::insert_many(rows.iter().cloned())
            .exec_without_returning(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
    }
    Ok(())
}
