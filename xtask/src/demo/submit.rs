//! Submits a plan over HTTP, concurrently, and compares every answer with what it had to be.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::plan::{Expectation, Plan, Planned};
use crate::client::{Answer, Answered, ApiClient, ApiRequest};
use crate::judge::Promise;

/// The most items that the API takes at once.
const BATCH_ITEMS: usize = 500;
const BATCHES_AT_ONCE: usize = 3;

/// What the answers came to.
#[derive(Debug, Default)]
pub(super) struct Submitted {
    /// Requests that were accepted, with the moment when each was first sent.
    pub(super) accepted: Vec<(Promise, Instant)>,
    /// How many were refused as they had to be.
    pub(super) refused: usize,
    /// What is wrong with answers that were not as they had to be.
    pub(super) wrong: Vec<String>,
    /// How long each answer took.
    pub(super) latencies: Vec<Duration>,
    /// Why requests had to be sent again, for each time.
    pub(super) repeats: Vec<String>,
}

impl Submitted {
    fn take(&mut self, planned: &Planned, answer: &Judged, sent_at: Instant) {
        match (&planned.expectation, answer) {
            (Expectation::Paid(promise), Judged::Accepted) => {
                self.accepted.push((promise.clone(), sent_at));
            }
            (Expectation::Paid(promise), Judged::Refused { status, code, message }) => {
                let id = &promise.external_id;
                self.wrong.push(format!("{id} was refused with {status} {code}: {message}"));
            }
            (Expectation::Refused { fault, .. }, Judged::Accepted) => {
                self.wrong.push(format!("a request with {fault} was accepted"));
            }
            (
                Expectation::Refused { fault, status: wanted, code: wanted_code },
                Judged::Refused { status, code, .. },
            ) => {
                if (status, code.as_str()) == (wanted, *wanted_code) {
                    self.refused += 1;
                } else {
                    self.wrong.push(format!(
                        "a request with {fault} was refused with {status} {code}, not {wanted} {wanted_code}"
                    ));
                }
            }
        }
    }

    fn measure(&mut self, answered: &Answered) {
        self.latencies.push(answered.latency);
        self.repeats.extend(answered.repeats.iter().cloned());
    }
}

/// An answer to one request.
#[derive(Debug, PartialEq, Eq)]
enum Judged {
    Accepted,
    Refused { status: u16, code: String, message: String },
}

impl Judged {
    /// 202 for a new one, 200 for one that an unanswered request had made already.
    fn of(answer: &Answer) -> Self {
        let status = answer.status.as_u16();
        if matches!(status, 200 | 202) && answer.body["id"].is_string() {
            return Self::Accepted;
        }
        Self::refused(status, &answer.body["error"])
    }

    fn of_item(item: &Value) -> Self {
        match item["status"].as_str() {
            Some("accepted" | "existing") => Self::Accepted,
            _ => Self::refused(207, &item["error"]),
        }
    }

    fn refused(status: u16, error: &Value) -> Self {
        let text = |field: &str| error[field].as_str().unwrap_or("nothing").to_owned();
        Self::Refused { status, code: text("code"), message: text("message") }
    }
}

/// Submits each request on its own, up to `connections` at once; the first goes ahead of the
/// others. `answered` counts along.
///
/// # Errors
/// A request was not answered, however often it was sent.
pub(super) async fn one_by_one(
    api: &ApiClient,
    plan: &Plan,
    connections: usize,
    answered: &watch::Sender<usize>,
) -> Result<Submitted> {
    let mut submitted = Submitted::default();
    let (ahead, others) = plan.requests.split_at(plan.requests.len().min(1));
    for part in [ahead, others] {
        let mut answers = futures::stream::iter(part)
            .map(async |planned| (planned, api.send_until_answered(&planned.request).await))
            .buffer_unordered(connections.max(1));
        while let Some((planned, outcome)) = answers.next().await {
            let outcome = outcome?;
            submitted.measure(&outcome);
            submitted.take(planned, &Judged::of(&outcome.answer), outcome.sent_at);
            answered.send_modify(|count| *count += 1);
        }
    }
    Ok(submitted)
}

