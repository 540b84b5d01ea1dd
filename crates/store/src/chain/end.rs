//! Depth: confirmations, and the end of slots.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use portcullis_core::id::{SlotId, WithdrawalId};
use portcullis_core::recovery::OUT_OF_GAS_RIDES_MAX;
use portcullis_core::slot::{ItemOutcome, Purpose, Rail, SlotOutcome, SlotStage};
use portcullis_core::time::Timestamp;
use portcullis_core::withdrawal::{BlockRef, Effect, Event, ReleaseCause, State};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

use super::ConsumedSlot;
use crate::convert::{Place, bigint};
use crate::damage::read_sound_slots;
use crate::db::Transaction;
use crate::deployment::raise_in;
use crate::entity::slot;
use crate::error::StoreError;
use crate::gas::dry_rides;
use crate::lease::{Lease, check_leases};
use crate::ledger::{NewPosting, ROWS_PER_STATEMENT, refused_subjects};
use crate::slot::{OpenSlot, move_slots, open_slots_by_id, slot_keys};
use crate::transition::{apply, posting_of};
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
    let rows = consumed(chain_id, SlotStage::Included, block)
        .filter(slot::Column::Id.is_in(ids.iter().cloned()))
        .all(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let mut slots = read_sound_slots(&tx.inner, tx.name, &rows).await?.noted(&tx.damage);
    set_unsettled_aside(tx, &mut slots).await?;
    let ids: Vec<SlotId> = slots.iter().map(|open| open.id).collect();
    move_slots(tx, &ids, SlotStage::Included, SlotStage::Confirmed).await?;
    let moves: Vec<_> = slots
        .iter()
        .flat_map(|open| &open.payments)
        .filter(|record| matches!(record.state, State::Confirming { .. }))
        .map(|record| (record, Event::Confirmed, None))
        .collect();
    apply(tx, &moves).await?;
    Ok(slots.len())
}

/// Leaves out slots whose payments the ledger would not settle: a row was changed behind our back. They
/// wait, the engine halts with what was seen, and the others are confirmed.
async fn set_unsettled_aside(
    tx: &Transaction,
    slots: &mut Vec<OpenSlot>,
) -> Result<(), StoreError> {
    let postings: Vec<NewPosting> = slots
        .iter()
        .flat_map(|open| &open.payments)
        .filter(|record| matches!(record.state, State::Confirming { .. }))
        .filter_map(|record| posting_of(record, Effect::Settle))
        .collect();
    let refused = refused_subjects(tx, &postings).await?;
    if refused.is_empty() {
        return Ok(());
    }
    let is_refused = |record: &WithdrawalRecord| refused.contains(&record.id.to_bytes());
    for record in slots.iter().flat_map(|open| &open.payments).filter(|record| is_refused(record)) {
        let detail = format!(
            "{} of account {} is paid on chain, and the ledger has not {} held for it: its row or the \
             account's balance was changed",
            record.id, record.account, record.amount
        );
        tracing::error!(withdrawal = %record.id, detail, "a payment cannot be settled");
        raise_in(tx, "ledger", &detail).await?;
    }
    slots.retain(|open| !open.payments.iter().any(is_refused));
    Ok(())
}

pub(super) async fn finalize_in(
    tx: &Transaction,
    lease: &Lease,
    slots: &[ConsumedSlot],
) -> Result<(), StoreError> {
    check_leases(tx, std::slice::from_ref(lease)).await?;
    let ids: Vec<SlotId> = slots.iter().map(|slot| slot.open.id).collect();
    expect_consumed_so(tx, slots).await?;
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
    apply(tx, &moves).await?;
    move_slots(tx, &ids, SlotStage::Confirmed, SlotStage::Final).await
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

/// What the end of its slot means for a payment that the slot still carries; `None` when it stays as it is. On the vault
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
        (_, _, SlotOutcome::Paid | SlotOutcome::Voided) => {
            let unpaid = matches!(item, Some(ItemOutcome::Failed | ItemOutcome::Skipped));
            tx.expect_rows(u64::from(unpaid), 0)?;
            // What is held was paid short, for instance: an operator decides.
            matches!(record.state, State::Confirmed { .. }).then_some(Event::Finalized)
        }
        (_, Rail::Vault, _) => {
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
        let rows = slot::Entity::find()
            .filter(slot::Column::Id.is_in(slot_keys(&ids)))
            .filter(slot::Column::Stage.eq(SlotStage::Confirmed.as_str()))
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
