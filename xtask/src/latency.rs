//! Percentiles of measured times.

use std::time::Duration;

/// Measured times, sorted.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// Sorts `times`.
    #[must_use]
    pub fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest time that at least `percent` of all do not exceed (the nearest rank).
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let rank = self.0.len().saturating_mul(percent.min(100)).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied()
    }

    /// As [`Latencies::percentile`], in milliseconds to two places; 0 where nothing was measured.
    #[must_use]
    pub fn percentile_ms(&self, percent: usize) -> f64 {
        self.percentile(percent).map_or(0.0, milliseconds)
    }
}

/// Milliseconds, rounded to two places.
#[must_use]
pub fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 100_000.0).round() / 100.0
}

/// Seconds, rounded to one place.
#[must_use]
pub fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times_ms: &[u64]) -> Latencies {
        Latencies::new(times_ms.iter().map(|&time_ms| Duration::from_millis(time_ms)).collect())
    }

    #[test]
    fn the_rank_is_the_nearest_one() {
        let hundred = of(&(1..=100).rev().collect::<Vec<_>>());
        for (percent, time_ms) in [(0, 1), (1, 1), (50, 50), (95, 95), (99, 99), (100, 100)] {
            assert_eq!(hundred.percentile(percent), Some(Duration::from_millis(time_ms)));
        }
        let four = of(&[4, 1, 3, 2]);
        assert_eq!(four.percentile(50), Some(Duration::from_millis(2)));
        assert_eq!(four.percentile(51), Some(Duration::from_millis(3)));
        assert_eq!(four.percentile(95), Some(Duration::from_millis(4)));
        assert_eq!(of(&[]).percentile(50), None);
    }

    #[test]
    fn milliseconds_have_two_places() {
        let text = |time| milliseconds(time).to_string();
        assert_eq!(text(Duration::from_micros(1_234)), "1.23");
        assert_eq!(text(Duration::from_micros(1_236)), "1.24");
        assert_eq!(text(Duration::from_secs(2)), "2000");
    }
}
