//! A whole engine on SimNode, stepped by hand, with a database that can be put back to an older copy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rpc_client::RpcClient;
use alloy_sol_types::SolValue;
use portcullis_core::amount::Amount;
use portcullis_core::asset::Asset;
use portcullis_core::batching::BatchingRules;
use portcullis_core::chain::ChainSpec;
use portcullis_core::id::{AssetId, DeploymentId, DepositId, TenantId, WithdrawalId};
use portcullis_core::seal::{SealKeyId, SealingKeys};
use portcullis_core::time::{Clock, Timestamp};
use portcullis_core::withdrawal::Priority;
use portcullis_engine::reconcile::{Reconciler, Reconciliation};
use portcullis_engine::{
    Broadcaster, Concerns, Doorbells, EngineSettings, Monitor, Processor, Progress, Recovery,
    RoleParts, SignerRole, Surroundings,
};
use portcullis_evm::{PoolLimits, Provider, ProviderPool};
use portcullis_keys::journal::JournalReader;
use portcullis_keys::{ChainCaps, Journal, KdfCost, Keystore, Signer};
use portcullis_store::deposit::NewDeposit;
use portcullis_store::intake::{Intake, Submission, Submitted};
use portcullis_store::withdrawal::WithdrawalRecord;
use portcullis_store::{Store, StoreOptions};
use portcullis_testkit::{
    DevKey, SeededEntropy, SimConfig, SimNode, SimTransport, TestClock, TokenKind,
};
use secrecy::SecretString;
use zeroize::Zeroizing;

const START_MS: i64 = 1_795_000_000_000;

/// What survives everything: the chain, the keystore, the journal, and what clients know.
pub(crate) struct House {
    directory: tempfile::TempDir,
    pub(crate) node: SimNode,
    pub(crate) clock: TestClock,
    pub(crate) tenant: TenantId,
    pub(crate) token: Asset,
    pub(crate) wallets: Vec<Address>,
    pub(crate) vault: Option<Address>,
    pub(crate) wishes: Mutex<Vec<Wish>>,
    sealing: Arc<SealingKeys>,
    deployment: DeploymentId,
    entropy: Mutex<SeededEntropy>,
}

/// What a client wants, and asks for again whenever it is told to.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) name: String,
    pub(crate) to: Address,
    pub(crate) units: u64,
}

/// One running engine.
pub(crate) struct Machine {
    pub(crate) store: Store,
    pub(crate) parts: RoleParts,
    pub(crate) signer: Arc<Signer>,
    pub(crate) intake: Intake,
    pub(crate) processor: Processor,
    pub(crate) signing: SignerRole,
    pub(crate) broadcaster: Broadcaster,
    pub(crate) monitor: Monitor,
    pub(crate) recovery: Recovery,
}

pub(crate) fn address_of(name: &str) -> Address {
    Address::from_slice(&keccak256(name)[12..])
}

fn chain() -> &'static ChainSpec {
    ChainSpec::by_id(31_337).expect("the local chain is known")
}

fn key_bytes(index: u64) -> [u8; 32] {
    let mut key = [0_u8; 32];
    key[24..].copy_from_slice(&index.saturating_add(77).to_be_bytes());
    key
}

fn passphrase() -> SecretString {
    SecretString::from("a passphrase of this test")
}

