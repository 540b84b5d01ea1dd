//! Withdrawals as the rest of the house reads them.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use portcullis_core::amount::Amount;
use portcullis_core::fee::Fees;
use portcullis_core::id::{AccountId, AssetId, ExternalId, SlotId, TenantId, WithdrawalId};
use portcullis_core::intent::PaymentIntent;
use portcullis_core::number::{PaymentRef, PayoutNumber};
use portcullis_core::seal::{Seal, SealKeyId};
use portcullis_core::slot::{AttemptKind, Slot, SlotStage};
use portcullis_core::time::Timestamp;
use portcullis_core::withdrawal::{
    BlockRef, FailureReason, HoldReason, Priority, State, StateCode,
};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::convert::{Place, bigint};
use crate::db::Store;
use crate::entity::{attempt, binding, slot, withdrawal};
use crate::error::StoreError;
use crate::ledger::ROWS_PER_STATEMENT;
use crate::timeline::{self, TimelineEvent};

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
    /// How far it has come.
    pub stage: SlotStage,
    /// The block that consumed it.
    pub block: Option<BlockRef>,
    /// Whether this withdrawal is still bound to it.
    pub live: bool,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptRecord>,
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
    /// When the database does not answer.
    pub async fn withdrawals(
        &self,
        tenant: TenantId,
        filter: &WithdrawalFilter,
    ) -> Result<Vec<WithdrawalRecord>, StoreError> {
        use withdrawal::Column;
        let mut query = withdrawal::Entity::find()
            .filter(Column::TenantId.eq(tenant.to_bytes().to_vec()))
            .order_by_desc(Column::Id)
            .limit(filter.limit);
        if let Some(account) = &filter.account {
            query = query.filter(Column::AccountId.eq(account.as_str()));
        }
        if let Some(status) = filter.status {
            query = query.filter(Column::State.eq(status.as_str()));
        }
        if let Some(chain_id) = filter.chain_id {
            query = query.filter(Column::ChainId.eq(bigint(chain_id)));
        }
        if let Some(asset) = filter.asset {
            query = query.filter(Column::AssetId.eq(asset.to_bytes().to_vec()));
        }
        if let Some(to) = filter.to {
            query = query.filter(Column::ToAddress.eq(to.to_vec()));
        }
        if let Some(priority) = filter.priority {
            query = query.filter(Column::Priority.eq(priority.rank()));
        }
        if let Some(from) = filter.created_from {
            query = query.filter(Column::CreatedAt.gte(from.as_millis()));
        }
        if let Some(to) = filter.created_to {
            query = query.filter(Column::CreatedAt.lt(to.as_millis()));
        }
        if let Some(cursor) = filter.cursor {
            query = query.filter(Column::Id.lt(cursor.to_bytes().to_vec()));
        }
        let rows = query
            .all(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("withdrawals", &error))?;
        read_withdrawals(&self.reader, "withdrawals", rows).await
    }

    /// Every slot that ever carried one of these withdrawals, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn rides(&self, ids: &[WithdrawalId]) -> Result<Vec<Ride>, StoreError> {
        let during = "rides";
        let bindings = bindings_of(&self.reader, during, ids).await?;
        let slot_ids: Vec<Vec<u8>> = bindings.iter().map(|row| row.slot_id.clone()).collect();
        let slots = slots_of(&self.reader, during, &slot_ids).await?;
        let mut attempts: BTreeMap<Vec<u8>, Vec<AttemptRecord>> = BTreeMap::new();
        for slot_ids in slot_ids.chunks(ROWS_PER_STATEMENT) {
            let rows = attempt::Entity::find()
                .filter(attempt::Column::SlotId.is_in(slot_ids.iter().cloned()))
                .order_by_asc(attempt::Column::Ordinal)
                .all(&self.reader)
                .await
                .map_err(|error| StoreError::of_statement(during, &error))?;
            for row in rows {
                let record = read_attempt(&row)?;
                attempts.entry(row.slot_id).or_default().push(record);
            }
        }
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
                stage: slot.stage,
                block: slot.block,
                live: row.released_at == 0,
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
        let row = query
            .one(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("withdrawal", &error))?;
        let rows = row.into_iter().collect();
        Ok(read_withdrawals(&self.reader, "withdrawal", rows).await?.pop())
    }
}

/// The part of a slot that a withdrawal's state needs.
pub(crate) struct SlotFacts {
    pub(crate) id: SlotId,
    pub(crate) slot: Slot,
    pub(crate) stage: SlotStage,
    pub(crate) block: Option<BlockRef>,
}

