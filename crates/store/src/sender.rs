//! Senders: the accounts that sign, their next nonces, and what they have in flight.

use std::collections::BTreeMap;

use alloy_primitives::{Address, U256};
use portcullis_core::amount::Amount;
use portcullis_core::slot::{Purpose, Rail, SlotStage};
use sea_orm::sea_query::{Expr, Func, SimpleExpr};
use sea_orm::{
    ActiveValue, ColumnTrait, EntityTrait, JoinType, QueryFilter, QueryOrder, QuerySelect, Select,
};

use crate::alarm::held_senders;
use crate::convert::{Place, bigint};
use crate::db::{Source, Store, Transaction, transaction};
use crate::entity::{attempt, binding, sender, slot, withdrawal};
use crate::error::StoreError;
use crate::ledger::ROWS_PER_STATEMENT;
use crate::session::Picture;
use crate::trip::{Write, in_steps};

/// A sender and what it has under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderLoad {
    /// The account.
    pub address: Address,
    /// The nonce of its next slot.
    pub nonce_next: u64,
    /// Slots that no block has consumed yet.
    pub in_flight: u64,
    /// What these slots will pay from the account itself, by token (`None` is the native coin). Mined payments
    /// that the monitor has not seen yet count still: too careful, never too bold.
    pub promised: BTreeMap<Option<Address>, Amount>,
    /// Gas money that these slots may cost at most, in wei.
    pub gas_promised: Amount,
    /// Whether it opens no new slots for now: it lacks gas money, or a slot of it is damaged.
    pub is_held: bool,
}

/// The stages of a slot that no block has consumed.
pub(crate) const UNMINED: [&str; 4] = [
    SlotStage::Bound.as_str(),
    SlotStage::Signed.as_str(),
    SlotStage::Sending.as_str(),
    SlotStage::Sent.as_str(),
];

impl Store {
    /// Registers senders that are new to this database, each with its transaction count on chain.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn register_senders(
        &self,
        chain_id: u64,
        counts: &[(Address, u64)],
    ) -> Result<(), StoreError> {
        transaction!(self, "register_senders", |tx| register_in(&tx, chain_id, counts))
    }

    /// The senders of a chain, by address.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn own_addresses(&self, chain_id: u64) -> Result<Vec<Address>, StoreError> {
        let loads = self.senders(chain_id).await?;
        Ok(loads.into_iter().map(|(address, _)| address).collect())
    }

    /// The senders of a chain with their next nonces, by address.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn senders(&self, chain_id: u64) -> Result<Vec<(Address, u64)>, StoreError> {
        senders_of(&self.reader, "senders", chain_id).await
    }

    /// The senders of a chain that have fewer slots in flight than so many, with what they have promised.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn sender_loads(
        &self,
        chain_id: u64,
        in_flight_below: u64,
    ) -> Result<Vec<SenderLoad>, StoreError> {
        let picture = self.snapshot("sender_loads").await?;
        let senders = senders_of(&picture, "sender_loads", chain_id).await?;
        let mut loads: BTreeMap<Address, SenderLoad> = senders
            .into_iter()
            .map(|(address, nonce_next)| {
                let load = SenderLoad {
                    address,
                    nonce_next,
                    in_flight: 0,
                    promised: BTreeMap::new(),
                    gas_promised: Amount::ZERO,
                    is_held: false,
                };
                (address, load)
            })
            .collect();
        for held in held_senders(&picture, "sender_loads", chain_id).await? {
            if let Some(load) = loads.get_mut(&held) {
                load.is_held = true;
            }
        }
        count_unmined(&picture, chain_id, &mut loads).await?;
        loads.retain(|_, load| load.in_flight < in_flight_below);
        // Whoever has nothing in flight has promised nothing.
        let busy: Vec<Address> =
            loads.values().filter(|load| load.in_flight > 0).map(|load| load.address).collect();
        for busy in busy.chunks(ROWS_PER_STATEMENT) {
            sum_promised(&picture, chain_id, busy, &mut loads).await?;
            sum_gas(&picture, chain_id, busy, &mut loads).await?;
        }
        Ok(loads.into_values().collect())
    }
}

impl Store {
    /// What the slots of the vault rail that no block has consumed yet will pay, by token.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn vault_promised(
        &self,
        chain_id: u64,
    ) -> Result<BTreeMap<Option<Address>, Amount>, StoreError> {
        let during = "vault_promised";
        let payments: Vec<(Vec<u8>, String)> = slot::Entity::find()
            .select_only()
            .column(withdrawal::Column::Token)
            .column(withdrawal::Column::Amount)
            .join(JoinType::InnerJoin, slot_to_binding())
            .join(JoinType::InnerJoin, binding_to_withdrawal())
            .filter(slot::Column::ChainId.eq(bigint(chain_id)))
            .filter(slot::Column::Stage.is_in(UNMINED))
            .filter(slot::Column::Rail.eq(Rail::Vault.as_str()))
            .filter(slot::Column::Purpose.eq(Purpose::Pay.as_str()))
            .into_tuple()
            .all(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        let mut promised: BTreeMap<Option<Address>, Amount> = BTreeMap::new();
        for (token, amount) in payments {
            let place = Place { table: "withdrawals", row: &token };
            let sum = promised.entry(place.token("token", &token)?).or_default();
            *sum = place.known("amount", sum.checked_add(place.amount("amount", &amount)?))?;
        }
        Ok(promised)
    }
}

