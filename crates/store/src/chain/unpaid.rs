//! The vault rail's own: payments that a consumed slot did not make, and numbers that the vault had seen before.

use std::collections::BTreeMap;

use portcullis_core::id::WithdrawalId;
use portcullis_core::number::PayoutNumber;
use portcullis_core::slot::{ItemOutcome, Purpose, Rail, SlotOutcome, SlotStage};
use portcullis_core::withdrawal::{Event, HoldReason, ReleaseCause, StateCode};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, JoinType, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait, Select,
};

use super::ConsumedSlot;
use super::end::{expect_consumed_so, read_consumption, with_consumption};
use crate::convert::{Place, bigint};
use crate::damage::read_sound_slots;
use crate::db::{Store, Transaction, transaction};
use crate::entity::{binding, slot, withdrawal, work};
use crate::error::StoreError;
use crate::lease::{Lease, check_leases};
use crate::ledger::ROWS_PER_STATEMENT;
use crate::sender::{UNMINED, slot_to_binding};
use crate::slot::open_slots_by_id;
use crate::transition::{Stage, apply};
use crate::withdrawal::{WithdrawalRecord, bindings_of, read_withdrawals};

/// The rides that a payment of the vault rail gets: after so many failures somebody has to decide.
pub(super) const RIDES_MAX: usize = 3;

/// A payment whose number the vault had seen before, while no slot of ours is known to have paid it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkippedPayment {
    /// The withdrawal.
    pub withdrawal: WithdrawalId,
    /// Its number.
    pub number: PayoutNumber,
}

impl Store {
    /// Confirmed slots of the vault rail that still carry payments which they did not make: items that failed, and
    /// all items of a call that reverted or was canceled.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn unpaid_slots(
        &self,
        chain_id: u64,
        limit: u64,
    ) -> Result<Vec<ConsumedSlot>, StoreError> {
        let during = "unpaid_slots";
        let picture = self.snapshot(during).await?;
        let unpaid = Condition::any()
            .add(
                slot::Column::Outcome
                    .is_in([SlotOutcome::Reverted.as_str(), SlotOutcome::Canceled.as_str()]),
            )
            .add(binding::Column::Item.eq(ItemOutcome::Failed.as_str()));
        let rows = slot::Entity::find()
            .join(JoinType::InnerJoin, slot_to_binding())
            .filter(slot::Column::ChainId.eq(bigint(chain_id)))
            .filter(slot::Column::Stage.eq(SlotStage::Confirmed.as_str()))
            .filter(slot::Column::Rail.eq(Rail::Vault.as_str()))
            .filter(slot::Column::Purpose.eq(Purpose::Pay.as_str()))
            .filter(binding::Column::ReleasedAt.eq(0))
            .filter(unpaid)
            .order_by_asc(slot::Column::Id)
            .distinct()
            .limit(limit)
            .all(&picture)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        let seen = rows.iter().map(read_consumption).collect::<Result<Vec<_>, _>>()?;
        let slots = read_sound_slots(&picture, during, &rows).await?.noted(&self.damage);
        Ok(with_consumption(&seen, slots))
    }

    /// Lets the payments go that confirmed slots of the vault rail did not make, by evidence that the caller has read
    /// from the chain: they are queued again, or held after their last ride. Their numbers guard them if a reorg undoes
    /// that evidence.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], or [`StoreError::Conflict`] when a slot is not consumed any more as
    /// the caller has read it; nothing is written then.
    pub async fn release_unpaid(
        &self,
        lease: &Lease,
        slots: &[ConsumedSlot],
    ) -> Result<(), StoreError> {
        if slots.is_empty() {
            return Ok(());
        }
        transaction!(self, "release_unpaid", |tx| release_in(&tx, lease, slots))
    }

    /// Withdrawals whose numbers are to be voided, the first of them after one: held for it, carried by nothing, and every slot
    /// that ever carried them is over for good.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn voidable(
        &self,
        chain_id: u64,
        after: Option<WithdrawalId>,
        limit: u64,
    ) -> Result<Vec<WithdrawalRecord>, StoreError> {
        let during = "voidable";
        let picture = self.snapshot(during).await?;
        let rows = voidable_query(chain_id, after)
            .limit(limit)
            .all(&picture)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        read_withdrawals(&picture, during, rows).await
    }

    /// Payments in confirmed slots that the vault skipped, while no other slot that carried them is still to be mined:
    /// something that this database does not know has used their numbers.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn unexplained_skips(
        &self,
        chain_id: u64,
    ) -> Result<Vec<SkippedPayment>, StoreError> {
        let during = "unexplained_skips";
        let picture = self.snapshot(during).await?;
        let rows = skips_query(chain_id)
            .all(&picture)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        let slots = read_sound_slots(&picture, during, &rows).await?.noted(&self.damage);
        let mut skipped = Vec::new();
        for open in &slots {
            let is_skipped = |record: &&WithdrawalRecord| {
                open.items.get(&record.id) == Some(&ItemOutcome::Skipped)
            };
            for record in open.payments.iter().filter(is_skipped) {
                let rides = bindings_of(&picture, during, &[record.id]).await?;
                let unmined = slot::Entity::find()
                    .filter(slot::Column::Id.is_in(rides.into_iter().map(|row| row.slot_id)))
                    .filter(slot::Column::Stage.is_in(UNMINED))
                    .one(&picture)
                    .await
                    .map_err(|error| StoreError::of_statement(during, &error))?;
                if unmined.is_none() {
                    skipped.push(SkippedPayment { withdrawal: record.id, number: record.number });
                }
            }
        }
        Ok(skipped)
    }
}

