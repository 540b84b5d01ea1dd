//! Work rows: what waits at which stage and in which order, and the processor's transaction.

use std::collections::BTreeMap;

use portcullis_core::amount::Amount;
use portcullis_core::id::WithdrawalId;
use portcullis_core::policy::Verdict;
use portcullis_core::time::Timestamp;
use portcullis_core::withdrawal::{Event, HoldReason, State, StateCode};
use sea_orm::sea_query::{Expr, ExprTrait, LockBehavior, LockType};
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};

use crate::audit::{AuditEntry, append_audit};
use crate::convert::{Place, bigint};
use crate::db::{Source, Store, Transaction, transaction};
use crate::entity::{withdrawal, work};
use crate::error::StoreError;
use crate::ledger::ROWS_PER_STATEMENT;
use crate::transition::{RULE, Stage, apply, apply_after};
use crate::window::Windows;
use crate::withdrawal::{WithdrawalRecord, withdrawals_by_id};

/// How much waits at a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDepth {
    /// The stage.
    pub stage: &'static str,
    /// Rows.
    pub depth: u64,
    /// How long the oldest has been live.
    pub oldest_age_ms: Option<i64>,
}

/// What became of an operator's wish to let a held withdrawal go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeOutcome {
    /// It is queued, and goes before policy again.
    Resumed,
    /// There is no such withdrawal.
    Unknown,
    /// It is not held, or a slot carries it still.
    Refused(StateCode),
}

/// Judges one withdrawal: its record, and the account's total of the day with it.
pub type Judge<'a> = dyn Fn(&WithdrawalRecord, Amount) -> Verdict + Send + Sync + 'a;

impl Store {
    /// Depth and age of every stage.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn queues(&self) -> Result<Vec<QueueDepth>, StoreError> {
        let rows: Vec<(String, i64, Option<i64>)> = work::Entity::find()
            .select_only()
            .column(work::Column::Stage)
            .column_as(work::Column::WithdrawalId.count(), "depth")
            .column_as(work::Column::EnteredAt.min(), "oldest")
            .group_by(work::Column::Stage)
            .into_tuple()
            .all(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("queues", &error))?;
        let now = self.clock.now();
        Ok(Stage::ALL
            .into_iter()
            .map(|stage| {
                let row = rows.iter().find(|(name, ..)| name == stage.as_str());
                QueueDepth {
                    stage: stage.as_str(),
                    depth: row.map_or(0, |(_, depth, _)| u64::try_from(*depth).unwrap_or(0)),
                    oldest_age_ms: row
                        .and_then(|(_, _, oldest)| *oldest)
                        .map(|oldest| now.millis_since(Timestamp::from_millis(oldest))),
                }
            })
            .collect())
    }

    /// The work of a stage that is due first, on one chain or on any: the one that fails when a set of one does.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn first_due(
        &self,
        stage: Stage,
        chain_id: Option<u64>,
    ) -> Result<Option<WithdrawalId>, StoreError> {
        let now = self.clock.now();
        let failed = |error| StoreError::of_statement("first_due", &error);
        let rows = match chain_id {
            Some(chain_id) => due(&self.reader, stage, chain_id, 1, now).await,
            None => due_of_all_chains(&self.reader, stage, 1, now, false).await,
        };
        Ok(read_ids(&in_order(rows.map_err(failed)?))?.pop())
    }

    /// Whether anything is due at a stage: a look without a lock, so that an idle role does not write.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn has_work(&self, stage: Stage) -> Result<bool, StoreError> {
        let found: Option<Vec<u8>> = work::Entity::find()
            .select_only()
            .column(work::Column::WithdrawalId)
            .filter(work::Column::Stage.eq(stage.as_str()))
            .filter(work::Column::DueAt.lte(self.clock.now().as_millis()))
            .limit(1)
            .into_tuple()
            .one(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("has_work", &error))?;
        Ok(found.is_some())
    }

    /// How many withdrawals of a chain stand at a stage, due or not.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn depth(&self, stage: Stage, chain_id: u64) -> Result<u64, StoreError> {
        let rows: Option<i64> = depth_query(stage, chain_id)
            .into_tuple()
            .one(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("depth", &error))?;
        Ok(rows.and_then(|rows| u64::try_from(rows).ok()).unwrap_or(0))
    }

    /// Puts due withdrawals before policy, in the order of their turns, and moves each by the
    /// verdict; returns how many.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn validate(&self, limit: u64, judge: &Judge<'_>) -> Result<usize, StoreError> {
        transaction!(self, "validate", |tx| validate_in(&tx, limit, judge))
    }

    /// Queued withdrawals of a chain that are due to be bound, in the order of their turns.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn queued(
        &self,
        chain_id: u64,
        limit: u64,
    ) -> Result<Vec<WithdrawalRecord>, StoreError> {
        let during = "queued";
        let picture = self.snapshot(during).await?;
        let rows = due(&picture, Stage::Sign, chain_id, limit, self.clock.now())
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        let ids = read_ids(&in_order(rows))?;
        let mut records = withdrawals_by_id(&picture, during, &ids).await?;
        records.retain(|record| record.state == State::Queued);
        sort_like(&mut records, &ids);
        Ok(records)
    }

    /// Puts queued work off, because it cannot be done now; `why` is what its client sees meanwhile. Its turn is put
    /// off as long: what waits for funds does not come before everything else once they are there.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn defer(
        &self,
        ids: &[WithdrawalId],
        until: Timestamp,
        why: &str,
    ) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        transaction!(self, "defer", |tx| defer_in(&tx, ids, until, why))
    }

    /// Holds withdrawals until an operator decides.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when one of them moved on meanwhile.
    pub async fn hold(
        &self,
        ids: &[WithdrawalId],
        reason: HoldReason,
        detail: &str,
    ) -> Result<(), StoreError> {
        let event = Event::Held(reason);
        transaction!(self, "hold", |tx| move_all(&tx, ids, event, detail))
    }

    /// Fails queued withdrawals that the node refuses to execute. None was ever bound.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when one of them moved on meanwhile.
    pub async fn fail_preflight(
        &self,
        ids: &[WithdrawalId],
        detail: &str,
    ) -> Result<(), StoreError> {
        let event = Event::PreflightReverted;
        transaction!(self, "fail_preflight", |tx| move_all(&tx, ids, event, detail))
    }

    /// Lets a held withdrawal go on, for an operator who gives a reason.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn resume(
        &self,
        id: WithdrawalId,
        actor: &str,
        why: &str,
    ) -> Result<ResumeOutcome, StoreError> {
        transaction!(self, "resume", |tx| resume_in(&tx, id, actor, why))
    }
}

