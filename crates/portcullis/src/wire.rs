//! Builds the parts of a process from its configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::Address;
use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use portcullis_cache::{Facts, Rate};
use portcullis_core::causes::with_causes;
use portcullis_core::chain::ChainSpec;
use portcullis_core::fee::FeeBounds;
use portcullis_core::id::DeploymentId;
use portcullis_core::seal::SealingKeys;
use portcullis_core::time::Clock;
use portcullis_engine::{Bell, Concerns};
use portcullis_evm::{Decision, GasOracle, HttpEndpoint, PoolLimits, Provider, ProviderPool};
use portcullis_http::{ApiLimits, ApiParts, ChainAccess, Concern, KeyLimit};
use portcullis_keys::{ChainCaps, Signer};
use portcullis_store::Store;
use portcullis_store::deployment::Deployment;
use portcullis_store::intake::Intake;
use tokio::sync::watch;

use crate::config::{ChainConfig, Config};
use crate::failure::Failure;
use crate::fleet::{self, Fleet};
use crate::random;
use crate::session::{open_store, ready_schema};
use crate::signing::{open_journal, open_keyring};

/// What every process stands on, whatever its roles.
pub(crate) struct Foundation {
    pub(crate) store: Store,
    pub(crate) deployment: Deployment,
    pub(crate) sealing_keys: Arc<SealingKeys>,
    pub(crate) chains: Vec<Chain>,
    /// The store's: what a process compares with rows, blocks and other processes goes by it.
    pub(crate) clock: Arc<dyn Clock>,
}

/// A chain and the way to it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Chain {
    pub(crate) pool: Arc<ProviderPool>,
    pub(crate) oracle: Arc<GasOracle>,
}

impl Foundation {
    /// Opens the database, brings it up to date, founds the deployment at the first start, and
    /// prepares the providers. No node is asked anything.
    pub(crate) async fn lay(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, Failure> {
        let sealing_keys = Arc::new(config.seal.keys()?);
        if config.chains.is_empty() {
            return Err(Config::missing_chain().into());
        }
        let store = open_store(config, clock).await?;
        let clock = store.clock();
        let mut chains = Vec::with_capacity(config.chains.len());
        for chain in &config.chains {
            let pool = provider_pool(chain, &clock)?;
            if let Err(error) = pool.needed(Decision::Release) {
                let network = chain.spec.network;
                tracing::warn!(network, %error, "nothing is released by itself on this network");
            }
            let oracle = Arc::new(GasOracle::new(pool.clone(), Arc::clone(&clock)));
            chains.push(Chain { pool: Arc::new(pool), oracle });
        }
        ready_schema(&store, config).await?;
        let fits = store
            .sealing_key_fits(&sealing_keys)
            .await
            .map_err(|error| Failure::of_store("cannot compare the sealing key", &error))?;
        if !fits {
            return Err(config.seal.misfit().into());
        }
        let id = DeploymentId::from_parts(clock.now(), random::entropy()?);
        let deployment = store
            .found_deployment(id)
            .await
            .map_err(|error| Failure::of_store("cannot found the deployment", &error))?;
        if deployment.id == id {
            tracing::info!(deployment = %id, "a new deployment is founded");
        }
        Ok(Self { store, deployment, sealing_keys, chains, clock })
    }
}

/// What the router is made of.
pub(crate) struct RouterParts<'a> {
    pub(crate) foundation: &'a Foundation,
    pub(crate) config: &'a Config,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) fleet: &'a Fleet,
    pub(crate) concerns: Concerns,
    pub(crate) stopping: watch::Receiver<bool>,
}

/// The whole API.
pub(crate) fn router(parts: RouterParts<'_>) -> Router {
    let RouterParts { foundation, config, metrics, fleet, concerns, stopping } = parts;
    let (doorbells, cache) = (fleet.doorbells.clone(), fleet.cache.clone());
    let chains = foundation.chains.iter().map(|chain| ChainAccess {
        pool: ProviderPool::clone(&chain.pool),
        oracle: Arc::clone(&chain.oracle),
    });
    portcullis_http::router(ApiParts {
        store: foundation.store.clone(),
        intake: Intake::bounded(
            foundation.store.clone(),
            Arc::clone(&foundation.sealing_keys),
            config.intake.limits,
        ),
        sealing_keys: Arc::clone(&foundation.sealing_keys),
        chains: chains.collect(),
        entropy: random::source(),
        on_accepted: Arc::new(move || doorbells.ring(Bell::Validate)),
        metrics_render: Arc::new(move || metrics.render()),
        concerns: Arc::new(move || {
            let redis = cache.as_deref().and_then(fleet::concern_of);
            let lacks = concerns.all().into_iter().map(lacking);
            draining(*stopping.borrow()).into_iter().chain(redis).chain(lacks).collect()
        }),
        doc_url_base: config.server.errors_url(),
        key_limit: config.intake.key_requests_per_second.map(|rate| KeyLimit {
            cache: fleet.memory(&foundation.clock),
            rate: Rate::per_second(rate, rate.saturating_mul(2)),
        }),
        facts: Facts::new(fleet.memory(&foundation.clock)),
        limits: ApiLimits { requests_max: config.intake.requests_max, ..ApiLimits::default() },
    })
}

