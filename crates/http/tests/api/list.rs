//! The list: filters, pages, cursors.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::house::{DEAD, House, LIVE, PAYEE, good};

async fn three_pages(house: &House) {
    for index in 0..25 {
        let mut body = good(&format!("l-{index:02}"));
        if index % 5 == 0 {
            body["priority"] = json!("urgent");
        }
        assert_eq!(house.pay(&body).await.status, StatusCode::ACCEPTED);
        house.clock.advance(1_000);
    }
}

fn ids(body: &Value) -> Vec<String> {
    let data = body["data"].as_array().expect("a list");
    data.iter().map(|item| item["external_id"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn pages_hold_everything_once_newest_first() {
    let house = House::open().await;
    three_pages(&house).await;
    let mut seen = Vec::new();
    let mut path = "/v1/withdrawals?limit=10".to_owned();
    let mut pages = 0;
    loop {
        let page = house.get(&path).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        seen.extend(ids(&page.body));
        pages += 1;
        let Some(cursor) = page.body["next_cursor"].as_str() else {
            assert_eq!(page.body["has_more"], false);
            break;
        };
        assert_eq!(page.body["has_more"], true);
        // What arrives between two pages does not move them.
        house.pay(&good(&format!("between-{pages}"))).await;
        path = format!("/v1/withdrawals?limit=10&cursor={cursor}");
    }
    let expected: Vec<String> = (0..25).rev().map(|index| format!("l-{index:02}")).collect();
    assert_eq!((pages, seen), (3, expected));
    assert_eq!(ids(&house.get("/v1/withdrawals").await.body).len(), 20, "the default");
}

#[tokio::test]
async fn filters_narrow_the_list() {
    let house = House::open().await;
    three_pages(&house).await;
    let all = 25;
    let to = PAYEE.to_lowercase();
    for (query, count) in [
        ("account_id=alice".to_owned(), all),
        ("account_id=bob".to_owned(), 0),
        ("status=PENDING".to_owned(), all),
        ("status=CONFIRMED".to_owned(), 0),
        (format!("network={LIVE}"), all),
        (format!("network={DEAD}"), 0),
        ("asset=USDC".to_owned(), all),
        (format!("asset=POL&network={LIVE}"), 0),
        (format!("to_address={to}"), all),
        ("priority=urgent".to_owned(), 5),
        ("created_from=2026-11-20T16:00:20Z".to_owned(), 5),
        ("created_to=2026-11-20T16:00:20Z".to_owned(), 20),
        ("created_from=2026-11-21T01:00:20%2B09:00&created_to=2026-11-20T16:00:22Z".to_owned(), 2),
        ("external_id=l-07".to_owned(), 1),
        ("external_id=l-99".to_owned(), 0),
    ] {
        let answer = house.get(&format!("/v1/withdrawals?limit=100&{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text);
        assert_eq!(ids(&answer.body).len(), count, "{query}");
    }
}

#[tokio::test]
async fn filters_that_make_no_sense_are_refused() {
    let house = House::open().await;
    for (query, status, field, code) in [
        ("limit=0", 400, "limit", "INVALID_PARAMETER"),
        ("limit=101", 400, "limit", "INVALID_PARAMETER"),
        ("limit=ten", 400, "limit", "INVALID_PARAMETER"),
        ("limit=5&limit=6", 400, "limit", "INVALID_PARAMETER"),
        ("status=pending", 400, "status", "INVALID_PARAMETER"),
        ("priority=high", 400, "priority", "INVALID_PARAMETER"),
        ("created_from=yesterday", 400, "created_from", "INVALID_PARAMETER"),
        ("created_to=2026-02-30T00:00:00Z", 400, "created_to", "INVALID_PARAMETER"),
        ("cursor=abc", 400, "cursor", "INVALID_CURSOR"),
        ("network=mars", 422, "network", "UNKNOWN_NETWORK"),
        ("asset=XYZ", 422, "asset", "UNKNOWN_ASSET"),
        ("asset=POL", 400, "asset", "INVALID_PARAMETER"),
        ("to_address=0x1", 422, "to_address", "ADDRESS_MALFORMED"),
        ("account_id=a%20b", 422, "account_id", "INVALID_ACCOUNT_ID"),
        ("external_id=a%20b", 422, "external_id", "INVALID_EXTERNAL_ID"),
        ("external_id=%FF", 422, "external_id", "INVALID_EXTERNAL_ID"),
        ("external_id=a&status=PENDING", 400, "external_id", "INVALID_PARAMETER"),
        ("stauts=PENDING", 400, "stauts", "UNKNOWN_PARAMETER"),
    ] {
        let answer = house.get(&format!("/v1/withdrawals?{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (status, code), "{query}");
        assert_eq!(answer.fields()[0].0, field, "{query}");
    }
    let answer = house.get("/v1/withdrawals?limit=0&cursor=abc").await;
    assert_eq!(answer.code(), "VALIDATION_FAILED");
    assert_eq!(answer.fields().len(), 2);
}

/// A script whose variable is empty asks for one withdrawal and must not be shown all of them.
#[tokio::test]
async fn an_empty_filter_is_refused_by_name() {
    let house = House::open().await;
    for name in [
        "external_id",
        "account_id",
        "status",
        "network",
        "asset",
        "to_address",
        "priority",
        "created_from",
        "created_to",
        "limit",
        "cursor",
    ] {
        let answer = house.get(&format!("/v1/withdrawals?{name}=")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name}: {}", answer.text);
        let expected = vec![(name.to_owned(), "INVALID_PARAMETER".to_owned())];
        assert_eq!(answer.fields(), expected, "{}", answer.text);
    }
}
