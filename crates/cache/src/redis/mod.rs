//! The cache of a fleet: one Redis. Every exchange is short and bounded, and behind a breaker; what Redis does not answer,
//! this process answers from its own memory.

mod listener;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use portcullis_core::time::Clock;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Script};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use crate::breaker::Breaker;
use crate::memory::MemoryCache;
use crate::rate::{Admission, Rate};
use crate::{Cache, Health};

/// How a Redis is spoken to.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// `redis://[user:password@]host[:port][/database]`.
    pub url: SecretString,
    /// What every key and channel begins with: deployments that have a Redis together differ in it.
    pub prefix: String,
    /// How long one exchange may take.
    pub timeout: Duration,
}

/// A Redis that cannot be spoken to by these options, whether it runs or not.
#[derive(Debug, Error)]
pub enum RedisError {
    /// The URL is none of Redis.
    #[error("the URL of Redis cannot be used: {0}")]
    Url(String),
}

/// Why an exchange came to nothing.
#[derive(Debug, Error)]
enum ExchangeError {
    #[error("it did not answer within {0} ms")]
    Late(u128),
    #[error(transparent)]
    Refused(#[from] redis::RedisError),
}

/// In Redis.
pub struct RedisCache {
    link: Arc<Link>,
    alone: Arc<MemoryCache>,
    admit: Script,
    listening: JoinHandle<()>,
}

/// The way to the server.
struct Link {
    client: Client,
    prefix: String,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    connection: tokio::sync::Mutex<Option<MultiplexedConnection>>,
    breaker: Mutex<Breaker>,
}

impl fmt::Debug for RedisCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RedisCache({})", self.link.prefix)
    }
}

impl RedisCache {
    /// A cache in that Redis. Nothing is connected yet: a Redis that is down stops no start. It listens for doorbells
    /// from now on, so call it within a runtime.
    ///
    /// # Errors
    /// [`RedisError::Url`].
    pub fn new(options: &RedisOptions, clock: Arc<dyn Clock>) -> Result<Self, RedisError> {
        // The text of the error names parts of a URL, never its password.
        let client = Client::open(options.url.expose_secret())
            .map_err(|error| RedisError::Url(error.to_string()))?;
        let link = Arc::new(Link {
            client,
            prefix: options.prefix.clone(),
            timeout: options.timeout,
            clock: Arc::clone(&clock),
            connection: tokio::sync::Mutex::new(None),
            breaker: Mutex::default(),
        });
        let alone = Arc::new(MemoryCache::new(clock));
        let listening = tokio::spawn(listener::listen(Arc::clone(&link), Arc::clone(&alone)));
        Ok(Self { link, alone, admit: Script::new(include_str!("admit.lua")), listening })
    }

    /// Asks the server whether it is there; what it says is in [`Cache::health`] afterwards.
    pub async fn probe(&self) -> Health {
        let _answer: Option<()> = self
            .link
            .exchange("ping", |mut it| async move { redis::cmd("PING").exec_async(&mut it).await })
            .await;
        self.health()
    }
}

impl Drop for RedisCache {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn read(&self, key: &str) -> Option<Vec<u8>> {
        let full = self.link.key(key);
        let answer: Option<Option<Vec<u8>>> = self
            .link
            .exchange("read", |mut it| async move {
                redis::cmd("GET").arg(full).query_async(&mut it).await
            })
            .await;
        match answer {
            Some(value) => value,
            None => self.alone.read(key).await,
        }
    }

