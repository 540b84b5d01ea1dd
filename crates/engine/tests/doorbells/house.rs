//! A database with an account that has money, and the processes that are told of its work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy_primitives::{Address, B256};
use portcullis_cache::Cache;
use portcullis_core::amount::Amount;
use portcullis_core::asset::Asset;
use portcullis_core::chain::ChainSpec;
use portcullis_core::id::{AssetId, DeploymentId, DepositId, TenantId, WithdrawalId};
use portcullis_core::seal::{SealKeyId, SealingKeys};
use portcullis_core::time::{Clock, Timestamp};
use portcullis_core::withdrawal::Priority;
use portcullis_engine::{
    Bell, Concerns, Doorbells, Engine, EngineParts, EngineSettings, Messenger, Queue, Relay, Role,
    RoleParts, SqsOptions, SqsQueues, Surroundings,
};
use portcullis_store::deposit::NewDeposit;
use portcullis_store::intake::{Intake, Submission, Submitted};
use portcullis_store::{Store, StoreOptions};
use portcullis_testkit::{MariaDb, Moto};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

const LOCAL: u64 = 31_337;
const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const ASSET: AssetId = AssetId::from_bytes([2; 16]);

/// Far above what anything here takes.
pub(crate) const BOUND: Duration = Duration::from_mins(1);

/// A client of its own process.
pub(crate) async fn queues_of(server: &Moto) -> SqsQueues {
    queues_at(server.endpoint()).await
}

/// The same of whatever listens there.
pub(crate) async fn queues_at(endpoint: String) -> SqsQueues {
    SqsQueues::new(SqsOptions {
        region: "eu-central-1".to_owned(),
        endpoint: Some(endpoint),
        is_emulated: true,
        prefix: "test-".to_owned(),
    })
    .await
}

/// The machine's clock: the servers have one that nobody can set.
#[derive(Debug)]
struct MachineClock {
    off_ms: i64,
}

impl Clock for MachineClock {
    #[expect(clippy::disallowed_methods, reason = "the servers' time is the machine's")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(now_ms).plus_millis(self.off_ms)
    }
}

/// See the module.
pub(crate) struct House {
    pub(crate) store: Store,
    /// What its processes report.
    pub(crate) concerns: Concerns,
    sealing: Arc<SealingKeys>,
    next: AtomicU64,
    _folder: TempDir,
}

/// Processes that run until they are stopped.
pub(crate) struct Running {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl House {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = folder.path().join("portcullis.db").display().to_string();
        Self::over(url, folder, 0).await
    }

    /// On a database server, with processes whose own clock is off by so much.
    pub(crate) async fn on_server(off_ms: i64) -> Self {
        let url = MariaDb::shared().create_database("house").expect("a database of its own");
        Self::over(url, tempfile::tempdir().expect("a folder"), off_ms).await
    }

    async fn over(url: String, folder: TempDir, off_ms: i64) -> Self {
        let options = StoreOptions {
            url,
            readers_max: 2,
            busy_timeout_ms: 10_000,
            ..StoreOptions::default()
        };
        let store = Store::open(&options, Arc::new(MachineClock { off_ms })).await.expect("opens");
        store.migrate().await.expect("migrates");
        store.found_deployment(DeploymentId::from_parts(store.now(), 7)).await.expect("is new");
        store.create_tenant(TENANT, "acme", "test").await.expect("a tenant");
        let sealing = Arc::new(SealingKeys::new(SealKeyId(1), Zeroizing::new([7; 32])));
        let asset = Asset {
            id: ASSET,
            chain_id: LOCAL,
            symbol: "POL".into(),
            token: None,
            decimals: 18,
            amount_min: units("1"),
            amount_max: units("1000"),
            daily_max: None,
            enabled: true,
        };
        store.register_asset(&sealing, &asset, "test").await.expect("registers");
        let deposit = NewDeposit {
            id: DepositId::from_parts(store.now(), 8),
            tenant: TENANT,
            account: "alice".parse().expect("an account"),
            asset: ASSET,
            amount: units("1000000"),
            external_id: "deposit".parse().expect("an external id"),
            request_hash: B256::ZERO,
        };
        store.deposit(&sealing, &deposit).await.expect("credits");
        let concerns = Concerns::default();
        Self { store, concerns, sealing, next: AtomicU64::new(1), _folder: folder }
    }

