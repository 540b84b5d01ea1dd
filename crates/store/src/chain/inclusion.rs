//! Slots that a block consumed, and transactions that were found there.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::B256;
use portcullis_core::id::{SlotId, WithdrawalId};
use portcullis_core::slot::{ItemOutcome, Rail, SlotOutcome, SlotStage};
use portcullis_core::withdrawal::{BlockRef, Event, HoldReason, State, StateCode, decide};
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::carried::states_of;
use super::{Adoption, Inclusion};
use crate::convert::{Place, bigint, wei_bigint};
use crate::db::{Source, Transaction};
use crate::entity::{attempt, binding, header, slot};
use crate::error::StoreError;
use crate::lease::{Lease, check_leases};
use crate::ledger::ROWS_PER_STATEMENT;
use crate::lookup::value_of_key;
use crate::sender::UNMINED;
use crate::slot::{OpenSlot, open_slots_by_id, sign_slots};
use crate::slot_moves::slot_keys;
use crate::transition::{alike_writes, apply};
use crate::trip::Write;
use crate::withdrawal::WithdrawalRecord;

pub(super) async fn include_in(
    tx: &Transaction,
    lease: &Lease,
    inclusions: &[Inclusion],
) -> Result<(), StoreError> {
    check_leases(tx, std::slice::from_ref(lease)).await?;
    let slots = slots_in_short(tx, inclusions).await?;
    check_canonical(tx, &slots, inclusions).await?;
    let mut writes = inclusion_writes(tx, inclusions);
    let by_vault = inclusions.iter().filter(|it| slots[&it.slot_id].rail == Rail::Vault);
    writes.extend(by_vault.flat_map(item_writes));
    let succeeded: Vec<&Inclusion> = inclusions
        .iter()
        .filter(|it| matches!(it.outcome, SlotOutcome::Paid | SlotOutcome::Voided))
        .collect();
    let (plain, others): (Vec<&Inclusion>, Vec<&Inclusion>) =
        succeeded.into_iter().partition(|inclusion| {
            let is_short = inclusion.items.iter().any(|(_, item)| *item == ItemOutcome::Short);
            !is_short && !slots[&inclusion.slot_id].was_left
        });
    writes.extend(plain_moves(tx, &plain).await?);
    tx.write_together(writes).await?;
    include_others(tx, &others).await
}

/// As much of a slot as an inclusion takes.
struct SlotInShort {
    chain_id: u64,
    rail: Rail,
    /// Whether a payment that it carried has left it.
    was_left: bool,
}

/// The slots, each of which has the attempt that was mined.
async fn slots_in_short(
    tx: &Transaction,
    inclusions: &[Inclusion],
) -> Result<BTreeMap<SlotId, SlotInShort>, StoreError> {
    let failed = |error| tx.failed(&error);
    let keys = || inclusions.iter().map(|inclusion| inclusion.slot_id.to_bytes().to_vec());
    let query = slot::Entity::find()
        .select_only()
        .columns([slot::Column::Id, slot::Column::ChainId, slot::Column::Rail])
        .filter(slot::Column::Id.is_in(keys()));
    let rows: Vec<(Vec<u8>, i64, String)> =
        tx.inner.holding_named(query).into_tuple().all(&tx.inner).await.map_err(failed)?;
    let left: Vec<Vec<u8>> = binding::Entity::find()
        .select_only()
        .column(binding::Column::SlotId)
        .filter(binding::Column::SlotId.is_in(keys()))
        .filter(binding::Column::ReleasedAt.ne(0))
        .into_tuple()
        .all(&tx.inner)
        .await
        .map_err(failed)?;
    let left: BTreeSet<Vec<u8>> = left.into_iter().collect();
    let mut slots = BTreeMap::new();
    for (id, chain_id, rail) in &rows {
        let place = Place { table: "slots", row: id };
        let short = SlotInShort {
            chain_id: place.unsigned("chain_id", *chain_id)?,
            rail: place.known("rail", Rail::parse(rail))?,
            was_left: left.contains(id),
        };
        slots.insert(SlotId::from_bytes(place.id("id", id)?), short);
    }
    // Fewer when one is named twice, or is not there.
    tx.expect_rows(slots.len() as u64, inclusions.len())?;
    let mined: Vec<(Vec<u8>, Vec<u8>)> = attempt::Entity::find()
        .select_only()
        .columns([attempt::Column::SlotId, attempt::Column::Hash])
        .filter(attempt::Column::Hash.is_in(inclusions.iter().map(|it| it.hash.to_vec())))
        .into_tuple()
        .all(&tx.inner)
        .await
        .map_err(failed)?;
    let mined: BTreeSet<(Vec<u8>, Vec<u8>)> = mined.into_iter().collect();
    let is_known =
        |it: &&Inclusion| mined.contains(&(it.slot_id.to_bytes().to_vec(), it.hash.to_vec()));
    tx.expect_rows(inclusions.iter().filter(is_known).count() as u64, inclusions.len())?;
    Ok(slots)
}

