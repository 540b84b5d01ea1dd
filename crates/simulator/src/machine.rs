//! What dies in a crash: one running Portcullis, its roles, its connections and its caches.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::{Address, U256};
use alloy_rpc_client::RpcClient;
use axum::Router;
use portcullis_cache::{Facts, MemoryCache};
use portcullis_core::amount::Amount;
use portcullis_core::batching::BatchingRules;
use portcullis_core::time::Clock;
use portcullis_engine::{
    Broadcaster, Concerns, Doorbells, EngineError, EngineSettings, Monitor, Processor, Progress,
    Recovery, RoleParts, SignerRole, Surroundings,
};
use portcullis_evm::{GasOracle, PoolLimits, Provider, ProviderPool};
use portcullis_http::{ApiLimits, ApiParts, ChainAccess, router};
use portcullis_keys::{ChainCaps, Journal, Keystore, Signer};
use portcullis_store::Store;
use portcullis_store::intake::Intake;
use portcullis_testkit::{SeededEntropy, TestClock};

use crate::activity::{Finished, Part};
use crate::operator::follow_alarms;
use crate::refused::Refused;
use crate::scheduler::SimulationError;
use crate::world::World;

/// What a transaction may cost: nodes take no more by default (bor and geth `rpc.txfeecap`).
const TRANSACTION_FEE_WEI_MAX: u128 = 1_000_000_000_000_000_000;

/// Where an engine runs: what its next start finds again.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    /// What its leases are held under.
    pub(crate) instance: &'static str,
    pub(crate) database: PathBuf,
    /// The keystore beside which its journal is; `None` for an engine that never signs.
    pub(crate) keystore: Option<PathBuf>,
    /// Whether clients are sent here.
    pub(crate) serves: bool,
    /// Whether an operator watches it.
    pub(crate) is_operated: bool,
}

/// One running Portcullis.
pub(crate) struct Machine {
    pub(crate) store: Store,
    pub(crate) router: Router,
    parts: RoleParts,
    sealing: Arc<portcullis_core::seal::SealingKeys>,
    /// Its signer, and the role around it.
    signer: Option<(Arc<Signer>, Arc<SignerRole>)>,
    processor: Arc<Processor>,
    broadcaster: Arc<Broadcaster>,
    monitor: Arc<Monitor>,
    recovery: Arc<Recovery>,
    refused: Arc<Refused>,
}

fn settings() -> EngineSettings {
    EngineSettings {
        batch_max: 40,
        batching: BatchingRules { items_max: 8, ..BatchingRules::default() },
        poll_interval_ms: 500,
        in_flight_max: 8,
        rebroadcast_after_ms: 4_000,
        bump_after_ms: 6_000,
        lease_ms: 8_000,
    }
}

impl Machine {
    /// Starts on what the world holds.
    pub(crate) async fn start(
        world: &World,
        seat: &Seat,
        entropy: &mut SeededEntropy,
    ) -> Result<Self, SimulationError> {
        let store = world.open_store(&seat.database).await.map_err(|error| failed(&error))?;
        let clock: Arc<dyn Clock> = Arc::<TestClock>::clone(&world.clock);
        let pool = pool_over(world, &clock, entropy.split())?;
        let signer = match &seat.keystore {
            Some(keystore) => Some(signer_of(world, keystore, &clock).await?),
            None => None,
        };
        let random = Arc::new(Mutex::new(entropy.split()));
        let around = Surroundings {
            entropy: Arc::new(move || {
                random.lock().unwrap_or_else(PoisonError::into_inner).next_u128()
            }),
            instance: format!("{}#{:x}", seat.instance, entropy.next_u64()),
        };
        let router = router(api_parts(world, &store, &pool, &around));
        let parts = RoleParts {
            store: store.clone(),
            pools: vec![pool],
            vaults: vault_of(world),
            settings: settings(),
            around,
            doorbells: Doorbells::local(),
            concerns: Concerns::default(),
        };
        let sealing = Arc::clone(&world.sealing);
        Ok(Self {
            processor: Arc::new(Processor::new(parts.clone(), Arc::clone(&sealing))),
            signer: signer.map(|signer| {
                let role = SignerRole::new(parts.clone(), Arc::clone(&signer));
                (signer, Arc::new(role))
            }),
            broadcaster: Arc::new(Broadcaster::new(parts.clone())),
            monitor: Arc::new(Monitor::new(parts.clone())),
            recovery: Arc::new(Recovery::new(parts.clone())),
            store,
            router,
            parts,
            sealing,
            refused: Arc::clone(&world.refused),
        })
    }

