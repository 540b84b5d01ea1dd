//! Sending: which committed bytes are due, and what their sends came to.

use std::collections::BTreeMap;

use alloy_primitives::{B256, Bytes};
use portcullis_core::id::SlotId;
use portcullis_core::slot::{Slot, SlotStage};
use portcullis_core::time::Timestamp;
use portcullis_core::withdrawal::{Event, State};
use sea_orm::sea_query::{Expr, ExprTrait, Func, LockBehavior, LockType, Query, SimpleExpr};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};

use crate::convert::{Place, bigint};
use crate::db::{Source, Store, Transaction, transaction};
use crate::dialect::{BY_KEY, by_index};
use crate::entity::{attempt, slot};
use crate::error::StoreError;
use crate::ledger::ROWS_PER_STATEMENT;
use crate::slot_moves::{moved, slot_keys, slots_named};
use crate::timeline::shortened;
use crate::transition::move_carried;
use crate::trip::Write;

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
fn due(chain_id: u64, now: Timestamp) -> Select<slot::Entity> {
    let own_bytes = Query::select()
        .expr(Expr::val(1))
        .from(attempt::Entity)
        .and_where(
            Expr::col((attempt::Entity, attempt::Column::SlotId))
                .equals((slot::Entity, slot::Column::Id)),
        )
        .and_where(attempt::Column::Raw.ne(Vec::<u8>::new()))
        .take();
    of_due_stage(chain_id, now).filter(Expr::exists(own_bytes))
}

/// Slots that are due by what their own rows say.
fn of_due_stage(chain_id: u64, now: Timestamp) -> Select<slot::Entity> {
    slot::Entity::find()
        .filter(slot::Column::Stage.is_in(SENDABLE))
        .filter(slot::Column::ChainId.eq(bigint(chain_id)))
        .filter(slot::Column::DueAt.lte(now.as_millis()))
        .filter(slot::Column::ClaimedUntil.lte(now.as_millis()))
}

/// What a claim needs to know of a slot: id, sender, nonce, stage and receives.
type DueSlot = (Vec<u8>, Vec<u8>, i64, String, i32);

const DUE_SLOT: [slot::Column; 5] = [
    slot::Column::Id,
    slot::Column::Sender,
    slot::Column::Nonce,
    slot::Column::Stage,
    slot::Column::Receives,
];

/// How many sets of due slots a claim on a server looks at, for one: others are claiming the same backlog.
const SETS_SEEN: u64 = 4;

/// The slots that are due first and that nobody else is claiming, up to a limit. A server locks whatever it sorts, the whole backlog:
/// there the set is chosen first, and its rows alone are locked.
async fn take_due(tx: &Transaction, chain_id: u64, limit: u64) -> Result<Vec<DueSlot>, StoreError> {
    let first = |columns: &[slot::Column], limit: u64| {
        due(chain_id, tx.now)
            .select_only()
            .columns(columns.iter().copied())
            .order_by_asc(slot::Column::DueAt)
            .order_by_asc(slot::Column::Nonce)
            .limit(limit)
    };
    let failed = |error| tx.failed(&error);
    if tx.is_alone() {
        return first(&DUE_SLOT, limit).into_tuple().all(&tx.inner).await.map_err(failed);
    }
    let seen = first(&[slot::Column::Id], limit.saturating_mul(SETS_SEEN));
    let seen: Vec<Vec<u8>> = seen.into_tuple().all(&tx.inner).await.map_err(failed)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut taken, mut rest) = (Vec::new(), seen.as_slice());
    while !rest.is_empty() && taken.len() < limit {
        let missing = limit.saturating_sub(taken.len()).min(ROWS_PER_STATEMENT);
        let (set, others) = rest.split_at(missing.min(rest.len()));
        let rows: Vec<DueSlot> = by_index(of_due_stage(chain_id, tx.now), BY_KEY)
            .select_only()
            .columns(DUE_SLOT)
            .filter(slot::Column::Id.is_in(set.iter().cloned()))
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .into_tuple()
            .all(&tx.inner)
            .await
            .map_err(failed)?;
        taken.extend(rows);
        rest = others;
    }
    Ok(taken)
}

