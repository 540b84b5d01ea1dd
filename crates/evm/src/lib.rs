//! JSON-RPC for Portcullis: providers and their health, what errors mean, gas prices, and the block follower.
//!
//! Three rules run through all of it. An answer that is missing is an error, never a null. A null is what one
//! node shows now, and proves nothing. And what is not known to be rejected may be live.

mod chain_types;
mod classify;
mod exchange;
mod failure;
mod follower;
mod gas_oracle;
mod pool;
#[cfg(test)]
mod pool_tests;
mod provider;
mod read_account;
mod read_chain;
#[cfg(test)]
mod scripted_node;
mod telemetry;
mod transport;
mod upstream;
mod wire;

pub use chain_types::{
    BlockTag, CallRequest, ConsumedNonce, EstimateError, HeadBlock, KnownTransaction, LogQuery,
    MinedBlock, MinedLog, MinedTransaction, Receipt,
};
pub use classify::{ErrorClass, RejectKind, Remedy, SendOutcome, UnknownKind, classify_send};
pub use failure::{ReadError, RpcFailure};
pub use follower::{ChainLink, ChainUpdate, FollowError, Follower, Reorg};
pub use gas_oracle::{GasOracle, TIP_CACHE_MS, TIP_STALE_MS};
pub use pool::{PoolError, PoolLimits, ProviderPool};
pub use provider::{HttpEndpoint, Provider};
pub use telemetry::describe_metrics;
pub use transport::EndpointError;
pub use upstream::{ChainCheck, ProviderStatus, Upstream};
