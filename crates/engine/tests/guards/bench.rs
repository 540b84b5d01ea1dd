//! A chain, a keystore and a database with one queued payment, and the roles on them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::{Address, B256, U256, hex};
use alloy_rpc_client::RpcClient;
use alloy_sol_types::{SolCall, SolValue, sol};
use portcullis_core::amount::Amount;
use portcullis_core::asset::Asset;
use portcullis_core::chain::ChainSpec;
use portcullis_core::id::{AssetId, DeploymentId, DepositId, TenantId, WithdrawalId};
use portcullis_core::seal::{SealKeyId, SealingKeys};
use portcullis_core::slot::Slot;
use portcullis_core::time::{Clock, Timestamp};
use portcullis_core::withdrawal::Priority;
use portcullis_engine::{
    Broadcaster, Concerns, Doorbells, EngineSettings, Monitor, Processor, Progress, Recovery,
    RoleParts, SignerRole, Surroundings,
};
use portcullis_evm::{PoolLimits, Provider, ProviderPool};
use portcullis_keys::journal::JournalReader;
use portcullis_keys::{ChainCaps, Journal, KdfCost, Keystore, Signer};
use portcullis_store::deposit::NewDeposit;
use portcullis_store::intake::{Intake, Submission, Submitted};
use portcullis_store::slot::OpenSlot;
use portcullis_store::withdrawal::WithdrawalRecord;
use portcullis_store::{Store, StoreOptions};
use portcullis_testkit::{
    MariaDb, PoolRules, SeededEntropy, SimConfig, SimNode, SimTransport, TestClock, TokenKind,
    TransferLog,
};
use secrecy::SecretString;
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::stop::StopBefore;

sol! {
    struct Listing {
        address token;
        uint104 dailyCap;
        uint24 callGas;
    }

    function setOperator(address operator, bool allowed) external;
    function setToken(address token, bool listed, uint104 dailyCap, uint24 callGas) external;
    function setPaused(bool paused) external;
}

pub(crate) const LOCAL: u64 = 31_337;
pub(crate) const POLYGON: u64 = 137;

/// The asset of which no wallet has anything.
const MISSING: AssetId = AssetId::from_bytes([4; 16]);

const START: Timestamp = Timestamp::from_millis(1_795_168_800_000);

/// Longer than any pause between two sends.
const LONG_MS: i64 = 60_000;

/// What survives the end of a process.
pub(crate) struct Bench {
    pub(crate) node: SimNode,
    pub(crate) clock: TestClock,
    pub(crate) chain: &'static ChainSpec,
    pub(crate) stop: StopBefore,
    pub(crate) token: Address,
    /// The token of which no wallet has anything.
    missing: Address,
    /// Who pays on the vault rail.
    pub(crate) vault: Option<Address>,
    pub(crate) wallet: Address,
    pub(crate) to: Address,
    pub(crate) settings: EngineSettings,
    directory: TempDir,
    /// Of the database server that it is on, and what a process's own clock shows there.
    server: Option<(String, TestClock)>,
    sealing: Arc<SealingKeys>,
    deployment: DeploymentId,
    tenant: TenantId,
    asset: AssetId,
    native: AssetId,
    entropy: Arc<Mutex<SeededEntropy>>,
}

/// One process: nothing in it survives.
pub(crate) struct Machine {
    pub(crate) store: Store,
    pub(crate) transport: SimTransport,
    pub(crate) processor: Processor,
    pub(crate) signer: SignerRole,
    pub(crate) broadcaster: Broadcaster,
    pub(crate) monitor: Monitor,
    pub(crate) recovery: Recovery,
}

impl Bench {
    /// A chain with one wallet that can pay, and an account with money.
    pub(crate) async fn new(chain_id: u64) -> Self {
        Self::build(chain_id, START, None).await
    }

