//! What the monitor saw: blocks, inclusions, confirmations, reorgs, finality and releases.

use alloy_primitives::{Address, B256};
use portcullis_core::id::SlotId;
use portcullis_core::slot::{AttemptKind, SlotOutcome, SlotStage};
use portcullis_core::time::Timestamp;
use portcullis_core::withdrawal::{BlockRef, Event, HoldReason, ReleaseCause, State};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue, ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};

use crate::convert::{Place, bigint, wei_bigint};
use crate::db::{Store, Transaction, transaction};
use crate::entity::{attempt, header, slot};
use crate::error::StoreError;
use crate::lease::{Lease, check_leases};
use crate::ledger::ROWS_PER_STATEMENT;
use crate::sender::UNMINED;
use crate::slot::{OpenSlot, move_slots, open_slots_by_id, read_open_slots, slot_keys};
use crate::transition::apply;

/// A block as the monitor saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredHeader {
    /// Number and hash.
    pub block: BlockRef,
    /// The hash of the block before it.
    pub parent_hash: B256,
    /// The chain's time of it.
    pub at: Timestamp,
}

/// News of the chain, to be stored together.
#[derive(Clone, Debug, Default)]
pub struct ChainAdvance {
    /// After a reorg: the newest block that old and new chain share. All above it is undone.
    pub common_ancestor: Option<u64>,
    /// New blocks, in order.
    pub headers: Vec<StoredHeader>,
    /// Blocks below this one are forgotten.
    pub forget_below: u64,
}

/// A slot that a block consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inclusion {
    /// The slot's id.
    pub slot_id: SlotId,
    /// The attempt that did it.
    pub hash: B256,
    /// The block.
    pub block: BlockRef,
    /// The chain's time of it.
    pub block_at: Timestamp,
    /// What it came to.
    pub outcome: SlotOutcome,
    /// Whether it succeeded and yet did not pay what was promised.
    pub is_short: bool,
    /// Gas that it used.
    pub gas_used: u64,
    /// What it paid for a unit of gas.
    pub effective_gas_price_wei: u128,
}

/// A consumed slot that waits for depth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumedSlot {
    /// The slot with its payments.
    pub open: OpenSlot,
    /// What consumed it.
    pub outcome: SlotOutcome,
    /// The transaction that did.
    pub hash: B256,
    /// The block.
    pub block: BlockRef,
    /// The chain's time of it.
    pub block_at: Timestamp,
}

/// A transaction that consumed our slot and is not among its attempts, but is explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adoption {
    /// The slot's id.
    pub slot_id: SlotId,
    /// The transaction's hash.
    pub hash: B256,
    /// Whether it pays or cancels.
    pub kind: AttemptKind,
}

