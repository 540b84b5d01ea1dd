//! What we grant ourselves at a provider: requests per second, and the pauses that it asks for.

use portcullis_core::time::Timestamp;

/// The longest pause that an answer to too many requests can ask for.
const PAUSE_MS_MOST: i64 = 60_000;

/// A token bucket that holds one second's worth and may be overdrawn by who is willing to wait.
#[derive(Clone, Debug)]
struct TokenBucket {
    per_second: u32,
    /// Thousandths of a request; negative is what those who wait have been promised.
    level: i64,
    /// When that was the level; `None` before the first use.
    at: Option<Timestamp>,
}

impl TokenBucket {
    fn new(per_second: u32) -> Self {
        let per_second = per_second.max(1);
        Self { per_second, level: i64::from(per_second).saturating_mul(1_000), at: None }
    }

    fn refill(&mut self, now: Timestamp) {
        // A clock that went back counts as no time passed.
        let elapsed_ms = self.at.map_or(0, |at| now.millis_since(at)).max(0);
        let rate = i64::from(self.per_second);
        let full = rate.saturating_mul(1_000);
        self.level = self.level.saturating_add(elapsed_ms.saturating_mul(rate)).min(full);
        self.at = Some(now);
    }

    /// How long until `count` requests are covered.
    fn wait_ms(&self, count: usize) -> i64 {
        let asked = i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(1_000);
        let lacking = asked.saturating_sub(self.level).max(0);
        let rate = i64::from(self.per_second);
        lacking.saturating_add(rate.saturating_sub(1)).checked_div(rate).unwrap_or(0)
    }

    fn draw(&mut self, count: usize) {
        let asked = i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(1_000);
        self.level = self.level.saturating_sub(asked);
    }
}

/// The limits of one provider.
#[derive(Clone, Debug)]
pub(crate) struct Throttle {
    bucket: Option<TokenBucket>,
    /// When a pause was asked for, and until when.
    pause: Option<(Timestamp, Timestamp)>,
}

impl Throttle {
    pub(crate) fn new(requests_per_second: Option<u32>) -> Self {
        Self { bucket: requests_per_second.map(TokenBucket::new), pause: None }
    }

    /// Takes room for `count` requests. `Ok` says how long to wait before they are sent: the room is taken then.
    /// `Err` says how long it would be, and takes nothing, where that is more than `wait_ms_max`.
    pub(crate) fn take(
        &mut self,
        now: Timestamp,
        count: usize,
        wait_ms_max: i64,
    ) -> Result<i64, i64> {
        let pause_ms = match self.pause {
            Some((since, until)) if now >= since && now < until => until.millis_since(now),
            _ => 0,
        };
        let bucket_ms = self.bucket.as_mut().map_or(0, |bucket| {
            bucket.refill(now);
            bucket.wait_ms(count)
        });
        let wait_ms = pause_ms.max(bucket_ms);
        if wait_ms > wait_ms_max {
            return Err(wait_ms);
        }
        if let Some(bucket) = &mut self.bucket {
            bucket.draw(count);
        }
        Ok(wait_ms)
    }

    /// The provider asked for a pause.
    pub(crate) fn pause(&mut self, now: Timestamp, retry_after_ms: u64) {
        let asked = i64::try_from(retry_after_ms).unwrap_or(i64::MAX).min(PAUSE_MS_MOST);
        self.pause = Some((now, now.plus_millis(asked)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_second_is_there_at_once_and_then_it_drips() {
        let mut throttle = Throttle::new(Some(10));
        // time, requests, the longest wait that is taken, what comes of it
        for (row, (millis, count, wait_max, expected)) in [
            (0, 4, 0, Ok(0)),
            (0, 6, 0, Ok(0)),
            (0, 1, 0, Err(100)),
            (99, 1, 0, Err(1)),
            (100, 1, 0, Ok(0)),
            // Who waits takes the room now; the next one waits behind.
            (100, 5, 500, Ok(500)),
            (100, 5, 500, Err(1_000)),
            (100, 5, 1_000, Ok(1_000)),
            (1_100, 1, 0, Err(100)),
            // A long rest fills it to one second's worth and no more.
            (60_000, 10, 0, Ok(0)),
            (60_000, 1, 0, Err(100)),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(throttle.take(at(millis), count, wait_max), expected, "row {row}");
        }
    }

    #[test]
    fn over_any_time_no_more_goes_out_than_the_rate_and_one_second() {
        let mut throttle = Throttle::new(Some(7));
        let mut sent = 0;
        for millis in 0..10_000 {
            if throttle.take(at(millis), 1, 0).is_ok() {
                sent += 1;
            }
        }
        assert_eq!(sent, 7 * 10 + 7 - 1, "the last drip falls at ten seconds");
    }

    #[test]
    fn odd_rates_are_rounded_up_to_whole_milliseconds() {
        let mut throttle = Throttle::new(Some(3));
        assert_eq!(throttle.take(at(0), 3, 0), Ok(0));
        assert_eq!(throttle.take(at(0), 1, 0), Err(334));
        assert_eq!(throttle.take(at(334), 1, 0), Ok(0));
        let mut least = Throttle::new(Some(0));
        assert_eq!(least.take(at(0), 1, 0), Ok(0), "zero would be for ever");
    }

    #[test]
    fn a_pause_is_kept_and_bounded_and_a_clock_that_goes_back_ends_it() {
        let mut throttle = Throttle::new(None);
        assert_eq!(throttle.take(at(5_000), 1_000, 0), Ok(0), "without a rate there is no limit");
        throttle.pause(at(5_000), 3_000);
        assert_eq!(throttle.take(at(5_000), 1, 2_000), Err(3_000));
        assert_eq!(throttle.take(at(6_000), 1, 2_000), Ok(2_000));
        assert_eq!(throttle.take(at(8_000), 1, 0), Ok(0));
        throttle.pause(at(8_000), u64::MAX);
        assert_eq!(throttle.take(at(8_000), 1, 0), Err(PAUSE_MS_MOST));
        assert_eq!(throttle.take(at(7_999), 1, 0), Ok(0));
    }

    #[test]
    fn a_clock_that_goes_back_grants_nothing() {
        let mut throttle = Throttle::new(Some(2));
        assert_eq!(throttle.take(at(10_000), 2, 0), Ok(0));
        assert_eq!(throttle.take(at(0), 1, 0), Err(500));
        assert_eq!(throttle.take(at(500), 1, 0), Ok(0));
    }
}
