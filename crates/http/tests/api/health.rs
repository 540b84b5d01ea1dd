//! Liveness, readiness, health, metrics; and a database that is gone.

use axum::http::StatusCode;
use portcullis_http::Concern;
use serde_json::{Value, json};

use crate::house::{House, LIVE, drop_everything, good};

fn components(body: &Value) -> Vec<&str> {
    let concerns = body["concerns"].as_array().expect("a list");
    concerns.iter().map(|concern| concern["component"].as_str().unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_sound_process_is_ready() {
    let house = House::open().await;
    assert_eq!(house.get("/livez").await.body, json!({"status": "ok"}));
    let ready = house.get("/readyz").await;
    assert_eq!(ready.body, json!({"status": "ready", "concerns": []}), "{}", ready.text);
    house.clock.advance(90_500);
    let health = house.get("/health").await;
    assert_eq!(health.status, StatusCode::OK);
    assert_eq!(health.body["status"], "healthy");
    assert_eq!(health.body["uptime"], 90);
    assert_eq!(health.body["dbConnection"], true);
    assert_eq!(health.body["queueConnection"], true);
    let metrics = house.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(metrics.text.contains("up 1"), "{}", metrics.text);
}

#[tokio::test]
async fn readiness_names_what_is_wrong() {
    let house = House::open().await;
    house.store.raise_halt("foreign_use", "somebody else uses the key").await.expect("raises");
    house.transport.set_faults(drop_everything);
    for _ in 0..8 {
        house.post("/v1/fee-estimates", &json!({"network": LIVE, "asset": "USDC"})).await;
    }
    let ready = house.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::OK, "intake goes on: {}", ready.text);
    assert_eq!(ready.body["status"], "degraded");
    assert_eq!(components(&ready.body), ["halts", "providers"]);
    assert!(ready.text.contains("somebody else uses the key"), "{}", ready.text);
    assert!(ready.text.contains(LIVE), "{}", ready.text);
    assert!(ready.text.contains("no provider answers"), "{}", ready.text);
    assert!(ready.text.contains("provider sim, breaker open: unreachable since"), "{}", ready.text);
    assert_eq!(house.get("/health").await.body["status"], "degraded");
    house.concerns.lock().expect("no panic").push(Concern {
        component: "draining".to_owned(),
        is_blocking: true,
        detail: "the process is about to stop".to_owned(),
    });
    let ready = house.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.body["status"], "not_ready");
    assert_eq!(components(&ready.body), ["halts", "providers", "draining"]);
}

#[tokio::test]
async fn queues_that_do_not_answer_are_no_connection_and_payments_go_on() {
    let house = House::open().await;
    house.concerns.lock().expect("no panic").push(Concern {
        component: "queues".to_owned(),
        is_blocking: false,
        detail: "sends to tx-request: no route".to_owned(),
    });
    let health = house.get("/health").await;
    assert_eq!((health.status, &health.body["status"]), (StatusCode::OK, &json!("degraded")));
    assert_eq!(health.body["dbConnection"], true);
    assert_eq!(health.body["queueConnection"], false);
    let ready = house.get("/readyz").await;
    assert_eq!((ready.status, components(&ready.body)), (StatusCode::OK, vec!["queues"]));
}

#[tokio::test]
async fn without_a_database_everything_says_so_and_says_retry() {
    let house = House::open().await;
    assert_eq!(house.get("/v1/networks").await.status, StatusCode::OK);
    house.store.clone().close().await;
    let answers = [
        house.pay(&good("gone-1")).await,
        house.get("/v1/withdrawals").await,
        house.get("/v1/accounts/alice").await,
        house.post("/v1/withdrawals/batch", &json!({"withdrawals": [good("gone-2")]})).await,
    ];
    for answer in answers {
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
        assert_eq!(answer.code(), "DATABASE_UNAVAILABLE");
        assert_eq!(answer.body["error"]["retryable"], true);
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert_eq!(house.get("/livez").await.status, StatusCode::OK);
    let ready = house.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(components(&ready.body), ["database"]);
    let health = house.get("/health").await;
    assert_eq!(
        (health.status, &health.body["dbConnection"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!(false))
    );
    assert_eq!(house.get("/metrics").await.status, StatusCode::OK);
}
