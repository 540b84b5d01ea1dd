//! Fee estimates, and what goes on without a node.

use alloy_primitives::U256;
use axum::http::StatusCode;
use portcullis_core::amount::Amount;
use portcullis_testkit::{Fault, NoFaults, TokenOrder};
use serde_json::{Value, json};

use crate::house::{DEAD, House, LIVE, drop_everything, good};

const PATH: &str = "/v1/fee-estimates";

fn number(body: &Value, field: &str) -> u128 {
    body[field].as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[tokio::test]
async fn a_transfer_is_simulated_by_a_wallet_that_holds_enough() {
    let house = House::open().await;
    house.node.mint(house.token, house.sender, U256::from(50_000_000)).expect("mints");
    house.node.fund(house.sender, U256::from(10).pow(U256::from(18)));
    let body = json!({"network": LIVE, "asset": "USDC", "amount": "10"});
    let answer = house.post(PATH, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let view = &answer.body;
    assert_eq!(view["is_simulated"], true);
    let gas = number(view, "gas");
    assert!((30_000..120_000).contains(&gas), "{gas}");
    // Base fee and tip are 30 gwei each; the first price is two base fees and the tip.
    assert_eq!(view["base_fee_per_gas_wei"], "30000000000");
    assert_eq!(view["max_priority_fee_per_gas_wei"], "30000000000");
    assert_eq!(view["max_fee_per_gas_wei"], "90000000000");
    assert_eq!(view["native_symbol"], "POL");
    let fee = |price: u128| {
        let wei = U256::from(gas * price);
        Amount::from_atomic(wei).to_decimal(18)
    };
    assert_eq!(view["fee_expected_native"], fee(60_000_000_000));
    assert_eq!(view["fee_max_native"], fee(90_000_000_000));
    house.node.order_token(house.token, TokenOrder::Pause).expect("pauses");
    let paused = house.post(PATH, &body).await;
    assert_eq!((paused.status.as_u16(), paused.code()), (422, "ESTIMATE_REVERTED"));
}

fn drop_balances(method: &str, _params: &Value) -> Fault {
    if method == "eth_getBalance" { Fault::Drop } else { Fault::None }
}

#[tokio::test]
async fn balances_are_not_asked_for_again_within_seconds() {
    let house = House::open().await;
    let coin = U256::from(10).pow(U256::from(18));
    house.node.fund(house.sender, coin * U256::from(100));
    let body = json!({"network": LIVE, "asset": "POL", "amount": "10"});
    assert_eq!(house.post(PATH, &body).await.body["is_simulated"], true);
    house.transport.set_faults(drop_balances);
    let again = house.post(PATH, &body).await;
    assert_eq!(again.body["is_simulated"], true, "{}", again.text);
    house.clock.advance(10_001);
    assert_eq!(house.post(PATH, &body).await.code(), "NODE_UNAVAILABLE", "they were asked for");
}

#[tokio::test]
async fn a_balance_that_is_not_there_any_more_is_forgotten() {
    let house = House::open().await;
    let wei = Amount::from_atomic(U256::from(10).pow(U256::from(20)));
    let sender = house.sender.to_checksum(None);
    house.facts.keep_balance(31_337, &sender, "native", wei).await;
    let body = json!({"network": LIVE, "asset": "POL", "amount": "10"});
    let poor = house.post(PATH, &body).await;
    assert_eq!(poor.body["is_simulated"], false, "{}", poor.text);
    house.transport.set_faults(drop_balances);
    assert_eq!(house.post(PATH, &body).await.code(), "NODE_UNAVAILABLE", "they were asked for");
}

#[tokio::test]
async fn without_a_wallet_that_holds_enough_the_estimate_says_so() {
    let house = House::open().await;
    for (asset, gas) in [("USDC", "65000"), ("POL", "21000")] {
        let answer = house.post(PATH, &json!({"network": LIVE, "asset": asset})).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(answer.body["is_simulated"], false);
        assert_eq!(answer.body["gas"], gas);
    }
}

#[tokio::test]
async fn a_node_that_is_down_stops_estimates_and_not_intake() {
    let house = House::open().await;
    house.transport.set_faults(drop_everything);
    let estimate = json!({"network": LIVE, "asset": "USDC"});
    let answer = house.post(PATH, &estimate).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (503, "NODE_UNAVAILABLE"));
    assert_eq!(answer.body["error"]["retryable"], true);
    assert_eq!(answer.header("retry-after"), Some("1"));
    let paid = house.pay(&good("while-down")).await;
    assert_eq!(paid.status, StatusCode::ACCEPTED);
    let id = paid.body["id"].as_str().expect("an id");
    assert_eq!(house.get(&format!("/v1/withdrawals/{id}")).await.status, StatusCode::OK);
    house.transport.set_faults(NoFaults);
    house.clock.advance(60_000);
    assert_eq!(house.post(PATH, &estimate).await.status, StatusCode::OK);
}

#[tokio::test]
async fn estimates_are_checked_as_strictly() {
    let house = House::open().await;
    for (body, field, code) in [
        (json!({"asset": "USDC"}), "network", "MISSING_FIELD"),
        (json!({"network": LIVE}), "asset", "MISSING_FIELD"),
        (json!({"network": DEAD, "asset": "USDC"}), "asset", "UNKNOWN_ASSET"),
        (json!({"network": LIVE, "asset": "USDC", "amount": 1}), "amount", "AMOUNT_NOT_TEXT"),
        (json!({"network": LIVE, "asset": "USDC", "amount": "1e2"}), "amount", "AMOUNT_EXPONENT"),
        (
            json!({"network": LIVE, "asset": "USDC", "to_address": "0x"}),
            "to_address",
            "ADDRESS_MALFORMED",
        ),
        (json!({"network": LIVE, "asset": "USDC", "gas": 1}), "gas", "UNKNOWN_FIELD"),
    ] {
        let answer = house.post(PATH, &body).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (422, code), "{body}");
        assert_eq!(answer.fields()[0].0, field, "{body}");
    }
}
