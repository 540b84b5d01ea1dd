//! Against a simulated tree of headers.

mod several;

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::scripted_node::{Reply, ScriptedNode, TestClock, header_json, pool_on};

/// A node's chain, as the numbers of its blocks' forks: the block at height `h` is `(h, forks[h])`.
#[derive(Clone)]
struct Chain(Arc<Mutex<Vec<u64>>>);

impl Chain {
    fn new(length: usize) -> Self {
        Self(Arc::new(Mutex::new(vec![0; length])))
    }

    fn blocks(&self) -> Vec<u64> {
        self.0.lock().expect("not poisoned").clone()
    }

    fn edit(&self, change: impl FnOnce(&mut Vec<u64>)) {
        change(&mut self.0.lock().expect("not poisoned"));
    }

    /// The hash covers all blocks below, as a real one does.
    fn link(forks: &[u64], number: usize) -> ChainLink {
        let hash_of = |upto: usize| {
            let bytes: Vec<u8> = forks[..upto].iter().flat_map(|fork| fork.to_be_bytes()).collect();
            alloy_primitives::keccak256(bytes)
        };
        let (hash, parent_hash) = (hash_of(number + 1), hash_of(number));
        ChainLink { number: u64::try_from(number).expect("small"), hash, parent_hash }
    }

    fn links(&self) -> Vec<ChainLink> {
        let forks = self.blocks();
        (0..forks.len()).map(|number| Self::link(&forks, number)).collect()
    }

    fn serve(&self) -> ScriptedNode {
        let node = ScriptedNode::new();
        let chain = self.clone();
        node.on("eth_getBlockByNumber", move |params| {
            let forks = chain.blocks();
            let asked = params[0].as_str().expect("a block");
            let number = match asked {
                "latest" => forks.len() - 1,
                hex => usize::from_str_radix(&hex[2..], 16).expect("a quantity"),
            };
            if number >= forks.len() {
                return Reply::Value(Value::Null);
            }
            let link = Self::link(&forks, number);
            Reply::Value(header_json(link.number, link.hash, link.parent_hash))
        });
        node
    }
}

fn apply(stored: &mut Vec<ChainLink>, update: &ChainUpdate) {
    if let Some(reorg) = &update.reorg {
        let kept = stored.iter().filter(|link| link.number <= reorg.common_ancestor.number).count();
        let dropped: Vec<BlockRef> =
            stored.split_off(kept).iter().map(ChainLink::reference).collect();
        assert_eq!(dropped, reorg.dropped);
        assert_eq!(stored.last().map(ChainLink::reference), Some(reorg.common_ancestor));
    }
    stored.extend(update.new_headers.iter().map(ChainLink::from));
    assert_eq!(check_stored(stored), Ok(()));
}

/// Steps until nothing is left to do.
async fn settle(
    follower: Follower,
    pool: &ProviderPool,
    stored: &mut Vec<ChainLink>,
) -> ChainUpdate {
    // More than the blocks that any case of the property makes, one header a step.
    for _ in 0..3_000 {
        let update = follower.step(pool, stored).await.expect("the node is well");
        let tip = stored.last().map(ChainLink::reference);
        apply(stored, &update);
        assert!(update.new_headers.len() <= follower.headers_max);
        if update.node_behind || update.reaches_head(tip) {
            return update;
        }
        assert!(!update.is_empty(), "a step that is not the last makes progress");
    }
    panic!("it does not settle");
}

fn setting(length: usize) -> (Chain, ScriptedNode, ProviderPool) {
    let chain = Chain::new(length);
    let node = chain.serve();
    let pool = pool_on(&node, &TestClock::at(0));
    (chain, node, pool)
}

#[tokio::test]
async fn it_begins_at_the_head_or_where_it_is_told() {
    let (chain, _node, pool) = setting(12);
    let mut stored = Vec::new();
    settle(Follower::default(), &pool, &mut stored).await;
    assert_eq!(stored, chain.links()[11..]);
    let mut stored = Vec::new();
    let follower = Follower { headers_max: 4, first_block: Some(2) };
    settle(follower, &pool, &mut stored).await;
    assert_eq!(stored, chain.links()[2..]);
}

#[tokio::test]
async fn the_usual_steps_cost_one_read() {
    let (chain, node, pool) = setting(12);
    let mut stored = chain.links();
    settle(Follower::default(), &pool, &mut stored).await;
    chain.edit(|forks| forks.push(0));
    settle(Follower::default(), &pool, &mut stored).await;
    assert_eq!(stored, chain.links());
    assert_eq!(node.packets(), [1, 1]);
}

#[tokio::test]
async fn a_replaced_head_of_the_same_height_is_a_reorg() {
    let (chain, _node, pool) = setting(12);
    let mut stored = chain.links();
    let before = stored[11].reference();
    chain.edit(|forks| forks[11] = 1);
    let update = settle(Follower::default(), &pool, &mut stored).await;
    let reorg = update.reorg.expect("a reorg");
    assert_eq!(reorg.dropped, [before]);
    assert_eq!(reorg.common_ancestor.number, 10);
    assert_eq!(stored, chain.links());
}

#[tokio::test]
async fn a_shorter_chain_is_a_reorg_only_when_a_block_differs() {
    let (chain, _node, pool) = setting(12);
    let ours = chain.links();
    chain.edit(|forks| forks.truncate(8));
    let update = Follower::default().step(&pool, &ours).await.expect("the node is well");
    assert!(update.node_behind && update.is_empty());
    chain.edit(|forks| forks[7] = 1);
    let mut stored = ours.clone();
    let update = settle(Follower::default(), &pool, &mut stored).await;
    assert_eq!(update.reorg.expect("a reorg").dropped.len(), 5);
    assert_eq!(stored, chain.links());
}

