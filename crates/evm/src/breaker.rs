//! A circuit breaker as a plain state machine: the time and chance are given to it.

use portcullis_core::time::Timestamp;

/// Failures in a row that open a closed breaker.
pub(crate) const FAILURES_TO_OPEN: u32 = 3;

/// How long the first opening lasts; each further one in a row lasts twice as long.
pub(crate) const OPEN_MS_FIRST: i64 = 1_000;

/// The longest opening, without jitter: how late at most a provider that is back is noticed.
pub(crate) const OPEN_MS_MOST: i64 = 16_000;

/// Where a provider's breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// The provider is asked. Next: `Open` after several failures in a row.
    Closed,
    /// It is left alone for a while. Next: `HalfOpen` when the time is over.
    Open,
    /// One question is, or may be, on its way. Next: `Closed` when it is answered, else `Open` for twice as long.
    HalfOpen,
}

impl BreakerState {
    /// A short stable name, for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Whether a question may be asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// As usual.
    Pass,
    /// As the one trial of a half-open breaker.
    Trial,
    /// Not now.
    Refused {
        /// How long it stays so.
        retry_in_ms: i64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    Closed,
    Open {
        since: Timestamp,
        until: Timestamp,
        /// Openings in a row, this one counted.
        openings: u32,
    },
    /// The trial is under way.
    Trying {
        openings: u32,
    },
}

/// The breaker.
#[derive(Clone, Debug)]
pub(crate) struct Breaker {
    position: Position,
    failures_in_a_row: u32,
}

impl Breaker {
    pub(crate) const fn new() -> Self {
        Self { position: Position::Closed, failures_in_a_row: 0 }
    }

    pub(crate) const fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row
    }

    pub(crate) fn state(&self, now: Timestamp) -> BreakerState {
        match self.position {
            Position::Closed => BreakerState::Closed,
            Position::Open { since, until, .. } if !is_over(since, until, now) => {
                BreakerState::Open
            }
            Position::Open { .. } | Position::Trying { .. } => BreakerState::HalfOpen,
        }
    }

    /// Until when nothing is asked; `None` while it is closed or a trial is under way.
    pub(crate) fn open_until(&self, now: Timestamp) -> Option<Timestamp> {
        match self.position {
            Position::Open { since, until, .. } if !is_over(since, until, now) => Some(until),
            _ => None,
        }
    }

    /// Opens a closed one until then, because somebody else found the provider failing; never for longer than it would
    /// open by itself. The next question after it is a trial.
    pub(crate) fn leave_alone(&mut self, now: Timestamp, until: Timestamp) {
        if matches!(self.position, Position::Closed) {
            let until = until.min(now.plus_millis(OPEN_MS_MOST));
            self.position = Position::Open { since: now, until, openings: 1 };
        }
    }

    /// What [`Self::admit`] would say, without beginning a trial.
    pub(crate) fn would_admit(&self, now: Timestamp) -> Admission {
        match self.position {
            Position::Closed => Admission::Pass,
            Position::Trying { .. } => Admission::Refused { retry_in_ms: 0 },
            Position::Open { since, until, .. } if is_over(since, until, now) => Admission::Trial,
            Position::Open { until, .. } => {
                Admission::Refused { retry_in_ms: until.millis_since(now) }
            }
        }
    }

    /// Whether a question may be asked. A trial has to be ended: by a success, a failure, or
    /// [`Self::abandoned`].
    pub(crate) fn admit(&mut self, now: Timestamp) -> Admission {
        let admission = self.would_admit(now);
        if let (Admission::Trial, Position::Open { openings, .. }) = (admission, self.position) {
            self.position = Position::Trying { openings };
        }
        admission
    }

    /// The provider answered. An answer that was asked for before the opening closes nothing.
    pub(crate) const fn succeeded(&mut self) {
        if !matches!(self.position, Position::Open { .. }) {
            *self = Self::new();
        }
    }

    /// The provider failed. `chance` is any number: it makes the opening up to a quarter longer, so that many
    /// processes do not come back at the same moment.
    pub(crate) fn failed(&mut self, now: Timestamp, chance: u128) {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let openings = match self.position {
            Position::Closed if self.failures_in_a_row < FAILURES_TO_OPEN => return,
            Position::Closed => 1,
            Position::Trying { openings } => openings.saturating_add(1),
            // One of before the opening.
            Position::Open { .. } => return,
        };
        let doublings = openings.saturating_sub(1).min(30);
        let open_ms = OPEN_MS_FIRST.saturating_mul(1 << doublings).min(OPEN_MS_MOST);
        let parts = u128::from(open_ms.unsigned_abs() / 4).saturating_add(1);
        let jitter_ms = i64::try_from(chance.checked_rem(parts).unwrap_or(0)).unwrap_or(0);
        let until = now.plus_millis(open_ms.saturating_add(jitter_ms));
        self.position = Position::Open { since: now, until, openings };
    }

    /// Whoever made the trial went away without an answer: the next one may try.
    pub(crate) const fn abandoned(&mut self, now: Timestamp) {
        if let Position::Trying { openings } = self.position {
            self.position = Position::Open { since: now, until: now, openings };
        }
    }
}

