//! Payments that ran out of gas: how often, told by their final receipts.

use std::collections::BTreeMap;

use portcullis_core::id::WithdrawalId;
use portcullis_core::recovery::ran_out_of_gas;
use portcullis_core::slot::{Rail, SlotOutcome, SlotStage};
use sea_orm::{ColumnTrait, EntityTrait, JoinType, QueryFilter, QuerySelect, RelationDef, Select};

use crate::convert::Place;
use crate::db::{Source, Store};
use crate::entity::{attempt, binding, slot};
use crate::error::StoreError;
use crate::ledger::ROWS_PER_STATEMENT;

impl Store {
    /// How often each of these withdrawals ran out of gas on a ride that released it. Those that never did are
    /// left out.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn out_of_gas_rides(
        &self,
        ids: &[WithdrawalId],
    ) -> Result<BTreeMap<WithdrawalId, u32>, StoreError> {
        let stages = [SlotStage::Final];
        dry_rides(&self.reader, "out_of_gas_rides", ids, &stages).await
    }
}

/// How often each withdrawal rode a reverted transaction that used up its gas, in slots of these stages.
pub(crate) async fn dry_rides<C: Source>(
    connection: &C,
    during: &'static str,
    ids: &[WithdrawalId],
    stages: &[SlotStage],
) -> Result<BTreeMap<WithdrawalId, u32>, StoreError> {
    let mut rides = BTreeMap::new();
    for ids in ids.chunks(ROWS_PER_STATEMENT) {
        let rows: Vec<(Vec<u8>, Option<i64>, i64)> = reverted_query(ids, stages)
            .into_tuple()
            .all(connection)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        for (id, used, limit) in rows {
            let place = Place { table: "bindings", row: &id };
            let withdrawal = WithdrawalId::from_bytes(place.id("withdrawal_id", &id)?);
            let used: u64 = place.unsigned("gas_used", used.unwrap_or(0))?;
            if ran_out_of_gas(used, place.unsigned("gas_limit", limit)?) {
                let count: &mut u32 = rides.entry(withdrawal).or_default();
                *count = count.saturating_add(1);
            }
        }
    }
    Ok(rides)
}

/// The reverted transactions that these withdrawals rode, in slots of these stages.
pub(crate) fn reverted_query(
    ids: &[WithdrawalId],
    stages: &[SlotStage],
) -> Select<binding::Entity> {
    binding::Entity::find()
        .select_only()
        .column(binding::Column::WithdrawalId)
        .column(attempt::Column::GasUsed)
        .column(attempt::Column::GasLimit)
        .join(JoinType::InnerJoin, binding_to_slot())
        .join(JoinType::InnerJoin, slot_to_attempt())
        .filter(binding::Column::WithdrawalId.is_in(ids.iter().map(|id| id.to_bytes().to_vec())))
        .filter(slot::Column::Stage.is_in(stages.iter().map(|stage| stage.as_str())))
        .filter(slot::Column::Rail.eq(Rail::Direct.as_str()))
        .filter(slot::Column::Outcome.eq(SlotOutcome::Reverted.as_str()))
}

pub(crate) fn binding_to_slot() -> RelationDef {
    binding::Entity::belongs_to(slot::Entity)
        .from(binding::Column::SlotId)
        .to(slot::Column::Id)
        .into()
}

/// The attempt that consumed the slot.
fn slot_to_attempt() -> RelationDef {
    slot::Entity::belongs_to(attempt::Entity)
        .from(slot::Column::TransactionHash)
        .to(attempt::Column::Hash)
        .into()
}
