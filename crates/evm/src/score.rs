//! How good a provider is to ask: moving averages of its latency and its errors, forgotten with time.

use portcullis_core::time::Timestamp;

/// The weight of a new sample when the one before it was a moment ago.
const SAMPLE_WEIGHT: f64 = 0.2;

/// After this time without a sample, what was known counts half.
const HALF_LIFE_MS: f64 = 20_000.0;

/// What a failure costs who asked, in milliseconds: another question, to another provider.
const FAILURE_COST_MS: f64 = 1_000.0;

/// Differences below this are no reason to change the provider: two that alternate show two chains.
const RANK_STEP_MS: f64 = 25.0;

/// The averages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Score {
    /// Of answers, in milliseconds; `None` before the first.
    latency_ms: Option<f64>,
    /// From 0 to 1.
    error_share: f64,
    at: Option<Timestamp>,
}

impl Score {
    /// The provider answered after `latency_ms`.
    pub(crate) fn answered(&mut self, now: Timestamp, latency_ms: u64) {
        let sample = f64::from(u32::try_from(latency_ms).unwrap_or(u32::MAX));
        let kept = (1.0 - SAMPLE_WEIGHT) * self.remaining(now);
        let before = self.latency_ms.unwrap_or(sample);
        self.latency_ms = Some(before * kept + sample * (1.0 - kept));
        self.sample_error(now, 0.0);
    }

    /// The provider failed, or its answer was of no use.
    pub(crate) fn failed(&mut self, now: Timestamp) {
        self.sample_error(now, 1.0);
    }

    fn sample_error(&mut self, now: Timestamp, sample: f64) {
        let before = self.error_share * self.remaining(now);
        self.error_share = before * (1.0 - SAMPLE_WEIGHT) + sample * SAMPLE_WEIGHT;
        self.at = Some(now);
    }

    /// How much of what was known still counts, from 1 down to 0.
    fn remaining(&self, now: Timestamp) -> f64 {
        let elapsed_ms = self.at.map_or(0, |at| now.millis_since(at)).max(0);
        let elapsed_ms = f64::from(u32::try_from(elapsed_ms).unwrap_or(u32::MAX));
        0.5_f64.powf(elapsed_ms / HALF_LIFE_MS)
    }

    /// The average latency in milliseconds.
    pub(crate) fn latency_average_ms(&self) -> Option<u64> {
        self.latency_ms.map(whole)
    }

    /// The share of questions that failed lately, in percent.
    pub(crate) fn error_percent(&self, now: Timestamp) -> u64 {
        whole(self.error_share * self.remaining(now) * 100.0)
    }

    /// Lower is better. Coarse on purpose: what is about as good has the same rank, and the configured order
    /// decides. An unknown provider has the best one: it is worth a question.
    pub(crate) fn rank(&self, now: Timestamp) -> u64 {
        let failures_ms = self.error_share * self.remaining(now) * FAILURE_COST_MS;
        let cost_ms = self.latency_ms.unwrap_or(0.0) + failures_ms;
        // 0 up to one step, then one more for each doubling.
        if cost_ms <= RANK_STEP_MS { 0 } else { whole((cost_ms / RANK_STEP_MS).log2().ceil()) }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "averages of samples between 0 and 2^32"
)]
fn whole(number: f64) -> u64 {
    number.round().max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn the_first_answer_is_the_average_and_later_ones_move_it() {
        let mut score = Score::default();
        assert_eq!((score.latency_average_ms(), score.rank(at(0))), (None, 0));
        score.answered(at(0), 100);
        assert_eq!(score.latency_average_ms(), Some(100));
        score.answered(at(0), 200);
        assert_eq!(score.latency_average_ms(), Some(120));
        // After a long rest a new sample is all that counts.
        score.answered(at(10_000_000), 40);
        assert_eq!(score.latency_average_ms(), Some(40));
    }

    #[test]
    fn errors_raise_the_rank_and_are_forgotten() {
        let mut score = Score::default();
        score.answered(at(0), 10);
        assert_eq!(score.rank(at(0)), 0);
        score.failed(at(0));
        assert_eq!(score.error_percent(at(0)), 20);
        let after_one = score.rank(at(0));
        score.failed(at(0));
        assert_eq!(score.error_percent(at(0)), 36);
        score.failed(at(0));
        assert_eq!(score.error_percent(at(0)), 49);
        assert!(score.rank(at(0)) > after_one && after_one > 0);
        assert_eq!(score.error_percent(at(20_000)), 24);
        assert_eq!(score.rank(at(200_000)), 0);
        assert_eq!(score.error_percent(at(-5_000)), 49, "a clock that went back forgets nothing");
    }

    #[test]
    fn small_differences_share_a_rank_and_large_ones_do_not() {
        let rank = |latency_ms| {
            let mut score = Score::default();
            score.answered(at(0), latency_ms);
            score.rank(at(0))
        };
        let ranks: Vec<u64> = [0, 3, 25, 26, 50, 51, 100, 400, 5_000].map(rank).to_vec();
        assert_eq!(ranks, [0, 0, 0, 1, 1, 2, 2, 4, 8]);
        assert!(rank(u64::MAX) > 20);
    }
}
