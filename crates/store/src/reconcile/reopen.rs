//! A final block that left the chain: its slots are open again, and their bytes are sent again.

use portcullis_core::id::SlotId;
use portcullis_core::slot::SlotStage;
use portcullis_core::withdrawal::State;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::place::{Truth, place};
use crate::audit::{AuditEntry, append_audit};
use crate::db::{Store, Transaction, transaction};
use crate::entity::{header, slot};
use crate::error::StoreError;
use crate::slot::open_slots_by_id;

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
    let open = open_slots_by_id(&tx.inner, tx.name, &[id]).await?;
    let none = || Expr::value(Option::<Vec<u8>>::None);
    let opened = slot::Entity::update_many()
        .col_expr(slot::Column::Stage, Expr::value(SlotStage::Sent.as_str()))
        .col_expr(slot::Column::Outcome, Expr::value(Option::<String>::None))
        .col_expr(slot::Column::TransactionHash, none())
        .col_expr(slot::Column::BlockHash, none())
        .col_expr(slot::Column::BlockNumber, Expr::value(Option::<i64>::None))
        .col_expr(slot::Column::BlockAt, Expr::value(Option::<i64>::None))
        .col_expr(slot::Column::DueAt, Expr::value(tx.now.as_millis()))
        .col_expr(slot::Column::Receives, Expr::value(0))
        .col_expr(slot::Column::UpdatedAt, Expr::value(tx.now.as_millis()))
        .filter(slot::Column::Id.eq(id.to_bytes().to_vec()))
        .filter(slot::Column::Stage.eq(SlotStage::Final.as_str()))
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    tx.expect_rows(opened.rows_affected, 1)?;
    let detail = "its final block left the chain";
    for record in open.iter().flat_map(|open| &open.payments) {
        if let State::Confirmed { slot, .. } = record.state {
            place(tx, record, slot, Truth::Reopened, detail).await?;
        }
    }
    for open in &open {
        let chain_id = crate::convert::bigint(open.slot.chain_id);
        header::Entity::delete_many()
            .filter(header::Column::ChainId.eq(chain_id))
            .exec(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
    }
    let subject = id.to_string();
    let entry =
        AuditEntry { tenant: None, actor, action: "slot.reopen", subject: &subject, detail };
    append_audit(tx, &entry).await
}
