//! What a process has in common with others, beside the database: doorbells and what may be forgotten.

use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis_cache::{Cache, Facts, GasPrice, Health, MemoryCache, RedisCache};
use portcullis_core::time::Clock;
use portcullis_engine::{Bell, Concerns, Doorbells, Messenger, Role, SqsQueues, Surroundings};
use portcullis_http::Concern;
use portcullis_store::Store;
use tokio::sync::watch;

use crate::config::Config;
use crate::failure::Failure;
use crate::roles::Roles;
use crate::wire::Chain;

/// How often tips and failing providers are told to the others, and theirs are heard.
const GOSSIP_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);

/// See the module.
pub(crate) struct Fleet {
    pub(crate) doorbells: Doorbells,
    pub(crate) cache: Option<Arc<RedisCache>>,
    queues: Option<Arc<SqsQueues>>,
}

impl Fleet {
    /// Prepares the ways to others that are configured. Nothing is connected yet.
    pub(crate) async fn join(
        config: &Config,
        roles: &Roles,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        let queues = match config.queue.sqs() {
            Some(options) => Some(Arc::new(SqsQueues::new(options).await)),
            None => None,
        };
        let cache = redis_of(config, clock)?;
        let is_alone = queues.is_none() && cache.is_none();
        let doorbells = if is_alone {
            Doorbells::local()
        } else {
            Doorbells::between_processes(&bells_of(roles))
        };
        Ok(Self { doorbells, cache, queues })
    }

    /// Where is remembered and counted: together with others, or by this process alone.
    pub(crate) fn memory(&self, clock: &Arc<dyn Clock>) -> Arc<dyn Cache> {
        match &self.cache {
            Some(cache) => Arc::clone(cache) as Arc<dyn Cache>,
            None => Arc::new(MemoryCache::new(Arc::clone(clock))),
        }
    }

    /// Carries doorbells until `stopping`; nothing where this process is alone.
    pub(crate) fn messenger(
        &self,
        store: &Store,
        around: Surroundings,
        lease_ms: i64,
        concerns: &Concerns,
    ) -> Option<Messenger> {
        if self.queues.is_none() && self.cache.is_none() {
            return None;
        }
        Some(Messenger {
            doorbells: self.doorbells.clone(),
            queues: self.queues.clone(),
            cache: self.cache.clone().map(|cache| cache as Arc<dyn Cache>),
            store: store.clone(),
            around,
            lease_ms,
            concerns: concerns.clone(),
        })
    }

    /// Tells and hears what spares a question to a node, until `stopping`.
    pub(crate) fn gossip(
        &self,
        chains: &[Chain],
        clock: &Arc<dyn Clock>,
        stopping: watch::Receiver<bool>,
    ) {
        let Some(cache) = self.cache.clone() else { return };
        let chains: Vec<Chain> = chains.to_vec();
        tokio::spawn(gossip(cache, chains, Arc::clone(clock), stopping));
    }
}

