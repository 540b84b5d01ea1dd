//! What a run came to, for people and for machines.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::schedule::Kinds;
use super::settle::Settled;
use super::tally::Tally;
use crate::assets::token_text;
use crate::judge::{Observation, Promise, Verdict, WrongBalance};
use crate::rail::Rail;
use crate::replay::Replay;

/// How many examples of each problem are told.
const EXAMPLES: usize = 8;
/// Fewer kills in a minute are no torture.
const KILLS_A_MINUTE: u64 = 10;

/// The numbers of a run. Everything about payments is counted from the chain itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TortureReport {
    /// How long faults happened.
    pub minutes: u64,
    /// What they were drawn from.
    pub seed: u64,
    /// How payments travelled, one rail after the other.
    pub rails: Vec<Rail>,
    /// Withdrawals that were accepted.
    pub withdrawals: usize,
    /// SIGKILLs to roles and chain.
    pub kills: usize,
    /// The same by process.
    pub kills_by_process: BTreeMap<&'static str, usize>,
    /// Payments beyond the promises.
    pub paid_twice: usize,
    /// Promises without a payment.
    pub lost: usize,
    /// Withdrawals that were accepted and not terminal in the end.
    pub stuck: usize,
    /// Withdrawals that ended otherwise than paid.
    pub given_up: usize,
    /// Payments, other transactions of the hot wallets, and withdrawals that nobody asked for.
    pub unexpected: usize,
    /// Balances on the chain that are not what the promises make them.
    pub wrong_balances: usize,
    /// Balances of the API that are not what the promises make them.
    pub wrong_ledger: usize,
    /// Answers that break the promise of the API.
    pub wrong_answers: usize,
    /// Requests that were never answered.
    pub unanswered: usize,
    /// Processes that ended by themselves, or did not stop as they were told.
    pub failures: usize,
    /// Starts of the chain from an older state.
    pub anvil_restarts: usize,
    /// Blocks that these undid.
    pub blocks_rolled_back: u64,
    /// The most blocks that one of them undid.
    pub deepest_rollback: u64,
    /// Payments in these blocks.
    pub payments_rolled_back: usize,
    /// Those of them that had the chain's confirmations already.
    pub confirmed_rolled_back: usize,
    /// Looks at the chain's state file that met half of one.
    pub torn_states: usize,
    /// State files of the chain that were whole, but not of one moment.
    pub mixed_states: usize,
    /// SIGSTOPs for longer than a lease.
    pub pauses: usize,
    /// SIGSTOPs to the chain.
    pub anvil_pauses: usize,
    /// Second processes of a role beside the first.
    pub twins: usize,
    /// Second signers that were refused.
    pub refused_signers: usize,
    /// Processes that ended at their start, as the database was out of reach, and were started again.
    pub started_again: usize,
    /// Faults that found every process busy with another one.
    pub skipped_faults: usize,
    /// Requests that were sent again.
    pub retries: usize,
    /// Requests that were given up early on purpose.
    pub client_timeouts: usize,
    /// Requests that were sent again although they had been answered.
    pub repeats: usize,
    /// Replaced, canceled and failed transactions: nonces that were used up without paying.
    pub canceled_or_failed: usize,
    /// Payout numbers that the vault paid.
    pub numbers_paid: usize,
    /// Payout numbers that the vault paid more than once.
    pub numbers_paid_twice: usize,
    /// Items of the vault that could not be paid.
    pub items_failed: usize,
    /// Items of the vault whose number had been used before.
    pub items_skipped: usize,
    /// Transactions that were ever signed, and offered to the node once more after the end.
    pub replayed: usize,
    /// Those of them that the node took.
    pub replay_accepted: usize,
    /// Payments that came of it.
    pub replay_paid: usize,
    /// From the last fault until everything was terminal.
    pub settle_seconds: u64,
}

/// What a report is made from.
#[derive(Debug)]
pub(crate) struct Findings<'a> {
    pub(crate) promises: &'a [Promise],
    pub(crate) verdict: &'a Verdict,
    pub(crate) observation: &'a Observation,
    pub(crate) settled: &'a Settled,
    pub(crate) tally: &'a Tally,
    pub(crate) wrong_recipients: &'a [WrongBalance],
    /// What is wrong with the sums of those who pay.
    pub(crate) wrong_payers: &'a [String],
    pub(crate) replay: Replay,
}

