//! Reads that join several methods in one packet.

use alloy_primitives::{Address, B256, Bytes, U256, address};
use portcullis_core::access_list::ListedAccount;
use portcullis_core::amount::Amount;
use serde_json::json;

use crate::scripted_node::{Reply, ScriptedNode, hash, pool_of};
use crate::{CallRequest, FundsQuery, GasQuote, PoolLimits, RpcFailure, TouchedState};

const ONE: Address = address!("1111111111111111111111111111111111111111");
const TOKEN: Address = address!("3c499c542cEF5E3811e1192ce70d8cC03d5c3359");
const VAULT: Address = Address::repeat_byte(0xf0);

fn amount(units: u64) -> Amount {
    Amount::from_atomic(U256::from(units))
}

fn node() -> ScriptedNode {
    let node = ScriptedNode::new();
    node.head_with_base_fee(10, 7);
    node.on("eth_getBalance", |params| {
        Reply::Value(json!(if params[0] == json!(ONE) { "0x5" } else { "0x6" }))
    });
    node.on("eth_call", |params| {
        let units = if params[0]["to"] == json!(VAULT) { 9 } else { 8 };
        Reply::Value(json!(B256::from(U256::from(units))))
    });
    node
}

fn query() -> FundsQuery<'static> {
    FundsQuery {
        natives: &[ONE, VAULT],
        tokens: &[(TOKEN, VAULT)],
        vault: Some((VAULT, &[None, Some(TOKEN)])),
    }
}

#[tokio::test]
async fn block_and_money_are_read_in_one_packet() {
    let node = node();
    let funds = pool_of(&[&node], PoolLimits::default()).funds(query()).await.expect("answers");
    assert_eq!(node.packets(), [6]);
    assert_eq!((funds.head.number, funds.head.base_fee_wei), (10, 7));
    assert_eq!(funds.natives, [amount(5), amount(6)]);
    assert_eq!(funds.tokens, [amount(8)]);
    assert_eq!(funds.remaining, [amount(9), amount(9)]);
}

#[tokio::test]
async fn one_answer_that_is_no_balance_is_an_error_of_all() {
    let (broken, sound) = (node(), node());
    broken.on("eth_call", |_| Reply::Value(json!("0x")));
    let alone = pool_of(&[&broken], PoolLimits::default()).funds(query()).await;
    let failure = alone.expect_err("a wrong contract").failure;
    assert!(matches!(failure, RpcFailure::Contract(_)), "{failure:?}");
    let both = pool_of(&[&broken, &sound], PoolLimits::default()).funds(query()).await;
    assert_eq!(both.expect("the second one answers").tokens, [amount(8)]);
}

#[tokio::test]
async fn what_calls_need_and_touch_is_asked_in_one_packet() {
    let node = node();
    let call =
        |to| CallRequest { from: ONE, to, value: U256::ZERO, input: Bytes::new(), gas: None };
    node.on("eth_estimateGas", |_| Reply::Value(json!("0x5208")));
    node.on("eth_createAccessList", |params| {
        let listed = json!([{ "address": TOKEN, "storageKeys": [hash(1)] }]);
        let error = (params[0]["to"] == json!(VAULT)).then_some("execution reverted");
        Reply::Value(json!({ "accessList": listed, "gasUsed": "0x4e20", "error": error }))
    });
    let pool = pool_of(&[&node], PoolLimits::default());
    let quotes = pool.quotes(&[call(TOKEN), call(VAULT)], true).await;
    assert_eq!(node.packets(), [4]);
    let list = vec![ListedAccount { address: TOKEN, slots: vec![hash(1)] }];
    let touched = Some(TouchedState { list, gas_used: 20_000 });
    let expected =
        [Ok(GasQuote { gas: 21_000, touched }), Ok(GasQuote { gas: 21_000, touched: None })];
    assert_eq!(quotes, expected);
    node.on("eth_createAccessList", |_| Reply::Error(-32601, "no such method"));
    let quotes = pool.quotes(&[call(TOKEN)], true).await;
    assert_eq!(quotes, [Ok(GasQuote { gas: 21_000, touched: None })], "it still knows the gas");
    pool.quotes(&[call(TOKEN)], false).await[0].clone().expect("answers");
    assert_eq!(node.calls_of("eth_createAccessList"), 3);
}
