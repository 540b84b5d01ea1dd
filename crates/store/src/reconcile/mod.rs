//! What `reconcile` writes: slots and payments that journal and chain prove and this database has forgotten, or knows
//! otherwise. Each slot is one transaction, which names the stage that the caller has seen.

mod accepted;
mod forgotten;
mod insert;
mod place;
mod read;
mod reopen;
mod request;
mod slot;

use alloy_primitives::{Address, B256};
use portcullis_core::amount::Amount;
use portcullis_core::id::{ExternalId, SlotId, TenantId, WithdrawalId};
use portcullis_core::number::{PaymentRef, PayoutNumber};
use portcullis_core::slot::{AttemptKind, Purpose, Rail, Slot, SlotOutcome, SlotStage};
use portcullis_core::time::Timestamp;
use portcullis_core::withdrawal::BlockRef;
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::audit::{AuditEntry, AuditHead, append_audit};
use crate::convert::{Place, bigint};
use crate::db::{Source, Store, Transaction, transaction};
use crate::entity::{deployment, reconciliation};
use crate::error::StoreError;
use crate::slot::OpenSlot;
use crate::withdrawal::WithdrawalRecord;

pub use accepted::{AcceptedDifference, ForeignSlot, Freed};
pub(crate) use forgotten::{Forgotten, any_forgotten, forgotten_requests};
pub(crate) use request::{claim_in, is_unclaimed, revive_in};
use slot::import_in;

/// A slot with what its row says about its consumption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSlot {
    /// The slot, its attempts and its live payments.
    pub open: OpenSlot,
    /// What consumed it, as far as this database knows.
    pub end: Option<StoredEnd>,
}

/// What a slot's row says about its consumption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredEnd {
    /// What it came to.
    pub outcome: SlotOutcome,
    /// The transaction.
    pub hash: B256,
    /// Its block.
    pub block: BlockRef,
}

/// An attempt of which only the hash is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportedAttempt {
    /// The transaction's hash.
    pub hash: B256,
    /// Whether it pays or cancels.
    pub kind: AttemptKind,
    /// When it was signed.
    pub at: Timestamp,
}

/// What a payment pays, read from the transaction that pays it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportedPurpose {
    /// The token; `None` for the native coin.
    pub token: Option<Address>,
    /// How much.
    pub amount: Amount,
    /// To whom.
    pub to: Address,
}

/// A payment that a slot carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedPayment {
    /// Its payout number.
    pub number: PayoutNumber,
    /// Its ref.
    pub reference: PaymentRef,
    /// Whose it is, and its ids; `None` where only the vault's event remains.
    pub request: Option<ImportedRequest>,
    /// What it pays; `None` where no node shows the transaction.
    pub purpose: Option<ImportedPurpose>,
}

impl ImportedPayment {
    /// The payment as its own row names it, without what it pays.
    #[must_use]
    pub fn of(record: &WithdrawalRecord) -> Self {
        Self {
            number: record.number,
            reference: record.reference,
            request: Some(ImportedRequest {
                withdrawal: record.id,
                tenant: record.tenant,
                external_id: record.external_id.clone(),
            }),
            purpose: None,
        }
    }
}

/// Which request a payment answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedRequest {
    /// The withdrawal.
    pub withdrawal: WithdrawalId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The tenant's own id of it.
    pub external_id: ExternalId,
}

/// The final consumption of a slot, agreed by the quorum at the conservative depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportedEnd {
    /// What it came to.
    pub outcome: SlotOutcome,
    /// The transaction.
    pub hash: B256,
    /// Its block.
    pub block: BlockRef,
    /// The chain's time of it.
    pub block_at: Timestamp,
    /// Gas that it used.
    pub gas_used: u64,
    /// What it paid for a unit of gas.
    pub effective_gas_price_wei: u128,
}

/// A slot as journal and chain know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotImport {
    /// The id of its row, where it has none yet.
    pub id: SlotId,
    /// The slot.
    pub slot: Slot,
    /// The stage that the caller has seen; `None` where there is no row.
    pub seen: Option<SlotStage>,
    /// What for.
    pub purpose: Purpose,
    /// How its payments travel.
    pub rail: Rail,
    /// The digest of its payload.
    pub payload_digest: B256,
    /// Every attempt that is known of it. Those that the row has already are passed over.
    pub attempts: Vec<ImportedAttempt>,
    /// The payments that it carries now. What else is bound to it is bound no longer, and queued.
    pub payments: Vec<ImportedPayment>,
    /// How it ended, where it did.
    pub end: Option<ImportedEnd>,
}

/// What a reconciliation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReconciliationRecord {
    /// Differences that were found.
    pub differences: u64,
    /// Those of them that were repaired.
    pub repaired: u64,
    /// The head of the audit log in the journal that is answered for.
    pub audit_head: Option<AuditHead>,
}

impl Store {
    /// Brings a slot and its payments to what journal and chain prove, in one transaction.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the slot moved on since it was read, [`StoreError::Ledger`] when an account
    /// cannot cover what was paid for it. Nothing is written then.
    pub async fn import_slot(&self, import: &SlotImport) -> Result<(), StoreError> {
        transaction!(self, "import_slot", |tx| import_in(&tx, import))
    }

