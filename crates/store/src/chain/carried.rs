//! What slots carry at the moment, in short: no more of each payment than a move of it takes.

use portcullis_core::id::{AccountId, AssetId, SlotId, TenantId, WithdrawalId};
use portcullis_core::withdrawal::StateCode;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};

use crate::convert::Place;
use crate::damage::read_sound_slots;
use crate::db::{Source, Transaction};
use crate::entity::{binding, slot, withdrawal};
use crate::error::StoreError;
use crate::ledger::{Purse, ROWS_PER_STATEMENT};
use crate::slot_moves::slot_keys;
use crate::transition::{Stake, carried_by};

/// A payment that a slot carries, and where it stands.
pub(super) struct Carried {
    pub(super) slot: SlotId,
    pub(super) id: WithdrawalId,
    pub(super) state: StateCode,
}

/// The states of everything that these slots carry.
///
/// # Errors
/// [`StoreError::Corrupt`] when one of them cannot be read.
pub(super) async fn states_of(
    tx: &Transaction,
    slots: &[SlotId],
) -> Result<Vec<Carried>, StoreError> {
    let mut carried = Vec::new();
    for slots in slots.chunks(ROWS_PER_STATEMENT) {
        let query = carried_by(slots)
            .column(binding::Column::SlotId)
            .column(binding::Column::WithdrawalId)
            .column(withdrawal::Column::State);
        let rows: Vec<(Vec<u8>, Vec<u8>, String)> = tx
            .inner
            .holding_named(query)
            .into_tuple()
            .all(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        for (slot, id, state) in &rows {
            carried.push(read_carried(slot, id, state)?);
        }
    }
    Ok(carried)
}

/// The same with their money.
///
/// # Errors
/// [`StoreError::Corrupt`] when one of them cannot be read.
pub(super) async fn stakes_of(
    tx: &Transaction,
    slots: &[SlotId],
) -> Result<Vec<(Carried, Stake)>, StoreError> {
    type Row = (Vec<u8>, Vec<u8>, String, Vec<u8>, String, Vec<u8>, String);
    let mut carried = Vec::new();
    for slots in slots.chunks(ROWS_PER_STATEMENT) {
        let query = carried_by(slots)
            .column(binding::Column::SlotId)
            .column(binding::Column::WithdrawalId)
            .column(withdrawal::Column::State)
            .column(withdrawal::Column::TenantId)
            .column(withdrawal::Column::AccountId)
            .column(withdrawal::Column::AssetId)
            .column(withdrawal::Column::Amount);
        let rows: Vec<Row> = tx
            .inner
            .holding_named(query)
            .into_tuple()
            .all(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        for (slot, id, state, tenant, account, asset, amount) in &rows {
            let place = Place { table: "withdrawals", row: id };
            let carries = read_carried(slot, id, state)?;
            let purse = Purse {
                tenant: TenantId::from_bytes(place.id("tenant_id", tenant)?),
                account: place.parsed("account_id", account.parse::<AccountId>())?,
                asset: AssetId::from_bytes(place.id("asset_id", asset)?),
            };
            let amount = place.amount("amount", amount)?;
            let stake = Stake { id: carries.id, purse, amount };
            carried.push((carries, stake));
        }
    }
    Ok(carried)
}

/// Those of the slots that can be read in full. The others are noted as damaged, and wait.
pub(super) async fn sound_ones(
    tx: &Transaction,
    slots: &[SlotId],
) -> Result<Vec<SlotId>, StoreError> {
    let query = slot::Entity::find().filter(slot::Column::Id.is_in(slot_keys(slots)));
    let rows =
        tx.inner.holding_named(query).all(&tx.inner).await.map_err(|error| tx.failed(&error))?;
    let sound = read_sound_slots(&tx.inner, tx.name, &rows).await?.noted(&tx.damage);
    Ok(sound.iter().map(|open| open.id).collect())
}

fn read_carried(slot: &[u8], id: &[u8], state: &str) -> Result<Carried, StoreError> {
    let place = Place { table: "withdrawals", row: id };
    Ok(Carried {
        slot: SlotId::from_bytes(Place { table: "bindings", row: slot }.id("slot_id", slot)?),
        id: WithdrawalId::from_bytes(place.id("id", id)?),
        state: place.parsed("state", StateCode::parse(state))?,
    })
}
