//! Sending: which committed bytes are due, and what their sends came to.

use std::collections::BTreeMap;

use alloy_primitives::{B256, Bytes};
use portcullis_core::id::SlotId;
use portcullis_core::slot::{Slot, SlotStage};
use portcullis_core::time::Timestamp;
use portcullis_core::withdrawal::{Event, State};
use sea_orm::sea_query::{Expr, ExprTrait, Func, LockBehavior, LockType, Query, SimpleExpr};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::convert::{Place, bigint};
use crate::damage::{DamagedSlot, read_sound_slots};
use crate::db::{Source, Store, Transaction, transaction};
use crate::entity::{attempt, slot};
use crate::error::StoreError;
use crate::ledger::ROWS_PER_STATEMENT;
use crate::slot::{OpenAttempt, OpenSlot, move_slots, slot_keys};
use crate::timeline::shortened;
use crate::transition::apply;

/// Committed bytes that are due to be sent (again).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sendable {
    /// The slot's id.
    pub slot_id: SlotId,
    /// Where on the chain.
    pub slot: Slot,
    /// The transaction's hash.
    pub hash: B256,
    /// The bytes.
    pub raw: Bytes,
    /// How often bytes of this slot were sent since a provider took them, or they changed.
    pub receives: u32,
}

/// What one send came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendResult {
    /// The slot's id.
    pub slot_id: SlotId,
    /// The transaction that was sent.
    pub hash: B256,
    /// The outcome in a word or a short sentence.
    pub outcome: String,
    /// Whether a provider has the bytes.
    pub accepted: bool,
    /// When it is to be sent again, unless a block consumed the slot.
    pub due_at: Timestamp,
}

impl Store {
    /// Claims slots whose newest attempt is due, lowest nonces first, and commits `BROADCASTING` for
    /// those that were never sent: from here on their bytes may be out.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn claim_sendable(
        &self,
        chain_id: u64,
        claim: &str,
        limit: u64,
        claim_ms: i64,
    ) -> Result<Vec<Sendable>, StoreError> {
        if !self.has_sendable(chain_id).await? {
            return Ok(Vec::new());
        }
        transaction!(self, "claim_sendable", |tx| claim_in(&tx, chain_id, claim, limit, claim_ms))
    }

    /// Records sends and gives the claim back.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn record_sends(
        &self,
        claim: &str,
        results: &[SendResult],
    ) -> Result<(), StoreError> {
        transaction!(self, "record_sends", |tx| record_in(&tx, claim, results))
    }

    /// Makes every slot of a sender below a nonce due, or all of them: a node misses them, or the sender can
    /// pay for them again.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn send_below(&self, below: Slot) -> Result<(), StoreError> {
        let nonces = slot::Column::Nonce.lt(bigint(below.nonce));
        transaction!(self, "send_below", |tx| send_now(&tx, below, nonces.clone()))
    }

    /// Puts the sends of a slot off: it cannot be claimed, and the others should be.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn postpone_send(&self, id: SlotId, until: Timestamp) -> Result<(), StoreError> {
        transaction!(self, "postpone_send", |tx| postpone_in(&tx, id, until))
    }

    /// The slot that is due to be sent first: the one that fails when a set of one does.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn first_sendable(&self, chain_id: u64) -> Result<Option<SlotId>, StoreError> {
        let row = due(chain_id, self.clock.now())
            .order_by_asc(slot::Column::DueAt)
            .order_by_asc(slot::Column::Nonce)
            .limit(1)
            .one(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("first_sendable", &error))?;
        let Some(row) = row else { return Ok(None) };
        let place = Place { table: "slots", row: &row.id };
        Ok(Some(SlotId::from_bytes(place.id("id", &row.id)?)))
    }

    /// A look without a lock, so that an idle broadcaster does not write.
    async fn has_sendable(&self, chain_id: u64) -> Result<bool, StoreError> {
        let found = due(chain_id, self.clock.now())
            .limit(1)
            .one(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("has_sendable", &error))?;
        Ok(found.is_some())
    }
}

const SENDABLE: [&str; 3] =
    [SlotStage::Signed.as_str(), SlotStage::Sending.as_str(), SlotStage::Sent.as_str()];

