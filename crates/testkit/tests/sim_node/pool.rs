//! The rules of the pool, in bor's words.

use alloy_primitives::{B256, U64, U256};
use portcullis_testkit::{
    Dropped, PoolError, PoolOverflow, PoolRules, SimConfig, TestTransaction, dev_key,
};

use super::{CHAIN, COIN, World, built, recipient};

const GWEI: u128 = 1_000_000_000;

impl World {
    fn offer(&self, transaction: &TestTransaction) -> Result<B256, String> {
        let signed = transaction.sign(&self.key);
        self.node.send_raw(&signed.raw).map_err(|error| error.to_string())
    }

    fn refused(&self, transaction: &TestTransaction) -> String {
        self.offer(transaction).expect_err("the pool refuses")
    }
}

#[tokio::test]
async fn a_replacement_raises_both_caps_by_a_tenth() {
    let world = World::new();
    let old = built(0).with_fees(100 * GWEI, 30 * GWEI).sign(&world.key);
    world.send(&old).await;
    let bumped = |fee: u128, tip: u128| built(0).with_fees(fee, tip);
    for (fee, tip) in [
        (110 * GWEI, 30 * GWEI),
        (100 * GWEI, 33 * GWEI),
        (110 * GWEI - 1, 33 * GWEI),
        (110 * GWEI, 33 * GWEI - 1),
    ] {
        let refused = bumped(fee, tip).sign(&world.key);
        let error = world.refusal("eth_sendRawTransaction", (refused.raw,)).await;
        assert_eq!(error.message, "replacement transaction underpriced", "{fee} {tip}");
        assert_eq!(error.code, -32000);
    }
    let new = bumped(110 * GWEI, 33 * GWEI).sign(&world.key);
    world.send(&new).await;
    assert_eq!((world.node.pool_len(), world.node.is_pooled(old.hash)), (1, false));
    assert_eq!(world.mine().transactions, [new.hash]);
}

#[tokio::test]
async fn a_gapped_nonce_waits_for_the_gap_to_close() {
    let world = World::new();
    let (first, second) = (world.transfer(0), world.transfer(1));
    world.send(&second).await;
    let pending = || world.ask::<U64>("eth_getTransactionCount", (world.key.address, "pending"));
    assert_eq!(pending().await, U64::ZERO);
    assert_eq!(world.mine().transactions, Vec::<B256>::new());
    world.send(&first).await;
    assert_eq!(pending().await, U64::from(2));
    assert_eq!(world.mine().transactions, [first.hash, second.hash]);
}

#[tokio::test]
async fn a_used_nonce_is_too_low_and_a_pooled_one_already_known() {
    let world = World::new();
    let sent = world.transfer(0);
    world.send(&sent).await;
    let again = world.refusal("eth_sendRawTransaction", (sent.raw.clone(),)).await;
    assert_eq!((again.code, again.message.as_ref()), (-32000, "already known"));
    world.mine();
    let low = world.refusal("eth_sendRawTransaction", (sent.raw,)).await;
    assert_eq!(low.message, "nonce too low: next nonce 1, tx nonce 0");
}

#[test]
fn what_no_state_can_cure_is_refused_with_its_reason() {
    let world = World::new();
    let good = built(0);
    let cases = [
        (
            good.clone().with_fees(100 * GWEI, 24 * GWEI),
            "transaction gas price below minimum: gas tip cap 24000000000, minimum needed 25000000000",
        ),
        (
            good.clone().with_fees(29 * GWEI, 30 * GWEI),
            "max priority fee per gas higher than max fee per gas",
        ),
        (
            good.clone().with_gas_limit(20_999),
            "intrinsic gas too low: gas 20999, minimum needed 21000",
        ),
        (
            TestTransaction { input: vec![1; 1_000].into(), ..good.clone() }.with_gas_limit(60_000),
            "insufficient gas for floor data gas cost: gas 60000, minimum needed 61000",
        ),
        (
            good.clone().with_fees(25 * GWEI, 25 * GWEI).with_gas_limit((1 << 25) + 1),
            "transaction gas limit too high (cap: 33554432, tx: 33554433)",
        ),
        (
            good.clone().with_fees(550 * GWEI, 30 * GWEI).with_gas_limit(2_000_000),
            "tx fee (1.10 ether) exceeds the configured cap (1.00 ether)",
        ),
        (
            TestTransaction { chain_id: 1, ..good.clone() },
            "invalid sender: invalid chain id for signer: have 1 want 137",
        ),
        (TestTransaction { nonce: u64::MAX, ..good.clone() }, "nonce has max value"),
    ];
    for (transaction, text) in cases {
        assert_eq!(world.refused(&transaction), text);
    }
    let large = TestTransaction { input: vec![0; 131_072].into(), ..good.clone() }
        .with_gas_limit(5_000_000)
        .sign(&world.key);
    let size = large.raw.len();
    assert_eq!(world.node.send_raw(&large.raw), Err(PoolError::Oversized { size }));
    let unprotected = good.sign_legacy(&world.key, false);
    assert_eq!(world.node.send_raw(&unprotected.raw), Err(PoolError::Unprotected));
    let garbage = world.node.send_raw(&[0x02, 0xc0]).expect_err("no transaction");
    assert!(matches!(garbage, PoolError::Undecodable { .. }), "{garbage}");
    assert_eq!(world.node.pool_len(), 0);

    let small = World::with(SimConfig { block_gas_limit: 50_000, ..SimConfig::default() });
    assert_eq!(small.refused(&good.with_gas_limit(50_001)), "exceeds block gas limit");
}