async fn senders_of<C: Source>(
    connection: &C,
    during: &'static str,
    chain_id: u64,
) -> Result<Vec<(Address, u64)>, StoreError> {
    let rows = sender::Entity::find()
        .filter(sender::Column::ChainId.eq(bigint(chain_id)))
        .order_by_asc(sender::Column::Address)
        .all(connection)
        .await
        .map_err(|error| StoreError::of_statement(during, &error))?;
    rows.iter().map(read_sender).collect()
}

async fn count_unmined(
    picture: &Picture,
    chain_id: u64,
    loads: &mut BTreeMap<Address, SenderLoad>,
) -> Result<(), StoreError> {
    let counts: Vec<(Vec<u8>, i64)> = unmined_query(chain_id)
        .into_tuple()
        .all(picture)
        .await
        .map_err(|error| StoreError::of_statement("sender_loads", &error))?;
    for (address, count) in counts {
        let place = Place { table: "slots", row: &address };
        let address = place.address("sender", &address)?;
        if let Some(load) = loads.get_mut(&address) {
            load.in_flight = place.unsigned("sender", count)?;
        }
    }
    Ok(())
}

/// How many slots each sender has that no block consumed.
pub(crate) fn unmined_query(chain_id: u64) -> Select<slot::Entity> {
    slot::Entity::find()
        .select_only()
        .column(slot::Column::Sender)
        .column_as(slot::Column::Id.count(), "slots")
        .filter(slot::Column::ChainId.eq(bigint(chain_id)))
        .filter(slot::Column::Stage.is_in(UNMINED))
        .group_by(slot::Column::Sender)
}

/// Slots of these senders that no block consumed. The database finds them by chain, stage and sender, not by the senders' nonces: of
/// those it would read all that ever were.
fn unmined_of(chain_id: u64, senders: &[Address]) -> Select<slot::Entity> {
    let senders = in_steps(senders.iter().map(|sender| sender.to_vec()).collect());
    slot::Entity::find()
        .select_only()
        .column(slot::Column::Sender)
        .filter(slot::Column::ChainId.eq(bigint(chain_id)))
        .filter(slot::Column::Stage.is_in(UNMINED))
        .filter(slot::Column::Sender.is_in(senders))
        .group_by(slot::Column::Sender)
}

/// What these senders will pay from their own money: one row for each of them and token. What is in flight is many, and the
/// signer asks before every set.
pub(crate) fn promised_query(chain_id: u64, senders: &[Address]) -> Select<slot::Entity> {
    unmined_of(chain_id, senders)
        .column(withdrawal::Column::Token)
        .column_as(listed(withdrawal::Column::Amount.into_expr()), "amounts")
        .column_as(withdrawal::Column::Id.count(), "listed")
        .join(JoinType::InnerJoin, slot_to_binding())
        .join(JoinType::InnerJoin, binding_to_withdrawal())
        .filter(slot::Column::Rail.eq(Rail::Direct.as_str()))
        .group_by(withdrawal::Column::Token)
}

/// What the attempts of these senders cost at most, with the slot of each: one row for each sender.
pub(crate) fn costs_query(chain_id: u64, senders: &[Address]) -> Select<slot::Entity> {
    let cost = Func::cust("CONCAT")
        .arg(Func::cust("HEX").arg(slot::Column::Id.into_expr()))
        .arg(" ")
        .arg(attempt::Column::MaxFeePerGasWei.into_expr())
        .arg(" ")
        .arg(attempt::Column::GasLimit.into_expr());
    unmined_of(chain_id, senders)
        .column_as(listed(cost.into()), "costs")
        .column_as(attempt::Column::Hash.count(), "listed")
        .join(JoinType::InnerJoin, slot_to_attempt())
}

async fn sum_promised(
    picture: &Picture,
    chain_id: u64,
    senders: &[Address],
    loads: &mut BTreeMap<Address, SenderLoad>,
) -> Result<(), StoreError> {
    let payments: Vec<(Vec<u8>, Vec<u8>, String, i64)> = promised_query(chain_id, senders)
        .into_tuple()
        .all(picture)
        .await
        .map_err(|error| StoreError::of_statement("sender_loads", &error))?;
    for (address, token, amounts, listed) in payments {
        let place = Place { table: "slots", row: &address };
        let address = place.address("sender", &address)?;
        let Some(load) = loads.get_mut(&address) else { continue };
        let is_whole = is_whole(&amounts, listed);
        let amounts: Result<Vec<Amount>, StoreError> =
            amounts.split(',').map(|amount| place.amount("amount", amount)).collect();
        // What it has promised is not known otherwise: it promises nothing more.
        let (Ok(token), Ok(amounts), true) = (place.token("token", &token), amounts, is_whole)
        else {
            load.is_held = true;
            continue;
        };
        let sum = load.promised.entry(token).or_default();
        for amount in amounts {
            *sum = place.known("amount", sum.checked_add(amount))?;
        }
    }
    Ok(())
}

