//! An old copy of the database comes back, in each way in which a user lets it: nothing is paid twice,
//! nothing is taken in before the records are reconciled, and afterwards everything goes on. Judged by
//! the chain's own blocks, logs and balances.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy_primitives::{Address, U256};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;
use xtask::anvil::Anvil;
use xtask::assets::{TestAsset, by_symbol};
use xtask::cargo_build::{Profile, build_portcullis};
use xtask::client::{Answer, ApiClient, ApiRequest};
use xtask::installation::{Installation, NETWORK};
use xtask::judge::{BalanceSheet, Promise, Scope, Verdict, observe};
use xtask::rail::Rail;
use xtask::replay::{DatabasePlace, replay};
use xtask::server::{Server, ServerOptions, free_address};
use xtask::testbed::{self, CONFIRMATIONS, TestChain};
use xtask::toolchain;
use xtask::watch::ChainWatch;

/// Far above what any wait here takes.
const LIMIT: Duration = Duration::from_mins(1);
const EARLY: &str = "early";
/// An account that got its money after the backup.
const LATE: &str = "late";
const SUSPENSE: &str = "portcullis:suspense";
const SYMBOLS: [&str; 3] = ["POL", "USDC", "USDT"];

/// Each test has a chain and a server: at the same time they would measure each other.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("{what} took longer than {LIMIT:?}"))
}

/// A request of a client, which it repeats word for word.
#[derive(Clone)]
struct Wish {
    account: &'static str,
    symbol: &'static str,
    amount: &'static str,
    promise: Promise,
}

impl Wish {
    fn request(&self) -> ApiRequest {
        let body = json!({
            "external_id": self.promise.external_id, "account_id": self.account, "network": NETWORK,
            "asset": self.symbol, "amount": self.amount,
            "to_address": self.promise.to.to_checksum(None),
        });
        ApiRequest::post("/v1/withdrawals", &body)
    }
}

/// A chain, an installation that pays there, and everything that clients asked of it.
struct Stage {
    folder: TempDir,
    anvil: Anvil,
    chain: TestChain,
    installation: Installation,
    options: ServerOptions,
    api: ApiClient,
    scope: Scope,
    watch: ChainWatch,
    start: u64,
    before: BalanceSheet,
    wishes: Vec<Wish>,
    /// What was answered to each, by external id.
    ids: BTreeMap<String, String>,
}

/// Few, so that many withdrawals have equal terms.
fn recipients() -> [Address; 3] {
    [0xa1, 0xb0, 0xc4].map(Address::repeat_byte)
}

impl Stage {
    async fn set(rail: Rail) -> (Self, Server) {
        let binary = build_portcullis(&toolchain::workspace_root(), Profile::Dev).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let (anvil, chain) = testbed::start_chain(dir, None).await.unwrap();
        let installation = Installation::at(binary, &dir.join("portcullis"));
        let listen: SocketAddr = free_address().unwrap();
        let furnished = testbed::furnish(&installation, &chain, listen, (4, rail)).await.unwrap();
        testbed::fund(&chain, &furnished.payers).await.unwrap();
        let options = testbed::server_options(&installation, &chain, listen, dir);
        let server = Server::start(&options).unwrap();
        server.ready().await.unwrap();
        let api = ApiClient::new(listen, &furnished.secret).unwrap();
        let scope = testbed::whole_scope(&chain, &furnished.payers);
        let start = chain.rpc.block_number().await.unwrap();
        let watch = ChainWatch::start(chain.rpc.clone(), scope.clone(), start);
        let before = sheet(&chain, &scope).await;
        let (wishes, ids) = (Vec::new(), BTreeMap::new());
        let stage = Self {
            folder,
            anvil,
            chain,
            installation,
            options,
            api,
            scope,
            watch,
            start,
            before,
            wishes,
            ids,
        };
        (stage, server)
    }

    /// The same deposits again change nothing.
    async fn deposit(&self, account: &str) {
        for symbol in SYMBOLS {
            let id = format!("deposit-{account}-{symbol}");
            self.api.deposit(account, &id, symbol, "1000").await.unwrap();
        }
    }

