//! Tenants and API keys.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use portcullis_core::id::{ApiKeyId, TenantId};
use portcullis_core::seal::{Seal, SealKeyId, SealedRow, SealingKeys};
use portcullis_core::time::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use thiserror::Error;

use crate::asset::read_asset;
use crate::audit::{AuditEntry, append_audit};
use crate::convert::Place;
use crate::db::{Store, Transaction, transaction};
use crate::entity::{api_key, asset, tenant};
use crate::error::StoreError;

/// What an API key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Read withdrawals.
    WithdrawalsRead,
    /// Make and cancel withdrawals.
    WithdrawalsWrite,
    /// Credit accounts.
    DepositsWrite,
    /// Read accounts and their balances.
    AccountsRead,
    /// Decide as an operator, across tenants: dead letters.
    Operations,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] = [
        Self::WithdrawalsRead,
        Self::WithdrawalsWrite,
        Self::DepositsWrite,
        Self::AccountsRead,
        Self::Operations,
    ];

    /// The stable text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WithdrawalsRead => "withdrawals:read",
            Self::WithdrawalsWrite => "withdrawals:write",
            Self::DepositsWrite => "deposits:write",
            Self::AccountsRead => "accounts:read",
            Self::Operations => "operations",
        }
    }
}

/// A set of scopes: `withdrawals:read,withdrawals:write`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(BTreeSet<Scope>);

/// Text that names no scope.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no scope; the scopes are withdrawals:read, withdrawals:write, deposits:write, accounts:read and operations"
)]
pub struct UnknownScope(String);

impl Scopes {
    /// All of them.
    #[must_use]
    pub fn all() -> Self {
        Self(Scope::ALL.into())
    }

    /// Whether it is among them.
    #[must_use]
    pub fn contains(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Scope> + '_ {
        self.0.iter().copied()
    }
}

impl FromStr for Scopes {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        let known = |name: &str| {
            Scope::ALL
                .into_iter()
                .find(|scope| scope.as_str() == name)
                .ok_or_else(|| UnknownScope(name.to_owned()))
        };
        text.split(',').map(str::trim).map(known).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Scope::as_str).collect();
        formatter.write_str(&names.join(","))
    }
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantRecord {
    /// Its id.
    pub id: TenantId,
    /// Its unique name.
    pub name: String,
    /// Since when.
    pub created_at: Timestamp,
}

/// An API key to be added. The secret is its maker's: only the hash comes here.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What people call it.
    pub name: String,
    /// SHA-256 of the whole secret: 32 random bytes need no slow hash.
    pub secret_hash: [u8; 32],
    /// What it may do.
    pub scopes: Scopes,
}

/// An API key, its seal verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// Its id.
    pub id: ApiKeyId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What people call it.
    pub name: String,
    /// SHA-256 of the whole secret.
    pub secret_hash: [u8; 32],
    /// What it may do.
    pub scopes: Scopes,
    /// Since when.
    pub created_at: Timestamp,
    /// Until when.
    pub revoked_at: Option<Timestamp>,
}

