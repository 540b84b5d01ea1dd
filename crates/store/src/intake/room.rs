//! How much room there is: in the queue of what waits to be paid, and among the requests that wait for a commit.

use std::sync::{Mutex, PoisonError};

use portcullis_core::time::Timestamp;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect, Select};

use crate::db::Transaction;
use crate::entity::work;
use crate::error::StoreError;
use crate::transition::Stage;

/// How long a count is believed. What this process accepts is added to it at once; what others accept, and what is paid, is
/// seen that much later.
const COUNT_AGE_MS: i64 = 250;

/// The bounds of intake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntakeLimits {
    /// The most withdrawals that wait to be bound to a transaction. What is sent already is not among them.
    pub queue_max: u64,
    /// The most requests that wait for their commit in this process.
    pub waiting_max: usize,
}

impl Default for IntakeLimits {
    fn default() -> Self {
        Self { queue_max: 250_000, waiting_max: 10_000 }
    }
}

#[derive(Clone, Copy)]
struct Counted {
    at: Timestamp,
    rows: u64,
}

/// What is known of the room in the queue.
pub(super) struct Room {
    queue_max: u64,
    counted: Mutex<Option<Counted>>,
}

impl Room {
    pub(super) fn new(queue_max: u64) -> Self {
        Self { queue_max, counted: Mutex::new(None) }
    }

    /// How many more the queue takes.
    pub(super) async fn left(&self, tx: &Transaction) -> Result<u64, StoreError> {
        let known = *self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh =
            |counted: &Counted| (0..COUNT_AGE_MS).contains(&tx.now.millis_since(counted.at));
        let rows = if let Some(counted) = known.filter(is_fresh) {
            counted.rows
        } else {
            let rows = count_waiting(tx).await?;
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            *counted = Some(Counted { at: tx.now, rows });
            rows
        };
        Ok(self.queue_max.saturating_sub(rows))
    }

    /// Adds what a transaction is about to commit. One that fails is forgotten with the next count.
    pub(super) fn take(&self, accepted: u64) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counted) = counted.as_mut() {
            counted.rows = counted.rows.saturating_add(accepted);
        }
    }
}

async fn count_waiting(tx: &Transaction) -> Result<u64, StoreError> {
    let rows: Option<i64> =
        waiting_query().into_tuple().one(&tx.inner).await.map_err(|error| tx.failed(&error))?;
    Ok(rows.and_then(|rows| u64::try_from(rows).ok()).unwrap_or(0))
}

pub(crate) fn waiting_query() -> Select<work::Entity> {
    let stages = [Stage::Validate, Stage::Sign].map(Stage::as_str);
    work::Entity::find()
        .select_only()
        .column_as(work::Column::WithdrawalId.count(), "waiting")
        .filter(work::Column::Stage.is_in(stages))
}
