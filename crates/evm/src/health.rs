//! How a provider fares: what every exchange says about it, and what follows for who is asked next.

use portcullis_core::chain::ChainSpec;
use portcullis_core::time::Timestamp;

use crate::breaker::{Admission, Breaker, BreakerState};
use crate::chain_types::HeadBlock;
use crate::fault::{FaultBook, FaultReport, ProviderFault};
use crate::provider::Provider;
use crate::rate_limit::Throttle;
use crate::score::Score;
use crate::upstream::Upstream;

/// A newest block older than this, by our clock, is old on every chain. Our clock may be wrong by less.
const OLD_MS_MIN: i64 = 300_000;

/// A newest block that much older than that of the other providers is behind.
const BEHIND_MS_MIN: i64 = 60_000;

/// The same in blocks, for slow chains.
const BEHIND_BLOCKS: i64 = 40;

/// How a provider fares. For `/readyz`, metrics and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderStatus {
    /// Its name.
    pub name: String,
    /// Who runs it.
    pub operator: String,
    /// Whether it is asked: its breaker is closed, and it is not known to be on a wrong chain.
    pub healthy: bool,
    /// What its chain id was found to be.
    pub chain: ChainCheck,
    /// Where its breaker stands.
    pub breaker: BreakerState,
    /// What is wrong with it now.
    pub faults: Vec<FaultReport>,
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
    /// The moving average of it.
    pub latency_average_ms: Option<u64>,
    /// The share of questions that failed lately.
    pub error_percent: u64,
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

/// What is remembered of a provider.
#[derive(Debug)]
pub(crate) struct Health {
    pub(crate) chain: ChainCheck,
    pub(crate) chain_checked_at: Option<Timestamp>,
    pub(crate) breaker: Breaker,
    pub(crate) score: Score,
    pub(crate) faults: FaultBook,
    pub(crate) throttle: Throttle,
    last_error: Option<(String, Timestamp)>,
    last_answer_at: Option<Timestamp>,
    latency_ms: Option<u64>,
    pub(crate) head: Option<HeadBlock>,
}

impl Health {
    pub(crate) fn new(provider: &Provider) -> Self {
        Self {
            chain: ChainCheck::Unchecked,
            chain_checked_at: None,
            breaker: Breaker::new(),
            score: Score::default(),
            faults: FaultBook::default(),
            throttle: Throttle::new(provider.requests_per_second()),
            last_error: None,
            last_answer_at: None,
            latency_ms: None,
            head: None,
        }
    }

    const fn is_wrong(&self) -> bool {
        matches!(self.chain, ChainCheck::Wrong(_))
    }

    fn is_good(&self, now: Timestamp) -> bool {
        self.breaker.state(now) == BreakerState::Closed && !self.is_wrong()
    }

    pub(crate) fn answered(&mut self, now: Timestamp, latency_ms: u64, is_recovery: bool) {
        if is_recovery {
            self.breaker.succeeded();
        }
        self.last_answer_at = Some(now);
        self.latency_ms = Some(latency_ms);
        self.score.answered(now, latency_ms);
    }

    /// The last failure, for an error that says why nobody was asked.
    pub(crate) fn last_words(&self) -> String {
        let words = self.last_error.as_ref().map(|(words, _)| words.clone());
        words.unwrap_or_else(|| "failed before".to_owned())
    }

    pub(crate) fn remember_error(&mut self, now: Timestamp, words: String) {
        self.last_error = Some((words, now));
    }
}

/// Who is asked first: fewer is better. Standing faults come before any latency.
pub(crate) type Rank = (bool, u64);

impl Upstream {
    /// How it fares.
    #[must_use]
    pub fn status(&self) -> ProviderStatus {
        let now = self.now();
        let health = self.health();
        ProviderStatus {
            name: self.name().to_owned(),
            operator: self.operator().to_owned(),
            healthy: health.is_good(now),
            chain: health.chain,
            breaker: health.breaker.state(now),
            faults: health.faults.lasting(now),
            failures_in_a_row: health.breaker.failures_in_a_row(),
            last_error: health.last_error.as_ref().map(|(text, _)| text.clone()),
            last_error_at: health.last_error.as_ref().map(|(_, at)| *at),
            last_answer_at: health.last_answer_at,
            latency_ms: health.latency_ms,
            latency_average_ms: health.score.latency_average_ms(),
            error_percent: health.score.error_percent(now),
            head_number: health.head.map(|head| head.number),
        }
    }