#[tokio::test]
async fn a_node_below_all_that_is_stored_is_behind() {
    let (chain, _node, pool) = setting(12);
    let stored = chain.links()[6..].to_vec();
    chain.edit(|forks| {
        forks.truncate(5);
        forks[4] = 9;
    });
    let update = Follower::default().step(&pool, &stored).await.expect("the node is well");
    assert!(update.node_behind && update.is_empty());
}

#[tokio::test]
async fn a_reorg_below_all_that_is_stored_is_named() {
    let (chain, _node, pool) = setting(40);
    let stored = chain.links()[20..].to_vec();
    chain.edit(|forks| forks[19] = 1);
    let error = Follower::default().step(&pool, &stored).await.expect_err("too deep");
    assert_eq!(error, FollowError::ReorgTooDeep { oldest: 20, newest: 39, head: 39 });
}

#[tokio::test]
async fn a_block_that_the_node_does_not_show_is_not_a_changed_block() {
    let (chain, node, pool) = setting(12);
    let stored = chain.links();
    // Two nodes behind one URL: one shows another head, the one that answers next has nothing above height 9.
    let links = chain.links();
    node.on("eth_getBlockByNumber", move |params| match params[0].as_str() {
        Some("latest") => Reply::Value(header_json(11, B256::repeat_byte(1), links[10].hash)),
        Some(hex) => {
            let number = usize::from_str_radix(&hex[2..], 16).expect("a quantity");
            if number > 9 {
                return Reply::Value(Value::Null);
            }
            let link = links[number];
            Reply::Value(header_json(link.number, link.hash, link.parent_hash))
        }
        None => Reply::Value(json!(null)),
    });
    let error = Follower::default().step(&pool, &stored).await.expect_err("of two minds");
    assert_eq!(error, FollowError::Inconsistent { number: 10 });
}

#[tokio::test]
async fn headers_that_do_not_link_are_refused() {
    let (chain, node, pool) = setting(12);
    let links = chain.links();
    let stored = links[..6].to_vec();
    node.on("eth_getBlockByNumber", move |params| {
        let asked = params[0].as_str().expect("a block");
        let number = match asked {
            "latest" => 11,
            hex => usize::from_str_radix(&hex[2..], 16).expect("a quantity"),
        };
        let parent = if number == 9 { B256::ZERO } else { links[number].parent_hash };
        Reply::Value(header_json(links[number].number, links[number].hash, parent))
    });
    let error = Follower::default().step(&pool, &stored).await.expect_err("it does not link");
    assert_eq!(error, FollowError::Inconsistent { number: 9 });
}

#[tokio::test]
async fn a_broken_store_is_named() {
    let (chain, _node, pool) = setting(12);
    let mut stored = chain.links();
    stored.remove(5);
    let error = Follower::default().step(&pool, &stored).await.expect_err("a gap");
    assert_eq!(error, FollowError::BrokenStore { number: 6, below: 4 });
}

/// One thing that happens to the node's chain.
#[derive(Clone, Debug)]
enum Change {
    Grow(usize),
    /// Replaces so many blocks from the top, by a fork of so many.
    Fork(usize, usize),
    /// The node lags by so many blocks for one step, unchanged.
    Lag(usize),
    /// The follower takes a single step and no more, so that changes come in the middle of a catch-up.
    Step,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (1_usize..40).prop_map(Change::Grow),
        (1_usize..30, 1_usize..40).prop_map(|(off, on)| Change::Fork(off, on)),
        (1_usize..10).prop_map(Change::Lag),
        Just(Change::Step),
    ]
}

async fn replay(changes: Vec<Change>, headers_max: usize) -> (Vec<ChainLink>, Vec<ChainLink>) {
    let (chain, _node, pool) = setting(3);
    let follower = Follower { headers_max, first_block: Some(0) };
    let mut stored = Vec::new();
    settle(follower, &pool, &mut stored).await;
    for (index, change) in changes.into_iter().enumerate() {
        let fork = u64::try_from(index).expect("small") + 1;
        match change {
            Change::Grow(count) => chain.edit(|forks| forks.extend(vec![0; count])),
            Change::Fork(off, on) => chain.edit(|forks| {
                forks.truncate(forks.len().saturating_sub(off).max(1));
                forks.extend(vec![fork; on]);
            }),
            Change::Lag(count) => {
                let whole = chain.blocks();
                chain.edit(|forks| forks.truncate(whole.len().saturating_sub(count).max(1)));
                let update = follower.step(&pool, &stored).await.expect("the node is well");
                apply(&mut stored, &update);
                chain.edit(|forks| *forks = whole);
            }
            Change::Step => {
                let update = follower.step(&pool, &stored).await.expect("the node is well");
                apply(&mut stored, &update);
            }
        }
    }
    // A node that lags is not followed back: one more block makes the last fork the higher one.
    let missing = stored.len().saturating_sub(chain.blocks().len());
    chain.edit(|forks| forks.extend(vec![0; missing + 1]));
    settle(follower, &pool, &mut stored).await;
    (stored, chain.links())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_followed_chain_ends_equal_to_the_nodes(
        changes in prop::collection::vec(change(), 0..25),
        headers_max in 1_usize..30,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()
            .expect("a runtime");
        let (followed, on_chain) = runtime.block_on(replay(changes, headers_max));
        prop_assert_eq!(followed, on_chain);
    }
}
