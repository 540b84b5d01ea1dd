//! What an account withdrew of an asset on one UTC day: read once, moved in memory, written once.

use std::collections::BTreeMap;

use portcullis_core::amount::Amount;
use portcullis_core::id::{AccountId, AssetId, TenantId};
use portcullis_core::policy::{Rule, Verdict};
use portcullis_core::withdrawal::State;
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QuerySelect};

use crate::convert::Place;
use crate::db::Transaction;
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
    known: Vec<WindowKey>,
    changed: Vec<WindowKey>,
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
        let mut accounts: Vec<&str> =
            records.iter().map(|record| record.account.as_str()).collect();
        accounts.sort_unstable();
        accounts.dedup();
        let mut totals = BTreeMap::new();
        for accounts in accounts.chunks(ROWS_PER_STATEMENT) {
            let rows = window::Entity::find()
                .filter(window::Column::UtcDay.eq(utc_day))
                .filter(window::Column::AccountId.is_in(accounts.iter().copied()))
                .lock_exclusive()
                .all(&tx.inner)
                .await
                .map_err(|error| tx.failed(&error))?;
            for row in rows {
                let place = Place { table: "windows", row: row.account_id.as_bytes() };
                let key = (
                    TenantId::from_bytes(place.id("tenant_id", &row.tenant_id)?),
                    place.parsed("account_id", row.account_id.parse::<AccountId>())?,
                    AssetId::from_bytes(place.id("asset_id", &row.asset_id)?),
                );
                totals.insert(key, place.amount("total", &row.total)?);
            }
        }
        let known = totals.keys().cloned().collect();
        Ok(Self { utc_day, totals, known, changed: Vec::new() })
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
        if !self.changed.contains(&key) {
            self.changed.push(key);
        }
    }

    pub(crate) async fn store(self, tx: &Transaction) -> Result<(), StoreError> {
        let mut new = Vec::new();
        for key in &self.changed {
            let total = self.totals.get(key).copied().unwrap_or_default().to_string();
            let (tenant, account, asset) = key;
            if self.known.contains(key) {
                let written = window::Entity::update_many()
                    .col_expr(window::Column::Total, Expr::value(total))
                    .filter(window::Column::TenantId.eq(tenant.to_bytes().to_vec()))
                    .filter(window::Column::AccountId.eq(account.as_str()))
                    .filter(window::Column::AssetId.eq(asset.to_bytes().to_vec()))
                    .filter(window::Column::UtcDay.eq(self.utc_day))
                    .exec(&tx.inner)
                    .await
                    .map_err(|error| tx.failed(&error))?;
                tx.expect_rows(written.rows_affected, 1)?;
            } else {
                new.push(window::ActiveModel {
                    tenant_id: ActiveValue::Set(tenant.to_bytes().to_vec()),
                    account_id: ActiveValue::Set(account.as_str().to_owned()),
                    asset_id: ActiveValue::Set(asset.to_bytes().to_vec()),
                    utc_day: ActiveValue::Set(self.utc_day),
                    total: ActiveValue::Set(total),
                });
            }
        }
        for rows in new.chunks(ROWS_PER_STATEMENT) {
            window::Entity::insert_many(rows.iter().cloned())
                .exec_without_returning(&tx.inner)
                .await
                .map_err(|error| tx.failed(&error))?;
        }
        Ok(())
    }
}
