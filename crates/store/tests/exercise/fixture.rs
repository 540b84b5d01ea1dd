//! A fresh database in a temporary file, under a clock that is told, and the first things in it.

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
use portcullis_store::{Store, StoreOptions};
use portcullis_testkit::{SeededEntropy, TestClock};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, Connection};
use tempfile::TempDir;
use zeroize::Zeroizing;

pub(crate) const CHAIN: u64 = 137;

/// 2026-11-20 10:00 UTC.
pub(crate) const START_MS: i64 = 1_795_168_800_000;

/// Longer than any test waits for a commit.
pub(crate) const PATIENCE_MS: u64 = 60_000;

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
    path: String,
    raw: SqlitePool,
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
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("portcullis.db").to_string_lossy().into_owned();
        let clock = TestClock::at(Timestamp::from_millis(START_MS));
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let options = StoreOptions { url: path.clone(), readers_max, busy_timeout_ms };
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
        let raw = SqlitePoolOptions::new()
            .max_connections(2)
            .connect_with(SqliteConnectOptions::new().filename(&path))
            .await
            .expect("a connection behind the store's back");
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
            path,
            raw,
            _directory: directory,
        }
    }

    /// The same database, opened as another process would.
    pub(crate) async fn another(&self, busy_timeout_ms: u64) -> Store {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let options = StoreOptions { url: self.path.clone(), readers_max: 2, busy_timeout_ms };
        Store::open(&options, clock).await.expect("opens again")
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
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
        sqlx::query(AssertSqlSafe(statement.clone()))
            .execute(&self.raw)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"))
            .rows_affected()
    }

    pub(crate) async fn number(&self, query: impl Into<String>) -> i64 {
        let query: String = query.into();
        sqlx::query_scalar(AssertSqlSafe(query.clone()))
            .fetch_one(&self.raw)
            .await
            .unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// Rows of two texts.
    pub(crate) async fn pairs(&self, query: impl Into<String>) -> Vec<(String, String)> {
        let query: String = query.into();
        sqlx::query_as(AssertSqlSafe(query.clone()))
            .fetch_all(&self.raw)
            .await
            .unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// Another process that holds the write lock for as long as it is kept.
    pub(crate) async fn lock(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(&self.path);
        let mut connection = SqliteConnection::connect_with(&options).await.expect("connects");
        sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.expect("locks");
        connection
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