#[test]
fn a_legacy_transaction_is_a_transaction_too() {
    let world = World::new();
    let legacy = built(0).sign_legacy(&world.key, true);
    world.node.send_raw(&legacy.raw).expect("accepted");
    assert_eq!(world.mine().transactions, [legacy.hash]);
    // The whole gas price is paid: what is above the base fee is the tip.
    let mined = world.node.transaction(legacy.hash).expect("mined");
    assert_eq!(mined.effective_gas_price_wei, 100 * GWEI);
}

#[test]
fn the_balance_pays_for_all_that_is_pending() {
    let world = World::new();
    let poor = dev_key(5);
    let cost = U256::from(21_000 * 100 * GWEI) + U256::ONE;
    world.node.fund(poor.address, cost + cost - U256::ONE);
    let offer = |transaction: TestTransaction| {
        world.node.send_raw(&transaction.sign(&poor).raw).map_err(|error| error.to_string())
    };
    offer(built(0)).expect("one is payable");
    let balance = 4_200_000_000_000_001_u64;
    assert_eq!(
        offer(built(1)),
        Err(format!(
            "insufficient funds for gas * price + value: balance {balance}, \
             queued cost 2100000000000001, tx cost 2100000000000001, overshot 1"
        ))
    );
    let dear = TestTransaction::transfer(CHAIN, 0, recipient(), U256::from(COIN));
    assert_eq!(
        offer(dear),
        Err(format!(
            "insufficient funds for gas * price + value: balance {balance}, \
             tx cost 1002100000000000000, overshot 997899999999999999"
        ))
    );
    offer(built(0).with_fees(150 * GWEI, 40 * GWEI)).expect("a replacement is no second one");
}

#[test]
fn one_account_holds_sixteen_executable_and_sixty_four_queued() {
    let world = World::new();
    for nonce in 0..16 {
        world.offer(&built(nonce)).expect("executable");
    }
    assert_eq!(world.refused(&built(16)), "txpool is full");
    for nonce in 17..81 {
        world.offer(&built(nonce)).expect("queued");
    }
    assert_eq!(world.refused(&built(81)), "account limit exceeded: pooled 64 txs");
    assert_eq!(world.node.pooled_nonces(world.key.address).len(), 80);
    assert_eq!(world.mine().transactions.len(), 16);
    world.offer(&built(16)).expect("there is room again");
    assert_eq!(world.mine().transactions.len(), 65);
}

#[test]
fn a_full_pool_may_forget_instead_of_refusing() {
    let pool =
        PoolRules { account_slots: 1, overflow: PoolOverflow::Forget, ..PoolRules::default() };
    let world = World::with(SimConfig { pool, ..SimConfig::default() });
    world.offer(&built(0)).expect("executable");
    let forgotten = world.offer(&built(1)).expect("answered with its hash");
    assert!(!world.node.is_pooled(forgotten));
}

#[test]
fn a_fee_cap_below_the_base_fee_waits_until_it_falls() {
    let world = World::new();
    world.node.set_base_fee(150_000_000_000);
    let sent = world.transfer(0);
    world.node.send_raw(&sent.raw).expect("accepted all the same");
    assert_eq!(world.mine().transactions, Vec::<B256>::new());
    world.node.set_base_fee(90_000_000_000);
    let block = world.mine();
    assert_eq!((block.base_fee_wei, block.transactions), (90_000_000_000, vec![sent.hash]));
    // Under the cap of 100 gwei only 10 are left for the tip.
    let mined = world.node.transaction(sent.hash).expect("mined");
    assert_eq!(mined.effective_gas_price_wei, 100 * GWEI);
}

