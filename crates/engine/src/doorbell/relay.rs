//! The relay: what the database says must be rung is rung again, and what a queue holds follows what waits.

use std::sync::Arc;

use portcullis_store::{Store, StoreError};
use thiserror::Error;

use super::messenger::body_of;
use super::queue::{Queue, sets_of};
use super::sqs::{SqsError, SqsQueues};
use crate::Surroundings;
use crate::lease::LeaseHolder;

/// Whoever holds it relays: one process of all.
const LEASE: &str = "doorbells";

/// Messages that one step adds to one queue at most.
const ADDED_MAX: u64 = 1_000;
/// Messages that one step takes away from one queue at most.
const REMOVED_MAX: u64 = 100;

/// Why a step did not come to its end. The next one begins anew.
#[derive(Debug, Error)]
pub enum RelayError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// SQS.
    #[error(transparent)]
    Sqs(#[from] SqsError),
}

/// See the module.
pub struct Relay {
    queues: Arc<SqsQueues>,
    store: Store,
    leases: LeaseHolder,
}

impl Relay {
    /// A relay between that database and those queues.
    #[must_use]
    pub fn new(queues: Arc<SqsQueues>, store: Store, around: Surroundings, lease_ms: i64) -> Self {
        let leases = LeaseHolder::new(store.clone(), around, lease_ms);
        Self { queues, store, leases }
    }

    /// Compares every queue with its stage. One process does it; the others find the lease taken.
    ///
    /// # Errors
    /// See [`RelayError`].
    pub async fn step(&self) -> Result<(), RelayError> {
        if self.leases.hold(&[LEASE.to_owned()]).await?.is_empty() {
            return Ok(());
        }
        for depth in self.store.queues().await? {
            let queue = Queue::ALL
                .into_iter()
                .find(|queue| queue.stage().is_some_and(|stage| stage.as_str() == depth.stage));
            if let Some(queue) = queue {
                self.follow(queue, sets_of(depth.depth)).await?;
            }
        }
        Ok(())
    }

    /// Adds what is missing; takes away what is too much and nobody holds.
    async fn follow(&self, queue: Queue, wanted: u64) -> Result<(), SqsError> {
        let name = self.queues.name(queue);
        let count = self.queues.count(&name).await?;
        let messages = f64::from(u32::try_from(count.total()).unwrap_or(u32::MAX));
        metrics::gauge!("portcullis_doorbell_messages", "queue" => queue.as_str()).set(messages);
        let missing = wanted.saturating_sub(count.total()).min(ADDED_MAX);
        if missing > 0 {
            return self.queues.send(&name, &body_of(queue), missing).await;
        }
        let surplus = count.total().saturating_sub(wanted);
        let mut left = surplus.min(count.visible).min(REMOVED_MAX);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let taken = self.queues.receive(&name, most, 0).await?;
            if taken.is_empty() {
                break;
            }
            left = left.saturating_sub(taken.len() as u64);
            let handles: Vec<String> = taken.into_iter().map(|message| message.handle).collect();
            self.queues.delete(&name, &handles).await?;
        }
        Ok(())
    }
}