/// Slots of which everything that was paid is carried still, and arrived in full: nothing of the payments is read but where
/// they stand.
async fn plain_moves(
    tx: &Transaction,
    inclusions: &[&Inclusion],
) -> Result<Vec<Write>, StoreError> {
    let ids: Vec<SlotId> = inclusions.iter().map(|inclusion| inclusion.slot_id).collect();
    let paid: BTreeMap<(SlotId, WithdrawalId), BlockRef> = inclusions
        .iter()
        .flat_map(|inclusion| {
            let paid = inclusion.items.iter().filter(|(_, item)| *item == ItemOutcome::Paid);
            paid.map(move |(id, _)| ((inclusion.slot_id, *id), inclusion.block))
        })
        .collect();
    let mut alike: BTreeMap<(BlockRef, StateCode), (SlotId, Vec<WithdrawalId>)> = BTreeMap::new();
    for carried in states_of(tx, &ids).await? {
        let is_bound = matches!(
            carried.state,
            StateCode::Signed | StateCode::Broadcasting | StateCode::Broadcasted
        );
        if let Some(block) = paid.get(&(carried.slot, carried.id)).filter(|_| is_bound) {
            let group = alike.entry((*block, carried.state));
            group.or_insert_with(|| (carried.slot, Vec::new())).1.push(carried.id);
        }
    }
    let mut writes = Vec::new();
    for ((block, state), (slot, ids)) in alike {
        let from = match state {
            StateCode::Signed => State::Signed { slot },
            StateCode::Broadcasting => State::Broadcasting { slot },
            _ => State::Broadcasted { slot },
        };
        let detail = format!("block {}", block.number);
        writes.extend(alike_writes(tx, &ids, from, (Event::Included(block), Some(&detail)))?);
    }
    Ok(writes)
}

/// Slots that paid something short, or that a payment has left.
async fn include_others(tx: &Transaction, inclusions: &[&Inclusion]) -> Result<(), StoreError> {
    if inclusions.is_empty() {
        return Ok(());
    }
    let ids: Vec<SlotId> = inclusions.iter().map(|inclusion| inclusion.slot_id).collect();
    let slots = open_slots_by_id(&tx.inner, tx.name, &ids).await?;
    let slots: BTreeMap<SlotId, OpenSlot> = slots.into_iter().map(|open| (open.id, open)).collect();
    let mut moves = Vec::new();
    let mut returned = Vec::new();
    for inclusion in inclusions {
        let slot = &slots[&inclusion.slot_id];
        for (id, item) in &inclusion.items {
            if let Some(record) = slot.payments.iter().find(|record| record.id == *id) {
                moves.extend(paid_here(record, *item, inclusion));
            }
            if let Some(record) = slot.left.iter().find(|record| record.id == *id)
                && let Some(paid) = paid_after_all(record, *item, slot.id, inclusion)
            {
                moves.push(paid);
                if *item == ItemOutcome::Paid {
                    returned.push((slot.id, record.id));
                }
            }
        }
    }
    apply(tx, &moves).await?;
    bind_back(tx, &returned).await
}

type Move<'a> = (&'a WithdrawalRecord, Event, Option<String>);

/// What the item means for a payment that the slot carries.
fn paid_here<'a>(
    record: &'a WithdrawalRecord,
    item: ItemOutcome,
    inclusion: &Inclusion,
) -> Option<Move<'a>> {
    let bound = matches!(
        record.state,
        State::Signed { .. } | State::Broadcasting { .. } | State::Broadcasted { .. }
    );
    match item {
        _ if !bound => None,
        ItemOutcome::Short => {
            let detail = format!("transaction {}", inclusion.hash);
            Some((record, Event::Held(HoldReason::Underpaid), Some(detail)))
        }
        ItemOutcome::Paid => {
            let detail = format!("block {}", inclusion.block.number);
            Some((record, Event::Included(inclusion.block), Some(detail)))
        }
        // Not paid here: it stays bound until the evidence is deep enough to let it go.
        ItemOutcome::Failed | ItemOutcome::Skipped | ItemOutcome::Voided => None,
    }
}

