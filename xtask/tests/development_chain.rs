//! The chain plumbing against a real anvil: deploy, mint, move, read back, stop, start again.

use std::path::Path;
use std::time::Duration;

use alloy_primitives::{Address, Bytes, U64, U256, address, b256};
use alloy_sol_types::{SolCall, sol};
use tempfile::TempDir;
use xtask::anvil::{Anvil, AnvilOptions};
use xtask::chain::{Fee, Request, Rpc, RpcError};
use xtask::contracts::{self, TestTokens};
use xtask::{testnet, toolchain};

sol! {
    function transfer(address to, uint256 units);
    function pause();
    function blacklist(address account);
}

const ALICE: Address = address!("0x00000000000000000000000000000000000a11ce");
const BOB: Address = address!("0x0000000000000000000000000000000000000b0b");

fn options(folder: &Path) -> AnvilOptions {
    let binary = toolchain::anvil_binary(&toolchain::workspace_root()).unwrap();
    AnvilOptions::new(binary, folder.join("anvil.log"))
}

async fn start(options: AnvilOptions) -> (Anvil, Rpc) {
    let anvil = Anvil::start(options).await.unwrap();
    let rpc = Rpc::new(anvil.rpc_url()).unwrap();
    (anvil, rpc)
}

fn tokens() -> TestTokens {
    TestTokens::load(&toolchain::workspace_root()).unwrap()
}

fn transfer(to: Address, units: u64) -> Bytes {
    transferCall { to, units: U256::from(units) }.abi_encode().into()
}

#[test]
fn the_artefacts_match_their_sources() {
    contracts::check(&toolchain::workspace_root()).unwrap();
}

#[tokio::test]
async fn tokens_are_deployed_minted_moved_and_read_back() {
    let folder = TempDir::new().unwrap();
    let (anvil, rpc) = start(options(folder.path())).await;
    let deployment = testnet::deploy_test_tokens(&rpc, &tokens()).await.unwrap();
    assert!(deployment.is_on_chain(&rpc, &tokens()).await.unwrap());

    let owner = rpc.first_dev_account().await.unwrap();
    let fee = Fee::generous(&rpc, 150_000).await.unwrap();
    for token in [deployment.usdc, deployment.usdt, deployment.bal] {
        let mints = [(owner, U256::from(1_000)), (ALICE, U256::from(5))];
        testnet::mint_tokens(&rpc, token, &mints).await.unwrap();
        let calls = [(Some(token), transfer(BOB, 300)), (Some(token), transfer(ALICE, 1))];
        let receipts = rpc.send_from_dev_account(owner, &calls, fee).await.unwrap();

        let balances = rpc.token_balance_of(token, &[owner, ALICE, BOB]).await.unwrap();
        assert_eq!(balances, [699, 6, 300].map(U256::from));

        let head = rpc.block_number().await.unwrap();
        let logs = rpc.transfer_logs(token, deployment.block, head).await.unwrap();
        let moved: Vec<_> = logs.iter().map(|log| (log.from, log.to, log.value)).collect();
        let expected = [
            (Address::ZERO, owner, 1_000),
            (Address::ZERO, ALICE, 5),
            (owner, BOB, 300),
            (owner, ALICE, 1),
        ];
        assert_eq!(moved, expected.map(|(from, to, units)| (from, to, U256::from(units))));
        assert_eq!(logs[2].tx, receipts[0].transaction_hash);
        assert_eq!(logs[2].block, receipts[0].block_number.to::<u64>());
    }

    let head = rpc.block_number().await.unwrap();
    let blocks = rpc.full_blocks(0, head).await.unwrap();
    assert_eq!(blocks.len(), usize::try_from(head).unwrap() + 1);
    assert!(blocks.windows(2).all(|pair| pair[1].parent_hash == pair[0].hash));
    let sent: Vec<_> = blocks.iter().flat_map(|block| &block.transactions).collect();
    // Three deployments, and for each token two mints and two transfers.
    assert_eq!(sent.len(), 3 + 3 * 4);
    assert!(sent.iter().all(|sent| sent.from == owner && sent.succeeded));
    assert!(sent.iter().map(|sent| sent.nonce).eq(0..15));
    assert_eq!((sent[0].to, sent[14].to), (None, Some(deployment.bal)));
    assert_eq!(sent[14].input, transfer(ALICE, 1));
    anvil.stop().await.unwrap();
}

