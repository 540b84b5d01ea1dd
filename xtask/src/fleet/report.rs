//! What a run of a fleet came to.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::faults::Happened;
use crate::torture::TortureReport;

/// The numbers of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FleetReport {
    /// What the state is in.
    pub database: String,
    /// Processes of Portcullis.
    pub processes: usize,
    /// What requests and kills were drawn from.
    pub seed: u64,
    /// Withdrawals that were accepted.
    pub withdrawals: usize,
    /// SIGKILLs.
    pub kills: usize,
    /// The same by role.
    pub kills_by_role: BTreeMap<&'static str, usize>,
    /// What else went wrong on purpose, and what was said of it.
    pub faults: Vec<Happened>,
    /// Promises that the chain does not show.
    pub lost: usize,
    /// Payments beyond what was promised.
    pub paid_twice: usize,
    /// Withdrawals that came to no end.
    pub stuck: usize,
    /// Withdrawals that ended otherwise than paid.
    pub given_up: usize,
    /// Payments and withdrawals that nobody asked for.
    pub unexpected: usize,
    /// Balances on the chain that are not what the promises make them.
    pub wrong_balances: usize,
    /// The same of the API.
    pub wrong_ledger: usize,
    /// Answers that break the promise of the API.
    pub wrong_answers: usize,
    /// Requests that were never answered.
    pub unanswered: usize,
    /// Processes that ended by themselves, or did not stop as they were told.
    pub failures: usize,
    /// Processes that ended at their start, as the database was out of reach, and were started again.
    pub started_again: usize,
    /// Visible messages in the queues of doorbells when nothing waited any more.
    pub doorbells_left: u64,
    /// Those in flight at that time: what killed processes had received. They ring nobody, and are no trouble.
    pub doorbells_in_flight: u64,
    /// Transactions that were ever signed, and offered to the node once more after the end.
    pub replayed: usize,
    /// Payments that came of it.
    pub replay_paid: usize,
    /// From the last kill until everything was terminal.
    pub settle_seconds: u64,
}

impl FleetReport {
    /// From what the judge says.
    pub(super) fn of(judged: TortureReport, database: &str, processes: usize) -> Self {
        Self {
            database: database.to_owned(),
            processes,
            seed: judged.seed,
            withdrawals: judged.withdrawals,
            kills: judged.kills,
            kills_by_role: judged.kills_by_process,
            faults: Vec::new(),
            lost: judged.lost,
            paid_twice: judged.paid_twice.saturating_add(judged.numbers_paid_twice),
            stuck: judged.stuck,
            given_up: judged.given_up,
            unexpected: judged.unexpected,
            wrong_balances: judged.wrong_balances,
            wrong_ledger: judged.wrong_ledger,
            wrong_answers: judged.wrong_answers,
            unanswered: judged.unanswered,
            failures: judged.failures,
            started_again: judged.started_again,
            doorbells_left: 0,
            doorbells_in_flight: 0,
            replayed: judged.replayed,
            replay_paid: judged.replay_paid,
            settle_seconds: judged.settle_seconds,
        }
    }

    /// Whether every promise was kept, once, under kills or other faults.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let troubles = [
            self.lost,
            self.paid_twice,
            self.stuck,
            self.given_up,
            self.unexpected,
            self.wrong_balances,
            self.wrong_ledger,
            self.wrong_answers,
            self.unanswered,
            self.failures,
            self.replay_paid,
        ];
        let is_clean = self.doorbells_left == 0 && troubles.iter().all(|count| *count == 0);
        let is_told = self.faults.iter().all(|happened| happened.trouble.is_none());
        let is_hard = self.kills > 0 || !self.faults.is_empty();
        is_clean && is_told && is_hard && self.withdrawals > 0 && self.replayed > 0
    }
}

impl fmt::Display for FleetReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: &dyn fmt::Display| {
            writeln!(formatter, "  {name:<40}{:>10}", value.to_string())
        };
        row("database", &self.database)?;
        row("processes", &self.processes)?;
        row("seed", &self.seed)?;
        row("withdrawals accepted", &self.withdrawals)?;
        row("kills", &self.kills)?;
        for (role, count) in &self.kills_by_role {
            row(&format!("  of {role}"), count)?;
        }
        for Happened { fault, trouble, .. } in &self.faults {
            let outcome = trouble.as_deref().unwrap_or("happened");
            row(&format!("fault {fault:?}").to_lowercase(), &outcome)?;
        }
        for (name, count) in [
            ("starts tried again", self.started_again),
            ("signed, and sent once more at the end", self.replayed),
            ("  paid by that", self.replay_paid),
            ("lost", self.lost),
            ("paid twice", self.paid_twice),
            ("stuck", self.stuck),
            ("ended otherwise than paid", self.given_up),
            ("unexpected", self.unexpected),
            ("wrong balances on the chain", self.wrong_balances),
            ("wrong balances of the API", self.wrong_ledger),
            ("wrong answers", self.wrong_answers),
            ("unanswered", self.unanswered),
            ("processes that failed by themselves", self.failures),
        ] {
            row(name, &count)?;
        }
        row("doorbells left in the queues", &self.doorbells_left)?;
        row("  and in flight", &self.doorbells_in_flight)?;
        row("seconds until all were terminal", &self.settle_seconds)?;
        let verdict = if self.is_good() { "every promise kept, once" } else { "NOT AS PROMISED" };
        write!(formatter, "  {verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::faults::Fault;
    use super::*;

    #[test]
    fn any_trouble_makes_a_report_bad() {
        let good = FleetReport {
            withdrawals: 2_000,
            kills: 30,
            replayed: 1_500,
            ..FleetReport::default()
        };
        assert!(good.is_good() && good.to_string().ends_with("every promise kept, once"));
        let fault = Happened { fault: Fault::Redis, readyz: None, log: None, trouble: None };
        let calm = FleetReport { kills: 0, faults: vec![fault.clone()], ..good.clone() };
        assert!(calm.is_good(), "a fault is as hard as a kill: {calm}");
        let failed = Happened { trouble: Some("nobody said so".to_owned()), ..fault };
        let failed = FleetReport { faults: vec![failed], ..good.clone() };
        assert!(!failed.is_good() && failed.to_string().contains("nobody said so"), "{failed}");
        let spoil: [fn(&mut FleetReport); 6] = [
            |report| report.replayed = 0,
            |report| report.lost = 1,
            |report| report.paid_twice = 1,
            |report| report.doorbells_left = 1,
            |report| report.failures = 1,
            |report| report.kills = 0,
        ];
        for spoil in spoil {
            let mut report = good.clone();
            spoil(&mut report);
            assert!(!report.is_good(), "{report}");
        }
        let line = serde_json::to_value(&good).expect("plain data");
        assert_eq!((&line["kills"], &line["lost"]), (&30.into(), &0.into()));
    }
}
