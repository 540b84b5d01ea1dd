//! What dies in a crash: one running Portcullis, its roles, its connections and its caches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::{Address, U256};
use alloy_rpc_client::RpcClient;
use axum::Router;
use portcullis_core::amount::Amount;
use portcullis_core::time::Clock;
use portcullis_engine::{
    Broadcaster, Doorbells, EngineError, EngineSettings, Monitor, Processor, Progress, Recovery,
    RoleParts, SignerRole, Surroundings,
};
use portcullis_evm::{GasOracle, PoolLimits, Provider, ProviderPool};
use portcullis_http::{ApiLimits, ApiParts, ChainAccess, router};
use portcullis_keys::{ChainCaps, Journal, Keystore, Signer};
use portcullis_store::Store;
use portcullis_store::intake::Intake;
use portcullis_testkit::{SeededEntropy, SimTransport, TestClock};

use crate::activity::{Actor, Finished};
use crate::faults::Weather;
use crate::scheduler::SimulationError;
use crate::world::World;

/// One running Portcullis.
pub(crate) struct Machine {
    pub(crate) store: Store,
    pub(crate) transport: SimTransport,
    pub(crate) router: Router,
    parts: RoleParts,
    sealing: Arc<portcullis_core::seal::SealingKeys>,
    signer: Arc<Signer>,
    processor: Arc<Processor>,
    signing: Arc<SignerRole>,
    broadcaster: Arc<Broadcaster>,
    monitor: Arc<Monitor>,
    recovery: Arc<Recovery>,
}

fn settings() -> EngineSettings {
    EngineSettings {
        batch_max: 40,
        vault_items_max: 8,
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
        entropy: &mut SeededEntropy,
    ) -> Result<Self, SimulationError> {
        let store = world.open_store().await.map_err(|error| failed(&error))?;
        let clock: Arc<dyn Clock> = Arc::<TestClock>::clone(&world.clock);
        let weather = Weather::new(entropy.split(), Arc::clone(&world.is_weather_bad));
        let transport = SimTransport::new(world.node.clone())
            .with_faults(weather)
            .with_gate(Arc::new(world.gate.clone()));
        let pool = pool_over(&transport, &clock)?;
        let signer = open_signer(world, Arc::clone(&clock)).await?;
        let random = Arc::new(Mutex::new(entropy.split()));
        let around = Surroundings {
            clock,
            entropy: Arc::new(move || {
                random.lock().unwrap_or_else(PoisonError::into_inner).next_u128()
            }),
            instance: format!("machine#{:x}", entropy.next_u64()),
        };
        let router = router(api_parts(world, &store, &pool, &around));
        let parts = RoleParts {
            store: store.clone(),
            pools: vec![pool],
            vaults: BTreeMap::new(),
            settings: settings(),
            around,
            doorbells: Doorbells::local(),
        };
        let sealing = Arc::clone(&world.sealing);
        Ok(Self {
            processor: Arc::new(Processor::new(parts.clone(), Arc::clone(&sealing))),
            signing: Arc::new(SignerRole::new(parts.clone(), Arc::clone(&signer))),
            broadcaster: Arc::new(Broadcaster::new(parts.clone())),
            monitor: Arc::new(Monitor::new(parts.clone())),
            recovery: Arc::new(Recovery::new(parts.clone())),
            store,
            transport,
            router,
            parts,
            sealing,
            signer,
        })
    }

    /// One step of a role, as a future of its own.
    pub(crate) fn step(&self, actor: Actor) -> futures::future::BoxFuture<'static, Finished> {
        let (processor, signing) = (Arc::clone(&self.processor), Arc::clone(&self.signing));
        let (broadcaster, monitor) = (Arc::clone(&self.broadcaster), Arc::clone(&self.monitor));
        let recovery = Arc::clone(&self.recovery);
        Box::pin(async move {
            let result: Result<Progress, EngineError> = match actor {
                Actor::Processor => processor.step().await,
                Actor::Signer => signing.step().await,
                Actor::Broadcaster => broadcaster.step().await,
                Actor::Monitor => monitor.step().await,
                Actor::Recovery | Actor::Client => recovery.step().await,
            };
            Finished::Step(
                result.map(|done| done == Progress::Worked).map_err(|error| error.to_string()),
            )
        })
    }

    /// A role begins anew after its step was ended: what it had in memory is gone.
    pub(crate) fn restart_role(&mut self, actor: Actor) {
        let parts = self.parts.clone();
        match actor {
            Actor::Processor => {
                self.processor = Arc::new(Processor::new(parts, Arc::clone(&self.sealing)));
            }
            Actor::Signer => {
                self.signing = Arc::new(SignerRole::new(parts, Arc::clone(&self.signer)));
            }
            Actor::Broadcaster => self.broadcaster = Arc::new(Broadcaster::new(parts)),
            Actor::Monitor => self.monitor = Arc::new(Monitor::new(parts)),
            Actor::Recovery => self.recovery = Arc::new(Recovery::new(parts)),
            Actor::Client => {}
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> SimulationError {
    SimulationError::Setup(error.to_string())
}

fn pool_over(
    transport: &SimTransport,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<ProviderPool>, SimulationError> {
    let client = RpcClient::new(transport.clone(), true);
    let provider = Provider::from_client("node", "simulator", client);
    let limits = PoolLimits::default();
    ProviderPool::new(World::chain(), vec![provider], Arc::clone(clock), limits)
        .map(Arc::new)
        .map_err(|error| failed(&error))
}

fn api_parts(
    world: &World,
    store: &Store,
    pool: &Arc<ProviderPool>,
    around: &Surroundings,
) -> ApiParts {
    let pool = pool.as_ref().clone();
    let oracle = Arc::new(GasOracle::new(pool.clone(), Arc::clone(&around.clock)));
    ApiParts {
        store: store.clone(),
        intake: Intake::new(store.clone(), Arc::clone(&world.sealing)),
        sealing_keys: Arc::clone(&world.sealing),
        chains: vec![ChainAccess { pool, oracle }],
        clock: Arc::clone(&around.clock),
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
    }
}

async fn open_signer(world: &World, clock: Arc<dyn Clock>) -> Result<Arc<Signer>, SimulationError> {
    let mut keystore = Keystore::open(&world.keystore, &World::passphrase(), None)
        .map_err(|error| failed(&error))?;
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
        transaction_fee_wei_max: u128::MAX,
        gas_limit_max: 1_000_000,
        vault: None,
        amount_max: tokens,
    };
    let sealing = world.sealing.as_ref().clone();
    let signer = Signer::new(keystore, journal, sealing, world.deployment, vec![caps], clock)
        .map_err(|error| failed(&error))?
        .with_gate(Arc::new(world.gate.clone()));
    Ok(Arc::new(signer))
}
