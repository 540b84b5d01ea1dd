//! A full house: 429 with `Retry-After`, nothing written, and retries of what was accepted answered.

use std::sync::Arc;

use axum::http::StatusCode;
use portcullis_cache::{MemoryCache, Rate};
use portcullis_core::time::Timestamp;
use portcullis_http::{ApiLimits, KeyLimit};
use portcullis_store::intake::IntakeLimits;
use portcullis_testkit::TestClock;
use serde_json::json;

use crate::house::{Answer, House, good};

const BATCH: &str = "/v1/withdrawals/batch";

async fn bounded(queue_max: u64) -> House {
    let intake = IntakeLimits { queue_max, ..IntakeLimits::default() };
    House::open_bounded(ApiLimits::default(), intake, None).await
}

fn is_refused(answer: &Answer, code: &str, seconds: &str) {
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", answer.text);
    assert_eq!((answer.code(), answer.header("retry-after")), (code, Some(seconds)));
    assert_eq!(answer.body["error"]["retryable"], true);
    assert!(answer.body["error"]["request_id"].is_string(), "{}", answer.text);
}

#[tokio::test]
async fn a_full_queue_answers_429_and_changes_nothing() {
    let house = bounded(1).await;
    let first = house.pay(&good("full-1")).await;
    assert_eq!(first.status, StatusCode::ACCEPTED, "{}", first.text);
    let before = house.written().await;
    is_refused(&house.pay(&good("full-2")).await, "QUEUE_FULL", "5");
    assert_eq!(house.written().await, before);
    let again = house.pay(&good("full-1")).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.body["id"], first.body["id"]);
}

#[tokio::test]
async fn a_batch_larger_than_the_room_is_refused_item_by_item() {
    let house = bounded(2).await;
    assert_eq!(house.pay(&good("full-1")).await.status, StatusCode::ACCEPTED);
    let items = json!({"withdrawals": [good("full-2"), good("full-1"), good("full-3")]});
    let answer = house.post(BATCH, &items).await;
    assert_eq!(answer.status, StatusCode::MULTI_STATUS, "{}", answer.text);
    let data = &answer.body["data"];
    let statuses = [0, 1, 2].map(|index| data[index]["status"].as_str().unwrap_or_default());
    assert_eq!(statuses, ["accepted", "existing", "rejected"]);
    assert_eq!(data[2]["error"]["code"], "QUEUE_FULL");
    assert_eq!(data[2]["error"]["retryable"], true);
    assert_eq!(house.available("alice").await, "4980", "two of ten are reserved");
}

#[tokio::test]
async fn requests_under_way_are_bounded_and_a_batch_counts_for_many() {
    let limits = ApiLimits { requests_max: 31, ..ApiLimits::default() };
    let house = House::open_with(limits, None).await;
    let before = house.written().await;
    let batch = json!({ "withdrawals": [good("full-1")] });
    is_refused(&house.post(BATCH, &batch).await, "TOO_MANY_REQUESTS", "1");
    assert_eq!(house.written().await, before);
    // One after the other they fit: a request that ended gives its place back.
    for n in 0..40 {
        let answer = house.pay(&good(&format!("one-{n}"))).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    }
}

#[tokio::test]
async fn a_key_that_asks_too_often_waits_until_it_may_ask_again() {
    let clock = TestClock::at(Timestamp::from_millis(1_000_000));
    let cache = Arc::new(MemoryCache::new(Arc::new(clock.clone())));
    let limit = KeyLimit { cache, rate: Rate::per_second(1, 3) };
    let house = House::open_limited(limit).await;
    for n in 0..2 {
        let answer = house.pay(&good(&format!("rate-{n}"))).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    }
    is_refused(&house.pay(&good("rate-2")).await, "TOO_MANY_REQUESTS", "1");
    clock.advance(1_000);
    assert_eq!(house.pay(&good("rate-2")).await.status, StatusCode::ACCEPTED);
}
