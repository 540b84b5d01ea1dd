//! What a run came to.

use serde::Serialize;

use crate::chaos::{Chaos, Counts};
use crate::scenario::RailPlan;

/// One seed's result: what went wrong in the simulated world, and what Portcullis did wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// How its payments travelled.
    pub rail: RailPlan,
    /// Withdrawals that clients asked for.
    pub withdrawals: usize,
    /// What went wrong, by kind.
    pub counts: Counts,
    /// Times that the engine halted and an operator had to look.
    pub halts: u64,
    /// Signed transactions that were sent once more after the end, and paid nothing.
    pub replayed: u64,
    /// Blocks that the chain has at the end.
    pub blocks: u64,
    /// Moves of the scheduler.
    pub moves: u64,
    /// Payments on chain beyond what was promised.
    pub paid_twice: usize,
    /// Withdrawals that are called paid, or accepted, and were never paid.
    pub lost: usize,
    /// Withdrawals that are in no terminal state after the faults stopped and the operator followed the alarms.
    pub stuck: usize,
    /// Everything that is wrong, in words.
    pub problems: Vec<String>,
}

impl Outcome {
    /// Whether Portcullis kept its promise.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.problems.is_empty() && self.paid_twice == 0 && self.lost == 0 && self.stuck == 0
    }

    /// Whether the chain or the database went back in time.
    fn went_back(&self) -> bool {
        [Chaos::Reorgs, Chaos::Restores, Chaos::SilentRestores, Chaos::Copies]
            .into_iter()
            .any(|kind| self.counts.of(kind) > 0)
    }
}

/// The sums over many seeds: the last line of `cargo xtask sim --json`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Totals {
    /// Seeds that ran.
    pub seeds: u64,
    /// See [`Outcome`].
    pub withdrawals: usize,
    /// See [`Outcome`].
    #[serde(flatten)]
    pub counts: Counts,
    /// Seeds in which the chain dropped blocks or an old database came back.
    pub seeds_that_went_back: u64,
    /// Seeds on the direct rail.
    pub seeds_direct: u64,
    /// Seeds on the vault rail.
    pub seeds_vault: u64,
    /// Seeds that began on the direct rail and went on with a vault.
    pub seeds_both: u64,
    /// See [`Outcome`].
    pub halts: u64,
    /// See [`Outcome`].
    pub replayed: u64,
    /// See [`Outcome`].
    pub blocks: u64,
    /// See [`Outcome`].
    pub paid_twice: usize,
    /// See [`Outcome`].
    pub lost: usize,
    /// See [`Outcome`].
    pub stuck: usize,
    /// Seeds with any problem.
    pub failed_seeds: Vec<u64>,
}

impl std::fmt::Display for Totals {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rails = [self.seeds_direct, self.seeds_vault, self.seeds_both];
        writeln!(formatter, "{:<24}{:>8}", "seeds", self.seeds)?;
        for (rail, seeds) in ["direct rail", "vault rail", "both rails"].into_iter().zip(rails) {
            writeln!(formatter, "  {rail:<22}{seeds:>8}")?;
        }
        writeln!(formatter, "{:<24}{:>8}", "that went back in time", self.seeds_that_went_back)?;
        writeln!(formatter, "{:<24}{:>8}", "withdrawals", self.withdrawals)?;
        for kind in Chaos::ALL {
            let name = kind.as_str().replace('_', " ");
            writeln!(formatter, "{name:<24}{:>8}", self.counts.of(kind))?;
        }
        writeln!(formatter, "{:<24}{:>8}", "halts", self.halts)?;
        writeln!(formatter, "{:<24}{:>8}", "blocks", self.blocks)?;
        writeln!(formatter, "{:<24}{:>8}", "transactions replayed", self.replayed)?;
        writeln!(formatter, "{:<24}{:>8}", "paid twice", self.paid_twice)?;
        writeln!(formatter, "{:<24}{:>8}", "lost", self.lost)?;
        write!(formatter, "{:<24}{:>8}", "stuck", self.stuck)
    }
}

impl Totals {
    /// Adds one seed.
    #[expect(clippy::arithmetic_side_effects, reason = "counters of a bounded run")]
    pub fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.withdrawals += outcome.withdrawals;
        self.counts += outcome.counts;
        self.seeds_that_went_back += u64::from(outcome.went_back());
        match outcome.rail {
            RailPlan::Direct => self.seeds_direct += 1,
            RailPlan::Vault => self.seeds_vault += 1,
            RailPlan::Both => self.seeds_both += 1,
        }
        self.halts += outcome.halts;
        self.replayed += outcome.replayed;
        self.blocks += outcome.blocks;
        self.paid_twice += outcome.paid_twice;
        self.lost += outcome.lost;
        self.stuck += outcome.stuck;
        if !outcome.is_good() {
            self.failed_seeds.push(outcome.seed);
        }
    }
}