    async fn write(&self, key: &str, value: &[u8], keep: Duration) {
        let full = self.link.key(key);
        let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX).max(1);
        let bytes = value.to_vec();
        let written = self
            .link
            .exchange("write", |mut it| async move {
                redis::cmd("SET")
                    .arg(full)
                    .arg(bytes)
                    .arg("PX")
                    .arg(keep_ms)
                    .exec_async(&mut it)
                    .await
            })
            .await;
        if written.is_none() {
            self.alone.write(key, value, keep).await;
        }
    }

    async fn forget(&self, key: &str) {
        let full = self.link.key(key);
        // Both: it may have been written while the server was away.
        self.alone.forget(key).await;
        let _gone: Option<()> = self
            .link
            .exchange("forget", |mut it| async move {
                redis::cmd("DEL").arg(full).exec_async(&mut it).await
            })
            .await;
    }

    async fn admit(&self, key: &str, rate: Rate, cost: u32) -> Admission {
        let mut asked = self.admit.prepare_invoke();
        asked
            .key(self.link.key(&format!("rate:{key}")))
            .arg(rate.interval_us)
            .arg(rate.burst)
            .arg(cost);
        let answer: Option<(i64, i64, i64)> = self
            .link
            .exchange("admit", |mut it| async move { asked.invoke_async(&mut it).await })
            .await;
        match answer {
            Some((admitted, taken_us, wait_us)) => rate.admission(admitted == 1, taken_us, wait_us),
            None => self.alone.admit(key, rate, cost).await,
        }
    }

    async fn ring(&self, bell: &str) {
        let channel = self.link.channel(bell);
        let rung = self
            .link
            .exchange("ring", |mut it| async move {
                redis::cmd("PUBLISH").arg(channel).arg("").exec_async(&mut it).await
            })
            .await;
        if rung.is_none() {
            self.alone.ring_here(bell);
        }
    }

    fn listen(&self) -> broadcast::Receiver<String> {
        self.alone.listen()
    }

    fn health(&self) -> Health {
        match self.link.breaker().trouble() {
            None => Health::Reachable,
            Some((since, why)) => Health::Unreachable { since, why },
        }
    }
}

impl Link {
    fn key(&self, key: &str) -> String {
        format!("{}:{key}", self.prefix)
    }

    fn channel(&self, bell: &str) -> String {
        format!("{}:bell:{bell}", self.prefix)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn timeout_ms(&self) -> i64 {
        i64::try_from(self.timeout.as_millis()).unwrap_or(i64::MAX)
    }

    /// One exchange, within the timeout; `None` where there is no answer. What goes wrong is told when it begins and
    /// when it is over.
    async fn exchange<T, F>(
        &self,
        operation: &'static str,
        ask: impl FnOnce(MultiplexedConnection) -> F + Send,
    ) -> Option<T>
    where
        F: Future<Output = redis::RedisResult<T>> + Send,
    {
        if !self.breaker().admit(self.clock.now(), self.timeout_ms().saturating_mul(2)) {
            metrics::counter!("portcullis_cache_skipped_total", "operation" => operation)
                .increment(1);
            return None;
        }
        let asking = async {
            let connection = self.connect().await?;
            Ok::<T, ExchangeError>(ask(connection).await?)
        };
        let outcome = tokio::time::timeout(self.timeout, asking).await;
        match outcome.unwrap_or(Err(ExchangeError::Late(self.timeout.as_millis()))) {
            Ok(answer) => {
                if self.breaker().succeeded() {
                    tracing::info!("Redis answers again");
                }
                metrics::gauge!("portcullis_cache_up").set(1.0);
                Some(answer)
            }
            Err(error) => {
                self.failed(operation, &error).await;
                None
            }
        }
    }

    async fn failed(&self, operation: &'static str, error: &ExchangeError) {
        metrics::counter!("portcullis_cache_failures_total", "operation" => operation).increment(1);
        // Its answers would come to the wrong questions, or never.
        *self.connection.lock().await = None;
        if self.breaker().failed(self.clock.now(), error.to_string()) {
            metrics::gauge!("portcullis_cache_up").set(0.0);
            tracing::warn!(
                %error,
                "Redis does not answer: this process remembers and counts for itself, and payments go on"
            );
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, ExchangeError> {
        let mut place = self.connection.lock().await;
        if let Some(connection) = &*place {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(place.insert(connection).clone())
    }
}
