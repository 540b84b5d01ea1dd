//! Withdrawals as the rest of the house reads them.

mod read;

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use portcullis_core::amount::Amount;
use portcullis_core::fee::Fees;
use portcullis_core::id::{AccountId, AssetId, ExternalId, SlotId, TenantId, WithdrawalId};
use portcullis_core::intent::PaymentIntent;
use portcullis_core::number::{PaymentRef, PayoutNumber};
use portcullis_core::seal::{Seal, payer_of};
use portcullis_core::slot::{AttemptKind, Rail, Slot, SlotStage};
use portcullis_core::time::Timestamp;
use portcullis_core::withdrawal::{BlockRef, Priority, State, StateCode};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::convert::{Place, bigint};
use crate::db::Store;
use crate::entity::{attempt, withdrawal};
use crate::error::StoreError;
use crate::ledger::ROWS_PER_STATEMENT;
use crate::timeline::TimelineEvent;

pub(crate) use read::{
    bindings_of, carried, read_fees, read_slot_facts, read_withdrawals, records_carried,
    withdrawals_by_id,
};
use read::{payments_in, read_attempt, slots_of};

/// A withdrawal: what was promised, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithdrawalRecord {
    /// Its id.
    pub id: WithdrawalId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The tenant's own id of it.
    pub external_id: ExternalId,
    /// The hash of the request's meaning: the same request again has the same.
    pub request_hash: B256,
    /// The account that pays.
    pub account: AccountId,
    /// What is paid.
    pub asset: AssetId,
    /// Where.
    pub chain_id: u64,
    /// In which token; `None` for the native coin.
    pub token: Option<Address>,
    /// How much.
    pub amount: Amount,
    /// To whom.
    pub to: Address,
    /// How soon.
    pub priority: Priority,
    /// The client's own JSON object.
    pub metadata: Option<String>,
    /// Its payout number.
    pub number: PayoutNumber,
    /// Its ref.
    pub reference: PaymentRef,
    /// The seal over all that decides who is paid what.
    pub seal: Seal,
    /// Where it stands.
    pub state: State,
    /// Whether its client wants it back, and what carries it has to end first.
    pub cancel_requested: bool,
    /// Why it is held, rejected or failed.
    pub reason: Option<String>,
    /// Events so far.
    pub event_sequence: u64,
    /// The events.
    pub timeline: Vec<TimelineEvent>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it moved last.
    pub updated_at: Timestamp,
}

impl WithdrawalRecord {
    /// What the signer is shown.
    #[must_use]
    pub fn intent(&self) -> PaymentIntent {
        PaymentIntent {
            withdrawal: self.id,
            tenant: self.tenant,
            external_id: self.external_id.clone(),
            payer: payer_of(self.tenant, &self.account, self.asset),
            token: self.token,
            amount: self.amount,
            to: self.to,
            number: self.number,
            reference: self.reference,
            seal: self.seal,
        }
    }
}

/// Which withdrawals to list; newest first.
#[derive(Clone, Debug, Default)]
pub struct WithdrawalFilter {
    /// Of this account.
    pub account: Option<AccountId>,
    /// In this state.
    pub status: Option<StateCode>,
    /// On this chain.
    pub chain_id: Option<u64>,
    /// Of this asset.
    pub asset: Option<AssetId>,
    /// To this address.
    pub to: Option<Address>,
    /// Of this priority.
    pub priority: Option<Priority>,
    /// Accepted at or after.
    pub created_from: Option<Timestamp>,
    /// Accepted before.
    pub created_to: Option<Timestamp>,
    /// Older than this one.
    pub cursor: Option<WithdrawalId>,
    /// At most this many.
    pub limit: u64,
}

/// A page of withdrawals.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// All that were found, newest first.
    pub ids: Vec<WithdrawalId>,
    /// Those that can be read, in the same order.
    pub records: Vec<WithdrawalRecord>,
    /// Those whose rows are damaged.
    pub unreadable: Vec<WithdrawalId>,
}

