//! What the chain asks for now: the base fee of the newest head, and a tip that is asked for now and then.

use std::sync::Arc;

use portcullis_core::fee::FeeMarket;
use portcullis_core::time::{Clock, Timestamp};
use tokio::sync::Mutex;

use crate::chain_types::HeadBlock;
use crate::failure::ReadError;
use crate::pool::ProviderPool;

/// How long a tip is used without asking again.
pub const TIP_CACHE_MS: i64 = 30_000;

/// How long a tip is still used when asking fails. After that the chain's least tip is used.
pub const TIP_STALE_MS: i64 = 600_000;

/// How long to wait after a failure before asking again.
const TIP_RETRY_MS: i64 = 5_000;

/// The gas prices of one chain.
pub struct GasOracle {
    pool: ProviderPool,
    clock: Arc<dyn Clock>,
    tip: Mutex<Tip>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tip {
    /// The last answer, and when it came.
    known: Option<(u128, Timestamp)>,
    /// When asking failed, if it did since.
    failed_at: Option<Timestamp>,
}

impl GasOracle {
    /// Over a pool.
    #[must_use]
    pub fn new(pool: ProviderPool, clock: Arc<dyn Clock>) -> Self {
        Self { pool, clock, tip: Mutex::new(Tip::default()) }
    }

    /// The market at the node's newest head.
    ///
    /// # Errors
    /// When the head cannot be read. A tip that cannot be read is no error.
    pub async fn market(&self) -> Result<FeeMarket, ReadError> {
        let head = self.pool.head().await?;
        Ok(self.market_at(&head).await)
    }

    /// The market at a head that the caller has just read.
    pub async fn market_at(&self, head: &HeadBlock) -> FeeMarket {
        FeeMarket { base_fee_wei: head.base_fee_wei, tip_wei: self.tip_wei().await }
    }

    /// The last tip that a node told this process or another one, and when.
    pub async fn known_tip(&self) -> Option<(u128, Timestamp)> {
        self.tip.lock().await.known
    }

    /// Takes a tip that a node told another process at that time, where it is newer than what is known here. One of the
    /// future is of a clock that goes wrong, and is not taken.
    pub async fn learn_tip(&self, tip_wei: u128, at: Timestamp) {
        let mut tip = self.tip.lock().await;
        let is_newer = tip.known.is_none_or(|(_, known_at)| known_at < at);
        if is_newer && at <= self.clock.now() {
            tip.known = Some((tip_wei, at));
        }
    }

    /// The tip: never below the chain's least, from the cache for [`TIP_CACHE_MS`].
    async fn tip_wei(&self) -> u128 {
        let least = self.pool.chain().fee_bounds.tip_wei_min;
        // Held while asking: one question at a time, and the others wait for its answer.
        let mut tip = self.tip.lock().await;
        let now = self.clock.now();
        if !tip.may_rest(now) {
            match self.pool.priority_fee().await {
                Ok(wei) => *tip = Tip { known: Some((wei, now)), failed_at: None },
                Err(error) => {
                    let network = self.pool.chain().network;
                    tracing::warn!(network, %error, "the tip cannot be read: using the last one, or the least");
                    tip.failed_at = Some(now);
                }
            }
        }
        tip.usable(now).unwrap_or(least).max(least)
    }
}

impl Tip {
    /// Whether nothing needs to be asked now. A clock that went back counts as no time passed.
    fn may_rest(&self, now: Timestamp) -> bool {
        let within = |since: Timestamp, limit_ms| now.millis_since(since) < limit_ms;
        self.known.is_some_and(|(_, at)| within(at, TIP_CACHE_MS))
            || self.failed_at.is_some_and(|at| within(at, TIP_RETRY_MS))
    }