impl House {
    pub(crate) async fn build(wallets: u64) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let start = Timestamp::from_millis(START_MS);
        let clock = TestClock::at(start);
        let node = SimNode::new(SimConfig {
            chain_id: chain().chain_id,
            genesis_at: start.plus_millis(-120_000),
            ..SimConfig::default()
        });
        let cost = KdfCost { memory_kib: 8, iterations: 1, parallelism: 1 };
        let path = directory.path().join("keystore.json");
        let mut keystore =
            Keystore::create(&path, &passphrase(), None, cost, start).expect("a keystore");
        let plenty = U256::from(10).pow(U256::from(24));
        let token = node.deploy_token(TokenKind::Usdc).expect("deploys");
        let wallets = (0..wallets)
            .map(|index| {
                let key = Zeroizing::new(key_bytes(index));
                let address = keystore.import(chain().chain_id, key, None, start).expect("imports");
                node.fund(address, plenty);
                node.mint(token, address, plenty).expect("mints");
                address
            })
            .collect();
        for block in 1..=20 {
            node.mine(start.plus_millis(-120_000 + block * 1_000));
        }
        let token = Asset {
            id: AssetId::from_bytes([3; 16]),
            chain_id: chain().chain_id,
            symbol: "USDC".into(),
            token: Some(token),
            decimals: 6,
            amount_min: Amount::from_atomic(U256::from(1)),
            amount_max: Amount::from_atomic(plenty),
            daily_max: None,
            enabled: true,
        };
        let house = Self {
            directory,
            node,
            clock,
            tenant: TenantId::from_bytes([1; 16]),
            token,
            wallets,
            vault: None,
            wishes: Mutex::default(),
            sealing: Arc::new(SealingKeys::new(SealKeyId(1), Zeroizing::new([7; 32]))),
            deployment: DeploymentId::from_bytes([9; 16]),
            entropy: Mutex::new(SeededEntropy::new(5)),
        };
        house.furnish().await;
        house
    }

    /// The same house, paying over a vault that has all the money.
    pub(crate) async fn build_with_vault(wallets: u64) -> Self {
        let mut house = Self::build(wallets).await;
        let text = include_str!("../../../../contracts/artifacts/PayoutVault.json");
        let artifact: serde_json::Value = serde_json::from_str(text).expect("an artifact");
        let code = artifact["bytecode"].as_str().expect("bytecode");
        let token = house.token.token.expect("a token");
        let (owner, treasury) = (house.node.owner(), address_of("treasury"));
        let listing = vec![(token, u128::from(u64::MAX), 200_000_u32)];
        let arguments = (owner, treasury, house.wallets.clone(), listing).abi_encode_params();
        let mut init: Vec<u8> = alloy_primitives::hex::decode(code).expect("hexadecimal");
        init.extend(arguments);
        let vault = house.node.deploy(init.into()).expect("deploys");
        house.node.mint(token, vault, U256::from(10).pow(U256::from(15))).expect("mints");
        house.vault = Some(vault);
        for block in 1..=14 {
            house.node.mine(house.clock.now().plus_millis(-30_000 + block * 1_000));
        }
        house
    }

    async fn furnish(&self) {
        let store = self.open_store().await;
        store.migrate().await.expect("migrates");
        store.found_deployment(self.deployment).await.expect("is founded");
        store.create_tenant(self.tenant, "acme", "test").await.expect("a tenant");
        store.register_asset(&self.sealing, &self.token, "test").await.expect("an asset");
        let deposit = NewDeposit {
            id: DepositId::from_bytes([4; 16]),
            tenant: self.tenant,
            account: "alice".parse().expect("an account"),
            asset: self.token.id,
            amount: Amount::from_atomic(U256::from(1_000_000_000)),
            external_id: "deposit".parse().expect("an id"),
            request_hash: B256::ZERO,
        };
        store.deposit(&self.sealing, &deposit).await.expect("credits");
        store.close().await;
    }

    /// The key of a wallet, as somebody else may have it.
    pub(crate) fn key_of(&self, index: usize) -> DevKey {
        let private_key = key_bytes(u64::try_from(index).expect("few"));
        DevKey { private_key, address: self.wallets[index] }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.directory.path().join("portcullis.db")
    }

    pub(crate) async fn open_store(&self) -> Store {
        let options = StoreOptions {
            url: self.database().display().to_string(),
            readers_max: 2,
            busy_timeout_ms: 10_000,
            ..StoreOptions::default()
        };
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        Store::open(&options, clock).await.expect("opens")
    }

    /// A copy of the database as it is now.
    pub(crate) async fn back_up(&self, machine: &Machine) -> PathBuf {
        let copy = self.directory.path().join("old.db");
        machine.store.back_up(&copy).await.expect("a copy");
        copy
    }

    /// Stops the engine, puts a copy where the database is, and starts it again on that.
    pub(crate) async fn put_back(&self, machine: Machine, copy: &Path) -> Machine {
        self.stop(machine).await;
        for file in portcullis_store::backup::files_of(&self.database()) {
            if file.exists() {
                std::fs::remove_file(file).expect("removes");
            }
        }
        std::fs::copy(copy, self.database()).expect("copies");
        self.start().await
    }

    fn random(&self) -> u128 {
        self.entropy.lock().expect("no test panics with it").next_u128()
    }

    pub(crate) async fn start(&self) -> Machine {
        let store = self.open_store().await;
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let client = RpcClient::new(SimTransport::new(self.node.clone()), true);
        let provider = Provider::from_client("node", "test", client);
        let pool =
            ProviderPool::new(chain(), vec![provider], Arc::clone(&clock), PoolLimits::default())
                .map(Arc::new)
                .expect("a pool");
        let path = self.directory.path().join("keystore.json");
        let mut keystore = Keystore::open(&path, &passphrase(), None).expect("opens");
        let journal = Journal::open(&mut keystore, clock.now()).expect("a journal");
        let plenty = Amount::from_atomic(U256::from(10).pow(U256::from(24)));
        let caps = ChainCaps {
            chain_id: chain().chain_id,
            max_fee_per_gas_wei: 5_000_000_000_000,
            transaction_fee_wei_max: u128::MAX,
            gas_limit_max: 1_000_000,
            vault: self.vault,
            amount_max: BTreeMap::from([(None, plenty), (self.token.token, plenty)]),
        };
        let sealing = self.sealing.as_ref().clone();
        let signer = Signer::new(
            keystore,
            journal,
            sealing,
            self.deployment,
            vec![caps],
            Arc::clone(&clock),
        )
        .map(Arc::new)
        .expect("a signer");
        let random = Mutex::new(self.entropy.lock().expect("no test panics with it").split());
        let parts = RoleParts {
            store: store.clone(),
            pools: vec![pool],
            vaults: self.vault.map(|vault| (chain().chain_id, vault)).into_iter().collect(),
            settings: EngineSettings {
                rebroadcast_after_ms: 4_000,
                bump_after_ms: 20_000,
                lease_ms: 8_000,
                // Two payments share a slot already: what comes of a batch is what these tests are about.
                batching: BatchingRules {
                    queue_min: 1,
                    token_min: 1,
                    linger_max_ms: 0,
                    ..BatchingRules::default()
                },
                ..EngineSettings::default()
            },
            around: Surroundings {
                entropy: Arc::new(move || random.lock().expect("nobody panics").next_u128()),
                instance: format!("machine#{:x}", self.random()),
            },
            doorbells: Doorbells::local(),
            concerns: Concerns::default(),
        };
        Machine {
            intake: Intake::new(store.clone(), Arc::clone(&self.sealing)),
            processor: Processor::new(parts.clone(), Arc::clone(&self.sealing)),
            signing: SignerRole::new(parts.clone(), Arc::clone(&signer)),
            broadcaster: Broadcaster::new(parts.clone()),
            monitor: Monitor::new(parts.clone()),
            recovery: Recovery::new(parts.clone()),
            store,
            parts,
            signer,
        }
    }

    /// Stops it: every connection is closed, the journal is free again.
    async fn stop(&self, machine: Machine) {
        machine.signing.release().await.expect("gives back");
        machine.monitor.release().await.expect("gives back");
        let store = machine.store.clone();
        drop(machine);
        store.close().await;
    }

    pub(crate) fn wish(&self, name: &str, to: &str, units: u64) -> Wish {
        let wish = Wish { name: name.into(), to: address_of(to), units };
        self.wishes.lock().expect("nobody panics").push(wish.clone());
        wish
    }

    pub(crate) fn submission(&self, wish: &Wish) -> Submission {
        Submission {
            id: WithdrawalId::from_parts(self.clock.now(), self.random()),
            tenant: self.tenant,
            external_id: wish.name.parse().expect("an external id"),
            request_hash: keccak256(format!("{wish:?}")),
            account: "alice".parse().expect("an account"),
            asset: self.token.id,
            chain_id: chain().chain_id,
            token: self.token.token,
            amount: Amount::from_atomic(U256::from(wish.units)),
            to: wish.to,
            priority: Priority::Standard,
            metadata: None,
            trace: None,
        }
    }

    /// What the recipient of a wish was paid in all.
    pub(crate) fn paid_to(&self, to: Address) -> u64 {
        let token = self.token.token.expect("a token");
        self.node.token_balance(token, to).expect("a token").to::<u64>()
    }

    /// Every recipient has what all the wishes for it come to: no more, no less.
    pub(crate) fn assert_paid_once(&self) {
        let mut promised: BTreeMap<Address, u64> = BTreeMap::new();
        for wish in self.wishes.lock().expect("nobody panics").iter() {
            *promised.entry(wish.to).or_default() += wish.units;
        }
        for (to, units) in promised {
            assert_eq!(self.paid_to(to), units, "{to} was promised {units}");
        }
    }
}

