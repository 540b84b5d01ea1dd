//! Failures: each is recognised, named, and never taken for an absence.

use alloy_primitives::{B256, Bytes};
use serde_json::json;

use crate::scripted_node::{
    Fault, Reply, ScriptedNode, TestClock, hash, header_json, pool_at, pool_of,
};
use crate::{
    BreakerState, ChainCheck, PoolError, PoolLimits, Provider, ProviderPool, RpcFailure,
    SendOutcome, UnknownKind,
};

fn limits(batch_items_max: usize) -> PoolLimits {
    PoolLimits { batch_items_max, ..PoolLimits::default() }
}

fn hashes(count: u64) -> Vec<B256> {
    (0..count).map(hash).collect()
}

fn null_receipts(node: &ScriptedNode) {
    node.on("eth_getTransactionReceipt", |_| Reply::Value(json!(null)));
}

/// Bytes whose first one says how the node answers.
fn signed(kinds: &[u8]) -> Vec<(B256, Bytes)> {
    kinds.iter().map(|kind| (B256::repeat_byte(*kind), Bytes::from(vec![*kind]))).collect()
}

fn answer_sends(node: &ScriptedNode) {
    node.on("eth_sendRawTransaction", |params| match params[0].as_str() {
        Some("0x01") => Reply::Value(json!(B256::repeat_byte(1))),
        Some("0x02") => Reply::Error(-32000, "already known"),
        Some("0x03") => Reply::Value(json!(B256::ZERO)),
        Some("0x04") => Reply::Nothing,
        Some("0x05") => Reply::Value(json!("not a hash")),
        _ => Reply::Error(-32000, "insufficient funds for gas * price + value"),
    });
}

fn kind_of(outcome: &SendOutcome) -> Option<UnknownKind> {
    match outcome {
        SendOutcome::Unknown { kind, .. } => Some(*kind),
        _ => None,
    }
}