    fn usable(&self, now: Timestamp) -> Option<u128> {
        let (wei, at) = self.known?;
        (now.millis_since(at) < TIP_STALE_MS).then_some(wei)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scripted_node::{Reply, ScriptedNode, TestClock, pool_on};

    const GWEI: u128 = 1_000_000_000;

    fn oracle(node: &ScriptedNode) -> (GasOracle, Arc<TestClock>) {
        let clock = TestClock::at(1_000_000);
        (GasOracle::new(pool_on(node, &clock), clock.clone()), clock)
    }

    #[tokio::test]
    async fn the_tip_is_asked_for_every_thirty_seconds_and_the_base_fee_every_time() {
        let node = ScriptedNode::new();
        let (oracle, clock) = oracle(&node);
        node.on("eth_maxPriorityFeePerGas", |_| Reply::Value(json!("0x77359400")));
        node.head_with_base_fee(10, 7);
        let market = oracle.market().await.expect("the node answers");
        assert_eq!(market, FeeMarket { base_fee_wei: 7, tip_wei: 2 * GWEI });
        node.on("eth_maxPriorityFeePerGas", |_| Reply::Value(json!("0xb2d05e00")));
        node.head_with_base_fee(11, 8);
        clock.advance(TIP_CACHE_MS - 1);
        let market = oracle.market().await.expect("the node answers");
        assert_eq!(market, FeeMarket { base_fee_wei: 8, tip_wei: 2 * GWEI });
        clock.advance(1);
        let market = oracle.market().await.expect("the node answers");
        assert_eq!(market.tip_wei, 3 * GWEI);
        assert_eq!(node.calls_of("eth_maxPriorityFeePerGas"), 2);
    }

    #[tokio::test]
    async fn a_failing_node_leaves_the_last_tip_and_then_the_least() {
        let node = ScriptedNode::new();
        let (oracle, clock) = oracle(&node);
        node.head_with_base_fee(10, 7);
        node.on("eth_maxPriorityFeePerGas", |_| Reply::Error(-32601, "no such method"));
        let least = oracle.market().await.expect("only the tip fails").tip_wei;
        assert_eq!(least, GWEI, "the local chain's least tip");
        assert_eq!(oracle.market().await.expect("the same").tip_wei, GWEI);
        assert_eq!(node.calls_of("eth_maxPriorityFeePerGas"), 1, "not asked again at once");
        clock.advance(TIP_RETRY_MS);
        node.on("eth_maxPriorityFeePerGas", |_| Reply::Value(json!("0x77359400")));
        assert_eq!(oracle.market().await.expect("it is back").tip_wei, 2 * GWEI);
        node.on("eth_maxPriorityFeePerGas", |_| Reply::Error(-32601, "no such method"));
        clock.advance(TIP_STALE_MS - 1);
        assert_eq!(oracle.market().await.expect("the last one").tip_wei, 2 * GWEI);
        clock.advance(TIP_RETRY_MS);
        assert_eq!(oracle.market().await.expect("too old").tip_wei, GWEI);
    }

    #[tokio::test]
    async fn a_tip_that_another_process_was_told_spares_the_question() {
        let node = ScriptedNode::new();
        let (oracle, clock) = oracle(&node);
        node.head_with_base_fee(10, 7);
        let now = clock.now();
        oracle.learn_tip(9 * GWEI, now.plus_millis(1)).await;
        assert_eq!(oracle.known_tip().await, None, "of the future");
        oracle.learn_tip(5 * GWEI, now).await;
        oracle.learn_tip(6 * GWEI, now.plus_millis(-1)).await;
        assert_eq!(oracle.market().await.expect("the node answers").tip_wei, 5 * GWEI);
        assert_eq!(node.calls_of("eth_maxPriorityFeePerGas"), 0);
    }

    #[tokio::test]
    async fn a_tip_below_the_chains_least_is_raised() {
        let node = ScriptedNode::new();
        let (oracle, _clock) = oracle(&node);
        node.head_with_base_fee(10, 7);
        node.on("eth_maxPriorityFeePerGas", |_| Reply::Value(json!("0x1")));
        assert_eq!(oracle.market().await.expect("the node answers").tip_wei, GWEI);
    }
}
