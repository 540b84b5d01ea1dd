//! Slots and attempts: binding payments, and committing signed bytes before any of them is sent.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};
use portcullis_core::fee::Fees;
use portcullis_core::id::{SlotId, WithdrawalId};
use portcullis_core::intent::SignedAttempt;
use portcullis_core::slot::{AttemptKind, ItemOutcome, Purpose, Rail, Slot, SlotStage};
use portcullis_core::time::Timestamp;
use portcullis_core::withdrawal::{Event, State};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, EntityTrait, Iterable, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    Select,
};

use crate::commit::commit_in;
use crate::convert::{Place, bigint};
use crate::damage::read_sound_slots;
use crate::db::{Source, Store, Transaction, transaction};
use crate::deployment::refuse_while_halted;
use crate::entity::{attempt, binding, slot, work};
use crate::error::StoreError;
use crate::lease::{Lease, check_leases};
use crate::ledger::ROWS_PER_STATEMENT;
use crate::sender::nonces_write;
use crate::slot_moves::{slot_keys, slot_moves};
use crate::slot_rows::slot_inserts;
use crate::transition::{Stage, alike_writes, apply, move_carried};
use crate::trip::Write;
use crate::withdrawal::{
    WithdrawalRecord, bindings_of, carried, read_fees, read_slot_facts, records_carried,
    withdrawals_by_id,
};

/// A slot to be opened with its fixed set of payments; none for a slot of the system.
#[derive(Clone, Debug)]
pub struct NewSlot {
    /// Its id.
    pub id: SlotId,
    /// Where on the chain.
    pub slot: Slot,
    /// What for.
    pub purpose: Purpose,
    /// How its payments travel.
    pub rail: Rail,
    /// The digest of what it will do.
    pub payload_digest: B256,
    /// The payments that it carries, in order.
    pub payments: Vec<WithdrawalId>,
    /// The gas that a node says it uses; `None` where none was asked.
    pub gas_estimated: Option<u64>,
    /// Why its payments travel together or alone: a line of their timelines.
    pub why: Option<String>,
}

/// Signed bytes to be committed.
#[derive(Clone, Debug)]
pub struct NewAttempt {
    /// The slot's id.
    pub slot_id: SlotId,
    /// What was signed.
    pub signed: SignedAttempt,
}

/// One committed attempt of an open slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenAttempt {
    /// The transaction's hash.
    pub hash: B256,
    /// Whether it pays or cancels.
    pub kind: AttemptKind,
    /// What it may cost.
    pub fees: Fees,
    /// Its gas limit.
    pub gas_limit: u64,
    /// When its bytes were committed.
    pub committed_at: Timestamp,
    /// Whether it is known by its hash alone, from the chain or the journal: its bytes are not here.
    pub is_adopted: bool,
    /// What its last send came to; an error begins with its class.
    pub last_outcome: Option<String>,
}

/// A slot with all that a role needs to go on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSlot {
    /// Its id.
    pub id: SlotId,
    /// Where on the chain.
    pub slot: Slot,
    /// What for.
    pub purpose: Purpose,
    /// How its payments travel.
    pub rail: Rail,
    /// The digest of its payload.
    pub payload_digest: B256,
    /// How far it has come.
    pub stage: SlotStage,
    /// Whether a cancel of it was asked for.
    pub cancel_requested: bool,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Its attempts, oldest first.
    pub attempts: Vec<OpenAttempt>,
    /// The payments bound to it, in order; without their timelines.
    pub payments: Vec<WithdrawalRecord>,
    /// The payments that left it, in order: on the vault rail they may ride another slot while this one can
    /// still be undone by a reorg, and then pay them after all.
    pub left: Vec<WithdrawalRecord>,
    /// What became of each payment, once a block has consumed the slot successfully.
    pub items: BTreeMap<WithdrawalId, ItemOutcome>,
}

impl Store {
    /// Opens slots and binds their payments, in one transaction: leases and nonces are checked, the
    /// engine is not halted, every payment is queued. After this commit a slot carries these payments
    /// for ever.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Halted`], or [`StoreError::Conflict`] when a nonce or
    /// a payment moved on meanwhile; nothing is bound then.
    pub async fn bind(&self, leases: &[Lease], slots: &[NewSlot]) -> Result<(), StoreError> {
        transaction!(self, "bind", |tx| bind_in(&tx, leases, slots))
    }

