//! Reads: shapes, and what lenient decoding lets through.

use alloy_primitives::{Address, B256, Bytes, U256, address};
use alloy_sol_types::{Revert, SolError};
use portcullis_core::amount::Amount;
use portcullis_core::withdrawal::BlockRef;
use serde_json::{Value, json};

use crate::scripted_node::{Reply, ScriptedNode, hash, header_json, pool_of};
use crate::{BlockTag, CallRequest, EstimateError, LogQuery, PoolLimits, ProviderPool, RpcFailure};

const SENDER: Address = address!("1111111111111111111111111111111111111111");
const TOKEN: Address = address!("3c499c542cEF5E3811e1192ce70d8cC03d5c3359");

fn setting() -> (ScriptedNode, ProviderPool) {
    let node = ScriptedNode::new();
    let pool = pool_of(&[&node], PoolLimits::default());
    (node, pool)
}

fn receipt_json(transaction: B256, status: Option<&str>, block: u64) -> Value {
    json!({
        "transactionHash": transaction,
        "blockHash": hash(block),
        "blockNumber": format!("{block:#x}"),
        "status": status,
        "gasUsed": "0x5208",
        "effectiveGasPrice": "0x77359400",
        "from": SENDER,
        "to": TOKEN,
        "type": "0x2",
        "logs": [{
            "address": TOKEN,
            "topics": [hash(1), hash(2)],
            "data": "0x01",
            "blockHash": hash(block),
            "blockNumber": format!("{block:#x}"),
            "transactionHash": transaction,
            "logIndex": "0x3",
            "removed": false,
        }],
    })
}

#[tokio::test]
async fn receipts_are_read_and_absence_is_none() {
    let (node, pool) = setting();
    node.on("eth_getTransactionReceipt", |params| {
        let asked: B256 = serde_json::from_value(params[0].clone()).expect("a hash");
        Reply::Value(match asked {
            it if it == hash(1) => receipt_json(it, Some("0x1"), 9),
            it if it == hash(2) => receipt_json(it, Some("0x0"), 9),
            it if it == hash(3) => {
                let mut pending = receipt_json(it, Some("0x1"), 9);
                pending["blockHash"] = json!(null);
                pending
            }
            _ => json!(null),
        })
    });
    let hashes: Vec<B256> = (1..=4).map(hash).collect();
    let receipts = pool.receipts(&hashes).await.expect("the node is well");
    let paid = receipts[0].as_ref().expect("mined");
    assert!(paid.succeeded);
    assert_eq!(paid.block, BlockRef { number: 9, hash: hash(9) });
    assert_eq!((paid.gas_used, paid.effective_gas_price_wei), (21_000, 2_000_000_000));
    assert_eq!((paid.from, paid.to), (SENDER, Some(TOKEN)));
    assert_eq!(paid.logs.len(), 1);
    assert_eq!(paid.logs[0].address, TOKEN);
    assert!(!receipts[1].as_ref().expect("mined").succeeded);
    assert_eq!(receipts[2], None, "not in a block yet");
    assert_eq!(receipts[3], None);
}

#[tokio::test]
async fn a_receipt_without_a_status_or_of_another_transaction_is_malformed() {
    let (node, pool) = setting();
    for reply in [receipt_json(hash(1), None, 9), receipt_json(hash(2), Some("0x1"), 9)] {
        node.on("eth_getTransactionReceipt", move |_| Reply::Value(reply.clone()));
        let error = pool.receipts(&[hash(1)]).await.expect_err("refused");
        assert!(matches!(error.failure, RpcFailure::Malformed(_)), "{error}");
    }
}

fn transaction_json(from: Address, nonce: u64) -> Value {
    json!({
        "hash": hash(1_000 + nonce),
        "type": "0x2",
        "from": from,
        "nonce": format!("{nonce:#x}"),
        "to": TOKEN,
        "value": "0x5",
        "input": "0xa9059cbb",
    })
}

fn block_json(number: u64, transactions: &[Value]) -> Value {
    let mut block = header_json(number, hash(number), hash(number.saturating_sub(1)));
    block["transactions"] = json!(transactions);
    block
}

#[tokio::test]
async fn a_block_with_polygons_state_sync_is_read() {
    let (node, pool) = setting();
    let state_sync = json!({ "hash": hash(77), "type": "0x7f", "to": Address::ZERO, "extra": {} });
    let block = block_json(5, &[transaction_json(SENDER, 4), state_sync]);
    node.on("eth_getBlockByNumber", move |_| Reply::Value(block.clone()));
    let block = pool.block_transactions(5).await.expect("readable").expect("it exists");
    assert_eq!(block.header.timestamp_ms, 16_000);
    assert_eq!(block.header.base_fee_wei, 0, "a chain without a base fee");
    let [ours, synthetic] = &block.transactions[..] else { panic!("two transactions") };
    assert_eq!((ours.from, ours.nonce, ours.value), (SENDER, 4, U256::from(5)));
    assert_eq!(ours.payload().expect("a call").to, TOKEN);
    assert_eq!((synthetic.transaction_type, synthetic.from), (0x7f, Address::ZERO));
}

