//! The row of a payment that this database has forgotten.

use portcullis_core::id::{AccountId, AssetId, SlotId, WithdrawalId};
use portcullis_core::ledger::{Bucket, PostingKind};
use portcullis_core::number::PayoutNumber;
use portcullis_core::seal::{Seal, SealKeyId};
use portcullis_core::slot::Rail;
use portcullis_core::withdrawal::{Priority, State};
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter};

use super::place::{Truth, between, bind, mark_item_paid, write_work};
use super::{ImportedPayment, ImportedPurpose, ImportedRequest, SlotImport};
use crate::convert::{Place, bigint, token_bytes};
use crate::db::Transaction;
use crate::deployment::take_numbers;
use crate::entity::{asset, withdrawal};
use crate::error::StoreError;
use crate::intake::withdrawal_row;
use crate::ledger::{NewPosting, open_purse, post};
use crate::timeline::TimelineEvent;
use crate::transition::{Stage, purse_of};
use crate::withdrawal::WithdrawalRecord;

/// What a new row is made of.
pub(super) struct Facts<'a> {
    pub(super) import: &'a SlotImport,
    pub(super) payment: &'a ImportedPayment,
    pub(super) request: &'a ImportedRequest,
    pub(super) purpose: ImportedPurpose,
    /// Whether its external id is another request's here.
    pub(super) taken: bool,
}

/// A withdrawal that this database has forgotten. Who pays it is not known: it is booked on the tenant's suspense
/// account, and it has no seal, so that nothing can be signed of it before a retry has named the payer.
pub(super) async fn insert_payment(
    tx: &Transaction,
    slot: SlotId,
    facts: &Facts<'_>,
    truth: Truth,
    detail: &str,
) -> Result<(), StoreError> {
    let asset = asset_of(tx, facts).await?;
    let record = new_record(tx, facts, asset, truth, slot, detail).await?;
    let mut row = withdrawal_row(&record);
    if truth == Truth::Reverted {
        row.reason = ActiveValue::Set(Some("reverted".to_owned()));
    }
    row.timeline =
        ActiveValue::Set(crate::timeline::line(record.created_at, "imported", Some(detail)));
    withdrawal::Entity::insert(row)
        .exec_without_returning(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    if truth == Truth::Reverted {
        return Ok(());
    }
    bind(tx, &record.id.to_bytes(), slot).await?;
    if truth == Truth::Paid && facts.import.rail == Rail::Vault {
        mark_item_paid(tx, &record.id.to_bytes(), slot).await?;
    }
    if truth == Truth::Sent {
        write_work(tx, &record, Some(Stage::Monitor)).await?;
    }
    let purse = purse_of(&record);
    open_purse(tx, &purse).await?;
    let target = if truth == Truth::Paid { Bucket::Paid } else { Bucket::Held };
    let kinds = [vec![PostingKind::Import], between(Bucket::Available, target)].concat();
    for kind in kinds {
        let posting = NewPosting {
            purse: purse.clone(),
            kind,
            amount: record.amount,
            subject: record.id.to_bytes(),
        };
        post(tx, vec![posting]).await?;
    }
    Ok(())
}

async fn asset_of(tx: &Transaction, facts: &Facts<'_>) -> Result<AssetId, StoreError> {
    let (chain_id, token) = (facts.import.slot.chain_id, facts.purpose.token);
    let row = asset::Entity::find()
        .filter(asset::Column::ChainId.eq(bigint(chain_id)))
        .filter(asset::Column::Token.eq(token_bytes(token)))
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let Some(row) = row else {
        let token = token.map_or_else(|| "native".to_owned(), |token| token.to_string());
        let problem = format!(
            "no asset of chain {chain_id} has the token {token}: add it with `admin asset add`, then reconcile again"
        );
        return Err(StoreError::Ledger { during: tx.name, problem });
    };
    let place = Place { table: "assets", row: &row.id };
    Ok(AssetId::from_bytes(place.id("id", &row.id)?))
}

async fn new_record(
    tx: &Transaction,
    facts: &Facts<'_>,
    asset: AssetId,
    truth: Truth,
    slot: SlotId,
    detail: &str,
) -> Result<WithdrawalRecord, StoreError> {
    let number = free_number(tx, facts.payment.number).await?;
    let mut external_id = facts.request.external_id.clone();
    let mut id = facts.request.withdrawal;
    if facts.taken {
        // Not the client's own id any more: that belongs to another request now.
        let renamed = format!("{}~{}", facts.payment.number, external_id);
        external_id = renamed.parse().unwrap_or(external_id);
        id = WithdrawalId::from_parts(tx.now, u128::from_be_bytes(id.to_bytes()));
    }
    let state = match truth {
        Truth::Paid => {
            let block = facts.import.end.map(|end| end.block);
            let place = Place { table: "slots", row: &[] };
            State::Confirmed { slot, block: place.known("block_number", block)?, is_final: true }
        }
        Truth::Voided => State::Canceled,
        Truth::Reverted => {
            State::Failed { reason: portcullis_core::withdrawal::FailureReason::Reverted }
        }
        Truth::Sent | Truth::Reopened | Truth::Unbound => State::Broadcasted { slot },
    };
    Ok(WithdrawalRecord {
        id,
        tenant: facts.request.tenant,
        external_id,
        request_hash: alloy_primitives::B256::ZERO,
        account: AccountId::suspense(),
        asset,
        chain_id: facts.import.slot.chain_id,
        token: facts.purpose.token,
        amount: facts.purpose.amount,
        to: facts.purpose.to,
        priority: Priority::Standard,
        metadata: None,
        number,
        reference: facts.payment.reference,
        seal: Seal { key_id: SealKeyId(0), mac: [0; 32] },
        state,
        cancel_requested: false,
        reason: None,
        event_sequence: 1,
        timeline: vec![TimelineEvent {
            sequence: 1,
            at: tx.now,
            kind: "imported".into(),
            detail: Some(detail.to_owned()),
        }],
        created_at: tx.now,
        updated_at: tx.now,
    })
}

/// The payment's own number; a fresh one where another withdrawal has it here, after a silent restore.
pub(super) async fn free_number(
    tx: &Transaction,
    number: PayoutNumber,
) -> Result<PayoutNumber, StoreError> {
    let taken = withdrawal::Entity::find()
        .filter(withdrawal::Column::Epoch.eq(bigint(number.epoch)))
        .filter(withdrawal::Column::Sequence.eq(bigint(number.sequence)))
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    if taken.is_none() {
        return Ok(number);
    }
    let (epoch, sequence) = take_numbers(tx, 1).await?;
    Ok(PayoutNumber { epoch, sequence })
}
