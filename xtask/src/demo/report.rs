//! What a demo came to, for people and for machines.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::submit::Submitted;
use crate::assets::token_text;
use crate::judge::{Observation, Verdict, WrongBalance};
use crate::latency::{Latencies, seconds};
use crate::rail::Rail;
use crate::testbed::CONFIRMATIONS;
use crate::watch::ChainWatch;

/// How many examples of each problem are told.
const EXAMPLES: usize = 5;

/// The numbers of a demo. Everything about payments is counted from the chain itself.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DemoReport {
    /// Requests.
    pub withdrawals: usize,
    /// Requests that had to be paid.
    pub valid: usize,
    /// Requests that had to be refused.
    pub invalid: usize,
    /// Promises that the chain shows as kept, with the chain's confirmations.
    pub confirmed: usize,
    /// Bad requests that were refused with the right status and code.
    pub refused: usize,
    /// Promises that were not kept.
    pub lost: usize,
    /// Payments beyond the promises.
    pub paid_twice: usize,
    /// Payments and other transactions of the hot wallets that nobody asked for.
    pub unexpected: usize,
    /// Balances that are not what the promises make them.
    pub wrong_balances: usize,
    /// Requests that were answered otherwise than they had to be.
    pub wrong_answers: usize,
    /// Withdrawals that the API says are confirmed.
    pub reported_confirmed: usize,
    /// Latency of the API, the median.
    pub api_p50_ms: f64,
    /// Latency of the API, the 95th percentile.
    pub api_p95_ms: f64,
    /// From the first sending of a request to its block, the median.
    pub mined_p50_ms: f64,
    /// From the first sending of a request to its block, the 95th percentile.
    pub mined_p95_ms: f64,
    /// Payments from the first request to the last block with a payment.
    pub payments_per_second: f64,
    /// From the first request to that block.
    pub seconds: f64,
    /// Requests that had to be sent again.
    pub repeats: usize,
    /// How often the server was killed.
    pub kills: usize,
    /// Transactions that failed on the chain, and nonces that were used up without paying.
    pub failed_or_canceled: usize,
    /// Hot wallets.
    pub wallets: usize,
    /// How payments travelled.
    pub rail: Rail,
    /// Payout numbers that the vault paid more than once.
    pub numbers_paid_twice: usize,
    /// Items of the vault that could not be paid, or whose number had been used.
    pub items_unpaid: usize,
    /// Transactions that were ever signed, and offered to the node once more after the end.
    pub replayed: usize,
    /// Those of them that the node took.
    pub replay_accepted: usize,
    /// Payments that came of it.
    pub replay_paid: usize,
    /// What the requests were made from; 0 for a payout list.
    pub seed: u64,
}

/// What a report is made from.
pub(super) struct Findings<'a> {
    pub(super) submitted: &'a Submitted,
    pub(super) verdict: &'a Verdict,
    pub(super) observation: &'a Observation,
    pub(super) wrong_recipients: &'a [WrongBalance],
    pub(super) wrong_wallets: usize,
    pub(super) reported_confirmed: usize,
    pub(super) watch: &'a ChainWatch,
    pub(super) begun: Instant,
    /// Whether the server was killed on purpose.
    pub(super) has_crashes: bool,
}

impl DemoReport {
    /// Whether every good request was paid exactly once, and every bad one refused as it had to be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let troubles = [
            self.lost,
            self.paid_twice,
            self.unexpected,
            self.wrong_balances,
            self.wrong_answers,
            self.numbers_paid_twice,
            self.replay_paid,
        ];
        troubles.iter().all(|count| *count == 0)
            && self.confirmed == self.valid
            && self.refused == self.invalid
            && self.reported_confirmed == self.valid
    }
}

impl Findings<'_> {
    /// Puts measured times and counts into `report`, which has the rest.
    pub(super) fn fill(&self, report: &mut DemoReport) {
        let (submitted, verdict) = (self.submitted, self.verdict);
        report.confirmed = verdict.confirmed(self.observation.head, CONFIRMATIONS);
        report.refused = submitted.refused;
        report.lost = verdict.lost().len();
        report.paid_twice = verdict.paid_twice.len();
        report.unexpected = verdict.unexpected.len().saturating_add(self.observation.foreign.len());
        report.wrong_balances = self.wrong_recipients.len().saturating_add(self.wrong_wallets);
        report.wrong_answers = submitted.wrong.len();
        let items = &self.observation.items;
        report.numbers_paid_twice = items.paid_again();
        report.items_unpaid = items.failed.saturating_add(items.skipped);
        report.reported_confirmed = self.reported_confirmed;
        report.repeats = submitted.repeats.len();
        report.failed_or_canceled =
            self.observation.failed.len().saturating_add(self.observation.canceled);

        let api = Latencies::new(submitted.latencies.clone());
        (report.api_p50_ms, report.api_p95_ms) = (api.percentile_ms(50), api.percentile_ms(95));
        let mined = Latencies::new(self.times_to_mined());
        report.mined_p50_ms = mined.percentile_ms(50);
        report.mined_p95_ms = mined.percentile_ms(95);
        let last = verdict.paid.iter().flatten().max();
        let last = last.and_then(|block| self.watch.seen_at(*block));
        let took = last.map_or(Duration::ZERO, |at| at.saturating_duration_since(self.begun));
        report.seconds = seconds(took);
        report.payments_per_second = rate(mined.count(), took);
    }

    fn times_to_mined(&self) -> Vec<Duration> {
        let promised = self.submitted.accepted.iter().zip(&self.verdict.paid);
        promised
            .filter_map(|((_, sent_at), block)| {
                let mined_at = self.watch.seen_at((*block)?)?;
                Some(mined_at.saturating_duration_since(*sent_at))
            })
            .collect()
    }

    /// Tells examples of what went wrong on standard error.
    pub(super) fn tell_problems(&self) {
        let tell = |what: &str, problems: Vec<String>| {
            for problem in problems.iter().take(EXAMPLES) {
                eprintln!("{what}: {problem}");
            }
            if problems.len() > EXAMPLES {
                eprintln!("{what}: and {} more", problems.len().saturating_sub(EXAMPLES));
            }
        };
        tell("wrong answer", self.submitted.wrong.clone());
        if !self.has_crashes {
            tell("sent again", self.submitted.repeats.clone());
        }
        let lost = self.verdict.lost();
        let lost = lost.iter().filter_map(|index| self.submitted.accepted.get(*index));
        tell("lost", lost.map(|(promise, _)| promise.external_id.clone()).collect());
        tell("paid twice", self.verdict.paid_twice.iter().map(|it| format!("{it:?}")).collect());
        tell("unexpected", self.verdict.unexpected.iter().map(|it| format!("{it:?}")).collect());
        let foreign = self.observation.foreign.iter();
        tell("unexpected transaction", foreign.map(ToString::to_string).collect());
        let wrong = self.wrong_recipients.iter().map(|wrong| {
            let (expected, found) = (wrong.expected, wrong.found);
            let token = token_text(wrong.token);
            format!("{} has {found} of {token} instead of {expected}", wrong.holder)
        });
        tell("wrong balance", wrong.collect());
    }
}

