//! What an account withdrew of an asset on one UTC day: read once, moved in memory, written once.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_core::amount::Amount;
use portcullis_core::id::{AccountId, AssetId, TenantId};
use portcullis_core::policy::{Rule, Verdict};
use portcullis_core::withdrawal::State;
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter};

use crate::convert::Place;
use crate::db::{Source, Transaction};
use crate::entity::window;
use crate::error::StoreError;
use crate::ledger::ROWS_PER_STATEMENT;
use crate::withdrawal::WithdrawalRecord;
use crate::work::Judge;

type WindowKey = (TenantId, AccountId, AssetId);

/// The day's totals of the accounts in hand: read once, moved in memory, written once.
pub(crate) struct Windows {
    utc_day: i64,
    totals: BTreeMap<WindowKey, Amount>,
    known: BTreeSet<WindowKey>,
    changed: BTreeSet<WindowKey>,
}

fn window_key(record: &WithdrawalRecord) -> WindowKey {
    (record.tenant, record.account.clone(), record.asset)
}

impl Windows {
    pub(crate) async fn load(
        tx: &Transaction,
        records: &[WithdrawalRecord],
    ) -> Result<Self, StoreError> {
        let utc_day = tx.now.utc_day();
        let mut wanted: BTreeMap<(TenantId, AssetId), BTreeSet<&str>> = BTreeMap::new();
        for record in records {
            let accounts = wanted.entry((record.tenant, record.asset)).or_default();
            accounts.insert(record.account.as_str());
        }
        let mut totals = BTreeMap::new();
        for ((tenant, asset), accounts) in wanted {
            let accounts: Vec<&str> = accounts.into_iter().collect();
            for accounts in accounts.chunks(ROWS_PER_STATEMENT) {
                // The whole key, so that the days before are not read.
                let query = window::Entity::find()
                    .filter(window::Column::TenantId.eq(tenant.to_bytes().to_vec()))
                    .filter(window::Column::AccountId.is_in(accounts.iter().copied()))
                    .filter(window::Column::AssetId.eq(asset.to_bytes().to_vec()))
                    .filter(window::Column::UtcDay.eq(utc_day));
                let rows = tx
                    .inner
                    .holding_named(query)
                    .all(&tx.inner)
                    .await
                    .map_err(|error| tx.failed(&error))?;
                for row in rows {
                    let place = Place { table: "windows", row: row.account_id.as_bytes() };
                    let account = place.parsed("account_id", row.account_id.parse())?;
                    totals.insert((tenant, account, asset), place.amount("total", &row.total)?);
                }
            }
        }
        let known = totals.keys().cloned().collect();
        Ok(Self { utc_day, totals, known, changed: BTreeSet::new() })
    }

    /// The verdict on one withdrawal, and the day's total with it.
    pub(crate) fn judge(&self, record: &WithdrawalRecord, judge: &Judge<'_>) -> (Verdict, Amount) {
        let before = self.totals.get(&window_key(record)).copied().unwrap_or_default();
        if record.state == State::Queued {
            // It is in the total already, or in that of an earlier day.
            return (judge(record, record.amount), before);
        }
        match before.checked_add(record.amount) {
            Some(total) => (judge(record, total), total),
            None => (Verdict::Refuse(Rule::DailyMax), before),
        }
    }

    pub(crate) fn count(&mut self, record: &WithdrawalRecord, total: Amount) {
        let key = window_key(record);
        self.totals.insert(key.clone(), total);
        self.changed.insert(key);
    }

    /// Replaces what changed: the rows that were read go, and the new ones come. The number of statements does not grow
    /// with the accounts but by hundreds.
    pub(crate) async fn store(self, tx: &Transaction) -> Result<(), StoreError> {
        self.remove_known(tx).await?;
        let rows: Vec<window::ActiveModel> = self
            .changed
            .iter()
            .map(|key| {
                let (tenant, account, asset) = key;
                let total = self.totals.get(key).copied().unwrap_or_default();
                window::ActiveModel {
                    tenant_id: ActiveValue::Set(tenant.to_bytes().to_vec()),
                    account_id: ActiveValue::Set(account.as_str().to_owned()),
                    asset_id: ActiveValue::Set(asset.to_bytes().to_vec()),
                    utc_day: ActiveValue::Set(self.utc_day),
                    total: ActiveValue::Set(total.to_string()),
                }
            })
            .collect();
        for rows in rows.chunks(ROWS_PER_STATEMENT) {
            window::Entity::insert_many(rows.iter().cloned())
                .exec_without_returning(&tx.inner)
                .await
                .map_err(|error| tx.failed(&error))?;
        }
        Ok(())
    }

    async fn remove_known(&self, tx: &Transaction) -> Result<(), StoreError> {
        let mut replaced: BTreeMap<(TenantId, AssetId), Vec<&AccountId>> = BTreeMap::new();
        for (tenant, account, asset) in self.changed.intersection(&self.known) {
            replaced.entry((*tenant, *asset)).or_default().push(account);
        }
        for ((tenant, asset), accounts) in replaced {
            for accounts in accounts.chunks(ROWS_PER_STATEMENT) {
                let removed = window::Entity::delete_many()
                    .filter(window::Column::TenantId.eq(tenant.to_bytes().to_vec()))
                    .filter(window::Column::AssetId.eq(asset.to_bytes().to_vec()))
                    .filter(window::Column::UtcDay.eq(self.utc_day))
                    .filter(window::Column::AccountId.is_in(accounts.iter().map(|id| id.as_str())))
                    .exec(&tx.inner)
                    .await
                    .map_err(|error| tx.failed(&error))?;
                tx.expect_rows(removed.rows_affected, accounts.len())?;
            }
        }
        Ok(())
    }
}
