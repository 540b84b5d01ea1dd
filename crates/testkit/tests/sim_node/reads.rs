//! What the node answers when it is asked.

use alloy_primitives::{Address, Bytes, U64, U256};
use alloy_rpc_types_eth::{Block, FeeHistory, Filter, Log, Transaction, TransactionReceipt};
use alloy_sol_types::SolEvent;
use portcullis_testkit::{SimConfig, TestToken, TestTransaction, TokenKind, TokenOrder};
use serde_json::{Value, json};

use super::{CHAIN, World, recipient};

#[tokio::test]
async fn a_chain_names_itself_and_refuses_what_it_does_not_know() {
    let world = World::new();
    assert_eq!(world.ask::<U64>("eth_chainId", ()).await, U64::from(137));
    assert_eq!(world.ask::<String>("net_version", ()).await, "137");
    assert_eq!(world.ask::<U64>("eth_blockNumber", ()).await, U64::ZERO);
    let unknown = world.refusal("eth_sendTransaction", (json!({}),)).await;
    assert_eq!(unknown.code, -32601);
    let malformed = world.refusal("eth_getBalance", ("nobody",)).await;
    assert_eq!(malformed.code, -32602);
}

#[tokio::test]
async fn blocks_are_found_by_number_tag_and_hash() {
    let world = World::new();
    let sent = world.transfer(0);
    world.send(&sent).await;
    let summaries: Vec<_> = (0..6).map(|_| world.mine()).collect();
    let by =
        |tag: Value, full: bool| world.ask::<Option<Block>>("eth_getBlockByNumber", (tag, full));

    let latest = by(json!("latest"), false).await.expect("there is a head");
    assert_eq!(latest.header.number, 6);
    assert_eq!(latest.header.hash, latest.header.inner.hash_slow(), "an honest hash");
    assert_eq!(by(json!("pending"), false).await, Some(latest));
    assert_eq!(by(json!("earliest"), false).await.map(|block| block.header.number), Some(0));
    // Four blocks behind the head.
    assert_eq!(by(json!("finalized"), false).await.map(|block| block.header.number), Some(2));
    assert_eq!(by(json!("0x7"), false).await, None);
    let safe = world.refusal("eth_getBlockByNumber", ("safe", false)).await;
    assert_eq!((safe.code, safe.message.as_ref()), (-32000, "safe block not found"));

    let full = by(json!("0x1"), true).await.expect("mined");
    let first = full.transactions.as_transactions().and_then(|all| all.first());
    assert_eq!(first.map(|transaction| *transaction.inner.tx_hash()), Some(sent.hash));
    let hashed: Block = world.ask("eth_getBlockByHash", (summaries[0].hash, false)).await;
    assert_eq!(hashed.transactions.as_hashes(), Some(&[sent.hash][..]));
    assert_eq!(hashed.header, full.header);

    let receipts: Vec<TransactionReceipt> = world.ask("eth_getBlockReceipts", ("0x1",)).await;
    let one: TransactionReceipt = world.ask("eth_getTransactionReceipt", (sent.hash,)).await;
    assert_eq!(receipts, [one]);
}

#[tokio::test]
async fn finality_may_be_unknown() {
    let world = World::with(SimConfig { finality_depth_blocks: None, ..SimConfig::default() });
    let error = world.refusal("eth_getBlockByNumber", ("finalized", false)).await;
    assert_eq!(error.message, "finalized block not found");
}

#[tokio::test]
async fn a_transaction_is_shown_pooled_and_mined() {
    let world = World::new();
    let sent = world.transfer(0);
    let find = || world.ask::<Option<Transaction>>("eth_getTransactionByHash", (sent.hash,));
    assert_eq!(find().await, None);
    world.send(&sent).await;
    let pooled = find().await.expect("in the pool");
    assert_eq!((pooled.block_number, pooled.inner.signer()), (None, world.key.address));
    let block = world.mine();
    let mined = find().await.expect("in a block");
    assert_eq!((mined.block_hash, mined.transaction_index), (Some(block.hash), Some(0)));
}

#[tokio::test]
async fn old_blocks_answer_with_old_nonces_and_balances() {
    let world = World::new();
    for nonce in 0..3 {
        world.send(&world.transfer(nonce)).await;
        world.mine();
    }
    for number in 0..4_u64 {
        let tag = format!("{number:#x}");
        let nonce: U64 =
            world.ask("eth_getTransactionCount", (world.key.address, tag.clone())).await;
        let balance: U256 = world.ask("eth_getBalance", (recipient(), tag)).await;
        assert_eq!((nonce, balance), (U64::from(number), U256::from(number)));
    }
    let hash = world.node.block(1).expect("mined").hash;
    let at_hash = json!({"blockHash": hash});
    let nonce: U64 = world.ask("eth_getTransactionCount", (world.key.address, at_hash)).await;
    assert_eq!(nonce, U64::from(1));
    let beyond = world.refusal("eth_getTransactionCount", (world.key.address, "0x9")).await;
    assert_eq!(beyond.message, "header not found");
}

