//! Slots that are looked at again: a final block left the chain, or a payment joined what was counted without it.

use portcullis_core::id::SlotId;
use portcullis_core::slot::SlotStage;
use portcullis_core::withdrawal::State;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::place::{Truth, place};
use crate::audit::{AuditEntry, append_audit};
use crate::db::{Source, Store, Transaction, transaction};
use crate::entity::{forgotten, header, slot};
use crate::error::StoreError;
use crate::slot::open_slots_by_id;
use crate::slot_moves::forget_blocks;

/// Why a slot is looked at again that stays in its block.
pub(super) const JOINED: &str = "a payment joined its slot after its block was read";

impl Store {
    /// Opens a final slot again: its payments are on their way, and their money is held. The stored blocks of the chain
    /// are forgotten with it, so that the monitor follows the chain anew from where it is.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the slot is not final.
    pub async fn reopen_slot(&self, id: SlotId, actor: &str) -> Result<(), StoreError> {
        transaction!(self, "reopen_slot", |tx| reopen_in(&tx, id, actor))
    }
}

async fn reopen_in(tx: &Transaction, id: SlotId, actor: &str) -> Result<(), StoreError> {
    let detail = "its final block left the chain";
    let query = slot::Entity::find_by_id(id.to_bytes().to_vec())
        .filter(slot::Column::Stage.eq(SlotStage::Final.as_str()));
    let row =
        tx.inner.holding_named(query).one(&tx.inner).await.map_err(|error| tx.failed(&error))?;
    let Some(row) = row else {
        return Err(StoreError::Conflict { during: tx.name, expected: 1, found: 0 });
    };
    look_again(tx, id, detail).await?;
    header::Entity::delete_many()
        .filter(header::Column::ChainId.eq(row.chain_id))
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let subject = id.to_string();
    let entry =
        AuditEntry { tenant: None, actor, action: "slot.reopen", subject: &subject, detail };
    append_audit(tx, &entry).await
}

/// Takes back what is written down of a slot's block: its payments are on their way, their money is held, and the monitor
/// reads from the chain what became of each. Nothing, where no block is known to have consumed it.
pub(super) async fn look_again(
    tx: &Transaction,
    id: SlotId,
    detail: &str,
) -> Result<(), StoreError> {
    let open = open_slots_by_id(&tx.inner, tx.name, &[id]).await?;
    let Some(open) = open.iter().find(|open| open.stage >= SlotStage::Included) else {
        return Ok(());
    };
    forget_blocks(tx, &[id], slot::Column::Stage.eq(open.stage.as_str())).await?;
    forgotten::Entity::update_many()
        .col_expr(forgotten::Column::Paid, Expr::value(0))
        .filter(forgotten::Column::SlotId.eq(id.to_bytes().to_vec()))
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    for record in &open.payments {
        if matches!(record.state, State::Confirming { .. } | State::Confirmed { .. }) {
            place(tx, record, id, Truth::Reopened, detail).await?;
        }
    }
    Ok(())
}
