//! Quorum reads: who counts, what is missing, and what is said when it is too little.

use std::sync::Arc;

use portcullis_core::chain::ChainSpec;
use serde_json::json;

use crate::scripted_node::{Reply, ScriptedNode, TestClock, hash, header_json};
use crate::{Decision, Evidence, PoolLimits, Provider, ProviderPool, QuorumError};

/// A pool over one node that answers with null receipts, as providers of these operators.
fn pool(network: &str, operators: &[&str], quorum: usize) -> (ScriptedNode, ProviderPool) {
    let node = ScriptedNode::new();
    let chain = ChainSpec::by_network(network).expect("in the catalogue");
    let chain_id = chain.chain_id;
    node.on("eth_chainId", move |_| Reply::Value(json!(format!("{chain_id:#x}"))));
    node.on("eth_getTransactionReceipt", |_| Reply::Value(json!(null)));
    let providers = operators.iter().enumerate().map(|(index, operator)| {
        Provider::from_client(format!("p{index}"), *operator, node.client())
    });
    let limits = PoolLimits { quorum, ..PoolLimits::default() };
    let pool = ProviderPool::new(chain, providers.collect(), TestClock::at(0), limits);
    (node, pool.expect("well formed"))
}

#[tokio::test]
async fn too_few_operators_are_told_before_anything_is_asked() {
    for (network, operators, quorum, decision, expected) in [
        ("polygon", &["x"][..], 2, Decision::Release, (1, 2)),
        ("polygon", &["x", "x"], 2, Decision::Release, (1, 2)),
        ("polygon", &["x", "y"], 3, Decision::Paid, (2, 3)),
        ("localhost", &["x", "y"], 3, Decision::Release, (2, 3)),
    ] {
        let (node, pool) = pool(network, operators, quorum);
        let (have, need) = expected;
        let error = pool.quorum_receipts(&[hash(1)], decision).await;
        assert_eq!(error, Err(QuorumError::TooFew { have, need }), "{operators:?}");
        assert_eq!(node.packets(), [0_usize; 0]);
    }
}

#[tokio::test]
async fn one_operator_is_believed_about_payments_and_locally_about_releases() {
    for (network, decision) in [
        ("polygon", Decision::Paid),
        ("localhost", Decision::Paid),
        ("localhost", Decision::Release),
    ] {
        let (_node, pool) = pool(network, &["x", "x"], 2);
        assert_eq!(pool.independent(), 1);
        let receipts = pool.quorum_receipts(&[hash(1)], decision).await;
        assert_eq!(receipts, Ok(vec![Evidence::Absent { operators: 1 }]), "{network}");
    }
}

#[tokio::test]
async fn nothing_asked_is_nothing_answered_and_silence_is_an_error() {
    let (node, pool) = pool("polygon", &["x", "y"], 2);
    assert_eq!(pool.quorum_receipts(&[], Decision::Paid).await, Ok(Vec::new()));
    assert_eq!(pool.agreed_counts(&[], 7).await, Ok(Vec::new()));
    assert_eq!(node.packets(), [0_usize; 0]);
    node.on("eth_getTransactionReceipt", |_| Reply::Error(-32603, "internal error"));
    let error = pool.quorum_receipts(&[hash(1)], Decision::Paid).await.expect_err("silence");
    assert!(
        matches!(error, QuorumError::Unanswered { have: 0, need: 2, last: Some(_) }),
        "{error}"
    );
    let error = pool.agreed_counts(&[alloy_primitives::Address::ZERO], 7).await;
    let error = error.expect_err("the method does not exist");
    assert!(
        matches!(error, QuorumError::Unanswered { have: 0, need: 2, last: Some(_) }),
        "{error}"
    );
}

#[tokio::test]
async fn one_item_without_an_answer_does_not_hide_the_others() {
    let (node, pool) = pool("localhost", &["x"], 2);
    let bad = json!(hash(1));
    node.on("eth_getTransactionReceipt", move |params| {
        if params[0] == bad { Reply::Error(-32000, "no") } else { Reply::Value(json!(null)) }
    });
    let receipts = pool.quorum_receipts(&[hash(0), hash(1)], Decision::Paid).await;
    assert_eq!(receipts, Ok(vec![Evidence::Absent { operators: 1 }, Evidence::Unanswered]));
}

#[tokio::test]
async fn a_single_provider_costs_no_more_reads_than_before() {
    let (node, pool) = pool("localhost", &["x"], 2);
    node.on("eth_getBlockByNumber", |_| Reply::Value(header_json(9, hash(9), hash(8))));
    node.on("eth_getTransactionCount", |_| Reply::Value(json!("0x3")));
    let agreed = pool.agreed_head(&[]).await.expect("it answers");
    assert_eq!((agreed.head.number, agreed.operators), (9, 1));
    let counts = pool.agreed_counts(&[alloy_primitives::Address::ZERO], 9).await;
    assert_eq!(counts.expect("it answers")[0].count, 3);
    assert_eq!(node.packets(), [1, 1]);
}

/// The engine runs its steps on a runtime of several threads.
#[test]
fn what_is_awaited_can_move_between_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let (_node, pool) = pool("localhost", &["x"], 2);
    let shared = Arc::new(pool);
    drop(is_send(shared.quorum_receipts(&[], Decision::Paid)));
    drop(is_send(shared.quorum_consumption((alloy_primitives::Address::ZERO, 0), 0, 0)));
    drop(is_send(shared.agreed_counts(&[], 0)));
    drop(is_send(shared.agreed_head(&[])));
    drop(is_send(shared.check_health()));
}
