//! Clients, as customers write them: they give up on answers that take too long, and send what was
//! not answered again with the same external id; now and then also what was.

use std::time::Duration;

use alloy_primitives::{Address, U256};
use anyhow::{Context, Result};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::tally::Book;
use crate::assets::{TestAsset, by_symbol};
use crate::client::{Answer, ApiClient, ApiRequest};
use crate::installation::NETWORK;
use crate::judge::Promise;
use crate::units::format_units;

const WITHDRAWALS: &str = "/v1/withdrawals";
const ACCOUNTS: u64 = 8;
/// What each account gets of each asset, in whole tokens: more than it ever withdraws.
const DEPOSIT: &str = "1000000";
const SYMBOLS: [&str; 3] = ["POL", "USDC", "USDT"];
/// Recipients are paid again and again, as customers are, which also keeps the chain small.
const RECIPIENTS: usize = 48;
/// One withdrawal of so many has the same terms as others.
const ONE_REGULAR_OF: u32 = 16;
/// How long a patient client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// One request of so many is given up early the first time.
const ONE_IMPATIENT_OF: u32 = 3;
const IMPATIENCE_MS: std::ops::Range<u64> = 1..40;
/// One answered request of so many is sent once more.
const ONE_REPEATED_OF: u32 = 10;
const PAUSE_MS: std::ops::Range<u64> = 50..500;
/// How long after the last fault a request may stay unanswered.
const ANSWER_LIMIT: Duration = Duration::from_mins(2);

/// A withdrawal that was accepted.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) id: String,
    pub(crate) account: String,
    pub(crate) symbol: &'static str,
    pub(crate) promise: Promise,
}

/// What clients ask for.
#[derive(Clone, Debug)]
struct Wish {
    account: String,
    symbol: &'static str,
    promise: Promise,
    body: Value,
}

/// All clients of a run.
#[derive(Debug)]
pub(crate) struct Clients {
    /// Each is asked in its turn.
    pub(crate) apis: Vec<ApiClient>,
    pub(crate) assets: [TestAsset; 4],
    pub(crate) seed: u64,
    /// Whether requests are given up early on purpose.
    pub(crate) is_impatient: bool,
    /// Requests a second.
    pub(crate) rate: u32,
    pub(crate) book: Book,
}

/// The names of the accounts.
pub(crate) fn accounts() -> impl Iterator<Item = String> {
    (0..ACCOUNTS).map(|number| format!("torture-{number}"))
}

impl Clients {
    /// The API that is asked the `turn`th time.
    ///
    /// # Panics
    /// There is none.
    pub(crate) fn api(&self, turn: usize) -> &ApiClient {
        let place = turn.checked_rem(self.apis.len()).unwrap_or_default();
        &self.apis[place]
    }

    /// Gives every account its money.
    ///
    /// # Errors
    /// A deposit is refused, or not answered.
    pub(crate) async fn deposit(&self) -> Result<()> {
        for account in accounts() {
            for symbol in SYMBOLS {
                let id = format!("deposit-{account}-{symbol}");
                self.api(0).deposit(&account, &id, symbol, DEPOSIT).await?;
            }
        }
        Ok(())
    }

    /// Asks for withdrawals until `end`, whatever becomes of the answers, and then until each of
    /// them is answered.
    ///
    /// # Errors
    /// An asset is missing.
    pub(crate) async fn run(&self, end: Instant) -> Result<Vec<Accepted>> {
        let mut random = StdRng::seed_from_u64(self.seed);
        let recipients: Vec<Address> =
            (0..RECIPIENTS).map(|_| Address::from(random.random::<[u8; 20]>())).collect();
        let interval = Duration::from_secs(1) / self.rate.max(1);
        let mut accepted = Vec::new();
        let mut under_way = FuturesUnordered::new();
        let mut next = Instant::now();
        let mut number: u64 = 0;
        while next < end {
            tokio::select! {
                () = sleep_until(next) => {
                    let wish = self.wish(number, &recipients, &mut random)?;
                    let own = StdRng::seed_from_u64(random.random());
                    self.book.note(|tally| tally.asked += 1);
                    under_way.push(self.ask(wish, own, end + ANSWER_LIMIT));
                    number = number.saturating_add(1);
                    next += interval;
                }
                Some(outcome) = under_way.next(), if !under_way.is_empty() => {
                    accepted.extend(outcome);
                }
            }
        }
        while let Some(outcome) = under_way.next().await {
            accepted.extend(outcome);
        }
        Ok(accepted)
    }

