//! What the mutants came to.

use std::fmt;

use serde::Serialize;

/// How one mutant ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "detail")]
pub enum Ending {
    /// Its guard failed: where, and with which words.
    Killed(String),
    /// Its guard passed: nobody would notice this mistake.
    Survived,
    /// Nothing can be said: it does not apply or compile, or its guard is broken by itself.
    Invalid(String),
}

/// One mutant.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub mutant: String,
    /// The invariant that it breaks.
    pub invariant: u8,
    /// The test that has to notice.
    pub guard: String,
    /// How it ended.
    #[serde(flatten)]
    pub ending: Ending,
}

/// All of them. `Display` is the table for people, serde the line for machines.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// How many there were.
    pub mutants: usize,
    /// How many a guard noticed.
    pub killed: usize,
    /// How many nobody noticed.
    pub survived: usize,
    /// How many said nothing.
    pub invalid: usize,
    /// How long it took, builds included.
    pub seconds: u64,
    /// Which guard killed which.
    pub guards: Vec<Row>,
}

impl Report {
    pub(super) fn new(rows: Vec<Row>, seconds: u64) -> Self {
        let count = |is: fn(&Ending) -> bool| rows.iter().filter(|row| is(&row.ending)).count();
        Self {
            mutants: rows.len(),
            killed: count(|ending| matches!(ending, Ending::Killed(_))),
            survived: count(|ending| matches!(ending, Ending::Survived)),
            invalid: count(|ending| matches!(ending, Ending::Invalid(_))),
            seconds,
            guards: rows,
        }
    }

    /// Whether there were mutants and every one of them was noticed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.mutants > 0 && self.killed == self.mutants
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.guards.iter().map(|row| row.mutant.len()).max().unwrap_or(0);
        writeln!(formatter, "{:width$}  invariant  result    guard", "mutant")?;
        for row in &self.guards {
            let result = match &row.ending {
                Ending::Killed(_) => "killed",
                Ending::Survived => "SURVIVED",
                Ending::Invalid(_) => "INVALID",
            };
            let (mutant, invariant, guard) = (&row.mutant, row.invariant, &row.guard);
            writeln!(formatter, "{mutant:width$}  {invariant:>9}  {result:8}  {guard}")?;
            match &row.ending {
                Ending::Killed(by) => writeln!(formatter, "{:width$}    {by}", "")?,
                Ending::Invalid(why) => writeln!(formatter, "{:width$}    {why}", "")?,
                Ending::Survived => {}
            }
        }
        write!(
            formatter,
            "{} of {} killed, {} survived, {} invalid, in {} s",
            self.killed, self.mutants, self.survived, self.invalid, self.seconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ending: Ending) -> Row {
        Row { mutant: "m".into(), invariant: 1, guard: "core::g".into(), ending }
    }

    #[test]
    fn all_have_to_be_killed() {
        let killed = || row(Ending::Killed("a.rs:1: no".into()));
        assert!(Report::new(vec![killed()], 1).is_good());
        assert!(!Report::new(vec![], 1).is_good());
        assert!(!Report::new(vec![killed(), row(Ending::Survived)], 1).is_good());
        let report = Report::new(vec![killed(), row(Ending::Invalid("does not fit".into()))], 9);
        assert!(!report.is_good());
        assert!(report.to_string().ends_with("1 of 2 killed, 0 survived, 1 invalid, in 9 s"));
        let json = serde_json::to_string(&report).expect("is JSON");
        assert!(json.starts_with(r#"{"mutants":2,"killed":1,"survived":0,"invalid":1,"#), "{json}");
        let first = r#"{"mutant":"m","invariant":1,"guard":"core::g","outcome":"killed","detail":"a.rs:1: no"}"#;
        assert!(json.contains(first), "{json}");
    }
}