    /// Asks for `count` withdrawals: every third has the same terms.
    async fn ask(&mut self, account: &'static str, count: usize) {
        let assets = TestAsset::all(&self.chain.deployment);
        for place in 0..count {
            let number = self.wishes.len();
            let (symbol, amount) = (SYMBOLS[place % 3], ["1.5", "2", "2"][place % 3]);
            let asset = by_symbol(&assets, symbol).unwrap();
            let promise = Promise {
                external_id: format!("{account}-{number}"),
                token: asset.token,
                to: recipients()[place % 3],
                units: asset.units(amount).unwrap(),
            };
            let wish = Wish { account, symbol, amount, promise };
            let answer = self.api.send_until_answered(&wish.request()).await.unwrap().answer;
            assert_eq!(answer.status, 202, "{answer:?}");
            self.ids.insert(wish.promise.external_id.clone(), id_of(&answer));
            self.wishes.push(wish);
        }
    }

    /// Until the chain has paid everything that was asked for.
    async fn all_paid(&self) {
        let wanted = self.wishes.len();
        let mut progress = self.watch.progress();
        let paid = progress.wait_for(|now| now.payments >= wanted);
        within("paying", paid).await.expect("the chain goes on");
    }

    /// Until the API says so of each.
    async fn all_confirmed(&self) {
        within("confirming", async {
            for (external_id, id) in &self.ids {
                loop {
                    let told = self.api.withdrawal(id).await.unwrap();
                    assert_eq!(&told.external_id, external_id);
                    let ended = ["FAILED", "REJECTED", "CANCELED", "HELD"];
                    assert!(!ended.contains(&told.status.as_str()), "{told:?}");
                    if told.status == "CONFIRMED" {
                        break;
                    }
                    self.watch.wait_blocks(1).await.unwrap();
                }
            }
        })
        .await;
    }

    /// Pays some, makes a backup with some under way, and pays more. What is still under way then is not
    /// waited for; what was paid is. Gives the backup and the names of what was paid.
    async fn live_on(&mut self) -> (PathBuf, BTreeSet<String>) {
        self.deposit(EARLY).await;
        self.ask(EARLY, 6).await;
        self.all_paid().await;
        self.ask(EARLY, 4).await;
        let backup = self.folder.path().join("backup.db");
        let (code, told) = self.command(&["backup", backup.to_str().unwrap()]);
        assert_eq!((code, &told["file"]), (0, &json!(backup)), "{told}");
        self.deposit(LATE).await;
        self.ask(EARLY, 6).await;
        self.ask(LATE, 6).await;
        self.all_paid().await;
        let paid = self.ids.keys().cloned().collect();
        self.ask(LATE, 3).await;
        (backup, paid)
    }

    /// Exit code and JSON of a command.
    fn command(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.installation.run(arguments).unwrap();
        let code = output.status.code().expect("it ends by itself");
        // What was asked for goes to standard output, why it failed to standard error.
        let told = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
        let told = serde_json::from_slice(told)
            .unwrap_or_else(|_| json!(String::from_utf8_lossy(&output.stderr)));
        (code, told)
    }

    fn start(&self) -> Server {
        Server::start(&self.options).unwrap()
    }

    /// A start that is refused: what it said.
    async fn refused_start(&self) -> String {
        let server = self.start();
        within("a refused start", server.failure()).await.to_string()
    }

    /// As the guide says.
    fn move_logs_away(&self) {
        for end in ["-wal", "-shm"] {
            let file = with_end(&self.installation.database(), end);
            if file.exists() {
                fs::remove_file(file).unwrap();
            }
        }
    }

