//! Commands: what the other roles want signed. Only the signer has keys.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use portcullis_core::slot::{Slot, SlotStage};
use portcullis_core::time::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};

use crate::audit::{AuditEntry, append_audit};
use crate::convert::{Place, bigint};
use crate::damage::read_sound_slots;
use crate::db::{Store, Transaction, transaction};
use crate::entity::{command, sender, slot};
use crate::error::StoreError;
use crate::ledger::ROWS_PER_STATEMENT;
use crate::slot::OpenSlot;

/// What is to be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CommandKind {
    /// The same payload, dearer.
    Bump,
    /// A zero self-transfer in the same slot.
    Cancel,
    /// A zero self-transfer in a slot that nobody opened.
    Fill,
}

impl CommandKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Bump, Self::Cancel, Self::Fill];

    /// The stable text of the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bump => "bump",
            Self::Cancel => "cancel",
            Self::Fill => "fill",
        }
    }
}

/// A command that is not done yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its row.
    pub id: i64,
    /// What is to be signed.
    pub kind: CommandKind,
    /// For which slot.
    pub slot: Slot,
    /// Who asked.
    pub requested_by: String,
    /// Why.
    pub reason: String,
}

impl Store {
    /// Writes a command, unless the same one is open for this slot already; says whether it is new.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn request_command(
        &self,
        kind: CommandKind,
        slot: Slot,
        requested_by: &str,
        reason: &str,
    ) -> Result<bool, StoreError> {
        transaction!(self, "request_command", |tx| request_in(
            &tx,
            kind,
            slot,
            requested_by,
            reason
        ))
    }

    /// Open commands that are due, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn open_commands(
        &self,
        chain_id: u64,
        limit: u64,
    ) -> Result<Vec<Command>, StoreError> {
        let rows = command::Entity::find()
            .filter(command::Column::ChainId.eq(bigint(chain_id)))
            .filter(command::Column::DoneAt.is_null())
            .filter(command::Column::DueAt.lte(self.clock.now().as_millis()))
            .order_by_asc(command::Column::Id)
            .limit(limit)
            .all(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("open_commands", &error))?;
        rows.iter().map(read_command).collect()
    }

    /// Ends commands that need no signature, each with its answer.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn answer_commands(&self, answers: &[(i64, String)]) -> Result<(), StoreError> {
        if answers.is_empty() {
            return Ok(());
        }
        transaction!(self, "answer_commands", |tx| finish_commands(&tx, answers))
    }

    /// Puts a command off: it cannot be done now, at the fee cap for instance.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn defer_command(&self, id: i64, until: Timestamp) -> Result<(), StoreError> {
        transaction!(self, "defer_command", |tx| defer_in(&tx, id, until))
    }

    /// The lowest signed or sent slot of each sender, where its newest attempt was committed before `before`: the
    /// candidates of recovery, by sender. Those behind them wait for them, and are not even read. A signed one can wait
    /// without bytes of its own: what was adopted from the chain, and left it by a reorg.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn waiting_heads(
        &self,
        chain_id: u64,
        before: Timestamp,
    ) -> Result<Vec<OpenSlot>, StoreError> {
        let during = "waiting_heads";
        let failed = |error| StoreError::of_statement(during, &error);
        let picture = self.snapshot(during).await?;
        let waiting: Vec<(Vec<u8>, i64, Vec<u8>)> = waiting_query(chain_id, before)
            .select_only()
            .columns([slot::Column::Sender, slot::Column::Nonce, slot::Column::Id])
            .into_tuple()
            .all(&picture)
            .await
            .map_err(failed)?;
        let mut heads: BTreeMap<Vec<u8>, (i64, Vec<u8>)> = BTreeMap::new();
        for (sender, nonce, id) in waiting {
            let head = heads.entry(sender).or_insert_with(|| (nonce, id.clone()));
            if nonce < head.0 {
                *head = (nonce, id);
            }
        }
        let ids: Vec<Vec<u8>> = heads.into_values().map(|(_, id)| id).collect();
        let mut rows = Vec::with_capacity(ids.len());
        for ids in ids.chunks(ROWS_PER_STATEMENT) {
            let of_ids = slot::Entity::find().filter(slot::Column::Id.is_in(ids.iter().cloned()));
            rows.extend(of_ids.all(&picture).await.map_err(failed)?);
        }
        let reading = read_sound_slots(&picture, during, &rows).await?;
        let mut slots = reading.noted(&self.damage);
        slots.retain(|open| {
            open.attempts.last().is_some_and(|attempt| attempt.committed_at < before)
        });
        slots.sort_by_key(|open| open.slot);
        Ok(slots)
    }
}

