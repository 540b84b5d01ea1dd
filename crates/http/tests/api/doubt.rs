//! Commits whose answer does not come: nobody knows, the answer says so, and a retry finds out.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use portcullis_core::effect::{EffectGate, EffectPoint};
use portcullis_http::ApiLimits;
use serde_json::json;

use crate::house::{Answer, House, LIVE, good};

/// Holds every commit for ever, before or after it happened, while it is closed.
struct Barrier {
    is_closed: AtomicBool,
    after_the_commit: bool,
}

impl EffectGate for Barrier {
    fn pass(&self, point: EffectPoint) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let is_closed = self.is_closed.load(Ordering::SeqCst);
        if is_closed && point.happened == self.after_the_commit {
            return Box::pin(std::future::pending());
        }
        Box::pin(std::future::ready(()))
    }
}

async fn house_behind_a_barrier(after_the_commit: bool) -> (House, Arc<Barrier>) {
    let barrier = Arc::new(Barrier { is_closed: AtomicBool::new(false), after_the_commit });
    let limits = ApiLimits { database_wait_ms: 300, ..ApiLimits::default() };
    let gate: Arc<dyn EffectGate> = Arc::clone(&barrier) as _;
    (House::open_with(limits, Some(gate)).await, barrier)
}

fn is_in_doubt(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
    assert_eq!(answer.code(), "OUTCOME_UNKNOWN");
    assert_eq!(answer.body["error"]["retryable"], true);
    assert!(answer.text.contains("may or may not"), "{}", answer.text);
}

fn is_unwritten(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
    assert_eq!(answer.code(), "DATABASE_UNAVAILABLE");
    assert_eq!(answer.body["error"]["retryable"], true);
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found_by_the_retry() {
    // What was given up before its transaction began is known not to be written.
    for (after_the_commit, retried) in [(true, StatusCode::OK), (false, StatusCode::ACCEPTED)] {
        let is_as_told = if after_the_commit { is_in_doubt } else { is_unwritten };
        let (house, barrier) = house_behind_a_barrier(after_the_commit).await;
        barrier.is_closed.store(true, Ordering::SeqCst);
        is_as_told(&house.pay(&good("doubt-1")).await);
        let batch = json!({"withdrawals": [good("doubt-2"), good("doubt-3")]});
        is_as_told(&house.post("/v1/withdrawals/batch", &batch).await);
        barrier.is_closed.store(false, Ordering::SeqCst);
        let again = house.pay(&good("doubt-1")).await;
        assert_eq!(again.status, retried, "{}", again.text);
        assert_eq!(house.post("/v1/withdrawals/batch", &batch).await.status, StatusCode::ACCEPTED);
        assert_eq!(house.available("alice").await, "4970", "each of the three is reserved once");
    }
}

#[tokio::test]
async fn deposits_and_cancels_in_doubt_are_settled_by_the_retry() {
    let (house, barrier) = house_behind_a_barrier(true).await;
    let id = house.pay(&good("doubt-4")).await.body["id"].as_str().expect("an id").to_owned();
    let deposit = json!({"external_id": "in-2", "network": LIVE, "asset": "USDC", "amount": "10"});
    let cancel = format!("/v1/withdrawals/{id}/cancel");
    barrier.is_closed.store(true, Ordering::SeqCst);
    is_in_doubt(&house.post("/v1/accounts/alice/deposits", &deposit).await);
    is_in_doubt(&house.post(&cancel, &json!({})).await);
    barrier.is_closed.store(false, Ordering::SeqCst);
    let again = house.post("/v1/accounts/alice/deposits", &deposit).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(house.post(&cancel, &json!({})).await.body["status"], "CANCELED");
    assert_eq!(house.available("alice").await, "5010");
}
