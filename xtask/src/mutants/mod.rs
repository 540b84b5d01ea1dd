//! `cargo xtask mutants-safety`: breaks each invariant in a copy of the source, and expects a test to notice.
//!
//! A guard has to pass as the source stands, and to fail on an assertion of its own when the mutant is in. A mutant that
//! does not apply, or does not compile, fails the run: it would prove nothing.

mod guard;
pub mod patch;
pub mod report;
mod scratch;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;

use self::guard::{Built, Verdict};
use self::patch::{Guard, Mutant};
use self::report::{Ending, Report, Row};
use self::scratch::Scratch;

/// Which mutants, and how they are told.
#[derive(Clone, Debug, Default, Args)]
pub struct MutantsArgs {
    /// Only this one; may be given several times
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Show the mutants and their guards, and run nothing
    #[arg(long)]
    pub list: bool,
    /// Print one JSON object as the last line
    #[arg(long)]
    pub json: bool,
}

/// The mutants that were asked for, those with one guard beside each other, so that little is built twice.
///
/// # Errors
/// A name is not known, or a file is no mutant.
pub fn select(root: &Path, arguments: &MutantsArgs) -> Result<Vec<Mutant>> {
    let mut mutants = patch::load(root)?;
    for name in &arguments.only {
        let is_known = mutants.iter().any(|mutant| mutant.name == *name);
        ensure!(is_known, "there is no mutant {name:?}: `--list` shows them");
    }
    mutants.retain(|mutant| arguments.only.is_empty() || arguments.only.contains(&mutant.name));
    mutants.sort_by(|one, other| (&one.guard, &one.name).cmp(&(&other.guard, &other.name)));
    Ok(mutants)
}

/// The mutants as `--list` shows them.
#[must_use]
pub fn listing(mutants: &[Mutant]) -> String {
    let lines = mutants.iter().map(|mutant| {
        let Mutant { name, invariant, breaks, guard, .. } = mutant;
        format!("{name} (invariant {invariant})\n  {breaks}\n  guard: {guard}\n")
    });
    lines.collect()
}

/// Runs them.
///
/// # Errors
/// The copy cannot be made, or cargo cannot be run. What a mutant comes to is in the report.
pub async fn run(root: &Path, mutants: &[Mutant]) -> Result<Report> {
    let started = Instant::now();
    let scratch = Scratch::open(root)?;
    let mut sound: BTreeMap<&Guard, Result<(), String>> = BTreeMap::new();
    for mutant in mutants {
        if !sound.contains_key(&mutant.guard) {
            eprintln!("the source as it stands: {}", mutant.guard);
            sound.insert(&mutant.guard, pass_unpatched(&scratch, &mutant.guard).await?);
        }
    }
    let mut rows = Vec::with_capacity(mutants.len());
    for (number, mutant) in (1..).zip(mutants) {
        let ending = match &sound[&mutant.guard] {
            Ok(()) => try_mutant(&scratch, mutant).await?,
            Err(why) => Ending::Invalid(format!("its guard does not pass by itself: {why}")),
        };
        eprintln!("{number}/{}: {}: {ending:?}", mutants.len(), mutant.name);
        rows.push(Row {
            mutant: mutant.name.clone(),
            invariant: mutant.invariant,
            guard: mutant.guard.to_string(),
            ending,
        });
    }
    rows.sort_by(|one, other| (one.invariant, &one.mutant).cmp(&(other.invariant, &other.mutant)));
    Ok(Report::new(rows, started.elapsed().as_secs()))
}

async fn pass_unpatched(scratch: &Scratch, guard: &Guard) -> Result<Result<(), String>> {
    let executable = match guard::build(scratch, guard).await? {
        Built::Executable(executable) => executable,
        Built::Refused(why) => return Ok(Err(format!("it does not compile: {why}"))),
    };
    Ok(match guard::run(scratch, &executable, guard).await? {
        Verdict::Passed => Ok(()),
        Verdict::Failed(why) | Verdict::Neither(why) => Err(why),
    })
}

async fn try_mutant(scratch: &Scratch, mutant: &Mutant) -> Result<Ending> {
    let broken = match mutant.apply(&scratch.tree) {
        Ok(broken) => broken,
        Err(why) => return Ok(Ending::Invalid(format!("{why:#}"))),
    };
    let before = scratch.put(&broken)?;
    let ending = judge_mutant(scratch, &mutant.guard).await;
    scratch.put(&before)?;
    ending
}

async fn judge_mutant(scratch: &Scratch, guard: &Guard) -> Result<Ending> {
    let executable = match guard::build(scratch, guard).await? {
        Built::Executable(executable) => executable,
        Built::Refused(why) => return Ok(Ending::Invalid(format!("it does not compile: {why}"))),
    };
    Ok(match guard::run(scratch, &executable, guard).await? {
        Verdict::Passed => Ending::Survived,
        Verdict::Failed(by) => Ending::Killed(by),
        Verdict::Neither(why) => Ending::Invalid(why),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::workspace_root;

    #[test]
    fn one_mutant_can_be_chosen_and_an_unknown_one_is_named() {
        let root = workspace_root();
        let all = select(&root, &MutantsArgs::default()).expect("reads");
        let name = all[0].name.clone();
        let one = MutantsArgs { only: vec![name.clone()], ..MutantsArgs::default() };
        let chosen = select(&root, &one).expect("reads");
        assert_eq!(chosen, [all[0].clone()]);
        assert!(listing(&chosen).starts_with(&format!("{name} (invariant ")));
        let unknown = MutantsArgs { only: vec!["nobody".into()], ..MutantsArgs::default() };
        let error = select(&root, &unknown).expect_err("no such mutant").to_string();
        assert!(error.contains("\"nobody\""), "{error}");
    }
}