#[tokio::test]
async fn a_known_type_without_its_sender_is_malformed() {
    let (node, pool) = setting();
    let block = block_json(5, &[json!({ "hash": hash(1), "type": "0x2", "nonce": "0x1" })]);
    node.on("eth_getBlockByNumber", move |_| Reply::Value(block.clone()));
    let error = pool.block_transactions(5).await.expect_err("it would hide a sender");
    assert!(matches!(error.failure, RpcFailure::Malformed(_)), "{error}");
}

/// A chain of 1,000 blocks in which `SENDER` sends nonce `n` in block `10 * n + 7`.
fn chain_of_a_sender(node: &ScriptedNode, skipped_nonce: Option<u64>) {
    fn number_of(value: &Value) -> u64 {
        u64::from_str_radix(&value.as_str().expect("a quantity")[2..], 16).expect("hexadecimal")
    }
    node.on("eth_getTransactionCount", |params| {
        let count = (number_of(&params[1]) + 3) / 10;
        Reply::Value(json!(format!("{count:#x}")))
    });
    node.on("eth_getBlockByNumber", move |params| {
        let number = number_of(&params[0]);
        let nonce = number / 10;
        let is_sent = number % 10 == 7 && skipped_nonce != Some(nonce);
        let ours = is_sent.then(|| transaction_json(SENDER, nonce));
        let mut transactions = vec![transaction_json(TOKEN, nonce)];
        transactions.extend(ours);
        Reply::Value(block_json(number, &transactions))
    });
    node.on("eth_getTransactionReceipt", |params| {
        let asked: B256 = serde_json::from_value(params[0].clone()).expect("a hash");
        let nonce = (0..100).find(|nonce| hash(1_000 + nonce) == asked).expect("ours");
        Reply::Value(receipt_json(asked, Some("0x1"), 10 * nonce + 7))
    });
}

#[tokio::test]
async fn the_block_that_consumed_a_nonce_is_found() {
    let (node, pool) = setting();
    chain_of_a_sender(&node, None);
    for (nonce, low, high) in
        [(0, 0, 999), (42, 0, 999), (42, 426, 427), (42, 100, 427), (42, 427, 999), (99, 3, 999)]
    {
        let found = pool.find_consumption(SENDER, nonce, low, high).await.expect("readable");
        let found = found.expect("it is consumed");
        assert_eq!(found.block.number, 10 * nonce + 7);
        let transaction = found.transaction.expect("the sender's own");
        assert_eq!((transaction.from, transaction.nonce), (SENDER, nonce));
        assert_eq!(transaction.succeeded, Some(true));
    }
    let found = pool.find_consumption(SENDER, 42, 0, 426).await;
    assert_eq!(found, Ok(None), "not yet consumed at the upper end");
    let one_search = node.packets().len();
    pool.find_consumption(SENDER, 42, 0, 999).await.expect("readable");
    assert!(node.packets().len() - one_search <= 6, "few round trips");
}

#[tokio::test]
async fn a_nonce_that_no_transaction_consumed_is_not_unconsumed() {
    let (node, pool) = setting();
    chain_of_a_sender(&node, Some(42));
    let found = pool.find_consumption(SENDER, 42, 0, 999).await.expect("readable");
    let found = found.expect("consumed");
    assert_eq!((found.block.number, found.transaction), (427, None));
}

#[tokio::test]
async fn balances_decimals_and_code() {
    let (node, pool) = setting();
    node.on("eth_getBalance", |_| Reply::Value(json!("0xde0b6b3a7640000")));
    node.on("eth_getCode", |params| {
        Reply::Value(if params[0] == json!(TOKEN) { json!("0x6001") } else { json!("0x") })
    });
    node.on("eth_call", |params| {
        let (to, input) = (&params[0]["to"], params[0]["input"].as_str().expect("calldata"));
        if *to != json!(TOKEN) {
            return Reply::Value(json!("0x"));
        }
        // `decimals()` is 313ce567, `balanceOf(address)` is 70a08231.
        let word = if input == "0x313ce567" { 6_u64 } else { 1_234 };
        assert!(input.starts_with("0x313ce567") || input.starts_with("0x70a08231"));
        Reply::Value(json!(B256::from(U256::from(word))))
    });
    let atomic = |units: u64| Amount::from_atomic(U256::from(units));
    let wei = pool.native_balances(&[SENDER], BlockTag::Latest).await;
    assert_eq!(wei, Ok(vec![atomic(1_000_000_000_000_000_000)]));
    let held = pool.token_balances(&[(TOKEN, SENDER)], BlockTag::Number(7)).await;
    assert_eq!(held, Ok(vec![atomic(1_234)]));
    assert_eq!(pool.token_decimals(&[TOKEN]).await, Ok(vec![6]));
    assert_eq!(pool.codes(&[TOKEN, SENDER]).await, Ok(vec![true, false]));
    let error = pool.token_decimals(&[SENDER]).await.expect_err("there is no token");
    assert!(matches!(error.failure, RpcFailure::Contract(_)), "{error}");
    assert_eq!(pool.statuses()[0].failures_in_a_row, 0, "not the provider's fault");
}