#[tokio::test]
async fn logs_are_found_by_address_topic_range_and_hash() {
    let world = World::new();
    let (usdt, bal) = (
        world.node.deploy_token(TokenKind::Usdt).expect("deploys"),
        world.node.deploy_token(TokenKind::Bal).expect("deploys"),
    );
    for token in [usdt, bal] {
        world.node.mint(token, world.key.address, U256::from(10)).expect("mints");
    }
    for (nonce, token) in [(0, usdt), (1, bal), (2, usdt)] {
        let paid = TestTransaction::token_transfer(CHAIN, nonce, token, recipient(), U256::ONE);
        world.send(&paid.sign(&world.key)).await;
    }
    let block = world.mine();
    let ask = |filter: Filter| world.ask::<Vec<Log>>("eth_getLogs", (filter,));

    let all = ask(Filter::new().from_block(block.number).to_block(block.number)).await;
    let places: Vec<_> = all.iter().map(|log| (log.transaction_index, log.log_index)).collect();
    assert_eq!(places, [(Some(0), Some(0)), (Some(1), Some(1)), (Some(2), Some(2))]);
    assert!(all.iter().all(|log| log.block_hash == Some(block.hash) && !log.removed));
    let of_usdt = ask(Filter::new().from_block(0).address(usdt)).await;
    assert_eq!(of_usdt.len(), 3, "a mint and two transfers");
    let minted = Filter::new()
        .from_block(0)
        .event_signature(TestToken::Transfer::SIGNATURE_HASH)
        .topic1(Address::ZERO.into_word());
    assert_eq!(ask(minted).await.len(), 2);
    assert_eq!(ask(Filter::new().at_block_hash(block.hash)).await, all);
    assert_eq!(ask(Filter::new().address(usdt)).await.len(), 2, "the newest block alone");
    let backwards = Filter::new().from_block(5).to_block(4);
    assert_eq!(world.refusal("eth_getLogs", (backwards,)).await.code, -32602);
    let unknown = Filter::new().at_block_hash(alloy_primitives::B256::ZERO);
    assert_eq!(world.refusal("eth_getLogs", (unknown,)).await.message, "unknown block");
}

#[tokio::test]
async fn an_estimate_is_enough_and_not_much_more() {
    let world = World::new();
    let plain = json!({"from": world.key.address, "to": recipient(), "value": "0x1"});
    assert_eq!(world.ask::<U64>("eth_estimateGas", (plain,)).await, U64::from(21_000));

    let token = world.node.deploy_token(TokenKind::Usdc).expect("deploys");
    world.node.mint(token, world.key.address, U256::from(10)).expect("mints");
    let paid = TestTransaction::token_transfer(CHAIN, 0, token, recipient(), U256::ONE);
    let request = json!({"from": world.key.address, "to": token, "input": paid.input});
    let estimate: U64 = world.ask("eth_estimateGas", (request,)).await;
    let paid = paid.with_gas_limit(estimate.to()).sign(&world.key);
    world.send(&paid).await;
    world.mine();
    let mined = world.node.transaction(paid.hash).expect("mined");
    assert!(mined.succeeded);
    let (estimate, used) = (estimate.to::<u64>(), mined.gas_used);
    assert!(estimate >= used && estimate <= used + used / 10, "{estimate} for {used}");
}

#[tokio::test]
async fn an_estimate_of_what_reverts_says_why() {
    let world = World::new();
    let token = world.node.deploy_token(TokenKind::Usdc).expect("deploys");
    world.node.order_token(token, TokenOrder::Pause).expect("the owner may");
    let paid = TestTransaction::token_transfer(CHAIN, 0, token, recipient(), U256::ONE);
    let request = json!({"from": world.key.address, "to": token, "input": paid.input});
    for method in ["eth_estimateGas", "eth_call"] {
        let error = world.refusal(method, (request.clone(),)).await;
        assert_eq!(error.code, 3, "{method}");
        assert_eq!(error.message, "execution reverted: Pausable: paused");
        let data: Bytes = error.try_data_as().expect("data").expect("hexadecimal");
        assert!(data.starts_with(&[0x08, 0xc3, 0x79, 0xa0]), "Error(string)");
    }
    let poor = json!({"from": recipient(), "to": world.key.address, "value": "0x1"});
    let error = world.refusal("eth_estimateGas", (poor,)).await;
    assert!(error.message.starts_with("insufficient funds for"), "{}", error.message);
}

#[tokio::test]
async fn calls_read_the_block_that_they_name() {
    let world = World::new();
    let token = world.node.deploy_token(TokenKind::Bal).expect("deploys");
    world.node.mint(token, recipient(), U256::from(7)).expect("mints");
    let input =
        alloy_sol_types::SolCall::abi_encode(&TestToken::balanceOfCall { account: recipient() });
    let request = json!({"to": token, "input": Bytes::from(input)});
    let before: U256 = world.ask("eth_call", (request.clone(), "0x1")).await;
    let after: U256 = world.ask("eth_call", (request, "latest")).await;
    assert_eq!((before, after), (U256::ZERO, U256::from(7)));
    let code: Bytes = world.ask("eth_getCode", (token, "latest")).await;
    let none: Bytes = world.ask("eth_getCode", (token, "0x0")).await;
    assert!(!code.is_empty() && none.is_empty());
}

#[tokio::test]
async fn fees_are_told() {
    let world = World::new();
    world.send(&world.transfer(0)).await;
    world.mine();
    world.node.set_base_fee(31_000_000_000);
    let tip: U256 = world.ask("eth_maxPriorityFeePerGas", ()).await;
    let price: U256 = world.ask("eth_gasPrice", ()).await;
    assert_eq!((tip, price), (U256::from(30_000_000_000_u64), U256::from(60_000_000_000_u64)));
    let history: FeeHistory =
        world.ask("eth_feeHistory", ("0x5", "latest", [10.0_f64, 90.0])).await;
    assert_eq!(history.oldest_block, 0);
    assert_eq!(history.base_fee_per_gas, [30_000_000_000, 30_000_000_000, 31_000_000_000]);
    assert_eq!(history.reward, Some(vec![vec![0, 0], vec![30_000_000_000; 2]]));
    assert_eq!(history.gas_used_ratio, [0.0, 0.000_35]);
}