impl Machine {
    pub(crate) async fn post(&self, house: &House, wish: &Wish) -> Submitted {
        self.intake.submit(house.submission(wish), 60_000).await.expect("an answer")
    }

    pub(crate) async fn post_all(&self, house: &House) -> Vec<Submitted> {
        let wishes = house.wishes.lock().expect("nobody panics").clone();
        let mut answers = Vec::new();
        for wish in &wishes {
            answers.push(self.post(house, wish).await);
        }
        answers
    }

    /// Steps every role once, in the order of the flow.
    pub(crate) async fn turn(&self) -> bool {
        let mut worked = false;
        for outcome in [
            self.processor.step().await,
            self.signing.step().await,
            self.broadcaster.step().await,
            self.monitor.step().await,
            self.recovery.step().await,
        ] {
            worked |= outcome.is_ok_and(|progress| progress == Progress::Worked);
        }
        worked
    }

    /// Lets the engine work while the chain makes blocks.
    pub(crate) async fn run(&self, house: &House, blocks: u32) {
        for _block in 0..blocks {
            house.clock.advance(3_000);
            house.node.mine(house.clock.now());
            for _turn in 0..4 {
                self.turn().await;
            }
        }
    }

    pub(crate) async fn find(&self, house: &House, name: &str) -> Option<WithdrawalRecord> {
        let id = name.parse().expect("an external id");
        self.store.withdrawal_by_external_id(house.tenant, &id).await.expect("reads")
    }

