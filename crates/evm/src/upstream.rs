//! A provider in use: asked in bounded batches, checked for its chain, watched for its health.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use alloy_primitives::{B256, Bytes};
use portcullis_core::chain::ChainSpec;
use portcullis_core::time::{Clock, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::breaker::{Admission, BreakerState};
use crate::chain_types::HeadBlock;
use crate::classify::{SendOutcome, classify_send};
use crate::exchange::{Answer, Questions, exchange};
use crate::failure::{ReadError, RpcFailure};
use crate::fault::ProviderFault;
use crate::health::{ChainCheck, Health};
use crate::pool::PoolLimits;
use crate::provider::Provider;
use crate::telemetry::Labels;
use crate::wire::{decode, decode_u64};

const CHAIN_ID: &str = "eth_chainId";

const HEAD: &str = "eth_getBlockByNumber";

/// How long an exchange of a trial may take at most: nobody waits long for a provider that failed just now.
const TRIAL_MS_MAX: u64 = 2_000;

/// Methods whose JSON-RPC errors speak of what was asked (a call, a transaction, a range), or that not every
/// node has. Errors of all others are faults of the provider.
const ERRORS_ARE_ANSWERS: [&str; 6] = [
    "eth_call",
    "eth_estimateGas",
    "eth_createAccessList",
    "eth_sendRawTransaction",
    "eth_getLogs",
    "eth_maxPriorityFeePerGas",
];

/// A source of chance for the breakers: any 128 bits a call.
pub(crate) type Chance = Arc<dyn Fn() -> u128 + Send + Sync>;

/// One provider of a pool. Its typed reads are in the modules `read_chain` and `read_account`, what it says
/// about its health in `health`.
#[derive(Debug)]
pub struct Upstream {
    provider: Provider,
    pub(crate) chain: &'static ChainSpec,
    around: Around,
    batch_items_max: usize,
    throttle_wait_ms_max: i64,
    pub(crate) labels: Labels,
    health: Mutex<Health>,
}

/// Time and chance.
#[derive(Clone)]
pub(crate) struct Around {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) chance: Arc<OnceLock<Chance>>,
}

impl std::fmt::Debug for Around {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Around")
    }
}

/// The leave to ask. Dropped without a verdict, a trial is free for the next one.
struct Leave<'a> {
    upstream: &'a Upstream,
    is_trial: bool,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.is_trial {
            let now = self.upstream.now();
            self.upstream.health().breaker.abandoned(now);
        }
    }
}

