//! Rate limits by GCRA: one instant a key says all of it. Everything is whole microseconds, so that memory and Redis
//! come to the same answers.

use std::time::Duration;

/// So many a second on average, so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Microseconds between two on average.
    pub(crate) interval_us: i64,
    /// The most at once.
    pub(crate) burst: u32,
}

impl Rate {
    /// `per_second` on average and `burst` at once, each at least one.
    #[must_use]
    pub fn per_second(per_second: u32, burst: u32) -> Self {
        let interval_us = 1_000_000_i64.checked_div(i64::from(per_second.max(1))).unwrap_or(1);
        Self { interval_us: interval_us.max(1), burst: burst.max(1) }
    }

    /// The most at once.
    #[must_use]
    pub const fn burst(self) -> u32 {
        self.burst
    }

    /// How long a whole burst takes to come back.
    pub(crate) fn span_us(self) -> i64 {
        self.interval_us.saturating_mul(i64::from(self.burst))
    }

    /// The decision, and the instant that is kept for the key where it was admitted. `free_at_us` is the one that was
    /// kept before.
    pub(crate) fn decide(
        self,
        free_at_us: Option<i64>,
        now_us: i64,
        cost: u32,
    ) -> (Admission, Option<i64>) {
        let from = free_at_us.unwrap_or(now_us).max(now_us);
        let asked = self.interval_us.saturating_mul(i64::from(cost));
        let free_at = from.saturating_add(asked);
        let wait_us = free_at.saturating_sub(self.span_us()).saturating_sub(now_us);
        if wait_us > 0 {
            return (self.admission(false, from.saturating_sub(now_us), wait_us), None);
        }
        (self.admission(true, free_at.saturating_sub(now_us), 0), Some(free_at))
    }

    /// An answer of `taken_us` of the span being taken.
    pub(crate) fn admission(self, is_admitted: bool, taken_us: i64, wait_us: i64) -> Admission {
        let left_us = self.span_us().saturating_sub(taken_us).max(0);
        let remaining = left_us.checked_div(self.interval_us).unwrap_or(0);
        Admission {
            is_admitted,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            retry_after: micros(wait_us),
            whole_again_after: micros(taken_us),
        }
    }
}

/// What a rate limit said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Whether it fits.
    pub is_admitted: bool,
    /// How many more fit now.
    pub remaining: u32,
    /// When to try again; nothing where it was admitted.
    pub retry_after: Duration,
    /// When the whole burst is there again.
    pub whole_again_after: Duration,
}

fn micros(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_there_at_once_and_then_it_drips() {
        let rate = Rate::per_second(10, 3);
        let mut free_at = None;
        // now in microseconds, cost, admitted, remaining, microseconds to wait
        for (row, (now, cost, is_admitted, remaining, wait)) in [
            (0, 1, true, 2, 0),
            (0, 2, true, 0, 0),
            (0, 1, false, 0, 100_000),
            (99_999, 1, false, 0, 1),
            (100_000, 1, true, 0, 0),
            (100_000, 2, false, 0, 200_000),
            (10_000_000, 3, true, 0, 0),
            // More than the burst never fits, and takes nothing.
            (20_000_000, 4, false, 3, 100_000),
            (20_000_000, 3, true, 0, 0),
        ]
        .into_iter()
        .enumerate()
        {
            let (answer, kept) = rate.decide(free_at, now, cost);
            free_at = kept.or(free_at);
            assert_eq!(
                (answer.is_admitted, answer.remaining, answer.retry_after),
                (is_admitted, remaining, Duration::from_micros(wait)),
                "row {row}"
            );
        }
    }

    #[test]
    fn rates_are_never_zero() {
        assert_eq!(Rate::per_second(0, 0), Rate::per_second(1, 1));
        assert_eq!(Rate::per_second(u32::MAX, 1).interval_us, 1);
    }
}
