//! JSON-RPC for Portcullis: providers and their health, what errors mean, gas prices, and the block follower.
//!
//! Three rules run through all of it. An answer that is missing is an error, never a null. A null is what one
//! node shows now, and proves nothing. And what is not known to be rejected may be live.

mod breaker;
mod chain_types;
mod classify;
mod evidence;
mod exchange;
mod failure;
mod fault;
mod follower;
mod funds;
mod gas_oracle;
mod health;
mod hearsay;
mod pool;
#[cfg(test)]
mod pool_tests;
mod provider;
mod quorum;
mod rate_limit;
mod read_account;
mod read_chain;
mod score;
#[cfg(test)]
mod scripted_node;
mod survey;
mod telemetry;
mod transport;
mod upstream;
mod wire;

pub use breaker::BreakerState;
pub use chain_types::{
    BlockTag, CallRequest, ConsumedNonce, EstimateError, HeadBlock, KnownTransaction, LogQuery,
    MinedBlock, MinedLog, MinedTransaction, Receipt,
};
pub use classify::{ErrorClass, RejectKind, Remedy, SendOutcome, UnknownKind, classify_send};
pub use evidence::{
    AgreedCount, Decision, Evidence, QuorumConsumption, QuorumError, QuorumReceipt, Version,
};
pub use failure::{ReadError, RpcFailure};
pub use fault::{FaultReport, ProviderFault};
pub use follower::{ChainLink, ChainUpdate, FollowError, Follower, Reorg};
pub use funds::{Funds, FundsQuery, GasQuote, TouchedState};
pub use gas_oracle::{GasOracle, TIP_CACHE_MS, TIP_STALE_MS};
pub use health::{ChainCheck, ProviderStatus};
pub use pool::{PoolError, PoolLimits, ProviderPool};
pub use provider::{HttpEndpoint, Provider};
pub use survey::AgreedHead;
pub use telemetry::describe_metrics;
pub use transport::EndpointError;
pub use upstream::Upstream;