    /// From the first moment after the start: nothing is taken in, and what `reconcile` says.
    async fn is_closed(&self) {
        for wish in &self.wishes {
            let answer = within("the first answers", async {
                loop {
                    if let Ok(answer) = self.api.send(&wish.request()).await {
                        return answer;
                    }
                    tokio::task::yield_now().await;
                }
            })
            .await;
            assert_eq!((answer.status.as_u16(), answer.code()), (503, Some("INTAKE_CLOSED")));
        }
        let (code, told) = self.command(&["reconcile"]);
        assert_eq!(code, 1, "{told}");
        let kinds: BTreeSet<&str> =
            differences(&told).filter_map(|it| it["kind"].as_str()).collect();
        assert!(kinds.contains("unknown_slot"), "{told}");
        assert_ne!(told["remaining"], 0, "{told}");
        let (code, told) = self.command(&["doctor"]);
        assert_eq!(code, 1, "a halt is in force: {told}");
    }

    /// The database comes to the chain's truth, and clients ask again for everything.
    async fn goes_on(&mut self, paid: &BTreeSet<String>) {
        let (code, told) = self.command(&["reconcile", "--repair"]);
        assert_eq!((code, &told["remaining"]), (0, &json!(0)), "{told}");
        assert!(differences(&told).all(|it| it["repaired"] == true), "{told}");
        // The monitor may have wondered about a nonce that this database has not used.
        let lifted = told["halts_lifted"].as_array().expect("a list of halts");
        assert!(lifted.contains(&json!("restore")), "{told}");

        for account in [EARLY, LATE] {
            self.deposit(account).await;
        }
        for wish in &self.wishes {
            let answer = self.api.send_until_answered(&wish.request()).await.unwrap().answer;
            assert!(answer.status.is_success(), "{answer:?}");
            let name = &wish.promise.external_id;
            let known = self.ids.insert(name.clone(), id_of(&answer));
            if paid.contains(name) {
                assert_eq!(answer.status, 200, "{name} is known: {answer:?}");
                assert_eq!(known.as_deref(), answer.body["id"].as_str(), "{name}");
            }
        }
        self.ask(EARLY, 4).await;
        self.ask(LATE, 4).await;
        self.all_confirmed().await;
        // A second payment would come by then.
        self.watch.wait_blocks(CONFIRMATIONS + 2).await.unwrap();
        self.judge().await;
        self.check_accounts().await;
        let (code, told) = self.command(&["reconcile"]);
        assert_eq!((code, &told["remaining"], differences(&told).count()), (0, &json!(0), 0));
        let (code, told) = self.command(&["doctor"]);
        assert_eq!((code, &told["failures"]), (0, &json!(0)), "{told}");
    }

    async fn end(self, server: Server) {
        server.stop().await.unwrap();
        self.anvil.stop().await.unwrap();
    }

    /// What the chain says.
    async fn judge(&self) {
        let head = self.chain.rpc.block_number().await.unwrap();
        let observation =
            observe(&self.chain.rpc, &self.scope, self.start + 1, head).await.unwrap();
        let promises: Vec<Promise> = self.wishes.iter().map(|wish| wish.promise.clone()).collect();
        let verdict = Verdict::of(&promises, &observation.payments);
        assert_eq!((verdict.lost(), &verdict.paid_twice), (vec![], &vec![]), "{verdict:?}");
        assert_eq!(verdict.unexpected, []);
        assert_eq!((observation.items.paid_again(), &observation.foreign), (0, &vec![]));
        let after = sheet(&self.chain, &self.scope).await;
        let payers = self.scope.payers();
        assert_eq!(after.check_recipients(&self.before, &promises, &payers), []);
        let gone = after.check_wallets(&self.before, &promises, &payers, observation.fees_wei);
        assert_eq!(gone, []);
    }

    /// What the ledger says: each account was charged for what it asked for, and nobody else for anything.
    async fn check_accounts(&self) {
        for account in [EARLY, LATE] {
            for balance in self.balances(account).await {
                let asked = self
                    .wishes
                    .iter()
                    .filter(|wish| wish.account == account && balance["asset"] == wish.symbol);
                let due = asked.fold(U256::ZERO, |sum, wish| sum + wish.promise.units);
                assert_eq!(balance["paid_atomic"], due.to_string(), "{account}: {balance}");
                assert_eq!(balance["held_atomic"], "0", "{account}: {balance}");
            }
        }
        for balance in self.balances(SUSPENSE).await {
            for part in ["available_atomic", "held_atomic", "paid_atomic"] {
                assert_eq!(balance[part], "0", "charged to nobody: {balance}");
            }
        }
    }

