//! Three providers, one of them anything: behind, on another fork, ahead on its own, gone.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::PoolLimits;
use crate::scripted_node::pool_at;

/// A provider of a chain that does not have its last blocks yet.
fn serve_lagging(chain: &Chain, lag: &Arc<AtomicUsize>) -> ScriptedNode {
    let (node, chain, lag) = (ScriptedNode::new(), chain.clone(), Arc::clone(lag));
    node.on("eth_getBlockByNumber", move |params| {
        let forks = chain.blocks();
        let height = forks.len().saturating_sub(lag.load(Ordering::Relaxed)).max(1);
        let asked = params[0].as_str().expect("a block");
        let number = match asked {
            "latest" => height - 1,
            hex => usize::from_str_radix(&hex[2..], 16).expect("a quantity"),
        };
        if number >= height {
            return Reply::Value(Value::Null);
        }
        let link = Chain::link(&forks, number);
        Reply::Value(header_json(link.number, link.hash, link.parent_hash))
    });
    node
}

/// Two honest providers of a chain, which may lag, and a third one of a chain of its own.
struct House {
    chain: Chain,
    other: Chain,
    lags: [Arc<AtomicUsize>; 2],
    pool: ProviderPool,
    bad: ScriptedNode,
}

fn house(length: usize, position: usize) -> House {
    let (chain, other) = (Chain::new(length), Chain::new(length));
    let lags: [Arc<AtomicUsize>; 2] = Default::default();
    let bad = other.serve();
    let honest = [serve_lagging(&chain, &lags[0]), serve_lagging(&chain, &lags[1])];
    let mut nodes = vec![&honest[0], &honest[1]];
    nodes.insert(position, &bad);
    let pool = pool_at(&nodes, PoolLimits::default(), TestClock::at(0));
    House { chain, other, lags, pool, bad }
}

async fn step(house: &House, stored: &mut Vec<ChainLink>) -> ChainUpdate {
    let follower = Follower { headers_max: 20, first_block: Some(0) };
    let update = follower.step(&house.pool, stored).await.expect("two are well");
    apply(stored, &update);
    update
}

fn is_named(house: &House, position: usize, fault: crate::ProviderFault) -> bool {
    let statuses = house.pool.statuses();
    let others = (0..3).filter(|index| *index != position);
    let blamed = others.filter(|index| !statuses[*index].faults.is_empty()).count();
    assert_eq!(blamed, 0, "{statuses:?}");
    statuses[position].faults.iter().any(|report| report.fault == fault)
}

#[tokio::test]
async fn one_on_another_fork_is_named_and_not_followed_however_high_it_is() {
    for position in 0..3 {
        let house = house(20, position);
        let mut stored = house.chain.links();
        house.chain.edit(|forks| forks.extend([0; 5]));
        house.other.edit(|forks| {
            forks.truncate(10);
            forks.extend([7; 90]);
        });
        let update = step(&house, &mut stored).await;
        assert_eq!((update.reorg, stored.len()), (None, 25));
        assert_eq!(stored, house.chain.links());
        assert!(is_named(&house, position, crate::ProviderFault::OtherFork));
        let head = house.pool.head().await.expect("two are well");
        assert_eq!(head.number, 24, "single reads go to the others");
        assert_eq!(house.pool.known_head(), Some(24), "what only one has is not shown either");
        house.other.edit(|forks| *forks = vec![0; 24]);
        step(&house, &mut stored).await;
        assert!(!is_named(&house, position, crate::ProviderFault::OtherFork));
    }
}

#[tokio::test]
async fn one_that_shows_false_blocks_below_a_right_head_is_not_believed() {
    for position in 0..3 {
        let house = house(10, position);
        let mut stored = house.chain.links();
        house.chain.edit(|forks| forks.extend([0; 9]));
        let links = house.chain.links();
        house.bad.on("eth_getBlockByNumber", move |params| {
            let asked = params[0].as_str().expect("a block");
            let number = match asked {
                "latest" => 18,
                hex => usize::from_str_radix(&hex[2..], 16).expect("a quantity"),
            };
            let link = links[number];
            // Two blocks of its own, linked to each other and to what is around them.
            let own = |number: u64| B256::repeat_byte(u8::try_from(number).expect("small"));
            Reply::Value(match number {
                13 => header_json(13, own(13), link.parent_hash),
                14 => header_json(14, own(14), own(13)),
                15 => header_json(15, link.hash, own(14)),
                _ => header_json(link.number, link.hash, link.parent_hash),
            })
        });
        step(&house, &mut stored).await;
        assert_eq!(stored, house.chain.links(), "at {position}");
    }
}

#[tokio::test]
async fn one_that_is_far_behind_or_gone_stops_nothing() {
    for position in 0..3 {
        let house = house(40, position);
        let mut stored = house.chain.links()[..30].to_vec();
        house.other.edit(|forks| forks.truncate(2));
        step(&house, &mut stored).await;
        assert_eq!(stored, house.chain.links());
        for _ in 0..6 {
            house.bad.fail_next(crate::scripted_node::Fault::Reset);
        }
        house.chain.edit(|forks| forks.push(0));
        step(&house, &mut stored).await;
        assert_eq!(stored, house.chain.links());
    }
}

