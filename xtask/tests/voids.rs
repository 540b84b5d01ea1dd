//! Payments that a vault was asked to make and could not: taken back by an operator and by a client, each only after its
//! number was used up on chain, where nobody can be paid under it any more. And a wallet that somebody else has used: what its
//! operator does about it. The real binary and a real node.

use std::net::SocketAddr;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{SolCall, sol};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;
use xtask::anvil::Anvil;
use xtask::assets::{TestAsset, by_symbol};
use xtask::cargo_build::{Profile, build_portcullis};
use xtask::chain::{Fee, VaultEvent};
use xtask::client::{Answer, ApiClient, ApiRequest, Withdrawal};
use xtask::installation::{Installation, NETWORK};
use xtask::judge::{Scope, observe};
use xtask::rail::Rail;
use xtask::replay::{DatabasePlace, replay};
use xtask::server::{Server, free_address};
use xtask::testbed::{self, Payers, TestChain};
use xtask::toolchain;
use xtask::vault::{self, Item, payCall};
use xtask::watch::ChainWatch;

sol! {
    function blacklist(address account) external;
    function unBlacklist(address account) external;
}

/// Far above what any wait here takes.
const LIMIT: Duration = Duration::from_mins(2);

/// Whom the token refuses.
const BARRED: Address = Address::repeat_byte(0xba);

const ACCOUNT: &str = "alice";
const UNITS: u64 = 2_000_000;

struct Scene {
    folder: TempDir,
    anvil: Anvil,
    chain: TestChain,
    installation: Installation,
    payers: Payers,
    api: ApiClient,
    watch: ChainWatch,
    usdc: Address,
}

impl Scene {
    async fn set() -> (Self, Server) {
        let binary = build_portcullis(&toolchain::workspace_root(), Profile::Dev).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let (anvil, chain) = testbed::start_chain(dir, None).await.unwrap();
        let installation = Installation::at(binary, &dir.join("portcullis"));
        let listen: SocketAddr = free_address().unwrap();
        let furnished =
            testbed::furnish(&installation, &chain, listen, (1, Rail::Vault)).await.unwrap();
        testbed::fund(&chain, &furnished.payers).await.unwrap();
        let options = testbed::server_options(&installation, &chain, listen, dir);
        let server = Server::start(&options).unwrap();
        server.ready().await.unwrap();
        let api = ApiClient::new(listen, &furnished.secret).unwrap();
        let assets = TestAsset::all(&chain.deployment);
        let usdc = by_symbol(&assets, "USDC").unwrap().token.unwrap();
        api.deposit(ACCOUNT, "deposit", "USDC", "100").await.unwrap();
        let payers = furnished.payers;
        let scope = testbed::whole_scope(&chain, &payers);
        let head = chain.rpc.block_number().await.unwrap();
        let watch = ChainWatch::start(chain.rpc.clone(), scope, head);
        (Self { folder, anvil, chain, installation, payers, api, watch, usdc }, server)
    }

    /// The token's owner orders something.
    async fn order(&self, call: Vec<u8>) {
        let owner = self.chain.rpc.first_dev_account().await.unwrap();
        self.call(owner, self.usdc, call).await;
    }

    async fn call(&self, from: Address, to: Address, call: Vec<u8>) {
        let fee = Fee::generous(&self.chain.rpc, 500_000).await.unwrap();
        let calls = [(Some(to), Bytes::from(call))];
        self.chain.rpc.send_from_dev_account(from, &calls, fee).await.unwrap();
    }

    async fn ask(&self, name: &str) -> String {
        let body = json!({
            "external_id": name, "account_id": ACCOUNT, "network": NETWORK, "asset": "USDC",
            "amount": "2", "to_address": BARRED.to_checksum(None),
        });
        let request = ApiRequest::post("/v1/withdrawals", &body);
        let answer = self.api.send_until_answered(&request).await.unwrap().answer;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.body["id"].as_str().expect("an id").to_owned()
    }

    async fn cancel(&self, id: &str) -> Answer {
        let request = ApiRequest::post(format!("/v1/withdrawals/{id}/cancel"), &json!({}));
        self.api.send_until_answered(&request).await.unwrap().answer
    }

    /// Lets the chain go on until a withdrawal stands so.
    async fn until(&self, id: &str, status: &str, reason: Option<&str>) -> Withdrawal {
        let waiting = async {
            loop {
                let told = self.api.withdrawal(id).await.unwrap();
                if told.status == status && told.reason.as_deref() == reason {
                    return told;
                }
                // It is paid to nobody on the way.
                assert_ne!(told.status, "CONFIRMED", "{told:?}");
                self.next_block().await;
            }
        };
        let ended = timeout(LIMIT, waiting).await;
        ended.unwrap_or_else(|_| panic!("{id} is not {status} {reason:?} after {LIMIT:?}"))
    }

