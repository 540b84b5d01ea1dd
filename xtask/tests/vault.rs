//! A vault on a real chain, as the commands deploy it: what it pays is seen, and nothing is paid by
//! bytes that are sent again.

use std::collections::HashSet;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{SolCall, sol};
use tempfile::TempDir;
use xtask::anvil::{Anvil, AnvilOptions};
use xtask::assets::TestAsset;
use xtask::chain::{Fee, Rpc};
use xtask::contracts::TestTokens;
use xtask::judge::{BalanceSheet, Promise, Scope, Verdict, observe};
use xtask::vault::{self, Item, payCall};
use xtask::{testnet, toolchain};

sol! {
    function void(uint256[] numbers) external;
}

const ALICE: Address = Address::repeat_byte(0xa1);
const BOB: Address = Address::repeat_byte(0xb0);

fn item(number: u64, token: Option<Address>, to: Address, amount: u64) -> Item {
    Item {
        number: U256::from(number),
        r#ref: B256::repeat_byte(1),
        token: token.unwrap_or_default(),
        to,
        amount: U256::from(amount),
    }
}

fn promise(token: Option<Address>, to: Address, units: u64) -> Promise {
    Promise { external_id: format!("{units} to {to}"), token, to, units: U256::from(units) }
}

#[tokio::test]
async fn what_a_vault_pays_is_seen_once_and_what_it_refuses_too() {
    let root = toolchain::workspace_root();
    let folder = TempDir::new().unwrap();
    let binary = toolchain::anvil_binary(&root).unwrap();
    let options = AnvilOptions::new(binary, folder.path().join("anvil.log"));
    let anvil = Anvil::start(options).await.unwrap();
    let rpc = Rpc::new(anvil.rpc_url()).unwrap();
    let tokens = TestTokens::load(&root).unwrap();
    let deployment = testnet::deploy_test_tokens(&rpc, &tokens).await.unwrap();
    let (usdc, assets) = (deployment.usdc, TestAsset::all(&deployment));

    let address = vault::deploy(&rpc, &root, &assets).await.unwrap();
    // A node's own account stands in for a hot wallet.
    let operator = rpc.dev_accounts().await.unwrap()[5];
    vault::set_operators(&rpc, address, &[operator]).await.unwrap();
    let full = U256::from(1_000);
    vault::fill(&rpc, address, full, &[(usdc, full)]).await.unwrap();
    vault::fill(&rpc, address, full, &[(usdc, full)]).await.unwrap();
    assert_eq!(rpc.token_balance_of(usdc, &[address]).await.unwrap(), [full], "filled up once");

    let scope = Scope {
        wallets: HashSet::from([operator]),
        vault: Some(address),
        tokens: vec![usdc],
        recipients: None,
    };
    let mut holders = scope.payers();
    holders.extend([ALICE, BOB]);
    let before = BalanceSheet::read(&rpc, &[usdc], &holders).await.unwrap();
    let first = rpc.block_number().await.unwrap() + 1;
    let fee = Fee::generous(&rpc, 1_000_000).await.unwrap();
    let call = |items: Vec<Item>| (Some(address), Bytes::from(payCall { items }.abi_encode()));
    let unlisted = Some(Address::repeat_byte(0x77));
    let numbers = vec![U256::from(9)];
    let calls = [
        call(vec![item(1, Some(usdc), ALICE, 5), item(2, None, BOB, 7)]),
        // Number 1 again, more than there is, and a token that is not listed.
        call(vec![
            item(1, Some(usdc), ALICE, 5),
            item(3, Some(usdc), BOB, 2_000),
            item(4, unlisted, BOB, 1),
        ]),
        (Some(address), Bytes::from(voidCall { numbers }.abi_encode())),
    ];
    rpc.send_from_dev_account(operator, &calls, fee).await.unwrap();

    let head = rpc.block_number().await.unwrap();
    let observation = observe(&rpc, &scope, first, head).await.unwrap();
    let promises = [promise(Some(usdc), ALICE, 5), promise(None, BOB, 7)];
    let verdict = Verdict::of(&promises, &observation.payments);
    assert!(verdict.paid.iter().all(Option::is_some), "{verdict:?}");
    assert_eq!((verdict.paid_twice.len(), verdict.unexpected.len()), (0, 0));
    assert!(observation.foreign.is_empty() && observation.failed.is_empty());
    let items = &observation.items;
    assert_eq!((items.paid.len(), items.paid_again()), (2, 0));
    assert_eq!((items.skipped, items.failed, items.voided), (1, 2, 1));
    let after = BalanceSheet::read(&rpc, &[usdc], &holders).await.unwrap();
    let payers = scope.payers();
    assert_eq!(after.check_recipients(&before, &promises, &payers), []);
    assert_eq!(after.check_wallets(&before, &promises, &payers, observation.fees_wei), []);
    anvil.stop().await.unwrap();
}
