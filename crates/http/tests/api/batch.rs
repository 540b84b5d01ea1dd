//! Batches: a result per item, each by the rules of a single request.

use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::house::{House, good};

const PATH: &str = "/v1/withdrawals/batch";

fn statuses(body: &Value) -> Vec<&str> {
    let data = body["data"].as_array().expect("a result per item");
    data.iter().map(|item| item["status"].as_str().unwrap_or_default()).collect()
}

#[tokio::test]
async fn each_item_has_a_result_of_its_own() {
    let house = House::open().await;
    house.deposit("bob", "USDC", "15").await;
    let known = house.pay(&good("known")).await;
    let mut other_body = good("first");
    other_body["amount"] = json!("11");
    let mut too_much = good("too-much");
    too_much["account_id"] = json!("bob");
    too_much["amount"] = json!("16");
    let mut zero = good("zero");
    zero["amount"] = json!("0");
    let mut unnamed = good("unnamed");
    unnamed.as_object_mut().expect("an object").remove("external_id");
    let items = json!([
        good("first"),
        good("first"),
        other_body,
        good("known"),
        too_much,
        zero,
        unnamed,
        7,
        good("last"),
    ]);
    let answer = house.post(PATH, &json!({ "withdrawals": items })).await;
    assert_eq!(answer.status, StatusCode::MULTI_STATUS, "{}", answer.text);
    let expected = [
        "accepted", "existing", "rejected", "existing", "rejected", "rejected", "rejected",
        "rejected", "accepted",
    ];
    assert_eq!(statuses(&answer.body), expected);
    let data = &answer.body["data"];
    assert_eq!(data[0]["withdrawal"]["id"], data[1]["withdrawal"]["id"]);
    assert_eq!(data[3]["withdrawal"], known.body);
    for (index, code, field) in [
        (2, "EXTERNAL_ID_CONFLICT", "external_id"),
        (4, "INSUFFICIENT_BALANCE", "amount"),
        (5, "AMOUNT_ZERO", "amount"),
        (6, "MISSING_FIELD", "external_id"),
        (7, "WRONG_TYPE", "withdrawals[7]"),
    ] {
        assert_eq!(data[index]["index"], index);
        assert_eq!(data[index]["error"]["code"], code, "{index}");
        assert_eq!(data[index]["error"]["fields"][0]["field"], field, "{index}");
        assert_eq!(data[index].get("withdrawal"), None);
    }
    assert_eq!(house.available("alice").await, "4970");
    assert_eq!(house.available("bob").await, "15");
    assert_eq!(house.accepted_rings.load(Ordering::SeqCst), 2, "one commit, one ring");
}

#[tokio::test]
async fn five_hundred_are_taken_and_one_more_is_not() {
    let house = House::open().await;
    let items: Vec<Value> = (0..501)
        .map(|index| {
            let mut body = good(&format!("bulk-{index}"));
            body["amount"] = json!("1");
            body
        })
        .collect();
    let before = house.written().await;
    let answer = house.post(PATH, &json!({ "withdrawals": items })).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (422, "BATCH_TOO_LARGE"));
    assert_eq!(house.written().await, before);
    let batch = json!({ "withdrawals": items[..500] });
    let answer = house.post(PATH, &batch).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(statuses(&answer.body), ["accepted"; 500]);
    assert_eq!(house.available("alice").await, "4500");
    let again = house.post(PATH, &batch).await;
    assert_eq!(again.status, StatusCode::ACCEPTED);
    assert_eq!(statuses(&again.body), ["existing"; 500]);
    assert_eq!(house.available("alice").await, "4500");
}

#[tokio::test]
async fn a_batch_of_another_shape_is_refused_whole() {
    let house = House::open().await;
    let before = house.written().await;
    for (body, code) in [
        (json!({}), "MISSING_FIELD"),
        (json!({"withdrawals": []}), "BATCH_EMPTY"),
        (json!({"withdrawals": {}}), "WRONG_TYPE"),
        (json!({"withdrawals": [good("b-1")], "dry_run": true}), "UNKNOWN_FIELD"),
    ] {
        let answer = house.post(PATH, &body).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (422, code), "{body}");
    }
    assert_eq!(house.written().await, before);
}
