//! Withdrawals to be paid, and their way to the server: so far ahead of the chain that it never waits for them, and
//! not further.

use std::time::{Duration, Instant};

use alloy_primitives::{Address, U256, keccak256};
use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::assets::TestAsset;
use crate::client::{Answer, ApiClient, ApiRequest};
use crate::installation::NETWORK;
use crate::judge::Promise;
use crate::units::format_units;

/// The account that pays.
pub(super) const ACCOUNT: &str = "bench";
/// The most items that the API takes at once.
pub(super) const BATCH_ITEMS: usize = 500;
/// Requests under way at once: batches, and single ones.
const BATCHES_AT_ONCE: usize = 2;
const SINGLES_AT_ONCE: usize = 64;
/// How soon a request that was refused for now is sent again.
const REPEAT_PAUSE: Duration = Duration::from_millis(100);
/// A server that refuses for longer than this does not come back.
const REPEAT_LIMIT: Duration = Duration::from_mins(1);

/// A withdrawal as it is asked for, and what has to come of it.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) body: Value,
    pub(super) promise: Promise,
}

/// `count` withdrawals of `units` each, every one to somebody who never had any.
pub(super) fn orders(name: &str, count: usize, asset: &TestAsset, units: U256) -> Vec<Order> {
    let amount = format_units(units, asset.decimals);
    let order = |index: usize| {
        let external_id = format!("{name}-{index:07}");
        let to = recipient(&external_id);
        let body = json!({
            "external_id": external_id,
            "account_id": ACCOUNT,
            "network": NETWORK,
            "asset": asset.symbol,
            "amount": amount,
            "to_address": to.to_checksum(None),
        });
        Order { body, promise: Promise { external_id, token: asset.token, to, units } }
    };
    (0..count).map(order).collect()
}

/// An address that nothing was ever sent to.
pub(super) fn recipient(name: &str) -> Address {
    Address::from_word(keccak256(name))
}

/// Requests that are written already: writing them takes time that belongs to nobody's measurement.
#[derive(Clone, Debug)]
pub(super) struct Written {
    requests: Vec<(ApiRequest, usize)>,
    at_once: usize,
}

impl Written {
    /// As batches, or each on its own.
    pub(super) fn new(orders: &[Order], is_single: bool) -> Self {
        if is_single {
            let single = |order: &Order| (ApiRequest::post("/v1/withdrawals", &order.body), 1);
            return Self {
                requests: orders.iter().map(single).collect(),
                at_once: SINGLES_AT_ONCE,
            };
        }
        let batch = |part: &[Order]| {
            let bodies: Vec<&Value> = part.iter().map(|order| &order.body).collect();
            let body = json!({ "withdrawals": bodies });
            (ApiRequest::post("/v1/withdrawals/batch", &body), part.len())
        };
        Self { requests: orders.chunks(BATCH_ITEMS).map(batch).collect(), at_once: BATCHES_AT_ONCE }
    }
}

/// What it took to hand everything over.
#[derive(Clone, Debug, Default)]
pub(super) struct Fed {
    /// When the request of each order was first sent, in their order.
    pub(super) sent_at: Vec<Instant>,
    /// How often the server asked to come back later.
    pub(super) put_off: usize,
}

/// Sends everything, and never has more than `ahead` orders at the server that are not paid yet.
///
/// # Errors
/// A request is refused, or not answered.
pub(super) async fn feed(
    api: &ApiClient,
    written: &Written,
    ahead: usize,
    paid: watch::Receiver<usize>,
) -> Result<Fed> {
    let mut sent: usize = 0;
    let due = written.requests.iter().map(|(request, items)| {
        sent = sent.saturating_add(*items);
        (request, *items, sent)
    });
    let answers: Vec<(usize, Instant, usize)> = futures::stream::iter(due)
        .then(|(request, items, sent)| {
            let mut paid = paid.clone();
            async move {
                let room = paid.wait_for(|paid| sent.saturating_sub(*paid) <= ahead.max(items));
                room.await.context("the node does not answer any more")?;
                Ok::<_, anyhow::Error>((request, items))
            }
        })
        .map_ok(async |(request, items)| {
            let (sent_at, put_off) = hand_over(api, request).await?;
            Ok((items, sent_at, put_off))
        })
        .try_buffered(written.at_once)
        .try_collect()
        .await?;
    let mut fed = Fed::default();
    for (items, sent_at, put_off) in answers {
        fed.sent_at.extend(std::iter::repeat_n(sent_at, items));
        fed.put_off = fed.put_off.saturating_add(put_off);
    }
    Ok(fed)
}

/// Sends a request until it is taken. Its answer is read only when it is a refusal.
async fn hand_over(api: &ApiClient, request: &ApiRequest) -> Result<(Instant, usize)> {
    let sent_at = Instant::now();
    let mut put_off = 0;
    loop {
        let said = match api.send_unread(request).await {
            Ok((StatusCode::ACCEPTED, _)) => return Ok((sent_at, put_off)),
            Ok(refused) => {
                let answer = Answer::read(refused);
                if !answer.is_retryable() {
                    answer.expect_success("a request")?;
                    bail!("a request was taken in part only");
                }
                answer.code().unwrap_or("no code").to_owned()
            }
            Err(error) => error.to_string(),
        };
        ensure!(sent_at.elapsed() < REPEAT_LIMIT, "a request is put off for ever: {said}");
        put_off += 1;
        sleep(REPEAT_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_alike_but_for_their_ids_and_recipients() {
        let token = Some(Address::repeat_byte(7));
        let asset = TestAsset { symbol: "USDC", token, decimals: 6, min: "1", max: "2" };
        let orders = orders("it", 3, &asset, U256::from(1_500_000));
        assert_eq!(orders[2].promise.external_id, "it-0000002");
        assert_eq!(orders[0].body["amount"], "1.5");
        assert_ne!(orders[0].promise.to, orders[1].promise.to);
        assert_eq!(orders[1].body["to_address"], orders[1].promise.to.to_checksum(None));
        assert_eq!(Written::new(&orders, true).requests.len(), 3);
        let batches = Written::new(&orders, false).requests;
        assert_eq!((batches.len(), batches[0].1), (1, 3));
    }
}
