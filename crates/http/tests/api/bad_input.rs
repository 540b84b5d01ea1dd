//! What bad input gets: a 4xx with its own code, the field named, nothing written.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use futures::StreamExt;
use portcullis_http::ApiLimits;
use serde_json::{Value, json};

use crate::house::{DEAD, House, KEY, LIVE, good, request};

/// A body that differs from a good one in these fields; `null` removes a field.
fn with(changes: &Value) -> Value {
    let mut body = good("bad-1");
    for (name, value) in changes.as_object().expect("changes are an object") {
        if value.is_null() {
            body.as_object_mut().expect("an object").remove(name);
        } else {
            body[name] = value.clone();
        }
    }
    body
}

async fn each_is_refused(house: &House, cases: Vec<(Value, &str, &str)>) {
    let before = house.written().await;
    for (changes, field, code) in cases {
        let answer = house.pay(&with(&changes)).await;
        let case = format!("{changes} → {}", answer.text);
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{case}");
        assert_eq!(answer.code(), code, "{case}");
        assert_eq!(answer.fields(), [(field.to_owned(), code.to_owned())], "{case}");
        assert_eq!(answer.body["error"]["retryable"], false, "{case}");
    }
    assert_eq!(house.written().await, before);
}

#[tokio::test]
async fn each_bad_name_has_its_code_and_writes_nothing() {
    let house = House::open().await;
    let token = house.token.to_checksum(None);
    let own = house.sender.to_checksum(None);
    let long = "x".repeat(256);
    let cases = [
        (json!({"external_id": null}), "external_id", "MISSING_FIELD"),
        (json!({"external_id": 7}), "external_id", "WRONG_TYPE"),
        (json!({"external_id": ""}), "external_id", "INVALID_EXTERNAL_ID"),
        (json!({"external_id": "a b"}), "external_id", "INVALID_EXTERNAL_ID"),
        (json!({"external_id": "주문"}), "external_id", "INVALID_EXTERNAL_ID"),
        (json!({ "external_id": long }), "external_id", "INVALID_EXTERNAL_ID"),
        (json!({"account_id": null}), "account_id", "MISSING_FIELD"),
        (json!({"account_id": ["alice"]}), "account_id", "WRONG_TYPE"),
        (json!({"account_id": "al ice"}), "account_id", "INVALID_ACCOUNT_ID"),
        (json!({"account_id": "nobody"}), "account_id", "UNKNOWN_ACCOUNT"),
        (json!({"network": null}), "network", "MISSING_FIELD"),
        (json!({"network": "mars"}), "network", "UNKNOWN_NETWORK"),
        (json!({"network": "polygon"}), "network", "UNKNOWN_NETWORK"),
        (json!({"network": DEAD}), "asset", "UNKNOWN_ASSET"),
        (json!({"asset": null}), "asset", "MISSING_FIELD"),
        (json!({"asset": true}), "asset", "WRONG_TYPE"),
        (json!({"asset": "usdc"}), "asset", "UNKNOWN_ASSET"),
        (json!({"asset": "OFF"}), "asset", "ASSET_DISABLED"),
        (json!({"asset": "POL", "token_address": token}), "token_address", "ASSET_MISMATCH"),
        (json!({"token_address": own}), "token_address", "ASSET_MISMATCH"),
        (json!({"asset": null, "token_address": own}), "token_address", "UNKNOWN_ASSET"),
        (json!({"token_address": "0x12"}), "token_address", "ADDRESS_MALFORMED"),
        (json!({"token_address": 12}), "token_address", "WRONG_TYPE"),
    ];
    each_is_refused(&house, cases.into()).await;
}

