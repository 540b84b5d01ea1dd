//! Request limits: what is waited for, what is not, and who is asked instead. The clock of these tests is
//! tokio's paused one for the waiting, and a standing one for the bucket.

use std::sync::Arc;

use alloy_primitives::Address;
use portcullis_core::chain::ChainSpec;
use serde_json::json;
use tokio::time::Instant;

use crate::scripted_node::{Fault, Reply, ScriptedNode, TestClock, hash, header_json};
use crate::{BlockTag, PoolLimits, Provider, ProviderFault, ProviderPool, RpcFailure};

fn counting_node() -> ScriptedNode {
    let node = ScriptedNode::new();
    node.on("eth_getTransactionCount", |_| Reply::Value(json!("0x1")));
    node
}

fn provider(name: &str, node: &ScriptedNode) -> Provider {
    Provider::from_client(name, name, node.client())
}

fn pool(providers: Vec<Provider>, clock: &Arc<TestClock>, wait_ms: u64) -> ProviderPool {
    let chain = ChainSpec::by_network("localhost").expect("in the catalogue");
    let limits = PoolLimits { throttle_wait_ms_max: wait_ms, ..PoolLimits::default() };
    ProviderPool::new(chain, providers, clock.clone(), limits).expect("well formed")
}

async fn ask(pool: &ProviderPool, count: usize) -> Result<usize, RpcFailure> {
    let accounts = vec![Address::ZERO; count];
    let counts = pool.transaction_counts(&accounts, BlockTag::Latest).await;
    counts.map(|counts| counts.len()).map_err(|error| error.failure)
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_room_waits_until_there_is_some() {
    let node = counting_node();
    let clock = TestClock::at(0);
    let pool = pool(vec![provider("a", &node).with_requests_per_second(10)], &clock, 2_000);
    let begin = Instant::now();
    // The check of the chain id is a request too.
    assert_eq!(ask(&pool, 9).await, Ok(9));
    assert_eq!(begin.elapsed().as_millis(), 0);
    assert_eq!(ask(&pool, 4).await, Ok(4));
    assert_eq!(begin.elapsed().as_millis(), 400);
}

#[tokio::test(start_paused = true)]
async fn batches_are_cut_to_what_a_second_allows_and_to_the_providers_own_limit() {
    let (slow, small) = (counting_node(), counting_node());
    let clock = TestClock::at(0);
    let slow_pool = pool(vec![provider("a", &slow).with_requests_per_second(3)], &clock, 60_000);
    assert_eq!(ask(&slow_pool, 7).await, Ok(7));
    assert_eq!(slow.packets(), [3, 3, 1]);
    let small_pool = pool(vec![provider("a", &small).with_batch_items_max(5)], &clock, 0);
    assert_eq!(ask(&small_pool, 12).await, Ok(12));
    assert_eq!(small.packets(), [5, 5, 2]);
}

#[tokio::test(start_paused = true)]
async fn who_would_wait_too_long_asks_another_provider_and_blames_nobody() {
    let (first, second) = (counting_node(), counting_node());
    let clock = TestClock::at(0);
    let limited = provider("a", &first).with_requests_per_second(10);
    let pool = pool(vec![limited, provider("b", &second)], &clock, 300);
    assert_eq!(ask(&pool, 9).await, Ok(9));
    assert_eq!(ask(&pool, 3).await, Ok(3), "it waits");
    assert_eq!((first.packets(), second.packets()), (vec![9, 3], vec![]));
    assert_eq!(ask(&pool, 1).await, Ok(1));
    assert_eq!((first.packets(), second.packets()), (vec![9, 3], vec![1]));
    let status = &pool.statuses()[0];
    assert!(status.healthy && status.faults.is_empty(), "{status:?}");
    clock.advance(1_000);
    assert_eq!(ask(&pool, 1).await, Ok(1));
    assert_eq!(first.packets(), [9, 3, 1]);
}

#[tokio::test]
async fn a_single_provider_without_room_says_so() {
    let node = counting_node();
    let clock = TestClock::at(0);
    let pool = pool(vec![provider("a", &node).with_requests_per_second(2)], &clock, 0);
    assert_eq!(ask(&pool, 1).await, Ok(1));
    assert_eq!(ask(&pool, 1).await, Err(RpcFailure::Throttled { retry_after_ms: 500 }));
    let sent = pool.send(&[(alloy_primitives::B256::ZERO, alloy_primitives::Bytes::new())]).await;
    assert!(sent[0].maybe_live(), "nothing is concluded from what was not sent");
}

#[tokio::test]
async fn a_pause_that_a_provider_asks_for_is_kept() {
    // Over real HTTP, because the pause is in a header.
    let url = super::http::serve(vec![
        ("200 OK", r#"{"jsonrpc":"2.0","id":0,"result":"0x7a69"}"#),
        ("429 Too Many Requests\r\nretry-after: 7", "slow down"),
        ("200 OK", r#"{"jsonrpc":"2.0","id":2,"result":"0x5"}"#),
    ])
    .await;
    let endpoint = crate::HttpEndpoint {
        name: "http".to_owned(),
        operator: "http".to_owned(),
        url: secrecy::SecretString::from(url),
        timeout_ms: 2_000,
    };
    let clock = TestClock::at(0);
    let pool = pool(vec![Provider::http(endpoint).expect("a good URL")], &clock, 0);
    assert_eq!(ask(&pool, 1).await, Err(RpcFailure::RateLimited { retry_after_ms: Some(7_000) }));
    assert_eq!(ask(&pool, 1).await, Err(RpcFailure::Throttled { retry_after_ms: 7_000 }));
    assert_eq!(pool.statuses()[0].faults[0].fault, ProviderFault::RateLimited);
    clock.advance(7_000);
    assert_eq!(ask(&pool, 1).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_long_for_the_newest_block_of_one_that_hangs() {
    let (well, hangs) = (counting_node(), counting_node());
    for node in [&well, &hangs] {
        node.on("eth_getBlockByNumber", |_| Reply::Value(header_json(9, hash(9), hash(8))));
    }
    let clock = TestClock::at(0);
    let slow = provider("b", &hangs).with_timeout_ms(60_000);
    let other = provider("c", &well);
    let pool = pool(vec![provider("a", &well), slow, other], &clock, 0);
    let begin = Instant::now();
    for looks in 1..=4 {
        hangs.fail_next(Fault::Hang);
        let agreed = pool.agreed_head(&[]).await.expect("two answer");
        assert_eq!(agreed.operators, 2);
        assert_eq!(begin.elapsed().as_secs(), 5 * looks.min(3), "the breaker opens at the third");
    }
    assert_eq!(pool.statuses()[1].faults[0].fault, ProviderFault::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_trial_of_a_provider_that_hangs_is_short() {
    let node = counting_node();
    let clock = TestClock::at(0);
    let pool = pool(vec![provider("a", &node).with_timeout_ms(10_000)], &clock, 0);
    let begin = Instant::now();
    for _ in 0..3 {
        node.fail_next(Fault::Hang);
        assert_eq!(ask(&pool, 1).await, Err(RpcFailure::Timeout));
    }
    assert_eq!(begin.elapsed().as_secs(), 30);
    clock.advance(1_000);
    node.fail_next(Fault::Hang);
    assert_eq!(ask(&pool, 1).await, Err(RpcFailure::Timeout));
    assert_eq!(begin.elapsed().as_secs(), 32);
}