#[tokio::test]
async fn the_tokens_have_the_habits_of_their_originals() {
    let folder = TempDir::new().unwrap();
    let (anvil, rpc) = start(options(folder.path())).await;
    let deployment = testnet::deploy_test_tokens(&rpc, &tokens()).await.unwrap();
    let owner = rpc.first_dev_account().await.unwrap();
    let mints = [(owner, U256::from(100))];
    for token in [deployment.usdc, deployment.usdt, deployment.bal] {
        testnet::mint_tokens(&rpc, token, &mints).await.unwrap();
    }

    let answer = async |token: Address, units: u64| -> anyhow::Result<Bytes> {
        let call = serde_json::json!({ "from": owner, "to": token, "data": transfer(BOB, units) });
        rpc.call("eth_call", serde_json::json!([call, "latest"])).await
    };
    let yes = b256!("0x0000000000000000000000000000000000000000000000000000000000000001");
    assert_eq!(answer(deployment.usdc, 1).await.unwrap(), Bytes::from(yes));
    assert_eq!(answer(deployment.usdt, 1).await.unwrap(), Bytes::new());
    assert_eq!(answer(deployment.bal, 1).await.unwrap(), Bytes::from(yes));
    let refused = async |token: Address, units: u64| {
        let error = answer(token, units).await.unwrap_err();
        error.downcast_ref::<RpcError>().unwrap().message.clone()
    };
    for token in [deployment.usdc, deployment.usdt, deployment.bal] {
        assert!(refused(token, 101).await.contains("transfer amount exceeds balance"));
    }

    let fee = Fee::generous(&rpc, 150_000).await.unwrap();
    let administer = async |data: Vec<u8>| {
        let calls = [(Some(deployment.usdc), Bytes::from(data))];
        rpc.send_from_dev_account(owner, &calls, fee).await.unwrap();
    };
    let before = rpc.snapshot().await.unwrap();
    administer(blacklistCall { account: BOB }.abi_encode()).await;
    assert!(refused(deployment.usdc, 1).await.contains("account is blacklisted"));
    rpc.revert(before).await.unwrap();
    assert_eq!(answer(deployment.usdc, 1).await.unwrap(), Bytes::from(yes));
    administer(pauseCall {}.abi_encode()).await;
    assert!(refused(deployment.usdc, 1).await.contains("Pausable: paused"));

    // Sent all the same, it fails on the chain, and the block says so.
    let calls = [(Some(deployment.usdc), transfer(BOB, 1))];
    assert!(rpc.send_from_dev_account(owner, &calls, fee).await.is_err());
    let head = rpc.block_number().await.unwrap();
    let block = rpc.full_blocks(head, head).await.unwrap().remove(0);
    assert!(!block.transactions[0].succeeded);
    anvil.stop().await.unwrap();
}

/// The next nonce of `sender` as of each of the newest 30 blocks: a question about old state.
async fn nonces_by_block(rpc: &Rpc, sender: Address, head: u64) -> Vec<U256> {
    let at = |block: u64| {
        Request::new("eth_getTransactionCount", serde_json::json!([sender, U64::from(block)]))
    };
    rpc.batch(&(head - 30..=head).map(at).collect::<Vec<_>>()).await.unwrap()
}