    /// Opens an epoch of payout numbers above `epoch`, unless this one is above it already; returns the one that
    /// numbers are given of from now on.
    ///
    /// # Errors
    /// When the database does not answer, or is not founded.
    pub async fn open_epoch_above(&self, epoch: u64, actor: &str) -> Result<u64, StoreError> {
        transaction!(self, "open_epoch", |tx| open_epoch_in(&tx, epoch, actor))
    }

    /// When the deployment was founded: before any payment of it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn founded_at(&self) -> Result<Option<Timestamp>, StoreError> {
        let row = deployment::Entity::find_by_id(1)
            .one(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("founded_at", &error))?;
        Ok(row.map(|row| Timestamp::from_millis(row.created_at)))
    }

    /// Ends a withdrawal that no slot carries and whose number the vault has used up without a payment: its money is
    /// available again.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it moved on meanwhile.
    pub async fn end_voided(&self, id: WithdrawalId, detail: &str) -> Result<(), StoreError> {
        transaction!(self, "end_voided", |tx| end_voided_in(&tx, id, detail))
    }

    /// The epoch, and the sequence of the next payout number.
    ///
    /// # Errors
    /// When the database does not answer, or is not founded.
    pub async fn next_number(&self) -> Result<PayoutNumber, StoreError> {
        let row = deployment::Entity::find_by_id(1)
            .one(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("next_number", &error))?;
        read_next_number(row)
    }

    /// Writes down what a reconciliation came to.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn record_reconciliation(
        &self,
        record: &ReconciliationRecord,
        actor: &str,
    ) -> Result<(), StoreError> {
        transaction!(self, "record_reconciliation", |tx| record_in(&tx, record, actor))
    }

    /// The head of the audit log in the journal that the newest reconciliation has answered for.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn answered_audit_head(&self) -> Result<Option<AuditHead>, StoreError> {
        let row = reconciliation::Entity::find()
            .order_by_desc(reconciliation::Column::Id)
            .limit(1)
            .one(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("answered_audit_head", &error))?;
        let Some(row) = row.filter(|row| row.audit_sequence > 0) else { return Ok(None) };
        let key = row.id.to_be_bytes();
        let place = Place { table: "reconciliations", row: &key };
        Ok(Some(AuditHead {
            sequence: place.unsigned("audit_sequence", row.audit_sequence)?,
            hash: place.hash("audit_hash", &row.audit_hash)?.0,
        }))
    }
}

async fn end_voided_in(tx: &Transaction, id: WithdrawalId, detail: &str) -> Result<(), StoreError> {
    let records = crate::withdrawal::withdrawals_by_id(&tx.inner, tx.name, &[id]).await?;
    for record in &records {
        tx.expect_rows(u64::from(record.state.slot().is_some()), 0)?;
        let nowhere = SlotId::from_bytes([0; 16]);
        place::place(tx, record, nowhere, place::Truth::Voided, detail).await?;
    }
    Ok(())
}

fn read_next_number(row: Option<deployment::Model>) -> Result<PayoutNumber, StoreError> {
    let place = Place { table: "deployment", row: &[1] };
    let row = place.known("id", row)?;
    Ok(PayoutNumber {
        epoch: place.unsigned("epoch", row.epoch)?,
        sequence: place.unsigned("sequence_next", row.sequence_next)?,
    })
}

async fn open_epoch_in(tx: &Transaction, above: u64, actor: &str) -> Result<u64, StoreError> {
    let row = tx
        .inner
        .holding_named(deployment::Entity::find_by_id(1))
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let current = read_next_number(row)?.epoch;
    if current > above {
        return Ok(current);
    }
    let next = above.saturating_add(1);
    let moved = deployment::Entity::update_many()
        .col_expr(deployment::Column::Epoch, Expr::value(bigint(next)))
        .col_expr(deployment::Column::SequenceNext, Expr::value(1_i64))
        .filter(deployment::Column::Id.eq(1))
        .filter(deployment::Column::Epoch.eq(bigint(current)))
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    tx.expect_rows(moved.rows_affected, 1)?;
    let detail = format!("after epoch {current}; epochs up to {above} are known to be used");
    let subject = next.to_string();
    let entry = AuditEntry {
        tenant: None,
        actor,
        action: "deployment.epoch",
        subject: &subject,
        detail: &detail,
    };
    append_audit(tx, &entry).await?;
    Ok(next)
}

async fn record_in(
    tx: &Transaction,
    record: &ReconciliationRecord,
    actor: &str,
) -> Result<(), StoreError> {
    let head = record.audit_head;
    let row = reconciliation::ActiveModel {
        id: ActiveValue::NotSet,
        at: ActiveValue::Set(tx.now.as_millis()),
        actor: ActiveValue::Set(actor.to_owned()),
        differences: ActiveValue::Set(bigint(record.differences)),
        repaired: ActiveValue::Set(bigint(record.repaired)),
        audit_sequence: ActiveValue::Set(head.map_or(0, |head| bigint(head.sequence))),
        audit_hash: ActiveValue::Set(head.map_or([0; 32], |head| head.hash).to_vec()),
    };
    reconciliation::Entity::insert(row)
        .exec_without_returning(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let detail = format!("{} differences, {} repaired", record.differences, record.repaired);
    let entry = AuditEntry {
        tenant: None,
        actor,
        action: "reconcile",
        subject: "deployment",
        detail: &detail,
    };
    append_audit(tx, &entry).await
}
