//! One external id, one withdrawal: whatever is sent again, and however it is written.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use portcullis_core::asset::Asset;
use serde_json::{Value, json};

use crate::house::{Answer, House, KEY, LIVE, PAYEE, good, request};

async fn pay_with_key(house: &House, key: &str, body: &Value) -> Answer {
    let builder = request(Method::POST, "/v1/withdrawals", KEY)
        .header("content-type", "application/json")
        .header("idempotency-key", key);
    house.send(builder.body(Body::from(body.to_string())).expect("a request")).await
}

#[tokio::test]
async fn an_accepted_withdrawal_shows_everything() {
    let house = House::open().await;
    let mut body = good("order-1");
    body["amount"] = json!("12.50");
    body["priority"] = json!("vip");
    body["metadata"] = json!({"user": 7, "tags": ["a"]});
    body["to_address"] = json!(PAYEE.to_lowercase());
    let answer = house.pay(&body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let view = &answer.body;
    let token = house.token.to_checksum(None);
    for (field, expected) in [
        ("external_id", json!("order-1")),
        ("account_id", json!("alice")),
        ("network", json!(LIVE)),
        ("asset", json!("USDC")),
        ("token_address", json!(token)),
        ("amount", json!("12.5")),
        ("amount_atomic", json!("12500000")),
        ("decimals", json!(6)),
        ("to_address", json!(PAYEE)),
        ("priority", json!("vip")),
        ("status", json!("PENDING")),
        ("reason", Value::Null),
        ("final", json!(false)),
        ("block", Value::Null),
        ("metadata", json!({"user": 7, "tags": ["a"]})),
        ("attempts", json!([])),
        ("created_at", json!("2026-11-20T16:00:00.000Z")),
    ] {
        assert_eq!(view[field], expected, "{field}");
    }
    assert_eq!(view["timeline"][0]["event"], "accepted");
    assert_eq!(view["timeline"][0]["sequence"], 1);
    assert_eq!(house.available("alice").await, "4987.5");
    assert_eq!(house.accepted_rings.load(Ordering::SeqCst), 1);
    let id = view["id"].as_str().expect("an id");
    assert_eq!(&house.get(&format!("/v1/withdrawals/{id}")).await.body, view);
    let by_external_id = house.get("/v1/withdrawals?external_id=order-1").await;
    assert_eq!(
        by_external_id.body,
        json!({"data": [view], "has_more": false, "next_cursor": null})
    );
}

#[tokio::test]
async fn the_same_request_returns_the_same_withdrawal() {
    let house = House::open().await;
    let mut body = good("order-2");
    body["metadata"] = json!({"a": 1, "b": {"c": 2}});
    let first = house.pay(&body).await;
    assert_eq!(first.status, StatusCode::ACCEPTED);
    assert_eq!(first.header("idempotent-replayed"), None);
    let token = house.token.to_checksum(None);
    let spellings = [
        body.to_string(),
        format!(
            r#"{{"metadata":{{"b":{{"c":2}},"a":1}},"amount":"10.000000","to_address":"{}",
            "priority":"standard","token_address":"{token}","network":"{LIVE}",
            "account_id":"alice","external_id":"order-2"}}"#,
            PAYEE.to_lowercase()
        ),
    ];
    for spelling in spellings {
        let again = house.post_text("/v1/withdrawals", spelling).await;
        assert_eq!(again.status, StatusCode::OK, "{}", again.text);
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(again.body, first.body);
    }
    assert_eq!(house.available("alice").await, "4990", "reserved once");
    assert_eq!(house.accepted_rings.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn another_request_under_the_same_id_is_a_conflict() {
    let house = House::open().await;
    house.deposit("bob", "USDC", "100").await;
    let first = house.pay(&good("order-3")).await;
    let id = first.body["id"].as_str().expect("an id");
    let before = house.written().await;
    for (field, value) in [
        ("amount", json!("11")),
        ("account_id", json!("bob")),
        ("to_address", json!("0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359")),
        ("priority", json!("urgent")),
        ("metadata", json!({"note": "new"})),
    ] {
        let mut body = good("order-3");
        body[field] = value;
        let answer = house.pay(&body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (409, "EXTERNAL_ID_CONFLICT"),
            "{field}"
        );
        assert_eq!(answer.fields()[0].0, "external_id");
        assert!(answer.text.contains(id), "{}", answer.text);
    }
    assert_eq!(house.written().await, before);
}

#[tokio::test]
async fn the_header_is_the_other_form_of_the_external_id() {
    let house = House::open().await;
    let mut without = good("unused");
    without.as_object_mut().expect("an object").remove("external_id");
    let first = pay_with_key(&house, "order-4", &without).await;
    assert_eq!(first.status, StatusCode::ACCEPTED, "{}", first.text);
    assert_eq!(first.body["external_id"], "order-4");
    for again in [
        pay_with_key(&house, "order-4", &without).await,
        pay_with_key(&house, "order-4", &good("order-4")).await,
        house.pay(&good("order-4")).await,
    ] {
        assert_eq!(again.status, StatusCode::OK);
        assert_eq!(again.body["id"], first.body["id"]);
    }
    let differs = pay_with_key(&house, "order-4", &good("order-5")).await;
    assert_eq!((differs.status.as_u16(), differs.code()), (422, "IDEMPOTENCY_KEY_MISMATCH"));
    let bad = pay_with_key(&house, "order 4", &without).await;
    assert_eq!((bad.status.as_u16(), bad.code()), (422, "INVALID_EXTERNAL_ID"));
    assert_eq!(bad.fields()[0].0, "idempotency-key");
}

#[tokio::test]
async fn a_retry_finds_its_withdrawal_after_settings_changed() {
    let house = House::open().await;
    let own_later = portcullis_testkit::dev_key(5).address.to_checksum(None);
    let mut body = good("order-6");
    body["to_address"] = json!(own_later);
    let first = house.pay(&body).await;
    assert_eq!(first.status, StatusCode::ACCEPTED, "{}", first.text);
    let sender = portcullis_testkit::dev_key(5).address;
    house.store.register_senders(31_337, &[(sender, 0)]).await.expect("registers");
    house.clock.advance(1_000);
    let again = house.pay(&body).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text);
    assert_eq!(again.body["id"], first.body["id"]);
    body["external_id"] = json!("order-7");
    assert_eq!(house.pay(&body).await.code(), "ADDRESS_OWN");
}