/// One attempt, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// The transaction's hash.
    pub hash: B256,
    /// Counts the attempts of its slot, from 1.
    pub ordinal: u32,
    /// Whether it pays or cancels.
    pub kind: AttemptKind,
    /// What it may cost.
    pub fees: Fees,
    /// Its gas limit.
    pub gas_limit: u64,
    /// When its bytes were committed.
    pub committed_at: Timestamp,
    /// When they were first handed to a provider.
    pub sent_at: Option<Timestamp>,
    /// What the last send came to.
    pub last_outcome: Option<String>,
    /// Gas that it used, once it is in a block.
    pub gas_used: Option<u64>,
    /// What it paid for a unit of gas.
    pub effective_gas_price_wei: Option<u128>,
}

/// A slot that carried a withdrawal, with every attempt of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ride {
    /// The withdrawal.
    pub withdrawal: WithdrawalId,
    /// The slot's id.
    pub slot_id: SlotId,
    /// The slot.
    pub slot: Slot,
    /// How its payments travel.
    pub rail: Rail,
    /// How far it has come.
    pub stage: SlotStage,
    /// The block that consumed it.
    pub block: Option<BlockRef>,
    /// Whether this withdrawal is still bound to it.
    pub live: bool,
    /// Payments that it carries, this one counted.
    pub payments: u64,
    /// The gas that a node said it would use; `None` where none was asked.
    pub gas_estimated: Option<u64>,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptRecord>,
}

impl WithdrawalFilter {
    fn query(&self, tenant: TenantId) -> sea_orm::Select<withdrawal::Entity> {
        use withdrawal::Column;
        let mut query = withdrawal::Entity::find()
            .filter(Column::TenantId.eq(tenant.to_bytes().to_vec()))
            .order_by_desc(Column::Id)
            .limit(self.limit);
        if let Some(account) = &self.account {
            query = query.filter(Column::AccountId.eq(account.as_str()));
        }
        if let Some(status) = self.status {
            query = query.filter(Column::State.eq(status.as_str()));
        }
        if let Some(chain_id) = self.chain_id {
            query = query.filter(Column::ChainId.eq(bigint(chain_id)));
        }
        if let Some(asset) = self.asset {
            query = query.filter(Column::AssetId.eq(asset.to_bytes().to_vec()));
        }
        if let Some(to) = self.to {
            query = query.filter(Column::ToAddress.eq(to.to_vec()));
        }
        if let Some(priority) = self.priority {
            query = query.filter(Column::Priority.eq(priority.rank()));
        }
        if let Some(from) = self.created_from {
            query = query.filter(Column::CreatedAt.gte(from.as_millis()));
        }
        if let Some(to) = self.created_to {
            query = query.filter(Column::CreatedAt.lt(to.as_millis()));
        }
        if let Some(cursor) = self.cursor {
            query = query.filter(Column::Id.lt(cursor.to_bytes().to_vec()));
        }
        query
    }
}