pub(crate) async fn request_in(
    tx: &Transaction,
    kind: CommandKind,
    slot: Slot,
    requested_by: &str,
    reason: &str,
) -> Result<bool, StoreError> {
    // Nothing unique keeps two of them out: of two that ask at once the second finds the first's.
    tx.wait_for(sender::Entity::find_by_id((bigint(slot.chain_id), slot.sender.to_vec()))).await?;
    let open = command::Entity::find()
        .filter(command::Column::ChainId.eq(bigint(slot.chain_id)))
        .filter(command::Column::Sender.eq(slot.sender.to_vec()))
        .filter(command::Column::Nonce.eq(bigint(slot.nonce)))
        .filter(command::Column::Kind.eq(kind.as_str()))
        .filter(command::Column::DoneAt.is_null())
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    if open.is_some() {
        return Ok(false);
    }
    let row = command::ActiveModel {
        id: ActiveValue::NotSet,
        chain_id: ActiveValue::Set(bigint(slot.chain_id)),
        kind: ActiveValue::Set(kind.as_str().to_owned()),
        sender: ActiveValue::Set(slot.sender.to_vec()),
        nonce: ActiveValue::Set(bigint(slot.nonce)),
        requested_by: ActiveValue::Set(requested_by.to_owned()),
        reason: ActiveValue::Set(reason.to_owned()),
        created_at: ActiveValue::Set(tx.now.as_millis()),
        due_at: ActiveValue::Set(tx.now.as_millis()),
        done_at: ActiveValue::Set(None),
        answer: ActiveValue::Set(None),
    };
    command::Entity::insert(row)
        .exec_without_returning(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    if kind == CommandKind::Cancel {
        mark_canceled(tx, slot).await?;
    }
    let subject = format!("{}:{}:{}", slot.chain_id, slot.sender, slot.nonce);
    let action = format!("slot.{}", kind.as_str());
    let entry = AuditEntry {
        tenant: None,
        actor: requested_by,
        action: &action,
        subject: &subject,
        detail: reason,
    };
    append_audit(tx, &entry).await?;
    Ok(true)
}

async fn mark_canceled(tx: &Transaction, slot: Slot) -> Result<(), StoreError> {
    slot::Entity::update_many()
        .col_expr(slot::Column::CancelRequested, Expr::value(1))
        .filter(slot::Column::ChainId.eq(bigint(slot.chain_id)))
        .filter(slot::Column::Sender.eq(slot.sender.to_vec()))
        .filter(slot::Column::Nonce.eq(bigint(slot.nonce)))
        .exec(&tx.inner)
        .await
        .map(|_| ())
        .map_err(|error| tx.failed(&error))
}

async fn defer_in(tx: &Transaction, id: i64, until: Timestamp) -> Result<(), StoreError> {
    command::Entity::update_many()
        .col_expr(command::Column::DueAt, Expr::value(until.as_millis()))
        .filter(command::Column::Id.eq(id))
        .filter(command::Column::DoneAt.is_null())
        .exec(&tx.inner)
        .await
        .map(|_| ())
        .map_err(|error| tx.failed(&error))
}

/// Ends commands in the transaction that did them.
pub(crate) async fn finish_commands(
    tx: &Transaction,
    answers: &[(i64, String)],
) -> Result<(), StoreError> {
    for (id, answer) in answers {
        command::Entity::update_many()
            .col_expr(command::Column::DoneAt, Expr::value(tx.now.as_millis()))
            .col_expr(command::Column::Answer, Expr::value(answer.as_str()))
            .filter(command::Column::Id.eq(*id))
            .filter(command::Column::DoneAt.is_null())
            .exec(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
    }
    Ok(())
}

fn read_command(row: &command::Model) -> Result<Command, StoreError> {
    let key = row.id.to_be_bytes();
    let place = Place { table: "commands", row: &key };
    let kind = CommandKind::ALL.into_iter().find(|kind| kind.as_str() == row.kind);
    let sender: Address = place.address("sender", &row.sender)?;
    Ok(Command {
        id: row.id,
        kind: place.known("kind", kind)?,
        slot: Slot {
            chain_id: place.unsigned("chain_id", row.chain_id)?,
            sender,
            nonce: place.unsigned("nonce", row.nonce)?,
        },
        requested_by: row.requested_by.clone(),
        reason: row.reason.clone(),
    })
}

/// In no order: sorted by sender and nonce it would be read from the index of all slots that ever were.
pub(crate) fn waiting_query(chain_id: u64, before: Timestamp) -> Select<slot::Entity> {
    slot::Entity::find()
        .filter(slot::Column::ChainId.eq(bigint(chain_id)))
        .filter(slot::Column::Stage.is_in([
            SlotStage::Signed.as_str(),
            SlotStage::Sending.as_str(),
            SlotStage::Sent.as_str(),
        ]))
        .filter(slot::Column::OpenedAt.lt(before.as_millis()))
}
