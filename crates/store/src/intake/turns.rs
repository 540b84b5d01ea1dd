//! Turns of what is accepted: `core::turn` decides, the table `lines` remembers where the lines end. A line means something
//! only while its end lies ahead, so nothing has to be undone when a payment is made, taken back or put off.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_core::id::TenantId;
use portcullis_core::time::Timestamp;
use portcullis_core::turn::{ACCOUNTS_COUNTED_MAX, Line, TenantLine, front};
use portcullis_core::withdrawal::Priority;
use sea_orm::{
    ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};

use super::Submission;
use super::picture::Picture;
use crate::convert::{Place, bigint};
use crate::db::Transaction;
use crate::entity::{line, work};
use crate::error::StoreError;
use crate::ledger::ROWS_PER_STATEMENT;
use crate::transition::Stage;
use crate::trip::{Asked, Trip, Write, in_steps};

/// The line of a tenant's accounts themselves. No account has an empty id.
const ACCOUNTS: &str = "";

pub(super) type Lines = BTreeMap<String, Line>;

/// Places what is accepted, in the order of the submissions; returns the instant of each one's turn, and what moves the
/// lines.
pub(super) async fn take_turns(
    tx: &Transaction,
    picture: &Picture,
    accepted: &[&Submission],
) -> Result<(Vec<Timestamp>, Vec<Write>), StoreError> {
    let mut by_chain: BTreeMap<u64, BTreeMap<TenantId, Vec<usize>>> = BTreeMap::new();
    for (index, submission) in accepted.iter().enumerate() {
        let tenants = by_chain.entry(submission.chain_id).or_default();
        tenants.entry(submission.tenant).or_default().push(index);
    }
    let mut turns = vec![tx.now; accepted.len()];
    let mut writes = Vec::new();
    let no_lines = Lines::new();
    for (chain_id, tenants) in by_chain {
        let front = front(tx.now, picture.next.get(&chain_id).copied().flatten());
        for (tenant, indexes) in tenants {
            let of_tenant: Vec<&Submission> =
                indexes.iter().map(|index| accepted[*index]).collect();
            let of = (chain_id, tenant);
            let known = picture.lines.get(&of).unwrap_or(&no_lines);
            let (placed, moved) = place(tx, of, front, known, &of_tenant).await?;
            for (index, turn) in indexes.into_iter().zip(placed) {
                turns[index] = turn;
            }
            writes.extend(moved);
        }
    }
    Ok((turns, writes))
}

/// Asks what is paid next on a chain: in the first of the answers that has any.
pub(super) fn due(chain_id: u64, now: Timestamp) -> [Select<work::Entity>; 2] {
    [Stage::Sign, Stage::Validate].map(|stage| {
        work::Entity::find()
            .filter(work::Column::Stage.eq(stage.as_str()))
            .filter(work::Column::ChainId.eq(bigint(chain_id)))
            .filter(work::Column::DueAt.lte(now.as_millis()))
            .order_by_asc(work::Column::TurnAt)
            .order_by_asc(work::Column::WithdrawalId)
            .limit(1)
    })
}

/// The turn and priority of a payment.
pub(super) fn place_of(row: &work::Model) -> Result<(Timestamp, Priority), StoreError> {
    let place = Place { table: "work", row: &row.withdrawal_id };
    let priority = place.known("priority", Priority::from_rank(row.priority))?;
    Ok((Timestamp::from_millis(row.turn_at), priority))
}

/// Clears away lines that ended before now, and all of a chain where nothing is due, as was asked before.
pub(super) fn clear_lines(
    trip: &mut Trip,
    chain_id: u64,
    tenants: impl Iterator<Item = TenantId>,
    now: Timestamp,
    [to_sign, to_validate]: &[Asked<work::Model>; 2],
) {
    let of_chain =
        || line::Entity::delete_many().filter(line::Column::ChainId.eq(bigint(chain_id)));
    let [signing, validating] = due(chain_id, now);
    trip.clear_without(of_chain(), [(to_sign, signing), (to_validate, validating)]);
    for tenant in tenants {
        let ended = of_chain()
            .filter(line::Column::TenantId.eq(tenant.to_bytes().to_vec()))
            .filter(line::Column::StandardAt.lte(now.as_millis()));
        trip.clear(ended);
    }
}

/// Asks for the lines of a tenant in which these accounts stand, and for the line of the accounts themselves.
pub(super) fn lines_of(
    chain_id: u64,
    tenant: TenantId,
    accounts: BTreeSet<&str>,
) -> Vec<Select<line::Entity>> {
    let names: Vec<&str> = accounts.into_iter().chain([ACCOUNTS]).collect();
    let of_names = |names: &[&str]| {
        line::Entity::find()
            .filter(line::Column::ChainId.eq(bigint(chain_id)))
            .filter(line::Column::TenantId.eq(tenant.to_bytes().to_vec()))
            .filter(line::Column::AccountId.is_in(in_steps(names.to_vec())))
    };
    names.chunks(ROWS_PER_STATEMENT).map(of_names).collect()
}

/// A line and whose it is.
pub(super) fn read_line(row: line::Model) -> (String, Line) {
    let line = Line {
        urgent: Timestamp::from_millis(row.urgent_at),
        vip: Timestamp::from_millis(row.vip_at),
        standard: Timestamp::from_millis(row.standard_at),
    };
    (row.account_id, line)
}

async fn place(
    tx: &Transaction,
    of: (u64, TenantId),
    front: Timestamp,
    known: &Lines,
    accepted: &[&Submission],
) -> Result<(Vec<Timestamp>, Vec<Write>), StoreError> {
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
    Ok((turns, moves(of, known, &lines)))
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

fn moves(of: (u64, TenantId), known: &Lines, changed: &Lines) -> Vec<Write> {
    let replaced: Vec<&str> =
        changed.keys().filter(|name| known.contains_key(*name)).map(String::as_str).collect();
    let removed = replaced.chunks(ROWS_PER_STATEMENT).map(|names| {
        let removed = line::Entity::delete_many()
            .filter(line::Column::ChainId.eq(bigint(of.0)))
            .filter(line::Column::TenantId.eq(of.1.to_bytes().to_vec()))
            .filter(line::Column::AccountId.is_in(names.iter().copied()));
        Write::new(removed, names.len())
    });
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
    let inserted = rows
        .chunks(ROWS_PER_STATEMENT)
        .map(|rows| Write::new(line::Entity::insert_many(rows.iter().cloned()), rows.len()));
    removed.chain(inserted).collect()
}