/// What is held has a row of work: a look at all withdrawals that ever were would find no others.
pub(super) fn voidable_query(
    chain_id: u64,
    after: Option<WithdrawalId>,
) -> Select<withdrawal::Entity> {
    let held = work::Entity::find()
        .select_only()
        .column(work::Column::WithdrawalId)
        .filter(work::Column::Stage.eq(Stage::Held.as_str()))
        .filter(work::Column::ChainId.eq(bigint(chain_id)))
        .into_query();
    withdrawal::Entity::find()
        .filter(withdrawal::Column::Id.in_subquery(held))
        .filter(withdrawal::Column::ChainId.eq(bigint(chain_id)))
        .filter(withdrawal::Column::State.eq(StateCode::Held.as_str()))
        .filter(withdrawal::Column::Reason.eq(HoldReason::Voiding.as_str()))
        .filter(Expr::not_exists(unfinished_rides()))
        .apply_if(after, |query, after| {
            query.filter(withdrawal::Column::Id.gt(after.to_bytes().to_vec()))
        })
        .order_by_asc(withdrawal::Column::Id)
}

/// Sorted by id, for rows that are distinct would be read from the index of all slots that ever were.
pub(super) fn skips_query(chain_id: u64) -> Select<slot::Entity> {
    slot::Entity::find()
        .join(JoinType::InnerJoin, slot_to_binding())
        .filter(slot::Column::ChainId.eq(bigint(chain_id)))
        .filter(slot::Column::Stage.eq(SlotStage::Confirmed.as_str()))
        .filter(binding::Column::ReleasedAt.eq(0))
        .filter(binding::Column::Item.eq(ItemOutcome::Skipped.as_str()))
        .order_by_asc(slot::Column::Id)
        .distinct()
}

/// The slots that carry a withdrawal of the query around this one still, or carried it and are not over for good. Of each by itself: all
/// such withdrawals together are all that were ever paid.
fn unfinished_rides() -> sea_orm::sea_query::SelectStatement {
    let open = Condition::any()
        .add(binding::Column::ReleasedAt.eq(0))
        .add(slot::Column::Stage.ne(SlotStage::Final.as_str()));
    slot::Entity::find()
        .select_only()
        .column(binding::Column::SlotId)
        .join(JoinType::InnerJoin, slot_to_binding())
        .filter(binding::Column::WithdrawalId.into_expr().eq(withdrawal::Column::Id.into_expr()))
        .filter(open)
        .into_query()
}

async fn release_in(
    tx: &Transaction,
    lease: &Lease,
    slots: &[ConsumedSlot],
) -> Result<(), StoreError> {
    check_leases(tx, std::slice::from_ref(lease)).await?;
    expect_consumed_so(tx, slots).await?;
    let ids: Vec<_> = slots.iter().map(|slot| slot.open.id).collect();
    let current = open_slots_by_id(&tx.inner, tx.name, &ids).await?;
    let mut unpaid = Vec::new();
    for slot in slots {
        let Some(open) = current.iter().find(|open| open.id == slot.open.id) else { continue };
        tx.expect_rows(u64::from(open.rail == Rail::Vault), 1)?;
        for record in &open.payments {
            let failed = open.items.get(&record.id) == Some(&ItemOutcome::Failed);
            match slot.outcome {
                SlotOutcome::Paid if failed => unpaid.push((record, slot, true)),
                SlotOutcome::Reverted => unpaid.push((record, slot, true)),
                SlotOutcome::Canceled => unpaid.push((record, slot, false)),
                SlotOutcome::Paid | SlotOutcome::Filled | SlotOutcome::Voided => {}
            }
        }
    }
    let failures = failed_rides(tx, &unpaid).await?;
    let moves: Vec<_> = unpaid
        .iter()
        .map(|(record, slot, counts)| {
            let rides = failures.get(&record.id).copied().unwrap_or_default();
            let cause = if *counts {
                ReleaseCause::Unpaid { is_last_ride: rides >= RIDES_MAX }
            } else {
                ReleaseCause::Canceled { requested: false }
            };
            let word =
                if slot.outcome == SlotOutcome::Paid { "failed" } else { slot.outcome.as_str() };
            (*record, Event::Released(cause), Some(format!("{word} by {}", slot.hash)))
        })
        .collect();
    apply(tx, &moves).await
}

/// How many rides each payment has had that failed, this one counted. A ride that our own cancel ended does not count.
async fn failed_rides(
    tx: &Transaction,
    unpaid: &[(&WithdrawalRecord, &ConsumedSlot, bool)],
) -> Result<BTreeMap<WithdrawalId, usize>, StoreError> {
    let ids: Vec<WithdrawalId> = unpaid.iter().map(|(record, ..)| record.id).collect();
    let rides = bindings_of(&tx.inner, tx.name, &ids).await?;
    let slot_ids: Vec<Vec<u8>> = rides.iter().map(|row| row.slot_id.clone()).collect();
    let mut reverted = Vec::new();
    for slot_ids in slot_ids.chunks(ROWS_PER_STATEMENT) {
        let rows: Vec<Vec<u8>> = slot::Entity::find()
            .select_only()
            .column(slot::Column::Id)
            .filter(slot::Column::Id.is_in(slot_ids.iter().cloned()))
            .filter(slot::Column::Outcome.eq(SlotOutcome::Reverted.as_str()))
            .into_tuple()
            .all(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        reverted.extend(rows);
    }
    let mut failures: BTreeMap<WithdrawalId, usize> = BTreeMap::new();
    for row in rides {
        let failed = row.item.as_deref() == Some(ItemOutcome::Failed.as_str());
        if failed || reverted.contains(&row.slot_id) {
            let place = Place { table: "bindings", row: &row.slot_id };
            let id = WithdrawalId::from_bytes(place.id("withdrawal_id", &row.withdrawal_id)?);
            *failures.entry(id).or_default() += 1;
        }
    }
    Ok(failures)
}
