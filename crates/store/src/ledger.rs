//! Accounts, balances and postings. Every posting moves one amount between two buckets, so the
//! ledger balances at every commit by construction; [`Store::check_ledger`] proves it from the rows.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_core::amount::Amount;
use portcullis_core::id::{AccountId, AssetId, TenantId};
use portcullis_core::ledger::{Bucket, PostingKind};
use portcullis_core::time::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};

use crate::convert::Place;
use crate::db::{Store, Transaction};
use crate::dialect::by_index;
use crate::entity::{account, balance, posting};
use crate::error::StoreError;
use crate::lookup::value_of_key;
use crate::trip::{Write, in_steps};

/// Rows a statement: as many as a set has, so that a set takes the same few statements whatever its size. 25 columns of
/// them are 12,500 bound values; the drivers take 32,766.
pub(crate) const ROWS_PER_STATEMENT: usize = 500;

/// Whose money, of which asset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Purse {
    pub(crate) tenant: TenantId,
    pub(crate) account: AccountId,
    pub(crate) asset: AssetId,
}

/// One posting to be made.
pub(crate) struct NewPosting {
    pub(crate) purse: Purse,
    pub(crate) kind: PostingKind,
    pub(crate) amount: Amount,
    /// The withdrawal or deposit.
    pub(crate) subject: [u8; 16],
}

/// What an account holds of one asset, in atomic units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// The asset.
    pub asset: AssetId,
    /// Free to be withdrawn.
    pub available: Amount,
    /// Reserved for withdrawals under way.
    pub held: Amount,
    /// Paid on chain.
    pub paid: Amount,
    /// Everything that ever came in: the sum of the other three.
    pub deposited: Amount,
}

/// An account with its balances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRecord {
    /// The client's id.
    pub account: AccountId,
    /// Its first deposit.
    pub created_at: Timestamp,
    /// By asset.
    pub balances: Vec<Balance>,
}

#[derive(Clone, Copy)]
pub(crate) struct BalanceRow {
    pub(crate) id: i64,
    pub(crate) balance: Balance,
}

impl BalanceRow {
    /// Whether the buckets add up to what came in. A row that somebody edited does not.
    pub(crate) fn is_sound(&self) -> bool {
        let Balance { available, held, paid, deposited, .. } = self.balance;
        let sum = available.checked_add(held).and_then(|sum| sum.checked_add(paid));
        sum == Some(deposited)
    }

    fn bucket(&mut self, bucket: Bucket) -> &mut Amount {
        match bucket {
            Bucket::Outside => &mut self.balance.deposited,
            Bucket::Available => &mut self.balance.available,
            Bucket::Held => &mut self.balance.held,
            Bucket::Paid => &mut self.balance.paid,
        }
    }

    /// Applies one posting. What comes from outside adds to `deposited`: the outside owes it. What goes back there
    /// takes it away again.
    pub(crate) fn apply(&mut self, kind: PostingKind, amount: Amount) -> Option<()> {
        let (from, to) = kind.buckets();
        let giving = *self.bucket(from);
        *self.bucket(from) = match from {
            Bucket::Outside => giving.checked_add(amount)?,
            _ => giving.checked_sub(amount)?,
        };
        let taking = *self.bucket(to);
        *self.bucket(to) = match to {
            Bucket::Outside => taking.checked_sub(amount)?,
            _ => taking.checked_add(amount)?,
        };
        Some(())
    }
}