/// The values of a group's rows, with commas between them.
fn listed(value: SimpleExpr) -> SimpleExpr {
    Func::cust("GROUP_CONCAT").arg(value).into()
}

/// Whether a list has as many values as it is made of. A server cuts off what is longer than it puts together.
fn is_whole(list: &str, values: i64) -> bool {
    i64::try_from(list.split(',').count()) == Ok(values)
}

async fn sum_gas(
    picture: &Picture,
    chain_id: u64,
    senders: &[Address],
    loads: &mut BTreeMap<Address, SenderLoad>,
) -> Result<(), StoreError> {
    let costs: Vec<(Vec<u8>, String, i64)> = costs_query(chain_id, senders)
        .into_tuple()
        .all(picture)
        .await
        .map_err(|error| StoreError::of_statement("sender_loads", &error))?;
    for (address, costs, listed) in costs {
        let place = Place { table: "attempts", row: &address };
        let address = place.address("sender", &address)?;
        let Some(load) = loads.get_mut(&address) else { continue };
        if !is_whole(&costs, listed) {
            load.is_held = true;
            continue;
        }
        let mut dearest: BTreeMap<&str, Amount> = BTreeMap::new();
        for cost in costs.split(',') {
            let (slot, cost) = place.known("gas_limit", cost_of(cost))?;
            let most = dearest.entry(slot).or_default();
            *most = cost.max(*most);
        }
        for cost in dearest.into_values() {
            load.gas_promised = place.known("gas_limit", load.gas_promised.checked_add(cost))?;
        }
    }
    Ok(())
}

/// An attempt's slot, and what the attempt costs at most.
fn cost_of(text: &str) -> Option<(&str, Amount)> {
    let (slot, price) = text.split_once(' ')?;
    let (fee, gas) = price.split_once(' ')?;
    let fee = Amount::from_atomic(U256::from(fee.parse::<u64>().ok()?));
    Some((slot, fee.checked_mul(gas.parse().ok()?)?))
}

pub(crate) fn slot_to_binding() -> sea_orm::RelationDef {
    slot::Entity::belongs_to(binding::Entity)
        .from(slot::Column::Id)
        .to(binding::Column::SlotId)
        .into()
}

fn slot_to_attempt() -> sea_orm::RelationDef {
    slot::Entity::belongs_to(attempt::Entity)
        .from(slot::Column::Id)
        .to(attempt::Column::SlotId)
        .into()
}

pub(crate) fn binding_to_withdrawal() -> sea_orm::RelationDef {
    binding::Entity::belongs_to(withdrawal::Entity)
        .from(binding::Column::WithdrawalId)
        .to(withdrawal::Column::Id)
        .into()
}

async fn register_in(
    tx: &Transaction,
    chain_id: u64,
    counts: &[(Address, u64)],
) -> Result<(), StoreError> {
    let known: Vec<Vec<u8>> = sender::Entity::find()
        .select_only()
        .column(sender::Column::Address)
        .filter(sender::Column::ChainId.eq(bigint(chain_id)))
        .into_tuple()
        .all(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let rows: Vec<sender::ActiveModel> = counts
        .iter()
        .filter(|(address, _)| !known.iter().any(|known| known == address.as_slice()))
        .map(|(address, count)| sender::ActiveModel {
            chain_id: ActiveValue::Set(bigint(chain_id)),
            address: ActiveValue::Set(address.to_vec()),
            nonce_next: ActiveValue::Set(bigint(*count)),
            registered_at: ActiveValue::Set(tx.now.as_millis()),
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    sender::Entity::insert_many(rows)
        .exec_without_returning(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    Ok(())
}

/// What takes the nonces `first..first + count` of a sender: the only place where nonces are given.
pub(crate) fn nonces_write(
    chain_id: u64,
    address: Address,
    first: u64,
    count: u64,
) -> Result<Write, StoreError> {
    let next = first.checked_add(count).ok_or_else(|| {
        StoreError::corrupt("senders", "nonce_next", &address, &"no nonce is left")
    })?;
    let taken = sender::Entity::update_many()
        .col_expr(sender::Column::NonceNext, Expr::value(bigint(next)))
        .filter(sender::Column::ChainId.eq(bigint(chain_id)))
        .filter(sender::Column::Address.eq(address.to_vec()))
        .filter(sender::Column::NonceNext.eq(bigint(first)));
    Ok(Write::new(taken, 1))
}

pub(crate) fn read_sender(row: &sender::Model) -> Result<(Address, u64), StoreError> {
    let place = Place { table: "senders", row: &row.address };
    Ok((place.address("address", &row.address)?, place.unsigned("nonce_next", row.nonce_next)?))
}
