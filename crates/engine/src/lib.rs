//! The roles, each a step function, and the driver that steps them.
//!
//! A role's `step` claims a bounded set of work, reads, decides with `core`, does its one effect,
//! commits, and rings the next doorbell. Between any two effects it may end: whoever steps next goes
//! on from what the database and the journal say. The simulator steps the very same roles.

mod broadcaster;
mod concerns;
mod damage;
mod doorbell;
mod driver;
mod error;
mod evidence;
mod foreign;
mod gas;
mod given_up;
mod lease;
mod monitor;
mod poison;
mod processor;
pub mod reconcile;
mod recovery;
mod role;
mod settings;
mod signer;

pub use broadcaster::Broadcaster;
pub use concerns::{Component, Concern, Concerns};
pub use doorbell::{
    Bell, Doorbells, MAX_RECEIVES, Messenger, Queue, QueueCount, RETENTION_SECONDS, Received,
    Redriven, Relay, RelayError, SqsError, SqsOptions, SqsQueues, sets_of,
};
pub use driver::{Engine, EngineParts};
pub use error::EngineError;
pub use monitor::Monitor;
pub use processor::Processor;
pub use recovery::Recovery;
pub use role::Role;
pub use settings::EngineSettings;
pub use signer::SignerRole;

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::Address;
use portcullis_core::id::SlotId;
use portcullis_core::time::Timestamp;
use portcullis_evm::ProviderPool;
use portcullis_store::Store;

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There was nothing to do.
    Idle,
    /// There is nothing to do before so many milliseconds have passed.
    IdleFor(u64),
    /// Something was done; there may be more.
    Worked,
}

impl Progress {
    /// `Worked` when anything was done.
    #[must_use]
    pub const fn of(done: bool) -> Self {
        if done { Self::Worked } else { Self::Idle }
    }

    /// `Worked` when either is; else the shorter rest.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Worked, _) | (_, Self::Worked) => Self::Worked,
            (Self::IdleFor(one), Self::IdleFor(other)) => Self::IdleFor(one.min(other)),
            (Self::IdleFor(rest), Self::Idle) | (Self::Idle, Self::IdleFor(rest)) => {
                Self::IdleFor(rest)
            }
            (Self::Idle, Self::Idle) => Self::Idle,
        }
    }
}

/// Randomness, injected: the machine's in production, the scheduler's in simulation; and who this process is. The time
/// is the store's alone: what a process's own clock says must not be compared with rows that another one wrote.
#[derive(Clone)]
pub struct Surroundings {
    /// 128 random bits a call.
    pub entropy: Arc<dyn Fn() -> u128 + Send + Sync>,
    /// Who this process is among those that share the database: the holder of its leases, as
    /// `identity#incarnation`. Only one living process may have the identity.
    pub instance: String,
}

/// What every role is made of. Cheap to clone.
#[derive(Clone)]
pub struct RoleParts {
    /// The store.
    pub store: Store,
    /// One pool of providers for each chain.
    pub pools: Vec<Arc<ProviderPool>>,
    /// The vault of each chain that has one, by chain id: its payments go through it.
    pub vaults: BTreeMap<u64, Address>,
    /// How the roles work.
    pub settings: EngineSettings,
    /// Randomness and the name of this process.
    pub around: Surroundings,
    /// The doorbells of this process.
    pub doorbells: Doorbells,
    /// Where the roles report what they lack.
    pub concerns: Concerns,
}

impl std::fmt::Debug for RoleParts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RoleParts").field("around", &self.around).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Surroundings({})", self.instance)
    }
}

impl Surroundings {
    fn slot_id(&self, now: Timestamp) -> SlotId {
        SlotId::from_parts(now, (self.entropy)())
    }

    /// A delay of up to `most_ms`, so that many do not come back at once.
    fn jitter_ms(&self, most_ms: i64) -> i64 {
        let most = u128::try_from(most_ms).unwrap_or(0).saturating_add(1);
        i64::try_from((self.entropy)().checked_rem(most).unwrap_or(0)).unwrap_or(0)
    }
}
