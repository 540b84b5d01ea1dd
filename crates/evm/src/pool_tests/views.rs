//! Several providers of a simulated Polygon: views of one node, forks of it, and liars in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use alloy_primitives::{Address, B256, U256, address, keccak256};
use portcullis_core::time::Timestamp;
use portcullis_testkit::{
    Fault, SignedTestTransaction, SimConfig, SimNode, TestClock, TestTransaction, dev_key,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::liar::{View, pool_of_views};
use crate::{
    AgreedCount, ChainLink, Decision, Evidence, Follower, ProviderFault, ProviderPool, QuorumError,
    Receipt, SendOutcome,
};

const PAYEE: Address = address!("00000000000000000000000000000000000000aa");

fn sender() -> Address {
    dev_key(1).address
}

fn transfer(nonce: u64, wei: u64) -> SignedTestTransaction {
    TestTransaction::transfer(137, nonce, PAYEE, U256::from(wei)).sign(&dev_key(1))
}

/// A chain of some blocks in which the sender sent nonces 0 to 2, and the hash of nonce 1.
fn world() -> (SimNode, TestClock, B256) {
    let config = SimConfig::default();
    let clock = TestClock::at(config.genesis_at);
    let node = SimNode::new(config);
    node.fund(sender(), U256::from(10).pow(U256::from(20)));
    mine(&node, &clock, 3);
    let mut hashes = Vec::new();
    for nonce in 0..3 {
        let signed = transfer(nonce, 5);
        node.send_raw(&signed.raw).expect("the pool takes it");
        hashes.push(signed.hash);
        mine(&node, &clock, 1);
    }
    mine(&node, &clock, 20);
    (node, clock, hashes[1])
}

fn mine(node: &SimNode, clock: &TestClock, blocks: u64) {
    for _ in 0..blocks {
        node.mine(clock.advance(2_000));
    }
}

fn names_of(pool: &ProviderPool) -> Vec<(String, ProviderFault)> {
    let statuses = pool.statuses();
    let of_one = |status: &crate::ProviderStatus| {
        let name = status.name.clone();
        status.faults.iter().map(move |it| (name.clone(), it.fault)).collect::<Vec<_>>()
    };
    statuses.iter().flat_map(of_one).collect()
}

fn only(name: &str, fault: ProviderFault) -> Vec<(String, ProviderFault)> {
    vec![(name.to_owned(), fault)]
}

async fn stored_chain(node: &SimNode, clock: &TestClock) -> Vec<ChainLink> {
    let pool = pool_of_views(vec![View::honest(node)], clock, 1);
    let follower = Follower { headers_max: 1_000, first_block: Some(0) };
    let update = follower.step(&pool, &[]).await.expect("an honest provider");
    update.new_headers.iter().map(ChainLink::from).collect()
}

async fn receipt(pool: &ProviderPool, hash: B256, decision: Decision) -> Evidence<Receipt> {
    pool.quorum_receipts(&[hash], decision).await.expect("they answer").remove(0)
}

#[tokio::test]
async fn a_node_hours_behind_is_named_and_the_others_go_on() {
    let (node, clock, _) = world();
    let stale = node.fork();
    let stored = stored_chain(&node, &clock).await;
    clock.advance(3 * 3_600_000);
    mine(&node, &clock, 5);
    let views = vec![View::honest(&stale), View::honest(&node), View::honest(&node)];
    let pool = pool_of_views(views, &clock, 2);
    let update = Follower::default().step(&pool, &stored).await.expect("two are well");
    assert_eq!((update.new_headers.len(), update.reorg), (5, None));
    assert_eq!(names_of(&pool), only("a", ProviderFault::Behind));
    let head = pool.head().await.expect("they answer");
    assert_eq!(head.number, node.head().number, "who lags is asked last");
    let counts = pool.agreed_counts(&[sender()], head.number).await.expect("two answer");
    assert_eq!(counts, [AgreedCount { count: 3, operators: 2 }]);
    let only_behind = only("a", ProviderFault::Behind);
    assert_eq!(names_of(&pool), only_behind, "it is not asked about a block that it does not have");
    // It catches up, block by block the same ones.
    for number in stale.head().number + 1..=node.head().number {
        let at = Timestamp::from_millis(update.new_headers[0].timestamp_ms);
        let ahead = i64::try_from(number - stored.len() as u64).expect("small") * 2_000;
        stale.mine(at.plus_millis(ahead));
    }
    assert_eq!(stale.head().hash, node.head().hash);
    pool.agreed_head(&stored).await.expect("all are well");
    assert_eq!(names_of(&pool), []);
}

#[tokio::test]
async fn a_node_is_behind_by_the_others_where_our_clock_says_nothing() {
    let (node, clock, _) = world();
    let stale = node.fork();
    let late = TestClock::at(Timestamp::from_millis(0));
    for (minutes, expected) in [(0, vec![]), (2, only("b", ProviderFault::Behind))] {
        clock.advance(minutes * 60_000);
        mine(&node, &clock, 1);
        let views = vec![View::honest(&node), View::honest(&stale), View::honest(&node)];
        let pool = pool_of_views(views, &late, 2);
        pool.check_health().await;
        assert_eq!(names_of(&pool), expected, "{minutes} minutes");
    }
}

#[tokio::test]
async fn all_behind_by_our_clock_are_all_named() {
    let (node, clock, _) = world();
    let pool = pool_of_views(vec![View::honest(&node), View::honest(&node)], &clock, 2);
    pool.check_health().await;
    assert_eq!(names_of(&pool), []);
    clock.advance(2 * 3_600_000);
    let statuses = pool.check_health().await;
    assert!(statuses.iter().all(|status| status.faults[0].fault == ProviderFault::Behind));
    assert!(statuses[0].faults[0].detail.contains("7200 s old"), "{statuses:?}");
}

#[tokio::test]
async fn a_node_that_lies_about_a_nonce_is_named_and_believed_by_nobody() {
    let (node, clock, _) = world();
    let head = node.head().number;
    for lie in ["0x63", "0x0"] {
        for position in 0..3 {
            let tell = move |method: &str, answer: &mut Value| {
                if method == "eth_getTransactionCount" {
                    *answer = json!(lie);
                }
            };
            let mut views = vec![View::honest(&node), View::honest(&node)];
            views.insert(position, View::lying(&node, tell));
            let pool = pool_of_views(views, &clock, 2);
            let counts = pool.agreed_counts(&[sender(), PAYEE], head).await.expect("they answer");
            assert_eq!((counts[0].count, counts[1].count), (3, 0), "{lie} at {position}");
            assert!(counts[0].operators >= 2);
            let name = ["a", "b", "c"][position];
            assert_eq!(names_of(&pool), only(name, ProviderFault::FalseNonce));
        }
    }
    // Of two, the higher one is not believed: it alone could stop the engine.
    let high = |method: &str, answer: &mut Value| {
        if method == "eth_getTransactionCount" {
            *answer = json!("0x63");
        }
    };
    let pool = pool_of_views(vec![View::lying(&node, high), View::honest(&node)], &clock, 2);
    let counts = pool.agreed_counts(&[sender()], head).await.expect("they answer");
    assert_eq!(counts, [AgreedCount { count: 3, operators: 2 }]);
    // With a quorum of one it is not either, and where it alone answers, it is one operator.
    let pool = pool_of_views(vec![View::lying(&node, high), View::honest(&node)], &clock, 1);
    assert_eq!(pool.agreed_counts(&[sender()], head).await, Ok(counts));
    let gone = View::faulty(&node, |_: &str, _: &Value| Fault::Drop);
    let pool = pool_of_views(vec![View::lying(&node, high), gone], &clock, 1);
    let alone = pool.agreed_counts(&[sender()], head).await.expect("one answers");
    assert_eq!(alone, [AgreedCount { count: 99, operators: 1 }]);
    assert_eq!(pool.needed(Decision::Stop), Ok(2), "too few to stop for");
}

#[tokio::test]
async fn an_absent_receipt_never_wins() {
    let (node, clock, hash) = world();
    let none = || {
        View::faulty(&node, |method: &str, _: &Value| {
            if method == "eth_getTransactionReceipt" { Fault::NullRead } else { Fault::None }
        })
    };
    for position in 0..3 {
        let mut views = vec![View::honest(&node), View::honest(&node)];
        views.insert(position, none());
        let pool = pool_of_views(views, &clock, 2);
        let found = receipt(&pool, hash, Decision::Release).await;
        assert!(matches!(found, Evidence::Agreed { agreeing: 2, dissenting: 0, .. }), "{found:?}");
        assert_eq!(names_of(&pool), [], "to show none is no fault");
    }
    let pool = pool_of_views(vec![none(), View::honest(&node)], &clock, 2);
    let found = receipt(&pool, hash, Decision::Paid).await;
    assert!(matches!(found, Evidence::Unconfirmed { agreeing: 1, .. }), "{found:?}");
    let pool = pool_of_views(vec![none(), none()], &clock, 2);
    assert_eq!(receipt(&pool, hash, Decision::Paid).await, Evidence::Absent { operators: 2 });
}

#[tokio::test]
async fn a_false_receipt_is_disputed_or_named() {
    let (node, clock, hash) = world();
    let lies: [fn(&mut Value); 3] = [
        |receipt| receipt["status"] = json!("0x0"),
        |receipt| receipt["blockHash"] = json!(B256::repeat_byte(9)),
        |receipt| {
            let log = json!({"address": PAYEE, "topics": [], "data": "0x", "logIndex": "0x0"});
            receipt["logs"] = json!([log]);
        },
    ];
    for lie in lies {
        let is_lying = Arc::new(AtomicBool::new(true));
        let view = || {
            let is_lying = Arc::clone(&is_lying);
            View::lying(&node, move |method, answer| {
                let lies = is_lying.load(Ordering::Relaxed);
                if method == "eth_getTransactionReceipt" && lies {
                    lie(answer);
                }
            })
        };
        let pool = pool_of_views(vec![view(), View::honest(&node)], &clock, 2);
        let found = receipt(&pool, hash, Decision::Paid).await;
        let Evidence::Disputed { versions } = found else { panic!("{found:?}") };
        assert_eq!(versions.len(), 2);
        assert_eq!(pool.disputes(), [format!("receipt {hash}: versions of 1 and 1 operators")]);
        assert_eq!(names_of(&pool), [], "nobody knows which of the two it is");
        is_lying.store(false, Ordering::Relaxed);
        let found = receipt(&pool, hash, Decision::Paid).await;
        assert!(found.undisputed().is_some(), "{found:?}");
        assert_eq!(pool.disputes(), [""; 0]);

        is_lying.store(true, Ordering::Relaxed);
        let views = vec![view(), View::honest(&node), View::honest(&node)];
        let pool = pool_of_views(views, &clock, 2);
        let found = receipt(&pool, hash, Decision::Paid).await;
        assert!(found.agreed().is_some_and(|receipt| receipt.succeeded), "{found:?}");
        assert_eq!(found.undisputed(), None, "no release while somebody contradicts");
        assert_eq!(names_of(&pool), only("a", ProviderFault::Contradiction));
        is_lying.store(false, Ordering::Relaxed);
        receipt(&pool, hash, Decision::Paid).await;
        assert_eq!(names_of(&pool), []);
    }
}

#[tokio::test]
async fn who_consumed_a_nonce_takes_a_quorum_too() {
    let (node, clock, _) = world();
    let forked = node.fork();
    let (ours, theirs) = (transfer(3, 7), transfer(3, 8));
    node.send_raw(&ours.raw).expect("the pool takes it");
    forked.send_raw(&theirs.raw).expect("the pool takes it");
    mine(&node, &clock, 1);
    mine(&forked, &clock, 1);
    let head = node.head().number;
    let find = async |views| {
        let pool = pool_of_views(views, &clock, 2);
        let found = pool.quorum_consumption((sender(), 3), 0, head).await;
        (found.expect("they answer"), names_of(&pool))
    };
    let (found, names) = find(vec![View::honest(&forked), View::honest(&node)]).await;
    assert!(matches!(found, Evidence::Disputed { .. }), "{found:?}");
    assert_eq!(names, []);
    let views = vec![View::honest(&forked), View::honest(&node), View::honest(&node)];
    let (found, names) = find(views).await;
    let consumed = found.agreed().expect("two of three").clone();
    assert_eq!(consumed.transaction.expect("a transaction").hash, ours.hash);
    assert_eq!(names, only("a", ProviderFault::Contradiction));
}

#[tokio::test]
async fn bytes_go_to_all_and_one_that_fails_hides_nothing() {
    let (node, clock, _) = world();
    let others = [node.fork(), node.fork()];
    let views = vec![
        View::faulty(&others[0], |_: &str, _: &Value| Fault::Drop),
        View::honest(&node),
        View::faulty(&others[1], |method: &str, _: &Value| {
            if method == "eth_sendRawTransaction" { Fault::LoseAnswer } else { Fault::None }
        }),
    ];
    let pool = pool_of_views(views, &clock, 2);
    let signed = transfer(3, 9);
    let outcomes = pool.send(&[(signed.hash, signed.raw.clone())]).await;
    assert_eq!(outcomes, [SendOutcome::Accepted]);
    let pooled: Vec<bool> =
        [&node, &others[0], &others[1]].map(|node| node.is_pooled(signed.hash)).to_vec();
    assert_eq!(pooled, [true, false, true]);
    assert_eq!(
        names_of(&pool),
        [
            ("a".to_owned(), ProviderFault::Unreachable),
            ("c".to_owned(), ProviderFault::Unreachable)
        ]
    );
}

/// What a faulty provider does.
#[derive(Clone, Copy, Debug)]
enum Manner {
    NullReceipts,
    FailedReceipts,
    OtherBlocks,
    InventsReceipts,
    MoreTransactions,
    FewerTransactions,
    Behind,
    Gone,
    Busy,
}

impl Manner {
    const ALL: [Self; 9] = [
        Self::NullReceipts,
        Self::FailedReceipts,
        Self::OtherBlocks,
        Self::InventsReceipts,
        Self::MoreTransactions,
        Self::FewerTransactions,
        Self::Behind,
        Self::Gone,
        Self::Busy,
    ];

    fn view(self, node: &SimNode, real: &Value, unsent: B256) -> View {
        let mut invented = real.clone();
        invented["transactionHash"] = json!(unsent);
        let changed = |of: &'static str, lie: Box<dyn Fn(&mut Value) + Send + Sync>| {
            View::lying(node, move |method, answer| {
                if method == of && !answer.is_null() {
                    lie(answer);
                }
            })
        };
        match self {
            Self::NullReceipts => {
                changed("eth_getTransactionReceipt", Box::new(|it| *it = Value::Null))
            }
            Self::FailedReceipts => {
                changed("eth_getTransactionReceipt", Box::new(|it| it["status"] = json!("0x0")))
            }
            Self::OtherBlocks => changed(
                "eth_getBlockByNumber",
                Box::new(|block| {
                    for key in ["hash", "parentHash"] {
                        let hash: B256 = serde_json::from_value(block[key].clone()).expect("one");
                        block[key] = json!(keccak256(hash));
                    }
                }),
            ),
            Self::InventsReceipts => View::lying(node, move |method, answer| {
                if method == "eth_getTransactionReceipt" && answer.is_null() {
                    *answer = invented.clone();
                }
            }),
            Self::MoreTransactions => {
                changed("eth_getTransactionCount", Box::new(|it| *it = json!("0x63")))
            }
            Self::FewerTransactions => {
                changed("eth_getTransactionCount", Box::new(|it| *it = json!("0x0")))
            }
            Self::Behind => {
                View::faulty(node, |_: &str, _: &Value| Fault::StaleRead { blocks: 22 })
            }
            Self::Gone => View::faulty(node, |_: &str, _: &Value| Fault::Drop),
            Self::Busy => View::faulty(node, |_: &str, _: &Value| Fault::RateLimited),
        }
    }
}

