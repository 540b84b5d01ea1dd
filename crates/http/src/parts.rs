//! What the API is made of: the binary and the simulator put it together.

use std::fmt;
use std::sync::Arc;

use portcullis_cache::{Cache, Facts, Rate};
use portcullis_core::chain::ChainSpec;
use portcullis_core::seal::SealingKeys;
use portcullis_evm::{GasOracle, ProviderPool};
use portcullis_store::Store;
use portcullis_store::intake::Intake;

/// Everything that the router needs. It starts nothing in the background, and has no randomness but this. What time it is
/// the store tells; how long a request may wait is counted by a clock that nobody sets.
pub struct ApiParts {
    /// The database.
    pub store: Store,
    /// Where withdrawals are accepted.
    pub intake: Intake,
    /// Verify API keys and assets, seal deposits.
    pub sealing_keys: Arc<SealingKeys>,
    /// The chains that this deployment pays on.
    pub chains: Vec<ChainAccess>,
    /// 128 random bits for an id. Ids are no secrets, but must not repeat.
    pub entropy: Arc<dyn Fn() -> u128 + Send + Sync>,
    /// Called after a commit that accepted withdrawals: the doorbell of the processor.
    pub on_accepted: Arc<dyn Fn() + Send + Sync>,
    /// Prometheus text of every metric of the process.
    pub metrics_render: Arc<dyn Fn() -> String + Send + Sync>,
    /// What `/readyz` says besides the database, the schema, halts and providers.
    pub concerns: Arc<dyn Fn() -> Vec<Concern> + Send + Sync>,
    /// Where `errors.md` is published, without an anchor.
    pub doc_url_base: String,
    /// Bounds of what is read and waited for.
    pub limits: ApiLimits,
    /// How often one API key may ask; `None` is no limit.
    pub key_limit: Option<KeyLimit>,
    /// What fee estimates need not ask again: balances that are some seconds old.
    pub facts: Facts,
}

/// How often one API key may ask, and where it is counted.
#[derive(Clone, Debug)]
pub struct KeyLimit {
    /// What all processes of the API count in together.
    pub cache: Arc<dyn Cache>,
    /// The limit of each key.
    pub rate: Rate,
}

impl fmt::Debug for ApiParts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks: Vec<&str> = self.chains.iter().map(|chain| chain.spec().network).collect();
        formatter
            .debug_struct("ApiParts")
            .field("chains", &networks)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// A chain that this deployment pays on.
pub struct ChainAccess {
    /// Its providers. They are asked for fee estimates alone: intake goes on without them.
    pub pool: ProviderPool,
    /// Its gas prices, from a cache that the engine shares.
    pub oracle: Arc<GasOracle>,
}

impl ChainAccess {
    /// The chain's facts.
    #[must_use]
    pub const fn spec(&self) -> &'static ChainSpec {
        self.pool.chain()
    }

    /// The newest block that enough providers showed so far; nothing is asked.
    #[must_use]
    pub fn known_head(&self) -> Option<u64> {
        self.pool.known_head()
    }
}

/// Something that is wrong, for `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// What it is about: `draining`, `providers`.
    pub component: String,
    /// Whether requests must not be sent here because of it. A node that is down is no such thing:
    /// withdrawals are accepted, and paid when it is back.
    pub is_blocking: bool,
    /// What is wrong, and what to do.
    pub detail: String,
}

/// Bounds of what is read and waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiLimits {
    /// The largest body.
    pub body_bytes_max: usize,
    /// The largest body of a batch.
    pub batch_body_bytes_max: usize,
    /// The most items of a batch.
    pub batch_items_max: usize,
    /// The largest metadata, as compact JSON.
    pub metadata_bytes_max: usize,
    /// The most items of a page.
    pub page_items_max: u64,
    /// The most requests with a body that are under way at once; one above is refused.
    pub requests_max: usize,
    /// How many of them a batch stands for.
    pub batch_cost: u32,
    /// How long a client may take to send one body.
    pub body_wait_ms: u64,
    /// How long one request waits for the database in all.
    pub database_wait_ms: u64,
    /// How long a fee estimate waits for the nodes.
    pub node_wait_ms: u64,
    /// Whether a timer bounds these waits. The simulator, whose time stands still while the
    /// database works, switches it off.
    pub has_timers: bool,
    /// How old a verified key and the picture of the assets may be.
    pub cache_age_ms: i64,
}

impl Default for ApiLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 64 * 1_024,
            batch_body_bytes_max: 1_024 * 1_024,
            batch_items_max: 500,
            metadata_bytes_max: 4 * 1_024,
            page_items_max: 100,
            requests_max: 4_096,
            batch_cost: 32,
            body_wait_ms: 10_000,
            database_wait_ms: 2_000,
            node_wait_ms: 5_000,
            has_timers: true,
            cache_age_ms: 1_000,
        }
    }
}