/// Redis, where one is configured. Nothing is connected yet.
pub(crate) fn redis_of(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Arc<RedisCache>>, Failure> {
    let Some(options) = config.redis.options()? else { return Ok(None) };
    let cache = RedisCache::new(&options, Arc::clone(clock))
        .map_err(|error| Failure::failed("redis.url", &error))?;
    Ok(Some(Arc::new(cache)))
}

/// What `/readyz` says of Redis: nothing stops because of it.
pub(crate) fn concern_of(cache: &RedisCache) -> Option<Concern> {
    let Health::Unreachable { since, why } = cache.health() else { return None };
    Some(Concern {
        component: "redis".to_owned(),
        is_blocking: false,
        detail: format!(
            "Redis does not answer since {} ({why}): this process remembers and counts for itself, \
             doorbells come by timer; payments go on",
            since.to_rfc3339()
        ),
    })
}

/// The bells that the roles of this process answer.
fn bells_of(roles: &Roles) -> Vec<Bell> {
    let bell = |role| match role {
        Role::Api => None,
        Role::Processor => Some(Bell::Validate),
        Role::Signer => Some(Bell::Sign),
        Role::Broadcaster => Some(Bell::Broadcast),
        Role::Monitor => Some(Bell::Monitor),
        Role::Recovery => Some(Bell::Recover),
    };
    roles.workers().into_iter().filter_map(bell).collect()
}

async fn gossip(
    cache: Arc<RedisCache>,
    chains: Vec<Chain>,
    clock: Arc<dyn Clock>,
    mut stopping: watch::Receiver<bool>,
) {
    let facts = Facts::new(Arc::clone(&cache) as Arc<dyn Cache>);
    let mut told = BTreeSet::new();
    loop {
        // Also so that it is noticed when Redis goes away while nothing is asked of it.
        cache.probe().await;
        for chain in &chains {
            exchange(&facts, chain, &*clock, &mut told).await;
        }
        tokio::select! {
            () = tokio::time::sleep(GOSSIP_INTERVAL) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

/// One exchange about one chain. `told` are the openings of breakers that were told or heard already.
async fn exchange(
    facts: &Facts,
    chain: &Chain,
    clock: &dyn Clock,
    told: &mut BTreeSet<(u64, String, i64)>,
) {
    let chain_id = chain.pool.chain().chain_id;
    let theirs = facts.gas_price(chain_id).await;
    let ours = chain.oracle.known_tip().await.map(|(tip_wei, at)| GasPrice { tip_wei, at });
    match (ours, theirs) {
        (Some(ours), theirs) if theirs.is_none_or(|theirs| theirs.at < ours.at) => {
            facts.keep_gas_price(chain_id, ours).await;
        }
        (_, Some(theirs)) => chain.oracle.learn_tip(theirs.tip_wei, theirs.at).await,
        _ => {}
    }
    let now = clock.now();
    let open = chain.pool.open_breakers();
    for provider in chain.pool.statuses() {
        let name = provider.name.clone();
        let ours = open.iter().find(|(opened, _)| *opened == name).map(|(_, until)| *until);
        match ours {
            // What was heard from others is not told on: it would never end.
            Some(until) if told.insert((chain_id, name.clone(), until.as_millis())) => {
                facts.keep_breaker(chain_id, &name, until, now).await;
            }
            Some(_) => {}
            None => {
                let Some(until) = facts.breaker(chain_id, &name).await else { continue };
                if until > now && told.insert((chain_id, name.clone(), until.as_millis())) {
                    chain.pool.leave_alone(&name, until);
                }
            }
        }
    }
    told.retain(|(_, _, until)| *until > now.as_millis());
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use portcullis_cache::RedisOptions;
    use portcullis_core::chain::ChainSpec;
    use portcullis_core::time::Timestamp;
    use portcullis_evm::{GasOracle, HttpEndpoint, PoolLimits, Provider, ProviderPool};
    use portcullis_testkit::{RedisServer, TestClock};

    use super::*;
    use crate::clock::SystemClock;

    /// What one process has of it.
    struct Process {
        facts: Facts,
        chain: Chain,
        told: BTreeSet<(u64, String, i64)>,
    }

    impl Process {
        fn new(redis: &RedisServer, clock: &TestClock, node: &str) -> Self {
            let options = RedisOptions {
                url: redis.url().into(),
                prefix: "test".to_owned(),
                timeout: Duration::from_secs(20),
            };
            let cache = RedisCache::new(&options, Arc::new(SystemClock)).expect("a URL of Redis");
            let shared: Arc<dyn Clock> = Arc::new(clock.clone());
            let endpoint = HttpEndpoint {
                name: "dead".to_owned(),
                operator: "nobody".to_owned(),
                url: node.to_owned().into(),
                timeout_ms: 1_000,
            };
            let provider = Provider::http(endpoint).expect("a URL");
            let spec = ChainSpec::by_id(31_337).expect("the local chain");
            let limits = PoolLimits::default();
            let pool = ProviderPool::new(spec, vec![provider], Arc::clone(&shared), limits);
            let pool = pool.expect("one provider");
            let oracle = Arc::new(GasOracle::new(pool.clone(), shared));
            let chain = Chain { pool: Arc::new(pool), oracle };
            Self { facts: Facts::new(Arc::new(cache)), chain, told: BTreeSet::new() }
        }

        async fn exchange(&mut self, clock: &TestClock) {
            exchange(&self.facts, &self.chain, clock, &mut self.told).await;
        }

        /// Until when it leaves the provider alone.
        fn left_alone(&self) -> Option<Timestamp> {
            self.chain.pool.open_breakers().first().map(|(_, until)| *until)
        }

        /// Asks until the provider is left alone for so long that nothing of this test takes as long.
        async fn find_out(&self, clock: &TestClock) {
            for _ in 0..100 {
                let left = self.left_alone().map_or(0, |until| until.millis_since(clock.now()));
                if left >= 10_000 {
                    return;
                }
                clock.advance(left);
                self.chain.pool.head().await.expect_err("nobody is there");
            }
            panic!("it is never left alone for long");
        }
    }

    #[tokio::test]
    async fn what_one_process_finds_failing_the_others_leave_alone() {
        let redis = RedisServer::start();
        let clock = TestClock::at(Timestamp::from_millis(1_795_190_400_000));
        let nobody = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let node = format!("http://{}", nobody.local_addr().expect("it is bound"));
        drop(nobody);
        let [mut one, mut other] = [(), ()].map(|()| Process::new(&redis, &clock, &node));
        other.exchange(&clock).await;
        assert_eq!(other.left_alone(), None, "nobody has found anything out");
        one.find_out(&clock).await;
        one.exchange(&clock).await;
        other.exchange(&clock).await;
        assert_eq!(other.left_alone(), one.left_alone());
        assert!(other.left_alone().is_some() && !other.chain.pool.statuses()[0].healthy);
        assert_eq!(other.chain.pool.statuses()[0].failures_in_a_row, 0, "it did not ask itself");
        let until = one.left_alone().expect("as before");
        clock.advance(until.millis_since(clock.now()));
        other.exchange(&clock).await;
        assert_eq!(other.left_alone(), None, "it is over for both at once");
    }
}
