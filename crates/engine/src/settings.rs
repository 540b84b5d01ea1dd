//! How the roles work.

use portcullis_core::batching::BatchingRules;

/// The engine's settings. The defaults suit Polygon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// Withdrawals that one step takes.
    pub batch_max: u64,
    /// How payments of the vault rail are put together.
    pub batching: BatchingRules,
    /// How long a role waits for a doorbell before it looks by itself.
    pub poll_interval_ms: u64,
    /// Transactions of one sender that are not yet mined.
    pub in_flight_max: u64,
    /// How long after a send the same bytes are sent again.
    pub rebroadcast_after_ms: i64,
    /// How long after a commit a dearer attempt takes the slot.
    pub bump_after_ms: i64,
    /// How long a lease holds without being prolonged.
    pub lease_ms: i64,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            batch_max: 500,
            batching: BatchingRules::default(),
            poll_interval_ms: 250,
            in_flight_max: 8,
            rebroadcast_after_ms: 15_000,
            bump_after_ms: 30_000,
            lease_ms: 15_000,
        }
    }
}