#[tokio::test]
async fn each_bad_amount_and_destination_has_its_code_and_writes_nothing() {
    let house = House::open().await;
    let token = house.token.to_checksum(None);
    let own = house.sender.to_checksum(None);
    let above = format!("1{}", "0".repeat(78));
    let large = json!({"note": "x".repeat(4_096)});
    let cases = [
        (json!({"amount": null}), "amount", "MISSING_FIELD"),
        (json!({"amount": 10}), "amount", "AMOUNT_NOT_TEXT"),
        (json!({"amount": 1.5}), "amount", "AMOUNT_NOT_TEXT"),
        (json!({"amount": {}}), "amount", "WRONG_TYPE"),
        (json!({"amount": ""}), "amount", "AMOUNT_MALFORMED"),
        (json!({"amount": "ten"}), "amount", "AMOUNT_MALFORMED"),
        (json!({"amount": "1,000"}), "amount", "AMOUNT_MALFORMED"),
        (json!({"amount": "-10"}), "amount", "AMOUNT_NEGATIVE"),
        (json!({"amount": "0"}), "amount", "AMOUNT_ZERO"),
        (json!({"amount": "0.000"}), "amount", "AMOUNT_ZERO"),
        (json!({"amount": "1e3"}), "amount", "AMOUNT_EXPONENT"),
        (json!({"amount": "10.0000001"}), "amount", "AMOUNT_TOO_PRECISE"),
        (json!({ "amount": above }), "amount", "AMOUNT_TOO_LARGE"),
        (json!({"amount": "0.999999"}), "amount", "AMOUNT_BELOW_MINIMUM"),
        (json!({"amount": "1000.000001"}), "amount", "AMOUNT_ABOVE_MAXIMUM"),
        (json!({"to_address": null}), "to_address", "MISSING_FIELD"),
        (
            json!({"to_address": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"}),
            "to_address",
            "ADDRESS_CHECKSUM",
        ),
        (json!({"to_address": "alice.eth"}), "to_address", "ADDRESS_MALFORMED"),
        (json!({"to_address": format!("0x{}", "0".repeat(40))}), "to_address", "ADDRESS_ZERO"),
        (json!({"to_address": format!("0x{:040x}", 0x1010)}), "to_address", "ADDRESS_PRECOMPILE"),
        (json!({ "to_address": token }), "to_address", "ADDRESS_TOKEN_CONTRACT"),
        (json!({ "to_address": own }), "to_address", "ADDRESS_OWN"),
        (json!({"priority": "asap"}), "priority", "INVALID_PRIORITY"),
        (json!({"priority": 1}), "priority", "WRONG_TYPE"),
        (json!({"metadata": "text"}), "metadata", "INVALID_METADATA"),
        (json!({"metadata": {"n": 1e30}}), "metadata", "INVALID_METADATA"),
        (json!({ "metadata": large }), "metadata", "METADATA_TOO_LARGE"),
        (json!({"amout": "10"}), "amout", "UNKNOWN_FIELD"),
    ];
    each_is_refused(&house, cases.into()).await;
}

#[tokio::test]
async fn a_balance_that_is_too_small_reserves_nothing() {
    let house = House::open().await;
    house.deposit("bob", "USDC", "20").await;
    let before = house.written().await;
    let mut body = good("bob-1");
    body["account_id"] = json!("bob");
    body["amount"] = json!("20.000001");
    let answer = house.pay(&body).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.code(), "INSUFFICIENT_BALANCE");
    assert_eq!(answer.fields()[0].0, "amount");
    assert!(answer.text.contains("20 USDC available"), "{}", answer.text);
    assert_eq!(house.available("bob").await, "20");
    assert_eq!(house.written().await, before);
    body["amount"] = json!("20");
    assert_eq!(house.pay(&body).await.status, StatusCode::ACCEPTED, "the id was not used up");
    assert_eq!(house.available("bob").await, "0");
}

#[tokio::test]
async fn every_problem_of_a_body_is_told_at_once() {
    let house = House::open().await;
    let body = json!({
        "external_id": "a b", "account_id": 7, "network": LIVE, "asset": "USDC",
        "amount": "-1", "to_address": "0x", "priority": "asap", "colour": "red",
    });
    let answer = house.pay(&body).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.code(), "VALIDATION_FAILED");
    let mut fields = answer.fields();
    fields.sort();
    let expected = [
        ("account_id", "WRONG_TYPE"),
        ("amount", "AMOUNT_NEGATIVE"),
        ("colour", "UNKNOWN_FIELD"),
        ("external_id", "INVALID_EXTERNAL_ID"),
        ("priority", "INVALID_PRIORITY"),
        ("to_address", "ADDRESS_MALFORMED"),
    ];
    assert_eq!(fields, expected.map(|(field, code)| (field.to_owned(), code.to_owned())));
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_400() {
    let house = House::open().await;
    let before = house.written().await;
    let twice = good("bad-2").to_string().replacen('{', r#"{"amount":"11","#, 1);
    let deep = format!(r#"{{"metadata":{}1{}}}"#, r#"{"a":"#.repeat(500), "}".repeat(500));
    for (body, code) in [
        (Vec::new(), "MALFORMED_JSON"),
        (b"{".to_vec(), "MALFORMED_JSON"),
        (b"{\"amount\":\"\xff\"}".to_vec(), "MALFORMED_JSON"),
        (b"{\"amount\":1e999999}".to_vec(), "MALFORMED_JSON"),
        (deep.into_bytes(), "MALFORMED_JSON"),
        (twice.into_bytes(), "DUPLICATE_FIELD"),
    ] {
        let shown = String::from_utf8_lossy(&body).chars().take(60).collect::<String>();
        let answer = house.post_text("/v1/withdrawals", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{shown}");
        assert_eq!(answer.code(), code, "{shown}");
    }
    let answer = house.post_text("/v1/withdrawals", "[]").await;
    assert_eq!((answer.status.as_u16(), answer.code()), (422, "WRONG_TYPE"));
    assert_eq!(house.written().await, before);
}

#[tokio::test]
async fn another_content_type_is_415() {
    let house = House::open().await;
    for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        let mut builder = request(Method::POST, "/v1/withdrawals", KEY);
        if let Some(content_type) = content_type {
            builder = builder.header("content-type", content_type);
        }
        let body = Body::from(good("bad-3").to_string());
        let answer = house.send(builder.body(body).expect("a request")).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type:?}");
        assert_eq!(answer.code(), "UNSUPPORTED_MEDIA_TYPE");
    }
    let builder = request(Method::POST, "/v1/withdrawals", KEY)
        .header("content-type", "Application/JSON; charset=utf-8");
    let body = Body::from(good("good-3").to_string());
    let answer = house.send(builder.body(body).expect("a request")).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn bodies_above_the_limit_are_413() {
    let house = House::open().await;
    let before = house.written().await;
    let padded = |bytes: usize| {
        let body = good("big-1").to_string();
        body + &" ".repeat(bytes)
    };
    let limit = 64 * 1_024;
    let exact = padded(limit - good("big-1").to_string().len());
    for path in ["/v1/withdrawals", "/v1/fee-estimates", "/v1/accounts/alice/deposits"] {
        let answer = house.post_text(path, padded(limit)).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{path}");
        assert_eq!(answer.code(), "BODY_TOO_LARGE", "{path}");
    }
    // Without a Content-Length the size shows only while reading.
    let chunk = axum::body::Bytes::from(vec![b' '; 16 * 1_024]);
    let chunks: Vec<Result<_, std::io::Error>> = (0..5).map(|_| Ok(chunk.clone())).collect();
    let stream = Body::from_stream(futures::stream::iter(chunks));
    let answer = house.post_text("/v1/withdrawals", stream).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let answer = house.post_text("/v1/withdrawals/batch", vec![b' '; 1_024 * 1_024 + 1]).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(house.written().await, before);
    assert_eq!(house.post_text("/v1/withdrawals", exact).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn deposits_are_checked_as_strictly() {
    let house = House::open().await;
    let before = house.written().await;
    let deposit = |changes: Value| {
        let mut body = json!({"external_id": "d", "network": LIVE, "asset": "USDC", "amount": "5"});
        for (name, value) in changes.as_object().expect("an object") {
            body[name] = value.clone();
        }
        body
    };
    for (changes, code) in [
        (json!({"amount": 5}), "AMOUNT_NOT_TEXT"),
        (json!({"amount": "0"}), "AMOUNT_ZERO"),
        (json!({"amount": "-5"}), "AMOUNT_NEGATIVE"),
        (json!({"amount": "0.0000001"}), "AMOUNT_TOO_PRECISE"),
        (json!({"asset": "XYZ"}), "UNKNOWN_ASSET"),
        (json!({"network": "mars"}), "UNKNOWN_NETWORK"),
        (json!({"external_id": null}), "MISSING_FIELD"),
        (json!({"to_address": "x"}), "UNKNOWN_FIELD"),
    ] {
        let answer = house.post("/v1/accounts/alice/deposits", &deposit(changes.clone())).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{changes}");
        assert_eq!(answer.code(), code, "{changes}");
    }
    for id in ["a%20b", "%FF", &"x".repeat(129)] {
        let path = format!("/v1/accounts/{id}/deposits");
        let answer = house.post(&path, &deposit(json!({}))).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "INVALID_ID"), "{id}");
        assert_eq!(answer.fields(), [("id".to_owned(), "INVALID_ID".to_owned())]);
    }
    assert_eq!(house.written().await, before);
}

#[tokio::test]
async fn a_balance_does_not_grow_beyond_256_bits() {
    let house = House::open().await;
    let most = portcullis_core::amount::Amount::from_atomic(alloy_primitives::U256::MAX);
    house.deposit("whale", "USDC", &most.to_decimal(6)).await;
    let body = json!({"external_id": "one-more", "network": LIVE, "asset": "USDC", "amount": "1"});
    let answer = house.post("/v1/accounts/whale/deposits", &body).await;
    assert_eq!(
        (answer.status.as_u16(), answer.code()),
        (422, "AMOUNT_TOO_LARGE"),
        "{}",
        answer.text
    );
    assert_eq!(house.available("whale").await, most.to_decimal(6));
}

/// A client that sends a body byte by byte holds no handler for ever.
#[tokio::test]
async fn a_body_that_does_not_end_is_408_and_writes_nothing() {
    let limits = ApiLimits { body_wait_ms: 20, ..ApiLimits::default() };
    let house = House::open_with(limits, None).await;
    let before = house.written().await;
    let first = futures::stream::iter([Ok::<_, std::io::Error>("{\"external_id\":")]);
    let body = Body::from_stream(first.chain(futures::stream::pending()));
    let answer = house.post_text("/v1/withdrawals", body).await;
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT, "{}", answer.text);
    assert_eq!(answer.code(), "REQUEST_TIMEOUT");
    assert_eq!(answer.body["error"]["retryable"], true);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(house.written().await, before);
}
