//! What reconcile compares: slots by nonce, and withdrawals that no slot carries.

use alloy_primitives::Address;
use portcullis_core::id::WithdrawalId;
use portcullis_core::withdrawal::{State, StateCode};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{StoredEnd, StoredSlot};
use crate::chain::read_consumption;
use crate::convert::bigint;
use crate::db::Store;
use crate::entity::{slot, withdrawal};
use crate::error::StoreError;
use crate::slot::read_open_slots;
use crate::withdrawal::{WithdrawalRecord, read_withdrawals};

/// States in which a withdrawal may be without a slot.
const UNBOUND: [&str; 5] = [
    StateCode::Pending.as_str(),
    StateCode::Validating.as_str(),
    StateCode::AwaitingApproval.as_str(),
    StateCode::Queued.as_str(),
    StateCode::Held.as_str(),
];

impl Store {
    /// The slots of a sender from a nonce on, lowest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn slots_from(
        &self,
        chain_id: u64,
        sender: Address,
        nonce: u64,
        limit: u64,
    ) -> Result<Vec<StoredSlot>, StoreError> {
        let during = "slots_from";
        let picture = self.snapshot(during).await?;
        let rows = slot::Entity::find()
            .filter(slot::Column::ChainId.eq(bigint(chain_id)))
            .filter(slot::Column::Sender.eq(sender.to_vec()))
            .filter(slot::Column::Nonce.gte(bigint(nonce)))
            .order_by_asc(slot::Column::Nonce)
            .limit(limit)
            .all(&picture)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        let ends = rows
            .iter()
            .map(|row| {
                if row.block_number.is_none() {
                    return Ok(None);
                }
                let seen = read_consumption(row)?;
                Ok(Some(StoredEnd { outcome: seen.outcome, hash: seen.hash, block: seen.block }))
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        let open = read_open_slots(&picture, during, &rows).await?;
        Ok(open.into_iter().zip(ends).map(|(open, end)| StoredSlot { open, end }).collect())
    }

    /// Withdrawals that no slot carries and that have not ended, oldest first, after `cursor`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn unbound(
        &self,
        cursor: Option<WithdrawalId>,
        limit: u64,
    ) -> Result<Vec<WithdrawalRecord>, StoreError> {
        let during = "unbound";
        let picture = self.snapshot(during).await?;
        let mut query = withdrawal::Entity::find()
            .filter(withdrawal::Column::State.is_in(UNBOUND))
            .order_by_asc(withdrawal::Column::Id)
            .limit(limit);
        if let Some(cursor) = cursor {
            query = query.filter(withdrawal::Column::Id.gt(cursor.to_bytes().to_vec()));
        }
        let rows =
            query.all(&picture).await.map_err(|error| StoreError::of_statement(during, &error))?;
        let mut records = read_withdrawals(&picture, during, rows).await?;
        records.retain(|record| !matches!(record.state, State::Held { slot: Some(_), .. }));
        Ok(records)
    }

    /// The withdrawals of these ids, whoever's they are, without their timelines.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn withdrawals_of(
        &self,
        ids: &[WithdrawalId],
    ) -> Result<Vec<WithdrawalRecord>, StoreError> {
        let picture = self.snapshot("withdrawals_of").await?;
        crate::withdrawal::withdrawals_by_id(&picture, "withdrawals_of", ids).await
    }
}