    /// Asks for a withdrawal and waits until it is paid.
    async fn pay(&self, name: &str) {
        let paid = self.ask(name).await;
        let waiting = async {
            while self.api.withdrawal(&paid).await.unwrap().status != "CONFIRMED" {
                self.next_block().await;
            }
        };
        timeout(LIMIT, waiting).await.expect("is paid");
    }

    /// Until the engine has halted for this reason, and for no other.
    async fn until_halted(&self, reason: &str) {
        let waiting = async {
            loop {
                let (_, told) = self.command(&["admin", "halt", "list"]);
                let halts = told["halts"].as_array().expect("a list");
                if let [halt] = halts.as_slice() {
                    assert_eq!(halt["reason"], reason, "{told}");
                    return;
                }
                self.next_block().await;
            }
        };
        timeout(LIMIT, waiting).await.expect("is halted");
    }

    /// Sooner than it would come by itself.
    async fn next_block(&self) {
        self.chain.rpc.mine(1).await.unwrap();
        self.watch.wait_blocks(1).await.unwrap();
    }

    fn command(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.installation.run(arguments).unwrap();
        let told = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
        // What it tells of its progress stands before the answer.
        let told = String::from_utf8_lossy(told);
        let told = told.lines().last().unwrap_or_default();
        let told = serde_json::from_str(told).unwrap_or_else(|_| json!(told));
        (output.status.code().expect("it ends by itself"), told)
    }

    async fn balance(&self) -> [String; 3] {
        let request = ApiRequest::get(format!("/v1/accounts/{ACCOUNT}"));
        let answer = self.api.send_until_answered(&request).await.unwrap().answer;
        let body = answer.expect_success("a look at an account").unwrap();
        let balances = body["balances"].as_array().expect("balances");
        let usdc = balances.iter().find(|balance| balance["asset"] == "USDC").expect("USDC");
        ["available_atomic", "held_atomic", "paid_atomic"]
            .map(|part| usdc[part].as_str().expect("a number in words").to_owned())
    }

    fn scope(&self) -> Scope {
        testbed::whole_scope(&self.chain, &self.payers)
    }

    /// The numbers that the vault has voided, and what else it said.
    async fn vault_events(&self) -> (Vec<U256>, Vec<VaultEvent>) {
        let rpc = &self.chain.rpc;
        let head = rpc.block_number().await.unwrap();
        let vault = self.payers.vault.expect("has one");
        let logs = rpc.vault_logs(vault, 0, head).await.unwrap();
        let voided = logs.iter().filter(|log| log.event == VaultEvent::Voided);
        (voided.map(|log| log.number).collect(), logs.iter().map(|log| log.event).collect())
    }

