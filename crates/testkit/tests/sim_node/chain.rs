//! Blocks, receipts, tokens, reorgs.

use alloy_primitives::{Address, B256, U64, U256};
use alloy_rpc_types_eth::{Block, TransactionReceipt};
use portcullis_core::time::Timestamp;
use portcullis_testkit::{
    BaseFeeRule, Dropped, SimConfig, SimNode, TestTransaction, TokenKind, TokenOrder, dev_key,
};

use super::{CHAIN, COIN, World, built, recipient};

#[tokio::test]
async fn a_transfer_is_sent_mined_and_receipted() {
    let world = World::new();
    let sent = world.transfer(0);
    assert_eq!(world.send(&sent).await, sent.hash);
    let early: Option<TransactionReceipt> =
        world.ask("eth_getTransactionReceipt", (sent.hash,)).await;
    assert_eq!(early, None);

    let block = world.mine();
    assert_eq!(block.transactions, [sent.hash]);
    let receipt: TransactionReceipt = world.ask("eth_getTransactionReceipt", (sent.hash,)).await;
    assert!(receipt.inner.status());
    assert_eq!((receipt.block_number, receipt.block_hash), (Some(1), Some(block.hash)));
    assert_eq!((receipt.gas_used, receipt.from), (21_000, world.key.address));
    // Base fee 30 gwei and a tip of 30 gwei under a cap of 100.
    assert_eq!(receipt.effective_gas_price, 60_000_000_000);
    assert_eq!(world.node.balance(recipient()), U256::ONE);
    let paid = U256::from(21_000_u64 * 60_000_000_000) + U256::ONE;
    assert_eq!(world.node.balance(world.key.address), U256::from(100 * COIN) - paid);
    let nonce: U64 = world.ask("eth_getTransactionCount", (world.key.address, "latest")).await;
    assert_eq!((nonce, world.node.nonce(world.key.address)), (U64::from(1), 1));
    assert_eq!(world.node.pool_len(), 0);
}

#[test]
fn every_token_pays_and_the_oracle_sees_it() {
    let world = World::new();
    for (nonce, kind) in (0..).zip(TokenKind::ALL) {
        let token = world.node.deploy_token(kind).expect("deploys");
        world.node.mint(token, world.key.address, U256::from(1_000)).expect("mints");
        let units = U256::from(250);
        let paid = TestTransaction::token_transfer(CHAIN, nonce, token, recipient(), units)
            .sign(&world.key);
        world.node.send_raw(&paid.raw).expect("accepted");
        let block = world.mine();

        assert!(world.node.transaction(paid.hash).expect("mined").succeeded, "{kind:?}");
        assert_eq!(world.node.token_balance(token, recipient()), Some(units));
        assert_eq!(world.node.token_balance(token, world.key.address), Some(U256::from(750)));
        let logs = world.node.transfer_logs(token);
        let [minted, log] = logs.as_slice() else { panic!("two transfers: {logs:?}") };
        assert_eq!((minted.from, minted.to), (Address::ZERO, world.key.address));
        assert_eq!((log.from, log.to, log.units), (world.key.address, recipient(), units));
        assert_eq!((log.transaction_hash, log.block_number), (paid.hash, block.number));
    }
    assert_eq!(world.node.token_balance(recipient(), recipient()), None);
}

#[tokio::test]
async fn usdt_transfers_return_nothing_and_usdc_true() {
    let world = World::new();
    for (kind, returned) in [(TokenKind::Usdt, 0), (TokenKind::Usdc, 32), (TokenKind::Bal, 32)] {
        let token = world.node.deploy_token(kind).expect("deploys");
        world.node.mint(token, world.key.address, U256::from(5)).expect("mints");
        let call = TestTransaction::token_transfer(CHAIN, 0, token, recipient(), U256::from(5));
        let request =
            serde_json::json!({"from": world.key.address, "to": token, "input": call.input});
        let output: alloy_primitives::Bytes = world.ask("eth_call", (request, "latest")).await;
        assert_eq!(output.len(), returned, "{kind:?}");
    }
}

#[test]
fn a_paused_token_reverts_on_chain_and_a_listed_recipient_too() {
    let world = World::new();
    let token = world.node.deploy_token(TokenKind::Usdc).expect("deploys");
    world.node.mint(token, world.key.address, U256::from(1_000)).expect("mints");
    let orders = [
        (TokenOrder::Pause, false),
        (TokenOrder::Unpause, true),
        (TokenOrder::Blacklist(recipient()), false),
        (TokenOrder::Unblacklist(recipient()), true),
    ];
    for (nonce, (order, succeeds)) in (0..).zip(orders) {
        world.node.order_token(token, order).expect("the owner may");
        let paid = TestTransaction::token_transfer(CHAIN, nonce, token, recipient(), U256::ONE)
            .sign(&world.key);
        world.node.send_raw(&paid.raw).expect("accepted");
        world.mine();
        let mined = world.node.transaction(paid.hash).expect("mined");
        assert_eq!(mined.succeeded, succeeds, "{order:?}");
        assert_eq!(mined.nonce, nonce);
    }
    assert_eq!(world.node.token_balance(token, recipient()), Some(U256::from(2)));
    assert_eq!(world.node.transfer_logs(token).len(), 3);
}