    fn wish(&self, number: u64, recipients: &[Address], random: &mut StdRng) -> Result<Wish> {
        let symbol = SYMBOLS[random.random_range(0..SYMBOLS.len())];
        let asset = by_symbol(&self.assets, symbol)?;
        let any = recipients[random.random_range(0..recipients.len())];
        let (to, units) = if random.random_ratio(1, ONE_REGULAR_OF) {
            (recipients[0], asset.units("2")?)
        } else if asset.token.is_none() {
            (any, U256::from(random.random_range(100_000_000_000_000_u64..50_000_000_000_000_000)))
        } else {
            (any, U256::from(random.random_range(10_000_u64..500_000_000)))
        };
        let priority = ["standard", "vip", "urgent"][random.random_range(0..3)];
        let account = format!("torture-{}", number % ACCOUNTS);
        let external_id = format!("torture-{number:06}");
        let body = json!({
            "external_id": external_id,
            "account_id": account,
            "network": NETWORK,
            "asset": symbol,
            "amount": format_units(units, asset.decimals),
            "to_address": to.to_checksum(None),
            "priority": priority,
        });
        let promise = Promise { external_id, token: asset.token, to, units };
        Ok(Wish { account, symbol, promise, body })
    }

    /// Asks until it is answered; `None` if it is refused, or not answered until `deadline`.
    async fn ask(&self, wish: Wish, mut random: StdRng, deadline: Instant) -> Option<Accepted> {
        let request = ApiRequest::post(WITHDRAWALS, &wish.body);
        let external_id = &wish.promise.external_id;
        let mut turn = random.random_range(0..self.apis.len());
        let mut is_early = self.is_impatient && random.random_ratio(1, ONE_IMPATIENT_OF);
        let impatience = Duration::from_millis(random.random_range(IMPATIENCE_MS));
        loop {
            let patience = if is_early { impatience } else { PATIENCE };
            turn = turn.wrapping_add(1);
            let said = match timeout(patience, self.api(turn).send(&request)).await {
                Ok(Ok(answer)) if !is_for_now(&answer) => {
                    let id = accepted_id(&answer);
                    if let Err(error) = &id {
                        let text = format!("{external_id}: {error:#}");
                        self.book.note(|tally| tally.wrong_answers.push(text));
                    }
                    let id = id.ok()?;
                    self.book.note(|tally| tally.accepted += 1);
                    if random.random_ratio(1, ONE_REPEATED_OF) {
                        self.repeat(&request, external_id, &id, deadline).await;
                    }
                    let Wish { account, symbol, promise, .. } = wish;
                    return Some(Accepted { id, account, symbol, promise });
                }
                Ok(Ok(answer)) => format!("{} {}", answer.status, answer.body),
                Ok(Err(error)) => format!("{:#}", anyhow::Error::new(error)),
                Err(_) => format!("no answer within {patience:?}"),
            };
            let gave_up = usize::from(is_early && said.starts_with("no answer"));
            self.book.note(|tally| {
                tally.retries += 1;
                tally.client_timeouts += gave_up;
            });
            is_early = false;
            if Instant::now() > deadline {
                let text = format!("{external_id}: {said}");
                self.book.note(|tally| tally.unanswered.push(text));
                return None;
            }
            sleep(Duration::from_millis(random.random_range(PAUSE_MS))).await;
        }
    }

