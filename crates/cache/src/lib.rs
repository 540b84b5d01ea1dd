//! What the processes of a fleet tell each other and may forget: cached facts, rate limits, doorbells.
//!
//! [`Cache`] is the port, [`MemoryCache`] the one of a single process, [`RedisCache`] the one of a fleet. Nothing here is
//! ever needed for correctness: no method fails, and a Redis that is flushed, stopped or slow costs latency alone
//! (`docs/guide/redis.md`).

mod breaker;
mod facts;
mod memory;
mod rate;
mod redis;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use portcullis_core::time::Timestamp;
use tokio::sync::broadcast;

pub use facts::{Facts, GasPrice, TokenFacts};
pub use memory::MemoryCache;
pub use rate::{Admission, Rate};
pub use redis::{RedisCache, RedisError, RedisOptions};

/// A cache that processes have together, or one process has alone.
#[async_trait]
pub trait Cache: fmt::Debug + Send + Sync {
    /// What was written under the key and is not over; `None` also where the cache is out of reach.
    async fn read(&self, key: &str) -> Option<Vec<u8>>;

    /// Remembers the value for at most `keep`. It may be forgotten earlier.
    async fn write(&self, key: &str, value: &[u8], keep: Duration);

    /// Forgets what is under the key.
    async fn forget(&self, key: &str);

    /// Whether `cost` more of what the key counts fit into the rate. Out of reach of the others, a process
    /// counts for itself: the limit is then one of each process.
    async fn admit(&self, key: &str, rate: Rate, cost: u32) -> Admission;

    /// Rings the bell of that name for everybody who listens, in any process. It may be lost.
    async fn ring(&self, bell: &str);

    /// The names of bells that ring from now on.
    fn listen(&self) -> broadcast::Receiver<String>;

    /// How it stands, as far as is known without asking.
    fn health(&self) -> Health;
}

/// How a cache stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It is this process's own.
    Alone,
    /// The last exchange with the server was answered, or there was none yet.
    Reachable,
    /// The server does not answer: this process remembers and counts for itself.
    Unreachable {
        /// Since when.
        since: Timestamp,
        /// What was seen last.
        why: String,
    },
}
