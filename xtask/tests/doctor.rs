//! `doctor` on a real node: what is in order, and each thing that is not, told with what to do.

use std::fs;

use alloy_primitives::{Address, Bytes, U256, address, hex};
use alloy_sol_types::{SolCall, sol};
use serde_json::{Value, json};
use tempfile::TempDir;
use xtask::anvil::{Anvil, AnvilOptions};
use xtask::assets::{TestAsset, by_symbol};
use xtask::cargo_build::{Profile, build_portcullis};
use xtask::chain::Fee;
use xtask::installation::Installation;
use xtask::rail::Rail;
use xtask::server::free_address;
use xtask::testbed::{self, Payers, TestChain};
use xtask::{testnet, toolchain};

sol! {
    function approve(address spender, uint256 units) external;
    function transfer(address to, uint256 units) external;
    function setOperator(address operator, bool allowed) external;
    function setPaused(bool paused_) external;
    function offerOwnership(address candidate_) external;
    function acceptOwnership() external;
}

const MULTICALL: Address = address!("0xcA11bde05977b3631167028862bE2a173976CA11");

/// Lists as a token of six decimals, and takes one unit of every transfer for itself:
/// `Transfer(caller, to, units - 1)`, then 6.
fn fee_token() -> Bytes {
    let topic = "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
    let code = format!("60016024350360005260043533{}{topic}60206000a3600660005260206000f3", "7f");
    hex::decode(code).unwrap().into()
}

/// Answers everything with one number.
fn answering(number: u8) -> Bytes {
    hex::decode(format!("60{number:02x}60005260206000f3")).unwrap().into()
}

struct Practice {
    folder: TempDir,
    anvil: Anvil,
    chain: TestChain,
    installation: Installation,
    payers: Payers,
}

impl Practice {
    async fn open() -> Self {
        let binary = build_portcullis(&toolchain::workspace_root(), Profile::Dev).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let (anvil, chain) = testbed::start_chain(dir, None).await.unwrap();
        let installation = Installation::at(binary, &dir.join("portcullis"));
        let listen = free_address().unwrap();
        let furnished =
            testbed::furnish(&installation, &chain, listen, (1, Rail::Vault)).await.unwrap();
        testbed::fund(&chain, &furnished.payers).await.unwrap();
        Self { folder, anvil, chain, installation, payers: furnished.payers }
    }

    fn wallet(&self) -> Address {
        self.payers.wallets[0]
    }

    fn vault(&self) -> Address {
        self.payers.vault.expect("has one")
    }

    async fn owner(&self) -> Address {
        self.chain.rpc.dev_accounts().await.unwrap()[1]
    }

    async fn call(&self, from: Address, to: Address, call: impl SolCall) {
        let rpc = &self.chain.rpc;
        let _: Value = rpc.call("anvil_impersonateAccount", json!([from])).await.unwrap();
        let fee = Fee::generous(rpc, 300_000).await.unwrap();
        let calls = [(Some(to), Bytes::from(call.abi_encode()))];
        rpc.send_from_dev_account(from, &calls, fee).await.unwrap();
    }

    /// A contract of a few bytes, registered as an asset of six decimals.
    async fn odd_token(&self, symbol: &'static str, at: Address, code: Bytes) {
        self.set_code(at, code).await;
        let asset = TestAsset {
            symbol,
            token: Some(at),
            ..by_symbol(&TestAsset::all(&self.chain.deployment), "USDC").unwrap().clone()
        };
        self.installation.add_asset(&asset).unwrap();
    }

    async fn set_code(&self, at: Address, code: Bytes) {
        let rpc = &self.chain.rpc;
        let _: Value = rpc.call("anvil_setCode", json!([at, code])).await.unwrap();
    }

    fn edit(&self, from: &str, to: &str) {
        let path = self.installation.config();
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(from), "{from:?} is not in the configuration");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    /// Exit code and all lines: verdict, what, detail.
    fn doctor(&self) -> (i32, Vec<[String; 3]>) {
        let output = self.installation.run(&["doctor"]).unwrap();
        let told: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        let checks = told["checks"].as_array().expect("a list").iter();
        let lines = checks.map(|check| {
            ["verdict", "what", "detail"].map(|part| check[part].as_str().unwrap().to_owned())
        });
        (output.status.code().unwrap(), lines.collect())
    }