#[tokio::test]
async fn a_reorg_takes_back_receipts_nonces_and_balances() {
    let world = World::new();
    let sent = world.transfer(0);
    world.send(&sent).await;
    let first = world.mine();
    let second = world.mine();
    let reorg = world.node.reorg(2, Dropped::Forget);
    assert_eq!(reorg.dropped_blocks, [first.clone(), second]);
    assert_eq!((reorg.reinjected, world.node.pool_len()), (0, 0));

    assert_eq!(world.node.head().number, 0);
    assert_eq!(world.node.nonce(world.key.address), 0);
    assert_eq!(world.node.balance(recipient()), U256::ZERO);
    assert_eq!(world.node.balance(world.key.address), U256::from(100 * COIN));
    assert_eq!(world.node.transaction(sent.hash), None);
    let receipt: Option<TransactionReceipt> =
        world.ask("eth_getTransactionReceipt", (sent.hash,)).await;
    assert_eq!(receipt, None);
    let dropped: Option<Block> = world.ask("eth_getBlockByHash", (first.hash, false)).await;
    assert_eq!(dropped, None);

    assert_eq!(world.send(&sent).await, sent.hash, "the same bytes are accepted again");
    let again = world
        .node
        .mine(Timestamp::from_millis(i64::try_from(first.timestamp_s).expect("small") * 1_000));
    assert_eq!((again.number, &again.transactions), (first.number, &first.transactions));
    assert_ne!(again.hash, first.hash, "another block, though it holds the same");
    assert_eq!(world.node.balance(recipient()), U256::ONE);
}

#[test]
fn a_reorg_gives_transactions_back_to_the_pool_up_to_its_depth() {
    let world = World::new();
    let sent = world.transfer(0);
    world.node.send_raw(&sent.raw).expect("accepted");
    world.mine();
    let reorg = world.node.reorg(1, Dropped::Reinject);
    assert_eq!((reorg.reinjected, world.node.is_pooled(sent.hash)), (1, true));
    assert_eq!(world.mine().transactions, [sent.hash]);

    (0..64).for_each(|_| drop(world.mine()));
    let deep = world.node.reorg(65, Dropped::Reinject);
    assert_eq!((deep.dropped_blocks.len(), deep.reinjected), (65, 0));
    assert!(!world.node.is_pooled(sent.hash));
}

#[test]
fn what_the_test_itself_ordered_comes_back_after_a_reorg() {
    let world = World::new();
    let token = world.node.deploy_token(TokenKind::Bal).expect("deploys");
    world.node.mint(token, recipient(), U256::from(9)).expect("mints");
    world.node.reorg(2, Dropped::Forget);
    assert_eq!(world.node.token_balance(token, recipient()), None);
    world.node.mint(token, recipient(), U256::from(1)).expect("the dropped ones come first");
    assert_eq!(world.node.token_balance(token, recipient()), Some(U256::from(10)));

    world.node.reorg(1, Dropped::Forget);
    world.node.clear_pool();
    assert_eq!(world.mine().transactions.len(), 3);
    assert_eq!(world.node.token_balance(token, recipient()), Some(U256::from(10)));
}

#[test]
fn blocks_take_the_highest_tips_in_nonce_order_until_they_are_full() {
    let config = SimConfig { block_gas_limit: 63_000, ..SimConfig::default() };
    let world = World::with(config);
    let rich = dev_key(1);
    world.node.fund(rich.address, U256::from(COIN));
    let slow = [world.transfer(0), world.transfer(1), world.transfer(2)];
    let fast = built(0).with_fees(200_000_000_000, 50_000_000_000).sign(&rich);
    for transaction in slow.iter().chain([&fast]) {
        world.node.send_raw(&transaction.raw).expect("accepted");
    }
    let block = world.mine();
    assert_eq!(block.transactions, [fast.hash, slow[0].hash, slow[1].hash]);
    assert_eq!(block.gas_used, 63_000);
    assert_eq!(world.mine().transactions, [slow[2].hash]);
}

#[test]
fn the_base_fee_follows_demand_where_it_is_told_to() {
    let config = SimConfig {
        base_fee_rule: BaseFeeRule::Eip1559 { denominator: 64, target_percent: 65 },
        ..SimConfig::default()
    };
    let world = World::with(config);
    world.mine();
    let fees: Vec<u64> = (0..2).map(|_| world.mine().base_fee_wei).collect();
    // Empty blocks: one part in 64 less each time.
    assert_eq!(fees, [29_531_250_000, 29_069_824_219]);
    world.node.reorg(1, Dropped::Forget);
    assert_eq!(world.mine().base_fee_wei, 29_069_824_219);
}

#[test]
fn the_same_orders_give_the_same_chain() {
    let run = || -> Vec<B256> {
        let world = World::new();
        let token = world.node.deploy_token(TokenKind::Usdc).expect("deploys");
        world.node.mint(token, world.key.address, U256::from(3)).expect("mints");
        world.node.send_raw(&world.transfer(0).raw).expect("accepted");
        world.mine();
        world.node.reorg(1, Dropped::Reinject);
        (0..3).map(|_| world.mine().hash).collect()
    };
    assert_eq!(run(), run());
}

#[test]
fn a_fork_goes_its_own_way() {
    let world = World::new();
    world.node.send_raw(&world.transfer(0).raw).expect("accepted");
    let fork: SimNode = world.node.fork();
    let block = world.mine();
    assert_eq!((fork.head().number, fork.pool_len()), (0, 1));
    fork.clear_pool();
    let other = fork.mine(Timestamp::from_millis(0));
    assert_ne!(other.hash, block.hash);
    assert_eq!((fork.nonce(world.key.address), world.node.nonce(world.key.address)), (0, 1));
}