    /// One step of a role, as a future of its own.
    pub(crate) fn step(&self, part: Part) -> futures::future::BoxFuture<'static, Finished> {
        let (processor, signer) = (Arc::clone(&self.processor), self.signer.clone());
        let (broadcaster, monitor) = (Arc::clone(&self.broadcaster), Arc::clone(&self.monitor));
        let (recovery, parts) = (Arc::clone(&self.recovery), self.parts.clone());
        let refused = Arc::clone(&self.refused);
        Box::pin(async move {
            if part == Part::Operator {
                let followed = follow_alarms(parts, signer.map(|it| it.0), &refused).await;
                return Finished::Step(followed.map(|done| done == Progress::Worked));
            }
            let result: Result<Progress, EngineError> = match (part, signer) {
                (Part::Processor, _) => processor.step().await,
                (Part::Signer, Some((_, role))) => role.step().await,
                (Part::Broadcaster, _) => broadcaster.step().await,
                (Part::Monitor, _) => monitor.step().await,
                (Part::Recovery, _) => recovery.step().await,
                (Part::Signer, None) | (Part::Client | Part::Operator, _) => Ok(Progress::Idle),
            };
            Finished::Step(
                result.map(|done| done == Progress::Worked).map_err(|error| error.to_string()),
            )
        })
    }

    /// A role begins anew after its step was ended: what it had in memory is gone.
    pub(crate) fn restart_role(&mut self, part: Part) {
        let parts = self.parts.clone();
        match part {
            Part::Processor => {
                self.processor = Arc::new(Processor::new(parts, Arc::clone(&self.sealing)));
            }
            Part::Signer => {
                if let Some((signer, role)) = &mut self.signer {
                    *role = Arc::new(SignerRole::new(parts, Arc::clone(signer)));
                }
            }
            Part::Broadcaster => self.broadcaster = Arc::new(Broadcaster::new(parts)),
            Part::Monitor => self.monitor = Arc::new(Monitor::new(parts)),
            Part::Recovery => self.recovery = Arc::new(Recovery::new(parts)),
            Part::Client | Part::Operator => {}
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> SimulationError {
    SimulationError::Setup(error.to_string())
}

fn pool_over(
    world: &World,
    clock: &Arc<dyn Clock>,
    chance: SeededEntropy,
) -> Result<Arc<ProviderPool>, SimulationError> {
    let providers = world.providers.all().map(|(name, operator, transport)| {
        Provider::from_client(name, operator, RpcClient::new(transport.clone(), true))
    });
    let chance = Mutex::new(chance);
    let chance = move || chance.lock().unwrap_or_else(PoisonError::into_inner).next_u128();
    let limits = PoolLimits::default();
    ProviderPool::new(World::chain(), providers.collect(), Arc::clone(clock), limits)
        .map(|pool| Arc::new(pool.with_chance(Arc::new(chance))))
        .map_err(|error| failed(&error))
}

fn api_parts(
    world: &World,
    store: &Store,
    pool: &Arc<ProviderPool>,
    around: &Surroundings,
) -> ApiParts {
    let pool = pool.as_ref().clone();
    let oracle = Arc::new(GasOracle::new(pool.clone(), store.clock()));
    ApiParts {
        store: store.clone(),
        intake: Intake::new(store.clone(), Arc::clone(&world.sealing)),
        sealing_keys: Arc::clone(&world.sealing),
        chains: vec![ChainAccess { pool, oracle }],
        entropy: Arc::clone(&around.entropy),
        on_accepted: Arc::new(|| {}),
        metrics_render: Arc::new(String::new),
        concerns: Arc::new(Vec::new),
        doc_url_base: "errors.md".into(),
        limits: ApiLimits {
            database_wait_ms: 3_600_000,
            has_timers: false,
            ..ApiLimits::default()
        },
        key_limit: None,
        facts: Facts::new(Arc::new(MemoryCache::new(store.clock()))),
    }
}

/// The vault of each chain that engines are configured with now.
fn vault_of(world: &World) -> BTreeMap<u64, Address> {
    world.engine_vault().map(|vault| (World::chain().chain_id, vault)).into_iter().collect()
}

/// The signer of a keystore: the one that another engine has already, as a signing service that both
/// share, or a new one. Two roles around one signer are two writers of one journal, and only leases keep
/// them from the same sender.
async fn signer_of(
    world: &World,
    keystore: &Path,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<Signer>, SimulationError> {
    let known = || world.signers.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(signer) = known().get(keystore).and_then(std::sync::Weak::upgrade) {
        return Ok(signer);
    }
    let signer = open_signer(world, keystore, Arc::clone(clock)).await?;
    known().insert(keystore.to_owned(), Arc::downgrade(&signer));
    Ok(signer)
}

/// Whether a second signer is refused the journal while another one has it.
pub(crate) fn is_journal_refused(world: &World, keystore: &Path) -> Result<bool, SimulationError> {
    let mut keystore =
        Keystore::open(keystore, &World::passphrase(), None).map_err(|error| failed(&error))?;
    Ok(Journal::open(&mut keystore, world.clock.now()).is_err())
}

async fn open_signer(
    world: &World,
    keystore: &Path,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Signer>, SimulationError> {
    let mut keystore =
        Keystore::open(keystore, &World::passphrase(), None).map_err(|error| failed(&error))?;
    // A write that the dead signer had begun ends on its own thread, and only then the lock is free.
    let mut tries = 0_u32;
    let journal = loop {
        match Journal::open(&mut keystore, clock.now()) {
            Ok(journal) => break journal,
            Err(error) if tries >= 2_000 => return Err(failed(&error)),
            Err(_) => {
                tries = tries.saturating_add(1);
                tokio::task::yield_now().await;
                std::thread::yield_now();
            }
        }
    };
    let plenty = Amount::from_atomic(U256::from(10).pow(U256::from(24)));
    let tokens: BTreeMap<Option<Address>, Amount> =
        world.assets.iter().map(|asset| (asset.token, plenty)).collect();
    let caps = ChainCaps {
        chain_id: World::chain().chain_id,
        max_fee_per_gas_wei: 5_000_000_000_000,
        transaction_fee_wei_max: TRANSACTION_FEE_WEI_MAX,
        gas_limit_max: 3_000_000,
        vault: world.engine_vault(),
        amount_max: tokens,
    };
    let sealing = world.sealing.as_ref().clone();
    let signer = Signer::new(keystore, journal, sealing, world.deployment, vec![caps], clock)
        .map_err(|error| failed(&error))?
        .with_gate(Arc::new(world.gate.clone()));
    Ok(Arc::new(signer))
}
