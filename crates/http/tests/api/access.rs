//! Keys, scopes, tenants, request ids, and the envelope of everything that is not there.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};

use crate::house::{House, KEY, READER, REVOKED, STRANGER, good, request};

#[tokio::test]
async fn without_a_valid_key_nothing_is_told() {
    let house = House::open().await;
    let before = house.written().await;
    let cases = [
        (None, "MISSING_API_KEY"),
        (Some("Basic YWxpY2U6c2VjcmV0".to_owned()), "MISSING_API_KEY"),
        (Some("Bearer".to_owned()), "MISSING_API_KEY"),
        (Some("Bearer  ".to_owned()), "MISSING_API_KEY"),
        (Some("Bearer pk_live_wrong".to_owned()), "INVALID_API_KEY"),
        (Some(format!("Bearer {}", &KEY[..KEY.len() - 1])), "INVALID_API_KEY"),
        (Some(format!("Bearer {}", "x".repeat(5_000))), "INVALID_API_KEY"),
    ];
    for (header, code) in cases {
        for (method, path) in [
            (Method::POST, "/v1/withdrawals"),
            (Method::POST, "/v1/withdrawals/batch"),
            (Method::GET, "/v1/withdrawals"),
            (Method::GET, "/v1/withdrawals/wd_00000000000000000000000000"),
            (Method::POST, "/v1/withdrawals/wd_00000000000000000000000000/cancel"),
            (Method::POST, "/v1/fee-estimates"),
            (Method::POST, "/v1/accounts/alice/deposits"),
            (Method::GET, "/v1/accounts/alice"),
            (Method::GET, "/v1/networks"),
        ] {
            let mut builder = Request::builder().method(method).uri(path);
            builder = builder.header("content-type", "application/json");
            if let Some(header) = &header {
                builder = builder.header("authorization", header);
            }
            let body = Body::from(good("a-1").to_string());
            let answer = house.send(builder.body(body).expect("a request")).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
            assert_eq!(answer.code(), code, "{path}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    assert_eq!(house.written().await, before);
}

#[tokio::test]
async fn a_key_does_only_what_its_scopes_allow() {
    let house = House::open().await;
    let before = house.written().await;
    let forbidden = [
        (Method::POST, "/v1/withdrawals"),
        (Method::POST, "/v1/withdrawals/batch"),
        (Method::POST, "/v1/withdrawals/wd_00000000000000000000000000/cancel"),
        (Method::POST, "/v1/accounts/alice/deposits"),
        (Method::GET, "/v1/accounts/alice"),
    ];
    for (method, path) in forbidden {
        let builder = request(method, path, READER).header("content-type", "application/json");
        let body = Body::from(good("a-2").to_string());
        let answer = house.send(builder.body(body).expect("a request")).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (403, "MISSING_SCOPE"), "{path}");
    }
    for path in ["/v1/withdrawals", "/v1/networks"] {
        assert_eq!(house.read_with(path, READER).await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(house.written().await, before);
}

#[tokio::test]
async fn a_revoked_key_stops_working_within_a_second() {
    let house = House::open().await;
    assert_eq!(house.read_with("/v1/networks", REVOKED).await.status, StatusCode::OK);
    let revoked = house.store.revoke_api_key(&house.keys, house.revoked_id, "test").await;
    assert!(revoked.expect("revokes"));
    house.clock.advance(1_000);
    let answer = house.read_with("/v1/networks", REVOKED).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (401, "REVOKED_API_KEY"));
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let house = House::open().await;
    let id = house.pay(&good("mine-1")).await.body["id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/withdrawals/{id}");
    assert_eq!(house.get(&path).await.status, StatusCode::OK);
    let answer = house.read_with(&path, STRANGER).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (404, "WITHDRAWAL_NOT_FOUND"));
    for path in ["/v1/withdrawals", "/v1/withdrawals?external_id=mine-1"] {
        let list = house.read_with(path, STRANGER).await;
        assert_eq!(list.body["data"], serde_json::json!([]), "{path}");
    }
    let cancel = request(Method::POST, &format!("{path}/cancel"), STRANGER);
    let answer = house.send(cancel.body(Body::empty()).expect("a request")).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (404, "WITHDRAWAL_NOT_FOUND"));
    let answer = house.read_with("/v1/accounts/alice", STRANGER).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (404, "ACCOUNT_NOT_FOUND"));
    // The same external id is free for another tenant, whose Alice has no money.
    let body = Body::from(good("mine-1").to_string());
    let builder = request(Method::POST, "/v1/withdrawals", STRANGER);
    let builder = builder.header("content-type", "application/json");
    let answer = house.send(builder.body(body).expect("a request")).await;
    assert_eq!(answer.code(), "UNKNOWN_ACCOUNT");
    assert_eq!(house.get(&path).await.body["status"], "PENDING");
}