#[tokio::test]
async fn concurrent_copies_of_one_request_make_one_withdrawal() {
    let house = House::open().await;
    let body = good("order-8");
    let answers = futures::future::join_all((0..20).map(|_| house.pay(&body))).await;
    let accepted = answers.iter().filter(|answer| answer.status == StatusCode::ACCEPTED).count();
    assert_eq!(accepted, 1);
    assert!(answers.iter().all(|answer| answer.body["id"] == answers[0].body["id"]));
    assert_eq!(house.available("alice").await, "4990");
}

#[tokio::test]
async fn an_account_is_never_overdrawn_by_concurrent_requests() {
    let house = House::open().await;
    house.deposit("bob", "USDC", "95").await;
    let bodies: Vec<Value> = (0..20)
        .map(|index| {
            let mut body = good(&format!("race-{index}"));
            body["account_id"] = json!("bob");
            body
        })
        .collect();
    let answers = futures::future::join_all(bodies.iter().map(|body| house.pay(body))).await;
    let accepted = answers.iter().filter(|answer| answer.status == StatusCode::ACCEPTED).count();
    let refused = answers.iter().filter(|answer| answer.code() == "INSUFFICIENT_BALANCE").count();
    assert_eq!((accepted, refused), (9, 11));
    assert_eq!(house.available("bob").await, "5");
}

#[tokio::test]
async fn deposits_are_credited_once() {
    let house = House::open().await;
    let body = json!({"external_id": "in-1", "network": LIVE, "asset": "POL", "amount": "2.5"});
    let path = "/v1/accounts/carol/deposits";
    let first = house.post(path, &body).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
    assert_eq!(first.body["amount_atomic"], "2500000000000000000");
    assert!(first.body["id"].as_str().is_some_and(|id| id.starts_with("dp_")));
    let again = house.post(path, &body).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.body, first.body);
    let mut other = body.clone();
    other["amount"] = json!("2.6");
    assert_eq!(house.post(path, &other).await.code(), "EXTERNAL_ID_CONFLICT");
    let elsewhere = house.post("/v1/accounts/dave/deposits", &body).await;
    assert_eq!((elsewhere.status.as_u16(), elsewhere.code()), (409, "EXTERNAL_ID_CONFLICT"));
    let account = house.get("/v1/accounts/carol").await.body;
    assert_eq!(account["balances"][0]["available"], "2.5");
    assert_eq!(account["balances"][0]["deposited_atomic"], "2500000000000000000");
    assert_eq!(account["balances"][0]["asset"], "POL");
    assert_eq!(house.get("/v1/accounts/dave").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_asset_is_known_as_soon_as_it_is_registered() {
    let house = House::open().await;
    let networks = house.get("/v1/networks").await;
    assert_eq!(networks.status, StatusCode::OK, "the picture of the assets is cached now");
    let asset = Asset {
        id: portcullis_core::id::AssetId::from_bytes([8; 16]),
        chain_id: 31_337,
        symbol: "NEW".to_owned(),
        token: Some(alloy_primitives::Address::repeat_byte(0x22)),
        decimals: 2,
        amount_min: portcullis_core::amount::Amount::ZERO,
        amount_max: portcullis_core::amount::Amount::from_atomic(alloy_primitives::U256::MAX),
        daily_max: None,
        enabled: true,
    };
    house.store.register_asset(&house.keys, &asset, "test").await.expect("registers");
    house.deposit("alice", "NEW", "0.01").await;
}
