//! Deposits: what credits an account, idempotent by the client's own id.

use alloy_primitives::B256;
use portcullis_core::amount::Amount;
use portcullis_core::id::{AccountId, AssetId, DepositId, ExternalId, TenantId};
use portcullis_core::ledger::PostingKind;
use portcullis_core::seal::{Seal, SealKeyId, SealedRow, SealingKeys};
use portcullis_core::time::Timestamp;
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter};

use crate::convert::Place;
use crate::db::{Store, Transaction, transaction};
use crate::entity::deposit;
use crate::error::StoreError;
use crate::ledger::{NewPosting, Purse, open_purse, post};

/// A deposit to be credited.
#[derive(Clone, Debug)]
pub struct NewDeposit {
    /// Its id.
    pub id: DepositId,
    /// Whose account.
    pub tenant: TenantId,
    /// Which account; it begins with its first deposit.
    pub account: AccountId,
    /// Of which asset.
    pub asset: AssetId,
    /// How much.
    pub amount: Amount,
    /// The tenant's own id of it, unique for ever.
    pub external_id: ExternalId,
    /// The hash of the request's meaning.
    pub request_hash: B256,
}

/// A credited deposit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DepositRecord {
    /// Its id.
    pub id: DepositId,
    /// The tenant's own id of it.
    pub external_id: ExternalId,
    /// The account.
    pub account: AccountId,
    /// The asset.
    pub asset: AssetId,
    /// How much.
    pub amount: Amount,
    /// When.
    pub created_at: Timestamp,
}

/// What became of a deposit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DepositOutcome {
    /// The account is credited now.
    Credited(DepositRecord),
    /// The same deposit was credited before.
    Existing(DepositRecord),
    /// Its id belongs to a deposit with another body.
    Conflict(DepositRecord),
}

impl Store {
    /// Credits an account.
    ///
    /// # Errors
    /// When the database does not answer, or the ledger refuses (an overflow of 256 bits).
    pub async fn deposit(
        &self,
        keys: &SealingKeys,
        new: &NewDeposit,
    ) -> Result<DepositOutcome, StoreError> {
        transaction!(self, "deposit", |tx| deposit_in(&tx, keys, new))
    }
}

async fn deposit_in(
    tx: &Transaction,
    keys: &SealingKeys,
    new: &NewDeposit,
) -> Result<DepositOutcome, StoreError> {
    let known = deposit::Entity::find()
        .filter(deposit::Column::TenantId.eq(new.tenant.to_bytes().to_vec()))
        .filter(deposit::Column::ExternalId.eq(new.external_id.as_str()))
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    if let Some(row) = known {
        let record = read_deposit(keys, new.tenant, &row)?;
        let same = row.request_hash == new.request_hash.as_slice();
        return Ok(if same {
            DepositOutcome::Existing(record)
        } else {
            DepositOutcome::Conflict(record)
        });
    }
    let record = DepositRecord {
        id: new.id,
        external_id: new.external_id.clone(),
        account: new.account.clone(),
        asset: new.asset,
        amount: new.amount,
        created_at: tx.now,
    };
    let seal =
        with_sealed_fields(new.tenant, &record, |fields| keys.seal_row(SealedRow::Deposit, fields));
    let row = deposit::ActiveModel {
        id: ActiveValue::Set(new.id.to_bytes().to_vec()),
        tenant_id: ActiveValue::Set(new.tenant.to_bytes().to_vec()),
        external_id: ActiveValue::Set(new.external_id.as_str().to_owned()),
        request_hash: ActiveValue::Set(new.request_hash.to_vec()),
        account_id: ActiveValue::Set(new.account.as_str().to_owned()),
        asset_id: ActiveValue::Set(new.asset.to_bytes().to_vec()),
        amount: ActiveValue::Set(new.amount.to_string()),
        created_at: ActiveValue::Set(tx.now.as_millis()),
        seal_key_id: ActiveValue::Set(i64::from(seal.key_id.0)),
        mac: ActiveValue::Set(seal.mac.to_vec()),
    };
    deposit::Entity::insert(row)
        .exec_without_returning(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let purse = Purse { tenant: new.tenant, account: new.account.clone(), asset: new.asset };
    open_purse(tx, &purse).await?;
    let posting = NewPosting {
        purse,
        kind: PostingKind::Deposit,
        amount: new.amount,
        subject: new.id.to_bytes(),
    };
    post(tx, vec![posting]).await?;
    Ok(DepositOutcome::Credited(record))
}

fn read_deposit(
    keys: &SealingKeys,
    tenant: TenantId,
    row: &deposit::Model,
) -> Result<DepositRecord, StoreError> {
    let place = Place { table: "deposits", row: &row.id };
    let record = DepositRecord {
        id: DepositId::from_bytes(place.id("id", &row.id)?),
        external_id: place.parsed("external_id", row.external_id.parse())?,
        account: place.parsed("account_id", row.account_id.parse())?,
        asset: AssetId::from_bytes(place.id("asset_id", &row.asset_id)?),
        amount: place.amount("amount", &row.amount)?,
        created_at: Timestamp::from_millis(row.created_at),
    };
    let seal = Seal {
        key_id: SealKeyId(place.unsigned("seal_key_id", row.seal_key_id)?),
        mac: place.hash("mac", &row.mac)?.0,
    };
    let verified = with_sealed_fields(tenant, &record, |fields| {
        keys.verify_row(SealedRow::Deposit, fields, &seal)
    });
    place.parsed("mac", verified)?;
    Ok(record)
}

fn with_sealed_fields<T>(
    tenant: TenantId,
    record: &DepositRecord,
    with: impl FnOnce(&[&[u8]]) -> T,
) -> T {
    with(&[
        &record.id.to_bytes(),
        &tenant.to_bytes(),
        record.external_id.as_str().as_bytes(),
        record.account.as_str().as_bytes(),
        &record.asset.to_bytes(),
        &record.amount.atomic().to_be_bytes::<32>(),
    ])
}