    pub(crate) fn rank(&self) -> Rank {
        let now = self.now();
        let health = self.health();
        (health.faults.is_suspect(), health.score.rank(now))
    }

    pub(crate) fn is_wrong_chain(&self) -> bool {
        self.health().is_wrong()
    }

    /// Whether its breaker lets a question through now.
    pub(crate) fn is_open_to_questions(&self) -> bool {
        let now = self.now();
        !matches!(self.health().breaker.would_admit(now), Admission::Refused { .. })
    }

    pub(crate) fn known_head(&self) -> Option<u64> {
        self.health().head.map(|head| head.number)
    }

    /// Records a fault. It is told when it begins, not at every repetition.
    pub(crate) fn raise(&self, fault: ProviderFault, detail: &str) {
        let now = self.now();
        let begins = self.health().faults.raise(fault, now, detail);
        if begins || !fault.is_standing() {
            self.labels.fault(fault.as_str());
        }
        if begins {
            self.labels.fault_lasts(fault.as_str(), true);
            let (provider, network) = (self.name(), self.chain.network);
            tracing::warn!(
                provider,
                network,
                fault = fault.as_str(),
                detail,
                "a provider's fault begins"
            );
        }
    }

    /// The provider showed that a fault is over.
    pub(crate) fn clear(&self, fault: ProviderFault) {
        if self.health().faults.clear(fault) {
            self.tell_end(fault);
        }
    }

    /// Ends the faults that were not seen for a while.
    pub(crate) fn end_quiet_faults(&self) {
        let now = self.now();
        let quiet = self.health().faults.take_quiet(now);
        for fault in quiet {
            self.tell_end(fault);
        }
    }

    fn tell_end(&self, fault: ProviderFault) {
        self.labels.fault_lasts(fault.as_str(), false);
        let (provider, network) = (self.name(), self.chain.network);
        tracing::info!(provider, network, fault = fault.as_str(), "a provider's fault is over");
    }

    /// A head that it showed as its newest.
    pub(crate) fn note_head(&self, head: HeadBlock) {
        self.health().head = Some(head);
        self.labels.head(head.number);
        if !has_steady_blocks(self.chain) {
            return;
        }
        let age_ms = self.now().millis_since(Timestamp::from_millis(head.timestamp_ms));
        if age_ms >= OLD_MS_MIN.max(blocks_ms(self.chain)) {
            let (number, seconds) = (head.number, age_ms / 1_000);
            self.raise(
                ProviderFault::Behind,
                &format!("its newest block {number} is {seconds} s old by our clock"),
            );
        }
    }

    /// Compares the newest block that it showed with the one that the providers agree on.
    pub(crate) fn compare_head(&self, head: &HeadBlock, agreed: &HeadBlock) {
        let lag_ms = agreed.timestamp_ms.saturating_sub(head.timestamp_ms);
        if lag_ms >= BEHIND_MS_MIN.max(blocks_ms(self.chain)) && head.number < agreed.number {
            let (number, seconds) = (head.number, lag_ms / 1_000);
            let others = agreed.number;
            self.raise(
                ProviderFault::Behind,
                &format!(
                    "its newest block {number} is {seconds} s older than {others} of the others"
                ),
            );
            return;
        }
        let age_ms = self.now().millis_since(Timestamp::from_millis(head.timestamp_ms));
        if !has_steady_blocks(self.chain) || age_ms < OLD_MS_MIN.max(blocks_ms(self.chain)) {
            self.clear(ProviderFault::Behind);
        }
    }
}

fn blocks_ms(chain: &ChainSpec) -> i64 {
    i64::try_from(chain.block_time_ms).unwrap_or(i64::MAX).saturating_mul(BEHIND_BLOCKS)
}

/// The local development chain makes blocks when there is something to put into them: its head may be old. It
/// is the one that is content with a single provider.
const fn has_steady_blocks(chain: &ChainSpec) -> bool {
    chain.release_quorum_min > 1
}