    /// There is such a line.
    fn told(&self, verdict: &str, what: &str, detail: &str) {
        let (code, lines) = self.doctor();
        let fits = |line: &&[String; 3]| {
            line[0] == verdict && line[1].contains(what) && line[2].contains(detail)
        };
        assert!(lines.iter().any(|line| fits(&line)), "no {verdict} {what}: {detail}: {lines:#?}");
        let failed = lines.iter().any(|line| line[0] == "fail");
        assert_eq!(code, i32::from(failed), "{lines:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_order_fails_nothing_and_each_fault_is_named() {
    let place = Practice::open().await;
    let (code, lines) = place.doctor();
    assert_eq!(code, 0, "{lines:#?}");
    let (wallet, vault) = (place.wallet(), place.vault());
    let of_vault = format!("vault {vault}");
    place.told("ok", &of_vault, "owner 0x");
    place.told("ok", &of_vault, "is an operator");
    place.told("ok", &of_vault, "not paused");
    place.told("ok", "USDC", "6 decimals");
    place.told("ok", "allowances", "none of");
    place.told("ok", "clock", "s old");
    place.told("ok", "independent providers", "1 operators, 1 have to agree");

    tokens(&place, wallet).await;
    the_vault(&place, wallet, &of_vault).await;
    providers(&place).await;

    // The node's newest block is an hour ahead of this machine.
    let rpc = &place.chain.rpc;
    let _: Value = rpc.call("evm_increaseTime", json!([3_600])).await.unwrap();
    rpc.mine(1).await.unwrap();
    place.told("fail", "clock", "this machine's clock is slow");
    place.anvil.stop().await.unwrap();
    place.folder.close().unwrap();
}

async fn tokens(place: &Practice, wallet: Address) {
    let usdc = place.chain.deployment.usdc;
    let allow = |units| approveCall { spender: MULTICALL, units: U256::from(units) };
    place.call(wallet, usdc, allow(5)).await;
    let what = format!("allowance of {wallet} for Multicall3 over {usdc}");
    place.told("fail", &what, "approve 0");
    place.call(wallet, usdc, allow(0)).await;
    place.told("ok", "allowances", "none of");

    let odd = Address::repeat_byte(0x0d);
    place.odd_token("ODD", odd, answering(6)).await;
    place.set_code(odd, answering(8)).await;
    place.told("fail", "ODD", "has 8 decimals, the asset 6");
    place.set_code(odd, Bytes::new()).await;
    place.told("fail", "ODD", "is no token here");
    place.set_code(odd, answering(6)).await;

    let taking = Address::repeat_byte(0xfe);
    place.odd_token("FEE", taking, fee_token()).await;
    place.told("warn", "fee on transfer of FEE", "not probed");
    let pay = |units| transferCall { to: Address::repeat_byte(0xa1), units: U256::from(units) };
    place.call(wallet, taking, pay(100)).await;
    place.told("fail", "fee on transfer of FEE", "100 asked for, 99 arrived");
    testnet::mint_tokens(&place.chain.rpc, usdc, &[(wallet, U256::from(100))]).await.unwrap();
    place.call(wallet, usdc, pay(100)).await;
    place.told("ok", "fee on transfer of USDC", "none in");
}

async fn the_vault(place: &Practice, wallet: Address, of_vault: &str) {
    let (owner, vault) = (place.owner().await, place.vault());
    let operate = |allowed| setOperatorCall { operator: wallet, allowed };
    place.call(owner, vault, operate(false)).await;
    place.told("fail", of_vault, "is no operator");
    place.call(owner, vault, operate(true)).await;
    place.call(owner, vault, setPausedCall { paused_: true }).await;
    place.told("fail", of_vault, "it is paused");
    place.call(owner, vault, setPausedCall { paused_: false }).await;
    place.call(owner, vault, offerOwnershipCall { candidate_: wallet }).await;
    place.told("ok", of_vault, "owner 0x");
    place.call(wallet, vault, acceptOwnershipCall {}).await;
    place.told("fail", of_vault, "is a hot wallet");
    let elsewhere = place.chain.deployment.usdc;
    place.edit(&format!("vault = \"{vault}\""), &format!("vault = \"{elsewhere}\""));
    place.told("fail", "vault", "does not answer as a PayoutVault");
    place.edit(&format!("vault = \"{elsewhere}\""), &format!("vault = \"{wallet}\""));
    place.told("fail", "vault", "no contract is there");
    place.edit(&format!("vault = \"{wallet}\""), &format!("vault = \"{vault}\""));
}

async fn providers(place: &Practice) {
    let root = toolchain::workspace_root();
    let binary = toolchain::anvil_binary(&root).unwrap();
    let log = place.folder.path().join("other.log");
    let options = AnvilOptions { chain_id: 4_242, ..AnvilOptions::new(binary, log) };
    let other = Anvil::start(options).await.unwrap();
    let second = |operator: &str, url: &str| {
        format!(
            "[[chain.provider]]\nname = \"second\"\noperator = \"{operator}\"\nurl = \"{url}\"\n"
        )
    };
    let first = "[[chain.provider]]\nname = \"primary\"";
    let stranger = second("second", other.rpc_url());
    place.edit(first, &format!("{stranger}\n{first}"));
    place.told("fail", "provider second", "4242");
    // The same node once more, and the same operator: no independent witness.
    let twin = second("primary", place.chain.rpc.url());
    place.edit(&stranger, &twin);
    place.told("ok", "provider second", "chain id 31337");
    place.told("ok", "independent providers", "1 operators");
    place.edit(&twin, &second("another", place.chain.rpc.url()));
    place.told("ok", "independent providers", "2 operators, 2 have to agree");
    other.stop().await.unwrap();
}
