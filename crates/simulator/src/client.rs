//! The clients: what they ask for, and what they were promised. They retry whatever got no answer,
//! always with the same external id.

use alloy_primitives::{Address, U256, keccak256};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use portcullis_core::amount::Amount;
use portcullis_testkit::SeededEntropy;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::activity::Finished;
use crate::chaos::Chaos;
use crate::world::{ACCOUNTS, API_SECRET, World};

/// How far a client has come with one withdrawal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Not sent, or sent without an answer: to be sent (again).
    Open,
    /// Under way.
    UnderWay,
    /// Accepted: a promise.
    Accepted,
}

/// One withdrawal that a client wants.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) external_id: String,
    pub(crate) token: Option<Address>,
    pub(crate) to: Address,
    pub(crate) amount: Amount,
    pub(crate) asked: Asked,
    /// The withdrawal, as it was last answered.
    pub(crate) id: Option<String>,
    /// Whether the client would rather have it back.
    pub(crate) is_unwanted: bool,
    /// Whether it was given up because it cannot be paid under its number.
    pub(crate) is_given_up: bool,
    /// Whether an answer under way may be of a database that is gone: it is asked for once more.
    pub(crate) asks_again: bool,
    body: Value,
}

impl Wish {
    /// Asks for the same under another id: under the old one it was given up.
    pub(crate) fn ask_anew(&mut self) {
        self.external_id.push_str("-again");
        self.body["external_id"] = json!(self.external_id);
        (self.asked, self.id, self.is_given_up) = (Asked::Open, None, false);
    }

    /// A promise was made.
    fn accept(&mut self, withdrawal: &Value) {
        self.asked = if self.asks_again { Asked::Open } else { Asked::Accepted };
        self.asks_again = false;
        self.id = withdrawal["id"].as_str().map(str::to_owned);
    }
}

/// All the wishes of a seed. Some share recipient and amount on purpose: only the number tells them apart.
pub(crate) fn make_wishes(world: &World, count: usize, entropy: &mut SeededEntropy) -> Vec<Wish> {
    let priorities = ["standard", "standard", "vip", "urgent"];
    (0..count)
        .map(|index| {
            let asset = &world.assets[index_below(entropy, world.assets.len())];
            let recipient =
                if entropy.chance(1, 5) { entropy.below(3) } else { index as u64 + 100 };
            let to = recipient_at(recipient);
            let units = if entropy.chance(1, 3) { 7 } else { entropy.below(1_000_000) + 1 };
            let amount = Amount::from_atomic(U256::from(units));
            let external_id = format!("payout-{index}");
            let body = json!({
                "external_id": external_id,
                "account_id": format!("account-{}", entropy.below(ACCOUNTS)),
                "network": World::chain().network,
                "asset": asset.symbol,
                "amount": amount.to_decimal(asset.decimals),
                "to_address": to.to_checksum(None),
                "priority": priorities[index_below(entropy, priorities.len())],
            });
            Wish {
                external_id,
                token: asset.token,
                to,
                amount,
                asked: Asked::Open,
                id: None,
                is_unwanted: false,
                is_given_up: false,
                asks_again: false,
                body,
            }
        })
        .collect()
}

/// A recipient. From the hundredth on each belongs to one wish.
pub(crate) fn recipient_at(index: u64) -> Address {
    Address::from_slice(&keccak256(format!("recipient {index}"))[12..])
}

pub(crate) fn index_below(entropy: &mut SeededEntropy, bound: usize) -> usize {
    usize::try_from(entropy.below(bound as u64)).unwrap_or(0)
}

/// A request to cancel a withdrawal.
pub(crate) fn cancel_request(
    router: Router,
    id: &str,
    kind: Chaos,
) -> futures::future::BoxFuture<'static, Finished> {
    let request = authorized(&format!("/v1/withdrawals/{id}/cancel"), Body::empty());
    Box::pin(async move {
        let (status, _) = answer_of(router, request).await;
        Finished::Cancel { status, kind }
    })
}

fn authorized(path: &str, body: Body) -> Request<Body> {
    Request::post(path)
        .header(header::AUTHORIZATION, format!("Bearer {API_SECRET}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(body)
        .expect("a request of plain parts")
}

async fn answer_of(router: Router, request: Request<Body>) -> (u16, Vec<u8>) {
    match router.oneshot(request).await {
        Ok(response) => {
            let status = response.status().as_u16();
            let body = to_bytes(response.into_body(), 4 << 20).await.unwrap_or_default();
            (status, body.to_vec())
        }
        Err(never) => match never {},
    }
}

/// A request for some wishes: one alone, or a batch.
pub(crate) fn request(
    router: Router,
    wishes: &[Wish],
    chosen: Vec<usize>,
) -> futures::future::BoxFuture<'static, Finished> {
    let (path, body) = match chosen.as_slice() {
        [only] => ("/v1/withdrawals", wishes[*only].body.clone()),
        many => {
            let items: Vec<&Value> = many.iter().map(|index| &wishes[*index].body).collect();
            ("/v1/withdrawals/batch", json!({ "withdrawals": items }))
        }
    };
    let request = authorized(path, Body::from(body.to_string()));
    Box::pin(async move {
        let answer = Some(answer_of(router, request).await);
        Finished::Request { promises: chosen, answer }
    })
}

/// To be sent again.
pub(crate) fn reopen(wishes: &mut [Wish], promises: &[usize]) {
    for index in promises {
        wishes[*index].asked = Asked::Open;
        wishes[*index].asks_again = false;
    }
}

/// Reads an answer: which wishes are promises now. An unexpected answer is a problem in words.
pub(crate) fn read_answer(
    wishes: &mut [Wish],
    promises: &[usize],
    answer: Option<(u16, Vec<u8>)>,
) -> Result<(), String> {
    let Some((status, body)) = answer else {
        reopen(wishes, promises);
        return Ok(());
    };
    let text = || String::from_utf8_lossy(&body).into_owned();
    let body: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    match (status, promises) {
        (200 | 202, [only]) if body.get("id").is_some() => {
            wishes[*only].accept(&body);
            Ok(())
        }
        (200 | 202 | 207, many) => {
            let items = body["data"].as_array().ok_or_else(text)?;
            for (index, item) in many.iter().zip(items) {
                match item["status"].as_str() {
                    Some("accepted" | "existing") => wishes[*index].accept(&item["withdrawal"]),
                    _ => return Err(format!("{}: {item}", wishes[*index].external_id)),
                }
            }
            Ok(())
        }
        (503, _) => {
            reopen(wishes, promises);
            Ok(())
        }
        (status, _) => Err(format!("status {status}: {}", text())),
    }
}