impl Upstream {
    pub(crate) fn new(
        provider: Provider,
        chain: &'static ChainSpec,
        around: Around,
        limits: PoolLimits,
    ) -> Self {
        let labels = Labels { network: chain.network, provider: provider.name().to_owned() };
        let health = Mutex::new(Health::new(&provider));
        let own = provider.batch_items_max().unwrap_or(usize::MAX);
        // A batch is never more than a second's worth: a larger one would never find room.
        let rate = provider.requests_per_second().unwrap_or(u32::MAX);
        let rate = usize::try_from(rate).unwrap_or(usize::MAX);
        let batch_items_max = limits.batch_items_max.min(own).min(rate).max(1);
        let throttle_wait_ms_max = i64::try_from(limits.throttle_wait_ms_max).unwrap_or(i64::MAX);
        labels.breaker(BreakerState::Closed);
        Self { provider, chain, around, batch_items_max, throttle_wait_ms_max, labels, health }
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

    pub(crate) fn now(&self) -> Timestamp {
        self.around.clock.now()
    }

    pub(crate) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the chain id now, whatever was known of it, and whatever its breaker says.
    ///
    /// # Errors
    /// [`RpcFailure::WrongChain`], or why the node did not answer.
    pub async fn check_chain_id(&self) -> Result<(), ReadError> {
        self.read_chain_id(self.provider.timeout()).await
    }

    async fn read_chain_id(&self, timeout: Option<Duration>) -> Result<(), ReadError> {
        let answers = self.exchange_once(Questions::Of(CHAIN_ID, &[json!([])]), timeout).await;
        let answer = answers.into_iter().next().unwrap_or(Err(RpcFailure::Missing));
        let raw = answer.map_err(|failure| self.read_error(CHAIN_ID, failure))?;
        let actual = decode_u64(&raw).map_err(|failure| self.note_bad_answer(CHAIN_ID, failure))?;
        let (expected, now) = (self.chain.chain_id, self.now());
        let check =
            if actual == expected { ChainCheck::Verified } else { ChainCheck::Wrong(actual) };
        let mut health = self.health();
        health.chain = check;
        health.chain_checked_at = Some(now);
        let state = health.breaker.state(now);
        drop(health);
        if actual == expected {
            self.clear(ProviderFault::WrongChain);
            self.labels.up(state == BreakerState::Closed);
            return Ok(());
        }
        let failure = RpcFailure::WrongChain { expected, actual };
        self.health().remember_error(now, failure.to_string());
        self.raise(ProviderFault::WrongChain, &failure.to_string());
        self.labels.up(false);
        Err(self.read_error(CHAIN_ID, failure))
    }

    /// When the chain id was last asked for and answered.
    pub(crate) fn chain_checked_at(&self) -> Option<Timestamp> {
        self.health().chain_checked_at
    }

    async fn ensure_chain(&self, leave: &Leave<'_>) -> Result<(), RpcFailure> {
        let known = self.health().chain;
        match known {
            ChainCheck::Verified => Ok(()),
            ChainCheck::Unchecked => {
                self.find_room(1).await?;
                let checked = self.read_chain_id(self.timeout(leave)).await;
                checked.map_err(|error| error.failure)
            }
            ChainCheck::Wrong(actual) => {
                let expected = self.chain.chain_id;
                Err(RpcFailure::WrongChain { expected, actual })
            }
        }
    }

    /// Whether its breaker lets a question through.
    fn leave(&self) -> Result<Leave<'_>, RpcFailure> {
        let now = self.now();
        let mut health = self.health();
        let admission = health.breaker.admit(now);
        let cause = health.last_words();
        drop(health);
        match admission {
            Admission::Pass => Ok(Leave { upstream: self, is_trial: false }),
            Admission::Trial => {
                self.labels.breaker(BreakerState::HalfOpen);
                Ok(Leave { upstream: self, is_trial: true })
            }
            Admission::Refused { retry_in_ms } => {
                let retry_after_ms = u64::try_from(retry_in_ms).unwrap_or(0);
                Err(RpcFailure::CircuitOpen { cause, retry_after_ms })
            }
        }
    }

    /// Waits until there is room for `count` requests under its limits, if that is soon.
    async fn find_room(&self, count: usize) -> Result<(), RpcFailure> {
        let now = self.now();
        let taken = self.health().throttle.take(now, count, self.throttle_wait_ms_max);
        match taken {
            Ok(0) => Ok(()),
            Ok(wait_ms) => {
                let wait_ms = u64::try_from(wait_ms).unwrap_or(0);
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                Ok(())
            }
            Err(wait_ms) => {
                let retry_after_ms = u64::try_from(wait_ms).unwrap_or(0);
                Err(RpcFailure::Throttled { retry_after_ms })
            }
        }
    }

    fn timeout(&self, leave: &Leave<'_>) -> Option<Duration> {
        let limit = self.provider.timeout()?;
        let trial = Duration::from_millis(TRIAL_MS_MAX);
        Some(if leave.is_trial { limit.min(trial) } else { limit })
    }

    /// Its newest block, with less patience than for an ordinary read: who does not answer in `patience_ms` has failed.
    pub(crate) async fn look(&self, patience_ms: u64) -> Result<HeadBlock, ReadError> {
        let patience = Duration::from_millis(patience_ms);
        // Whoever has no time limit may have no timer either.
        if self.provider.timeout().is_none_or(|limit| limit <= patience) {
            return self.head().await;
        }
        match tokio::time::timeout(patience, self.head()).await {
            Ok(head) => head,
            Err(_elapsed) => {
                self.note_failure(HEAD, &RpcFailure::Timeout);
                Err(self.read_error(HEAD, RpcFailure::Timeout))
            }
        }
    }

