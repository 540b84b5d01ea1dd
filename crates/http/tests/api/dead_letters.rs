//! Dead letters over HTTP: for operators alone, and what is decided is written down.

use axum::http::StatusCode;
use portcullis_core::error_class::ErrorClass;
use portcullis_core::id::WithdrawalId;
use portcullis_store::dead_letter::{FailedRequest, LetterError};
use serde_json::{Value, json};

use crate::house::{House, KEY, OPERATOR, READER, good};

const LETTERS: &str = "/v1/internal/dead-letters";

/// A withdrawal that failed five times.
async fn with_letter(house: &House, external_id: &str, class: ErrorClass) -> String {
    let answer = house.pay(&good(external_id)).await;
    let id = answer.body["id"].as_str().expect("an id").to_owned();
    let withdrawal: WithdrawalId = id.parse().expect("an id");
    for _ in 0..5 {
        let error = LetterError {
            class,
            code: Some("refused_by_signer".into()),
            message: "above the cap".into(),
            details: None,
        };
        let retry_at = portcullis_core::time::Timestamp::from_millis(0);
        let failed = FailedRequest { withdrawal, error, retry_at, chance: 0 };
        house.store.fail_requests(&[failed]).await.expect("counts");
    }
    id
}

async fn decide(house: &House, letter: &Value, what: &str, body: &Value) -> crate::house::Answer {
    let path = format!("{LETTERS}/{}/{what}", letter["id"]);
    house.post_as(&path, body, OPERATOR).await
}

#[tokio::test]
async fn an_operator_lists_inspects_and_redrives() {
    let house = House::open().await;
    let id = with_letter(&house, "w-1", ErrorClass::InvalidTransaction).await;
    let list = house.read_with(LETTERS, OPERATOR).await;
    assert_eq!(list.status, StatusCode::OK, "{}", list.text);
    let letter = list.body["data"][0].clone();
    assert_eq!(letter["queue"], "request-dlq");
    assert_eq!(letter["subject"], id);
    assert_eq!(letter["originalMessage"]["external_id"], "w-1");
    assert_eq!(letter["error"]["type"], "INVALID_TRANSACTION");
    assert_eq!(letter["error"]["code"], "refused_by_signer");
    assert_eq!(letter["error"]["message"], "above the cap");
    assert_eq!(letter["meta"]["attemptCount"], 5);
    assert_eq!(letter["meta"]["timestamp"], "2026-11-20T16:00:00.000Z");
    assert_eq!((&letter["redrive_at"], &letter["end"]), (&Value::Null, &Value::Null));
    let one = house.read_with(&format!("{LETTERS}/{}", letter["id"]), OPERATOR).await;
    assert_eq!(one.body, letter);
    let ready = house.get("/readyz").await;
    assert_eq!(ready.body["status"], "degraded");
    assert!(ready.text.contains("request-dlq has 1 letters, 1 of them wait"), "{}", ready.text);
    let reason = json!({"reason": "the cap is raised"});
    let redriven = decide(&house, &letter, "redrive", &reason).await;
    assert_eq!(redriven.status, StatusCode::OK, "{}", redriven.text);
    assert_eq!(redriven.body["end"]["how"], "redriven");
    assert_eq!(redriven.body["end"]["reason"], "the cap is raised");
    let again = decide(&house, &letter, "redrive", &reason).await;
    assert_eq!((again.status.as_u16(), again.code()), (409, "DEAD_LETTER_ENDED"));
    let open = house.read_with(LETTERS, OPERATOR).await;
    assert_eq!(open.body["data"], json!([]));
    let all =
        house.read_with(&format!("{LETTERS}?include_ended=true&queue=request-dlq"), OPERATOR).await;
    assert_eq!(all.body["data"][0]["id"], letter["id"]);
    assert_eq!(house.get("/readyz").await.body["status"], "ready");
}

#[tokio::test]
async fn a_discarded_letter_holds_the_withdrawal_and_refunds_nothing() {
    let house = House::open().await;
    let id = with_letter(&house, "w-1", ErrorClass::Unknown).await;
    let letter = house.read_with(LETTERS, OPERATOR).await.body["data"][0].clone();
    for body in [json!({}), json!({"reason": "  "}), json!({"reason": "x", "more": 1})] {
        let refused = decide(&house, &letter, "discard", &body).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
    }
    let discarded = decide(&house, &letter, "discard", &json!({"reason": "ticket 881"})).await;
    assert_eq!(discarded.status, StatusCode::OK, "{}", discarded.text);
    let view = house.get(&format!("/v1/withdrawals/{id}")).await.body;
    assert_eq!((&view["status"], &view["reason"]), (&json!("HELD"), &json!("failing")));
    assert_eq!(house.available("alice").await, "4990", "nothing is refunded");
}

#[tokio::test]
async fn letters_are_no_business_of_clients() {
    let house = House::open().await;
    with_letter(&house, "w-1", ErrorClass::Unknown).await;
    for key in [KEY, READER] {
        for path in [LETTERS.to_owned(), format!("{LETTERS}/1")] {
            let refused = house.read_with(&path, key).await;
            assert_eq!((refused.status.as_u16(), refused.code()), (403, "MISSING_SCOPE"));
        }
        for what in ["redrive", "discard"] {
            let path = format!("{LETTERS}/1/{what}");
            let refused = house.post_as(&path, &json!({"reason": "x"}), key).await;
            assert_eq!((refused.status.as_u16(), refused.code()), (403, "MISSING_SCOPE"));
        }
    }
    let missing = house.read_with(&format!("{LETTERS}/99"), OPERATOR).await;
    assert_eq!((missing.status.as_u16(), missing.code()), (404, "DEAD_LETTER_NOT_FOUND"));
    let nonsense = house.read_with(&format!("{LETTERS}/x"), OPERATOR).await;
    assert_eq!((nonsense.status.as_u16(), nonsense.code()), (400, "INVALID_ID"));
    let bad = house.read_with(&format!("{LETTERS}?queue=other"), OPERATOR).await;
    assert_eq!((bad.status.as_u16(), bad.code()), (400, "INVALID_PARAMETER"));
}