impl Store {
    /// Adds a tenant; a known name returns the tenant that there is.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn create_tenant(
        &self,
        id: TenantId,
        name: &str,
        actor: &str,
    ) -> Result<TenantRecord, StoreError> {
        transaction!(self, "create_tenant", |tx| create_tenant_in(&tx, id, name, actor))
    }

    /// Every tenant, by name.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn tenants(&self) -> Result<Vec<TenantRecord>, StoreError> {
        let rows = tenant::Entity::find()
            .order_by_asc(tenant::Column::Name)
            .all(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("tenants", &error))?;
        rows.iter().map(read_tenant).collect()
    }

    /// Adds an API key.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn create_api_key(
        &self,
        keys: &SealingKeys,
        new: &NewApiKey,
        actor: &str,
    ) -> Result<ApiKeyRecord, StoreError> {
        transaction!(self, "create_api_key", |tx| create_api_key_in(&tx, keys, new, actor))
    }

    /// Finds a key by the hash of its secret, revoked ones included. A row that does not match its seal
    /// is no key; the log says so.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn api_key(
        &self,
        keys: &SealingKeys,
        secret_hash: [u8; 32],
    ) -> Result<Option<ApiKeyRecord>, StoreError> {
        let row = api_key::Entity::find()
            .filter(api_key::Column::SecretHash.eq(secret_hash.to_vec()))
            .one(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("api_key", &error))?;
        Ok(row.and_then(|row| match read_api_key(keys, &row) {
            Ok(key) => Some(key),
            Err(error) => {
                tracing::error!(%error, "an API key is not what was added; it is refused");
                None
            }
        }))
    }

    /// A tenant's keys, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a row does not match its seal.
    pub async fn api_keys(
        &self,
        keys: &SealingKeys,
        tenant: TenantId,
    ) -> Result<Vec<ApiKeyRecord>, StoreError> {
        let rows = api_key::Entity::find()
            .filter(api_key::Column::TenantId.eq(tenant.to_bytes().to_vec()))
            .order_by_asc(api_key::Column::Id)
            .all(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("api_keys", &error))?;
        rows.iter().map(|row| read_api_key(keys, row)).collect()
    }

    /// Whether anything that these keys should verify does: of the API keys and assets at least one, unless
    /// there is none yet. A single forged row is not the sign of a wrong key.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn sealing_key_fits(&self, keys: &SealingKeys) -> Result<bool, StoreError> {
        let failed = |error| StoreError::of_statement("sealing_key_fits", &error);
        let api_keys = api_key::Entity::find().all(&self.reader).await.map_err(failed)?;
        if api_keys.iter().any(|row| read_api_key(keys, row).is_ok()) {
            return Ok(true);
        }
        let assets = asset::Entity::find().all(&self.reader).await.map_err(failed)?;
        let is_new = api_keys.is_empty() && assets.is_empty();
        Ok(is_new || assets.iter().any(|row| read_asset(keys, row).is_ok()))
    }

    /// Revokes a key; `false` when there is none, or it was revoked before.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the row does not match its seal.
    pub async fn revoke_api_key(
        &self,
        keys: &SealingKeys,
        id: ApiKeyId,
        actor: &str,
    ) -> Result<bool, StoreError> {
        transaction!(self, "revoke_api_key", |tx| revoke_in(&tx, keys, id, actor))
    }
}