/// Reads withdrawals by id, with their states complete; the order is that of the ids in the table.
pub(crate) async fn withdrawals_by_id<C: ConnectionTrait>(
    connection: &C,
    during: &'static str,
    ids: &[WithdrawalId],
) -> Result<Vec<WithdrawalRecord>, StoreError> {
    let mut records = Vec::with_capacity(ids.len());
    for ids in ids.chunks(ROWS_PER_STATEMENT) {
        let rows = withdrawal::Entity::find()
            .filter(withdrawal::Column::Id.is_in(ids.iter().map(|id| id.to_bytes().to_vec())))
            .all(connection)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        records.extend(read_withdrawals(connection, during, rows).await?);
    }
    Ok(records)
}

/// Completes rows to records: a bound state needs its live binding and slot.
pub(crate) async fn read_withdrawals<C: ConnectionTrait>(
    connection: &C,
    during: &'static str,
    rows: Vec<withdrawal::Model>,
) -> Result<Vec<WithdrawalRecord>, StoreError> {
    let mut bound = Vec::new();
    for row in &rows {
        let place = Place { table: "withdrawals", row: &row.id };
        let code = place.parsed("state", StateCode::parse(&row.state))?;
        if code >= StateCode::Signing && code <= StateCode::Held {
            bound.push(WithdrawalId::from_bytes(place.id("id", &row.id)?));
        }
    }
    let mut live: BTreeMap<Vec<u8>, SlotFacts> = BTreeMap::new();
    if !bound.is_empty() {
        let bindings = bindings_of(connection, during, &bound).await?;
        let current: Vec<_> = bindings.into_iter().filter(|row| row.released_at == 0).collect();
        let slot_ids: Vec<Vec<u8>> = current.iter().map(|row| row.slot_id.clone()).collect();
        let mut slots = slots_of(connection, during, &slot_ids).await?;
        for row in current {
            let place = Place { table: "bindings", row: &row.slot_id };
            let facts = place.known("slot_id", slots.get(&row.slot_id))?;
            let facts = SlotFacts { ..*facts };
            live.insert(row.withdrawal_id, facts);
        }
        slots.clear();
    }
    rows.into_iter().map(|row| read_withdrawal(&row, live.get(&row.id))).collect()
}

async fn bindings_of<C: ConnectionTrait>(
    connection: &C,
    during: &'static str,
    ids: &[WithdrawalId],
) -> Result<Vec<binding::Model>, StoreError> {
    let mut bindings = Vec::with_capacity(ids.len());
    for ids in ids.chunks(ROWS_PER_STATEMENT) {
        let rows = binding::Entity::find()
            .filter(
                binding::Column::WithdrawalId.is_in(ids.iter().map(|id| id.to_bytes().to_vec())),
            )
            .all(connection)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        bindings.extend(rows);
    }
    Ok(bindings)
}

async fn slots_of<C: ConnectionTrait>(
    connection: &C,
    during: &'static str,
    ids: &[Vec<u8>],
) -> Result<BTreeMap<Vec<u8>, SlotFacts>, StoreError> {
    let mut slots = BTreeMap::new();
    for ids in ids.chunks(ROWS_PER_STATEMENT) {
        let rows = slot::Entity::find()
            .filter(slot::Column::Id.is_in(ids.iter().cloned()))
            .all(connection)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        for row in rows {
            let facts = read_slot_facts(&row)?;
            slots.insert(row.id, facts);
        }
    }
    Ok(slots)
}

pub(crate) fn read_slot_facts(row: &slot::Model) -> Result<SlotFacts, StoreError> {
    let place = Place { table: "slots", row: &row.id };
    let block = match (row.block_number, &row.block_hash) {
        (Some(number), Some(hash)) => Some(BlockRef {
            number: place.unsigned("block_number", number)?,
            hash: place.hash("block_hash", hash)?,
        }),
        _ => None,
    };
    Ok(SlotFacts {
        id: SlotId::from_bytes(place.id("id", &row.id)?),
        slot: Slot {
            chain_id: place.unsigned("chain_id", row.chain_id)?,
            sender: place.address("sender", &row.sender)?,
            nonce: place.unsigned("nonce", row.nonce)?,
        },
        stage: place.known("stage", SlotStage::parse(&row.stage))?,
        block,
    })
}

