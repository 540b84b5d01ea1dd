//! The real roles over one node and one wallet, stepped by hand under a clock that is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rpc_client::RpcClient;
use portcullis_core::amount::Amount;
use portcullis_core::asset::Asset;
use portcullis_core::calldata::direct_payment;
use portcullis_core::chain::ChainSpec;
use portcullis_core::fee::FeeBounds;
use portcullis_core::id::{AssetId, DeploymentId, DepositId, SlotId, TenantId, WithdrawalId};
use portcullis_core::seal::{SealKeyId, SealingKeys};
use portcullis_core::slot::{Purpose, Rail, Slot};
use portcullis_core::time::{Clock, Timestamp};
use portcullis_core::withdrawal::Priority;
use portcullis_engine::{
    Broadcaster, Concerns, Doorbells, EngineSettings, Monitor, Processor, Recovery, RoleParts,
    SignerRole, Surroundings,
};
use portcullis_evm::{PoolLimits, Provider, ProviderPool};
use portcullis_keys::{ChainCaps, Journal, KdfCost, Keystore, Signer};
use portcullis_store::deposit::NewDeposit;
use portcullis_store::intake::{Intake, Submission, Submitted};
use portcullis_store::slot::NewSlot;
use portcullis_store::withdrawal::WithdrawalRecord;
use portcullis_store::{Store, StoreOptions};
use portcullis_testkit::{SeededEntropy, SimConfig, SimNode, SimTransport, TestClock};
use secrecy::SecretString;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use zeroize::Zeroizing;

pub(crate) const GWEI: u128 = 1_000_000_000;
pub(crate) const CHAIN: u64 = 31_337;
pub(crate) const PAYEE: Address = Address::repeat_byte(0xbe);
/// What `maxFeePerGas` may be at most here.
pub(crate) const CAP_GWEI: u64 = 500;

const START_MS: i64 = 1_795_000_000_000;
const BLOCK_MS: i64 = 1_000;

pub(crate) struct Desk {
    pub(crate) store: Store,
    pub(crate) node: SimNode,
    pub(crate) clock: TestClock,
    pub(crate) wallet: Address,
    pub(crate) tenant: TenantId,
    pub(crate) recovery: Recovery,
    pub(crate) signing: SignerRole,
    pub(crate) broadcaster: Broadcaster,
    processor: Processor,
    monitor: Monitor,
    intake: Intake,
    asset: Asset,
    directory: tempfile::TempDir,
}

fn units(units: U256) -> Amount {
    Amount::from_atomic(units)
}

fn plenty() -> U256 {
    U256::from(10).pow(U256::from(24))
}

fn spec() -> &'static ChainSpec {
    let local = ChainSpec::by_id(CHAIN).expect("in the catalogue");
    let cap = u128::from(CAP_GWEI) * GWEI;
    let fee_bounds = FeeBounds { max_fee_per_gas_wei_cap: cap, ..local.fee_bounds };
    Box::leak(Box::new(ChainSpec { fee_bounds, ..*local }))
}

fn signer_in(directory: &std::path::Path, clock: &Arc<dyn Clock>) -> (Arc<Signer>, Address) {
    let path = directory.join("keystore.json");
    let passphrase = SecretString::from("desk");
    let cost = KdfCost { memory_kib: 8, iterations: 1, parallelism: 1 };
    let mut keystore =
        Keystore::create(&path, &passphrase, None, cost, clock.now()).expect("a keystore");
    let key = Zeroizing::new([0x5e; 32]);
    let wallet = keystore.import(CHAIN, key, None, clock.now()).expect("imports");
    let journal = Journal::open(&mut keystore, clock.now()).expect("a journal");
    let caps = ChainCaps {
        chain_id: CHAIN,
        max_fee_per_gas_wei: u128::from(CAP_GWEI) * GWEI,
        transaction_fee_wei_max: u128::MAX,
        gas_limit_max: 1_000_000,
        amount_max: BTreeMap::from([(None, units(plenty()))]),
        vault: None,
    };
    let signer =
        Signer::new(keystore, journal, keys(), deployment(), vec![caps], Arc::clone(clock));
    (Arc::new(signer.expect("a signer")), wallet)
}

fn keys() -> SealingKeys {
    SealingKeys::new(SealKeyId(1), Zeroizing::new([7; 32]))
}

fn deployment() -> DeploymentId {
    DeploymentId::from_bytes([9; 16])
}