impl Store {
    /// One withdrawal of a tenant.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn withdrawal(
        &self,
        tenant: TenantId,
        id: WithdrawalId,
    ) -> Result<Option<WithdrawalRecord>, StoreError> {
        let query = withdrawal::Entity::find_by_id(id.to_bytes().to_vec())
            .filter(withdrawal::Column::TenantId.eq(tenant.to_bytes().to_vec()));
        self.one_withdrawal(query).await
    }

    /// The withdrawal that a tenant calls by this id.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn withdrawal_by_external_id(
        &self,
        tenant: TenantId,
        external_id: &ExternalId,
    ) -> Result<Option<WithdrawalRecord>, StoreError> {
        let query = withdrawal::Entity::find()
            .filter(withdrawal::Column::TenantId.eq(tenant.to_bytes().to_vec()))
            .filter(withdrawal::Column::ExternalId.eq(external_id.as_str()));
        self.one_withdrawal(query).await
    }

    /// Lists a tenant's withdrawals, newest first.
    ///
    /// # Errors
    /// When the database does not answer, or a row is damaged.
    pub async fn withdrawals(
        &self,
        tenant: TenantId,
        filter: &WithdrawalFilter,
    ) -> Result<Vec<WithdrawalRecord>, StoreError> {
        let during = "withdrawals";
        let picture = self.list_snapshot(during).await?;
        let rows = filter
            .query(tenant)
            .all(&picture)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        read_withdrawals(&picture, during, rows).await
    }

    /// Lists a tenant's withdrawals, newest first, and names those whose rows are damaged.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn list_withdrawals(
        &self,
        tenant: TenantId,
        filter: &WithdrawalFilter,
    ) -> Result<Listing, StoreError> {
        let during = "list_withdrawals";
        let picture = self.list_snapshot(during).await?;
        let rows = filter
            .query(tenant)
            .all(&picture)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        let mut listing = Listing::default();
        for row in &rows {
            let place = Place { table: "withdrawals", row: &row.id };
            listing.ids.push(WithdrawalId::from_bytes(place.id("id", &row.id)?));
        }
        match read_withdrawals(&picture, during, rows.clone()).await {
            Ok(records) => listing.records = records,
            Err(StoreError::Corrupt { .. }) => {
                for (row, id) in rows.into_iter().zip(&listing.ids) {
                    match read_withdrawals(&picture, during, vec![row]).await {
                        Ok(records) => listing.records.extend(records),
                        Err(StoreError::Corrupt { .. }) => listing.unreadable.push(*id),
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => return Err(error),
        }
        Ok(listing)
    }

    /// Every slot that ever carried one of these withdrawals, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn rides(&self, ids: &[WithdrawalId]) -> Result<Vec<Ride>, StoreError> {
        let during = "rides";
        let picture = self.snapshot(during).await?;
        let bindings = bindings_of(&picture, during, ids).await?;
        let slot_ids: Vec<Vec<u8>> = bindings.iter().map(|row| row.slot_id.clone()).collect();
        let slots = slots_of(&picture, during, &slot_ids).await?;
        let mut attempts: BTreeMap<Vec<u8>, Vec<AttemptRecord>> = BTreeMap::new();
        for slot_ids in slot_ids.chunks(ROWS_PER_STATEMENT) {
            let rows = attempt::Entity::find()
                .filter(attempt::Column::SlotId.is_in(slot_ids.iter().cloned()))
                .order_by_asc(attempt::Column::Ordinal)
                .all(&picture)
                .await
                .map_err(|error| StoreError::of_statement(during, &error))?;
            for row in rows {
                let record = read_attempt(&row)?;
                attempts.entry(row.slot_id).or_default().push(record);
            }
        }
        let carried = payments_in(&picture, during, &slot_ids).await?;
        let mut rides = Vec::with_capacity(bindings.len());
        for row in bindings {
            let place = Place { table: "bindings", row: &row.slot_id };
            let slot = place.known("slot_id", slots.get(&row.slot_id))?;
            rides.push(Ride {
                withdrawal: WithdrawalId::from_bytes(
                    place.id("withdrawal_id", &row.withdrawal_id)?,
                ),
                slot_id: slot.id,
                slot: slot.slot,
                rail: slot.rail,
                stage: slot.stage,
                block: slot.block,
                live: row.released_at == 0,
                payments: carried.get(&row.slot_id).copied().unwrap_or(1),
                gas_estimated: slot.gas_estimated,
                attempts: attempts.get(&row.slot_id).cloned().unwrap_or_default(),
            });
        }
        rides.sort_by_key(|ride| (ride.withdrawal, ride.slot_id));
        Ok(rides)
    }

    async fn one_withdrawal(
        &self,
        query: sea_orm::Select<withdrawal::Entity>,
    ) -> Result<Option<WithdrawalRecord>, StoreError> {
        let during = "withdrawal";
        let picture = self.snapshot(during).await?;
        let row =
            query.one(&picture).await.map_err(|error| StoreError::of_statement(during, &error))?;
        let rows = row.into_iter().collect();
        Ok(read_withdrawals(&picture, during, rows).await?.pop())
    }
}
