//! A provider in use: asked in bounded batches, checked for its chain, watched for its health.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_primitives::{B256, Bytes};
use portcullis_core::chain::ChainSpec;
use portcullis_core::time::{Clock, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::classify::{SendOutcome, classify_send};
use crate::exchange::{Answer, exchange};
use crate::failure::{ReadError, RpcFailure};
use crate::provider::Provider;
use crate::telemetry::Labels;
use crate::wire::{decode, decode_u64};

/// Failures in a row after which a provider is asked only when no better one is left.
const FAILURES_UNHEALTHY: u32 = 3;

/// How long an unhealthy provider is left alone before it is given one try in its turn.
const TRY_AGAIN_MS: i64 = 30_000;

const CHAIN_ID: &str = "eth_chainId";

/// How a provider fares. For `/readyz`, metrics and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderStatus {
    /// Its name.
    pub name: String,
    /// Who runs it.
    pub operator: String,
    /// Whether it is asked first. `false` after several failures in a row, and on a wrong chain.
    pub healthy: bool,
    /// What its chain id was found to be.
    pub chain: ChainCheck,
    /// Failures since the last answer.
    pub failures_in_a_row: u32,
    /// The last failure, in words without secrets.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<Timestamp>,
    /// When it last answered.
    pub last_answer_at: Option<Timestamp>,
    /// How long the last round trip took.
    pub latency_ms: Option<u64>,
    /// The newest block that it showed.
    pub head_number: Option<u64>,
}

/// What is known of the chain behind a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainCheck {
    /// Not asked yet, or not since the connection failed: another node may answer now.
    Unchecked,
    /// The configured chain.
    Verified,
    /// Another one, with this id. It is not used until a check finds otherwise.
    Wrong(u64),
}

#[derive(Debug)]
struct Health {
    chain: ChainCheck,
    failures_in_a_row: u32,
    last_error: Option<(String, Timestamp)>,
    last_answer_at: Option<Timestamp>,
    latency_ms: Option<u64>,
    head_number: Option<u64>,
}

/// One provider of a pool. Its typed reads are in the modules `read_chain` and `read_account`.
#[derive(Debug)]
pub struct Upstream {
    provider: Provider,
    chain: &'static ChainSpec,
    clock: ClockHandle,
    batch_items_max: usize,
    labels: Labels,
    health: Mutex<Health>,
}

/// A clock that can stand in a `Debug` type.
#[derive(Clone)]
struct ClockHandle(Arc<dyn Clock>);

impl std::fmt::Debug for ClockHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Clock")
    }
}

impl Upstream {
    pub(crate) fn new(
        provider: Provider,
        chain: &'static ChainSpec,
        clock: Arc<dyn Clock>,
        batch_items_max: usize,
    ) -> Self {
        let labels = Labels { network: chain.network, provider: provider.name().to_owned() };
        let health = Health {
            chain: ChainCheck::Unchecked,
            failures_in_a_row: 0,
            last_error: None,
            last_answer_at: None,
            latency_ms: None,
            head_number: None,
        };
        let (clock, health) = (ClockHandle(clock), Mutex::new(health));
        Self { provider, chain, clock, batch_items_max: batch_items_max.max(1), labels, health }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.provider.name()
    }

    /// Who runs it.
    #[must_use]
    pub fn operator(&self) -> &str {
        self.provider.operator()
    }

    /// How it fares.
    #[must_use]
    pub fn status(&self) -> ProviderStatus {
        let health = self.health();
        ProviderStatus {
            name: self.name().to_owned(),
            operator: self.operator().to_owned(),
            healthy: health.is_good(),
            chain: health.chain,
            failures_in_a_row: health.failures_in_a_row,
            last_error: health.last_error.as_ref().map(|(text, _)| text.clone()),
            last_error_at: health.last_error.as_ref().map(|(_, at)| *at),
            last_answer_at: health.last_answer_at,
            latency_ms: health.latency_ms,
            head_number: health.head_number,
        }
    }

