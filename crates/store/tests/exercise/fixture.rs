//! A fresh database under a clock that is told, and the first things in it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use alloy_primitives::{Address, B256, U256, keccak256};
use portcullis_core::amount::Amount;
use portcullis_core::asset::Asset;
use portcullis_core::id::{
    AccountId, AssetId, DeploymentId, DepositId, ExternalId, TenantId, WithdrawalId,
};
use portcullis_core::policy::{Rule, Verdict};
use portcullis_core::seal::{SealKeyId, SealingKeys};
use portcullis_core::time::{Clock, Timestamp};
use portcullis_core::withdrawal::Priority;
use portcullis_store::asset::AssetOutcome;
use portcullis_store::deposit::{DepositOutcome, NewDeposit};
use portcullis_store::intake::{Intake, Submission, Submitted};
use portcullis_store::ledger::Balance;
use portcullis_store::withdrawal::{WithdrawalFilter, WithdrawalRecord};
use portcullis_store::{Store, StoreOptions, TimeSource};
use portcullis_testkit::{MariaDb, SeededEntropy, TestClock};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::DATABASE;
use crate::behind::{Behind, Held};

pub(crate) const CHAIN: u64 = 137;

/// 2026-11-20 10:00 UTC.
pub(crate) const START_MS: i64 = 1_795_168_800_000;

/// Longer than any test waits for a commit.
pub(crate) const PATIENCE_MS: u64 = 60_000;

/// Which of the databases a test program is for: each of them runs the same tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "a program for files opens no server")]
pub(crate) enum Database {
    /// A file of its own for each test.
    Sqlite,
    /// One server for the program, and on it a database of its own for each test.
    MariaDb,
}

impl Database {
    /// The URL of an empty database, and the folder that it goes with.
    pub(crate) fn fresh(self) -> (String, TempDir) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let url = match self {
            Self::Sqlite => directory.path().join("portcullis.db").to_string_lossy().into_owned(),
            Self::MariaDb => {
                static NUMBER: AtomicU32 = AtomicU32::new(0);
                let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::SeqCst));
                MariaDb::shared().create_database(&name).expect("a database of its own")
            }
        };
        (url, directory)
    }
}

pub(crate) struct Fixture {
    pub(crate) clock: TestClock,
    pub(crate) store: Store,
    pub(crate) keys: Arc<SealingKeys>,
    pub(crate) intake: Intake,
    pub(crate) tenant: TenantId,
    pub(crate) token: Asset,
    pub(crate) native: Asset,
    pub(crate) deployment: DeploymentId,
    entropy: Mutex<SeededEntropy>,
    url: String,
    behind: Behind,
    _directory: TempDir,
}

pub(crate) fn units(units: u64) -> Amount {
    Amount::from_atomic(U256::from(units))
}

pub(crate) fn account(text: &str) -> AccountId {
    text.parse().expect("an account id")
}

pub(crate) fn external(text: &str) -> ExternalId {
    text.parse().expect("an external id")
}

/// A policy that has no objection.
pub(crate) fn pass(_record: &WithdrawalRecord, _total: Amount) -> Verdict {
    Verdict::Pass(Rule::Default)
}

pub(crate) fn address_of(name: &str) -> Address {
    Address::from_slice(&keccak256(name)[12..])
}

pub(crate) fn accepted(outcome: Submitted) -> WithdrawalRecord {
    match outcome {
        Submitted::Accepted(record) => *record,
        other => panic!("not accepted: {other:?}"),
    }
}

fn asset(id: u8, symbol: &str, token: Option<Address>) -> Asset {
    Asset {
        id: AssetId::from_bytes([id; 16]),
        chain_id: CHAIN,
        symbol: symbol.to_owned(),
        token,
        decimals: 6,
        amount_min: units(1),
        amount_max: units(1_000_000_000),
        daily_max: Some(units(5_000)),
        enabled: true,
    }
}

impl Fixture {
    pub(crate) async fn open() -> Self {
        Self::open_with(10_000, 4).await
    }

    pub(crate) async fn open_with(busy_timeout_ms: u64, readers_max: u32) -> Self {
        let (url, directory) = DATABASE.fresh();
        Self::open_at(url, directory, busy_timeout_ms, readers_max).await
    }

    /// The options of a store whose time is told by the test.
    pub(crate) fn options(url: &str, busy_timeout_ms: u64, readers_max: u32) -> StoreOptions {
        StoreOptions {
            url: url.to_owned(),
            readers_max,
            writers_max: 4,
            busy_timeout_ms,
            time: TimeSource::Process,
            ..StoreOptions::default()
        }
    }

    pub(crate) async fn open_at(
        url: String,
        directory: TempDir,
        busy_timeout_ms: u64,
        readers_max: u32,
    ) -> Self {
        let clock = TestClock::at(Timestamp::from_millis(START_MS));
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let options = Self::options(&url, busy_timeout_ms, readers_max);
        let store = Store::open(&options, shared).await.expect("opens");
        store.migrate().await.expect("migrates");
        let deployment = DeploymentId::from_bytes([9; 16]);
        store.found_deployment(deployment).await.expect("is founded");
        let keys = Arc::new(SealingKeys::new(SealKeyId(1), Zeroizing::new([7; 32])));
        let tenant = TenantId::from_bytes([1; 16]);
        store.create_tenant(tenant, "acme", "test").await.expect("a tenant");
        let token = asset(1, "USDC", Some(address_of("token")));
        let native = asset(2, "POL", None);
        for asset in [&token, &native] {
            let outcome = store.register_asset(&keys, asset, "test").await.expect("registers");
            assert_eq!(outcome, AssetOutcome::Registered);
        }
        let behind = Behind::open(&url).await;
        Self {
            clock,
            intake: Intake::new(store.clone(), Arc::clone(&keys)),
            store,
            keys,
            tenant,
            token,
            native,
            deployment,
            entropy: Mutex::new(SeededEntropy::new(1)),
            url,
            behind,
            _directory: directory,
        }
    }