async fn claim_in(
    tx: &Transaction,
    chain_id: u64,
    claim: &str,
    limit: u64,
    claim_ms: i64,
) -> Result<Vec<Sendable>, StoreError> {
    let rows = take_due(tx, chain_id, limit).await?;
    let mut bytes = bytes_to_send(tx, &rows).await?;
    let mut sendable = Vec::with_capacity(rows.len());
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for (id, sender, nonce, stage, receives) in &rows {
        let place = Place { table: "slots", row: id };
        let slot_id = SlotId::from_bytes(place.id("id", id)?);
        let is_first = place.known("stage", SlotStage::parse(stage))? == SlotStage::Signed;
        if is_first { &mut first } else { &mut again }.push(slot_id);
        let sender = place.address("sender", sender)?;
        let (hash, raw) = place.known("stage", bytes.remove(id))?;
        sendable.push(Sendable {
            slot_id,
            slot: Slot { chain_id, sender, nonce: place.unsigned("nonce", *nonce)? },
            hash,
            raw,
            receives: place.unsigned("receives", i64::from(*receives))?,
        });
    }
    let until = tx.now.plus_millis(claim_ms);
    let claim_set = |ids: &[SlotId], is_first: bool| {
        let mut claimed = slots_named(ids)
            .col_expr(slot::Column::Claim, Expr::value(claim))
            .col_expr(slot::Column::ClaimedUntil, Expr::value(until.as_millis()))
            .col_expr(slot::Column::Receives, Expr::col(slot::Column::Receives).add(1))
            .filter(slot::Column::ClaimedUntil.lte(tx.now.as_millis()));
        if is_first {
            claimed = moved(tx, claimed, SlotStage::Signed, SlotStage::Sending);
        }
        Write::new(claimed, ids.len())
    };
    let mut writes: Vec<Write> =
        again.chunks(ROWS_PER_STATEMENT).map(|ids| claim_set(ids, false)).collect();
    writes.extend(first.chunks(ROWS_PER_STATEMENT).map(|ids| claim_set(ids, true)));
    let started = (Event::SendStarted, None);
    move_carried(tx, writes, &first, |slot| State::Signed { slot }, started).await?;
    sendable.sort_by_key(|sendable| (sendable.slot.sender, sendable.slot.nonce));
    Ok(sendable)
}