/// What the item means for a payment that left the slot on the vault rail, when a reorg made the slot pay it after
/// all. Whatever carries it now will find its number used.
fn paid_after_all<'a>(
    record: &'a WithdrawalRecord,
    item: ItemOutcome,
    slot: SlotId,
    inclusion: &Inclusion,
) -> Option<Move<'a>> {
    let event = match item {
        ItemOutcome::Paid => Event::IncludedBy(slot, inclusion.block),
        ItemOutcome::Short => Event::Held(HoldReason::Underpaid),
        ItemOutcome::Failed | ItemOutcome::Skipped | ItemOutcome::Voided => return None,
    };
    // One that is paid by what carries it now, or held for this already, stays as it is.
    decide(record.state, event).ok()?;
    let detail = format!("block {}, in a slot that it had left", inclusion.block.number);
    Some((record, event, Some(detail)))
}

fn item_writes(inclusion: &Inclusion) -> Vec<Write> {
    let mut by_item: BTreeMap<ItemOutcome, Vec<WithdrawalId>> = BTreeMap::new();
    for (id, item) in &inclusion.items {
        by_item.entry(*item).or_default().push(*id);
    }
    let mut writes = Vec::new();
    for (item, ids) in by_item {
        writes.extend(ids.chunks(ROWS_PER_STATEMENT).map(|ids| {
            let of_these =
                binding::Column::WithdrawalId.is_in(ids.iter().map(|id| id.to_bytes().to_vec()));
            let written = binding::Entity::update_many()
                .col_expr(binding::Column::Item, Expr::value(item.as_str()))
                .filter(binding::Column::SlotId.eq(inclusion.slot_id.to_bytes().to_vec()))
                .filter(of_these);
            Write::new(written, ids.len())
        }));
    }
    writes
}