#[test]
fn transactions_leave_the_pool_when_told_and_when_unpayable() {
    let world = World::new();
    let (first, second) = (world.transfer(0), world.transfer(1));
    for transaction in [&first, &second] {
        world.node.send_raw(&transaction.raw).expect("accepted");
    }
    assert!(world.node.drop_from_pool(first.hash));
    assert!(!world.node.drop_from_pool(first.hash));
    assert_eq!(world.node.pooled_nonces(world.key.address), [1]);
    world.node.clear_pool();
    assert_eq!(world.node.pool_len(), 0);

    // The queued one is payable alone, and no longer after what the executable one takes.
    let poor = dev_key(6);
    world.node.fund(poor.address, U256::from(COIN));
    let pays_all = TestTransaction::transfer(CHAIN, 0, recipient(), U256::from(COIN / 2));
    let queued = TestTransaction { nonce: 2, ..pays_all.clone() };
    for transaction in [&queued, &pays_all] {
        world.node.send_raw(&transaction.sign(&poor).raw).expect("accepted");
    }
    assert_eq!((world.mine().transactions.len(), world.node.pool_len()), (1, 0));
}

#[test]
fn a_reinjected_transaction_leaves_a_taken_slot_alone() {
    let world = World::new();
    let (old, new) = (world.transfer(0), built(0).with_fees(120 * GWEI, 40 * GWEI));
    world.node.send_raw(&old.raw).expect("accepted");
    world.mine();
    world.node.reorg(1, Dropped::Forget);
    let new_hash = world.offer(&new).expect("accepted");
    world.mine();
    let reorg = world.node.reorg(1, Dropped::Reinject);
    assert_eq!((reorg.reinjected, world.node.is_pooled(new_hash)), (1, true));
    assert!(!world.node.is_pooled(old.hash));
}

fn stranding(lifetime_ms: i64) -> World {
    let pool = PoolRules { stranded_lifetime_ms: Some(lifetime_ms), ..PoolRules::default() };
    World::with(SimConfig { pool, ..SimConfig::default() })
}

#[test]
fn a_stranded_chain_is_dropped_whole_and_its_first_nonce_refused() {
    let world = stranding(6_000);
    for nonce in 0..3 {
        world.offer(&built(nonce)).expect("executable");
    }
    world.offer(&built(5)).expect("queued");
    // The transfers bid 100 gwei.
    world.node.set_base_fee(150_000_000_000);
    for _ in 0..4 {
        world.mine();
        assert_eq!(world.node.pool_len(), 4, "not longer than the lifetime");
    }
    world.mine();
    assert_eq!(world.node.pooled_nonces(world.key.address), [5], "the gapped one waits on");
    assert_eq!(world.node.stranded_evictions(), 3);

    assert_eq!(world.refused(&built(0)), "transaction underpriced");
    world.offer(&built(1)).expect("only the first nonce is refused");
    let dearer = built(0).with_fees(200 * GWEI, 40 * GWEI);
    world.offer(&dearer).expect("it bids the base fee now");
    assert_eq!(world.mine().transactions.len(), 1);
}

#[test]
fn the_refusal_of_a_stranded_nonce_ends() {
    let world = stranding(6_000);
    world.offer(&built(0)).expect("executable");
    world.node.set_base_fee(150_000_000_000);
    for _ in 0..5 {
        world.mine();
    }
    for _ in 0..5 {
        assert_eq!(world.refused(&built(0)), "transaction underpriced");
        world.mine();
    }
    world.mine();
    world.offer(&built(0)).expect("twice the lifetime is over");
    world.node.set_base_fee(90_000_000_000);
    assert_eq!(world.mine().transactions.len(), 1);
}

#[test]
fn the_next_in_line_has_a_lifetime_of_its_own() {
    let world = stranding(6_000);
    world.offer(&built(0).with_fees(140 * GWEI, 40 * GWEI)).expect("executable");
    world.offer(&built(1)).expect("executable");
    world.node.set_base_fee(150_000_000_000);
    for _ in 0..3 {
        world.mine();
    }
    world.node.set_base_fee(120_000_000_000);
    for _ in 0..4 {
        world.mine();
        assert_eq!(world.node.stranded_evictions(), 0, "the first was mined");
    }
    assert_eq!(world.node.pooled_nonces(world.key.address), [1]);
    world.mine();
    assert_eq!(world.node.stranded_evictions(), 1);
}