/// Payments per second, to one place.
fn rate(count: usize, time: Duration) -> f64 {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    if time.is_zero() {
        return 0.0;
    }
    (f64::from(count) / time.as_secs_f64() * 10.0).round() / 10.0
}

impl fmt::Display for DemoReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(formatter, "  {name:<28}{value:>14}");
        row("withdrawals", self.withdrawals.to_string())?;
        row("  valid", self.valid.to_string())?;
        row("  invalid", self.invalid.to_string())?;
        row("confirmed on the chain", self.confirmed.to_string())?;
        row("confirmed, says the API", self.reported_confirmed.to_string())?;
        row("refused as they had to be", self.refused.to_string())?;
        row("lost", self.lost.to_string())?;
        row("paid twice", self.paid_twice.to_string())?;
        row("unexpected", self.unexpected.to_string())?;
        row("wrong balances", self.wrong_balances.to_string())?;
        if self.rail == Rail::Vault {
            row("numbers paid twice", self.numbers_paid_twice.to_string())?;
            row("items not paid", self.items_unpaid.to_string())?;
        }
        row("signed, and sent once more", self.replayed.to_string())?;
        row("  taken by the node", self.replay_accepted.to_string())?;
        row("  paid by that", self.replay_paid.to_string())?;
        row("wrong answers", self.wrong_answers.to_string())?;
        row("requests sent again", self.repeats.to_string())?;
        row("crashes of the server", self.kills.to_string())?;
        let times = |p50: f64, p95: f64| format!("{p50:.1} / {p95:.1} ms");
        row("API, p50 / p95", times(self.api_p50_ms, self.api_p95_ms))?;
        row("mined after, p50 / p95", times(self.mined_p50_ms, self.mined_p95_ms))?;
        row("payments per second", self.payments_per_second.to_string())?;
        row("seconds", self.seconds.to_string())?;
        let verdict = if self.is_good() { "every promise kept, once" } else { "NOT AS PROMISED" };
        write!(formatter, "  {verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn good() -> DemoReport {
        DemoReport {
            withdrawals: 20,
            valid: 19,
            invalid: 1,
            confirmed: 19,
            refused: 1,
            lost: 0,
            paid_twice: 0,
            unexpected: 0,
            wrong_balances: 0,
            wrong_answers: 0,
            reported_confirmed: 19,
            api_p50_ms: 1.0,
            api_p95_ms: 2.0,
            mined_p50_ms: 3.0,
            mined_p95_ms: 4.0,
            payments_per_second: 5.0,
            seconds: 6.0,
            repeats: 0,
            kills: 0,
            failed_or_canceled: 0,
            wallets: 1,
            seed: 1,
            ..DemoReport::default()
        }
    }

    #[test]
    fn any_trouble_makes_a_report_bad() {
        assert!(good().is_good());
        let bad = [
            DemoReport { lost: 1, ..good() },
            DemoReport { paid_twice: 1, ..good() },
            DemoReport { unexpected: 1, ..good() },
            DemoReport { wrong_balances: 1, ..good() },
            DemoReport { wrong_answers: 1, ..good() },
            DemoReport { numbers_paid_twice: 1, ..good() },
            DemoReport { replay_paid: 1, ..good() },
            DemoReport { confirmed: 18, ..good() },
            DemoReport { refused: 0, ..good() },
            DemoReport { reported_confirmed: 18, ..good() },
        ];
        for report in bad {
            assert!(!report.is_good(), "{report}");
            assert!(report.to_string().ends_with("NOT AS PROMISED"));
        }
    }

    #[test]
    fn rates_are_per_second() {
        assert!((rate(100, Duration::from_secs(8)) - 12.5).abs() < f64::EPSILON);
        assert!(rate(100, Duration::ZERO).abs() < f64::EPSILON);
    }
}
