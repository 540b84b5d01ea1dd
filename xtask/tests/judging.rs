//! The judge against a real chain: a double, a missing and a wrong payment do not go unseen.

use std::collections::{BTreeSet, HashSet};

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::{SolCall, sol};
use tempfile::TempDir;
use xtask::anvil::{Anvil, AnvilOptions};
use xtask::chain::{Fee, Rpc};
use xtask::contracts::TestTokens;
use xtask::judge::{BalanceSheet, Promise, Scope, Verdict, observe};
use xtask::{testnet, toolchain};

sol! {
    function transfer(address to, uint256 units);
}

const ALICE: Address = Address::repeat_byte(0xa1);
const BOB: Address = Address::repeat_byte(0xb0);

fn promise(token: Option<Address>, to: Address, units: u64) -> Promise {
    Promise { external_id: format!("{units} to {to}"), token, to, units: U256::from(units) }
}

#[tokio::test]
async fn what_was_not_promised_is_seen() {
    let root = toolchain::workspace_root();
    let folder = TempDir::new().unwrap();
    let binary = toolchain::anvil_binary(&root).unwrap();
    let options = AnvilOptions::new(binary, folder.path().join("anvil.log"));
    let anvil = Anvil::start(options).await.unwrap();
    let rpc = Rpc::new(anvil.rpc_url()).unwrap();
    let tokens = TestTokens::load(&root).unwrap();
    let usdc = testnet::deploy_test_tokens(&rpc, &tokens).await.unwrap().usdc;
    let wallet = rpc.first_dev_account().await.unwrap();
    testnet::mint_tokens(&rpc, usdc, &[(wallet, U256::from(1_000))]).await.unwrap();

    let wallets = BTreeSet::from([wallet]);
    let holders = BTreeSet::from([wallet, ALICE, BOB]);
    let before = BalanceSheet::read(&rpc, &[usdc], &holders).await.unwrap();
    let first = rpc.block_number().await.unwrap() + 1;

    let fee = Fee::generous(&rpc, 150_000).await.unwrap();
    let pay = |to: Address, units: u64| {
        (Some(usdc), Bytes::from(transferCall { to, units: U256::from(units) }.abi_encode()))
    };
    // 5 to Alice is paid twice; 7 to Bob is paid as 8; 9 to Bob not at all; then a nonce is used up.
    let calls = [pay(ALICE, 5), pay(ALICE, 5), pay(BOB, 8), (Some(wallet), Bytes::new())];
    rpc.send_from_dev_account(wallet, &calls, fee).await.unwrap();
    let coins = serde_json::json!([{ "from": wallet, "to": ALICE, "value": U256::from(11) }]);
    let sent = rpc.call("eth_sendTransaction", coins).await.unwrap();
    rpc.wait_for_receipts(&[sent], std::time::Duration::from_secs(10)).await.unwrap();

    let promises = [
        promise(Some(usdc), ALICE, 5),
        promise(Some(usdc), BOB, 7),
        promise(Some(usdc), BOB, 9),
        promise(None, ALICE, 11),
    ];
    let scope = Scope {
        wallets: HashSet::from([wallet]),
        vault: None,
        tokens: vec![usdc],
        recipients: None,
    };
    let head = rpc.block_number().await.unwrap();
    let observation = observe(&rpc, &scope, first, head).await.unwrap();
    let verdict = Verdict::of(&promises, &observation.payments);
    assert_eq!(verdict.paid, [Some(first), None, None, Some(head)]);
    assert_eq!(verdict.lost(), [1, 2]);
    assert_eq!(verdict.paid_twice.len(), 1);
    assert_eq!((verdict.paid_twice[0].to, verdict.paid_twice[0].units), (ALICE, U256::from(5)));
    assert_eq!(verdict.unexpected.len(), 1);
    assert_eq!((verdict.unexpected[0].to, verdict.unexpected[0].units), (BOB, U256::from(8)));
    assert_eq!((observation.canceled, observation.failed.len()), (1, 0));
    assert!(observation.foreign.is_empty());

    let after = BalanceSheet::read(&rpc, &[usdc], &holders).await.unwrap();
    let wrong = after.check_recipients(&before, &promises, &wallets);
    let wrong: BTreeSet<Address> = wrong.iter().map(|wrong| wrong.holder).collect();
    assert_eq!(wrong, holders.difference(&wallets).copied().collect());
    // 18 units of the token left instead of 21; of the native coin 11 and the fees, to the wei.
    let gone = after.check_wallets(&before, &promises, &wallets, observation.fees_wei);
    assert_eq!(gone, [(Some(usdc), U256::from(21), U256::from(18))]);
    anvil.stop().await.unwrap();
}