impl Store {
    /// The newest stored blocks of a chain, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn headers(
        &self,
        chain_id: u64,
        limit: u64,
    ) -> Result<Vec<StoredHeader>, StoreError> {
        let rows = header::Entity::find()
            .filter(header::Column::ChainId.eq(bigint(chain_id)))
            .order_by_desc(header::Column::Number)
            .limit(limit)
            .all(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("headers", &error))?;
        rows.iter().rev().map(read_header).collect()
    }

    /// Stores new blocks. A reorg puts what the old ones held back to `BROADCASTED`, and its money
    /// from paid to held; the same bytes are due again at once.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`]; [`StoreError::Halted`] when a final slot stood in a dropped block.
    pub async fn advance_chain(
        &self,
        lease: &Lease,
        chain_id: u64,
        advance: &ChainAdvance,
    ) -> Result<(), StoreError> {
        transaction!(self, "advance_chain", |tx| advance_in(&tx, lease, chain_id, advance))
    }

    /// Slots that no block consumed as far as we know, though the sender's transaction count is past
    /// them. `counts` are the senders with their counts.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn consumed_slots(
        &self,
        chain_id: u64,
        counts: &[(Address, u64)],
        limit: u64,
    ) -> Result<Vec<OpenSlot>, StoreError> {
        let during = "consumed_slots";
        let mut passed = Condition::any();
        for (sender, count) in counts {
            passed = passed.add(
                Condition::all()
                    .add(slot::Column::Sender.eq(sender.to_vec()))
                    .add(slot::Column::Nonce.lt(bigint(*count))),
            );
        }
        let rows = slot::Entity::find()
            .filter(slot::Column::ChainId.eq(bigint(chain_id)))
            .filter(slot::Column::Stage.is_in(UNMINED))
            .filter(passed)
            .order_by_asc(slot::Column::Sender)
            .order_by_asc(slot::Column::Nonce)
            .limit(limit)
            .all(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        read_open_slots(&self.reader, during, rows).await
    }

    /// Senders that have slots which no block consumed.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn unmined_senders(&self, chain_id: u64) -> Result<Vec<Address>, StoreError> {
        let rows: Vec<Vec<u8>> = slot::Entity::find()
            .select_only()
            .column(slot::Column::Sender)
            .distinct()
            .filter(slot::Column::ChainId.eq(bigint(chain_id)))
            .filter(slot::Column::Stage.is_in(UNMINED))
            .into_tuple()
            .all(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("unmined_senders", &error))?;
        rows.iter().map(|row| Place { table: "slots", row }.address("sender", row)).collect()
    }

    /// Records inclusions, each in a block that is stored as canonical. Payments become `CONFIRMING`,
    /// or `HELD` where less arrived than was promised.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] or [`StoreError::Conflict`]; nothing is written then.
    pub async fn include(&self, lease: &Lease, inclusions: &[Inclusion]) -> Result<(), StoreError> {
        transaction!(self, "include", |tx| include_in(&tx, lease, inclusions))
    }

    /// Adds explained transactions to the attempts of their slots.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn adopt(&self, lease: &Lease, adoptions: &[Adoption]) -> Result<(), StoreError> {
        transaction!(self, "adopt", |tx| adopt_in(&tx, lease, adoptions))
    }

    /// Confirms slots that lie at or below `block`: their payments are paid, and settled.
    /// Returns how many slots moved.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn confirm(
        &self,
        lease: &Lease,
        chain_id: u64,
        block: u64,
        limit: u64,
    ) -> Result<usize, StoreError> {
        let during = "confirm";
        let waiting = consumed(chain_id, SlotStage::Included, block)
            .limit(1)
            .one(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        if waiting.is_none() {
            return Ok(0);
        }
        transaction!(self, "confirm", |tx| confirm_in(&tx, lease, chain_id, block, limit))
    }

    /// Confirmed slots at or below `block` and not younger than `before`: deep enough to be final.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn deep_slots(
        &self,
        chain_id: u64,
        block: u64,
        before: Timestamp,
        limit: u64,
    ) -> Result<Vec<ConsumedSlot>, StoreError> {
        let during = "deep_slots";
        let rows = consumed(chain_id, SlotStage::Confirmed, block)
            .filter(slot::Column::BlockAt.lte(before.as_millis()))
            .limit(limit)
            .all(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            found.push(read_consumption(row)?);
        }
        let slots = read_open_slots(&self.reader, during, rows).await?;
        Ok(found
            .into_iter()
            .zip(slots)
            .map(|((outcome, hash, block, block_at), open)| ConsumedSlot {
                open,
                outcome,
                hash,
                block,
                block_at,
            })
            .collect())
    }

    /// Ends slots for good: paid ones finish their payments, the others release them by `cause_of`
    /// evidence that the caller has read from the chain.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] or [`StoreError::Conflict`].
    pub async fn finalize(&self, lease: &Lease, slots: &[ConsumedSlot]) -> Result<(), StoreError> {
        if slots.is_empty() {
            return Ok(());
        }
        transaction!(self, "finalize", |tx| finalize_in(&tx, lease, slots))
    }
}