#[tokio::test]
async fn a_reorg_is_followed_when_the_quorum_shows_it_and_not_before() {
    let house = house(20, 2);
    let mut stored = house.chain.links();
    house.other.edit(|forks| {
        forks.truncate(15);
        forks.extend([3; 6]);
    });
    let before = stored.clone();
    let update = step(&house, &mut stored).await;
    assert!(update.is_empty() && stored == before, "one alone");
    house.chain.edit(|forks| {
        forks.truncate(15);
        forks.extend([3; 6]);
    });
    let update = step(&house, &mut stored).await;
    assert_eq!(update.reorg.expect("a reorg").dropped.len(), 5);
    assert_eq!(stored, house.chain.links());
}

#[tokio::test]
async fn two_that_differ_are_waited_for_and_the_dispute_is_told() {
    let (chain, other) = (Chain::new(20), Chain::new(20));
    let (one, two) = (chain.serve(), other.serve());
    let pool = pool_at(&[&one, &two], PoolLimits::default(), TestClock::at(0));
    let mut stored = chain.links();
    chain.edit(|forks| forks.extend([1; 4]));
    other.edit(|forks| forks.extend([2; 4]));
    let update = Follower::default().step(&pool, &stored).await.expect("both answer");
    assert!(update.is_empty());
    assert_eq!(pool.disputes(), ["head: different blocks at height 23"]);
    other.edit(|forks| forks.truncate(20));
    other.edit(|forks| forks.extend([1; 3]));
    let update = Follower::default().step(&pool, &stored).await.expect("both answer");
    apply(&mut stored, &update);
    assert_eq!(stored, chain.links()[..23], "what both have");
    assert_eq!(pool.disputes(), [""; 0]);
}

#[tokio::test]
async fn two_of_which_one_is_gone_say_so() {
    let (chain, node, gone) = (Chain::new(20), ScriptedNode::new(), ScriptedNode::new());
    gone.on("eth_getBlockByNumber", |_| Reply::Error(-32000, "no"));
    let whole = chain.serve();
    drop(node);
    let pool = pool_at(&[&whole, &gone], PoolLimits::default(), TestClock::at(0));
    let error = Follower::default().step(&pool, &chain.links()).await.expect_err("one is gone");
    let FollowError::Quorum(QuorumError::Unanswered { have: 1, need: 2, last: Some(last) }) = error
    else {
        panic!("{error}");
    };
    assert_eq!(last.provider, "node-1");
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Change {
    Grow(usize),
    Fork(usize, usize),
    Lag(usize, usize),
    OtherGrows(usize),
    OtherForks(usize, usize),
    OtherCatchesUp,
    OtherFails,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (1_usize..6).prop_map(Change::Grow),
        1 => (1_usize..8, 1_usize..12).prop_map(|(off, on)| Change::Fork(off, on)),
        2 => (0_usize..2, 0_usize..5).prop_map(|(which, lag)| Change::Lag(which, lag)),
        1 => (1_usize..30).prop_map(Change::OtherGrows),
        2 => (1_usize..20, 1_usize..40).prop_map(|(off, on)| Change::OtherForks(off, on)),
        1 => Just(Change::OtherCatchesUp),
        1 => Just(Change::OtherFails),
    ]
}

fn fork(forks: &mut Vec<u64>, off: usize, on: usize, letter: u64) {
    forks.truncate(forks.len().saturating_sub(off).max(1));
    forks.extend(vec![letter; on]);
}

async fn replay(changes: Vec<Change>, position: usize) -> Result<(), TestCaseError> {
    let house = house(8, position);
    let mut stored = house.chain.links();
    let mut is_reorged = false;
    for (index, change) in changes.into_iter().enumerate() {
        let letter = u64::try_from(index).expect("small") + 1;
        match change {
            Change::Grow(count) => house.chain.edit(|forks| forks.extend(vec![0; count])),
            Change::Fork(off, on) => {
                is_reorged = true;
                house.chain.edit(|forks| fork(forks, off, on, letter));
            }
            Change::Lag(which, lag) => house.lags[which].store(lag, Ordering::Relaxed),
            Change::OtherGrows(count) => house.other.edit(|forks| forks.extend(vec![0; count])),
            Change::OtherForks(off, on) => {
                house.other.edit(|forks| fork(forks, off, on, 1_000 + letter));
            }
            Change::OtherCatchesUp => {
                let forks = house.chain.blocks();
                house.other.edit(|other| *other = forks);
            }
            Change::OtherFails => house.bad.fail_next(crate::scripted_node::Fault::Reset),
        }
        let update = step(&house, &mut stored).await;
        prop_assert!(is_reorged || update.reorg.is_none(), "moved back by one provider");
        let on_chain = house.chain.links();
        let is_real = |header: &HeadBlock| on_chain.contains(&ChainLink::from(header));
        prop_assert!(update.new_headers.iter().all(is_real), "a block that only one shows");
    }
    house.lags.iter().for_each(|lag| lag.store(0, Ordering::Relaxed));
    let missing = stored.len().saturating_sub(house.chain.blocks().len());
    house.chain.edit(|forks| forks.extend(vec![0; missing + 1]));
    for _ in 0..200 {
        step(&house, &mut stored).await;
    }
    prop_assert_eq!(stored, house.chain.links());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_followed_chain_is_that_of_the_two_whatever_the_third_does(
        changes in prop::collection::vec(change(), 0..20),
        position in 0_usize..3,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()
            .expect("a runtime");
        runtime.block_on(replay(changes, position))?;
    }
}
