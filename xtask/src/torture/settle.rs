//! After the faults: waits until everything that was accepted has come to its end, and reads what
//! Portcullis itself says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use alloy_primitives::U256;
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::clients::{Accepted, accounts};
use crate::client::{ApiClient, ApiRequest};

/// How long everything together may take.
const LIMIT: Duration = Duration::from_mins(6);
/// How long nothing may change before what is missing counts as stuck.
const STALL: Duration = Duration::from_secs(100);
const INTERVAL: Duration = Duration::from_secs(2);
const PAGE_ITEMS: usize = 100;

/// A withdrawal, as the API tells of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) external_id: String,
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    #[serde(rename = "final")]
    is_final: bool,
}

impl Told {
    /// Whether nothing moves it any more.
    fn is_terminal(&self) -> bool {
        match self.status.as_str() {
            "CONFIRMED" => self.is_final,
            status => matches!(status, "FAILED" | "REJECTED" | "CANCELED"),
        }
    }

    fn is_paid(&self) -> bool {
        self.status == "CONFIRMED"
    }
}

/// What the API says in the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settled {
    /// Withdrawals that were accepted and are not terminal, or not known any more.
    pub(crate) stuck: Vec<String>,
    /// Withdrawals that ended otherwise than paid.
    pub(crate) given_up: Vec<String>,
    /// Withdrawals that the API knows and no client was told of.
    pub(crate) unknown: Vec<String>,
    /// Balances of accounts that are not what the promises make them.
    pub(crate) wrong_ledger: Vec<String>,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Settled {
    fn of(accepted: &[Accepted], told: &[Told]) -> Self {
        let mut settled = Self::default();
        let by_id: BTreeMap<&str, &Told> =
            told.iter().map(|told| (told.id.as_str(), told)).collect();
        for accepted in accepted {
            let external_id = &accepted.promise.external_id;
            match by_id.get(accepted.id.as_str()) {
                None => settled.stuck.push(format!("{external_id}: {} is not known", accepted.id)),
                Some(told) if !told.is_terminal() => settled.stuck.push(describe(told)),
                Some(told) if !told.is_paid() => settled.given_up.push(describe(told)),
                Some(_) => {}
            }
        }
        let known: BTreeSet<&str> = accepted.iter().map(|accepted| accepted.id.as_str()).collect();
        let unknown = told.iter().filter(|told| !known.contains(told.id.as_str()));
        settled.unknown = unknown.map(describe).collect();
        settled
    }
}

fn describe(told: &Told) -> String {
    let reason = told.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("{} {} is {}{reason}", told.external_id, told.id, told.status)
}

/// Waits until all of `accepted` are terminal, or nothing changes any more.
///
/// # Errors
/// The API does not answer.
pub(crate) async fn settle(api: &ApiClient, accepted: &[Accepted]) -> Result<Settled> {
    let begun = Instant::now();
    let (mut last, mut changed_at) = (Vec::new(), begun);
    loop {
        let told = everything(api).await?;
        let mut settled = Settled::of(accepted, &told);
        settled.took = begun.elapsed();
        if told != last {
            (last, changed_at) = (told, Instant::now());
        }
        let is_over = settled.took > LIMIT || changed_at.elapsed() > STALL;
        if settled.stuck.is_empty() || is_over {
            settled.wrong_ledger = wrong_ledger(api, accepted).await?;
            return Ok(settled);
        }
        eprintln!(
            "  {} of {} withdrawals are not terminal yet",
            settled.stuck.len(),
            accepted.len()
        );
        sleep(INTERVAL).await;
    }
}

async fn everything(api: &ApiClient) -> Result<Vec<Told>> {
    let first = format!("/v1/withdrawals?limit={PAGE_ITEMS}");
    let mut path = first.clone();
    let mut all = Vec::new();
    loop {
        let answer = api.send_until_answered(&ApiRequest::get(path)).await?.answer;
        let mut body = answer.expect_success("the list of withdrawals")?;
        let page: Vec<Told> = serde_json::from_value(body["data"].take())
            .context("a page of withdrawals has an unexpected shape")?;
        all.extend(page);
        match body["next_cursor"].as_str() {
            Some(cursor) => path = format!("{first}&cursor={cursor}"),
            None => return Ok(all),
        }
    }
}

/// Compares what each account has held and paid with what it was promised.
async fn wrong_ledger(api: &ApiClient, accepted: &[Accepted]) -> Result<Vec<String>> {
    let mut dues: BTreeMap<(&str, &str), U256> = BTreeMap::new();
    for accepted in accepted {
        let due = dues.entry((&accepted.account, accepted.symbol)).or_default();
        *due = due.saturating_add(accepted.promise.units);
    }
    let mut wrong = Vec::new();
    for account in accounts() {
        let request = ApiRequest::get(format!("/v1/accounts/{account}"));
        let answer = api.send_until_answered(&request).await?.answer;
        let body = answer.expect_success("a look at an account")?;
        let balances = body["balances"].as_array().context("an account has no balances")?;
        for balance in balances {
            let symbol = balance["asset"].as_str().unwrap_or_default();
            let due = dues.get(&(account.as_str(), symbol)).copied().unwrap_or_default();
            let (paid, held) = (units(&balance["paid_atomic"])?, units(&balance["held_atomic"])?);
            if (paid, held) != (due, U256::ZERO) {
                wrong.push(format!("{account} {symbol}: paid {paid} of {due}, held {held}"));
            }
        }
    }
    Ok(wrong)
}

fn units(text: &Value) -> Result<U256> {
    let text = text.as_str().context("a balance is no text")?;
    U256::from_str_radix(text, 10).with_context(|| format!("{text:?} is not an amount"))
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Address;

    use super::*;
    use crate::judge::Promise;

    fn told(id: &str, status: &str, is_final: bool) -> Told {
        let (id, external_id) = (id.to_owned(), format!("ext-{id}"));
        Told { id, external_id, status: status.to_owned(), reason: None, is_final }
    }

    fn accepted(id: &str) -> Accepted {
        let promise = Promise {
            external_id: format!("ext-{id}"),
            token: None,
            to: Address::ZERO,
            units: U256::from(1),
        };
        Accepted { id: id.to_owned(), account: "a".to_owned(), symbol: "POL", promise }
    }

    #[test]
    fn withdrawals_are_sorted_by_how_they_ended() {
        let accepted: Vec<Accepted> =
            ["paid", "fresh", "failed", "held", "gone"].map(accepted).into();
        let told = [
            told("paid", "CONFIRMED", true),
            told("fresh", "CONFIRMED", false),
            told("failed", "FAILED", true),
            told("held", "HELD", false),
            told("nobody", "CONFIRMED", true),
        ];
        let settled = Settled::of(&accepted, &told);
        assert_eq!(settled.stuck.len(), 3);
        assert!(settled.stuck.iter().any(|text| text == "ext-fresh fresh is CONFIRMED"));
        assert!(settled.stuck.iter().any(|text| text == "ext-gone: gone is not known"));
        assert_eq!(settled.given_up, ["ext-failed failed is FAILED"]);
        assert_eq!(settled.unknown, ["ext-nobody nobody is CONFIRMED"]);
    }

    #[test]
    fn amounts_are_read_exactly() {
        assert_eq!(units(&Value::from("12500000")).unwrap(), U256::from(12_500_000));
        for bad in [Value::Null, Value::from(5), Value::from("1.5"), Value::from("x")] {
            assert!(units(&bad).is_err(), "{bad}");
        }
    }
}