/// What `/readyz` says of what the parts of this process lack.
fn lacking(concern: portcullis_engine::Concern) -> Concern {
    let portcullis_engine::Concern { component, detail } = concern;
    let (is_blocking, component) = (component.is_blocking(), component.as_str().to_owned());
    Concern { component, is_blocking, detail }
}

/// What `/readyz` says while the process stops.
fn draining(is_stopping: bool) -> Vec<Concern> {
    let concern = Concern {
        component: "draining".to_owned(),
        is_blocking: true,
        detail: "this process was asked to stop: send requests to another one".to_owned(),
    };
    is_stopping.then_some(concern).into_iter().collect()
}

/// The providers of one chain. Nothing is sent yet: a node that is down stops no start.
pub(crate) fn provider_pool(
    chain: &ChainConfig,
    clock: &Arc<dyn Clock>,
) -> Result<ProviderPool, Failure> {
    let network = chain.spec.network;
    if chain.providers.is_empty() {
        return Err(chain.missing_provider().into());
    }
    let mut providers = Vec::with_capacity(chain.providers.len());
    for provider in &chain.providers {
        let endpoint = HttpEndpoint {
            name: provider.name.clone(),
            operator: provider.operator.clone(),
            url: provider.url()?,
            timeout_ms: provider.timeout_ms,
        };
        let what = format!("provider {} of {network}", provider.name);
        let http = Provider::http(endpoint).map_err(|error| Failure::failed(&what, &error))?;
        let http = http.with_batch_items_max(provider.batch_max);
        providers.push(match provider.requests_per_second {
            Some(rate) => http.with_requests_per_second(rate),
            None => http,
        });
    }
    let most = chain.providers.iter().map(|provider| provider.batch_max).max();
    let defaults = PoolLimits::default();
    let limits = PoolLimits {
        batch_items_max: most.unwrap_or(defaults.batch_items_max),
        quorum: chain.quorum,
        ..defaults
    };
    let pool = ProviderPool::new(bounded_spec(chain), providers, Arc::clone(clock), limits)
        .map_err(|error| Failure::failed(&format!("the providers of {network}"), &error))?;
    Ok(pool.with_chance(random::source()))
}

/// The chain's facts under the configured fee cap: the engine prices below it, so that the signer has
/// nothing to refuse.
fn bounded_spec(chain: &ChainConfig) -> &'static ChainSpec {
    let bounds = chain.spec.fee_bounds;
    if bounds.max_fee_per_gas_wei_cap == chain.max_fee_per_gas_wei {
        return chain.spec;
    }
    let fee_bounds = FeeBounds { max_fee_per_gas_wei_cap: chain.max_fee_per_gas_wei, ..bounds };
    // Once a chain and start: chain specs live as long as the process.
    Box::leak(Box::new(ChainSpec { fee_bounds, ..*chain.spec }))
}

/// A token's decimals as its contract tells them, or why it does not.
pub(crate) async fn token_decimals(pool: &ProviderPool, token: Address) -> Result<u8, String> {
    let decimals = pool.token_decimals(&[token]).await.map_err(|error| with_causes(&error))?;
    decimals.first().copied().ok_or_else(|| "the node gave no answer".to_owned())
}

/// Whether there is no contract at the address, where a node answers at all.
pub(crate) async fn is_without_code(pool: &ProviderPool, token: Address) -> bool {
    pool.codes(&[token]).await.is_ok_and(|codes| codes.first() == Some(&false))
}

/// The signer: keys, journal and caps.
pub(crate) async fn signer(
    config: &Config,
    sealing: SealingKeys,
    deployment: DeploymentId,
    clock: Arc<dyn Clock>,
) -> Result<Signer, Failure> {
    let keyring = open_keyring(&config.signer, deployment, &clock).await?;
    let (keyring, journal) = open_journal(&config.signer, keyring, &clock).await?;
    tracing::info!(
        keys = config.signer.holder.kind(),
        journal = %journal.reader().place(),
        "keys and journal are open"
    );
    let caps = config.chains.iter().map(chain_caps).collect();
    let signer = Signer::new(keyring, journal, sealing, deployment, caps, clock)
        .map_err(|error| Failure::failed("the signer", &error))?;
    for chain in &config.chains {
        if signer.addresses(chain.spec.chain_id).is_empty() {
            let network = chain.spec.network;
            tracing::warn!(
                network,
                "the signer has no key for this network: nothing is paid there"
            );
        }
        if chain.caps.is_empty() {
            let network = chain.spec.network;
            tracing::warn!(network, "no [[chain.cap]] is configured: nothing is signed there");
        }
    }
    Ok(signer)
}

fn chain_caps(chain: &ChainConfig) -> ChainCaps {
    ChainCaps {
        chain_id: chain.spec.chain_id,
        max_fee_per_gas_wei: chain.max_fee_per_gas_wei,
        transaction_fee_wei_max: chain.transaction_fee_wei_max,
        gas_limit_max: chain.gas_limit_max,
        vault: chain.vault,
        amount_max: chain
            .caps
            .iter()
            .map(|cap| (cap.token, cap.amount_max))
            .collect::<BTreeMap<_, _>>(),
    }
}
