//! What tests and the simulator stand on: [`SimNode`], an EVM node inside the process, reached through
//! alloy's transport with faults on the way, and the builders that everybody needs.
//!
//! Nothing here reads a clock or draws a random number: the caller tells the time, and entropy comes
//! from a seed. The same calls in the same order give the same chain, hash for hash.
//!
//! And the servers that tests start by themselves, each in this one place: [`MariaDb`], [`RedisServer`], [`Moto`].

mod builders;
mod fault;
mod gate;
mod mariadb;
mod moto;
mod node;
mod owned;
mod redis;
mod rpc;
mod sql_proxy;
mod token;
mod transport;
mod vault;

pub use builders::{
    DevKey, SeededEntropy, SignedTestTransaction, TestClock, TestTransaction, dev_key,
};
pub use fault::{Fault, FaultCounters, FaultPlan, FaultScript, NoFaults};
pub use gate::{Gate, GatePoint, Stage};
pub use mariadb::{MariaDb, MariaDbError};
pub use moto::Moto;
pub use node::{
    BaseFeeRule, BlockSummary, ChainTransaction, ControlError, Dropped, PoolError, PoolOverflow,
    PoolRules, Reorg, Shortfall, SimConfig, SimNode, TransferLog,
};
pub use redis::RedisServer;
pub use sql_proxy::{Cut, SqlProxy};
pub use token::{TestToken, TokenKind, TokenOrder};
pub use transport::SimTransport;
pub use vault::{PaidLog, VaultListing};
