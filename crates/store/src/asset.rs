//! The registered assets.

use alloy_primitives::Address;
use portcullis_core::asset::Asset;
use portcullis_core::id::AssetId;
use portcullis_core::seal::{Seal, SealKeyId, SealingKeys};
use sea_orm::{
    ActiveValue, ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};

use crate::audit::{AuditEntry, append_audit};
use crate::convert::{Place, bigint, token_bytes};
use crate::db::{Store, Transaction, transaction};
use crate::entity::asset;
use crate::error::StoreError;

/// What became of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssetOutcome {
    /// It is registered now.
    Registered,
    /// The same asset was registered before.
    Exists(Asset),
    /// The symbol or the token is taken by a different asset on this chain.
    Conflict(Asset),
}

impl Store {
    /// The token contracts of a chain's assets, without a check of their seals: for comparing, never for paying.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn tokens(&self, chain_id: u64) -> Result<Vec<Address>, StoreError> {
        let rows: Vec<Vec<u8>> = asset::Entity::find()
            .select_only()
            .column(asset::Column::Token)
            .filter(asset::Column::ChainId.eq(bigint(chain_id)))
            .into_tuple()
            .all(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("tokens", &error))?;
        let read = |row: &Vec<u8>| Place { table: "assets", row }.token("token", row);
        Ok(rows.iter().map(read).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// Registers an asset. Symbol and token are each unique per chain.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn register_asset(
        &self,
        keys: &SealingKeys,
        asset: &Asset,
        actor: &str,
    ) -> Result<AssetOutcome, StoreError> {
        transaction!(self, "register_asset", |tx| register_in(&tx, keys, asset, actor))
    }

    /// Every asset, by chain and symbol, whose row matches its seal. One that does not is passed over
    /// with an error in the log: nothing is accepted or paid in it, and the others go on.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn assets(&self, keys: &SealingKeys) -> Result<Vec<Asset>, StoreError> {
        let rows = asset::Entity::find()
            .order_by_asc(asset::Column::ChainId)
            .order_by_asc(asset::Column::Symbol)
            .all(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("assets", &error))?;
        let sound = |row| match read_asset(keys, row) {
            Ok(asset) => Some(asset),
            Err(error) => {
                tracing::error!(%error, "an asset is not what was registered; it is not used");
                None
            }
        };
        Ok(rows.iter().filter_map(sound).collect())
    }
}

async fn register_in(
    tx: &Transaction,
    keys: &SealingKeys,
    new: &Asset,
    actor: &str,
) -> Result<AssetOutcome, StoreError> {
    let known = asset::Entity::find()
        .filter(asset::Column::ChainId.eq(bigint(new.chain_id)))
        .filter(
            Condition::any()
                .add(asset::Column::Symbol.eq(new.symbol.as_str()))
                .add(asset::Column::Token.eq(token_bytes(new.token))),
        )
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    if let Some(row) = known {
        let known = read_asset(keys, &row)?;
        let same = known == Asset { id: known.id, ..new.clone() };
        return Ok(if same { AssetOutcome::Exists(known) } else { AssetOutcome::Conflict(known) });
    }
    let seal = new.seal(keys);
    let row = asset::ActiveModel {
        id: ActiveValue::Set(new.id.to_bytes().to_vec()),
        chain_id: ActiveValue::Set(bigint(new.chain_id)),
        symbol: ActiveValue::Set(new.symbol.clone()),
        token: ActiveValue::Set(token_bytes(new.token)),
        decimals: ActiveValue::Set(i32::from(new.decimals)),
        amount_min: ActiveValue::Set(new.amount_min.to_string()),
        amount_max: ActiveValue::Set(new.amount_max.to_string()),
        daily_max: ActiveValue::Set(new.daily_max.map(|most| most.to_string())),
        enabled: ActiveValue::Set(i32::from(new.enabled)),
        created_at: ActiveValue::Set(tx.now.as_millis()),
        seal_key_id: ActiveValue::Set(i64::from(seal.key_id.0)),
        mac: ActiveValue::Set(seal.mac.to_vec()),
    };
    asset::Entity::insert(row)
        .exec_without_returning(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let subject = new.id.to_string();
    let detail = format!("{} on chain {}", new.symbol, new.chain_id);
    let entry =
        AuditEntry { tenant: None, actor, action: "asset.add", subject: &subject, detail: &detail };
    append_audit(tx, &entry).await?;
    Ok(AssetOutcome::Registered)
}

pub(crate) fn read_asset(keys: &SealingKeys, row: &asset::Model) -> Result<Asset, StoreError> {
    let place = Place { table: "assets", row: &row.id };
    let daily_max = match &row.daily_max {
        None => None,
        Some(text) => Some(place.amount("daily_max", text)?),
    };
    let asset = Asset {
        id: AssetId::from_bytes(place.id("id", &row.id)?),
        chain_id: place.unsigned("chain_id", row.chain_id)?,
        symbol: row.symbol.clone(),
        token: place.token("token", &row.token)?,
        decimals: place.unsigned("decimals", i64::from(row.decimals))?,
        amount_min: place.amount("amount_min", &row.amount_min)?,
        amount_max: place.amount("amount_max", &row.amount_max)?,
        daily_max,
        enabled: row.enabled == 1,
    };
    let seal = Seal {
        key_id: SealKeyId(place.unsigned("seal_key_id", row.seal_key_id)?),
        mac: place.hash("mac", &row.mac)?.0,
    };
    place.parsed("mac", asset.verify(keys, &seal))?;
    Ok(asset)
}
