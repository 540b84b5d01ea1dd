//! What is wrong with a provider, by name, and since when.

use std::collections::BTreeMap;
use std::fmt;

use portcullis_core::time::Timestamp;

use crate::failure::RpcFailure;

/// How long after its last occurrence a fault of single exchanges counts as over.
pub(crate) const QUIET_MS: i64 = 60_000;

/// Something that is wrong with a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProviderFault {
    /// It gave no answer in time.
    TimedOut,
    /// It could not be reached.
    Unreachable,
    /// It answered with an HTTP status that is no success.
    HttpStatus,
    /// It limits our rate: HTTP 429, or an error inside HTTP 200 that says the same.
    RateLimited,
    /// JSON-RPC errors inside HTTP 200, to reads that have no reason to fail.
    ErrorAnswers,
    /// It left items of a batch unanswered.
    HalfAnswered,
    /// It refused a whole batch.
    BatchRefused,
    /// It answered something else than the method returns, or than was asked.
    Malformed,
    /// It is on another chain.
    WrongChain,
    /// Its newest block is old: by our clock, or compared with the other providers.
    Behind,
    /// It shows another block than the others where they agreed long ago.
    OtherFork,
    /// It tells another transaction count than the others at the same block.
    FalseNonce,
    /// It shows another receipt, or another use of a nonce, than the quorum agrees on.
    Contradiction,
}

impl ProviderFault {
    /// Every fault.
    pub const ALL: [Self; 13] = [
        Self::TimedOut,
        Self::Unreachable,
        Self::HttpStatus,
        Self::RateLimited,
        Self::ErrorAnswers,
        Self::HalfAnswered,
        Self::BatchRefused,
        Self::Malformed,
        Self::WrongChain,
        Self::Behind,
        Self::OtherFork,
        Self::FalseNonce,
        Self::Contradiction,
    ];

    /// A short stable name, for metrics, logs and `/readyz`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::HttpStatus => "http_status",
            Self::RateLimited => "rate_limited",
            Self::ErrorAnswers => "error_answers",
            Self::HalfAnswered => "half_answered",
            Self::BatchRefused => "batch_refused",
            Self::Malformed => "malformed",
            Self::WrongChain => "wrong_chain",
            Self::Behind => "behind",
            Self::OtherFork => "other_fork",
            Self::FalseNonce => "false_nonce",
            Self::Contradiction => "contradiction",
        }
    }

    /// Whether it is a state that lasts until the provider shows otherwise, and not something of single
    /// exchanges, which is over when it was not seen for a minute. Who is in such a state is asked last.
    #[must_use]
    pub const fn is_standing(self) -> bool {
        matches!(
            self,
            Self::WrongChain
                | Self::Behind
                | Self::OtherFork
                | Self::FalseNonce
                | Self::Contradiction
        )
    }

    /// The fault that a failed exchange shows; `None` where it says nothing against the provider.
    pub(crate) const fn of_failure(failure: &RpcFailure) -> Option<Self> {
        Some(match failure {
            RpcFailure::Timeout => Self::TimedOut,
            RpcFailure::RateLimited { .. } => Self::RateLimited,
            RpcFailure::Http { .. } => Self::HttpStatus,
            RpcFailure::Transport(_) => Self::Unreachable,
            RpcFailure::BatchRefused { .. } => Self::BatchRefused,
            RpcFailure::Missing => Self::HalfAnswered,
            RpcFailure::Malformed(_) => Self::Malformed,
            RpcFailure::WrongChain { .. } => Self::WrongChain,
            RpcFailure::Rpc { .. }
            | RpcFailure::Contract(_)
            | RpcFailure::Moved(_)
            | RpcFailure::CircuitOpen { .. }
            | RpcFailure::Throttled { .. }
            | RpcFailure::NoProvider => return None,
        })
    }
}

impl fmt::Display for ProviderFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A fault that lasts, for `/readyz` and for who looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultReport {
    /// Which.
    pub fault: ProviderFault,
    /// Since when.
    pub since: Timestamp,
    /// When it was seen last.
    pub last_seen_at: Timestamp,
    /// How often it was seen since then.
    pub count: u64,
    /// What was seen last, in words without secrets.
    pub detail: String,
}

/// The faults that last.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultBook(BTreeMap<ProviderFault, FaultReport>);

impl FaultBook {
    /// Records an occurrence; whether the fault begins with it.
    pub(crate) fn raise(&mut self, fault: ProviderFault, now: Timestamp, detail: &str) -> bool {
        if let Some(report) = self.0.get_mut(&fault) {
            report.last_seen_at = now;
            report.count = report.count.saturating_add(1);
            detail.clone_into(&mut report.detail);
            return false;
        }
        let detail = detail.to_owned();
        let report = FaultReport { fault, since: now, last_seen_at: now, count: 1, detail };
        self.0.insert(fault, report);
        true
    }

    /// The provider showed that it is over; whether it lasted until now.
    pub(crate) fn clear(&mut self, fault: ProviderFault) -> bool {
        self.0.remove(&fault).is_some()
    }

    /// Takes out the faults of single exchanges that were not seen for a while.
    pub(crate) fn take_quiet(&mut self, now: Timestamp) -> Vec<ProviderFault> {
        let quiet: Vec<ProviderFault> =
            self.0.values().filter(|report| is_quiet(report, now)).map(|it| it.fault).collect();
        for fault in &quiet {
            self.0.remove(fault);
        }
        quiet
    }

    pub(crate) fn lasting(&self, now: Timestamp) -> Vec<FaultReport> {
        self.0.values().filter(|report| !is_quiet(report, now)).cloned().collect()
    }

    /// Whether the provider is in a state in which others are better asked.
    pub(crate) fn is_suspect(&self) -> bool {
        self.0.keys().any(|fault| fault.is_standing())
    }
}

fn is_quiet(report: &FaultReport, now: Timestamp) -> bool {
    !report.fault.is_standing() && now.millis_since(report.last_seen_at) >= QUIET_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_repetition_is_counted_and_is_no_beginning() {
        let mut book = FaultBook::default();
        assert!(book.raise(ProviderFault::RateLimited, at(0), "first"));
        assert!(!book.raise(ProviderFault::RateLimited, at(5_000), "second"));
        let [report] = &book.lasting(at(5_000))[..] else { panic!("one fault") };
        assert_eq!((report.since, report.last_seen_at, report.count), (at(0), at(5_000), 2));
        assert_eq!(report.detail, "second");
        assert!(!book.is_suspect());
    }

    #[test]
    fn faults_of_exchanges_end_by_quiet_and_standing_ones_by_evidence() {
        let mut book = FaultBook::default();
        book.raise(ProviderFault::TimedOut, at(0), "");
        book.raise(ProviderFault::Behind, at(0), "");
        assert!(book.is_suspect());
        assert_eq!(book.take_quiet(at(QUIET_MS - 1)), []);
        assert_eq!(book.lasting(at(QUIET_MS)).len(), 1, "not shown, also before it is taken out");
        assert_eq!(book.take_quiet(at(QUIET_MS)), [ProviderFault::TimedOut]);
        assert!(book.raise(ProviderFault::TimedOut, at(QUIET_MS), ""), "it begins anew");
        assert!(book.clear(ProviderFault::Behind));
        assert!(!book.clear(ProviderFault::Behind));
        assert!(!book.is_suspect());
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = ProviderFault::ALL.map(ProviderFault::as_str).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ProviderFault::ALL.len());
    }
}