impl Findings<'_> {
    /// The numbers of a run on one rail.
    pub(crate) fn report(&self, rail: Rail, seed: u64) -> TortureReport {
        let Self { verdict, observation, settled, tally, replay, .. } = self;
        let items = &observation.items;
        let unexpected =
            [verdict.unexpected.len(), observation.foreign.len(), settled.unknown.len()];
        TortureReport {
            minutes: 0,
            seed,
            rails: vec![rail],
            withdrawals: self.promises.len(),
            kills: tally.kills.values().sum(),
            kills_by_process: tally.kills.clone(),
            paid_twice: verdict.paid_twice.len(),
            lost: verdict.lost().len(),
            stuck: settled.stuck.len(),
            given_up: settled.given_up.len(),
            unexpected: unexpected.iter().sum(),
            wrong_balances: self.wrong_recipients.len().saturating_add(self.wrong_payers.len()),
            wrong_ledger: settled.wrong_ledger.len(),
            wrong_answers: tally.wrong_answers.len(),
            unanswered: tally.unanswered.len(),
            failures: tally.failures.len(),
            anvil_restarts: tally.chain_restarts,
            blocks_rolled_back: tally.blocks_rolled_back,
            deepest_rollback: tally.deepest_rollback,
            payments_rolled_back: tally.payments_rolled_back,
            confirmed_rolled_back: tally.confirmed_rolled_back,
            torn_states: tally.torn_states,
            mixed_states: tally.mixed_states,
            pauses: tally.pauses,
            anvil_pauses: tally.chain_pauses,
            twins: tally.twins,
            refused_signers: tally.refused_signers,
            started_again: tally.started_again,
            skipped_faults: tally.skipped,
            retries: tally.retries,
            client_timeouts: tally.client_timeouts,
            repeats: tally.repeats,
            canceled_or_failed: observation.canceled.saturating_add(observation.failed.len()),
            numbers_paid: items.paid.len(),
            numbers_paid_twice: items.paid_again(),
            items_failed: items.failed,
            items_skipped: items.skipped,
            replayed: replay.replayed,
            replay_accepted: replay.accepted,
            replay_paid: replay.paid,
            settle_seconds: settled.took.as_secs(),
        }
    }

    /// Tells examples of what went wrong on standard error.
    pub(crate) fn tell_problems(&self) {
        let lost = self.verdict.lost();
        let lost = lost.iter().filter_map(|index| self.promises.get(*index));
        let twice = self.verdict.paid_twice.iter().map(|paid| format!("{paid:?}"));
        let unexpected = self.verdict.unexpected.iter().map(|paid| format!("{paid:?}"));
        let foreign = self.observation.foreign.iter().map(ToString::to_string);
        let balances = self.wrong_recipients.iter().map(|wrong| {
            let (expected, found) = (wrong.expected, wrong.found);
            format!("{} has {found} of {}, not {expected}", wrong.holder, token_text(wrong.token))
        });
        tell("paid twice", twice.collect());
        tell("lost", lost.map(|promise| format!("{promise:?}")).collect());
        tell("stuck", self.settled.stuck.clone());
        tell("given up", self.settled.given_up.clone());
        tell("unexpected payment", unexpected.collect());
        tell("unexpected transaction", foreign.collect());
        tell("unexpected withdrawal", self.settled.unknown.clone());
        tell("wrong balance", balances.collect());
        tell("wrong balance", self.wrong_payers.to_vec());
        tell("wrong ledger", self.settled.wrong_ledger.clone());
        tell("wrong answer", self.tally.wrong_answers.clone());
        tell("unanswered", self.tally.unanswered.clone());
        tell("failure", self.tally.failures.clone());
    }
}

fn tell(what: &str, problems: Vec<String>) {
    let more = problems.len().saturating_sub(EXAMPLES);
    for problem in problems.into_iter().take(EXAMPLES) {
        eprintln!("{what}: {problem}");
    }
    if more > 0 {
        eprintln!("{what}: and {more} more");
    }
}