    /// Accepts so many withdrawals.
    pub(crate) async fn accept(&self, count: u64) {
        let intake = Intake::new(self.store.clone(), Arc::clone(&self.sealing));
        for _ in 0..count {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let submission = Submission {
                id: WithdrawalId::from_parts(self.store.now(), u128::from(number)),
                tenant: TENANT,
                external_id: format!("order-{number}").parse().expect("an external id"),
                request_hash: B256::ZERO,
                account: "alice".parse().expect("an account"),
                asset: ASSET,
                chain_id: LOCAL,
                token: None,
                amount: units("1"),
                to: Address::repeat_byte(0xbe),
                priority: Priority::Standard,
                metadata: None,
                trace: None,
            };
            let submitted = intake.submit(submission, 60_000).await.expect("an answer");
            assert!(matches!(submitted, Submitted::Accepted(_)), "{submitted:?}");
        }
    }

    /// How many withdrawals wait at the stage of a queue.
    pub(crate) async fn rows(&self, queue: Queue) -> u64 {
        let stage = queue.stage().expect("it has one").as_str();
        let depths = self.store.queues().await.expect("reads");
        depths.into_iter().find(|depth| depth.stage == stage).map_or(0, |depth| depth.depth)
    }

    pub(crate) fn relay(&self, queues: &Arc<SqsQueues>) -> Relay {
        Relay::new(Arc::clone(queues), self.store.clone(), around("relay"), 60_000)
    }

    /// A process that carries rings, without a role.
    pub(crate) fn carry(
        &self,
        served: &[Bell],
        queues: Option<Arc<SqsQueues>>,
        cache: Option<Arc<dyn Cache>>,
    ) -> (Doorbells, Running) {
        let doorbells = Doorbells::between_processes(served);
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(self.messenger(&doorbells, queues, cache).run(stopping));
        (doorbells, Running { stop, tasks })
    }

    /// A process with a processor that looks by itself only once an hour.
    pub(crate) fn processor(&self, queues: Arc<SqsQueues>) -> Running {
        let doorbells = Doorbells::between_processes(&[Bell::Validate]);
        let settings = EngineSettings { poll_interval_ms: 3_600_000, ..EngineSettings::default() };
        let roles = RoleParts {
            store: self.store.clone(),
            pools: Vec::new(),
            vaults: [].into(),
            settings,
            around: around("processor"),
            doorbells: doorbells.clone(),
            concerns: self.concerns.clone(),
        };
        let sealing_keys = Arc::clone(&self.sealing);
        let engine = Engine::new(EngineParts { roles, signer: None, sealing_keys });
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(self.messenger(&doorbells, Some(queues), None).run(stopping.clone()));
        tasks.spawn(async move {
            engine.run(&[Role::Processor], stopping).await.expect("it runs to its end");
        });
        Running { stop, tasks }
    }

    fn messenger(
        &self,
        doorbells: &Doorbells,
        queues: Option<Arc<SqsQueues>>,
        cache: Option<Arc<dyn Cache>>,
    ) -> Messenger {
        Messenger {
            doorbells: doorbells.clone(),
            queues,
            cache,
            store: self.store.clone(),
            around: around("messenger"),
            lease_ms: 60_000,
            concerns: self.concerns.clone(),
        }
    }
}

impl Running {
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no panic");
        }
    }
}

fn around(name: &str) -> Surroundings {
    Surroundings { entropy: Arc::new(|| 7), instance: format!("{name}#1") }
}

fn units(text: &str) -> Amount {
    // Of the smallest unit: what an amount is worth matters to nothing here.
    Amount::parse_atomic(text).expect("digits")
}

/// Asks again and again until it holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(BOUND, waiting).await.is_ok(), "never came true: {what}");
}

/// That the chain of the tests is one that the engine knows.
#[test]
fn the_chain_is_known() {
    assert!(ChainSpec::by_id(LOCAL).is_some());
}