    async fn balances(&self, account: &str) -> Vec<Value> {
        let request = ApiRequest::get(format!("/v1/accounts/{account}"));
        let answer = self.api.send_until_answered(&request).await.unwrap().answer;
        let mut body = answer.expect_success("a look at an account").unwrap();
        let balances: Vec<Value> = serde_json::from_value(body["balances"].take()).unwrap();
        assert!(!balances.is_empty(), "{account} has no balance");
        balances
    }
}

fn differences(told: &Value) -> impl Iterator<Item = &Value> {
    told["differences"].as_array().expect("a list of differences").iter()
}

async fn sheet(chain: &TestChain, scope: &Scope) -> BalanceSheet {
    let mut holders = scope.payers();
    holders.extend(recipients());
    BalanceSheet::read(&chain.rpc, &scope.tokens, &holders).await.unwrap()
}

fn id_of(answer: &Answer) -> String {
    answer.body["id"].as_str().unwrap_or_else(|| panic!("no id in {answer:?}")).to_owned()
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

#[test]
fn a_backup_that_is_restored_pays_nothing_twice_and_goes_on() {
    let _turn = alone();
    runtime().block_on(async {
        let (mut stage, server) = Stage::set(Rail::Vault).await;
        let (backup, paid) = stage.live_on().await;
        let restore = ["restore", backup.to_str().unwrap()];
        let (code, told) = stage.command(&restore);
        assert_eq!(code, 5, "the engine runs: {told}");
        server.stop().await.unwrap();
        let (code, told) = stage.command(&restore);
        assert_eq!(code, 0, "{told}");
        let kept = told["replaced_kept_as"].as_str().expect("the old one is kept");
        let server = stage.start();
        stage.is_closed().await;
        stage.goes_on(&paid).await;
        // What only the replaced database still has the bytes of.
        let replayed = replay(&stage.chain.rpc, &stage.scope, DatabasePlace::File(Path::new(kept)))
            .await
            .unwrap();
        assert_eq!((replayed.accepted, replayed.paid), (0, 0), "{replayed:?}");
        stage.end(server).await;
    });
}

#[test]
fn a_backup_that_is_copied_back_by_hand_is_noticed_before_a_request_is_taken_in() {
    let _turn = alone();
    runtime().block_on(async {
        let (mut stage, server) = Stage::set(Rail::Direct).await;
        let (backup, paid) = stage.live_on().await;
        // As after a crash: the write-ahead log of the old database is left.
        server.kill().await.unwrap();
        fs::copy(&backup, stage.installation.database()).unwrap();
        let told = stage.refused_start().await;
        assert!(told.contains("exit status: 5") && told.contains("is a backup"), "{told}");
        stage.move_logs_away();
        let server = stage.start();
        stage.is_closed().await;
        stage.goes_on(&paid).await;
        stage.end(server).await;
    });
}

#[test]
fn a_backup_that_is_copied_over_the_running_database_ends_the_engine() {
    let _turn = alone();
    runtime().block_on(async {
        let (mut stage, server) = Stage::set(Rail::Vault).await;
        let (backup, paid) = stage.live_on().await;
        fs::copy(&backup, stage.installation.database()).unwrap();
        let told = within("the end of the engine", server.failure()).await.to_string();
        assert!(told.contains("exit status: 1"), "{told}");
        assert!(told.contains("was exchanged under the running engine"), "{told}");
        // Whoever starts it again, or works on it: the two are not mixed.
        let told = stage.refused_start().await;
        assert!(told.contains("is a backup"), "{told}");
        let (code, told) = stage.command(&["reconcile", "--repair"]);
        assert_eq!(code, 5, "{told}");
        stage.move_logs_away();
        // The engine may have written into it before it ended: once more, as the guide says.
        fs::copy(&backup, stage.installation.database()).unwrap();
        let server = stage.start();
        stage.is_closed().await;
        stage.goes_on(&paid).await;
        stage.end(server).await;
    });
}