#[tokio::test]
async fn every_failure_of_a_packet_is_named_and_is_no_absence() {
    let node = ScriptedNode::new();
    null_receipts(&node);
    let pool = pool_of(&[&node], limits(100));
    assert_eq!(pool.receipts(&hashes(2)).await, Ok(vec![None, None]));
    for (fault, kind) in [
        (Fault::Http(429, "slow down"), "rate_limited"),
        (Fault::Http(503, "down"), "http"),
        (Fault::Http(504, "gateway timeout"), "timeout"),
        (Fault::Reset, "transport"),
        (Fault::Malformed, "malformed"),
        (Fault::Refusal(-32600, "batch too large"), "batch_refused"),
        (Fault::Refusal(429, "Too Many Requests"), "rate_limited"),
    ] {
        node.fail_next(fault);
        let error = pool.receipts(&hashes(2)).await.expect_err("a failure");
        assert_eq!(error.failure.kind(), kind);
        assert_eq!(
            (error.provider.as_str(), error.method),
            ("node-0", "eth_getTransactionReceipt")
        );
        // An answer in between: several failures in a row would open its breaker.
        assert_eq!(pool.receipts(&hashes(2)).await, Ok(vec![None, None]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_is_given_up() {
    let node = ScriptedNode::new();
    null_receipts(&node);
    let pool = pool_of(&[&node], limits(100));
    node.fail_next(Fault::Hang);
    let error = pool.receipts(&hashes(1)).await.expect_err("no answer");
    assert_eq!(error.failure, RpcFailure::Timeout);
    node.fail_next(Fault::Hang);
    answer_sends(&node);
    let outcomes = pool.send(&signed(&[1])).await;
    assert_eq!(kind_of(&outcomes[0]), Some(UnknownKind::Timeout));
}

#[tokio::test]
async fn one_bad_item_is_the_error_of_the_set() {
    let node = ScriptedNode::new();
    let pool = pool_of(&[&node], limits(100));
    let bad = json!(hash(1));
    node.on("eth_getTransactionReceipt", move |params| {
        if params[0] == bad {
            return Reply::Error(-32000, "transaction indexing is in progress");
        }
        Reply::Value(json!(null))
    });
    let error = pool.receipts(&hashes(3)).await.expect_err("one failed");
    assert!(matches!(error.failure, RpcFailure::Rpc { code: -32000, .. }), "{error}");
    // An answer with an error is an answer: the provider is fine.
    assert!(pool.statuses()[0].healthy);
    assert_eq!(pool.statuses()[0].failures_in_a_row, 0);
}

#[tokio::test]
async fn what_a_batch_leaves_out_is_asked_once_more_and_then_an_error() {
    let node = ScriptedNode::new();
    let pool = pool_of(&[&node], limits(100));
    let gone = json!(hash(1));
    node.on("eth_getTransactionReceipt", move |params| {
        if params[0] == gone { Reply::Nothing } else { Reply::Value(json!(null)) }
    });
    let error = pool.receipts(&hashes(3)).await.expect_err("one is missing");
    assert_eq!(error.failure, RpcFailure::Missing);
    assert_eq!(node.packets(), [3, 1]);
    assert_eq!(pool.statuses()[0].failures_in_a_row, 2);
}

#[tokio::test]
async fn batches_are_bounded_and_answers_stay_in_order() {
    let node = ScriptedNode::new();
    node.on("eth_getTransactionCount", |params| {
        let account = params[0].as_str().expect("an address");
        Reply::Value(json!(format!("0x{}", &account[40..])))
    });
    let pool = pool_of(&[&node], limits(2));
    let accounts: Vec<_> = (1..=5).map(alloy_primitives::Address::with_last_byte).collect();
    let counts = pool.transaction_counts(&accounts, crate::BlockTag::Latest).await;
    assert_eq!(counts, Ok(vec![1, 2, 3, 4, 5]));
    assert_eq!(node.packets(), [2, 2, 1]);
    assert_eq!(node.calls_of("eth_chainId"), 1, "checked on first use only");
}

#[tokio::test]
async fn sends_are_judged_one_by_one_and_never_repeated() {
    let node = ScriptedNode::new();
    answer_sends(&node);
    let pool = pool_of(&[&node], limits(100));
    let outcomes = pool.send(&signed(&[1, 2, 3, 4, 5, 6])).await;
    assert_eq!(outcomes[0], SendOutcome::Accepted);
    assert_eq!(outcomes[1], SendOutcome::AlreadyKnown);
    assert_eq!(kind_of(&outcomes[2]), Some(UnknownKind::WrongAnswer), "another hash");
    assert_eq!(kind_of(&outcomes[3]), Some(UnknownKind::Unanswered));
    assert_eq!(kind_of(&outcomes[4]), Some(UnknownKind::WrongAnswer), "no hash");
    assert_eq!(outcomes[5], SendOutcome::InsufficientFunds);
    assert_eq!(node.packets(), [6]);
    node.fail_next(Fault::Refusal(-32000, "insufficient funds for gas * price + value"));
    let outcomes = pool.send(&signed(&[1, 6])).await;
    assert!(outcomes.iter().all(|it| kind_of(it) == Some(UnknownKind::Unanswered)), "{outcomes:?}");
    assert!(pool.send(&[]).await.is_empty());
}

#[tokio::test]
async fn a_wrong_chain_is_named_and_never_used() {
    let node = ScriptedNode::new();
    node.on("eth_chainId", |_| Reply::Value(json!("0x1")));
    null_receipts(&node);
    answer_sends(&node);
    let pool = pool_of(&[&node], limits(100));
    let wrong = RpcFailure::WrongChain { expected: 31_337, actual: 1 };
    let error = pool.receipts(&hashes(1)).await.expect_err("a wrong chain");
    assert_eq!(error.failure, wrong);
    let outcomes = pool.send(&signed(&[1])).await;
    assert!(outcomes[0].maybe_live());
    assert_eq!(kind_of(&outcomes[0]), Some(UnknownKind::Network));
    assert_eq!(node.packets(), [0_usize; 0], "nothing but the check was asked");
    let status = &pool.statuses()[0];
    assert_eq!(status.chain, ChainCheck::Wrong(1));
    assert!(!status.healthy);
    // Corrected: a check finds it out.
    node.on("eth_chainId", |_| Reply::Value(json!("0x7a69")));
    assert_eq!(pool.check_chain_id().await, Ok(()));
    assert_eq!(pool.receipts(&hashes(1)).await, Ok(vec![None]));
}

#[tokio::test]
async fn the_chain_is_checked_again_after_the_connection_failed() {
    let node = ScriptedNode::new();
    null_receipts(&node);
    let pool = pool_of(&[&node], limits(100));
    assert_eq!(pool.receipts(&hashes(1)).await, Ok(vec![None]));
    node.on("eth_chainId", |_| Reply::Value(json!("0x1")));
    assert_eq!(pool.receipts(&hashes(1)).await, Ok(vec![None]), "verified before");
    node.fail_next(Fault::Reset);
    pool.receipts(&hashes(1)).await.expect_err("a reset");
    let error = pool.receipts(&hashes(1)).await.expect_err("another node answers");
    assert!(matches!(error.failure, RpcFailure::WrongChain { .. }));
}

#[tokio::test]
async fn reads_move_on_in_the_order_of_the_score_and_sends_go_to_all() {
    let (first, second) = (ScriptedNode::new(), ScriptedNode::new());
    null_receipts(&second);
    answer_sends(&first);
    answer_sends(&second);
    let clock = TestClock::at(0);
    let pool = pool_at(&[&first, &second], limits(100), clock.clone());
    first.on("eth_getTransactionReceipt", |_| Reply::Error(-32000, "no"));
    assert_eq!(pool.receipts(&hashes(1)).await, Ok(vec![None]));
    assert_eq!(first.packets().len(), 1, "the configured order decides among equals");
    assert_eq!(pool.receipts(&hashes(1)).await, Ok(vec![None]));
    assert_eq!(first.packets().len(), 1, "who failed just now is asked last");
    assert!(pool.statuses()[0].healthy, "it answers, if only with errors");
    first.fail_next(Fault::Reset);
    let outcomes = pool.send(&signed(&[1, 6])).await;
    assert_eq!(outcomes[0], SendOutcome::Accepted);
    assert_eq!(kind_of(&outcomes[1]), Some(UnknownKind::Network), "one of two is in doubt");
    assert_eq!(second.calls_of("eth_sendRawTransaction"), 2);
    // What was is forgotten, and the configured order decides again.
    null_receipts(&first);
    let asked = first.packets().len();
    clock.advance(300_000);
    assert_eq!(pool.receipts(&hashes(1)).await, Ok(vec![None]));
    assert_eq!(first.packets().len(), asked + 1);
}

#[tokio::test]
async fn who_fails_again_and_again_is_left_alone_and_tried_again() {
    let (first, second) = (ScriptedNode::new(), ScriptedNode::new());
    for node in [&first, &second] {
        answer_sends(node);
        null_receipts(node);
    }
    let clock = TestClock::at(0);
    let pool = pool_at(&[&first, &second], limits(100), clock.clone());
    let state = || pool.statuses()[0].breaker;
    for _ in 0..3 {
        assert_eq!(state(), BreakerState::Closed);
        first.fail_next(Fault::Reset);
        pool.send(&signed(&[1])).await;
    }
    let status = &pool.statuses()[0];
    assert_eq!((status.breaker, status.failures_in_a_row), (BreakerState::Open, 3));
    assert!(!status.healthy && status.last_error.as_ref().is_some_and(|it| it.contains("reset")));
    let asked = first.packets().len();
    assert_eq!(
        pool.send(&signed(&[6])).await,
        [SendOutcome::InsufficientFunds],
        "the other's word"
    );
    assert_eq!(pool.receipts(&hashes(1)).await, Ok(vec![None]));
    let error = pool.upstreams()[0].receipts(&hashes(1)).await.expect_err("left alone");
    let RpcFailure::CircuitOpen { cause, retry_after_ms } = error.failure else {
        panic!("{error}")
    };
    assert!(cause.contains("reset") && retry_after_ms == 1_000, "{cause}");
    assert_eq!(first.packets().len(), asked);
    // Its trial fails: twice as long.
    clock.advance(1_000);
    assert_eq!(state(), BreakerState::HalfOpen);
    first.fail_next(Fault::Reset);
    pool.send(&signed(&[1])).await;
    assert_eq!(first.packets().len(), asked + 1);
    clock.advance(1_999);
    assert_eq!(state(), BreakerState::Open);
    clock.advance(1);
    pool.send(&signed(&[1])).await;
    assert!(pool.statuses()[0].healthy);
    assert_eq!(first.packets().len(), asked + 2);
}

#[tokio::test]
async fn a_trial_that_is_given_up_leaves_the_next_one_free() {
    let node = ScriptedNode::new();
    null_receipts(&node);
    let clock = TestClock::at(0);
    let pool = pool_at(&[&node], limits(100), clock.clone());
    for _ in 0..3 {
        node.fail_next(Fault::Reset);
        pool.receipts(&hashes(1)).await.expect_err("a reset");
    }
    let error = pool.receipts(&hashes(1)).await.expect_err("left alone");
    assert_eq!(error.failure.kind(), "circuit_open");
    clock.advance(1_000);
    // A step that is dropped while the node hangs.
    node.fail_next(Fault::Hang);
    let trial = futures::FutureExt::now_or_never(pool.receipts(&[hash(1)]));
    assert!(trial.is_none(), "it hangs");
    assert_eq!(pool.statuses()[0].breaker, BreakerState::HalfOpen);
    assert_eq!(pool.receipts(&hashes(1)).await, Ok(vec![None]));
    assert!(pool.statuses()[0].healthy);
}

#[tokio::test]
async fn chance_lengthens_an_opening() {
    let node = ScriptedNode::new();
    let pool = pool_of(&[&node], limits(100)).with_chance(std::sync::Arc::new(|| 100));
    for _ in 0..3 {
        node.fail_next(Fault::Reset);
        pool.receipts(&hashes(1)).await.expect_err("a reset");
    }
    let error = pool.receipts(&hashes(1)).await.expect_err("left alone");
    assert!(matches!(error.failure, RpcFailure::CircuitOpen { retry_after_ms: 1_100, .. }));
}

#[tokio::test]
async fn a_provider_on_a_wrong_chain_does_not_spoil_the_others() {
    let (wrong, right) = (ScriptedNode::new(), ScriptedNode::new());
    wrong.on("eth_chainId", |_| Reply::Value(json!("0x1")));
    answer_sends(&wrong);
    answer_sends(&right);
    let pool = pool_of(&[&wrong, &right], limits(100));
    assert_eq!(pool.send(&signed(&[6])).await, [SendOutcome::InsufficientFunds]);
    assert_eq!(wrong.calls_of("eth_sendRawTransaction"), 0);
    let error = pool.check_chain_id().await.expect_err("one is wrong");
    assert_eq!(error.provider, "node-0");
}

#[tokio::test]
async fn an_answer_to_another_question_is_malformed() {
    let node = ScriptedNode::new();
    node.on("eth_getBlockByNumber", |_| Reply::Value(header_json(7, hash(7), hash(6))));
    let pool = pool_of(&[&node], limits(100));
    let error = pool.header(8).await.expect_err("another block");
    assert!(matches!(error.failure, RpcFailure::Malformed(_)), "{error}");
    assert_eq!(pool.statuses()[0].failures_in_a_row, 1);
}

#[tokio::test]
async fn a_pool_needs_providers_with_names_of_their_own() {
    let chain = portcullis_core::chain::ChainSpec::by_network("localhost").expect("known");
    let make = |names: &[&str]| {
        let client = ScriptedNode::new().client();
        let providers =
            names.iter().map(|name| Provider::from_client(*name, "us", client.clone())).collect();
        let clock = TestClock::at(0);
        ProviderPool::new(chain, providers, clock, PoolLimits::default()).err()
    };
    assert_eq!(make(&[]), Some(PoolError::Empty { network: "localhost" }));
    let name = "a".to_owned();
    assert_eq!(make(&["a", "a"]), Some(PoolError::DuplicateName { network: "localhost", name }));
    assert_eq!(make(&["a", "b"]), None);
}