/// Submits everything in batches.
///
/// # Errors
/// A batch was not answered, or refused as a whole.
pub(super) async fn in_batches(
    api: &ApiClient,
    plan: &Plan,
    answered: &watch::Sender<usize>,
) -> Result<Submitted> {
    let mut submitted = Submitted::default();
    let mut answers = futures::stream::iter(plan.requests.chunks(BATCH_ITEMS))
        .map(async |part| {
            let bodies: Vec<&Value> = part.iter().map(|planned| &planned.body).collect();
            let body = json!({ "withdrawals": bodies });
            let request = ApiRequest::post("/v1/withdrawals/batch", &body);
            (part, api.send_until_answered(&request).await)
        })
        .buffer_unordered(BATCHES_AT_ONCE);
    while let Some((part, outcome)) = answers.next().await {
        let outcome = outcome?;
        submitted.measure(&outcome);
        let sent_at = outcome.sent_at;
        let body = outcome.answer.expect_success("a batch")?;
        let items = body["data"].as_array().filter(|items| items.len() == part.len());
        let items = items.context("a batch was answered without a result for each item")?;
        for (planned, item) in part.iter().zip(items) {
            submitted.take(planned, &Judged::of_item(item), sent_at);
        }
        answered.send_modify(|count| *count += part.len());
    }
    Ok(submitted)
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, U256};
    use reqwest::StatusCode;

    use super::*;

    fn planned(expectation: Expectation) -> Planned {
        Planned { body: Value::Null, request: ApiRequest::get("/"), expectation }
    }

    fn answer(status: u16, body: Value) -> Judged {
        Judged::of(&Answer { status: StatusCode::from_u16(status).unwrap(), body })
    }

    fn taken(expectation: Expectation, answer: &Judged) -> Submitted {
        let mut submitted = Submitted::default();
        submitted.take(&planned(expectation), answer, Instant::now());
        submitted
    }

    #[test]
    fn answers_are_compared_with_what_they_had_to_be() {
        let to = Address::repeat_byte(1);
        let promise =
            Promise { external_id: "id-1".to_owned(), token: None, to, units: U256::from(1) };
        let paid = || Expectation::Paid(promise.clone());
        let refused = || Expectation::Refused { fault: "x", status: 422, code: "AMOUNT_ZERO" };
        let good = answer(202, json!({ "id": "wd_1", "status": "PENDING" }));
        let error = json!({ "error": { "code": "AMOUNT_ZERO", "message": "amount" } });
        let bad = answer(422, error.clone());

        assert_eq!(taken(paid(), &good).accepted.len(), 1);
        assert_eq!(taken(refused(), &bad).refused, 1);
        let wrongs = [
            taken(paid(), &bad),
            taken(refused(), &good),
            taken(refused(), &answer(400, error)),
            taken(refused(), &answer(422, json!({ "error": { "code": "UNKNOWN_FIELD" } }))),
            taken(paid(), &answer(200, json!({}))),
        ];
        for wrong in wrongs {
            assert_eq!((wrong.accepted.len(), wrong.refused, wrong.wrong.len()), (0, 0, 1));
        }
    }

    #[test]
    fn items_of_a_batch_are_read() {
        assert_eq!(Judged::of_item(&json!({ "status": "accepted" })), Judged::Accepted);
        assert_eq!(Judged::of_item(&json!({ "status": "existing" })), Judged::Accepted);
        let rejected = json!({ "status": "rejected", "error": { "code": "AMOUNT_ZERO" } });
        assert!(
            matches!(Judged::of_item(&rejected), Judged::Refused { code, .. } if code == "AMOUNT_ZERO")
        );
        assert!(matches!(Judged::of_item(&Value::Null), Judged::Refused { .. }));
    }
}