impl TortureReport {
    /// Puts a run on another rail to this one.
    pub(super) fn add(&mut self, other: Self) {
        self.rails.extend(other.rails);
        for (process, count) in other.kills_by_process {
            let sum = self.kills_by_process.entry(process).or_default();
            *sum = sum.saturating_add(count);
        }
        self.blocks_rolled_back = self.blocks_rolled_back.saturating_add(other.blocks_rolled_back);
        self.deepest_rollback = self.deepest_rollback.max(other.deepest_rollback);
        self.settle_seconds = self.settle_seconds.saturating_add(other.settle_seconds);
        for (sum, count) in [
            (&mut self.withdrawals, other.withdrawals),
            (&mut self.kills, other.kills),
            (&mut self.paid_twice, other.paid_twice),
            (&mut self.lost, other.lost),
            (&mut self.stuck, other.stuck),
            (&mut self.given_up, other.given_up),
            (&mut self.unexpected, other.unexpected),
            (&mut self.wrong_balances, other.wrong_balances),
            (&mut self.wrong_ledger, other.wrong_ledger),
            (&mut self.wrong_answers, other.wrong_answers),
            (&mut self.unanswered, other.unanswered),
            (&mut self.failures, other.failures),
            (&mut self.anvil_restarts, other.anvil_restarts),
            (&mut self.payments_rolled_back, other.payments_rolled_back),
            (&mut self.confirmed_rolled_back, other.confirmed_rolled_back),
            (&mut self.torn_states, other.torn_states),
            (&mut self.mixed_states, other.mixed_states),
            (&mut self.pauses, other.pauses),
            (&mut self.anvil_pauses, other.anvil_pauses),
            (&mut self.twins, other.twins),
            (&mut self.refused_signers, other.refused_signers),
            (&mut self.started_again, other.started_again),
            (&mut self.skipped_faults, other.skipped_faults),
            (&mut self.retries, other.retries),
            (&mut self.client_timeouts, other.client_timeouts),
            (&mut self.repeats, other.repeats),
            (&mut self.canceled_or_failed, other.canceled_or_failed),
            (&mut self.numbers_paid, other.numbers_paid),
            (&mut self.numbers_paid_twice, other.numbers_paid_twice),
            (&mut self.items_failed, other.items_failed),
            (&mut self.items_skipped, other.items_skipped),
            (&mut self.replayed, other.replayed),
            (&mut self.replay_accepted, other.replay_accepted),
            (&mut self.replay_paid, other.replay_paid),
        ] {
            *sum = sum.saturating_add(count);
        }
    }

    /// Whether every promise was kept, once.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let troubles = [
            self.paid_twice,
            self.lost,
            self.stuck,
            self.given_up,
            self.unexpected,
            self.wrong_balances,
            self.wrong_ledger,
            self.wrong_answers,
            self.unanswered,
            self.failures,
            self.numbers_paid_twice,
            self.replay_paid,
        ];
        self.withdrawals > 0 && troubles.iter().all(|count| *count == 0)
    }

    /// Kinds of fault that were switched on and did not happen, or were off and did.
    pub(super) fn unreal(&self, kinds: Kinds, is_impatient: bool) -> Vec<&'static str> {
        let of_chain = self.kills_by_process.get(super::tally::CHAIN).copied().unwrap_or_default();
        let of_roles = self.kills.saturating_sub(of_chain);
        let blocks = usize::try_from(self.blocks_rolled_back).unwrap_or(usize::MAX);
        let counters = [
            ("kills of roles", kinds.kills, of_roles),
            ("kills of the chain", kinds.chain_kills, of_chain),
            ("restarts of the chain", kinds.chain_kills, self.anvil_restarts),
            ("blocks rolled back", kinds.chain_kills, blocks),
            ("pauses", kinds.pauses, self.pauses),
            ("pauses of the chain", kinds.chain_pauses, self.anvil_pauses),
            ("twins", kinds.twins, self.twins),
            ("timeouts of clients", is_impatient, self.client_timeouts),
        ];
        let wrong = counters.iter().filter(|(_, is_on, count)| *is_on != (*count > 0));
        let mut unreal: Vec<&'static str> = wrong.map(|(name, ..)| *name).collect();
        let wanted = self.minutes.saturating_mul(KILLS_A_MINUTE);
        if kinds.kills && usize::try_from(wanted).is_ok_and(|wanted| self.kills < wanted) {
            unreal.push("too few kills");
        }
        unreal
    }
}