/// A clock that went back to before the opening ends it: else it would last as long as the jump.
fn is_over(since: Timestamp, until: Timestamp, now: Timestamp) -> bool {
    now >= until || now < since
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens to the breaker in a row of the table, at a time.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Fail,
        Succeed,
        Abandon,
        Admit(Admission),
        /// Nothing: only the state is looked at.
        Look,
    }

    use BreakerState::{Closed, HalfOpen, Open};
    use Step::{Abandon, Admit, Fail, Look, Succeed};

    const fn refused(retry_in_ms: i64) -> Step {
        Admit(Admission::Refused { retry_in_ms })
    }

    const PASS: Step = Admit(Admission::Pass);
    const TRIAL: Step = Admit(Admission::Trial);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn run(table: &[(i64, Step, BreakerState)]) {
        let mut breaker = Breaker::new();
        for (row, (millis, step, after)) in table.iter().enumerate() {
            let now = at(*millis);
            match step {
                Fail => breaker.failed(now, 0),
                Succeed => breaker.succeeded(),
                Abandon => breaker.abandoned(now),
                Admit(expected) => assert_eq!(breaker.admit(now), *expected, "row {row}"),
                Look => {}
            }
            assert_eq!(breaker.state(now), *after, "row {row}: {step:?} at {millis}");
        }
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_does_not() {
        run(&[
            (0, PASS, Closed),
            (0, Fail, Closed),
            (0, Fail, Closed),
            (0, Succeed, Closed),
            (1, Fail, Closed),
            (1, Fail, Closed),
            (1, PASS, Closed),
            (2, Fail, Open),
            (2, refused(1_000), Open),
            (1_001, refused(1), Open),
            (1_002, Look, HalfOpen),
        ]);
    }

    #[test]
    fn one_trial_closes_it_or_opens_it_for_twice_as_long() {
        run(&[
            (0, Fail, Closed),
            (0, Fail, Closed),
            (0, Fail, Open),
            (1_000, TRIAL, HalfOpen),
            (1_000, refused(0), HalfOpen),
            (1_500, Fail, Open),
            (1_500, refused(2_000), Open),
            (3_500, TRIAL, HalfOpen),
            (3_500, Fail, Open),
            (7_499, refused(1), Open),
            (7_500, TRIAL, HalfOpen),
            (7_600, Succeed, Closed),
            (7_600, PASS, Closed),
            // A new series begins at the shortest opening.
            (8_000, Fail, Closed),
            (8_000, Fail, Closed),
            (8_000, Fail, Open),
            (9_000, TRIAL, HalfOpen),
        ]);
    }

    #[test]
    fn stragglers_of_before_the_opening_change_nothing() {
        run(&[
            (0, Fail, Closed),
            (0, Fail, Closed),
            (0, Fail, Open),
            (10, Succeed, Open),
            (20, Fail, Open),
            (20, refused(980), Open),
            (1_000, TRIAL, HalfOpen),
        ]);
    }

    #[test]
    fn an_abandoned_trial_leaves_the_next_one_free_and_counts_for_nothing() {
        run(&[
            (0, Abandon, Closed),
            (0, Fail, Closed),
            (0, Fail, Closed),
            (0, Fail, Open),
            (1_000, TRIAL, HalfOpen),
            (1_100, Abandon, HalfOpen),
            (1_100, TRIAL, HalfOpen),
            (1_200, Fail, Open),
            (1_200, refused(2_000), Open),
        ]);
    }

    #[test]
    fn a_clock_that_goes_back_does_not_lengthen_an_opening() {
        run(&[
            (9_000_000, Fail, Closed),
            (9_000_000, Fail, Closed),
            (9_000_000, Fail, Open),
            (5_000, TRIAL, HalfOpen),
            (5_000, Succeed, Closed),
        ]);
    }

    #[test]
    fn what_others_found_opens_a_closed_one_for_a_bounded_time() {
        let mut breaker = Breaker::new();
        breaker.leave_alone(at(0), at(900_000));
        assert_eq!(breaker.open_until(at(0)), Some(at(OPEN_MS_MOST)));
        assert_eq!(breaker.admit(at(OPEN_MS_MOST)), Admission::Trial);
        breaker.leave_alone(at(OPEN_MS_MOST), at(900_000));
        breaker.succeeded();
        assert_eq!(breaker.admit(at(OPEN_MS_MOST)), Admission::Pass, "a trial is not disturbed");
        assert_eq!(breaker.open_until(at(OPEN_MS_MOST)), None);
    }

    #[test]
    fn openings_are_bounded_and_jitter_adds_at_most_a_quarter() {
        let opened_for = |openings: u32, chance: u128| {
            let mut breaker =
                Breaker { position: Position::Trying { openings }, failures_in_a_row: 9 };
            breaker.failed(at(0), chance);
            match breaker.would_admit(at(0)) {
                Admission::Refused { retry_in_ms } => retry_in_ms,
                other => panic!("{other:?}"),
            }
        };
        let lengths: Vec<i64> = (0..7).map(|openings| opened_for(openings, 0)).collect();
        assert_eq!(lengths, [1_000, 2_000, 4_000, 8_000, 16_000, 16_000, 16_000]);
        assert_eq!(opened_for(u32::MAX, 0), OPEN_MS_MOST);
        assert_eq!(opened_for(0, 250), 1_250);
        assert_eq!(opened_for(0, 251), 1_000);
        for chance in [1, 77, u128::MAX] {
            assert!((16_000..=20_000).contains(&opened_for(9, chance)));
        }
    }
}