/// Asks everything that decides about money of a pool in which all but a quorum may be faulty.
async fn judge(
    (node, clock, hash): &(SimNode, TestClock, B256),
    operators: usize,
    quorum: usize,
    faulty: &[(usize, Manner)],
) {
    let honest = pool_of_views(vec![View::honest(node)], clock, 1);
    let Evidence::Agreed { value: truth, .. } = receipt(&honest, *hash, Decision::Paid).await
    else {
        panic!("it is mined");
    };
    let unsent = B256::repeat_byte(0x77);
    let real = json!({
        "transactionHash": hash, "blockHash": truth.block.hash, "status": "0x1",
        "blockNumber": format!("{:#x}", truth.block.number), "gasUsed": "0x5208",
        "effectiveGasPrice": "0x1", "from": sender(), "to": PAYEE, "logs": [],
    });
    let mut views: Vec<View> = (0..operators - faulty.len()).map(|_| View::honest(node)).collect();
    for (position, manner) in faulty {
        views.insert(position % (views.len() + 1), manner.view(node, &real, unsent));
    }
    let pool = pool_of_views(views, clock, quorum);
    let stored = stored_chain(node, clock).await;
    let is_outnumbered = faulty.len() >= quorum;

    let agreed = pool.agreed_head(&stored).await.expect("a quorum is honest");
    // The head follows the majority, or what is stored where there is none: only more liars than a quorum, all of
    // one mind, would move it. Nothing is paid or released by a head alone.
    if faulty.len() <= quorum {
        let real_block = node.block(agreed.head.number).expect("a block of the chain");
        assert_eq!(agreed.head.hash, real_block.hash);
    }
    let counts = pool.agreed_counts(&[sender()], node.head().number).await.expect("they answer");
    assert!(counts[0].count <= 3, "{counts:?}");
    let receipts = pool.quorum_receipts(&[*hash, unsent], Decision::Paid).await;
    let receipts = receipts.expect("they answer");
    match &receipts[0] {
        Evidence::Agreed { value, .. } => assert!(value.agrees_with(&truth), "a false receipt"),
        Evidence::Absent { .. } | Evidence::Unanswered => {
            panic!("a receipt that is there is hidden")
        }
        Evidence::Unconfirmed { .. } | Evidence::Disputed { .. } => {
            assert!(is_outnumbered, "{:?}", receipts[0]);
        }
    }
    assert_eq!(receipts[1].agreed(), None, "a receipt of nothing");
    if !is_outnumbered {
        assert_eq!(counts[0].count, 3);
        assert_eq!(agreed.head.number, node.head().number);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn no_set_of_all_but_a_quorum_makes_a_wrong_fact_or_hides_one(
        (operators, quorum) in prop_oneof![
            Just((2, 2)), Just((3, 2)), Just((4, 2)), Just((4, 3)), Just((5, 2)), Just((5, 3)),
        ],
        faulty in prop::collection::vec(
            (0_usize..5, prop::sample::select(&Manner::ALL[..])), 0..=3,
        ),
    ) {
        let faulty = &faulty[..faulty.len().min(operators - quorum)];
        thread_local! {
            static WORLD: (SimNode, TestClock, B256) = world();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        WORLD.with(|world| runtime.block_on(judge(world, operators, quorum, faulty)));
    }
}

#[tokio::test]
async fn a_single_provider_is_believed_about_payments_and_not_about_releases() {
    let (node, clock, hash) = world();
    let pool = pool_of_views(vec![View::honest(&node)], &clock, 2);
    let found = receipt(&pool, hash, Decision::Paid).await;
    assert!(matches!(found, Evidence::Agreed { agreeing: 1, dissenting: 0, .. }), "{found:?}");
    let refused = pool.quorum_receipts(&[hash], Decision::Release).await;
    assert_eq!(refused, Err(QuorumError::TooFew { have: 1, need: 2 }));
}