    /// The same on a database server, for processes whose own clock is off by so much and stands still. The time is the
    /// server's, which no test sets.
    pub(crate) async fn on_server(off_ms: i64) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("bench_{}", NUMBER.fetch_add(1, Ordering::SeqCst));
        let url = MariaDb::shared().create_database(&name).expect("a database of its own");
        let options = StoreOptions { url: url.clone(), ..StoreOptions::default() };
        let store = Store::open(&options, Arc::new(TestClock::at(START))).await.expect("opens");
        let now = store.now();
        let own = TestClock::at(now.plus_millis(off_ms));
        Self::build(LOCAL, now, Some((url, own))).await
    }

    async fn build(chain_id: u64, start: Timestamp, server: Option<(String, TestClock)>) -> Self {
        let chain = ChainSpec::by_id(chain_id).expect("a known chain");
        let genesis_at = start.plus_millis(-3_600_000);
        let pool = PoolRules { tx_gas_cap: chain.transaction_gas_max, ..SimConfig::default().pool };
        let node = SimNode::new(SimConfig { chain_id, genesis_at, pool, ..SimConfig::default() });
        let token = node.deploy_token(TokenKind::Usdc).expect("deploys");
        let missing = node.deploy_token(TokenKind::Usdt).expect("deploys");
        let directory = tempfile::tempdir().expect("a folder");
        let cost = KdfCost { memory_kib: 8, iterations: 1, parallelism: 1 };
        let path = directory.path().join("keystore.json");
        let mut keystore =
            Keystore::create(&path, &passphrase(), None, cost, START).expect("a keystore");
        let wallet = keystore.generate(chain_id, None, START).expect("a key");
        drop(keystore);
        node.fund(wallet, U256::from(10).pow(U256::from(24)));
        node.mint(token, wallet, U256::from(1_000_000_000)).expect("mints");
        for block in 0..20 {
            node.mine(start.plus_millis(-100_000 + block * 4_000));
        }
        let mut entropy = SeededEntropy::new(7);
        let bench = Self {
            node,
            clock: TestClock::at(start),
            chain,
            stop: StopBefore::default(),
            token,
            missing,
            vault: None,
            wallet,
            to: Address::repeat_byte(0xbe),
            settings: EngineSettings::default(),
            directory,
            server,
            sealing: Arc::new(SealingKeys::new(SealKeyId(1), Zeroizing::new([7; 32]))),
            deployment: DeploymentId::from_parts(START, entropy.next_u128()),
            tenant: TenantId::from_bytes([1; 16]),
            asset: AssetId::from_bytes([2; 16]),
            native: AssetId::from_bytes([3; 16]),
            entropy: Arc::new(Mutex::new(entropy)),
        };
        bench.fill().await;
        bench
    }

    /// The same with a vault, which has the money and which the wallet operates. The node's own account owns it.
    pub(crate) async fn with_vault(chain_id: u64) -> Self {
        Self::new(chain_id).await.operating_vault()
    }

    pub(crate) fn operating_vault(mut self) -> Self {
        let (node, owner) = (&self.node, self.node.owner());
        let vault = node.deploy(vault_code(owner, self.token).into()).expect("deploys");
        for operator in [self.wallet, owner] {
            let call = setOperatorCall { operator, allowed: true };
            node.call_as_owner(vault, call.abi_encode().into()).expect("an operator");
        }
        node.mint(self.token, vault, U256::from(1_000_000)).expect("mints");
        self.vault = Some(vault);
        self
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.directory.path().join("portcullis.db")
    }

    pub(crate) async fn open_store(&self) -> Store {
        let own = self.server.as_ref().map_or(&self.clock, |(_, own)| own);
        self.open_under(own).await
    }

    /// As a process whose own clock is this one.
    pub(crate) async fn open_under(&self, own: &TestClock) -> Store {
        let file = || self.database().display().to_string();
        let url = self.server.as_ref().map_or_else(file, |(url, _)| url.clone());
        let options = StoreOptions {
            url,
            readers_max: 2,
            busy_timeout_ms: 10_000,
            ..StoreOptions::default()
        };
        let store = Store::open(&options, Arc::new(own.clone())).await.expect("opens");
        store.with_gate(Arc::new(self.stop.clone()))
    }

    async fn fill(&self) {
        let store = self.open_store().await;
        store.migrate().await.expect("migrates");
        store.found_deployment(self.deployment).await.expect("is founded");
        store.create_tenant(self.tenant, "acme", "test").await.expect("a tenant");
        let asset = Asset {
            id: self.asset,
            chain_id: self.chain.chain_id,
            symbol: "USDC".into(),
            token: Some(self.token),
            decimals: 6,
            amount_min: units(1),
            amount_max: units(1_000_000),
            daily_max: None,
            enabled: true,
        };
        self.add_asset(&store, &asset, 1_000).await;
        store.close().await;
    }

    /// Registers an asset, and gives alice money in it.
    async fn add_asset(&self, store: &Store, asset: &Asset, balance: u64) {
        store.register_asset(&self.sealing, asset, "test").await.expect("registers");
        let deposit = NewDeposit {
            id: DepositId::from_parts(START, self.random()),
            tenant: self.tenant,
            account: "alice".parse().expect("an account"),
            asset: asset.id,
            amount: units(balance),
            external_id: format!("deposit-{}", asset.symbol).parse().expect("an external id"),
            request_hash: B256::ZERO,
        };
        store.deposit(&self.sealing, &deposit).await.expect("credits");
    }

    fn random(&self) -> u128 {
        self.entropy.lock().unwrap_or_else(PoisonError::into_inner).next_u128()
    }

    /// Starts a process.
    pub(crate) async fn start(&self) -> Machine {
        let store = self.open_store().await;
        let gate = Arc::new(self.stop.clone());
        let transport = SimTransport::new(self.node.clone()).with_gate(gate);
        let client = RpcClient::new(transport.clone(), true);
        let provider = Provider::from_client("node", "operator", client);
        let limits = PoolLimits::default();
        let pool = ProviderPool::new(self.chain, vec![provider], store.clock(), limits);
        let entropy = Arc::clone(&self.entropy);
        let around = Surroundings {
            entropy: Arc::new(move || {
                entropy.lock().unwrap_or_else(PoisonError::into_inner).next_u128()
            }),
            instance: format!("machine#{:x}", self.random()),
        };
        let parts = RoleParts {
            store: store.clone(),
            pools: vec![Arc::new(pool.expect("a pool"))],
            vaults: self.vaults(),
            settings: self.settings,
            around,
            doorbells: Doorbells::local(),
            concerns: Concerns::default(),
        };
        let signer = Arc::new(self.open_signer());
        Machine {
            store,
            transport,
            processor: Processor::new(parts.clone(), Arc::clone(&self.sealing)),
            signer: SignerRole::new(parts.clone(), signer),
            broadcaster: Broadcaster::new(parts.clone()),
            monitor: Monitor::new(parts.clone()),
            recovery: Recovery::new(parts),
        }
    }

    fn vaults(&self) -> BTreeMap<u64, Address> {
        self.vault.iter().map(|vault| (self.chain.chain_id, *vault)).collect()
    }

    /// What the journal knows, read beside whoever has it open.
    pub(crate) fn journal(&self) -> JournalReader {
        let path = Journal::path_of(&self.directory.path().join("keystore.json"));
        JournalReader::open(&path).expect("reads")
    }

    fn open_signer(&self) -> Signer {
        let path = self.directory.path().join("keystore.json");
        let mut keystore = Keystore::open(&path, &passphrase(), None).expect("opens");
        let journal = Journal::open(&mut keystore, self.clock.now()).expect("opens");
        let caps = ChainCaps {
            chain_id: self.chain.chain_id,
            max_fee_per_gas_wei: 5_000_000_000_000,
            transaction_fee_wei_max: u128::MAX,
            gas_limit_max: 1_000_000,
            amount_max: [Some(self.token), Some(self.missing), None]
                .map(|token| (token, units(1_000_000)))
                .into(),
            vault: self.vault,
        };
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let sealing = self.sealing.as_ref().clone();
        Signer::new(keystore, journal, sealing, self.deployment, vec![caps], clock).expect("fits")
    }

    /// Lists the native coin in the vault, with money, and gives alice some.
    pub(crate) async fn list_native(&self, machine: &Machine, call_gas: u32) {
        let vault = self.vault.expect("has one");
        let call = setTokenCall {
            token: Address::ZERO,
            listed: true,
            dailyCap: alloy_primitives::aliases::U104::from(1_000_000_000_u64),
            callGas: alloy_primitives::aliases::U24::from(call_gas),
        };
        self.node.call_as_owner(vault, call.abi_encode().into()).expect("lists");
        self.node.fund(vault, U256::from(1_000_000));
        let asset = Asset {
            id: self.native,
            chain_id: self.chain.chain_id,
            symbol: "POL".into(),
            token: None,
            decimals: 18,
            amount_min: units(1),
            amount_max: units(1_000_000),
            daily_max: None,
            enabled: true,
        };
        self.add_asset(&machine.store, &asset, 1_000).await;
    }

    /// A token of which alice has much, and no wallet anything.
    pub(crate) async fn list_missing(&self, machine: &Machine) -> Address {
        let asset = Asset {
            id: MISSING,
            chain_id: self.chain.chain_id,
            symbol: "USDT".into(),
            token: Some(self.missing),
            decimals: 6,
            amount_min: units(1),
            amount_max: units(1_000_000),
            daily_max: None,
            enabled: true,
        };
        self.add_asset(&machine.store, &asset, 1_000_000).await;
        self.missing
    }

    fn asset_of(&self, token: Option<Address>) -> AssetId {
        match token {
            None => self.native,
            Some(token) if token == self.token => self.asset,
            Some(_) => MISSING,
        }
    }

    /// Stops the vault's operators, or lets them work again.
    pub(crate) fn pause(&self, paused: bool) {
        let call = setPausedCall { paused }.abi_encode();
        let vault = self.vault.expect("has one");
        self.node.call_as_owner(vault, call.into()).expect("the owner may");
    }

    /// A withdrawal of 100 units, accepted and passed by policy.
    pub(crate) async fn queue(&self, machine: &Machine) -> WithdrawalId {
        self.queue_as(machine, "order", Some(self.token), Priority::Standard).await
    }

    /// The same of any token, under any id.
    pub(crate) async fn queue_as(
        &self,
        machine: &Machine,
        external_id: &str,
        token: Option<Address>,
        priority: Priority,
    ) -> WithdrawalId {
        let intake = Intake::new(machine.store.clone(), Arc::clone(&self.sealing));
        let submission = Submission {
            id: WithdrawalId::from_parts(self.clock.now(), self.random()),
            tenant: self.tenant,
            external_id: external_id.parse().expect("an external id"),
            request_hash: B256::ZERO,
            account: "alice".parse().expect("an account"),
            asset: self.asset_of(token),
            chain_id: self.chain.chain_id,
            token,
            amount: units(100),
            to: self.to,
            priority,
            metadata: None,
            trace: None,
        };
        let submitted = intake.submit(submission, 60_000).await.expect("an answer");
        let Submitted::Accepted(record) = submitted else { panic!("{submitted:?}") };
        assert_eq!(machine.processor.step().await.expect("judges"), Progress::Worked);
        record.id
    }

    /// Mines `count` blocks, four seconds apart.
    pub(crate) fn mine(&self, count: u64) {
        for _ in 0..count {
            self.node.mine(self.clock.advance(4_000));
        }
    }

    /// Lets the longest pause pass.
    pub(crate) fn wait(&self) {
        self.clock.advance(LONG_MS);
    }

    /// What the chain itself says that the customer got.
    pub(crate) fn payments(&self) -> Vec<TransferLog> {
        let mut logs = self.node.transfer_logs(self.token);
        let ours = |from| from == self.wallet || Some(from) == self.vault;
        logs.retain(|log| ours(log.from) && log.to == self.to);
        logs
    }

    pub(crate) async fn read(&self, store: &Store, id: WithdrawalId) -> WithdrawalRecord {
        store.withdrawal(self.tenant, id).await.expect("reads").expect("is there")
    }

    /// The slot of the wallet's first nonce.
    pub(crate) async fn first_slot(&self, store: &Store) -> OpenSlot {
        let slot = Slot { chain_id: self.chain.chain_id, sender: self.wallet, nonce: 0 };
        store.slot(slot).await.expect("reads").expect("is open")
    }
}

