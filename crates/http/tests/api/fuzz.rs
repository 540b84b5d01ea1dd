//! No body makes the API panic, answer 500, or write anything that was not accepted.

use axum::http::StatusCode;
use proptest::prelude::*;
use serde_json::{Map, Value};

use crate::house::{House, good};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        "-?[0-9]{0,90}(\\.[0-9]{0,30})?(e-?[0-9]{1,9})?".prop_map(Value::from),
        "0x[0-9a-fA-F]{38,42}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".{0,12}", inner, 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A good body of which any fields are replaced by anything.
fn any_body() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "external_id",
        "account_id",
        "network",
        "asset",
        "token_address",
        "amount",
        "to_address",
        "priority",
        "metadata",
        "unknown",
    ]);
    prop::collection::vec((names, any_json()), 1..4).prop_map(|changes| {
        let mut body = good("fuzz");
        for (name, value) in changes {
            body[name] = value;
        }
        body
    })
}

async fn check(house: &House, path: &str, text: Vec<u8>) -> Result<(), TestCaseError> {
    let before = house.written().await;
    let shown = String::from_utf8_lossy(&text).into_owned();
    let answer = house.post_text(path, text).await;
    prop_assert!(!answer.status.is_server_error(), "{} for {}", answer.text, shown);
    if answer.status.is_client_error() {
        prop_assert!(!answer.code().is_empty(), "{}", answer.text);
        prop_assert_eq!(house.written().await, before, "{}", shown);
    }
    Ok(())
}

fn run(cases: u32, strategy: impl Strategy<Value = (&'static str, Vec<u8>)>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let house = runtime.block_on(House::open());
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let outcome = runner.run(&strategy, |(path, text)| runtime.block_on(check(&house, path, text)));
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

fn any_path() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "/v1/withdrawals",
        "/v1/withdrawals/batch",
        "/v1/fee-estimates",
        "/v1/accounts/alice/deposits",
    ])
}

#[test]
fn almost_good_bodies_never_break_it() {
    run(400, any_body().prop_map(|body| ("/v1/withdrawals", body.to_string().into_bytes())));
}

#[test]
fn almost_good_batches_never_break_it() {
    let batches = prop::collection::vec(any_body(), 0..4);
    run(
        150,
        batches.prop_map(|items| {
            let body = serde_json::json!({ "withdrawals": items });
            ("/v1/withdrawals/batch", body.to_string().into_bytes())
        }),
    );
}

#[test]
fn any_json_never_breaks_it() {
    let texts = any_json().prop_map(|body| body.to_string().into_bytes());
    run(250, (any_path(), texts));
}

#[test]
fn any_bytes_never_break_it() {
    run(250, (any_path(), prop::collection::vec(any::<u8>(), 0..200)));
}

#[test]
fn any_query_is_answered() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let house = runtime.block_on(House::open());
    let config =
        ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let query =
        "((limit|cursor|status|external_id|created_from|asset|to_address|x)=[!-~]{0,30}&?){0,3}";
    let outcome = runner.run(&query, |query| {
        let query = query.replace(['#', '"', '<', '>', '`', '{', '}', '\\', '^', '|', ' '], "%");
        let answer = runtime.block_on(house.get(&format!("/v1/withdrawals?{query}")));
        prop_assert!(answer.status == StatusCode::OK || answer.status.is_client_error(), "{query}");
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
