//! What an append takes for ever: slots, and rides of requests. The database gives each once.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::B256;
use portcullis_core::number::PaymentRef;
use portcullis_core::slot::{AttemptKind, Purpose, Slot};
use sqlx::{MySqlConnection, QueryBuilder};

use super::ROWS_WRITTEN;
use crate::journal::index::Index;
use crate::journal::record::JournalRecord;

/// The rows beside the lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    slots: Vec<(Slot, B256, u64)>,
    rides: Vec<(PaymentRef, u32, u64)>,
}

/// What is new in these records. `index` knows the `first` lines before them.
pub(super) fn claims_of(records: &[JournalRecord], index: &Index, first: u64) -> Claims {
    let mut claims = Claims::default();
    let mut slots = BTreeSet::new();
    let mut rides: BTreeMap<B256, Vec<Slot>> = BTreeMap::new();
    for (place, record) in (first..).zip(records) {
        let JournalRecord::Attempt(attempt) = record else { continue };
        if index.slot(attempt.slot).is_none() && slots.insert(attempt.slot) {
            claims.slots.push((attempt.slot, attempt.payload_digest, place));
        }
        if attempt.purpose == Purpose::Void || attempt.kind == AttemptKind::Cancel {
            continue;
        }
        for payment in &attempt.payments {
            let reference = payment.reference;
            let ridden = rides.entry(reference.0).or_insert_with(|| {
                index
                    .payments_of(reference)
                    .flat_map(|(_, known)| &known.rides)
                    .map(|ride| ride.slot)
                    .collect()
            });
            if !ridden.contains(&attempt.slot) {
                let ride = u32::try_from(ridden.len()).unwrap_or(u32::MAX);
                claims.rides.push((reference, ride, place));
                ridden.push(attempt.slot);
            }
        }
    }
    claims
}

impl Claims {
    /// Fails where another signer has taken one of them.
    pub(super) async fn insert(&self, connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
        for slots in self.slots.chunks(ROWS_WRITTEN) {
            let mut statement = QueryBuilder::new(
                "INSERT INTO journal_slots (chain_id, sender, nonce, payload_digest, line) ",
            );
            statement.push_values(slots, |mut row, (slot, digest, place)| {
                row.push_bind(slot.chain_id)
                    .push_bind(slot.sender.as_slice())
                    .push_bind(slot.nonce)
                    .push_bind(digest.as_slice())
                    .push_bind(*place);
            });
            statement.build().persistent(false).execute(&mut *connection).await?;
        }
        for rides in self.rides.chunks(ROWS_WRITTEN) {
            let mut statement =
                QueryBuilder::new("INSERT INTO journal_rides (reference, ride, line) ");
            statement.push_values(rides, |mut row, (reference, ride, place)| {
                row.push_bind(reference.0.as_slice()).push_bind(*ride).push_bind(*place);
            });
            statement.build().persistent(false).execute(&mut *connection).await?;
        }
        Ok(())
    }
}
