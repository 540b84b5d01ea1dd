//! What the monitor saw: blocks, inclusions, confirmations, reorgs, finality and releases.

mod advance;
mod carried;
mod end;
mod inclusion;
#[cfg(test)]
mod tests;
mod unpaid;

use alloy_primitives::{Address, B256};
use portcullis_core::id::{SlotId, WithdrawalId};
use portcullis_core::slot::{AttemptKind, ItemOutcome, Purpose, SlotOutcome, SlotStage};
use portcullis_core::time::Timestamp;
use portcullis_core::withdrawal::BlockRef;
use sea_orm::sea_query::{Expr, ExprTrait, SimpleExpr};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};

use crate::convert::bigint;
use crate::damage::read_sound_slots;
use crate::db::{Store, transaction};
use crate::entity::{header, slot};
use crate::error::StoreError;
use crate::lease::Lease;
use crate::lookup::value_of_key;
use crate::sender::UNMINED;
use crate::slot::OpenSlot;

use advance::{advance_in, read_header};
pub(crate) use end::read_consumption;
use end::{confirm_in, consumed, end_paid_in, finalize_in, paid, with_consumption};
use inclusion::{adopt_in, include_in};

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
    /// What became of each payment that it ever carried, where it succeeded.
    pub items: Vec<(WithdrawalId, ItemOutcome)>,
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
    /// [`StoreError::LeaseLost`]; [`StoreError::Conflict`] when the first new block does not follow the
    /// one that is stored below it; [`StoreError::Halted`] when a final slot stood in a dropped block.
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
        let picture = self.snapshot(during).await?;
        let rows = consumed_query(chain_id, counts)
            .limit(limit)
            .all(&picture)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        let mut slots = read_sound_slots(&picture, during, &rows).await?.noted(&self.damage);
        slots.sort_by_key(|open| open.slot);
        Ok(slots)
    }

    /// Records inclusions, each in a block that is stored as canonical. Payments become `CONFIRMING`,
    /// or `HELD` where less arrived than was promised.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] or [`StoreError::Conflict`]; nothing is written then.
    pub async fn include(&self, lease: &Lease, inclusions: &[Inclusion]) -> Result<(), StoreError> {
        transaction!(self, "include", |tx| include_in(&tx, lease, inclusions))
    }

    /// Adds explained transactions to the attempts of their slots. A slot that was bound and never
    /// signed as far as we knew is signed now: the chain has bytes of it.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn adopt(&self, lease: &Lease, adoptions: &[Adoption]) -> Result<(), StoreError> {
        transaction!(self, "adopt", |tx| adopt_in(&tx, lease, adoptions))
    }

    /// Confirms slots that lie at or below `block`, up to `limit`, in transactions of `set` slots: their payments are paid,
    /// and settled. Returns how many slots moved.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`]. What earlier transactions confirmed stays so.
    pub async fn confirm(
        &self,
        lease: &Lease,
        (chain_id, block): (u64, u64),
        limit: u64,
        set: usize,
    ) -> Result<usize, StoreError> {
        let included = consumed(chain_id, SlotStage::Included, block);
        let waiting = self.first_of("confirm", included, limit).await?;
        let mut confirmed = 0_usize;
        for ids in waiting.chunks(set.max(1)) {
            let of = (chain_id, block);
            let moved = transaction!(self, "confirm", |tx| confirm_in(&tx, lease, of, ids))?;
            confirmed = confirmed.saturating_add(moved);
        }
        Ok(confirmed)
    }

    /// Ends slots that paid all they carry, at or below `block` and not younger than `before`: deep enough to be final. Up
    /// to `limit`, in transactions of `set` slots. Returns how many ended.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`]. What earlier transactions ended stays so.
    pub async fn end_paid(
        &self,
        lease: &Lease,
        (chain_id, block, before): (u64, u64, Timestamp),
        limit: u64,
        set: usize,
    ) -> Result<usize, StoreError> {
        let waiting = self.first_of("finalize", paid(chain_id, block, before), limit).await?;
        let mut ended = 0_usize;
        for ids in waiting.chunks(set.max(1)) {
            let query = || paid(chain_id, block, before);
            let moved = transaction!(self, "finalize", |tx| end_paid_in(&tx, lease, query(), ids))?;
            ended = ended.saturating_add(moved);
        }
        Ok(ended)
    }

    /// The ids of the first slots that a query finds.
    async fn first_of(
        &self,
        during: &'static str,
        query: Select<slot::Entity>,
        limit: u64,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        query
            .select_only()
            .column(slot::Column::Id)
            .limit(limit)
            .into_tuple()
            .all(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))
    }

    /// Confirmed slots at or below `block` and not younger than `before` that did not pay: deep enough to be final.
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
        let picture = self.snapshot(during).await?;
        let pays = Condition::all()
            .add(slot::Column::Purpose.eq(Purpose::Pay.as_str()))
            .add(slot::Column::Outcome.eq(SlotOutcome::Paid.as_str()));
        let rows = consumed(chain_id, SlotStage::Confirmed, block)
            .filter(slot::Column::BlockAt.lte(before.as_millis()))
            .filter(pays.not())
            .limit(limit)
            .all(&picture)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        let seen = rows.iter().map(read_consumption).collect::<Result<Vec<_>, _>>()?;
        let slots = read_sound_slots(&picture, during, &rows).await?.noted(&self.damage);
        Ok(with_consumption(&seen, slots))
    }

    /// Ends slots that did not pay for good: they release or void what they carry, by evidence that the caller has read
    /// from the chain.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], or [`StoreError::Conflict`] when a slot is not consumed any more as
    /// the caller has read it; nothing is written then.
    pub async fn finalize(&self, lease: &Lease, slots: &[ConsumedSlot]) -> Result<(), StoreError> {
        if slots.is_empty() {
            return Ok(());
        }
        transaction!(self, "finalize", |tx| finalize_in(&tx, lease, slots))
    }
}

/// The oldest first. Sorted by sender and nonce it would be read from the index of all slots that ever were.
fn consumed_query(chain_id: u64, counts: &[(Address, u64)]) -> Select<slot::Entity> {
    let counts: Vec<(Vec<u8>, SimpleExpr)> = counts
        .iter()
        .map(|(sender, count)| (sender.to_vec(), Expr::value(bigint(*count))))
        .collect();
    // A sender that has none has no slot below it.
    let count = value_of_key(slot::Column::Sender, counts, Some(&Expr::value(0)));
    slot::Entity::find()
        .filter(slot::Column::ChainId.eq(bigint(chain_id)))
        .filter(slot::Column::Stage.is_in(UNMINED))
        .filter(Expr::col(slot::Column::Nonce).lt(count))
        .order_by_asc(slot::Column::OpenedAt)
        .order_by_asc(slot::Column::Nonce)
}