impl fmt::Display for TortureReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: &dyn fmt::Display| {
            writeln!(formatter, "  {name:<40}{:>10}", value.to_string())
        };
        row("minutes", &self.minutes)?;
        row("seed", &self.seed)?;
        let rails: Vec<String> = self.rails.iter().map(ToString::to_string).collect();
        row("rails", &rails.join(", "))?;
        row("withdrawals accepted", &self.withdrawals)?;
        row("kills", &self.kills)?;
        for (process, count) in &self.kills_by_process {
            row(&format!("  of {process}"), count)?;
        }
        row("pauses longer than a lease", &self.pauses)?;
        row("pauses of the chain", &self.anvil_pauses)?;
        row("second processes of a role", &self.twins)?;
        row("  signers among them, refused", &self.refused_signers)?;
        row("restarts of the chain from an older state", &self.anvil_restarts)?;
        row("  blocks rolled back", &self.blocks_rolled_back)?;
        row("  at most at once", &self.deepest_rollback)?;
        row("  payments in them", &self.payments_rolled_back)?;
        row("  of these confirmed before", &self.confirmed_rolled_back)?;
        row("  state files met half written", &self.torn_states)?;
        row("  state files not of one moment", &self.mixed_states)?;
        row("requests sent again", &self.retries)?;
        row("  given up early on purpose", &self.client_timeouts)?;
        row("requests repeated after their answer", &self.repeats)?;
        row("starts tried again", &self.started_again)?;
        row("faults skipped", &self.skipped_faults)?;
        row("nonces used without paying", &self.canceled_or_failed)?;
        row("seconds until all were terminal", &self.settle_seconds)?;
        row("numbers that the vault paid", &self.numbers_paid)?;
        row("  more than once", &self.numbers_paid_twice)?;
        row("  items that failed", &self.items_failed)?;
        row("  items that were skipped", &self.items_skipped)?;
        row("signed, and sent once more at the end", &self.replayed)?;
        row("  taken by the node", &self.replay_accepted)?;
        row("  paid by that", &self.replay_paid)?;
        row("paid twice", &self.paid_twice)?;
        row("lost", &self.lost)?;
        row("stuck", &self.stuck)?;
        row("ended otherwise than paid", &self.given_up)?;
        row("unexpected", &self.unexpected)?;
        row("wrong balances on the chain", &self.wrong_balances)?;
        row("wrong balances of the API", &self.wrong_ledger)?;
        row("wrong answers", &self.wrong_answers)?;
        row("unanswered", &self.unanswered)?;
        row("processes that failed by themselves", &self.failures)?;
        let verdict = if self.is_good() { "every promise kept, once" } else { "NOT AS PROMISED" };
        write!(formatter, "  {verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: Kinds =
        Kinds { kills: true, chain_kills: true, chain_pauses: true, pauses: true, twins: true };
    const OFF: Kinds = Kinds {
        kills: false,
        chain_kills: false,
        chain_pauses: false,
        pauses: false,
        twins: false,
    };

    fn good() -> TortureReport {
        TortureReport {
            minutes: 3,
            withdrawals: 500,
            kills: 40,
            kills_by_process: BTreeMap::from([("anvil", 8), ("api", 32)]),
            anvil_restarts: 8,
            blocks_rolled_back: 30,
            pauses: 9,
            anvil_pauses: 11,
            twins: 4,
            client_timeouts: 5,
            ..TortureReport::default()
        }
    }

    #[test]
    fn any_trouble_makes_a_report_bad() {
        assert!(good().is_good() && good().to_string().ends_with("every promise kept, once"));
        let spoil: [fn(&mut TortureReport); 13] = [
            |report| report.paid_twice = 1,
            |report| report.lost = 1,
            |report| report.stuck = 1,
            |report| report.given_up = 1,
            |report| report.unexpected = 1,
            |report| report.wrong_balances = 1,
            |report| report.wrong_ledger = 1,
            |report| report.wrong_answers = 1,
            |report| report.unanswered = 1,
            |report| report.failures = 1,
            |report| report.numbers_paid_twice = 1,
            |report| report.replay_paid = 1,
            |report| report.withdrawals = 0,
        ];
        for spoil in spoil {
            let mut report = good();
            spoil(&mut report);
            assert!(!report.is_good(), "{report}");
            assert!(report.to_string().ends_with("NOT AS PROMISED"));
        }
    }

    #[test]
    fn the_numbers_of_two_rails_add_up() {
        let mut both = TortureReport { rails: vec![Rail::Direct], deepest_rollback: 7, ..good() };
        let vault = TortureReport { rails: vec![Rail::Vault], deepest_rollback: 4, ..good() };
        both.add(TortureReport { lost: 1, replay_paid: 1, ..vault });
        assert_eq!((both.rails.len(), both.withdrawals, both.kills), (2, 1_000, 80));
        assert_eq!((both.kills_by_process["anvil"], both.deepest_rollback), (16, 7));
        assert_eq!((both.lost, both.replay_paid, both.minutes), (1, 1, 3));
        assert_eq!(serde_json::to_value(&both).unwrap()["rails"][1], "vault");
    }

    #[test]
    fn faults_must_happen_when_on_and_must_not_when_off() {
        assert_eq!(good().unreal(ON, true), Vec::<&str>::new());
        assert_eq!(TortureReport::default().unreal(OFF, false), Vec::<&str>::new());
        assert_eq!(good().unreal(OFF, false).len(), 8);
        assert_eq!(TortureReport::default().unreal(ON, true).len(), 8);
        let few = TortureReport { kills: 29, ..good() };
        assert_eq!(few.unreal(ON, true), ["too few kills"]);
    }

    #[test]
    fn the_line_for_machines_has_what_is_asked_for() {
        let line = serde_json::to_value(good()).unwrap();
        for (name, value) in
            [("minutes", 3), ("kills", 40), ("paid_twice", 0), ("lost", 0), ("stuck", 0)]
        {
            assert_eq!(line[name], value, "{name}");
        }
        assert_eq!(line["kills_by_process"]["anvil"], 8);
    }
}
