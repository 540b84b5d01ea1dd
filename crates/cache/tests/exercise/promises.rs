//! What both caches promise.

use std::sync::Arc;
use std::time::Duration;

use portcullis_cache::{Cache, Facts, GasPrice, Health, MemoryCache, Rate, TokenFacts};
use portcullis_core::amount::Amount;
use portcullis_core::time::Timestamp;
use portcullis_testkit::RedisServer;
use tokio::sync::broadcast;

use crate::{PATIENT, cache_on, clock};

/// Runs the whole of it on one pair of caches: two processes of one fleet, or one process twice.
async fn exercise(one: Arc<dyn Cache>, other: Arc<dyn Cache>) {
    values_are_told_and_end(&*one, &*other).await;
    facts_are_told(&one, &other).await;
    rates_are_counted_together(&*one, &*other).await;
    bells_are_heard(&*one, &*other).await;
}

async fn values_are_told_and_end(one: &dyn Cache, other: &dyn Cache) {
    assert_eq!(one.read("nothing").await, None);
    one.write("fact", b"\x00\xffbytes", Duration::from_mins(1)).await;
    assert_eq!(other.read("fact").await.as_deref(), Some(&b"\x00\xffbytes"[..]));
    other.write("fact", b"newer", Duration::from_mins(1)).await;
    assert_eq!(one.read("fact").await.as_deref(), Some(&b"newer"[..]));
    one.forget("fact").await;
    assert_eq!(other.read("fact").await, None);
    one.write("short", b"x", Duration::from_millis(1)).await;
    let over = async {
        while one.read("short").await.is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENT, over).await.expect("it is over");
}

async fn facts_are_told(one: &Arc<dyn Cache>, other: &Arc<dyn Cache>) {
    let (one, other) = (Facts::new(Arc::clone(one)), Facts::new(Arc::clone(other)));
    let price = GasPrice { tip_wei: 30_000_000_000, at: Timestamp::from_millis(1_700_000_000_123) };
    assert_eq!(one.gas_price(137).await, None);
    one.keep_gas_price(137, price).await;
    assert_eq!(other.gas_price(137).await, Some(price));
    assert_eq!(other.gas_price(1).await, None, "of another chain");
    let token = TokenFacts { decimals: 6, symbol: "USD Coin".to_owned() };
    one.keep_token(137, "0xabc", &token).await;
    assert_eq!(other.token(137, "0xabc").await, Some(token));
    let most = Amount::parse_atomic(&"9".repeat(77)).expect("it fits into 256 bits");
    one.keep_balance(137, "0xdef", "native", most).await;
    assert_eq!(other.balance(137, "0xdef", "native").await, Some(most));
    other.forget_balance(137, "0xdef", "native").await;
    assert_eq!(one.balance(137, "0xdef", "native").await, None);
    let now = clock().now();
    let until = now.plus_millis(60_000);
    one.keep_breaker(137, "vendor", until, now).await;
    assert_eq!(other.breaker(137, "vendor").await, Some(until));
    one.keep_breaker(137, "old", now, now).await;
    assert_eq!(other.breaker(137, "old").await, None, "it is over already");
}

async fn rates_are_counted_together(one: &dyn Cache, other: &dyn Cache) {
    // So slow that nothing drips while this runs.
    let rate = Rate::per_second(1, 100);
    let first = one.admit("key", rate, 60).await;
    assert!(first.is_admitted);
    assert_eq!(first.remaining, 40);
    let refused = other.admit("key", rate, 60).await;
    assert!(!refused.is_admitted, "{refused:?}");
    assert!(refused.retry_after > Duration::from_secs(10), "{refused:?}");
    assert!(refused.retry_after <= Duration::from_secs(20), "{refused:?}");
    assert!(other.admit("key", rate, 35).await.is_admitted, "what was refused took nothing");
    assert!(!one.admit("key", rate, 35).await.is_admitted);
    assert!(one.admit("another key", rate, 100).await.is_admitted);
    assert!(!one.admit("a third key", rate, 101).await.is_admitted, "more than the burst");
}

async fn bells_are_heard(one: &dyn Cache, other: &dyn Cache) {
    let mut hears = other.listen();
    rung_until_heard(one, &mut hears, "sign").await;
}

/// Rings until it is heard: a subscription may be under way still.
pub(crate) async fn rung_until_heard(
    rings: &dyn Cache,
    hears: &mut broadcast::Receiver<String>,
    bell: &str,
) {
    let heard = async {
        loop {
            rings.ring(bell).await;
            let heard = tokio::time::timeout(Duration::from_millis(50), hears.recv()).await;
            if matches!(heard, Ok(Ok(name)) if name == bell) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENT.saturating_mul(4), heard).await.expect("a ring is heard");
}

#[tokio::test]
async fn memory_keeps_the_promises() {
    let cache: Arc<dyn Cache> = Arc::new(MemoryCache::new(clock()));
    exercise(Arc::clone(&cache), Arc::clone(&cache)).await;
    assert_eq!(cache.health(), Health::Alone);
}

#[tokio::test]
async fn redis_keeps_the_promises_between_two_processes() {
    let server = RedisServer::start();
    let one: Arc<dyn Cache> = Arc::new(cache_on(&server, PATIENT));
    let other: Arc<dyn Cache> = Arc::new(cache_on(&server, PATIENT));
    exercise(Arc::clone(&one), Arc::clone(&other)).await;
    assert_eq!(one.health(), Health::Reachable);
}