fn read_withdrawal(
    row: &withdrawal::Model,
    live: Option<&SlotFacts>,
) -> Result<WithdrawalRecord, StoreError> {
    let place = Place { table: "withdrawals", row: &row.id };
    Ok(WithdrawalRecord {
        id: WithdrawalId::from_bytes(place.id("id", &row.id)?),
        tenant: TenantId::from_bytes(place.id("tenant_id", &row.tenant_id)?),
        external_id: place.parsed("external_id", row.external_id.parse())?,
        request_hash: place.hash("request_hash", &row.request_hash)?,
        account: place.parsed("account_id", row.account_id.parse())?,
        asset: AssetId::from_bytes(place.id("asset_id", &row.asset_id)?),
        chain_id: place.unsigned("chain_id", row.chain_id)?,
        token: place.token("token", &row.token)?,
        amount: place.amount("amount", &row.amount)?,
        to: place.address("to_address", &row.to_address)?,
        priority: place.known("priority", Priority::from_rank(row.priority))?,
        metadata: row.metadata.clone(),
        number: PayoutNumber {
            epoch: place.unsigned("epoch", row.epoch)?,
            sequence: place.unsigned("sequence", row.sequence)?,
        },
        reference: PaymentRef(place.hash("reference", &row.reference)?),
        seal: Seal {
            key_id: SealKeyId(place.unsigned("seal_key_id", row.seal_key_id)?),
            mac: place.hash("mac", &row.mac)?.0,
        },
        state: read_state(place, row, live)?,
        reason: row.reason.clone(),
        event_sequence: place.unsigned("event_sequence", row.event_sequence)?,
        timeline: timeline::parse(place, &row.timeline)?,
        created_at: Timestamp::from_millis(row.created_at),
        updated_at: Timestamp::from_millis(row.updated_at),
    })
}

fn read_state(
    place: Place<'_>,
    row: &withdrawal::Model,
    live: Option<&SlotFacts>,
) -> Result<State, StoreError> {
    let slot = || place.known("state", live.map(|facts| facts.id));
    let block = || place.known("state", live.and_then(|facts| facts.block));
    let reason = || place.known("reason", row.reason.as_deref());
    Ok(match place.parsed("state", StateCode::parse(&row.state))? {
        StateCode::Pending => State::Pending,
        StateCode::Validating => State::Validating,
        StateCode::AwaitingApproval => State::AwaitingApproval,
        StateCode::Queued => State::Queued,
        StateCode::Signing => State::Signing { slot: slot()? },
        StateCode::Signed => State::Signed { slot: slot()? },
        StateCode::Broadcasting => State::Broadcasting { slot: slot()? },
        StateCode::Broadcasted => State::Broadcasted { slot: slot()? },
        StateCode::Confirming => State::Confirming { slot: slot()?, block: block()? },
        StateCode::Confirmed => State::Confirmed {
            slot: slot()?,
            block: block()?,
            is_final: live.is_some_and(|facts| facts.stage == SlotStage::Final),
        },
        StateCode::Held => State::Held {
            reason: place.parsed("reason", HoldReason::parse(reason()?))?,
            slot: live.map(|facts| facts.id),
        },
        StateCode::Rejected => State::Rejected,
        StateCode::Canceled => State::Canceled,
        StateCode::Failed => {
            State::Failed { reason: place.parsed("reason", FailureReason::parse(reason()?))? }
        }
    })
}

fn read_attempt(row: &attempt::Model) -> Result<AttemptRecord, StoreError> {
    let place = Place { table: "attempts", row: &row.hash };
    let gas_used = match row.gas_used {
        None => None,
        Some(gas) => Some(place.unsigned("gas_used", gas)?),
    };
    let effective_gas_price_wei = match row.effective_gas_price_wei {
        None => None,
        Some(wei) => Some(place.unsigned("effective_gas_price_wei", wei)?),
    };
    Ok(AttemptRecord {
        hash: place.hash("hash", &row.hash)?,
        ordinal: place.unsigned("ordinal", i64::from(row.ordinal))?,
        kind: place.known("kind", AttemptKind::parse(&row.kind))?,
        fees: read_fees(place, row)?,
        gas_limit: place.unsigned("gas_limit", row.gas_limit)?,
        committed_at: Timestamp::from_millis(row.committed_at),
        sent_at: row.sent_at.map(Timestamp::from_millis),
        last_outcome: row.last_outcome.clone(),
        gas_used,
        effective_gas_price_wei,
    })
}

pub(crate) fn read_fees(place: Place<'_>, row: &attempt::Model) -> Result<Fees, StoreError> {
    let tip = row.max_priority_fee_per_gas_wei;
    Ok(Fees {
        max_fee_per_gas_wei: place.unsigned("max_fee_per_gas_wei", row.max_fee_per_gas_wei)?,
        max_priority_fee_per_gas_wei: place.unsigned("max_priority_fee_per_gas_wei", tip)?,
    })
}