/// The turn and the id of a row.
type Due = (i64, Vec<u8>);

/// What is due at a stage on a chain, in the order of the turns: read from the index alone, never sorted.
async fn due<C: Source>(
    connection: &C,
    stage: Stage,
    chain_id: u64,
    limit: u64,
    now: Timestamp,
) -> Result<Vec<Due>, DbErr> {
    due_query(stage, chain_id, limit, now).into_tuple().all(connection).await
}

fn depth_query(stage: Stage, chain_id: u64) -> Select<work::Entity> {
    work::Entity::find()
        .select_only()
        .column_as(work::Column::WithdrawalId.count(), "depth")
        .filter(work::Column::Stage.eq(stage.as_str()))
        .filter(work::Column::ChainId.eq(bigint(chain_id)))
}

fn due_query(stage: Stage, chain_id: u64, limit: u64, now: Timestamp) -> Select<work::Entity> {
    work::Entity::find()
        .select_only()
        .column(work::Column::TurnAt)
        .column(work::Column::WithdrawalId)
        .filter(work::Column::Stage.eq(stage.as_str()))
        .filter(work::Column::ChainId.eq(bigint(chain_id)))
        .filter(work::Column::DueAt.lte(now.as_millis()))
        .order_by_asc(work::Column::TurnAt)
        .order_by_asc(work::Column::WithdrawalId)
        .limit(limit)
}

/// The next chain that has anything at a stage.
fn chain_query(stage: Stage, after: Option<i64>) -> Select<work::Entity> {
    let query = work::Entity::find()
        .select_only()
        .column(work::Column::ChainId)
        .filter(work::Column::Stage.eq(stage.as_str()))
        .order_by_asc(work::Column::ChainId)
        .limit(1);
    match after {
        Some(after) => query.filter(work::Column::ChainId.gt(after)),
        None => query,
    }
}

/// What is due at a stage on any chain, to be looked at or to be taken: rows that another transaction took are passed over
/// then. A statement a chain, since the index is in the order of turns only within one.
async fn due_of_all_chains<C: Source>(
    connection: &C,
    stage: Stage,
    limit: u64,
    now: Timestamp,
    is_taken: bool,
) -> Result<Vec<Due>, DbErr> {
    let mut rows: Vec<Due> = Vec::new();
    let mut last: Option<i64> = None;
    loop {
        last = chain_query(stage, last).into_tuple().one(connection).await?;
        let Some(chain_id) = last else { break };
        let chain_id = u64::try_from(chain_id).unwrap_or_default();
        let mut query = due_query(stage, chain_id, limit, now);
        if is_taken {
            query = query.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        }
        rows.extend(query.into_tuple::<Due>().all(connection).await?);
    }
    rows.sort_unstable();
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(rows)
}

fn in_order(rows: Vec<Due>) -> Vec<Vec<u8>> {
    rows.into_iter().map(|(_, id)| id).collect()
}

/// Brings records into the order of their ids in this list.
fn sort_like(records: &mut [WithdrawalRecord], ids: &[WithdrawalId]) {
    let order: BTreeMap<WithdrawalId, usize> = ids.iter().copied().zip(0..).collect();
    records.sort_by_key(|record| order.get(&record.id).copied());
}