#[tokio::test]
async fn what_is_not_there_has_the_same_envelope() {
    let house = House::open().await;
    let cases = [
        (Method::GET, "/v1/nothing", 404, "ROUTE_NOT_FOUND"),
        (Method::GET, "/", 404, "ROUTE_NOT_FOUND"),
        (Method::GET, "/docs/nothing.js", 404, "ROUTE_NOT_FOUND"),
        (Method::DELETE, "/v1/withdrawals", 405, "METHOD_NOT_ALLOWED"),
        (Method::PUT, "/v1/networks", 405, "METHOD_NOT_ALLOWED"),
        (Method::GET, "/v1/fee-estimates", 405, "METHOD_NOT_ALLOWED"),
    ];
    for (method, path, status, code) in cases {
        let builder = request(method, path, KEY).header("x-request-id", "trace-7");
        let answer = house.send(builder.body(Body::empty()).expect("a request")).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (status, code), "{path}");
        let error = &answer.body["error"];
        assert_eq!(error["request_id"], "trace-7", "{path}");
        assert_eq!(error["retryable"], false);
        assert_eq!(error["fields"], serde_json::json!([]));
        let doc_url = format!("https://docs.example/errors.md#{}", code.to_lowercase());
        assert_eq!(error["doc_url"], doc_url);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.headers.contains_key("allow"), status == 405, "{path}");
    }
}

#[tokio::test]
async fn a_request_id_is_echoed_when_it_is_safe() {
    let house = House::open().await;
    let long = "x".repeat(129);
    for (given, is_kept) in
        [("req-1/a.b", true), ("has space", false), ("a\"b", false), ("", false), (&long, false)]
    {
        let builder = request(Method::GET, "/livez", KEY).header("x-request-id", given);
        let answer = house.send(builder.body(Body::empty()).expect("a request")).await;
        let id = answer.header("x-request-id").expect("every answer has one");
        assert_eq!(id == given, is_kept, "{given:?} became {id:?}");
        assert!(is_kept || (id.starts_with("req_") && id.len() == 36), "{id}");
    }
}

#[tokio::test]
async fn bad_ids_are_told_from_missing_ones() {
    let house = House::open().await;
    for id in ["wd_1", "1", "tn_00000000000000000000000000", "%FF", "wd_UUUUUUUUUUUUUUUUUUUUUUUUUU"]
    {
        let answer = house.get(&format!("/v1/withdrawals/{id}")).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "INVALID_ID"), "{id}");
        assert_eq!(answer.fields()[0].0, "id");
    }
    let answer = house.get("/v1/withdrawals/wd_00000000000000000000000000").await;
    assert_eq!((answer.status.as_u16(), answer.code()), (404, "WITHDRAWAL_NOT_FOUND"));
    let answer = house.get("/v1/accounts/nobody").await;
    assert_eq!((answer.status.as_u16(), answer.code()), (404, "ACCOUNT_NOT_FOUND"));
}
