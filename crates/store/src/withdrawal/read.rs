//! Rows to records. A bound state is complete only with its live binding and slot.

use std::collections::BTreeMap;

use portcullis_core::fee::Fees;
use portcullis_core::id::{AssetId, SlotId, TenantId, WithdrawalId};
use portcullis_core::number::{PaymentRef, PayoutNumber};
use portcullis_core::seal::{Seal, SealKeyId};
use portcullis_core::slot::{AttemptKind, Rail, Slot, SlotStage};
use portcullis_core::time::Timestamp;
use portcullis_core::withdrawal::{
    BlockRef, FailureReason, HoldReason, Priority, State, StateCode,
};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, Iterable, QueryFilter, QuerySelect, Select};

use super::{AttemptRecord, WithdrawalRecord};
use crate::convert::Place;
use crate::db::Source;
use crate::entity::{attempt, binding, slot, withdrawal};
use crate::error::StoreError;
use crate::ledger::ROWS_PER_STATEMENT;
use crate::timeline;

/// The part of a slot that a withdrawal's state needs.
#[derive(Clone, Copy)]
pub(crate) struct SlotFacts {
    pub(crate) id: SlotId,
    pub(crate) slot: Slot,
    pub(crate) rail: Rail,
    pub(crate) stage: SlotStage,
    pub(crate) block: Option<BlockRef>,
    pub(crate) gas_estimated: Option<u64>,
}

/// Reads withdrawals by id, with their states complete and without their timelines; the order is that of the ids in the table.
pub(crate) async fn withdrawals_by_id<C: Source>(
    connection: &C,
    during: &'static str,
    ids: &[WithdrawalId],
) -> Result<Vec<WithdrawalRecord>, StoreError> {
    let mut records = Vec::with_capacity(ids.len());
    for ids in ids.chunks(ROWS_PER_STATEMENT) {
        let query = without_timelines()
            .filter(withdrawal::Column::Id.is_in(ids.iter().map(|id| id.to_bytes().to_vec())));
        let rows = connection
            .holding_named(query)
            .all(connection)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        records.extend(read_withdrawals(connection, during, rows).await?);
    }
    Ok(records)
}

/// The withdrawals of these bindings. Where this slot carries it, its slot need not be read again.
pub(crate) async fn records_carried<C: Source>(
    connection: &C,
    during: &'static str,
    rows: &[slot::Model],
    bindings: &BTreeMap<Vec<u8>, Vec<binding::Model>>,
) -> Result<BTreeMap<WithdrawalId, WithdrawalRecord>, StoreError> {
    let mut live = BTreeMap::new();
    let mut left = Vec::new();
    for row in rows {
        let facts = read_slot_facts(row)?;
        for binding in bindings.get(&row.id).into_iter().flatten() {
            if binding.released_at == 0 {
                live.insert(binding.withdrawal_id.clone(), facts);
            } else {
                left.push(carried(binding)?);
            }
        }
    }
    let mut records: BTreeMap<WithdrawalId, WithdrawalRecord> = BTreeMap::new();
    let here = withdrawals_carried(connection, during, &live).await?;
    records.extend(here.into_iter().map(|record| (record.id, record)));
    // What left a slot may ride another one, or one of these.
    left.retain(|id| !records.contains_key(id));
    left.sort_unstable();
    left.dedup();
    let elsewhere = withdrawals_by_id(connection, during, &left).await?;
    records.extend(elsewhere.into_iter().map(|record| (record.id, record)));
    Ok(records)
}

/// The withdrawal that a binding carries.
pub(crate) fn carried(row: &binding::Model) -> Result<WithdrawalId, StoreError> {
    let place = Place { table: "bindings", row: &row.slot_id };
    Ok(WithdrawalId::from_bytes(place.id("withdrawal_id", &row.withdrawal_id)?))
}

/// Timelines are most of a row and no part of a decision: whoever decides leaves them out.
fn without_timelines() -> Select<withdrawal::Entity> {
    let others =
        withdrawal::Column::iter().filter(|column| !matches!(column, withdrawal::Column::Timeline));
    withdrawal::Entity::find().select_only().columns(others).expr_as(Expr::value(""), "timeline")
}

/// Reads withdrawals whose live slots are known already, by the withdrawals' keys, without their timelines.
async fn withdrawals_carried<C: Source>(
    connection: &C,
    during: &'static str,
    live: &BTreeMap<Vec<u8>, SlotFacts>,
) -> Result<Vec<WithdrawalRecord>, StoreError> {
    let keys: Vec<&Vec<u8>> = live.keys().collect();
    let mut records = Vec::with_capacity(keys.len());
    for keys in keys.chunks(ROWS_PER_STATEMENT) {
        let query = without_timelines()
            .filter(withdrawal::Column::Id.is_in(keys.iter().map(|key| (*key).clone())));
        let rows = connection
            .holding_named(query)
            .all(connection)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        for row in rows {
            let facts = if is_bound(&row)? { live.get(&row.id) } else { None };
            records.push(read_withdrawal(&row, facts)?);
        }
    }
    Ok(records)
}

/// Whether its state is one that needs the slot which carries it.
fn is_bound(row: &withdrawal::Model) -> Result<bool, StoreError> {
    let place = Place { table: "withdrawals", row: &row.id };
    let code = place.parsed("state", StateCode::parse(&row.state))?;
    Ok(code >= StateCode::Signing && code <= StateCode::Held)
}

/// Completes rows to records: a bound state needs its live binding and slot.
pub(crate) async fn read_withdrawals<C: Source>(
    connection: &C,
    during: &'static str,
    rows: Vec<withdrawal::Model>,
) -> Result<Vec<WithdrawalRecord>, StoreError> {
    let mut bound = Vec::new();
    for row in &rows {
        if is_bound(row)? {
            let place = Place { table: "withdrawals", row: &row.id };
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
            live.insert(row.withdrawal_id, *facts);
        }
        slots.clear();
    }
    rows.into_iter().map(|row| read_withdrawal(&row, live.get(&row.id))).collect()
}

pub(crate) async fn bindings_of<C: Source>(
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

pub(super) async fn slots_of<C: Source>(
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
        rail: place.known("rail", Rail::parse(&row.rail))?,
        stage: place.known("stage", SlotStage::parse(&row.stage))?,
        block,
        gas_estimated: match row.gas_estimated {
            None => None,
            Some(gas) => Some(place.unsigned("gas_estimated", gas)?),
        },
    })
}

/// How many payments each of these slots was opened with.
pub(super) async fn payments_in<C: Source>(
    connection: &C,
    during: &'static str,
    slots: &[Vec<u8>],
) -> Result<BTreeMap<Vec<u8>, u64>, StoreError> {
    let mut payments = BTreeMap::new();
    for slots in slots.chunks(ROWS_PER_STATEMENT) {
        let counts: Vec<(Vec<u8>, i64)> = binding::Entity::find()
            .select_only()
            .column(binding::Column::SlotId)
            .column_as(binding::Column::WithdrawalId.count(), "payments")
            .filter(binding::Column::SlotId.is_in(slots.iter().cloned()))
            .group_by(binding::Column::SlotId)
            .into_tuple()
            .all(connection)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        for (slot, count) in counts {
            let count = Place { table: "bindings", row: &slot }.unsigned("slot_id", count)?;
            payments.insert(slot, count);
        }
    }
    Ok(payments)
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
        cancel_requested: row.cancel_requested == 1,
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

pub(super) fn read_attempt(row: &attempt::Model) -> Result<AttemptRecord, StoreError> {
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
