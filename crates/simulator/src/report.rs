//! What a run came to.

use portcullis_testkit::FaultCounters;
use serde::Serialize;

/// One seed's result. Counts of what went wrong in the simulated world, and of what Portcullis did wrong.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Withdrawals that clients asked for.
    pub withdrawals: usize,
    /// Futures that were ended between two effects, and power cuts.
    pub crashes: u64,
    /// Of these, ends of the whole process.
    pub power_cuts: u64,
    /// Times that the chain dropped blocks.
    pub reorgs: u64,
    /// Requests whose answer the client never saw.
    pub lost_requests: u64,
    /// Doorbells that did not ring.
    pub lost_doorbells: u64,
    /// Cancels that an operator asked for.
    pub cancels: u64,
    /// What the provider did wrong, by kind.
    pub faults: FaultCounters,
    /// Payments on chain beyond what was promised.
    pub paid_twice: usize,
    /// Withdrawals that are called paid, or accepted, and were never paid.
    pub lost: usize,
    /// Withdrawals that are in no terminal state after the faults stopped.
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
}

/// The sums over many seeds: the last line of `cargo xtask sim --json`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Totals {
    /// Seeds that ran.
    pub seeds: u64,
    /// See [`Outcome`].
    pub withdrawals: usize,
    /// See [`Outcome`].
    pub crashes: u64,
    /// See [`Outcome`].
    pub power_cuts: u64,
    /// See [`Outcome`].
    pub reorgs: u64,
    /// See [`Outcome`].
    pub lost_requests: u64,
    /// See [`Outcome`].
    pub lost_doorbells: u64,
    /// See [`Outcome`].
    pub cancels: u64,
    /// Answers of the node that got lost after it had acted.
    pub lost_answers: u64,
    /// See [`Outcome`].
    pub faults: FaultCounters,
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
        writeln!(formatter, "seeds                    {:>8}", self.seeds)?;
        writeln!(formatter, "withdrawals              {:>8}", self.withdrawals)?;
        writeln!(formatter, "crashes (power cuts)     {:>8} ({})", self.crashes, self.power_cuts)?;
        writeln!(formatter, "reorgs                   {:>8}", self.reorgs)?;
        writeln!(formatter, "faults of the node       {:>8}", self.faults.total())?;
        writeln!(formatter, "  answers lost           {:>8}", self.lost_answers)?;
        writeln!(formatter, "requests without answer  {:>8}", self.lost_requests)?;
        writeln!(formatter, "doorbells lost           {:>8}", self.lost_doorbells)?;
        writeln!(formatter, "cancels asked for        {:>8}", self.cancels)?;
        writeln!(formatter, "paid twice               {:>8}", self.paid_twice)?;
        writeln!(formatter, "lost                     {:>8}", self.lost)?;
        write!(formatter, "stuck                    {:>8}", self.stuck)
    }
}

impl Totals {
    /// Adds one seed.
    #[expect(clippy::arithmetic_side_effects, reason = "counters of a bounded run")]
    pub fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.withdrawals += outcome.withdrawals;
        self.crashes += outcome.crashes;
        self.power_cuts += outcome.power_cuts;
        self.reorgs += outcome.reorgs;
        self.lost_requests += outcome.lost_requests;
        self.lost_doorbells += outcome.lost_doorbells;
        self.cancels += outcome.cancels;
        self.lost_answers += outcome.faults.lost_answers;
        self.faults += outcome.faults;
        self.paid_twice += outcome.paid_twice;
        self.lost += outcome.lost;
        self.stuck += outcome.stuck;
        if !outcome.is_good() {
            self.failed_seeds.push(outcome.seed);
        }
    }
}
