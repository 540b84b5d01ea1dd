//! Updates of slots: from stage to stage, and back where a block is gone.

use portcullis_core::id::SlotId;
use portcullis_core::slot::SlotStage;
use sea_orm::sea_query::{Expr, SimpleExpr};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, UpdateMany};

use crate::db::Transaction;
use crate::entity::{binding, slot};
use crate::error::StoreError;
use crate::ledger::ROWS_PER_STATEMENT;
use crate::trip::Write;

/// Moves slots from one stage to the next, all of them or none.
pub(crate) async fn move_slots(
    tx: &Transaction,
    ids: &[SlotId],
    from: SlotStage,
    to: SlotStage,
) -> Result<(), StoreError> {
    tx.write_together(slot_moves(tx, ids, from, to)).await
}

/// What [`move_slots`] writes.
pub(crate) fn slot_moves(
    tx: &Transaction,
    ids: &[SlotId],
    from: SlotStage,
    to: SlotStage,
) -> Vec<Write> {
    let move_set = |ids: &[SlotId]| Write::new(moved(tx, slots_named(ids), from, to), ids.len());
    ids.chunks(ROWS_PER_STATEMENT).map(move_set).collect()
}

/// The same update, which moves its slots from one stage to the next besides.
pub(crate) fn moved(
    tx: &Transaction,
    update: UpdateMany<slot::Entity>,
    from: SlotStage,
    to: SlotStage,
) -> UpdateMany<slot::Entity> {
    update
        .col_expr(slot::Column::Stage, Expr::value(to.as_str()))
        .col_expr(slot::Column::UpdatedAt, Expr::value(tx.now.as_millis()))
        .filter(slot::Column::Stage.eq(from.as_str()))
}

/// Takes back what is written down of the blocks that consumed these slots: they are sent again, and the monitor reads
/// what became of each payment. All of them or none: `compare` is what their rows were read to be.
pub(crate) async fn forget_blocks(
    tx: &Transaction,
    ids: &[SlotId],
    compare: SimpleExpr,
) -> Result<(), StoreError> {
    let none = || Expr::value(Option::<Vec<u8>>::None);
    for ids in ids.chunks(ROWS_PER_STATEMENT) {
        let undone = slots_named(ids)
            .col_expr(slot::Column::Stage, Expr::value(SlotStage::Sent.as_str()))
            .col_expr(slot::Column::Outcome, Expr::value(Option::<String>::None))
            .col_expr(slot::Column::TransactionHash, none())
            .col_expr(slot::Column::BlockHash, none())
            .col_expr(slot::Column::BlockNumber, Expr::value(Option::<i64>::None))
            .col_expr(slot::Column::BlockAt, Expr::value(Option::<i64>::None))
            .col_expr(slot::Column::DueAt, Expr::value(tx.now.as_millis()))
            .col_expr(slot::Column::Receives, Expr::value(0))
            .col_expr(slot::Column::UpdatedAt, Expr::value(tx.now.as_millis()))
            .filter(compare.clone())
            .exec(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        tx.expect_rows(undone.rows_affected, ids.len())?;
        binding::Entity::update_many()
            .col_expr(binding::Column::Item, Expr::value(Option::<String>::None))
            .filter(binding::Column::SlotId.is_in(slot_keys(ids)))
            .exec(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
    }
    Ok(())
}

/// An update of these slots.
pub(crate) fn slots_named(ids: &[SlotId]) -> UpdateMany<slot::Entity> {
    slot::Entity::update_many().filter(slot::Column::Id.is_in(slot_keys(ids)))
}

pub(crate) fn slot_keys(ids: &[SlotId]) -> impl Iterator<Item = Vec<u8>> + '_ {
    ids.iter().map(|id| id.to_bytes().to_vec())
}
