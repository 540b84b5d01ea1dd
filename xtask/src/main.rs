//! `cargo xtask`: every command of the project. Progress goes to standard error, results to
//! standard output.

use std::fmt::Display;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde::Serialize;
use xtask::bench::{self, BenchCommand, DrainReport, PayoutsReport, ScaleReport};
use xtask::demo::{self, DemoArgs};
use xtask::fleet::{self, FleetArgs, FleetReport};
use xtask::interrupt::unless_interrupted;
use xtask::mutants::{self, MutantsArgs};
use xtask::plot::{self, PlotArgs};
use xtask::sandbox::{self, Ending, SandboxArgs};
use xtask::sim::{self, SimArgs};
use xtask::test_command::{self, TestOptions};
use xtask::tidy::{self, TidyOptions};
use xtask::toolchain::workspace_root;
use xtask::torture::{self, TortureArgs};

/// As a shell tells of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// The commands of the project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
#[command(after_help = "\
Begin with:
  cargo xtask sandbox                                everything on this machine, paying in front of you
  cargo xtask demo --withdrawals 1000 --wallets 16   a thousand withdrawals, each judged on the chain
  cargo xtask bench payouts                          payments a second, beside what the chain takes
  cargo xtask bench api                              latency, memory and start-up time
  cargo xtask bench scale                            cost of a payment with a million old ones
  cargo xtask sim --seeds 50                         the real roles under crashes and reorgs, by seeds
  cargo xtask torture --minutes 3                    the real processes under SIGKILL, on a chain with reorgs
  cargo xtask fleet                                  two of each role over Redis and SQS, killed while paying
  cargo xtask mutants-safety                         break each invariant, and see a test notice
  cargo xtask test                                   everything that says whether the project is sound

With --json the last line of standard output is one JSON object; the exit code is 0 only when all is well.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start everything on this machine, pay 20 withdrawals, and keep running
    Sandbox(SandboxArgs),
    /// Pay many withdrawals, or a payout list, on a local chain, and judge each of them
    Demo(DemoArgs),
    /// Measure speed and size
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Draw throughput and latency over time from what the benches printed with --json
    Plot(PlotArgs),
    /// Run the real roles on a simulated chain under crashes, lost answers and reorgs
    Sim(SimArgs),
    /// Kill and pause the real processes, the chain too, at random moments, and judge every payment
    Torture(TortureArgs),
    /// Run the roles as a fleet over Redis and SQS, kill a process every few seconds, and judge every payment
    Fleet(FleetArgs),
    /// Break each invariant in a copy of the source, and expect its guard to fail
    MutantsSafety(MutantsArgs),
    /// Install what the checks need, and run them all; the test runner's totals come last
    Test(TestOptions),
    /// Check the house rules
    Tidy(TidyOptions),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Sandbox(arguments) => Ok(match sandbox::run(&arguments).await? {
            Ending::Good => ExitCode::SUCCESS,
            Ending::Bad => ExitCode::FAILURE,
            Ending::Interrupted => ExitCode::from(INTERRUPTED),
        }),
        Command::Demo(arguments) => {
            let Some(report) = unless_interrupted(demo::run(&arguments)).await? else {
                return Ok(ExitCode::from(INTERRUPTED));
            };
            println!("{report}");
            print_json(arguments.json, &report)?;
            Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Bench(command) => measure(command).await,
        Command::Plot(arguments) => {
            for path in plot::run(&arguments)? {
                println!("{}", path.display());
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Sim(arguments) => sim::run(&workspace_root(), &arguments),
        Command::Torture(arguments) => {
            let Some(outcome) = unless_interrupted(torture::run(&arguments)).await? else {
                return Ok(ExitCode::from(INTERRUPTED));
            };
            println!("{}", outcome.report);
            print_json(arguments.json, &outcome.report)?;
            Ok(if outcome.is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Fleet(arguments) => {
            let report = unless_interrupted(fleet::run(&arguments)).await?;
            told(report, arguments.json, FleetReport::is_good)
        }
        Command::MutantsSafety(arguments) => break_invariants(&arguments).await,
        Command::Test(options) => {
            test_command::run(&workspace_root(), options).map(|()| ExitCode::SUCCESS)
        }
        Command::Tidy(options) => tidy::run(&workspace_root(), options).map(|()| ExitCode::SUCCESS),
    }
}

async fn measure(command: BenchCommand) -> Result<ExitCode> {
    match command {
        BenchCommand::Payouts(arguments) => {
            let report = unless_interrupted(bench::payouts(&arguments)).await?;
            told(report, arguments.json, PayoutsReport::is_good)
        }
        BenchCommand::Drain(arguments) => {
            let report = unless_interrupted(bench::drain(&arguments)).await?;
            told(report, arguments.json, DrainReport::is_good)
        }
        BenchCommand::Scale(arguments) => {
            let report = unless_interrupted(bench::scale(&arguments)).await?;
            told(report, arguments.json, ScaleReport::is_good)
        }
        BenchCommand::Api(arguments) => {
            let report = unless_interrupted(bench::run(&arguments)).await?;
            told(report, arguments.json, |_| true)
        }
    }
}

/// Prints a report, unless the run was interrupted, and makes an exit code of it.
fn told<T: Display + Serialize>(
    report: Option<T>,
    is_json: bool,
    is_good: impl Fn(&T) -> bool,
) -> Result<ExitCode> {
    let Some(report) = report else { return Ok(ExitCode::from(INTERRUPTED)) };
    println!("{report}");
    print_json(is_json, &report)?;
    Ok(if is_good(&report) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn break_invariants(arguments: &MutantsArgs) -> Result<ExitCode> {
    let root = workspace_root();
    let mutants = mutants::select(&root, arguments)?;
    if arguments.list {
        print!("{}", mutants::listing(&mutants));
        return Ok(ExitCode::SUCCESS);
    }
    let Some(report) = unless_interrupted(mutants::run(&root, &mutants)).await? else {
        return Ok(ExitCode::from(INTERRUPTED));
    };
    println!("{report}");
    print_json(arguments.json, &report)?;
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints one JSON object on one line, if it was asked for.
fn print_json(is_asked: bool, report: &impl Serialize) -> Result<()> {
    if is_asked {
        println!("{}", serde_json::to_string(report)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_documented_lines_are_understood() {
        for line in [
            "sandbox --once --json",
            "sandbox --fresh --listen 127.0.0.1:4000",
            "demo --withdrawals 1000 --wallets 16 --json",
            "demo --file list.csv --wallets 64 --json",
            "bench api --json",
            "bench scale --long --no-senders --json",
            "bench drain --count 20000 --no-list --json",
            "bench payouts --rail vault --count 20000 --json",
            "bench payouts --rail direct --count 10000 --wallets 160 --json",
            "plot payouts.json drained.json --out docs/images",
            "sim --seeds 20 --json",
            "sim --release --first 7 --seeds 1 --trace",
            "torture --minutes 3 --json",
            "torture --minutes 2 --rail vault --no-anvil-pause",
            "demo --withdrawals 200 --rail direct",
            "sandbox --once --rail direct",
            "torture --minutes 1 --seed 7 --no-anvil-kill --no-kill --no-pause --no-twin",
            "fleet --json",
            "fleet --withdrawals 200 --database-url mysql://127.0.0.1/payouts --keep",
            "fleet --database sqlite",
            "mutants-safety --json",
            "mutants-safety --only drop-compare --only skip-journal",
            "mutants-safety --list",
            "test --quick",
            "test --without-deny",
            "tidy --accept-new-migrations",
        ] {
            let words = std::iter::once("xtask").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
    }
}