impl Desk {
    /// A wallet with this much native coin.
    pub(crate) async fn open(wallet_wei: U256) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let start = Timestamp::from_millis(START_MS);
        let clock = TestClock::at(start);
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let (signer, wallet) = signer_in(directory.path(), &shared);
        let config = SimConfig {
            chain_id: CHAIN,
            genesis_at: start.plus_millis(-60_000),
            ..SimConfig::default()
        };
        let node = SimNode::new(config);
        node.fund(wallet, wallet_wei);
        for block in 1..=20 {
            node.mine(start.plus_millis(-40_000 + block * BLOCK_MS));
        }
        let url = directory.path().join("desk.db").display().to_string();
        let options = StoreOptions {
            url,
            readers_max: 2,
            busy_timeout_ms: 10_000,
            ..StoreOptions::default()
        };
        let store = Store::open(&options, Arc::clone(&shared)).await.expect("opens");
        store.migrate().await.expect("migrates");
        store.found_deployment(deployment()).await.expect("is founded");
        let (tenant, asset) = fill(&store).await;
        let client = RpcClient::new(SimTransport::new(node.clone()), true);
        let provider = Provider::from_client("node", "desk", client);
        let limits = PoolLimits::default();
        let pool = ProviderPool::new(spec(), vec![provider], Arc::clone(&shared), limits);
        let entropy = Mutex::new(SeededEntropy::new(1));
        let parts = RoleParts {
            store: store.clone(),
            pools: vec![Arc::new(pool.expect("a pool"))],
            vaults: BTreeMap::new(),
            settings: EngineSettings { bump_after_ms: 30_000, ..EngineSettings::default() },
            around: Surroundings {
                entropy: Arc::new(move || entropy.lock().expect("no panic").next_u128()),
                instance: "desk#1".into(),
            },
            doorbells: Doorbells::local(),
            concerns: Concerns::default(),
        };
        let sealing = Arc::new(keys());
        Self {
            recovery: Recovery::new(parts.clone()),
            signing: SignerRole::new(parts.clone(), signer),
            broadcaster: Broadcaster::new(parts.clone()),
            processor: Processor::new(parts.clone(), Arc::clone(&sealing)),
            monitor: Monitor::new(parts),
            intake: Intake::new(store.clone(), sealing),
            store,
            node,
            clock,
            wallet,
            tenant,
            asset,
            directory,
        }
    }

    /// Asks for this many payments of 1,000 wei, and has policy pass them.
    pub(crate) async fn ask(&self, count: u8) -> Vec<WithdrawalId> {
        let mut ids = Vec::new();
        for index in 0..count {
            let name = format!("w-{index}-{}", self.clock.now().as_millis());
            let submission = Submission {
                id: WithdrawalId::from_parts(self.clock.now(), u128::from(index)),
                tenant: self.tenant,
                external_id: name.parse().expect("an external id"),
                request_hash: keccak256(&name),
                account: "alice".parse().expect("an account id"),
                asset: self.asset.id,
                chain_id: CHAIN,
                token: None,
                amount: units(U256::from(1_000)),
                to: PAYEE,
                priority: Priority::Standard,
                metadata: None,
                trace: None,
            };
            let submitted = self.intake.submit(submission, 60_000).await.expect("an answer");
            let Submitted::Accepted(record) = submitted else { panic!("{submitted:?}") };
            ids.push(record.id);
        }
        self.processor.step().await.expect("judges");
        ids
    }

    /// Binds a payment as a signer does that ends before it signs.
    pub(crate) async fn bind_unsigned(&self, id: WithdrawalId, nonce: u64) {
        self.signing.release().await.expect("gives back");
        let name = format!("sender:{CHAIN}:{}", self.wallet);
        let leases = self.store.acquire_leases(&[name], "desk#0", 1).await.expect("a lease");
        let slot = Slot { chain_id: CHAIN, sender: self.wallet, nonce };
        let payload = direct_payment(None, PAYEE, units(U256::from(1_000)));
        let new = NewSlot {
            id: SlotId::from_parts(self.clock.now(), 7),
            slot,
            purpose: Purpose::Pay,
            rail: Rail::Direct,
            payload_digest: payload.digest(slot),
            payments: vec![id],
            gas_estimated: None,
            why: None,
        };
        self.store.bind(&leases, &[new]).await.expect("binds");
        // Whoever gave a lease back asks for it again after a while.
        self.clock.advance(60_000);
    }

    /// Writes behind the store's back.
    pub(crate) async fn sql(&self, statement: &'static str) {
        let file = self.directory.path().join("desk.db");
        let options = SqliteConnectOptions::new().filename(file);
        let mut connection = options.connect().await.expect("connects");
        sqlx::query(statement).execute(&mut connection).await.expect("is written");
        connection.close().await.expect("closes");
    }

    /// Signs and sends what is due.
    pub(crate) async fn sign_and_send(&self) {
        for _ in 0..3 {
            self.signing.step().await.expect("signs");
            self.broadcaster.step().await.expect("sends");
        }
    }

    /// A block, and everybody takes a turn.
    pub(crate) async fn block(&self) {
        let now = self.clock.advance(BLOCK_MS);
        self.node.mine(now);
        self.monitor.step().await.expect("follows");
        self.recovery.step().await.expect("looks");
        self.processor.step().await.expect("judges");
        self.sign_and_send().await;
    }

    pub(crate) async fn blocks(&self, count: u32) {
        for _ in 0..count {
            self.block().await;
        }
    }

    pub(crate) async fn read(&self, id: WithdrawalId) -> WithdrawalRecord {
        let found = self.store.withdrawal(self.tenant, id).await.expect("reads");
        found.expect("it was accepted")
    }

    pub(crate) fn paid(&self) -> u64 {
        u64::try_from(self.node.balance(PAYEE)).expect("little") / 1_000
    }

    pub(crate) async fn alarms(&self) -> Vec<&'static str> {
        let alarms = self.store.alarms().await.expect("reads");
        alarms.into_iter().map(|alarm| alarm.kind.as_str()).collect()
    }
}

async fn fill(store: &Store) -> (TenantId, Asset) {
    let tenant = TenantId::from_bytes([1; 16]);
    store.create_tenant(tenant, "desk", "test").await.expect("a tenant");
    let asset = Asset {
        id: AssetId::from_bytes([2; 16]),
        chain_id: CHAIN,
        symbol: "POL".into(),
        token: None,
        decimals: 18,
        amount_min: units(U256::from(1)),
        amount_max: units(plenty()),
        daily_max: None,
        enabled: true,
    };
    store.register_asset(&keys(), &asset, "test").await.expect("registers");
    let deposit = NewDeposit {
        id: DepositId::from_bytes([3; 16]),
        tenant,
        account: "alice".parse().expect("an account id"),
        asset: asset.id,
        amount: units(plenty()),
        external_id: "in".parse().expect("an external id"),
        request_hash: B256::repeat_byte(3),
    };
    store.deposit(&keys(), &deposit).await.expect("credits");
    (tenant, asset)
}