/// Slots that are due to be sent. One whose only attempts were found on the chain has no bytes of ours to send: it is
/// never due, or it would stand in the way of those that are.
fn due(chain_id: u64, now: Timestamp) -> sea_orm::Select<slot::Entity> {
    let own_bytes = Query::select()
        .expr(Expr::val(1))
        .from(attempt::Entity)
        .and_where(
            Expr::col((attempt::Entity, attempt::Column::SlotId))
                .equals((slot::Entity, slot::Column::Id)),
        )
        .and_where(attempt::Column::Raw.ne(Vec::<u8>::new()))
        .take();
    slot::Entity::find()
        .filter(Expr::exists(own_bytes))
        .filter(slot::Column::Stage.is_in(SENDABLE))
        .filter(slot::Column::ChainId.eq(bigint(chain_id)))
        .filter(slot::Column::DueAt.lte(now.as_millis()))
        .filter(slot::Column::ClaimedUntil.lte(now.as_millis()))
}

async fn claim_in(
    tx: &Transaction,
    chain_id: u64,
    claim: &str,
    limit: u64,
    claim_ms: i64,
) -> Result<Vec<Sendable>, StoreError> {
    let rows = due(chain_id, tx.now)
        .order_by_asc(slot::Column::DueAt)
        .order_by_asc(slot::Column::Nonce)
        .limit(limit)
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .all(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let receives: BTreeMap<Vec<u8>, i32> =
        rows.iter().map(|row| (row.id.clone(), row.receives)).collect();
    let reading = read_sound_slots(&tx.inner, tx.name, rows).await?;
    let damaged = damaged_bytes(tx, &reading.damaged).await?;
    let mut slots = reading.noted(&tx.damage);
    slots.sort_by_key(|open| (open.slot.sender, open.slot.nonce));
    let ids: Vec<SlotId> =
        slots.iter().map(|open| open.id).chain(damaged.iter().map(|(slot, ..)| slot.id)).collect();
    let until = tx.now.plus_millis(claim_ms);
    for ids in ids.chunks(ROWS_PER_STATEMENT) {
        let claimed = slot::Entity::update_many()
            .col_expr(slot::Column::Claim, Expr::value(claim))
            .col_expr(slot::Column::ClaimedUntil, Expr::value(until.as_millis()))
            .col_expr(slot::Column::Receives, Expr::col(slot::Column::Receives).add(1))
            .filter(slot::Column::Id.is_in(slot_keys(ids)))
            .filter(slot::Column::ClaimedUntil.lte(tx.now.as_millis()))
            .exec(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        tx.expect_rows(claimed.rows_affected, ids.len())?;
    }
    begin_sends(tx, &slots).await?;
    let raws = newest_raws(tx, &slots).await?;
    let mut sendable = Vec::with_capacity(slots.len());
    for open in slots {
        let key = open.id.to_bytes();
        let place = Place { table: "slots", row: &key };
        let newest = place.known("stage", newest_own(&open))?;
        sendable.push(Sendable {
            slot_id: open.id,
            slot: open.slot,
            hash: newest.hash,
            raw: place.known("raw", raws.get(&newest.hash))?.clone(),
            receives: 0,
        });
    }
    sendable.extend(damaged.into_iter().map(|(slot, hash, raw)| Sendable {
        slot_id: slot.id,
        slot: slot.slot,
        hash,
        raw,
        receives: 0,
    }));
    sendable.sort_by_key(|sendable| (sendable.slot.sender, sendable.slot.nonce));
    for sendable in &mut sendable {
        let received = receives.get(sendable.slot_id.to_bytes().as_slice());
        sendable.receives = received.and_then(|count| u32::try_from(*count).ok()).unwrap_or(0);
    }
    Ok(sendable)
}

async fn postpone_in(tx: &Transaction, id: SlotId, until: Timestamp) -> Result<(), StoreError> {
    slot::Entity::update_many()
        .col_expr(slot::Column::DueAt, Expr::value(until.as_millis()))
        .filter(slot::Column::Id.eq(id.to_bytes().to_vec()))
        .filter(slot::Column::Stage.is_in(SENDABLE))
        .exec(&tx.inner)
        .await
        .map(|_| ())
        .map_err(|error| tx.failed(&error))
}

/// The newest bytes of damaged slots that were sent before: they are committed, so they may be sent again,
/// whatever cannot be read of what they pay.
async fn damaged_bytes(
    tx: &Transaction,
    damaged: &[DamagedSlot],
) -> Result<Vec<(DamagedSlot, B256, Bytes)>, StoreError> {
    let mut bytes = Vec::new();
    let sent = damaged.iter().filter(|slot| slot.stage >= SlotStage::Sending);
    for slot in sent.filter(|slot| slot.stage <= SlotStage::Sent) {
        let row: Option<(Vec<u8>, Vec<u8>)> = attempt::Entity::find()
            .select_only()
            .column(attempt::Column::Hash)
            .column(attempt::Column::Raw)
            .filter(attempt::Column::SlotId.eq(slot.id.to_bytes().to_vec()))
            .order_by_desc(attempt::Column::Ordinal)
            .into_tuple()
            .one(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        let Some((hash, raw)) = row.filter(|(_, raw)| !raw.is_empty()) else { continue };
        if let Ok(hash) = B256::try_from(hash.as_slice()) {
            bytes.push((slot.clone(), hash, Bytes::from(raw)));
        }
    }
    Ok(bytes)
}

/// New bytes go out at once, and the pauses between their sends begin anew. A pool that dropped a slot dropped
/// those behind it as well (bor: a stranded chain), so they follow at once, lowest nonce first.
pub(crate) async fn send_from(tx: &Transaction, replaced: &[&OpenSlot]) -> Result<(), StoreError> {
    for open in replaced {
        let at_or_behind = slot::Column::Nonce.gte(bigint(open.slot.nonce));
        send_now(tx, open.slot, at_or_behind).await?;
    }
    Ok(())
}

/// Makes slots of a sender due. Whoever sends them now has older news: its claim is over.
async fn send_now(tx: &Transaction, of: Slot, nonces: SimpleExpr) -> Result<(), StoreError> {
    slot::Entity::update_many()
        .col_expr(slot::Column::DueAt, Expr::value(tx.now.as_millis()))
        .col_expr(slot::Column::Receives, Expr::value(0))
        .col_expr(slot::Column::Claim, Expr::value(Option::<String>::None))
        .col_expr(slot::Column::ClaimedUntil, Expr::value(0))
        .filter(slot::Column::ChainId.eq(bigint(of.chain_id)))
        .filter(slot::Column::Sender.eq(of.sender.to_vec()))
        .filter(nonces)
        .filter(slot::Column::Stage.is_in(SENDABLE))
        .exec(&tx.inner)
        .await
        .map(|_| ())
        .map_err(|error| tx.failed(&error))
}

impl Store {
    /// The bytes of a committed attempt; `None` where it is not known, or was never ours to commit.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn signed_bytes(&self, hash: B256) -> Result<Option<Bytes>, StoreError> {
        let raw: Option<Vec<u8>> = attempt::Entity::find_by_id(hash.to_vec())
            .select_only()
            .column(attempt::Column::Raw)
            .into_tuple()
            .one(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("signed_bytes", &error))?;
        Ok(raw.filter(|raw| !raw.is_empty()).map(Bytes::from))
    }
}

/// The attempt to send: the dearest whose bytes we have. It is the newest that was signed, for each outbids all before
/// it; its place need not be the last, where an earlier life of the database had signed it before.
fn newest_own(open: &OpenSlot) -> Option<&OpenAttempt> {
    let own = open.attempts.iter().filter(|attempt| !attempt.is_adopted);
    own.max_by_key(|attempt| attempt.fees.max_fee_per_gas_wei)
}

async fn begin_sends(tx: &Transaction, slots: &[OpenSlot]) -> Result<(), StoreError> {
    let first: Vec<&OpenSlot> =
        slots.iter().filter(|open| open.stage == SlotStage::Signed).collect();
    let ids: Vec<SlotId> = first.iter().map(|open| open.id).collect();
    move_slots(tx, &ids, SlotStage::Signed, SlotStage::Sending).await?;
    let moves: Vec<_> = first
        .iter()
        .flat_map(|open| &open.payments)
        .filter(|record| matches!(record.state, State::Signed { .. }))
        .map(|record| (record, Event::SendStarted, None))
        .collect();
    apply(tx, &moves).await
}

async fn newest_raws(
    tx: &Transaction,
    slots: &[OpenSlot],
) -> Result<BTreeMap<B256, Bytes>, StoreError> {
    let hashes: Vec<Vec<u8>> =
        slots.iter().filter_map(newest_own).map(|attempt| attempt.hash.to_vec()).collect();
    let mut raws = BTreeMap::new();
    for hashes in hashes.chunks(ROWS_PER_STATEMENT) {
        let rows: Vec<(Vec<u8>, Vec<u8>)> = attempt::Entity::find()
            .select_only()
            .column(attempt::Column::Hash)
            .column(attempt::Column::Raw)
            .filter(attempt::Column::Hash.is_in(hashes.iter().cloned()))
            .into_tuple()
            .all(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        for (hash, raw) in rows {
            let place = Place { table: "attempts", row: &hash };
            raws.insert(place.hash("hash", &hash)?, Bytes::from(raw));
        }
    }
    Ok(raws)
}

async fn record_in(
    tx: &Transaction,
    claim: &str,
    results: &[SendResult],
) -> Result<(), StoreError> {
    let mut by_outcome: BTreeMap<&str, Vec<B256>> = BTreeMap::new();
    let mut by_due: BTreeMap<(Timestamp, bool), Vec<SlotId>> = BTreeMap::new();
    for result in results {
        by_outcome.entry(shortened(&result.outcome)).or_default().push(result.hash);
        by_due.entry((result.due_at, result.accepted)).or_default().push(result.slot_id);
    }
    for (outcome, hashes) in by_outcome {
        for hashes in hashes.chunks(ROWS_PER_STATEMENT) {
            record_outcome(tx, outcome, hashes).await?;
        }
    }
    for ((due_at, accepted), ids) in by_due {
        let none = if accepted { Expr::value(0) } else { Expr::col(slot::Column::Receives) };
        for ids in ids.chunks(ROWS_PER_STATEMENT) {
            // One whose claim ran out meanwhile belongs to its next claimer.
            slot::Entity::update_many()
                .col_expr(slot::Column::Claim, Expr::value(Option::<String>::None))
                .col_expr(slot::Column::ClaimedUntil, Expr::value(0))
                .col_expr(slot::Column::DueAt, Expr::value(due_at.as_millis()))
                .col_expr(slot::Column::Receives, none.clone())
                .filter(slot::Column::Id.is_in(slot_keys(ids)))
                .filter(slot::Column::Claim.eq(claim))
                .exec(&tx.inner)
                .await
                .map_err(|error| tx.failed(&error))?;
        }
    }
    finish_sends(tx, results).await
}

async fn record_outcome(
    tx: &Transaction,
    outcome: &str,
    hashes: &[B256],
) -> Result<(), StoreError> {
    let first_sent =
        Func::coalesce([Expr::col(attempt::Column::SentAt), Expr::value(tx.now.as_millis())]);
    let recorded = attempt::Entity::update_many()
        .col_expr(attempt::Column::Sends, Expr::col(attempt::Column::Sends).add(1))
        .col_expr(attempt::Column::SentAt, first_sent.into())
        .col_expr(attempt::Column::LastOutcome, Expr::value(outcome))
        .filter(attempt::Column::Hash.is_in(hashes.iter().map(|hash| hash.to_vec())))
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    tx.expect_rows(recorded.rows_affected, hashes.len())
}

/// `Sending` becomes `Sent` for slots whose bytes a provider has; those that a block consumed
/// meanwhile are left as they are.
async fn finish_sends(tx: &Transaction, results: &[SendResult]) -> Result<(), StoreError> {
    let accepted: Vec<SlotId> =
        results.iter().filter(|result| result.accepted).map(|result| result.slot_id).collect();
    for ids in accepted.chunks(ROWS_PER_STATEMENT) {
        let query = slot::Entity::find()
            .filter(slot::Column::Id.is_in(slot_keys(ids)))
            .filter(slot::Column::Stage.eq(SlotStage::Sending.as_str()));
        let rows =
            tx.inner.holding(query).all(&tx.inner).await.map_err(|error| tx.failed(&error))?;
        let slots = read_sound_slots(&tx.inner, tx.name, rows).await?.noted(&tx.damage);
        let ids: Vec<SlotId> = slots.iter().map(|open| open.id).collect();
        move_slots(tx, &ids, SlotStage::Sending, SlotStage::Sent).await?;
        let moves: Vec<_> = slots
            .iter()
            .flat_map(|open| &open.payments)
            .filter(|record| matches!(record.state, State::Broadcasting { .. }))
            .map(|record| (record, Event::SendAccepted, None))
            .collect();
        apply(tx, &moves).await?;
    }
    Ok(())
}
