//! Gaps: nonces that were given to no slot. Only what neither the database nor the journal knows is filled.

use alloy_primitives::Address;
use portcullis_core::recovery::find_gaps;
use portcullis_core::slot::Slot;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QuerySelect};

use crate::convert::{Place, bigint};
use crate::db::{Store, Transaction, transaction};
use crate::deployment::refuse_while_halted;
use crate::entity::{sender, slot};
use crate::error::StoreError;
use crate::lease::{Lease, check_leases};
use crate::sender::{nonces_write, read_sender};
use crate::slot::NewSlot;
use crate::slot_rows::slot_inserts;

impl Store {
    /// Nonces between each sender's transaction count on the chain and its next one that no slot has.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn gaps(
        &self,
        chain_id: u64,
        counts: &[(Address, u64)],
    ) -> Result<Vec<Slot>, StoreError> {
        let during = "gaps";
        let failed = |error| StoreError::of_statement(during, &error);
        let picture = self.snapshot(during).await?;
        let mut gaps = Vec::new();
        for (address, count) in counts {
            let key = (bigint(chain_id), address.to_vec());
            let row = sender::Entity::find_by_id(key).one(&picture).await.map_err(failed)?;
            let Some(row) = row else { continue };
            let (_, nonce_next) = read_sender(&row)?;
            if *count >= nonce_next {
                continue;
            }
            let opened: Vec<i64> = slot::Entity::find()
                .select_only()
                .column(slot::Column::Nonce)
                .filter(slot::Column::ChainId.eq(bigint(chain_id)))
                .filter(slot::Column::Sender.eq(address.to_vec()))
                .filter(slot::Column::Nonce.gte(bigint(*count)))
                .into_tuple()
                .all(&picture)
                .await
                .map_err(failed)?;
            let place = Place { table: "slots", row: address.as_slice() };
            let opened: Vec<u64> = opened
                .into_iter()
                .map(|nonce| place.unsigned("nonce", nonce))
                .collect::<Result<_, _>>()?;
            let found = find_gaps(*count, nonce_next, &opened);
            gaps.extend(found.into_iter().map(|nonce| Slot { chain_id, sender: *address, nonce }));
        }
        Ok(gaps)
    }

    /// Opens a slot of the system at a nonce that no slot has: the sender's next one, or a gap below it.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Halted`], or [`StoreError::Conflict`] when the nonce is not
    /// given yet, or a slot has it.
    pub async fn fill_gap(&self, lease: &Lease, new: &NewSlot) -> Result<(), StoreError> {
        transaction!(self, "fill_gap", |tx| fill_in(&tx, lease, new))
    }
}

async fn fill_in(tx: &Transaction, lease: &Lease, new: &NewSlot) -> Result<(), StoreError> {
    check_leases(tx, std::slice::from_ref(lease)).await?;
    refuse_while_halted(tx).await?;
    // A filler pays nobody.
    tx.expect_rows(new.payments.len() as u64, 0)?;
    let Slot { chain_id, sender: address, nonce } = new.slot;
    let opened = slot::Entity::find()
        .filter(slot::Column::ChainId.eq(bigint(chain_id)))
        .filter(slot::Column::Sender.eq(address.to_vec()))
        .filter(slot::Column::Nonce.eq(bigint(nonce)))
        .count(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    tx.expect_rows(opened, 0)?;
    let row = sender::Entity::find_by_id((bigint(chain_id), address.to_vec()))
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let next = row.as_ref().map(read_sender).transpose()?.map_or(0, |(_, next)| next);
    let mut writes = slot_inserts(tx, std::slice::from_ref(new));
    if nonce >= next {
        writes.push(nonces_write(chain_id, address, nonce, 1)?);
    }
    tx.write_together(writes).await
}