fn consumed(chain_id: u64, stage: SlotStage, block: u64) -> sea_orm::Select<slot::Entity> {
    slot::Entity::find()
        .filter(slot::Column::ChainId.eq(bigint(chain_id)))
        .filter(slot::Column::Stage.eq(stage.as_str()))
        .filter(slot::Column::BlockNumber.lte(bigint(block)))
        .order_by_asc(slot::Column::BlockNumber)
        .order_by_asc(slot::Column::Id)
}

async fn advance_in(
    tx: &Transaction,
    lease: &Lease,
    chain_id: u64,
    advance: &ChainAdvance,
) -> Result<(), StoreError> {
    check_leases(tx, std::slice::from_ref(lease)).await?;
    if let Some(ancestor) = advance.common_ancestor {
        undo_above(tx, chain_id, ancestor).await?;
    }
    let rows: Vec<header::ActiveModel> = advance
        .headers
        .iter()
        .map(|new| header::ActiveModel {
            chain_id: ActiveValue::Set(bigint(chain_id)),
            number: ActiveValue::Set(bigint(new.block.number)),
            hash: ActiveValue::Set(new.block.hash.to_vec()),
            parent_hash: ActiveValue::Set(new.parent_hash.to_vec()),
            at: ActiveValue::Set(new.at.as_millis()),
        })
        .collect();
    for rows in rows.chunks(ROWS_PER_STATEMENT) {
        header::Entity::insert_many(rows.iter().cloned())
            .exec_without_returning(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
    }
    header::Entity::delete_many()
        .filter(header::Column::ChainId.eq(bigint(chain_id)))
        .filter(header::Column::Number.lt(bigint(advance.forget_below)))
        .exec(&tx.inner)
        .await
        .map(|_| ())
        .map_err(|error| tx.failed(&error))
}

async fn undo_above(tx: &Transaction, chain_id: u64, ancestor: u64) -> Result<(), StoreError> {
    let rows = slot::Entity::find()
        .filter(slot::Column::ChainId.eq(bigint(chain_id)))
        .filter(slot::Column::BlockNumber.gt(bigint(ancestor)))
        .all(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    if rows.iter().any(|row| row.stage == SlotStage::Final.as_str()) {
        return Err(StoreError::Halted { reason: "a final block left the chain".into() });
    }
    let slots = read_open_slots(&tx.inner, tx.name, rows).await?;
    let moves: Vec<_> = slots
        .iter()
        .flat_map(|open| &open.payments)
        .filter(|record| matches!(record.state, State::Confirming { .. } | State::Confirmed { .. }))
        .map(|record| (record, Event::Reorged, None))
        .collect();
    apply(tx, &moves).await?;
    let ids: Vec<SlotId> = slots.iter().map(|open| open.id).collect();
    for ids in ids.chunks(ROWS_PER_STATEMENT) {
        let none = || Expr::value(Option::<Vec<u8>>::None);
        let undone = slot::Entity::update_many()
            .col_expr(slot::Column::Stage, Expr::value(SlotStage::Sent.as_str()))
            .col_expr(slot::Column::Outcome, Expr::value(Option::<String>::None))
            .col_expr(slot::Column::TransactionHash, none())
            .col_expr(slot::Column::BlockHash, none())
            .col_expr(slot::Column::BlockNumber, Expr::value(Option::<i64>::None))
            .col_expr(slot::Column::BlockAt, Expr::value(Option::<i64>::None))
            .col_expr(slot::Column::DueAt, Expr::value(tx.now.as_millis()))
            .col_expr(slot::Column::UpdatedAt, Expr::value(tx.now.as_millis()))
            .filter(slot::Column::Id.is_in(slot_keys(ids)))
            .filter(slot::Column::BlockNumber.gt(bigint(ancestor)))
            .exec(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        tx.expect_rows(undone.rows_affected, ids.len())?;
    }
    header::Entity::delete_many()
        .filter(header::Column::ChainId.eq(bigint(chain_id)))
        .filter(header::Column::Number.gt(bigint(ancestor)))
        .exec(&tx.inner)
        .await
        .map(|_| ())
        .map_err(|error| tx.failed(&error))
}

async fn include_in(
    tx: &Transaction,
    lease: &Lease,
    inclusions: &[Inclusion],
) -> Result<(), StoreError> {
    check_leases(tx, std::slice::from_ref(lease)).await?;
    let ids: Vec<SlotId> = inclusions.iter().map(|inclusion| inclusion.slot_id).collect();
    let slots = open_slots_by_id(&tx.inner, tx.name, &ids).await?;
    let mut paid = Vec::new();
    let mut short = Vec::new();
    for inclusion in inclusions {
        let slot = slots.iter().find(|open| open.id == inclusion.slot_id);
        let Some(slot) = slot else {
            return Err(StoreError::Conflict { during: tx.name, expected: 1, found: 0 });
        };
        check_canonical(tx, slot.slot.chain_id, inclusion.block).await?;
        write_inclusion(tx, inclusion).await?;
        for record in &slot.payments {
            let bound = matches!(
                record.state,
                State::Signed { .. } | State::Broadcasting { .. } | State::Broadcasted { .. }
            );
            match inclusion.outcome {
                _ if !bound => {}
                SlotOutcome::Paid if inclusion.is_short => short.push((
                    record,
                    Event::Held(HoldReason::Underpaid),
                    Some(format!("transaction {}", inclusion.hash)),
                )),
                SlotOutcome::Paid => {
                    let detail = format!("block {}", inclusion.block.number);
                    paid.push((record, Event::Included(inclusion.block), Some(detail)));
                }
                SlotOutcome::Reverted | SlotOutcome::Canceled | SlotOutcome::Filled => {}
            }
        }
    }
    apply(tx, &paid).await?;
    apply(tx, &short).await
}

/// The block must be the one that the follower stored at its height.
async fn check_canonical(
    tx: &Transaction,
    chain_id: u64,
    block: BlockRef,
) -> Result<(), StoreError> {
    let known = header::Entity::find_by_id((bigint(chain_id), bigint(block.number)))
        .filter(header::Column::Hash.eq(block.hash.to_vec()))
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    tx.expect_rows(u64::from(known.is_some()), 1)
}

async fn write_inclusion(tx: &Transaction, inclusion: &Inclusion) -> Result<(), StoreError> {
    let written = slot::Entity::update_many()
        .col_expr(slot::Column::Stage, Expr::value(SlotStage::Included.as_str()))
        .col_expr(slot::Column::Outcome, Expr::value(inclusion.outcome.as_str()))
        .col_expr(slot::Column::TransactionHash, Expr::value(inclusion.hash.to_vec()))
        .col_expr(slot::Column::BlockNumber, Expr::value(bigint(inclusion.block.number)))
        .col_expr(slot::Column::BlockHash, Expr::value(inclusion.block.hash.to_vec()))
        .col_expr(slot::Column::BlockAt, Expr::value(inclusion.block_at.as_millis()))
        .col_expr(slot::Column::UpdatedAt, Expr::value(tx.now.as_millis()))
        .filter(slot::Column::Id.eq(inclusion.slot_id.to_bytes().to_vec()))
        .filter(slot::Column::Stage.is_in(UNMINED))
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    tx.expect_rows(written.rows_affected, 1)?;
    let price = wei_bigint(inclusion.effective_gas_price_wei);
    let written = attempt::Entity::update_many()
        .col_expr(attempt::Column::GasUsed, Expr::value(bigint(inclusion.gas_used)))
        .col_expr(attempt::Column::EffectiveGasPriceWei, Expr::value(price))
        .filter(attempt::Column::Hash.eq(inclusion.hash.to_vec()))
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    tx.expect_rows(written.rows_affected, 1)
}

async fn adopt_in(
    tx: &Transaction,
    lease: &Lease,
    adoptions: &[Adoption],
) -> Result<(), StoreError> {
    check_leases(tx, std::slice::from_ref(lease)).await?;
    let ids: Vec<SlotId> = adoptions.iter().map(|adoption| adoption.slot_id).collect();
    let slots = open_slots_by_id(&tx.inner, tx.name, &ids).await?;
    for adoption in adoptions {
        let Some(slot) = slots.iter().find(|open| open.id == adoption.slot_id) else { continue };
        if slot.attempts.iter().any(|known| known.hash == adoption.hash) {
            continue;
        }
        let ordinal = i32::try_from(slot.attempts.len().saturating_add(1)).unwrap_or(i32::MAX);
        let row = attempt::ActiveModel {
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
        };
        attempt::Entity::insert(row)
            .exec_without_returning(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
    }
    Ok(())
}

async fn confirm_in(
    tx: &Transaction,
    lease: &Lease,
    chain_id: u64,
    block: u64,
    limit: u64,
) -> Result<usize, StoreError> {
    check_leases(tx, std::slice::from_ref(lease)).await?;
    let rows = consumed(chain_id, SlotStage::Included, block)
        .limit(limit)
        .all(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let slots = read_open_slots(&tx.inner, tx.name, rows).await?;
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

async fn finalize_in(
    tx: &Transaction,
    lease: &Lease,
    slots: &[ConsumedSlot],
) -> Result<(), StoreError> {
    check_leases(tx, std::slice::from_ref(lease)).await?;
    let ids: Vec<SlotId> = slots.iter().map(|slot| slot.open.id).collect();
    let mut moves = Vec::new();
    let current = open_slots_by_id(&tx.inner, tx.name, &ids).await?;
    for slot in slots {
        let Some(open) = current.iter().find(|open| open.id == slot.open.id) else { continue };
        for record in &open.payments {
            let event = match (slot.outcome, &record.state) {
                (SlotOutcome::Paid, State::Confirmed { .. }) => Event::Finalized,
                // Held for an operator: paid short, for instance.
                (SlotOutcome::Paid, _) => continue,
                (SlotOutcome::Reverted, _) => Event::Released(ReleaseCause::Reverted),
                (SlotOutcome::Canceled | SlotOutcome::Filled, _) => {
                    Event::Released(ReleaseCause::Canceled { requested: false })
                }
            };
            let detail = format!("{} by {}", slot.outcome.as_str(), slot.hash);
            moves.push((record, event, Some(detail)));
        }
    }
    apply(tx, &moves).await?;
    move_slots(tx, &ids, SlotStage::Confirmed, SlotStage::Final).await
}

fn read_header(row: &header::Model) -> Result<StoredHeader, StoreError> {
    let key = row.number.to_be_bytes();
    let place = Place { table: "headers", row: &key };
    Ok(StoredHeader {
        block: BlockRef {
            number: place.unsigned("number", row.number)?,
            hash: place.hash("hash", &row.hash)?,
        },
        parent_hash: place.hash("parent_hash", &row.parent_hash)?,
        at: Timestamp::from_millis(row.at),
    })
}

fn read_consumption(
    row: &slot::Model,
) -> Result<(SlotOutcome, B256, BlockRef, Timestamp), StoreError> {
    let place = Place { table: "slots", row: &row.id };
    let outcome = row.outcome.as_deref().and_then(SlotOutcome::parse);
    let hash = place.known("transaction_hash", row.transaction_hash.as_ref())?;
    let block_hash = place.known("block_hash", row.block_hash.as_ref())?;
    let block = BlockRef {
        number: place.unsigned("block_number", place.known("block_number", row.block_number)?)?,
        hash: place.hash("block_hash", block_hash)?,
    };
    Ok((
        place.known("outcome", outcome)?,
        place.hash("transaction_hash", hash)?,
        block,
        Timestamp::from_millis(place.known("block_at", row.block_at)?),
    ))
}
