//! Depth: confirmations, and the end of slots.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use portcullis_core::id::{SlotId, WithdrawalId};
use portcullis_core::ledger::PostingKind;
use portcullis_core::recovery::OUT_OF_GAS_RIDES_MAX;
use portcullis_core::slot::{ItemOutcome, Purpose, Rail, SlotOutcome, SlotStage};
use portcullis_core::time::Timestamp;
use portcullis_core::withdrawal::{BlockRef, Event, ReleaseCause, State, StateCode};
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::ConsumedSlot;
use super::carried::{Carried, sound_ones, stakes_of, states_of};
use crate::convert::{Place, bigint};
use crate::db::{Source, Transaction};
use crate::deployment::raise_in;
use crate::entity::{binding, slot};
use crate::error::StoreError;
use crate::gas::dry_rides;
use crate::lease::{Lease, check_leases};
use crate::ledger::{NewPosting, ROWS_PER_STATEMENT, refused_subjects};
use crate::slot::{OpenSlot, open_slots_by_id};
use crate::slot_moves::{move_slots, slot_keys, slot_moves};
use crate::transition::{Stake, alike_writes, apply, settle_alike};
use crate::withdrawal::WithdrawalRecord;

pub(super) fn consumed(
    chain_id: u64,
    stage: SlotStage,
    block: u64,
) -> sea_orm::Select<slot::Entity> {
    slot::Entity::find()
        .filter(slot::Column::ChainId.eq(bigint(chain_id)))
        .filter(slot::Column::Stage.eq(stage.as_str()))
        .filter(slot::Column::BlockNumber.lte(bigint(block)))
        .order_by_asc(slot::Column::BlockNumber)
        .order_by_asc(slot::Column::Id)
}

pub(super) async fn confirm_in(
    tx: &Transaction,
    lease: &Lease,
    (chain_id, block): (u64, u64),
    ids: &[Vec<u8>],
) -> Result<usize, StoreError> {
    check_leases(tx, std::slice::from_ref(lease)).await?;
    // A reorg may have taken some of them out of their blocks since they were found.
    let included = still(tx, consumed(chain_id, SlotStage::Included, block), ids).await?;
    let mut slots: BTreeMap<SlotId, Vec<Stake>> =
        included.keys().map(|id| (*id, Vec::new())).collect();
    for (carried, stake) in sound_stakes(tx, &mut slots).await? {
        if carried.state == StateCode::Confirming
            && let Some(stakes) = slots.get_mut(&carried.slot)
        {
            stakes.push(stake);
        }
    }
    set_unsettled_aside(tx, &mut slots).await?;
    let ids: Vec<SlotId> = slots.keys().copied().collect();
    let moved = slot_moves(tx, &ids, SlotStage::Included, SlotStage::Confirmed);
    if let Some((slot, block)) = included.into_iter().next() {
        let stakes: Vec<Stake> = slots.into_values().flatten().collect();
        settle_alike(tx, moved, &stakes, State::Confirming { slot, block }).await?;
    }
    Ok(ids.len())
}