#[tokio::test]
async fn estimates_fail_one_by_one() {
    let (node, pool) = setting();
    node.on("eth_estimateGas", |params| match params[0]["value"].as_str() {
        Some("0x0") => Reply::Value(json!("0x5208")),
        Some("0x1") => {
            let data = Bytes::from(Revert::from("paused").abi_encode());
            Reply::ErrorWithData(3, "execution reverted: paused", json!(data))
        }
        Some("0x2") => Reply::Error(-32000, "insufficient funds for transfer"),
        Some("0x3") => Reply::Error(-32000, "header not found"),
        _ => Reply::Nothing,
    });
    let call = |value: u64| CallRequest {
        from: SENDER,
        to: TOKEN,
        value: U256::from(value),
        input: Bytes::new(),
        gas: None,
    };
    let calls: Vec<CallRequest> = (0..5).map(call).collect();
    let results = pool.estimate_gas(&calls).await;
    assert_eq!(results[0], Ok(21_000));
    let (reason, selector) = (Some("paused".to_owned()), Some(Revert::SELECTOR));
    assert_eq!(results[1], Err(EstimateError::Reverted { reason, selector }));
    assert_eq!(results[2], Err(EstimateError::InsufficientFunds));
    assert!(matches!(
        &results[3],
        Err(EstimateError::Read(error)) if matches!(error.failure, RpcFailure::Rpc { .. })
    ));
    assert!(matches!(
        &results[4],
        Err(EstimateError::Read(error)) if error.failure == RpcFailure::Missing
    ));
}

#[tokio::test]
async fn another_provider_is_asked_for_the_estimates_that_are_open() {
    let (first, second) = (ScriptedNode::new(), ScriptedNode::new());
    first.on("eth_estimateGas", |params| match params[0]["value"].as_str() {
        Some("0x0") => Reply::Error(-32000, "execution reverted"),
        _ => Reply::Error(-32603, "internal error"),
    });
    second.on("eth_estimateGas", |_| Reply::Value(json!("0x5208")));
    let pool = pool_of(&[&first, &second], PoolLimits::default());
    let call = |value: u64| CallRequest {
        from: SENDER,
        to: TOKEN,
        value: U256::from(value),
        input: Bytes::new(),
        gas: None,
    };
    let results = pool.estimate_gas(&[call(0), call(1)]).await;
    assert_eq!(
        results,
        [Err(EstimateError::Reverted { reason: None, selector: None }), Ok(21_000)]
    );
    assert_eq!(second.calls_of("eth_estimateGas"), 1);
}

#[tokio::test]
async fn logs_are_read_with_their_places() {
    let (node, pool) = setting();
    let log = receipt_json(hash(1), Some("0x1"), 9)["logs"][0].clone();
    let mut removed = log.clone();
    removed["removed"] = json!(true);
    node.on("eth_getLogs", move |params| {
        let filter = &params[0];
        assert_eq!((&filter["fromBlock"], &filter["toBlock"]), (&json!("0x5"), &json!("0x9")));
        assert_eq!(filter["topics"], json!([null, [hash(2)]]));
        assert_eq!(filter["address"], json!([TOKEN]));
        Reply::Value(json!([log, removed]))
    });
    let query =
        LogQuery { addresses: vec![TOKEN], topics: vec![vec![], vec![hash(2)]], blocks: 5..=9 };
    let logs = pool.logs(&query).await.expect("readable");
    assert_eq!(logs.len(), 1);
    assert_eq!((logs[0].block.number, logs[0].log_index), (9, 3));
    assert_eq!(logs[0].transaction_hash, hash(1));
}

#[tokio::test]
async fn transactions_are_found_by_hash_mined_or_not() {
    let (node, pool) = setting();
    node.on("eth_getTransactionByHash", |params| {
        let mut known = transaction_json(SENDER, 4);
        if params[0] == json!(hash(1_004)) {
            known["blockNumber"] = json!("0x9");
            known["blockHash"] = json!(hash(9));
            return Reply::Value(known);
        }
        if params[0] == json!(hash(1_005)) {
            return Reply::Value(transaction_json(SENDER, 5));
        }
        Reply::Value(json!(null))
    });
    let asked = [hash(1_004), hash(1_005), hash(1_006)];
    let known = pool.transactions_by_hash(&asked).await.expect("readable");
    let mined = known[0].as_ref().expect("known");
    assert_eq!(mined.block, Some(BlockRef { number: 9, hash: hash(9) }));
    assert_eq!(known[1].as_ref().expect("known").block, None);
    assert_eq!(known[2], None);
}

/// The engine runs its steps on a runtime of several threads.
#[test]
fn what_is_awaited_can_move_between_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let (_node, pool) = setting();
    drop(is_send(pool.send(&[])));
    drop(is_send(pool.receipts(&[])));
    drop(is_send(pool.find_consumption(SENDER, 0, 0, 0)));
    drop(is_send(pool.estimate_gas(&[])));
    drop(is_send(crate::Follower::default().step(&pool, &[])));
}
