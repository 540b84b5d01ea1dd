//! What survives a crash: the chain, the files, the clock, and what the clients know.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use alloy_primitives::{Address, U256};
use portcullis_core::amount::Amount;
use portcullis_core::asset::Asset;
use portcullis_core::chain::ChainSpec;
use portcullis_core::id::{ApiKeyId, AssetId, DeploymentId, DepositId, TenantId};
use portcullis_core::seal::{SealKeyId, SealingKeys};
use portcullis_core::time::{Clock, Timestamp};
use portcullis_keys::{KdfCost, Keystore, Signer};
use portcullis_store::access::{NewApiKey, Scopes};
use portcullis_store::deposit::NewDeposit;
use portcullis_store::{Store, StoreOptions};
use portcullis_testkit::{
    PoolOverflow, PoolRules, SeededEntropy, SimConfig, SimNode, TestClock, TokenKind, VaultListing,
};
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::chaos::{Chaos, ChaosSet};
use crate::fees::CALM_WEI;
use crate::gate::ControlGate;
use crate::providers::Providers;
use crate::refused::Refused;
use crate::scenario::RailPlan;
use crate::scheduler::SimulationError;

/// The secret of the one API key.
pub(crate) const API_SECRET: &str = "pk_sim_0123456789abcdef0123456789abcdef";

/// Accounts that clients withdraw from.
pub(crate) const ACCOUNTS: u64 = 3;

const WALLETS: u64 = 4;

/// How long a pool bears an account whose first transaction bids too little.
const STRANDED_LIFETIME_MS: i64 = 4_000;

/// Where files are in memory: `fsync` costs nothing there, and nothing of a run is to survive it.
const MEMORY: &str = "/dev/shm";
const EPOCH_MS: i64 = 1_795_000_000_000;

/// The world of one seed.
pub(crate) struct World {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) node: SimNode,
    pub(crate) providers: Providers,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) gate: ControlGate,
    /// The signer of each keystore, while some engine has it.
    pub(crate) signers: Mutex<std::collections::BTreeMap<PathBuf, Weak<Signer>>>,
    pub(crate) sealing: Arc<SealingKeys>,
    pub(crate) deployment: DeploymentId,
    pub(crate) assets: Vec<Asset>,
    pub(crate) wallets: Vec<Address>,
    /// The vault, where the seed has one.
    pub(crate) vault: Option<Address>,
    /// Whether engines that start are configured with it.
    pub(crate) is_vault_on: bool,
    /// Whom the vault cannot pay.
    pub(crate) refused: Arc<Refused>,
}

impl World {
    pub(crate) const fn chain() -> &'static ChainSpec {
        match &ChainSpec::ALL[2] {
            chain if chain.chain_id == 31_337 => chain,
            _ => panic!("the third chain of the catalogue is the local one"),
        }
    }

    pub(crate) fn passphrase() -> SecretString {
        SecretString::from("simulation")
    }

    /// The fee cap of the chain, in wei per gas.
    pub(crate) fn fee_cap_wei() -> u64 {
        u64::try_from(Self::chain().fee_bounds.max_fee_per_gas_wei_cap).unwrap_or(u64::MAX)
    }

    /// Where the first engine's database is.
    pub(crate) fn database(&self) -> PathBuf {
        self.directory.path().join("portcullis.db")
    }

    /// The keystore, in a directory of its own with its journal.
    pub(crate) fn keystore(&self) -> PathBuf {
        self.directory.path().join("keys").join("keystore.json")
    }

    /// A fresh chain, database and keystore, with funded wallets and accounts.
    pub(crate) async fn new(
        rail: RailPlan,
        chaos: ChaosSet,
        entropy: &mut SeededEntropy,
    ) -> Result<Self, SimulationError> {
        let failed = |error: &dyn std::fmt::Display| SimulationError::Setup(error.to_string());
        let directory = make_directory().map_err(|error| failed(&error))?;
        let start = Timestamp::from_millis(EPOCH_MS);
        let clock = Arc::new(TestClock::at(start));
        let node = SimNode::new(SimConfig {
            chain_id: Self::chain().chain_id,
            genesis_at: start.plus_millis(-60_000),
            base_fee_wei: CALM_WEI,
            pool: PoolRules {
                overflow: PoolOverflow::Forget,
                stranded_lifetime_ms: chaos.has(Chaos::Stranded).then_some(STRANDED_LIFETIME_MS),
                ..PoolRules::default()
            },
            ..SimConfig::default()
        });
        let keystore = directory.path().join("keys").join("keystore.json");
        let wallets = make_wallets(&keystore, start).map_err(|error| failed(&error))?;
        let assets = deploy_assets(&node, &wallets, entropy).map_err(|error| failed(&error))?;
        let vault = match rail {
            RailPlan::Direct => None,
            RailPlan::Vault | RailPlan::Both => {
                Some(deploy_vault(&node, &wallets, &assets).map_err(|error| failed(&error))?)
            }
        };
        let refused = match vault.filter(|_| chaos.has(Chaos::Voids)) {
            Some(_) => Refused::list(&node, &assets).map_err(|error| failed(&error))?,
            None => Refused::default(),
        };
        // A stale read must not show a chain without the tokens: that would be another story.
        for block in 1..=24 {
            node.mine(start.plus_millis(-60_000 + block * 1_000));
        }
        let sealing = SealingKeys::new(SealKeyId(1), Zeroizing::new([7; 32]));
        let gate = ControlGate::default();
        let world = Self {
            directory,
            providers: Providers::new(&node, &gate, chaos, entropy),
            node,
            clock,
            gate,
            signers: Mutex::default(),
            sealing: Arc::new(sealing),
            deployment: DeploymentId::from_parts(start, entropy.next_u128()),
            assets,
            wallets,
            vault,
            is_vault_on: rail == RailPlan::Vault,
            refused: Arc::new(refused),
        };
        world.fill_database(entropy).await.map_err(|error| failed(&error))?;
        Ok(world)
    }

    /// The vault that engines are configured with now.
    pub(crate) fn engine_vault(&self) -> Option<Address> {
        self.vault.filter(|_| self.is_vault_on)
    }

    /// A new connection to the database, as a starting process makes it.
    pub(crate) async fn open_store(
        &self,
        database: &Path,
    ) -> Result<Store, portcullis_store::StoreError> {
        let options = StoreOptions {
            url: database.display().to_string(),
            readers_max: 2,
            busy_timeout_ms: 10_000,
            ..StoreOptions::default()
        };
        let clock: Arc<dyn Clock> = Arc::<TestClock>::clone(&self.clock);
        Ok(Store::open(&options, clock).await?.with_gate(Arc::new(self.gate.clone())))
    }

    async fn fill_database(
        &self,
        entropy: &mut SeededEntropy,
    ) -> Result<(), portcullis_store::StoreError> {
        let store = self.open_store(&self.database()).await?;
        store.migrate().await?;
        store.found_deployment(self.deployment).await?;
        let now = self.clock.now();
        let tenant = TenantId::from_parts(now, entropy.next_u128());
        store.create_tenant(tenant, "simulation", "simulator").await?;
        let key = NewApiKey {
            id: ApiKeyId::from_parts(now, entropy.next_u128()),
            tenant,
            name: "simulation".into(),
            secret_hash: Sha256::digest(API_SECRET.as_bytes()).into(),
            scopes: Scopes::all(),
        };
        store.create_api_key(&self.sealing, &key, "simulator").await?;
        for asset in &self.assets {
            store.register_asset(&self.sealing, asset, "simulator").await?;
            for account in 0..ACCOUNTS {
                let name = format!("account-{account}");
                let deposit = NewDeposit {
                    id: DepositId::from_parts(now, entropy.next_u128()),
                    tenant,
                    account: name.parse().expect("a plain name is an account id"),
                    asset: asset.id,
                    amount: Amount::from_atomic(U256::from(10).pow(U256::from(24))),
                    external_id: format!("deposit-{}-{account}", asset.symbol)
                        .parse()
                        .expect("a plain name is an external id"),
                    request_hash: alloy_primitives::B256::ZERO,
                };
                store.deposit(&self.sealing, &deposit).await?;
            }
        }
        store.close().await;
        Ok(())
    }
}