impl Store {
    /// An account and what it holds; `None` before its first deposit.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account(
        &self,
        tenant: TenantId,
        id: &AccountId,
    ) -> Result<Option<AccountRecord>, StoreError> {
        let during = "account";
        let failed = |error| StoreError::of_statement(during, &error);
        let picture = self.snapshot(during).await?;
        let key = (tenant.to_bytes().to_vec(), id.as_str().to_owned());
        let row = account::Entity::find_by_id(key).one(&picture).await.map_err(failed)?;
        let Some(row) = row else { return Ok(None) };
        let balances = balance::Entity::find()
            .filter(balance::Column::TenantId.eq(tenant.to_bytes().to_vec()))
            .filter(balance::Column::AccountId.eq(id.as_str()))
            .order_by_asc(balance::Column::AssetId)
            .all(&picture)
            .await
            .map_err(failed)?;
        let balances = balances
            .iter()
            .map(|row| read_balance(row).map(|(_, row)| row.balance))
            .collect::<Result<_, _>>()?;
        let created_at = Timestamp::from_millis(row.created_at);
        Ok(Some(AccountRecord { account: id.clone(), created_at, balances }))
    }

    /// Recomputes every balance from its postings; returns how many there are.
    ///
    /// # Errors
    /// [`StoreError::Ledger`] names the first balance that is not the sum of its postings.
    pub async fn check_ledger(&self) -> Result<u64, StoreError> {
        let during = "check_ledger";
        let failed = |error| StoreError::of_statement(during, &error);
        let picture = self.snapshot(during).await?;
        let rows = balance::Entity::find().all(&picture).await.map_err(failed)?;
        for row in &rows {
            let (purse, stored) = read_balance(row)?;
            let zero = Amount::ZERO;
            let empty = Balance {
                available: zero,
                held: zero,
                paid: zero,
                deposited: zero,
                ..stored.balance
            };
            let mut computed = BalanceRow { balance: empty, ..stored };
            let postings = posting::Entity::find()
                .filter(posting::Column::BalanceId.eq(row.id))
                .order_by_asc(posting::Column::Id)
                .all(&picture)
                .await
                .map_err(failed)?;
            for posting in &postings {
                let place = Place { table: "postings", row: &posting.subject };
                let kind = PostingKind::ALL.into_iter().find(|kind| kind.as_str() == posting.kind);
                let kind = place.known("kind", kind)?;
                let amount = place.amount("amount", &posting.amount)?;
                computed.apply(kind, amount).ok_or_else(|| StoreError::Ledger {
                    during,
                    problem: format!("posting {} overdraws account {}", posting.id, purse.account),
                })?;
            }
            if computed.balance != stored.balance {
                let problem = format!(
                    "account {} asset {}: the postings add up to {:?}, the row says {:?}",
                    purse.account, purse.asset, computed.balance, stored.balance
                );
                return Err(StoreError::Ledger { during, problem });
            }
        }
        Ok(rows.len() as u64)
    }
}

/// Opens accounts and empty balances that do not exist yet.
pub(crate) async fn open_purse(tx: &Transaction, purse: &Purse) -> Result<(), StoreError> {
    let key = (purse.tenant.to_bytes().to_vec(), purse.account.as_str().to_owned());
    let known =
        account::Entity::find_by_id(key).one(&tx.inner).await.map_err(|error| tx.failed(&error))?;
    if known.is_none() {
        let row = account::ActiveModel {
            tenant_id: ActiveValue::Set(purse.tenant.to_bytes().to_vec()),
            account_id: ActiveValue::Set(purse.account.as_str().to_owned()),
            created_at: ActiveValue::Set(tx.now.as_millis()),
        };
        account::Entity::insert(row)
            .exec_without_returning(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
    }
    if load_balances(tx, [purse]).await?.contains_key(purse) {
        return Ok(());
    }
    let zero = || ActiveValue::Set("0".to_owned());
    let row = balance::ActiveModel {
        id: ActiveValue::NotSet,
        tenant_id: ActiveValue::Set(purse.tenant.to_bytes().to_vec()),
        account_id: ActiveValue::Set(purse.account.as_str().to_owned()),
        asset_id: ActiveValue::Set(purse.asset.to_bytes().to_vec()),
        outside: zero(),
        available: zero(),
        held: zero(),
        paid: zero(),
    };
    balance::Entity::insert(row)
        .exec_without_returning(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    Ok(())
}

/// Which of the accounts exist.
pub(crate) async fn known_accounts(
    tx: &Transaction,
    tenant: TenantId,
    accounts: &[&AccountId],
) -> Result<Vec<String>, StoreError> {
    account::Entity::find()
        .select_only()
        .column(account::Column::AccountId)
        .filter(account::Column::TenantId.eq(tenant.to_bytes().to_vec()))
        .filter(account::Column::AccountId.is_in(accounts.iter().map(|account| account.as_str())))
        .into_tuple()
        .all(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))
}

/// Asks for balances, to be written.
pub(crate) fn balances_of<'a>(
    purses: impl IntoIterator<Item = &'a Purse>,
) -> Vec<Select<balance::Entity>> {
    let mut by_tenant: BTreeMap<TenantId, Vec<&str>> = BTreeMap::new();
    for purse in purses {
        by_tenant.entry(purse.tenant).or_default().push(purse.account.as_str());
    }
    let mut selects = Vec::with_capacity(by_tenant.len());
    for (tenant, mut accounts) in by_tenant {
        accounts.sort_unstable();
        accounts.dedup();
        selects.extend(accounts.chunks(ROWS_PER_STATEMENT).map(|accounts| {
            let query = balance::Entity::find()
                .filter(balance::Column::TenantId.eq(tenant.to_bytes().to_vec()))
                .filter(balance::Column::AccountId.is_in(in_steps(accounts.to_vec())));
            by_index(query, "balances_by_account").lock_exclusive()
        }));
    }
    selects
}

/// Reads balances for update. A purse without a row is absent from the answer.
pub(crate) async fn load_balances<'a>(
    tx: &Transaction,
    purses: impl IntoIterator<Item = &'a Purse>,
) -> Result<BTreeMap<Purse, BalanceRow>, StoreError> {
    let mut loaded = BTreeMap::new();
    for select in balances_of(purses) {
        let rows = select.all(&tx.inner).await.map_err(|error| tx.failed(&error))?;
        for row in &rows {
            let (purse, row) = read_balance(row)?;
            loaded.insert(purse, row);
        }
    }
    Ok(loaded)
}

