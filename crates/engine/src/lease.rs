//! The leases that a role holds. Prolonged at the beginning of a step, when half their time is over;
//! a commit under a lease that ran out is refused by the store.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use portcullis_core::time::Timestamp;
use portcullis_store::Store;
use portcullis_store::StoreError;
use portcullis_store::lease::Lease;

use crate::Surroundings;

pub(crate) struct LeaseHolder {
    store: Store,
    around: Surroundings,
    lease_ms: i64,
    state: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    leases: BTreeMap<String, Lease>,
    /// Leases of others are asked for again only after this.
    asked_again_at: Option<Timestamp>,
}

impl LeaseHolder {
    pub(crate) fn new(store: Store, around: Surroundings, lease_ms: i64) -> Self {
        Self { store, around, lease_ms, state: Mutex::default() }
    }

    /// The leases of `names` that this process has; others hold the rest.
    pub(crate) async fn hold(&self, names: &[String]) -> Result<Vec<Lease>, StoreError> {
        // By the clock that the leases are counted by.
        let now = self.store.now();
        let half = self.lease_ms / 2;
        {
            let held = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let current: Vec<Lease> =
                names.iter().filter_map(|name| held.leases.get(name).cloned()).collect();
            let fresh = current.iter().all(|lease| lease.expires_at.millis_since(now) > half);
            let waits = held.asked_again_at.is_some_and(|at| now < at);
            if fresh && (current.len() == names.len() || waits) {
                return Ok(current);
            }
        }
        let holder = &self.around.instance;
        let leases = self.store.acquire_leases(names, holder, self.lease_ms).await?;
        let mut held = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            held.leases.remove(name);
        }
        for lease in &leases {
            held.leases.insert(lease.name.clone(), lease.clone());
        }
        held.asked_again_at = Some(now.plus_millis(half));
        Ok(leases)
    }

    /// One lease, if this process has it.
    pub(crate) async fn hold_one(&self, name: &str) -> Result<Option<Lease>, StoreError> {
        Ok(self.hold(&[name.to_owned()]).await?.pop())
    }

    /// Forgets what it holds, so that the next step asks the database: after a lost lease.
    pub(crate) fn forget(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Held::default();
    }

    /// Gives everything back.
    pub(crate) async fn release(&self) -> Result<(), StoreError> {
        let leases: Vec<Lease> = {
            let mut held = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut held.leases).into_values().collect()
        };
        self.store.release_leases(&leases).await
    }
}