async fn validate_in(tx: &Transaction, limit: u64, judge: &Judge<'_>) -> Result<usize, StoreError> {
    let rows = due_of_all_chains(&tx.inner, Stage::Validate, limit, tx.now, true)
        .await
        .map_err(|error| tx.failed(&error))?;
    let ids = read_ids(&in_order(rows))?;
    let mut records = withdrawals_by_id(&tx.inner, tx.name, &ids).await?;
    if records.is_empty() {
        return Ok(0);
    }
    sort_like(&mut records, &ids);
    let mut windows = Windows::load(tx, &records).await?;
    let mut moves = Vec::with_capacity(records.len());
    let mut cleared = Vec::new();
    for record in &records {
        let (verdict, total) = windows.judge(record, judge);
        let passes = matches!(verdict, Verdict::Pass(_));
        if passes && record.state != State::Queued {
            windows.count(record, total);
        }
        let (Verdict::Pass(rule) | Verdict::Refuse(rule)) = verdict;
        match event_of(record, passes) {
            Some(event) => moves.push((record, event, Some(format!("{RULE}{}", rule.as_str())))),
            None => cleared.push(record.id),
        }
    }
    apply_after(tx, Some(Event::ValidationStarted), &moves).await?;
    forward_to_signer(tx, &cleared).await?;
    windows.store(tx).await?;
    Ok(records.len())
}

/// A withdrawal whose binding was released stands queued already: passing again only moves its work
/// row on, and failing now holds it, since it was accepted once.
const fn event_of(record: &WithdrawalRecord, passes: bool) -> Option<Event> {
    match (&record.state, passes) {
        (State::Queued, true) => None,
        (State::Queued, false) => Some(Event::Held(HoldReason::Compliance)),
        (_, true) => Some(Event::PolicyPassed),
        (_, false) => Some(Event::PolicyRefused),
    }
}

async fn forward_to_signer(tx: &Transaction, ids: &[WithdrawalId]) -> Result<(), StoreError> {
    for ids in ids.chunks(ROWS_PER_STATEMENT) {
        let moved = work::Entity::update_many()
            .col_expr(work::Column::Stage, Expr::value(Stage::Sign.as_str()))
            .filter(work::Column::WithdrawalId.is_in(ids.iter().map(|id| id.to_bytes().to_vec())))
            .filter(work::Column::Stage.eq(Stage::Validate.as_str()))
            .exec(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        tx.expect_rows(moved.rows_affected, ids.len())?;
    }
    Ok(())
}

async fn defer_in(
    tx: &Transaction,
    ids: &[WithdrawalId],
    until: Timestamp,
    why: &str,
) -> Result<(), StoreError> {
    let pause_ms = std::cmp::max(until.millis_since(tx.now), 0);
    for ids in ids.chunks(ROWS_PER_STATEMENT) {
        withdrawal::Entity::update_many()
            .col_expr(withdrawal::Column::Reason, Expr::value(why))
            .filter(withdrawal::Column::Id.is_in(ids.iter().map(|id| id.to_bytes().to_vec())))
            .filter(withdrawal::Column::State.eq(StateCode::Queued.as_str()))
            .exec(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        // One that moved on meanwhile is not put off.
        work::Entity::update_many()
            .col_expr(work::Column::DueAt, Expr::value(until.as_millis()))
            .col_expr(work::Column::TurnAt, Expr::col(work::Column::TurnAt).add(pause_ms))
            .filter(work::Column::WithdrawalId.is_in(ids.iter().map(|id| id.to_bytes().to_vec())))
            .filter(work::Column::Stage.eq(Stage::Sign.as_str()))
            .exec(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
    }
    Ok(())
}

async fn move_all(
    tx: &Transaction,
    ids: &[WithdrawalId],
    event: Event,
    detail: &str,
) -> Result<(), StoreError> {
    let records = withdrawals_by_id(&tx.inner, tx.name, ids).await?;
    let moves: Vec<_> =
        records.iter().map(|record| (record, event, Some(detail.to_owned()))).collect();
    apply(tx, &moves).await
}

async fn resume_in(
    tx: &Transaction,
    id: WithdrawalId,
    actor: &str,
    why: &str,
) -> Result<ResumeOutcome, StoreError> {
    let mut records = withdrawals_by_id(&tx.inner, tx.name, &[id]).await?;
    let Some(record) = records.pop() else { return Ok(ResumeOutcome::Unknown) };
    if !matches!(record.state, State::Held { slot: None, .. }) {
        return Ok(ResumeOutcome::Refused(record.state.code()));
    }
    apply(tx, &[(&record, Event::Resumed, Some(format!("by {actor}: {why}")))]).await?;
    let subject = id.to_string();
    let entry = AuditEntry {
        tenant: Some(record.tenant),
        actor,
        action: "withdrawal.resume",
        subject: &subject,
        detail: why,
    };
    append_audit(tx, &entry).await?;
    Ok(ResumeOutcome::Resumed)
}

pub(crate) fn read_ids(rows: &[Vec<u8>]) -> Result<Vec<WithdrawalId>, StoreError> {
    rows.iter()
        .map(|row| {
            let place = Place { table: "work", row };
            place.id("withdrawal_id", row).map(WithdrawalId::from_bytes)
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests;