    /// The same database, opened as another process would.
    pub(crate) async fn another(&self, busy_timeout_ms: u64) -> Store {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let options = Self::options(self.url(), busy_timeout_ms, 2);
        Store::open(&options, clock).await.expect("opens again")
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn random(&self) -> u128 {
        self.entropy.lock().expect("no test panics with it").next_u128()
    }

    /// Runs one statement behind the store's back; returns the rows that it touched.
    pub(crate) async fn sql(&self, statement: impl Into<String>) -> u64 {
        let statement: String = statement.into();
        self.try_sql(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"))
    }

    /// The same, of a statement that the database may refuse.
    pub(crate) async fn try_sql(&self, statement: &str) -> Result<u64, String> {
        self.behind.execute(statement).await.map_err(|error| error.to_string())
    }

    pub(crate) async fn number(&self, query: impl Into<String>) -> i64 {
        let query: String = query.into();
        let found = self.behind.number(&query).await;
        found.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// Rows of two texts.
    pub(crate) async fn pairs(&self, query: impl Into<String>) -> Vec<(String, String)> {
        let query: String = query.into();
        let found = self.behind.pairs(&query).await;
        found.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// Waits for what a dropped future has left at a server.
    pub(crate) async fn quiesce(&self) {
        self.behind.quiesce(&self.store).await;
    }

    /// The same where writers do not wait in one line: what was cut off may be committed after the next step has looked.
    pub(crate) async fn quiesce_server(&self) {
        if DATABASE == Database::MariaDb {
            self.quiesce().await;
        }
    }

    /// Another process that keeps intake from committing for as long as it is kept.
    pub(crate) async fn lock(&self) -> Held {
        Held::take(&self.url).await
    }

    pub(crate) fn submission(&self, name: &str, from: &str, amount: u64) -> Submission {
        Submission {
            id: WithdrawalId::from_parts(self.now(), self.random()),
            tenant: self.tenant,
            external_id: external(name),
            request_hash: keccak256(format!("{name}/{from}/{amount}")),
            account: account(from),
            asset: self.token.id,
            chain_id: CHAIN,
            token: self.token.token,
            amount: units(amount),
            to: address_of(name),
            priority: Priority::Standard,
            metadata: None,
            trace: None,
        }
    }

    pub(crate) async fn submit(&self, submission: Submission) -> Submitted {
        self.intake.submit(submission, PATIENCE_MS).await.expect("an answer")
    }

    pub(crate) async fn accept(&self, name: &str, from: &str, amount: u64) -> WithdrawalRecord {
        accepted(self.submit(self.submission(name, from, amount)).await)
    }

    pub(crate) async fn validate_all(&self) -> usize {
        self.store.validate(1_000, &pass).await.expect("validates")
    }

    /// Accepted, funded and passed by policy.
    pub(crate) async fn queue(&self, name: &str, amount: u64) -> WithdrawalRecord {
        self.fund("alice", amount).await;
        let record = self.accept(name, "alice", amount).await;
        assert_eq!(self.validate_all().await, 1);
        self.read(&record).await
    }

    pub(crate) fn deposit_of(&self, to: &str, amount: u64) -> NewDeposit {
        let random = self.random();
        NewDeposit {
            id: DepositId::from_parts(self.now(), random),
            tenant: self.tenant,
            account: account(to),
            asset: self.token.id,
            amount: units(amount),
            external_id: external(&format!("deposit-{random:x}")),
            request_hash: B256::repeat_byte(3),
        }
    }

    pub(crate) async fn fund(&self, to: &str, amount: u64) {
        let new = self.deposit_of(to, amount);
        let outcome = self.store.deposit(&self.keys, &new).await.expect("credits");
        assert!(matches!(outcome, DepositOutcome::Credited(_)), "{outcome:?}");
    }

    /// The record as it stands now.
    pub(crate) async fn read(&self, record: &WithdrawalRecord) -> WithdrawalRecord {
        self.read_id(record.id).await
    }

    pub(crate) async fn read_id(&self, id: WithdrawalId) -> WithdrawalRecord {
        let found = self.store.withdrawal(self.tenant, id).await.expect("reads");
        found.expect("it was accepted")
    }

    pub(crate) async fn all(&self) -> Vec<WithdrawalRecord> {
        let filter = WithdrawalFilter { limit: 100_000, ..WithdrawalFilter::default() };
        self.store.withdrawals(self.tenant, &filter).await.expect("lists")
    }

    /// An account's balance of the token.
    pub(crate) async fn balance(&self, of: &str) -> Balance {
        let found = self.store.account(self.tenant, &account(of)).await.expect("reads");
        let balances = found.map(|account| account.balances).unwrap_or_default();
        let zero = Amount::ZERO;
        balances.into_iter().find(|balance| balance.asset == self.token.id).unwrap_or(Balance {
            asset: self.token.id,
            available: zero,
            held: zero,
            paid: zero,
            deposited: zero,
        })
    }

    /// Available, held and paid.
    pub(crate) async fn buckets(&self, of: &str) -> (Amount, Amount, Amount) {
        let balance = self.balance(of).await;
        (balance.available, balance.held, balance.paid)
    }
}

/// The kinds of a timeline, oldest first.
pub(crate) fn kinds(record: &WithdrawalRecord) -> Vec<&str> {
    record.timeline.iter().map(|event| event.kind.as_str()).collect()
}