    /// Commits signed bytes, and with the first attempt of a slot the `SIGNED` of its payments. Bytes of an attempt
    /// that was known by its hash alone make it one of ours. `commands` are done by these attempts.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] or [`StoreError::Conflict`]; nothing is committed then.
    pub async fn commit_attempts(
        &self,
        leases: &[Lease],
        attempts: &[NewAttempt],
        commands: &[(i64, String)],
    ) -> Result<(), StoreError> {
        transaction!(self, "commit_attempts", |tx| commit_in(&tx, leases, attempts, commands))
    }

    /// Slots of these senders that were bound and never signed: a signer ended between two commits.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn unsigned_slots(
        &self,
        chain_id: u64,
        senders: &[Address],
    ) -> Result<Vec<OpenSlot>, StoreError> {
        let during = "unsigned_slots";
        let picture = self.snapshot(during).await?;
        let rows = unsigned_query(chain_id, senders)
            .all(&picture)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        Ok(read_sound_slots(&picture, during, &rows).await?.noted(&self.damage))
    }

    /// One slot, whatever its stage.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn slot(&self, slot: Slot) -> Result<Option<OpenSlot>, StoreError> {
        let during = "slot";
        let picture = self.snapshot(during).await?;
        let row = slot::Entity::find()
            .filter(slot::Column::ChainId.eq(bigint(slot.chain_id)))
            .filter(slot::Column::Sender.eq(slot.sender.to_vec()))
            .filter(slot::Column::Nonce.eq(bigint(slot.nonce)))
            .one(&picture)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        Ok(read_open_slots(&picture, during, row.as_slice()).await?.pop())
    }
}

async fn bind_in(tx: &Transaction, leases: &[Lease], slots: &[NewSlot]) -> Result<(), StoreError> {
    check_leases(tx, leases).await?;
    refuse_while_halted(tx).await?;
    let mut writes = take_nonces(tx, slots)?;
    writes.extend(bind_payments(tx, slots).await?);
    writes.extend(slot_inserts(tx, slots));
    tx.write_together(writes).await
}

/// Each sender's nonces follow the last that was given.
fn take_nonces(tx: &Transaction, slots: &[NewSlot]) -> Result<Vec<Write>, StoreError> {
    let mut by_sender: BTreeMap<(u64, Address), Vec<u64>> = BTreeMap::new();
    for new in slots {
        let key = (new.slot.chain_id, new.slot.sender);
        by_sender.entry(key).or_default().push(new.slot.nonce);
    }
    let mut writes = Vec::with_capacity(by_sender.len());
    for ((chain_id, sender), mut nonces) in by_sender {
        nonces.sort_unstable();
        let first = nonces[0];
        let contiguous = nonces.iter().copied().eq((first..).take(nonces.len()));
        if !contiguous {
            tx.expect_rows(0, 1)?;
        }
        writes.push(nonces_write(chain_id, sender, first, nonces.len() as u64)?);
    }
    Ok(writes)
}

/// Moves the payments: one that somebody else bound is no longer queued.
async fn bind_payments(tx: &Transaction, slots: &[NewSlot]) -> Result<Vec<Write>, StoreError> {
    let ids: Vec<WithdrawalId> = slots.iter().flat_map(|new| new.payments.clone()).collect();
    let distinct: BTreeSet<WithdrawalId> = ids.iter().copied().collect();
    // Fewer when one is named twice.
    tx.expect_rows(distinct.len() as u64, ids.len())?;
    let (voiding, paying): (Vec<&NewSlot>, Vec<&NewSlot>) =
        slots.iter().partition(|new| new.purpose == Purpose::Void);
    bind_to_void(tx, &voiding).await?;
    bind_to_pay(tx, &paying).await
}

/// Nothing of the payments is read: the signer has, and compares what it signs with its seal.
async fn bind_to_pay(tx: &Transaction, slots: &[&NewSlot]) -> Result<Vec<Write>, StoreError> {
    let mut by_chain: BTreeMap<u64, Vec<WithdrawalId>> = BTreeMap::new();
    let mut alike: BTreeMap<Option<&str>, (SlotId, Vec<WithdrawalId>)> = BTreeMap::new();
    for new in slots {
        by_chain.entry(new.slot.chain_id).or_default().extend(&new.payments);
        let entry = alike.entry(new.why.as_deref()).or_insert_with(|| (new.id, Vec::new()));
        entry.1.extend(&new.payments);
    }
    for (chain_id, ids) in &by_chain {
        expect_at_signer(tx, *chain_id, ids).await?;
    }
    let mut writes = Vec::new();
    for (why, (any, ids)) in &alike {
        writes.extend(alike_writes(tx, ids, State::Queued, (Event::Bound(*any), *why))?);
    }
    Ok(writes)
}