/// Those of the slots that a query still finds, with their blocks.
async fn still(
    tx: &Transaction,
    query: sea_orm::Select<slot::Entity>,
    ids: &[Vec<u8>],
) -> Result<BTreeMap<SlotId, BlockRef>, StoreError> {
    type Row = (Vec<u8>, Option<i64>, Option<Vec<u8>>);
    let rows: Vec<Row> = tx
        .inner
        .holding_named(still_query(query, ids))
        .into_tuple()
        .all(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let read = |(id, number, hash): &Row| {
        let place = Place { table: "slots", row: id };
        let hash = place.known("block_hash", hash.as_ref())?;
        let block = BlockRef {
            number: place.unsigned("block_number", place.known("block_number", *number)?)?,
            hash: place.hash("block_hash", hash)?,
        };
        Ok((SlotId::from_bytes(place.id("id", id)?), block))
    };
    rows.iter().map(read).collect()
}

pub(super) fn still_query(
    query: sea_orm::Select<slot::Entity>,
    ids: &[Vec<u8>],
) -> sea_orm::Select<slot::Entity> {
    query.filter(slot::Column::Id.is_in(ids.iter().cloned())).select_only().columns([
        slot::Column::Id,
        slot::Column::BlockNumber,
        slot::Column::BlockHash,
    ])
}

/// What the slots carry, with its money. Slots that cannot be read are noted, left out, and wait.
async fn sound_stakes(
    tx: &Transaction,
    slots: &mut BTreeMap<SlotId, Vec<Stake>>,
) -> Result<Vec<(Carried, Stake)>, StoreError> {
    let ids: Vec<SlotId> = slots.keys().copied().collect();
    match stakes_of(tx, &ids).await {
        Err(StoreError::Corrupt { .. }) => {
            let sound = keep_sound(tx, slots).await?;
            stakes_of(tx, &sound).await
        }
        read => read,
    }
}

/// Leaves out slots that cannot be read in full, and returns the others.
async fn keep_sound<V>(
    tx: &Transaction,
    slots: &mut BTreeMap<SlotId, V>,
) -> Result<Vec<SlotId>, StoreError> {
    let ids: Vec<SlotId> = slots.keys().copied().collect();
    let sound = sound_ones(tx, &ids).await?;
    slots.retain(|id, _| sound.contains(id));
    Ok(sound)
}

/// Leaves out slots whose payments the ledger would not settle: a row was changed behind our back. They
/// wait, the engine halts with what was seen, and the others are confirmed.
async fn set_unsettled_aside(
    tx: &Transaction,
    slots: &mut BTreeMap<SlotId, Vec<Stake>>,
) -> Result<(), StoreError> {
    let stakes = slots.values().flatten();
    let postings: Vec<NewPosting> =
        stakes.map(|stake| stake.posting(PostingKind::Settle)).collect();
    let refused = refused_subjects(tx, &postings).await?;
    if refused.is_empty() {
        return Ok(());
    }
    let is_refused = |stake: &Stake| refused.contains(&stake.id.to_bytes());
    for stake in slots.values().flatten().filter(|stake| is_refused(stake)) {
        let detail = format!(
            "{} of account {} is paid on chain, and the ledger has not {} held for it: its row or the \
             account's balance was changed",
            stake.id, stake.purse.account, stake.amount
        );
        tracing::error!(withdrawal = %stake.id, detail, "a payment cannot be settled");
        raise_in(tx, "ledger", &detail).await?;
    }
    slots.retain(|_, stakes| !stakes.iter().any(is_refused));
    Ok(())
}

/// Slots that paid all that they carry, at or below a block that is not younger than an instant.
pub(super) fn paid(chain_id: u64, block: u64, before: Timestamp) -> sea_orm::Select<slot::Entity> {
    let is_known = [ItemOutcome::Paid.as_str(), ItemOutcome::Short.as_str()];
    let unpaid = Query::select()
        .expr(Expr::value(1))
        .from(binding::Entity)
        .and_where(
            Expr::col((binding::Entity, binding::Column::SlotId))
                .equals((slot::Entity, slot::Column::Id)),
        )
        .and_where(binding::Column::ReleasedAt.eq(0))
        .and_where(binding::Column::Item.is_null().or(binding::Column::Item.is_not_in(is_known)))
        .to_owned();
    // Of the direct rail the slot's own outcome says it.
    let unpaid =
        Condition::all().add(slot::Column::Rail.eq(Rail::Vault.as_str())).add(Expr::exists(unpaid));
    consumed(chain_id, SlotStage::Confirmed, block)
        .filter(slot::Column::BlockAt.lte(before.as_millis()))
        .filter(slot::Column::Purpose.eq(Purpose::Pay.as_str()))
        .filter(slot::Column::Outcome.eq(SlotOutcome::Paid.as_str()))
        .filter(unpaid.not())
}

/// What paid slots carry is paid for good; no more of the payments is read. What is held was paid short, for instance, and
/// stays so: an operator decides.
pub(super) async fn end_paid_in(
    tx: &Transaction,
    lease: &Lease,
    query: sea_orm::Select<slot::Entity>,
    ids: &[Vec<u8>],
) -> Result<usize, StoreError> {
    check_leases(tx, std::slice::from_ref(lease)).await?;
    let mut slots = still(tx, query, ids).await?;
    let all: Vec<SlotId> = slots.keys().copied().collect();
    let carried = match states_of(tx, &all).await {
        Err(StoreError::Corrupt { .. }) => {
            let sound = keep_sound(tx, &mut slots).await?;
            states_of(tx, &sound).await?
        }
        read => read?,
    };
    // A slot must not end before its payments do.
    for early in
        carried.iter().filter(|it| !matches!(it.state, StateCode::Confirmed | StateCode::Held))
    {
        tracing::error!(slot = %early.slot, withdrawal = %early.id, state = %early.state, "a paid slot carries what is not confirmed");
        slots.remove(&early.slot);
    }
    let mut alike: BTreeMap<BlockRef, (SlotId, Vec<WithdrawalId>)> = BTreeMap::new();
    for payment in carried.iter().filter(|it| it.state == StateCode::Confirmed) {
        if let Some(block) = slots.get(&payment.slot) {
            alike.entry(*block).or_insert_with(|| (payment.slot, Vec::new())).1.push(payment.id);
        }
    }
    let mut writes = Vec::new();
    for (block, (slot, ids)) in alike {
        let detail = format!("paid in block {}", block.number);
        let confirmed = State::Confirmed { slot, block, is_final: false };
        writes.extend(alike_writes(tx, &ids, confirmed, (Event::Finalized, Some(&detail)))?);
    }
    let ended: Vec<SlotId> = slots.into_keys().collect();
    writes.extend(slot_moves(tx, &ended, SlotStage::Confirmed, SlotStage::Final));
    tx.write_together(writes).await?;
    Ok(ended.len())
}

pub(super) async fn finalize_in(
    tx: &Transaction,
    lease: &Lease,
    slots: &[ConsumedSlot],
) -> Result<(), StoreError> {
    check_leases(tx, std::slice::from_ref(lease)).await?;
    let ids: Vec<SlotId> = slots.iter().map(|slot| slot.open.id).collect();
    expect_consumed_so(tx, slots).await?;
    end_all(tx, slots).await?;
    move_slots(tx, &ids, SlotStage::Confirmed, SlotStage::Final).await
}

/// Ends slots that released what they carry, or voided it.
async fn end_all(tx: &Transaction, slots: &[ConsumedSlot]) -> Result<(), StoreError> {
    let ids: Vec<SlotId> = slots.iter().map(|slot| slot.open.id).collect();
    let mut moves = Vec::new();
    let current = open_slots_by_id(&tx.inner, tx.name, &ids).await?;
    let dry = dry_rides_of(tx, slots).await?;
    for slot in slots {
        // A slot must not end before its payments do.
        let Some(open) = current.iter().find(|open| open.id == slot.open.id) else {
            return Err(StoreError::Conflict { during: tx.name, expected: 1, found: 0 });
        };
        for record in &open.payments {
            let Some(event) = end_of(tx, slot, open, (record, &dry))? else { continue };
            let detail = format!("{} by {}", slot.outcome.as_str(), slot.hash);
            moves.push((record, event, Some(detail)));
        }
    }
    apply(tx, &moves).await
}

/// How often each payment ran out of gas.
type DryRides = BTreeMap<WithdrawalId, u32>;

/// How often the payments of reverted slots ran out of gas, this time included.
async fn dry_rides_of(tx: &Transaction, slots: &[ConsumedSlot]) -> Result<DryRides, StoreError> {
    let reverted = slots.iter().filter(|slot| slot.outcome == SlotOutcome::Reverted);
    let ids: Vec<WithdrawalId> =
        reverted.flat_map(|slot| &slot.open.payments).map(|record| record.id).collect();
    dry_rides(&tx.inner, tx.name, &ids, &[SlotStage::Confirmed, SlotStage::Final]).await
}

/// A transaction that used up its gas says nothing about the payment: it rides again with more, a few times.
fn cause_of_revert(slot: &ConsumedSlot, dry: &DryRides, record: &WithdrawalRecord) -> ReleaseCause {
    let rides = dry.get(&record.id).copied().unwrap_or(0);
    if rides == 0 || rides > OUT_OF_GAS_RIDES_MAX {
        return ReleaseCause::Reverted;
    }
    tracing::warn!(withdrawal = %record.id, hash = %slot.hash, rides, "it ran out of gas and rides again");
    ReleaseCause::OutOfGas
}

/// What the end of a slot that did not pay means for a payment that it still carries; `None` when it stays as it is. On the vault
/// rail what was not paid has left before this ([`Store::release_unpaid`](crate::Store::release_unpaid)).
fn end_of(
    tx: &Transaction,
    slot: &ConsumedSlot,
    open: &OpenSlot,
    (record, dry): (&WithdrawalRecord, &DryRides),
) -> Result<Option<Event>, StoreError> {
    let requested = record.cancel_requested;
    let item = open.items.get(&record.id);
    Ok(match (open.purpose, open.rail, slot.outcome) {
        (Purpose::Void, _, SlotOutcome::Voided) if item == Some(&ItemOutcome::Voided) => {
            Some(Event::Released(ReleaseCause::Voided { requested }))
        }
        // Its number was used before: somebody has to find out by what.
        (Purpose::Void, _, SlotOutcome::Voided) => None,
        (Purpose::Void, ..) => Some(Event::Released(ReleaseCause::NotVoided)),
        (_, _, SlotOutcome::Paid | SlotOutcome::Voided) | (_, Rail::Vault, _) => {
            return Err(StoreError::Conflict { during: tx.name, expected: 0, found: 1 });
        }
        (_, Rail::Direct, SlotOutcome::Reverted) => {
            Some(Event::Released(cause_of_revert(slot, dry, record)))
        }
        (_, Rail::Direct, SlotOutcome::Canceled | SlotOutcome::Filled) => {
            Some(Event::Released(ReleaseCause::Canceled { requested }))
        }
    })
}

/// The evidence was read outside this transaction: a reorg since then makes it worthless, even where
/// the slot is confirmed again.
pub(super) async fn expect_consumed_so(
    tx: &Transaction,
    slots: &[ConsumedSlot],
) -> Result<(), StoreError> {
    for slots in slots.chunks(ROWS_PER_STATEMENT) {
        let ids: Vec<SlotId> = slots.iter().map(|slot| slot.open.id).collect();
        let query = slot::Entity::find()
            .filter(slot::Column::Id.is_in(slot_keys(&ids)))
            .filter(slot::Column::Stage.eq(SlotStage::Confirmed.as_str()));
        let rows = tx
            .inner
            .holding_named(query)
            .all(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        let mut unchanged = 0;
        for row in &rows {
            let seen = read_consumption(row)?;
            let same = slots.iter().any(|slot| {
                slot.open.id == seen.id
                    && slot.outcome == seen.outcome
                    && slot.hash == seen.hash
                    && slot.block == seen.block
            });
            unchanged += u64::from(same);
        }
        tx.expect_rows(unchanged, slots.len())?;
    }
    Ok(())
}

/// What a slot's row says about its consumption.
pub(crate) struct Consumed {
    pub(crate) id: SlotId,
    pub(crate) outcome: SlotOutcome,
    pub(crate) hash: B256,
    pub(crate) block: BlockRef,
    pub(crate) block_at: Timestamp,
}

/// Slots with what their rows say about their consumption. Those that cannot be read are missing among the slots.
pub(super) fn with_consumption(seen: &[Consumed], slots: Vec<OpenSlot>) -> Vec<ConsumedSlot> {
    let consumed = slots.into_iter().filter_map(|open| {
        let seen = seen.iter().find(|seen| seen.id == open.id)?;
        Some(ConsumedSlot {
            open,
            outcome: seen.outcome,
            hash: seen.hash,
            block: seen.block,
            block_at: seen.block_at,
        })
    });
    consumed.collect()
}

pub(crate) fn read_consumption(row: &slot::Model) -> Result<Consumed, StoreError> {
    let place = Place { table: "slots", row: &row.id };
    let outcome = row.outcome.as_deref().and_then(SlotOutcome::parse);
    let hash = place.known("transaction_hash", row.transaction_hash.as_ref())?;
    let block_hash = place.known("block_hash", row.block_hash.as_ref())?;
    Ok(Consumed {
        id: SlotId::from_bytes(place.id("id", &row.id)?),
        outcome: place.known("outcome", outcome)?,
        hash: place.hash("transaction_hash", hash)?,
        block: BlockRef {
            number: place
                .unsigned("block_number", place.known("block_number", row.block_number)?)?,
            hash: place.hash("block_hash", block_hash)?,
        },
        block_at: Timestamp::from_millis(place.known("block_at", row.block_at)?),
    })
}
