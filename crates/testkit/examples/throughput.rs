//! How long the node takes for what one simulation seed asks of it: `cargo run -p portcullis-testkit
//! --example throughput`. A measurement to read, not a test.

use std::time::Instant;

use alloy_primitives::{Address, B256, U64, U256};
use alloy_rpc_client::RpcClient;
use alloy_rpc_types_eth::{Block, Filter, Log, TransactionReceipt};
use portcullis_core::time::Timestamp;
use portcullis_testkit::{
    DevKey, Dropped, SignedTestTransaction, SimConfig, SimNode, SimTransport, TestTransaction,
    TokenKind, dev_key,
};

const BLOCKS: u64 = 100;
const CHAIN: u64 = 137;
const SENDERS: u64 = 3;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let start = Instant::now();
    let config = SimConfig { chain_id: CHAIN, ..SimConfig::default() };
    let genesis_at = config.genesis_at;
    let node = SimNode::new(config);
    let token = node.deploy_token(TokenKind::Usdc).expect("the token deploys");
    let keys: Vec<DevKey> = (0..SENDERS).map(dev_key).collect();
    for key in &keys {
        node.fund(key.address, U256::from(u64::MAX));
        node.mint(token, key.address, U256::from(1_000_000)).expect("the owner mints");
    }
    println!("set up:                     {:>9.1?}", start.elapsed());

    let start = Instant::now();
    let signed: Vec<Vec<SignedTestTransaction>> = (0..BLOCKS)
        .map(|nonce| {
            let to = dev_key(1_000 + nonce).address;
            let pay = TestTransaction::token_transfer(CHAIN, nonce, token, to, U256::ONE);
            keys.iter().map(|key| pay.sign(key)).collect()
        })
        .collect();
    println!("{} signatures:             {:>9.1?}", BLOCKS * SENDERS, start.elapsed());

    let start = Instant::now();
    let client = RpcClient::new(SimTransport::new(node.clone()), true);
    for (second, round) in (1..).zip(&signed) {
        for transaction in round {
            let sent: Result<B256, _> =
                client.request("eth_sendRawTransaction", (transaction.raw.clone(),)).await;
            sent.expect("the pool accepts");
        }
        let block = node.mine(genesis_at.plus_millis(second * 1_000));
        assert_eq!(block.transactions.len(), keys.len(), "every transfer is mined at once");
    }
    println!("sent and mined, 100 blocks: {:>9.1?}", start.elapsed());

    let start = Instant::now();
    for transaction in signed.iter().flatten() {
        let receipt: Result<TransactionReceipt, _> =
            client.request("eth_getTransactionReceipt", (transaction.hash,)).await;
        assert!(receipt.expect("mined").inner.status(), "every transfer succeeds");
    }
    println!("300 receipts:               {:>9.1?}", start.elapsed());

    read_everything(&client, token, &keys).await;

    let start = Instant::now();
    let reorg = node.reorg(50, Dropped::Reinject);
    let _refilled = node.mine(Timestamp::from_millis(0));
    println!(
        "a reorg of {} blocks:       {:>9.1?}  ({} transactions back in the pool)",
        reorg.dropped_blocks.len(),
        start.elapsed(),
        reorg.reinjected
    );
}

async fn read_everything(client: &RpcClient, token: Address, keys: &[DevKey]) {
    let start = Instant::now();
    let head: U64 = client.request("eth_blockNumber", ()).await.expect("answers");
    for number in 0..=head.to::<u64>() {
        let tag = format!("{number:#x}");
        let block: Result<Block, _> = client.request("eth_getBlockByNumber", (tag, true)).await;
        block.expect("answers");
    }
    println!("100 full blocks:            {:>9.1?}", start.elapsed());

    let start = Instant::now();
    for number in 0..=head.to::<u64>() {
        let filter = Filter::new().address(token).from_block(number).to_block(number + 10);
        let logs: Result<Vec<Log>, _> = client.request("eth_getLogs", (filter,)).await;
        logs.expect("answers");
    }
    println!("100 log ranges:             {:>9.1?}", start.elapsed());

    let start = Instant::now();
    for key in keys {
        for nonce in 0..100 {
            let to = dev_key(1_000 + nonce).address;
            let input = TestTransaction::token_transfer(CHAIN, 0, token, to, U256::ONE).input;
            let request = serde_json::json!({"from": key.address, "to": token, "input": input});
            let gas: Result<U64, _> = client.request("eth_estimateGas", (request,)).await;
            gas.expect("the transfer is possible");
        }
    }
    println!("300 estimates:              {:>9.1?}", start.elapsed());
}