    /// Sends signed bytes, in order and in as few batches as possible. One outcome each.
    ///
    /// Nothing is sent twice: what a batch left unanswered is [`SendOutcome::Unknown`].
    ///
    /// # Errors
    /// When nothing at all was sent: on a wrong chain, while it is left alone, without room.
    pub async fn send(
        &self,
        transactions: &[(B256, Bytes)],
    ) -> Result<Vec<SendOutcome>, ReadError> {
        const METHOD: &str = "eth_sendRawTransaction";
        let params: Vec<Value> = transactions.iter().map(|(_, raw)| json!([raw])).collect();
        let answers = self.ask_chunks(Questions::Of(METHOD, &params), false).await;
        let answers = answers.map_err(|failure| self.read_error(METHOD, failure))?;
        let outcomes = transactions.iter().zip(answers).map(|((hash, _), answer)| {
            let outcome = classify_send(*hash, &answer.and_then(|raw| decode::<B256>(&raw)));
            self.note_outcome(*hash, &outcome);
            outcome
        });
        Ok(outcomes.collect())
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
        self.ask_all(Questions::Of(method, params)).await
    }

    /// The same with questions of several methods, in as few batches as possible.
    pub(crate) async fn ask_all(&self, questions: Questions<'_>) -> Vec<Answer> {
        let answers = self.ask_chunks(questions, true).await;
        answers.unwrap_or_else(|failure| vec![Err(failure); questions.len()])
    }

    /// `Err` where nothing was asked at all. When leave or room ends on the way, what is left fails alike.
    async fn ask_chunks(
        &self,
        questions: Questions<'_>,
        may_repeat: bool,
    ) -> Result<Vec<Answer>, RpcFailure> {
        let mut answers: Vec<Answer> = Vec::with_capacity(questions.len());
        if questions.len() == 0 {
            return Ok(answers);
        }
        let leave = self.leave()?;
        for chunk in questions.chunks(self.batch_items_max) {
            match self.ask_chunk(&leave, chunk, may_repeat).await {
                Ok(part) => answers.extend(part),
                Err(failure) if answers.is_empty() => return Err(failure),
                Err(failure) => {
                    let left = questions.len().saturating_sub(answers.len());
                    answers.extend(vec![Err(failure); left]);
                    break;
                }
            }
        }
        Ok(answers)
    }

    async fn ask_chunk(
        &self,
        leave: &Leave<'_>,
        chunk: Questions<'_>,
        may_repeat: bool,
    ) -> Result<Vec<Answer>, RpcFailure> {
        self.ensure_chain(leave).await?;
        self.find_room(chunk.len()).await?;
        let mut part = self.exchange_once(chunk, self.timeout(leave)).await;
        let is_missing = |answer: &Answer| matches!(answer, Err(RpcFailure::Missing));
        let missing: Vec<usize> = (0..part.len()).filter(|i| is_missing(&part[*i])).collect();
        if may_repeat && !missing.is_empty() && missing.len() < part.len() {
            let again = chunk.again(&missing);
            self.find_room(again.len()).await?;
            let late = self.exchange_once(Questions::Mixed(&again), self.timeout(leave)).await;
            for (index, answer) in missing.into_iter().zip(late) {
                part[index] = answer;
            }
        }
        Ok(part)
    }

    /// The same, where the whole set is needed: the first failure is the set's.
    pub(crate) async fn ask<T>(
        &self,
        method: &'static str,
        params: &[Value],
        decode: impl Fn(usize, &serde_json::value::RawValue) -> Result<T, RpcFailure>,
    ) -> Result<Vec<T>, ReadError> {
        self.ask_items(method, params, decode).await.into_iter().collect()
    }