    /// Sends an answered request again: it is the same withdrawal, or no answer.
    async fn repeat(&self, request: &ApiRequest, external_id: &str, id: &str, deadline: Instant) {
        self.book.note(|tally| tally.repeats += 1);
        while Instant::now() < deadline {
            match timeout(PATIENCE, self.api(0).send(request)).await {
                Ok(Ok(answer)) if !is_for_now(&answer) => {
                    let again = accepted_id(&answer);
                    if !again.as_ref().is_ok_and(|again| again == id) {
                        let text = format!("{external_id} was {id}, and then {again:?}");
                        self.book.note(|tally| tally.wrong_answers.push(text));
                    }
                    return;
                }
                _ => sleep(Duration::from_millis(PAUSE_MS.start)).await,
            }
        }
    }
}

/// Whether the answer says of itself that the same request may be answered otherwise later.
fn is_for_now(answer: &Answer) -> bool {
    answer.body["error"]["retryable"].as_bool().unwrap_or(false)
}

fn accepted_id(answer: &Answer) -> Result<String> {
    let is_good = matches!(answer.status.as_u16(), 200 | 202);
    let id = answer.body["id"].as_str().filter(|_| is_good);
    id.map(str::to_owned)
        .with_context(|| format!("answered with {} {}", answer.status, answer.body))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use reqwest::StatusCode;

    use super::*;
    use crate::testnet::Deployment;

    fn clients() -> Clients {
        let deployment = Deployment {
            usdc: Address::repeat_byte(0xa1),
            usdt: Address::repeat_byte(0xa2),
            bal: Address::repeat_byte(0xa3),
            block: 1,
        };
        Clients {
            apis: vec![ApiClient::new(([127, 0, 0, 1], 9).into(), "secret").unwrap()],
            assets: TestAsset::all(&deployment),
            seed: 1,
            is_impatient: true,
            rate: 5,
            book: Book::default(),
        }
    }

    fn answer(status: u16, body: Value) -> Answer {
        Answer { status: StatusCode::from_u16(status).unwrap(), body }
    }

    #[test]
    fn wishes_have_their_own_ids_and_some_have_equal_terms() {
        let clients = clients();
        let mut random = StdRng::seed_from_u64(3);
        let recipients = [Address::repeat_byte(1), Address::repeat_byte(2)];
        let wishes: Vec<Wish> = (0..300)
            .map(|number| clients.wish(number, &recipients, &mut random).unwrap())
            .collect();
        let ids: BTreeSet<&str> =
            wishes.iter().map(|wish| wish.promise.external_id.as_str()).collect();
        let terms: BTreeSet<_> = wishes
            .iter()
            .map(|wish| (wish.promise.token, wish.promise.to, wish.promise.units))
            .collect();
        assert_eq!(ids.len(), 300);
        assert!(terms.len() < 300 && terms.len() > 250, "{}", terms.len());
        let tokens: BTreeSet<_> = terms.iter().map(|(token, ..)| *token).collect();
        assert_eq!(tokens.len(), SYMBOLS.len());
        let named: BTreeSet<&str> = wishes.iter().map(|wish| wish.account.as_str()).collect();
        assert!(named.into_iter().eq(accounts().collect::<Vec<_>>().iter().map(String::as_str)));
    }

    #[test]
    fn answers_are_told_apart() {
        let id = json!({ "id": "wd_1" });
        assert_eq!(accepted_id(&answer(202, id.clone())).unwrap(), "wd_1");
        assert_eq!(accepted_id(&answer(200, id.clone())).unwrap(), "wd_1");
        assert!(accepted_id(&answer(409, id)).is_err());
        assert!(accepted_id(&answer(202, json!({}))).is_err());
        let busy = json!({ "error": { "code": "DATABASE_UNAVAILABLE", "retryable": true } });
        assert!(is_for_now(&answer(503, busy)));
        assert!(!is_for_now(&answer(422, json!({ "error": { "code": "AMOUNT_ZERO" } }))));
    }
}
