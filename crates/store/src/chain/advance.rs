//! New blocks, and what a reorg undoes.

use portcullis_core::id::SlotId;
use portcullis_core::slot::SlotStage;
use portcullis_core::time::Timestamp;
use portcullis_core::withdrawal::{BlockRef, Event, State};
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{ChainAdvance, StoredHeader};
use crate::convert::{Place, bigint};
use crate::db::{Source, Transaction};
use crate::entity::{header, slot};
use crate::error::StoreError;
use crate::lease::{Lease, check_leases};
use crate::ledger::ROWS_PER_STATEMENT;
use crate::slot::read_open_slots;
use crate::slot_moves::forget_blocks;
use crate::transition::apply;

pub(super) async fn advance_in(
    tx: &Transaction,
    lease: &Lease,
    chain_id: u64,
    advance: &ChainAdvance,
) -> Result<(), StoreError> {
    check_leases(tx, std::slice::from_ref(lease)).await?;
    if let Some(ancestor) = advance.common_ancestor {
        undo_above(tx, chain_id, ancestor).await?;
    }
    expect_link(tx, chain_id, &advance.headers).await?;
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

/// The first new block must be the child of the highest stored one: who decided on another picture of the chain, or on
/// another copy of the database, reads again.
async fn expect_link(
    tx: &Transaction,
    chain_id: u64,
    headers: &[StoredHeader],
) -> Result<(), StoreError> {
    let Some(first) = headers.first() else { return Ok(()) };
    let highest = header::Entity::find()
        .filter(header::Column::ChainId.eq(bigint(chain_id)))
        .order_by_desc(header::Column::Number)
        .limit(1)
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let below = first.block.number.checked_sub(1).map(bigint);
    let follows = highest.is_none_or(|highest| {
        Some(highest.number) == below && highest.hash == first.parent_hash.as_slice()
    });
    tx.expect_rows(u64::from(follows), 1)
}

async fn undo_above(tx: &Transaction, chain_id: u64, ancestor: u64) -> Result<(), StoreError> {
    let query = slot::Entity::find()
        .filter(slot::Column::ChainId.eq(bigint(chain_id)))
        .filter(slot::Column::BlockNumber.gt(bigint(ancestor)));
    let rows = tx.inner.holding(query).all(&tx.inner).await.map_err(|error| tx.failed(&error))?;
    if rows.iter().any(|row| row.stage == SlotStage::Final.as_str()) {
        return Err(StoreError::Halted { reason: "a final block left the chain".into() });
    }
    let slots = read_open_slots(&tx.inner, tx.name, &rows).await?;
    let moves: Vec<_> = slots
        .iter()
        .flat_map(|open| &open.payments)
        .filter(|record| matches!(record.state, State::Confirming { .. } | State::Confirmed { .. }))
        .map(|record| (record, Event::Reorged, None))
        .collect();
    apply(tx, &moves).await?;
    let ids: Vec<SlotId> = slots.iter().map(|open| open.id).collect();
    forget_blocks(tx, &ids, slot::Column::BlockNumber.gt(bigint(ancestor))).await?;
    header::Entity::delete_many()
        .filter(header::Column::ChainId.eq(bigint(chain_id)))
        .filter(header::Column::Number.gt(bigint(ancestor)))
        .exec(&tx.inner)
        .await
        .map(|_| ())
        .map_err(|error| tx.failed(&error))
}

pub(super) fn read_header(row: &header::Model) -> Result<StoredHeader, StoreError> {
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