async fn bind_to_void(tx: &Transaction, slots: &[&NewSlot]) -> Result<(), StoreError> {
    let slot_of: BTreeMap<WithdrawalId, &NewSlot> = slots
        .iter()
        .flat_map(|new| new.payments.iter().map(move |payment| (*payment, *new)))
        .collect();
    let ids: Vec<WithdrawalId> = slot_of.keys().copied().collect();
    expect_finally_unpaid(tx, &ids).await?;
    let records = withdrawals_by_id(&tx.inner, tx.name, &ids).await?;
    let fits = |record: &&WithdrawalRecord| slot_of[&record.id].slot.chain_id == record.chain_id;
    tx.expect_rows(records.iter().filter(fits).count() as u64, ids.len())?;
    let moves: Vec<_> = records
        .iter()
        .map(|record| {
            let new = slot_of[&record.id];
            (record, Event::BoundToVoid(new.id), new.why.clone())
        })
        .collect();
    apply(tx, &moves).await
}

/// Work that a release sent back to the processor is queued too, but must not be bound before policy
/// has passed it again.
async fn expect_at_signer(
    tx: &Transaction,
    chain_id: u64,
    ids: &[WithdrawalId],
) -> Result<(), StoreError> {
    for ids in ids.chunks(ROWS_PER_STATEMENT) {
        let ready: Vec<Vec<u8>> = tx
            .inner
            .holding_named(at_signer_query(chain_id, ids))
            .into_tuple()
            .all(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        tx.expect_rows(ready.len() as u64, ids.len())?;
    }
    Ok(())
}

pub(crate) fn at_signer_query(chain_id: u64, ids: &[WithdrawalId]) -> Select<work::Entity> {
    work::Entity::find()
        .select_only()
        .column(work::Column::WithdrawalId)
        .filter(work::Column::WithdrawalId.is_in(ids.iter().map(|id| id.to_bytes().to_vec())))
        .filter(work::Column::ChainId.eq(bigint(chain_id)))
        .filter(work::Column::Stage.eq(Stage::Sign.as_str()))
}

/// Every slot that carried what is to be voided must be over for good (invariant 14).
async fn expect_finally_unpaid(tx: &Transaction, ids: &[WithdrawalId]) -> Result<(), StoreError> {
    let rides = bindings_of(&tx.inner, tx.name, ids).await?;
    let slots: Vec<Vec<u8>> = rides.into_iter().map(|row| row.slot_id).collect();
    for slots in slots.chunks(ROWS_PER_STATEMENT) {
        let open = slot::Entity::find()
            .filter(slot::Column::Id.is_in(slots.iter().cloned()))
            .filter(slot::Column::Stage.ne(SlotStage::Final.as_str()))
            .count(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        if open > 0 {
            tx.expect_rows(open, 0)?;
        }
    }
    Ok(())
}

/// The first attempt of a slot is there, or is to be written: its payments are `SIGNED`.
pub(crate) async fn sign_slots(
    tx: &Transaction,
    mut writes: Vec<Write>,
    slots: &[SlotId],
) -> Result<(), StoreError> {
    writes.extend(slot_moves(tx, slots, SlotStage::Bound, SlotStage::Signed));
    let committed = (Event::AttemptCommitted, None);
    move_carried(tx, writes, slots, |slot| State::Signing { slot }, committed).await
}

pub(crate) async fn open_slots_by_id<C: Source>(
    connection: &C,
    during: &'static str,
    ids: &[SlotId],
) -> Result<Vec<OpenSlot>, StoreError> {
    let mut slots = Vec::with_capacity(ids.len());
    for ids in ids.chunks(ROWS_PER_STATEMENT) {
        let query = slot::Entity::find().filter(slot::Column::Id.is_in(slot_keys(ids)));
        let rows = connection
            .holding_named(query)
            .all(connection)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        slots.extend(read_open_slots(connection, during, &rows).await?);
    }
    Ok(slots)
}

/// Completes slot rows with their attempts and live payments, in the order of the rows.
pub(crate) async fn read_open_slots<C: Source>(
    connection: &C,
    during: &'static str,
    rows: &[slot::Model],
) -> Result<Vec<OpenSlot>, StoreError> {
    let failed = |error| StoreError::of_statement(during, &error);
    let mut attempts: BTreeMap<Vec<u8>, Vec<OpenAttempt>> = BTreeMap::new();
    let mut bindings: BTreeMap<Vec<u8>, Vec<binding::Model>> = BTreeMap::new();
    for rows in rows.chunks(ROWS_PER_STATEMENT) {
        let ids = || rows.iter().map(|row| row.id.clone());
        let found = attempts_in_short()
            .filter(attempt::Column::SlotId.is_in(ids()))
            .order_by_asc(attempt::Column::Ordinal)
            .all(connection)
            .await
            .map_err(failed)?;
        for row in found {
            let attempt = read_open_attempt(&row)?;
            attempts.entry(row.slot_id).or_default().push(attempt);
        }
        let found = binding::Entity::find()
            .filter(binding::Column::SlotId.is_in(ids()))
            .order_by_asc(binding::Column::Position)
            .all(connection)
            .await
            .map_err(failed)?;
        for row in found {
            bindings.entry(row.slot_id.clone()).or_default().push(row);
        }
    }
    let records = records_carried(connection, during, rows, &bindings).await?;
    let mut open = Vec::with_capacity(rows.len());
    for row in rows {
        let place = Place { table: "slots", row: &row.id };
        let facts = read_slot_facts(row)?;
        let (mut payments, mut left, mut items) = (Vec::new(), Vec::new(), BTreeMap::new());
        for binding in bindings.remove(&row.id).unwrap_or_default() {
            let place = Place { table: "bindings", row: &row.id };
            let id = carried(&binding)?;
            let record = place.known("withdrawal_id", records.get(&id))?.clone();
            if let Some(text) = &binding.item {
                items.insert(id, place.known("item", ItemOutcome::parse(text))?);
            }
            if binding.released_at == 0 { payments.push(record) } else { left.push(record) }
        }
        open.push(OpenSlot {
            id: facts.id,
            slot: facts.slot,
            purpose: place.known("purpose", Purpose::parse(&row.purpose))?,
            payload_digest: place.hash("payload_digest", &row.payload_digest)?,
            stage: facts.stage,
            cancel_requested: row.cancel_requested == 1,
            opened_at: Timestamp::from_millis(row.opened_at),
            attempts: attempts.remove(&row.id).unwrap_or_default(),
            rail: place.known("rail", Rail::parse(&row.rail))?,
            payments,
            left,
            items,
        });
    }
    Ok(open)
}

/// Attempts with no more than the first of their bytes, which tells whether there are any: a batch has thousands. The first of
/// none is NULL to SQLite.
pub(crate) fn attempts_in_short() -> Select<attempt::Entity> {
    let others = attempt::Column::iter().filter(|column| !matches!(column, attempt::Column::Raw));
    attempt::Entity::find()
        .select_only()
        .columns(others)
        .expr_as(Expr::cust("coalesce(substr(raw, 1, 1), X'')"), "raw")
}

pub(crate) fn read_open_attempt(row: &attempt::Model) -> Result<OpenAttempt, StoreError> {
    let place = Place { table: "attempts", row: &row.hash };
    Ok(OpenAttempt {
        hash: place.hash("hash", &row.hash)?,
        kind: place.known("kind", AttemptKind::parse(&row.kind))?,
        fees: read_fees(place, row)?,
        gas_limit: place.unsigned("gas_limit", row.gas_limit)?,
        committed_at: Timestamp::from_millis(row.committed_at),
        is_adopted: row.raw.is_empty(),
        last_outcome: row.last_outcome.clone(),
    })
}

pub(crate) fn unsigned_query(chain_id: u64, senders: &[Address]) -> Select<slot::Entity> {
    slot::Entity::find()
        .filter(slot::Column::ChainId.eq(bigint(chain_id)))
        .filter(slot::Column::Stage.eq(SlotStage::Bound.as_str()))
        .filter(slot::Column::Sender.is_in(senders.iter().map(|sender| sender.to_vec())))
        .order_by_asc(slot::Column::Sender)
        .order_by_asc(slot::Column::Nonce)
}