    /// Whether it is asked in its turn: it is healthy, or has been left alone long enough. A failure then
    /// puts it back at the end.
    pub(crate) fn is_preferred(&self) -> bool {
        let now = self.clock.0.now();
        let health = self.health();
        let rested = |at: Timestamp| now.millis_since(at) >= TRY_AGAIN_MS;
        health.is_good() || health.last_error.as_ref().is_some_and(|(_, at)| rested(*at))
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the chain id now, whatever was known of it.
    ///
    /// # Errors
    /// [`RpcFailure::WrongChain`], or why the node did not answer.
    pub async fn check_chain_id(&self) -> Result<(), ReadError> {
        let answers = self.exchange_once(CHAIN_ID, &[json!([])]).await;
        let answer = answers.into_iter().next().unwrap_or(Err(RpcFailure::Missing));
        let actual = answer
            .and_then(|raw| decode_u64(&raw))
            .map_err(|failure| self.read_error(CHAIN_ID, failure))?;
        let expected = self.chain.chain_id;
        if actual == expected {
            let mut health = self.health();
            health.chain = ChainCheck::Verified;
            let is_good = health.is_good();
            drop(health);
            self.labels.up(is_good);
            return Ok(());
        }
        let failure = RpcFailure::WrongChain { expected, actual };
        tracing::error!(provider = self.name(), expected, actual, "provider is on a wrong chain");
        let mut health = self.health();
        health.chain = ChainCheck::Wrong(actual);
        health.last_error = Some((failure.to_string(), self.clock.0.now()));
        drop(health);
        self.labels.up(false);
        Err(self.read_error(CHAIN_ID, failure))
    }

    pub(crate) async fn ensure_chain(&self, method: &'static str) -> Result<(), ReadError> {
        let known = self.health().chain;
        match known {
            ChainCheck::Verified => Ok(()),
            ChainCheck::Unchecked => self.check_chain_id().await,
            ChainCheck::Wrong(actual) => {
                let expected = self.chain.chain_id;
                Err(self.read_error(method, RpcFailure::WrongChain { expected, actual }))
            }
        }
    }

    /// Sends signed bytes, in order and in as few batches as possible. One outcome each.
    ///
    /// Nothing is sent twice: what a batch left unanswered is [`SendOutcome::Unknown`].
    pub async fn send(&self, transactions: &[(B256, Bytes)]) -> Vec<SendOutcome> {
        const METHOD: &str = "eth_sendRawTransaction";
        let mut answers: Vec<Answer> = Vec::with_capacity(transactions.len());
        for chunk in transactions.chunks(self.batch_items_max) {
            if let Err(error) = self.ensure_chain(METHOD).await {
                answers.extend(vec![Err(error.failure); chunk.len()]);
                continue;
            }
            let params: Vec<Value> = chunk.iter().map(|(_, raw)| json!([raw])).collect();
            answers.extend(self.exchange_once(METHOD, &params).await);
        }
        let outcomes = transactions.iter().zip(answers).map(|((hash, _), answer)| {
            let outcome = classify_send(*hash, &answer.and_then(|raw| decode::<B256>(&raw)));
            self.note_outcome(*hash, &outcome);
            outcome
        });
        outcomes.collect()
    }

    fn note_outcome(&self, hash: B256, outcome: &SendOutcome) {
        self.labels.send_outcome(outcome.as_str());
        let (provider, network) = (self.name(), self.chain.network);
        match outcome {
            SendOutcome::Accepted | SendOutcome::AlreadyKnown => {
                tracing::debug!(provider, network, %hash, %outcome, "sent");
            }
            SendOutcome::Unknown { .. } => {
                tracing::warn!(provider, network, %hash, %outcome, "sent, and in doubt");
            }
            _ => {
                tracing::info!(provider, network, %hash, %outcome, "sent, and refused");
            }
        }
    }

    /// Asks `method` with each of `params`. One answer each, in order; a failed item is its own failure.
    /// What a half-answered batch left out is asked once more: reads may be repeated.
    pub(crate) async fn ask_each(&self, method: &'static str, params: &[Value]) -> Vec<Answer> {
        let mut answers: Vec<Answer> = Vec::with_capacity(params.len());
        for chunk in params.chunks(self.batch_items_max) {
            if let Err(error) = self.ensure_chain(method).await {
                answers.extend(vec![Err(error.failure); chunk.len()]);
                continue;
            }
            let mut part = self.exchange_once(method, chunk).await;
            let is_missing = |answer: &Answer| matches!(answer, Err(RpcFailure::Missing));
            let missing: Vec<usize> = (0..part.len()).filter(|i| is_missing(&part[*i])).collect();
            if !missing.is_empty() && missing.len() < part.len() {
                let again: Vec<Value> = missing.iter().map(|index| chunk[*index].clone()).collect();
                let late = self.exchange_once(method, &again).await;
                for (index, answer) in missing.into_iter().zip(late) {
                    part[index] = answer;
                }
            }
            answers.extend(part);
        }
        answers
    }

    /// The same, where the whole set is needed: the first failure is the set's.
    pub(crate) async fn ask<T>(
        &self,
        method: &'static str,
        params: &[Value],
        decode: impl Fn(usize, &serde_json::value::RawValue) -> Result<T, RpcFailure>,
    ) -> Result<Vec<T>, ReadError> {
        let answers = self.ask_each(method, params).await;
        let decoded = answers.into_iter().enumerate().map(|(index, answer)| {
            answer
                .and_then(|raw| decode(index, &raw))
                .map_err(|failure| self.note_bad_answer(method, failure))
        });
        decoded.collect()
    }

    pub(crate) fn read_error(&self, method: &'static str, failure: RpcFailure) -> ReadError {
        ReadError { provider: self.name().to_owned(), method, failure }
    }

    /// A failure that showed only when the answer was read.
    pub(crate) fn note_bad_answer(&self, method: &'static str, failure: RpcFailure) -> ReadError {
        if matches!(failure, RpcFailure::Malformed(_)) {
            self.labels.error(method, failure.kind());
            self.note_failure(method, &failure);
        }
        self.read_error(method, failure)
    }

    pub(crate) fn note_head(&self, number: u64) {
        self.health().head_number = Some(number);
        self.labels.head(number);
    }

    async fn exchange_once(&self, method: &'static str, params: &[Value]) -> Vec<Answer> {
        let started = Instant::now();
        let (client, timeout) = (self.provider.client(), self.provider.timeout());
        let answers = exchange(client, timeout, method, params).await;
        let elapsed = started.elapsed();
        self.labels.requests(method, params.len());
        self.labels.duration(method, elapsed);
        let failures = answers.iter().filter_map(|answer| answer.as_ref().err());
        let mut blame = None;
        for failure in failures {
            self.labels.error(method, failure.kind());
            if failure.blames_provider() {
                blame = blame.or(Some(failure));
            }
        }
        match blame {
            Some(failure) => self.note_failure(method, failure),
            None => self.note_answer(method, elapsed),
        }
        answers
    }

    fn note_answer(&self, method: &'static str, elapsed: std::time::Duration) {
        let now = self.clock.0.now();
        let mut health = self.health();
        let was_good = health.is_good();
        // A check of the chain id precedes the next use after a failure: it alone is no recovery.
        if method != CHAIN_ID {
            health.failures_in_a_row = 0;
        }
        health.last_answer_at = Some(now);
        health.latency_ms = Some(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        let is_good = health.is_good();
        drop(health);
        if is_good && !was_good {
            tracing::info!(
                provider = self.name(),
                network = self.chain.network,
                "provider is back"
            );
            self.labels.up(true);
        }
    }

    fn note_failure(&self, method: &'static str, failure: &RpcFailure) {
        let now = self.clock.0.now();
        let mut health = self.health();
        let was_good = health.is_good();
        health.failures_in_a_row = health.failures_in_a_row.saturating_add(1);
        health.last_error = Some((failure.to_string(), now));
        if failure.breaks_connection() && health.chain == ChainCheck::Verified {
            health.chain = ChainCheck::Unchecked;
        }
        let (failures, is_good) = (health.failures_in_a_row, health.is_good());
        drop(health);
        let (provider, network) = (self.name(), self.chain.network);
        if was_good && !is_good {
            self.labels.up(false);
            tracing::warn!(provider, network, method, failures, error = %failure, "provider is unhealthy");
        } else {
            tracing::debug!(provider, network, method, failures, error = %failure, "provider failed");
        }
    }
}

impl Health {
    const fn is_good(&self) -> bool {
        self.failures_in_a_row < FAILURES_UNHEALTHY && !matches!(self.chain, ChainCheck::Wrong(_))
    }
}