    pub(crate) async fn status(&self, house: &House, name: &str) -> String {
        let record = self.find(house, name).await;
        record.map_or_else(|| "absent".to_owned(), |record| record.state.code().to_string())
    }

    pub(crate) async fn reconcile(&self, repair: bool) -> Reconciliation {
        let journal = self.signer.journal().clone();
        let reconciler = Reconciler::new(self.parts.clone(), journal);
        reconciler.reconcile(repair).await.expect("reconciles")
    }

    /// As after the loss of the journal: chain and database are all that is left.
    pub(crate) async fn reconcile_without_journal(&self, repair: bool) -> Reconciliation {
        let journal = JournalReader::empty(Path::new("none"));
        let reconciler = Reconciler::new(self.parts.clone(), journal);
        reconciler.reconcile(repair).await.expect("reconciles")
    }

    pub(crate) async fn halts(&self) -> Vec<String> {
        let halts = self.store.halts().await.expect("reads");
        halts.into_iter().map(|halt| halt.reason).collect()
    }

    /// Everything that was asked for has ended well, and the books say the same as the chain.
    pub(crate) async fn assert_all_ended(&self, house: &House) {
        let wishes = house.wishes.lock().expect("nobody panics").clone();
        for wish in &wishes {
            let record = self.find(house, &wish.name).await.expect("is known");
            assert!(record.state.is_terminal(), "{}: {:?}", wish.name, record);
        }
        self.store.check_ledger().await.expect("balances");
        let outcome = self.reconcile(false).await;
        assert_eq!(outcome.remaining(), 0, "{outcome}");
    }
}
