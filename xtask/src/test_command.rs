//! `cargo xtask test`: everything that says whether the project is sound, in one command. What the
//! checks need is installed first. The test runner comes last and its output is passed on untouched,
//! so that its totals are the last thing to be read.

mod back_ends;
mod cargo_deny;
mod servers;

use std::cell::OnceCell;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::{cargo_build, contracts, tidy, toolchain};

/// What of it runs.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct TestOptions {
    /// Only formatting, the house rules and the unit tests: for the minutes between two edits
    #[arg(long)]
    pub quick: bool,
    /// Leave out what needs cargo-deny, on a machine that cannot install it
    #[arg(long)]
    pub without_deny: bool,
}

/// How a step ended that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    /// It could not be done here, for this reason.
    Skipped(String),
}

/// One thing that is checked.
struct Step<'a> {
    name: &'static str,
    run: Box<dyn Fn() -> Result<Outcome> + 'a>,
}

impl<'a> Step<'a> {
    fn new(name: &'static str, run: impl Fn() -> Result<Outcome> + 'a) -> Self {
        Self { name, run: Box::new(run) }
    }
}

/// Runs the checks on the checkout at `root`, and stops at the first that fails.
///
/// # Errors
/// A check failed, or what it needs could not be installed. The message names the step.
pub fn run(root: &Path, options: TestOptions) -> Result<()> {
    run_steps(&steps(root, options), &mut std::io::stdout())
}

/// The checks, the quickest first.
fn steps(root: &Path, options: TestOptions) -> Vec<Step<'_>> {
    let cargo_step = move |name, arguments: &'static [&'static str]| {
        Step::new(name, move || cargo(root, arguments).map(|()| Outcome::Passed))
    };
    let mut steps = vec![
        cargo_step("formatting", &["fmt", "--all", "--check"]),
        Step::new("house rules", move || tidy::check(root).map(|()| Outcome::Passed)),
    ];
    let install_servers = Step::new("servers for the tests", move || {
        servers::ensure_all(root).map(|_versions| Outcome::Passed)
    });
    let name_back_ends = Step::new("suites and their back ends", move || {
        back_ends::print(&mut std::io::stdout(), &servers::ensure_all(root)?, options.quick)?;
        Ok(Outcome::Passed)
    });
    if options.quick {
        // The unit tests of the keys start some.
        steps.extend([install_servers, name_back_ends]);
        steps.push(cargo_step(
            "unit tests",
            &["test", "--locked", "--workspace", "--lib", "--bins"],
        ));
        return steps;
    }
    steps.push(Step::new("npm packages", move || {
        toolchain::ensure_node_packages(root).map(|()| Outcome::Passed)
    }));
    steps.push(install_servers);
    steps.push(Step::new("contract artefacts", move || {
        contracts::check(root).map(|()| Outcome::Passed)
    }));
    steps.push(Step::new("contract tests", move || {
        contracts::forge_test(root).map(|()| Outcome::Passed)
    }));
    if !options.without_deny {
        steps.push(Step::new("dependencies: bans, licences, sources", move || {
            cargo_deny::check(root).map(|()| Outcome::Passed)
        }));
        steps.push(Step::new("dependencies: advisories", move || {
            Ok(cargo_deny::check_advisories(root)?.map_or(Outcome::Passed, Outcome::Skipped))
        }));
    }
    steps.push(cargo_step(
        "clippy",
        &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"],
    ));
    // The end-to-end tests start the executable that is built with them.
    let binary = Rc::new(OnceCell::new());
    let built = Rc::clone(&binary);
    steps.push(Step::new("build of the tests", move || {
        built.set(cargo_build::build_tests(root)?).ok().context("the tests were built before")?;
        Ok(Outcome::Passed)
    }));
    steps.push(name_back_ends);
    steps.push(Step::new("tests", move || {
        let binary: &PathBuf = binary.get().context("the tests have not been built")?;
        let mut command = Command::new(cargo_program());
        command.args(["test", "--locked", "--workspace"]).env(cargo_build::BUILT, binary);
        pass_through(command.current_dir(root)).map(|()| Outcome::Passed)
    }));
    steps
}