fn make_directory() -> std::io::Result<tempfile::TempDir> {
    let directory = match Path::new(MEMORY) {
        memory if memory.is_dir() => tempfile::tempdir_in(memory)?,
        _ => tempfile::tempdir()?,
    };
    std::fs::create_dir(directory.path().join("keys"))?;
    Ok(directory)
}

fn make_wallets(
    path: &std::path::Path,
    now: Timestamp,
) -> Result<Vec<Address>, portcullis_keys::KeystoreError> {
    let cost = KdfCost { memory_kib: 8, iterations: 1, parallelism: 1 };
    let mut keystore = Keystore::create(path, &World::passphrase(), None, cost, now)?;
    (0..WALLETS)
        .map(|index| {
            let mut key = Zeroizing::new([0_u8; 32]);
            key[24..].copy_from_slice(&index.saturating_add(0x5eed).to_be_bytes());
            keystore.import(World::chain().chain_id, key, None, now)
        })
        .collect()
}

/// A vault with more money than anybody asks for, whose operators the wallets are.
fn deploy_vault(
    node: &SimNode,
    wallets: &[Address],
    assets: &[Asset],
) -> Result<Address, portcullis_testkit::ControlError> {
    let plenty = 10_u128.pow(24);
    let listings: Vec<VaultListing> = assets
        .iter()
        .map(|asset| VaultListing {
            token: asset.token.unwrap_or_default(),
            daily_cap: plenty,
            call_gas: 100_000,
        })
        .collect();
    let vault = node.deploy_vault(node.owner(), node.owner(), wallets, &listings)?;
    for asset in assets {
        match asset.token {
            Some(token) => node.mint(token, vault, U256::from(plenty))?,
            None => node.fund(vault, U256::from(plenty)),
        }
    }
    Ok(vault)
}

fn deploy_assets(
    node: &SimNode,
    wallets: &[Address],
    entropy: &mut SeededEntropy,
) -> Result<Vec<Asset>, portcullis_testkit::ControlError> {
    let plenty = U256::from(10).pow(U256::from(24));
    for wallet in wallets {
        node.fund(*wallet, plenty);
    }
    let asset = |symbol: &str, token, decimals, random| Asset {
        id: AssetId::from_parts(Timestamp::from_millis(EPOCH_MS), random),
        chain_id: World::chain().chain_id,
        symbol: symbol.into(),
        token,
        decimals,
        amount_min: Amount::from_atomic(U256::from(1)),
        amount_max: Amount::from_atomic(plenty),
        daily_max: None,
        enabled: true,
    };
    let mut assets = vec![asset("POL", None, 18, entropy.next_u128())];
    for kind in [TokenKind::Usdc, TokenKind::Usdt] {
        let token = node.deploy_token(kind)?;
        for wallet in wallets {
            node.mint(token, *wallet, plenty)?;
        }
        assets.push(asset(kind.symbol(), Some(token), kind.decimals(), entropy.next_u128()));
    }
    Ok(assets)
}