#[tokio::test]
async fn a_stopped_chain_goes_on_where_it_stopped() {
    let folder = TempDir::new().unwrap();
    let record = folder.path().join("deployed.json");
    let state_file = Some(folder.path().join("chain/state.json"));
    let kept = AnvilOptions { state_file, ..options(folder.path()) };

    let (anvil, rpc) = start(kept.clone()).await;
    let (deployment, new) = testnet::ensure_test_tokens(&rpc, &tokens(), &record).await.unwrap();
    assert!(new);
    let wei = U256::from(7_000_000_000_000_000_000_u64);
    rpc.fund_native(&[ALICE, BOB], wei).await.unwrap();
    let units = U256::from(1_234);
    // More blocks than keep their state: their transactions and logs have to stay all the same.
    rpc.mine(100).await.unwrap();
    testnet::mint_tokens(&rpc, deployment.bal, &[(ALICE, units)]).await.unwrap();
    let owner = rpc.first_dev_account().await.unwrap();
    rpc.mine(3).await.unwrap();
    let head = rpc.block_number().await.unwrap();
    let blocks = rpc.full_blocks(0, head).await.unwrap();
    let logs = rpc.transfer_logs(deployment.bal, 0, head).await.unwrap();
    let nonces = nonces_by_block(&rpc, owner, head).await;
    assert_eq!((nonces.first(), nonces.last()), (Some(&U256::from(3)), Some(&U256::from(4))));
    anvil.stop().await.unwrap();

    let (anvil, rpc) = start(kept).await;
    assert_eq!(rpc.block_number().await.unwrap(), head);
    assert_eq!(
        testnet::ensure_test_tokens(&rpc, &tokens(), &record).await.unwrap(),
        (deployment, false)
    );
    assert_eq!(rpc.native_balances(&[ALICE, BOB]).await.unwrap(), [wei, wei]);
    assert_eq!(rpc.token_balance_of(deployment.bal, &[ALICE]).await.unwrap(), [units]);
    assert_eq!(rpc.nonces(&[owner, ALICE]).await.unwrap(), [4, 0]);
    assert_eq!(rpc.full_blocks(0, head).await.unwrap(), blocks);
    assert_eq!(rpc.transfer_logs(deployment.bal, 0, head).await.unwrap(), logs);
    assert_eq!(nonces_by_block(&rpc, owner, head).await, nonces);
    anvil.stop().await.unwrap();

    // Another chain does not have the tokens: they are deployed anew.
    let (anvil, rpc) = start(options(folder.path())).await;
    let (again, new) = testnet::ensure_test_tokens(&rpc, &tokens(), &record).await.unwrap();
    assert!(new);
    assert!(again.is_on_chain(&rpc, &tokens()).await.unwrap());
    anvil.stop().await.unwrap();
}

#[tokio::test]
async fn blocks_come_when_they_are_told_to() {
    let folder = TempDir::new().unwrap();
    let timed = AnvilOptions { block_time_ms: Some(100), ..options(folder.path()) };
    let (anvil, rpc) = start(timed).await;
    // Mined by the timer alone, hundreds of mints from one account in nonce order.
    let deployment = testnet::deploy_test_tokens(&rpc, &tokens()).await.unwrap();
    let holders: Vec<Address> =
        (1..=600_u64).map(|n| Address::left_padding_from(&n.to_be_bytes())).collect();
    let mints: Vec<_> = holders.iter().map(|&holder| (holder, U256::from(9))).collect();
    testnet::mint_tokens(&rpc, deployment.usdc, &mints).await.unwrap();
    let balances = rpc.token_balance_of(deployment.usdc, &holders).await.unwrap();
    assert_eq!(balances, vec![U256::from(9); 600]);

    rpc.set_interval_mining(0).await.unwrap();
    let head = rpc.block_number().await.unwrap();
    rpc.mine(700).await.unwrap();
    assert_eq!(rpc.block_number().await.unwrap(), head + 700);
    assert_eq!(rpc.transfer_logs(deployment.usdc, 0, head + 700).await.unwrap().len(), 600);
    let late =
        rpc.wait_for_receipts(&[unknown_hash()], Duration::from_millis(60)).await.unwrap_err();
    assert!(late.to_string().contains("only 0 of 1 transactions"), "{late}");
    anvil.stop().await.unwrap();
}

/// The hash of no transaction.
fn unknown_hash() -> alloy_primitives::B256 {
    b256!("0x1111111111111111111111111111111111111111111111111111111111111111")
}

#[tokio::test]
async fn failures_to_start_and_to_stop_are_told() {
    let folder = TempDir::new().unwrap();
    let (first, rpc) = start(options(folder.path())).await;
    let port: u16 = first.rpc_url().rsplit(':').next().unwrap().parse().unwrap();
    let second_log = folder.path().join("second.log");
    let second = AnvilOptions { port: Some(port), log: second_log, ..options(folder.path()) };
    let error = format!("{:#}", Anvil::start(second).await.unwrap_err());
    assert!(error.contains("Address already in use"), "{error}");

    let unknown_log = folder.path().join("unknown.log");
    let extra = vec!["--bogus".to_owned()];
    let unknown = AnvilOptions { extra, log: unknown_log, ..options(folder.path()) };
    let error = format!("{:#}", Anvil::start(unknown).await.unwrap_err());
    assert!(error.contains("--bogus"), "{error}");

    let log = std::fs::read_to_string(folder.path().join("anvil.log")).unwrap();
    assert!(!log.contains("Private Keys"), "{log}");

    drop(first);
    // The process is killed on drop: soon nothing answers there any more.
    let gone = async { while rpc.chain_id().await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
}