    /// An operator of the vault that nobody here knows pays under these numbers.
    async fn pay_again(&self, numbers: &[U256]) {
        let rpc = &self.chain.rpc;
        let stranger = rpc.dev_accounts().await.unwrap()[6];
        let vault = self.payers.vault.expect("has one");
        vault::set_operators(rpc, vault, &[stranger]).await.unwrap();
        let items = numbers.iter().map(|&number| Item {
            number,
            r#ref: B256::repeat_byte(7),
            token: self.usdc,
            to: BARRED,
            amount: U256::from(UNITS),
        });
        let call = payCall { items: items.collect() };
        self.call(stranger, vault, call.abi_encode()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_vault_could_not_pay_is_taken_back_once_its_number_is_void() {
    let (scene, server) = Scene::set().await;
    scene.order(blacklistCall { account: BARRED }.abi_encode()).await;
    let by_operator = scene.ask("by-operator").await;
    let by_client = scene.ask("by-client").await;
    // Three rides, each of which the vault answers with `Failed`.
    for id in [&by_operator, &by_client] {
        scene.until(id, "HELD", Some("failing")).await;
    }
    let (code, told) = scene.command(&[
        "admin",
        "withdrawal",
        "refund",
        &by_operator,
        "--reason",
        "the recipient is barred",
    ]);
    assert_eq!((code, &told["outcome"]), (0, &json!("voiding")), "{told}");
    let answer = scene.cancel(&by_client).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    for id in [&by_operator, &by_client] {
        let held = scene.api.withdrawal(id).await.unwrap();
        assert_eq!((held.status.as_str(), held.reason.as_deref()), ("HELD", Some("voiding")));
    }
    assert_eq!(scene.balance().await, ["96000000", "4000000", "0"], "reserved until it is void");

    let failed = scene.until(&by_operator, "FAILED", Some("voided")).await;
    scene.until(&by_client, "CANCELED", None).await;
    assert_eq!(scene.balance().await, ["100000000", "0", "0"], "all of it is available again");
    let (voided, events) = scene.vault_events().await;
    assert_eq!(voided.len(), 2, "{events:?}");
    let failures = events.iter().filter(|event| **event == VaultEvent::Failed).count();
    assert_eq!(failures, 6, "three rides each: {events:?}");
    assert!(failed.attempts.len() >= 3, "{failed:?}");

    // The token takes the recipient again, and nobody is paid: neither by a vault's operator under those numbers, nor by
    // any byte that was ever signed.
    scene.order(unBlacklistCall { account: BARRED }.abi_encode()).await;
    scene.pay_again(&voided).await;
    let database = scene.installation.database();
    let replayed =
        replay(&scene.chain.rpc, &scene.scope(), DatabasePlace::File(&database)).await.unwrap();
    assert_eq!((replayed.accepted, replayed.paid), (0, 0), "{replayed:?}");
    let rpc = &scene.chain.rpc;
    assert_eq!(rpc.token_balance_of(scene.usdc, &[BARRED]).await.unwrap(), [U256::ZERO]);
    let head = rpc.block_number().await.unwrap();
    let observation = observe(rpc, &scene.scope(), 1, head).await.unwrap();
    assert_eq!((observation.items.skipped, observation.items.voided), (2, 2));

    // The money is for something else now, and the same vault pays it.
    scene.pay("afterwards").await;
    assert_eq!(
        rpc.token_balance_of(scene.usdc, &[BARRED]).await.unwrap(),
        [U256::from(UNITS)],
        "the third alone"
    );
    let (code, told) = scene.command(&["reconcile"]);
    assert_eq!((code, &told["remaining"]), (0, &json!(0)), "{told}");
    server.stop().await.unwrap();
    scene.anvil.stop().await.unwrap();
    scene.folder.close().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_that_somebody_else_used_pays_again_when_its_operator_has_accepted_that() {
    let (scene, server) = Scene::set().await;
    scene.pay("before").await;
    // The node signs for whoever it is told to: somebody else has the key.
    let (rpc, wallet) = (&scene.chain.rpc, scene.payers.wallets[0]);
    let _: Value = rpc.call("anvil_impersonateAccount", json!([wallet])).await.unwrap();
    let fee = Fee::generous(rpc, 100_000).await.unwrap();
    let stolen = [(Some(BARRED), Bytes::new())];
    rpc.send_from_dev_account(wallet, &stolen, fee).await.unwrap();
    scene.until_halted("foreign").await;

    let (code, told) = scene.command(&["reconcile", "--repair"]);
    assert_eq!((code, &told["remaining"]), (1, &json!(1)), "{told}");
    let difference = &told["differences"][0];
    assert_eq!(
        (&difference["kind"], &difference["acceptable"]),
        (&json!("foreign"), &json!(false))
    );
    let id = difference["id"].as_str().expect("an id");
    let accept = ["reconcile", "accept", id, "--reason", "a test of the node"];
    let (code, told) = scene.command(&accept);
    assert_eq!((code, &told["error"]["code"]), (5, &json!("REFUSED")), "it is not final: {told}");
    rpc.mine(15).await.unwrap();
    let (code, told) = scene.command(&["reconcile", "accept", id, "--reason", " "]);
    assert_eq!((code, &told["error"]["code"]), (2, &json!("USAGE")), "{told}");
    let (code, told) = scene.command(&accept);
    assert_eq!((code, &told["accepted"]), (0, &json!(true)), "{told}");
    let (code, _) = scene.command(&accept);
    assert_eq!(code, 5, "once is enough");
    let (code, told) = scene.command(&["reconcile", "--repair"]);
    assert_eq!((code, &told["remaining"]), (0, &json!(0)), "{told}");
    assert_eq!(told["halts_lifted"], json!(["foreign"]), "{told}");
    assert_eq!(told["accepted"][0]["reason"], "a test of the node", "{told}");
    assert!(told["history"][0]["from_ms"].as_i64().is_some_and(|at| at > 0), "{told}");

    scene.pay("after").await;
    let paid = rpc.token_balance_of(scene.usdc, &[BARRED]).await.unwrap();
    assert_eq!(paid, [U256::from(2 * UNITS)]);
    let (code, told) = scene.command(&["admin", "audit", "verify"]);
    assert_eq!(code, 0, "{told}");
    server.stop().await.unwrap();
    scene.anvil.stop().await.unwrap();
    scene.folder.close().unwrap();
}