impl Machine {
    /// Ends it in peace: the journal is unlocked, and the database's file holds everything.
    pub(crate) async fn end(self) {
        let store = self.store.clone();
        drop(self);
        store.close().await;
    }

    /// Steps the monitor until it has seen everything.
    pub(crate) async fn watch(&self) {
        while self.monitor.step().await.expect("follows") == Progress::Worked {}
    }

    /// Lets the roles work while the chain makes blocks.
    pub(crate) async fn run(&self, bench: &Bench, blocks: u32) {
        for _block in 0..blocks {
            bench.mine(1);
            self.watch().await;
            for _turn in 0..2 {
                self.processor.step().await.expect("judges");
                self.signer.step().await.expect("signs");
                self.broadcaster.step().await.expect("sends");
            }
        }
    }

    /// Signs what is queued.
    pub(crate) async fn sign(&self) {
        assert_eq!(self.signer.step().await.expect("signs"), Progress::Worked);
    }

    /// Sends what is due.
    pub(crate) async fn send(&self) {
        assert_eq!(self.broadcaster.step().await.expect("sends"), Progress::Worked);
    }
}

pub(crate) fn units(units: u64) -> Amount {
    Amount::from_atomic(U256::from(units))
}

/// The init code of a vault that pays `token` up to more than there is.
fn vault_code(owner: Address, token: Address) -> Vec<u8> {
    let text = include_str!("../../../../contracts/artifacts/PayoutVault.json");
    let artefact: serde_json::Value = serde_json::from_str(text).expect("is JSON");
    let code = artefact["bytecode"].as_str().expect("has a bytecode");
    let listing = Listing {
        token,
        dailyCap: alloy_primitives::aliases::U104::from(1_000_000_000_u64),
        callGas: alloy_primitives::aliases::U24::from(150_000_u32),
    };
    let arguments = (owner, owner, Vec::<Address>::new(), vec![listing]);
    let mut code = hex::decode(code).expect("is hexadecimal");
    code.extend(arguments.abi_encode_params());
    code
}

fn passphrase() -> SecretString {
    SecretString::from("a test's own")
}