/// The attempts to send: of each slot the dearest whose bytes we have. It is the newest that was signed, for each outbids all
/// before it; its place need not be the last, where an earlier life of the database had signed it before.
async fn bytes_to_send(
    tx: &Transaction,
    slots: &[DueSlot],
) -> Result<BTreeMap<Vec<u8>, (B256, Bytes)>, StoreError> {
    let mut dearest = BTreeMap::new();
    for slots in slots.chunks(ROWS_PER_STATEMENT) {
        let rows: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> = attempt::Entity::find()
            .select_only()
            .columns([attempt::Column::SlotId, attempt::Column::Hash, attempt::Column::Raw])
            .filter(attempt::Column::SlotId.is_in(slots.iter().map(|(id, ..)| id.clone())))
            .filter(attempt::Column::Raw.ne(Vec::<u8>::new()))
            .order_by_asc(attempt::Column::MaxFeePerGasWei)
            .order_by_asc(attempt::Column::Ordinal)
            .into_tuple()
            .all(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        for (slot, hash, raw) in rows {
            let place = Place { table: "attempts", row: &hash };
            dearest.insert(slot, (place.hash("hash", &hash)?, Bytes::from(raw)));
        }
    }
    Ok(dearest)
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

/// New bytes go out at once, and the pauses between their sends begin anew. A pool that dropped a slot dropped
/// those behind it as well (bor: a stranded chain), so they follow at once, lowest nonce first.
pub(crate) async fn send_from(tx: &Transaction, replaced: &[Slot]) -> Result<(), StoreError> {
    for replaced in replaced {
        let at_or_behind = slot::Column::Nonce.gte(bigint(replaced.nonce));
        send_now(tx, *replaced, at_or_behind).await?;
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

/// What the end of a send changes of its slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ending {
    /// When it is due again, and whether a provider has the bytes; `None` where its claim ran out meanwhile: it belongs to its
    /// next claimer.
    returned: Option<(Timestamp, bool)>,
    /// Whether `Sending` becomes `Sent`. A slot that a block consumed meanwhile is left as it is.
    is_sent: bool,
}

async fn record_in(
    tx: &Transaction,
    claim: &str,
    results: &[SendResult],
) -> Result<(), StoreError> {
    let ids: Vec<SlotId> = results.iter().map(|result| result.slot_id).collect();
    let held = held_slots(tx, claim, &ids).await?;
    let mut by_outcome: BTreeMap<&str, Vec<B256>> = BTreeMap::new();
    let mut by_ending: BTreeMap<Ending, Vec<SlotId>> = BTreeMap::new();
    for result in results {
        by_outcome.entry(shortened(&result.outcome)).or_default().push(result.hash);
        let Some(HeldSlot { stage, is_ours }) = held.get(&result.slot_id) else { continue };
        let ending = Ending {
            returned: is_ours.then_some((result.due_at, result.accepted)),
            is_sent: result.accepted && *stage == SlotStage::Sending,
        };
        if ending.returned.is_some() || ending.is_sent {
            by_ending.entry(ending).or_default().push(result.slot_id);
        }
    }
    let mut writes = Vec::new();
    for (outcome, hashes) in &by_outcome {
        let sets = hashes.chunks(ROWS_PER_STATEMENT);
        writes.extend(sets.map(|hashes| outcome_write(tx, outcome, hashes)));
    }
    let mut sent = Vec::new();
    for (ending, ids) in &by_ending {
        let sets = ids.chunks(ROWS_PER_STATEMENT);
        writes.extend(sets.map(|ids| ending_write(tx, claim, *ending, ids)));
        sent.extend(ids.iter().filter(|_| ending.is_sent));
    }
    let accepted = (Event::SendAccepted, None);
    move_carried(tx, writes, &sent, |slot| State::Broadcasting { slot }, accepted).await
}

/// A slot whose send ended.
struct HeldSlot {
    stage: SlotStage,
    /// Whether the claim under which it was sent still holds.
    is_ours: bool,
}

async fn held_slots(
    tx: &Transaction,
    claim: &str,
    ids: &[SlotId],
) -> Result<BTreeMap<SlotId, HeldSlot>, StoreError> {
    let mut held = BTreeMap::new();
    for ids in ids.chunks(ROWS_PER_STATEMENT) {
        let query = slot::Entity::find()
            .select_only()
            .columns([slot::Column::Id, slot::Column::Stage, slot::Column::Claim])
            .filter(slot::Column::Id.is_in(slot_keys(ids)));
        let rows: Vec<(Vec<u8>, String, Option<String>)> = tx
            .inner
            .holding_named(query)
            .into_tuple()
            .all(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        for (id, stage, claimed_by) in rows {
            let place = Place { table: "slots", row: &id };
            let stage = place.known("stage", SlotStage::parse(&stage))?;
            let is_ours = claimed_by.as_deref() == Some(claim);
            held.insert(SlotId::from_bytes(place.id("id", &id)?), HeldSlot { stage, is_ours });
        }
    }
    Ok(held)
}

fn ending_write(tx: &Transaction, claim: &str, ending: Ending, ids: &[SlotId]) -> Write {
    let mut ended = slots_named(ids);
    if let Some((due_at, accepted)) = ending.returned {
        ended = ended
            .col_expr(slot::Column::Claim, Expr::value(Option::<String>::None))
            .col_expr(slot::Column::ClaimedUntil, Expr::value(0))
            .col_expr(slot::Column::DueAt, Expr::value(due_at.as_millis()))
            .filter(slot::Column::Claim.eq(claim));
        if accepted {
            ended = ended.col_expr(slot::Column::Receives, Expr::value(0));
        }
    }
    if ending.is_sent {
        ended = moved(tx, ended, SlotStage::Sending, SlotStage::Sent);
    }
    Write::new(ended, ids.len())
}

fn outcome_write(tx: &Transaction, outcome: &str, hashes: &[B256]) -> Write {
    let first_sent =
        Func::coalesce([Expr::col(attempt::Column::SentAt), Expr::value(tx.now.as_millis())]);
    let recorded = attempt::Entity::update_many()
        .col_expr(attempt::Column::Sends, Expr::col(attempt::Column::Sends).add(1))
        .col_expr(attempt::Column::SentAt, first_sent.into())
        .col_expr(attempt::Column::LastOutcome, Expr::value(outcome))
        .filter(attempt::Column::Hash.is_in(hashes.iter().map(|hash| hash.to_vec())));
    Write::new(recorded, hashes.len())
}
