//! Stops asking a server that does not answer, so that what it is asked for never waits for it twice.

use portcullis_core::time::Timestamp;

/// Failures in a row that open it.
const FAILURES_TO_OPEN: u32 = 3;
/// How long it is open at first; doubled each time.
const OPEN_MS_FIRST: i64 = 500;
/// How long it is open at most.
const OPEN_MS_MOST: i64 = 8_000;

/// The breaker.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    failures: u32,
    openings: u32,
    /// Nothing is asked before; one question is, after.
    closed_until: Option<Timestamp>,
    failing_since: Option<Timestamp>,
    why: String,
}

impl Breaker {
    /// Whether the server may be asked. While it is open one question a time goes through, and the next only
    /// after `trial_ms`.
    pub(crate) fn admit(&mut self, now: Timestamp, trial_ms: i64) -> bool {
        match self.closed_until {
            None => true,
            Some(until) if now < until && until.millis_since(now) <= OPEN_MS_MOST => false,
            Some(_) => {
                self.closed_until = Some(now.plus_millis(trial_ms));
                true
            }
        }
    }

    /// The server answered; returns whether it had not before.
    pub(crate) fn succeeded(&mut self) -> bool {
        let was_failing = self.closed_until.is_some();
        *self = Self::default();
        was_failing
    }

    /// The server did not answer; returns whether this opened it.
    pub(crate) fn failed(&mut self, now: Timestamp, why: String) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(now);
        self.why = why;
        if self.failures < FAILURES_TO_OPEN {
            return false;
        }
        let open_ms = OPEN_MS_FIRST.saturating_mul(1 << self.openings.min(10)).min(OPEN_MS_MOST);
        self.openings = self.openings.saturating_add(1);
        self.closed_until.replace(now.plus_millis(open_ms)).is_none()
    }

    /// Since when it is open, and what was seen last.
    pub(crate) fn trouble(&self) -> Option<(Timestamp, String)> {
        self.closed_until?;
        Some((self.failing_since?, self.why.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn three_failures_open_it_and_one_answer_closes_it() {
        let mut breaker = Breaker::default();
        for failure in 1..=3 {
            assert!(breaker.admit(at(0), 200));
            assert_eq!(breaker.failed(at(0), "gone".to_owned()), failure == 3);
        }
        assert_eq!(breaker.trouble(), Some((at(0), "gone".to_owned())));
        assert!(!breaker.admit(at(499), 200));
        assert!(breaker.admit(at(500), 200), "one question");
        assert!(!breaker.admit(at(501), 200), "and no second one beside it");
        assert!(!breaker.failed(at(600), "still gone".to_owned()));
        assert!(!breaker.admit(at(1_599), 200), "open for twice as long");
        assert!(breaker.admit(at(1_600), 200));
        assert!(breaker.succeeded());
        assert!(breaker.admit(at(1_600), 200));
        assert_eq!(breaker.trouble(), None);
    }

    #[test]
    fn a_clock_that_goes_back_does_not_lengthen_an_opening() {
        let mut breaker = Breaker::default();
        for _ in 0..3 {
            breaker.failed(at(9_000_000), String::new());
        }
        assert!(breaker.admit(at(5), 200));
    }
}