/// The binding of the slot that paid is the live one again; that of the slot which carries it in vain has just ended.
async fn bind_back(
    tx: &Transaction,
    returned: &[(SlotId, WithdrawalId)],
) -> Result<(), StoreError> {
    for (slot, withdrawal) in returned {
        let bound = binding::Entity::update_many()
            .col_expr(binding::Column::ReleasedAt, Expr::value(0))
            .filter(binding::Column::SlotId.eq(slot.to_bytes().to_vec()))
            .filter(binding::Column::WithdrawalId.eq(withdrawal.to_bytes().to_vec()))
            .filter(binding::Column::ReleasedAt.ne(0))
            .exec(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        tx.expect_rows(bound.rows_affected, 1)?;
    }
    Ok(())
}

/// Each block must be the one that the follower stored at its height. Below all that it has stored there is none to compare
/// with, and nothing that it could still see leave the chain: the caller's evidence has to do.
async fn check_canonical(
    tx: &Transaction,
    slots: &BTreeMap<SlotId, SlotInShort>,
    inclusions: &[Inclusion],
) -> Result<(), StoreError> {
    let mut blocks: BTreeSet<(u64, BlockRef)> = BTreeSet::new();
    for inclusion in inclusions {
        blocks.insert((slots[&inclusion.slot_id].chain_id, inclusion.block));
    }
    for (chain_id, block) in blocks {
        let known = header::Entity::find_by_id((bigint(chain_id), bigint(block.number)))
            .filter(header::Column::Hash.eq(block.hash.to_vec()))
            .one(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        let is_known = known.is_some() || is_below_all(tx, chain_id, block.number).await?;
        tx.expect_rows(u64::from(is_known), 1)?;
    }
    Ok(())
}

async fn is_below_all(tx: &Transaction, chain_id: u64, number: u64) -> Result<bool, StoreError> {
    let lowest: Option<i64> = header::Entity::find()
        .select_only()
        .column(header::Column::Number)
        .filter(header::Column::ChainId.eq(bigint(chain_id)))
        .order_by_asc(header::Column::Number)
        .limit(1)
        .into_tuple()
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    Ok(lowest.is_some_and(|lowest| bigint(number) < lowest))
}

/// What the blocks say of slots and of the attempts that were mined: slots that came to the same in the same
/// block share a statement.
fn inclusion_writes(tx: &Transaction, inclusions: &[Inclusion]) -> Vec<Write> {
    let mut alike: BTreeMap<(BlockRef, &str), Vec<&Inclusion>> = BTreeMap::new();
    for inclusion in inclusions {
        alike.entry((inclusion.block, inclusion.outcome.as_str())).or_default().push(inclusion);
    }
    let sets = alike.values().flat_map(|set| set.chunks(ROWS_PER_STATEMENT));
    sets.flat_map(|set| slots_write(tx, set).into_iter().chain([gas_write(set)])).collect()
}

/// Of slots that came to the same in the same block.
fn slots_write(tx: &Transaction, set: &[&Inclusion]) -> Option<Write> {
    let any = set.first()?;
    let ids: Vec<SlotId> = set.iter().map(|inclusion| inclusion.slot_id).collect();
    let hashes = set.iter().map(|inclusion| {
        (inclusion.slot_id.to_bytes().to_vec(), Expr::value(inclusion.hash.to_vec()))
    });
    let hash = value_of_key(slot::Column::Id, hashes.collect(), None);
    let written = slot::Entity::update_many()
        .col_expr(slot::Column::Stage, Expr::value(SlotStage::Included.as_str()))
        .col_expr(slot::Column::Outcome, Expr::value(any.outcome.as_str()))
        .col_expr(slot::Column::TransactionHash, hash)
        .col_expr(slot::Column::BlockNumber, Expr::value(bigint(any.block.number)))
        .col_expr(slot::Column::BlockHash, Expr::value(any.block.hash.to_vec()))
        .col_expr(slot::Column::BlockAt, Expr::value(any.block_at.as_millis()))
        .col_expr(slot::Column::Receives, Expr::value(0))
        .col_expr(slot::Column::UpdatedAt, Expr::value(tx.now.as_millis()))
        .filter(slot::Column::Id.is_in(slot_keys(&ids)))
        .filter(slot::Column::Stage.is_in(UNMINED));
    Some(Write::new(written, set.len()))
}

fn gas_write(set: &[&Inclusion]) -> Write {
    let by_hash = |value: fn(&Inclusion) -> i64| {
        let values =
            set.iter().map(|inclusion| (inclusion.hash.to_vec(), Expr::value(value(inclusion))));
        value_of_key(attempt::Column::Hash, values.collect(), None)
    };
    let gas = by_hash(|inclusion| bigint(inclusion.gas_used));
    let price = by_hash(|inclusion| wei_bigint(inclusion.effective_gas_price_wei));
    let written = attempt::Entity::update_many()
        .col_expr(attempt::Column::GasUsed, gas)
        .col_expr(attempt::Column::EffectiveGasPriceWei, price)
        .filter(attempt::Column::Hash.is_in(set.iter().map(|inclusion| inclusion.hash.to_vec())));
    Write::new(written, set.len())
}

pub(super) async fn adopt_in(
    tx: &Transaction,
    lease: &Lease,
    adoptions: &[Adoption],
) -> Result<(), StoreError> {
    check_leases(tx, std::slice::from_ref(lease)).await?;
    let ids: Vec<SlotId> = adoptions.iter().map(|adoption| adoption.slot_id).collect();
    let slots = open_slots_by_id(&tx.inner, tx.name, &ids).await?;
    let mut adopted: BTreeMap<SlotId, BTreeSet<B256>> = BTreeMap::new();
    let mut first = Vec::new();
    for adoption in adoptions {
        let Some(slot) = slots.iter().find(|open| open.id == adoption.slot_id) else { continue };
        let before = adopted.entry(slot.id).or_default();
        let is_known = slot.attempts.iter().any(|known| known.hash == adoption.hash);
        if is_known || before.contains(&adoption.hash) {
            continue;
        }
        let attempts = slot.attempts.len().saturating_add(before.len());
        attempt::Entity::insert(adopted_row(tx, adoption, attempts))
            .exec_without_returning(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        if slot.stage == SlotStage::Bound && before.is_empty() {
            first.push(slot.id);
        }
        before.insert(adoption.hash);
    }
    sign_slots(tx, Vec::new(), &first).await
}

/// The row of an attempt that comes after so many others of its slot.
fn adopted_row(tx: &Transaction, adoption: &Adoption, attempts: usize) -> attempt::ActiveModel {
    let ordinal = i32::try_from(attempts.saturating_add(1)).unwrap_or(i32::MAX);
    attempt::ActiveModel {
        hash: ActiveValue::Set(adoption.hash.to_vec()),
        slot_id: ActiveValue::Set(adoption.slot_id.to_bytes().to_vec()),
        ordinal: ActiveValue::Set(ordinal),
        kind: ActiveValue::Set(adoption.kind.as_str().to_owned()),
        raw: ActiveValue::Set(Vec::new()),
        max_fee_per_gas_wei: ActiveValue::Set(0),
        max_priority_fee_per_gas_wei: ActiveValue::Set(0),
        gas_limit: ActiveValue::Set(0),
        committed_at: ActiveValue::Set(tx.now.as_millis()),
        sent_at: ActiveValue::Set(Some(tx.now.as_millis())),
        sends: ActiveValue::Set(0),
        last_outcome: ActiveValue::Set(Some("adopted from the chain".into())),
        gas_used: ActiveValue::Set(None),
        effective_gas_price_wei: ActiveValue::Set(None),
    }
}