    /// The same with each item for itself.
    pub(crate) async fn ask_items<T>(
        &self,
        method: &'static str,
        params: &[Value],
        decode: impl Fn(usize, &serde_json::value::RawValue) -> Result<T, RpcFailure>,
    ) -> Vec<Result<T, ReadError>> {
        let answers = self.ask_each(method, params).await;
        let decoded = answers.into_iter().enumerate().map(|(index, answer)| match answer {
            Ok(raw) => decode(index, &raw).map_err(|failure| self.note_bad_answer(method, failure)),
            Err(failure) => Err(self.read_error(method, failure)),
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

    async fn exchange_once(
        &self,
        questions: Questions<'_>,
        timeout: Option<Duration>,
    ) -> Vec<Answer> {
        // The score goes by the injected clock; the histogram alone wants more than milliseconds.
        let (asked_at, started) = (self.now(), Instant::now());
        let answers = exchange(self.provider.client(), timeout, questions).await;
        match questions {
            Questions::Of(method, params) => self.labels.requests(method, params.len()),
            Questions::Mixed(asked) => {
                for (method, _) in asked {
                    self.labels.requests(method, 1);
                }
            }
        }
        self.labels.duration(questions.name(), started.elapsed());
        let (mut blame, mut refused) = (None, None);
        for (index, answer) in answers.iter().enumerate() {
            let (Err(failure), method) = (answer, questions.method(index)) else { continue };
            self.labels.error(method, failure.kind());
            if failure.blames_provider() {
                blame = blame.or(Some((method, failure)));
            } else if !ERRORS_ARE_ANSWERS.contains(&method) {
                refused = refused.or(Some((method, failure)));
            }
        }
        self.end_quiet_faults();
        match (blame, refused) {
            (Some((method, failure)), _) => self.note_failure(method, failure),
            (None, refused) => {
                self.note_answer(questions.name(), asked_at);
                if let Some((method, failure)) = refused {
                    // It answers, so its breaker stays as it is; others are better asked.
                    self.health().score.failed(asked_at);
                    self.raise(ProviderFault::ErrorAnswers, &format!("{failure} (in {method})"));
                }
            }
        }
        answers
    }

    fn note_answer(&self, method: &'static str, asked_at: Timestamp) {
        let now = self.now();
        let latency_ms = u64::try_from(now.millis_since(asked_at)).unwrap_or(0);
        let mut health = self.health();
        let before = health.breaker.state(now);
        // A check of the chain id precedes the next use after a failure: it alone is no recovery.
        health.answered(now, latency_ms, method != CHAIN_ID);
        let after = health.breaker.state(now);
        drop(health);
        if before != after {
            let (provider, network) = (self.name(), self.chain.network);
            tracing::info!(provider, network, "provider is back");
            self.labels.up(true);
            self.labels.breaker(after);
        }
    }

    fn note_failure(&self, method: &'static str, failure: &RpcFailure) {
        let (now, chance) = (self.now(), self.around.chance.get().map_or(0, |chance| chance()));
        let mut health = self.health();
        let before = health.breaker.state(now);
        health.breaker.failed(now, chance);
        health.score.failed(now);
        health.remember_error(now, failure.to_string());
        if failure.breaks_connection() && health.chain == ChainCheck::Verified {
            health.chain = ChainCheck::Unchecked;
        }
        if let RpcFailure::RateLimited { retry_after_ms: Some(pause_ms) } = failure {
            health.throttle.pause(now, *pause_ms);
        }
        let (failures, after) = (health.breaker.failures_in_a_row(), health.breaker.state(now));
        drop(health);
        if let Some(fault) = ProviderFault::of_failure(failure) {
            self.raise(fault, &format!("{failure} (in {method})"));
        }
        let (provider, network) = (self.name(), self.chain.network);
        if before != after {
            self.labels.breaker(after);
        }
        if before == BreakerState::Closed && after == BreakerState::Open {
            self.labels.up(false);
            tracing::warn!(provider, network, method, failures, error = %failure, "provider is left alone for a while");
        } else {
            tracing::debug!(provider, network, method, failures, error = %failure, "provider failed");
        }
    }
}
