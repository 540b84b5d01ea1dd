//! `admin dead-letter`: what operators see of failed work, and decide about it.

use std::sync::Arc;

use portcullis_core::error_class::ErrorClass;
use portcullis_core::id::WithdrawalId;
use portcullis_core::time::{Clock, Timestamp};
use portcullis_store::dead_letter::{FailedRequest, LetterError};
use portcullis_store::{Store, StoreOptions};
use serde_json::{Value, json};

use crate::administrate;
use crate::installation::{Installation, run, text};

/// 2100: after whatever the server wrote.
struct LateClock;

impl Clock for LateClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(4_102_444_800_000)
    }
}

/// A withdrawal that was accepted and failed five times since.
fn with_letter(installation: &Installation) -> String {
    let secret = administrate(installation);
    let server = installation.serve(&["--role", "api"]);
    server.deposit(&secret, "d-1", "10");
    let (status, answer) = server.withdraw(&secret);
    assert_eq!(status, 202, "{answer}");
    let id = answer["id"].as_str().expect("an id").to_owned();
    assert_eq!(server.stop().0, Some(0));
    let url = installation.root().join("data/portcullis.db").display().to_string();
    fail_five_times(url, id.parse().expect("an id"));
    id
}

fn fail_five_times(url: String, withdrawal: WithdrawalId) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let options = StoreOptions {
            url,
            readers_max: 1,
            busy_timeout_ms: 10_000,
            ..StoreOptions::default()
        };
        let store = Store::open(&options, Arc::new(LateClock)).await.expect("opens");
        for _ in 0..5 {
            let error = LetterError {
                class: ErrorClass::InvalidTransaction,
                code: Some("refused_by_signer".into()),
                message: "above the cap".into(),
                details: None,
            };
            let retry_at = Timestamp::from_millis(0);
            let failed = FailedRequest { withdrawal, error, retry_at, chance: 0 };
            store.fail_requests(&[failed]).await.expect("counts");
        }
        store.close().await;
    });
}

#[test]
fn letters_are_listed_inspected_and_discarded() {
    let installation = Installation::new();
    let id = with_letter(&installation);
    let list = installation.json(&["admin", "dead-letter", "list"]);
    let [letter] = &list["dead letters"].as_array().expect("a list")[..] else { panic!("{list}") };
    assert_eq!((&letter["queue"], &letter["subject"]), (&json!("request-dlq"), &json!(id)));
    assert_eq!(letter["type"], "INVALID_TRANSACTION");
    let number = letter["id"].to_string();
    let inspected = installation.json(&["admin", "dead-letter", "inspect", &number]);
    assert_eq!(inspected["originalMessage"]["external_id"], "w-1");
    assert_eq!(inspected["error"]["message"], "above the cap");
    assert_eq!(inspected["meta"]["attemptCount"], 5);
    let told = run(Some(&installation.config()), &["admin", "dead-letter", "inspect", &number]);
    assert!(text(&told.stdout).contains("it waits for an operator"), "{}", text(&told.stdout));
    let discard =
        |reason: &'static str| ["admin", "dead-letter", "discard", "1", "--reason", reason];
    installation.refused(&discard(" "), 2);
    let discarded = installation.json(&discard("ticket 881"));
    assert_eq!((&discarded["ended"], &discarded["held"]), (&json!(true), &json!(id)));
    let told = installation.refused(&discard("again"), 5);
    assert!(told.contains("has ended already"), "{told}");
    let open = installation.json(&["admin", "dead-letter", "list", "--queue", "request-dlq"]);
    assert_eq!(open["dead letters"], json!([]));
    let all = installation.json(&["admin", "dead-letter", "list", "--all"]);
    assert_eq!(all["dead letters"][0]["ended"], "discarded");
    let resumed = installation.json(&["admin", "withdrawal", "resume", &id, "--reason", "mended"]);
    assert_eq!(resumed["resumed"], true, "it was held, not lost");
    assert_eq!(installation.json(&["admin", "audit", "verify"])["balances"], 1);
}

#[test]
fn a_letter_is_redriven_and_nonsense_refused() {
    let installation = Installation::new();
    with_letter(&installation);
    let redriven = installation.json(&[
        "admin",
        "dead-letter",
        "redrive",
        "1",
        "--reason",
        "the cap is raised",
    ]);
    assert_eq!((&redriven["ended"], &redriven["held"]), (&json!(true), &Value::Null));
    let told = installation.refused(&["admin", "dead-letter", "inspect", "99"], 5);
    assert!(told.contains("there is no dead letter 99"), "{told}");
    let told = installation.refused(&["admin", "dead-letter", "list", "--queue", "other"], 2);
    assert!(told.contains("request-dlq"), "{told}");
}