async fn create_tenant_in(
    tx: &Transaction,
    id: TenantId,
    name: &str,
    actor: &str,
) -> Result<TenantRecord, StoreError> {
    let known = tenant::Entity::find()
        .filter(tenant::Column::Name.eq(name))
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    if let Some(row) = known {
        return read_tenant(&row);
    }
    let row = tenant::ActiveModel {
        id: ActiveValue::Set(id.to_bytes().to_vec()),
        name: ActiveValue::Set(name.to_owned()),
        created_at: ActiveValue::Set(tx.now.as_millis()),
    };
    tenant::Entity::insert(row)
        .exec_without_returning(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let subject = id.to_string();
    let entry = AuditEntry {
        tenant: Some(id),
        actor,
        action: "tenant.add",
        subject: &subject,
        detail: name,
    };
    append_audit(tx, &entry).await?;
    Ok(TenantRecord { id, name: name.to_owned(), created_at: tx.now })
}

async fn create_api_key_in(
    tx: &Transaction,
    keys: &SealingKeys,
    new: &NewApiKey,
    actor: &str,
) -> Result<ApiKeyRecord, StoreError> {
    let record = ApiKeyRecord {
        id: new.id,
        tenant: new.tenant,
        name: new.name.clone(),
        secret_hash: new.secret_hash,
        scopes: new.scopes.clone(),
        created_at: tx.now,
        revoked_at: None,
    };
    let seal = with_sealed_fields(&record, |fields| keys.seal_row(SealedRow::ApiKey, fields));
    let row = api_key::ActiveModel {
        id: ActiveValue::Set(new.id.to_bytes().to_vec()),
        tenant_id: ActiveValue::Set(new.tenant.to_bytes().to_vec()),
        name: ActiveValue::Set(new.name.clone()),
        secret_hash: ActiveValue::Set(new.secret_hash.to_vec()),
        scopes: ActiveValue::Set(new.scopes.to_string()),
        created_at: ActiveValue::Set(tx.now.as_millis()),
        revoked_at: ActiveValue::Set(None),
        seal_key_id: ActiveValue::Set(i64::from(seal.key_id.0)),
        mac: ActiveValue::Set(seal.mac.to_vec()),
    };
    api_key::Entity::insert(row)
        .exec_without_returning(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let subject = new.id.to_string();
    let detail = format!("{} with {}", new.name, new.scopes);
    let entry = AuditEntry {
        tenant: Some(new.tenant),
        actor,
        action: "api-key.add",
        subject: &subject,
        detail: &detail,
    };
    append_audit(tx, &entry).await?;
    Ok(record)
}

async fn revoke_in(
    tx: &Transaction,
    keys: &SealingKeys,
    id: ApiKeyId,
    actor: &str,
) -> Result<bool, StoreError> {
    let row = api_key::Entity::find_by_id(id.to_bytes().to_vec())
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let Some(row) = row.filter(|row| row.revoked_at.is_none()) else { return Ok(false) };
    let record = ApiKeyRecord { revoked_at: Some(tx.now), ..read_api_key(keys, &row)? };
    let seal = with_sealed_fields(&record, |fields| keys.seal_row(SealedRow::ApiKey, fields));
    let revoked = api_key::Entity::update_many()
        .col_expr(api_key::Column::RevokedAt, Expr::value(tx.now.as_millis()))
        .col_expr(api_key::Column::SealKeyId, Expr::value(i64::from(seal.key_id.0)))
        .col_expr(api_key::Column::Mac, Expr::value(seal.mac.to_vec()))
        .filter(api_key::Column::Id.eq(id.to_bytes().to_vec()))
        .filter(api_key::Column::RevokedAt.is_null())
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    tx.expect_rows(revoked.rows_affected, 1)?;
    let subject = id.to_string();
    let entry = AuditEntry {
        tenant: Some(record.tenant),
        actor,
        action: "api-key.revoke",
        subject: &subject,
        detail: &record.name,
    };
    append_audit(tx, &entry).await?;
    Ok(true)
}

fn read_tenant(row: &tenant::Model) -> Result<TenantRecord, StoreError> {
    let place = Place { table: "tenants", row: &row.id };
    Ok(TenantRecord {
        id: TenantId::from_bytes(place.id("id", &row.id)?),
        name: row.name.clone(),
        created_at: Timestamp::from_millis(row.created_at),
    })
}

fn read_api_key(keys: &SealingKeys, row: &api_key::Model) -> Result<ApiKeyRecord, StoreError> {
    let place = Place { table: "api_keys", row: &row.id };
    let record = ApiKeyRecord {
        id: ApiKeyId::from_bytes(place.id("id", &row.id)?),
        tenant: TenantId::from_bytes(place.id("tenant_id", &row.tenant_id)?),
        name: row.name.clone(),
        secret_hash: place.hash("secret_hash", &row.secret_hash)?.0,
        scopes: place.parsed("scopes", row.scopes.parse())?,
        created_at: Timestamp::from_millis(row.created_at),
        revoked_at: row.revoked_at.map(Timestamp::from_millis),
    };
    let seal = Seal {
        key_id: SealKeyId(place.unsigned("seal_key_id", row.seal_key_id)?),
        mac: place.hash("mac", &row.mac)?.0,
    };
    let verified =
        with_sealed_fields(&record, |fields| keys.verify_row(SealedRow::ApiKey, fields, &seal));
    place.parsed("mac", verified)?;
    Ok(record)
}

fn with_sealed_fields<T>(record: &ApiKeyRecord, with: impl FnOnce(&[&[u8]]) -> T) -> T {
    let revoked = record.revoked_at.map_or(i64::MIN, Timestamp::as_millis);
    with(&[
        &record.id.to_bytes(),
        &record.tenant.to_bytes(),
        &record.secret_hash,
        record.scopes.to_string().as_bytes(),
        &revoked.to_be_bytes(),
    ])
}