/// Runs them in order. Nothing is printed after the last one but what it prints itself.
fn run_steps(steps: &[Step<'_>], out: &mut impl Write) -> Result<()> {
    let count = steps.len();
    for (index, step) in steps.iter().enumerate() {
        let number = index.saturating_add(1);
        writeln!(out, "== {number}/{count} {}", step.name)?;
        let started = Instant::now();
        let outcome = (step.run)().with_context(|| {
            let rest: Vec<_> = steps.iter().skip(number).map(|step| step.name).collect();
            let rest = if rest.is_empty() { "nothing".to_owned() } else { rest.join(", ") };
            format!("FAILED at {number}/{count} {}; not run after it: {rest}", step.name)
        })?;
        if number < count {
            let seconds = started.elapsed().as_secs();
            match outcome {
                Outcome::Passed => writeln!(out, "   passed in {seconds} s")?,
                Outcome::Skipped(reason) => writeln!(out, "   NOT CHECKED: {reason}")?,
            }
        }
    }
    Ok(())
}

/// The cargo that runs us, or the one of the path.
fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Runs cargo with its output passed through.
fn cargo(root: &Path, arguments: &[&str]) -> Result<()> {
    pass_through(Command::new(cargo_program()).args(arguments).current_dir(root))
}

/// Runs a program with its output passed through; an error shows the command for running it alone.
fn pass_through(command: &mut Command) -> Result<()> {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let mut line = program.to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    ensure!(status.success(), "`{line}` ended with {status}");
    Ok(())
}

/// Installs a pinned program from crates.io into `folder`, with its own build folder, which is
/// removed afterwards: it is big and never read again.
fn install(root: &Path, name: &str, version: &str, folder: &Path) -> Result<()> {
    let build = folder.join("build");
    let mut command = Command::new(cargo_program());
    command
        .args(["install", name, "--version", version, "--locked", "--root"])
        .arg(folder)
        .env("CARGO_TARGET_DIR", &build)
        .current_dir(root);
    if let Err(error) = pass_through(&mut command) {
        bail!(
            "{name} {version} could not be installed ({error:#}): install it by hand, or pass --without-deny"
        );
    }
    std::fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn names(options: TestOptions) -> Vec<&'static str> {
        steps(Path::new("."), options).iter().map(|step| step.name).collect()
    }

    #[test]
    fn the_test_runner_comes_last() {
        let full = names(TestOptions::default());
        assert_eq!(full.last(), Some(&"tests"));
        assert!(full.contains(&"clippy") && full.contains(&"contract tests"), "{full:?}");
        let quick = names(TestOptions { quick: true, without_deny: false });
        let servers = ["servers for the tests", "suites and their back ends"];
        assert_eq!(quick[..2], ["formatting", "house rules"]);
        assert_eq!(quick[2..4], servers);
        assert_eq!(quick[4..], ["unit tests"]);
        assert_eq!(full[full.len() - 2], servers[1]);
        let bare = names(TestOptions { quick: false, without_deny: true });
        assert_eq!(bare.len(), full.len() - 2);
        assert!(bare.iter().all(|name| !name.starts_with("dependencies")), "{bare:?}");
    }

    #[test]
    fn the_first_failure_ends_the_run_and_is_named() {
        let ran = RefCell::new(Vec::new());
        let step = |name, outcome: fn() -> Result<Outcome>| {
            let ran = &ran;
            Step::new(name, move || {
                ran.borrow_mut().push(name);
                outcome()
            })
        };
        let steps = [
            step("one", || Ok(Outcome::Skipped("no network".to_owned()))),
            step("two", || bail!("it is broken")),
            step("three", || Ok(Outcome::Passed)),
        ];
        let mut out = Vec::new();
        let error = format!("{:#}", run_steps(&steps, &mut out).unwrap_err());
        assert_eq!(error, "FAILED at 2/3 two; not run after it: three: it is broken");
        assert_eq!(*ran.borrow(), ["one", "two"]);
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out, "== 1/3 one\n   NOT CHECKED: no network\n== 2/3 two\n");
    }

    #[test]
    fn nothing_is_printed_after_the_last_step() {
        let mut out = Vec::new();
        run_steps(&[Step::new("only", || Ok(Outcome::Passed))], &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "== 1/1 only\n");
    }

    #[test]
    fn a_failing_program_is_shown_as_a_command_line() {
        let mut command = Command::new("/bin/sh");
        let error = pass_through(command.args(["-c", "exit 3"])).unwrap_err().to_string();
        assert_eq!(error, "`sh -c exit 3` ended with exit status: 3");
    }
}