/// The subjects of the postings that the ledger would refuse, so that the others need not wait for them.
pub(crate) async fn refused_subjects(
    tx: &Transaction,
    postings: &[NewPosting],
) -> Result<BTreeSet<[u8; 16]>, StoreError> {
    let mut balances = load_balances(tx, postings.iter().map(|posting| &posting.purse)).await?;
    let mut refused = BTreeSet::new();
    for posting in postings {
        let mut row = balances.get(&posting.purse).copied();
        let fits = row.as_mut().and_then(|row| row.apply(posting.kind, posting.amount)).is_some();
        match row {
            Some(row) if fits => drop(balances.insert(posting.purse.clone(), row)),
            _ => drop(refused.insert(posting.subject)),
        }
    }
    Ok(refused)
}

/// Makes postings: hundreds of rows a statement, each balance written once.
pub(crate) async fn post(tx: &Transaction, postings: Vec<NewPosting>) -> Result<(), StoreError> {
    if postings.is_empty() {
        return Ok(());
    }
    let balances = load_balances(tx, postings.iter().map(|posting| &posting.purse)).await?;
    tx.write_together(posting_writes(tx, &postings, balances)?).await
}

/// What makes postings onto balances that this transaction has loaded and not written since.
pub(crate) fn posting_writes(
    tx: &Transaction,
    postings: &[NewPosting],
    mut balances: BTreeMap<Purse, BalanceRow>,
) -> Result<Vec<Write>, StoreError> {
    let before: BTreeMap<i64, Balance> =
        balances.values().map(|row| (row.id, row.balance)).collect();
    let mut rows = Vec::with_capacity(postings.len());
    for posting in postings {
        let refuse = |problem: String| StoreError::Ledger { during: tx.name, problem };
        let purse = &posting.purse;
        let row = balances
            .get_mut(purse)
            .ok_or_else(|| refuse(format!("account {} has no such asset", purse.account)))?;
        row.apply(posting.kind, posting.amount).ok_or_else(|| {
            refuse(format!(
                "{} of {} overdraws account {}",
                posting.kind, posting.amount, purse.account
            ))
        })?;
        rows.push(posting::ActiveModel {
            id: ActiveValue::NotSet,
            balance_id: ActiveValue::Set(row.id),
            kind: ActiveValue::Set(posting.kind.as_str().to_owned()),
            amount: ActiveValue::Set(posting.amount.to_string()),
            subject: ActiveValue::Set(posting.subject.to_vec()),
            at: ActiveValue::Set(tx.now.as_millis()),
        });
    }
    let mut writes: Vec<Write> = rows
        .chunks(ROWS_PER_STATEMENT)
        .map(|rows| Write::new(posting::Entity::insert_many(rows.iter().cloned()), rows.len()))
        .collect();
    let changed: Vec<BalanceRow> =
        balances.into_values().filter(|row| before.get(&row.id) != Some(&row.balance)).collect();
    writes.extend(changed.chunks(ROWS_PER_STATEMENT).map(balances_write));
    Ok(writes)
}

fn balances_write(rows: &[BalanceRow]) -> Write {
    let by_id = |value: fn(&Balance) -> Amount| {
        let values = rows.iter().map(|row| (row.id, Expr::value(value(&row.balance).to_string())));
        value_of_key(balance::Column::Id, values.collect(), None)
    };
    let written = balance::Entity::update_many()
        .col_expr(balance::Column::Outside, by_id(|balance| balance.deposited))
        .col_expr(balance::Column::Available, by_id(|balance| balance.available))
        .col_expr(balance::Column::Held, by_id(|balance| balance.held))
        .col_expr(balance::Column::Paid, by_id(|balance| balance.paid))
        .filter(balance::Column::Id.is_in(rows.iter().map(|row| row.id)));
    Write::new(written, rows.len())
}

pub(crate) fn read_balance(row: &balance::Model) -> Result<(Purse, BalanceRow), StoreError> {
    let key = row.id.to_be_bytes();
    let place = Place { table: "balances", row: &key };
    let purse = Purse {
        tenant: TenantId::from_bytes(place.id("tenant_id", &row.tenant_id)?),
        account: place.parsed("account_id", row.account_id.parse())?,
        asset: AssetId::from_bytes(place.id("asset_id", &row.asset_id)?),
    };
    let balance = Balance {
        asset: purse.asset,
        available: place.amount("available", &row.available)?,
        held: place.amount("held", &row.held)?,
        paid: place.amount("paid", &row.paid)?,
        deposited: place.amount("outside", &row.outside)?,
    };
    Ok((purse, BalanceRow { id: row.id, balance }))
}
