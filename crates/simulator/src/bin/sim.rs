//! Runs seeds and prints what they came to: `cargo xtask sim`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use clap::Parser;
use portcullis_simulator::{Outcome, SimulationError, SimulationOptions, Totals, run_seed};

/// Simulates Portcullis under crashes, lost answers and reorgs, and judges it by the chain.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask sim")]
struct Arguments {
    /// How many seeds to run
    #[arg(long, default_value_t = 50)]
    seeds: u64,
    /// The first seed; `--first N --seeds 1 --trace` replays one run
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Withdrawals a seed
    #[arg(long, default_value_t = 60)]
    withdrawals: usize,
    /// Crashes that a seed has at least
    #[arg(long, default_value_t = 6)]
    crashes: u64,
    /// Seeds that run side by side
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Prints every move to standard error
    #[arg(long)]
    trace: bool,
    /// Prints the totals as one JSON object, as the last line
    #[arg(long)]
    json: bool,
}

impl Arguments {
    const fn options(&self) -> SimulationOptions {
        SimulationOptions {
            withdrawals: self.withdrawals,
            crashes_min: self.crashes,
            trace: self.trace,
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let mut totals = Totals::default();
    for outcome in start_workers(&arguments) {
        let outcome = outcome?;
        tell(&arguments, &outcome);
        totals.add(&outcome);
    }
    totals.failed_seeds.sort_unstable();
    if arguments.json {
        println!("{}", serde_json::to_string(&totals)?);
    } else {
        println!("{totals}");
    }
    if totals.failed_seeds.is_empty() { Ok(()) } else { Err("some seeds failed".into()) }
}

/// Every seed is a world of its own, so they run on as many threads as are asked for.
fn start_workers(arguments: &Arguments) -> mpsc::Receiver<Result<Outcome, SimulationError>> {
    let (results, received) = mpsc::channel();
    let next = Arc::new(AtomicU64::new(arguments.first));
    let end = arguments.first.saturating_add(arguments.seeds);
    for _ in 0..arguments.jobs.max(1) {
        let (results, next, options) = (results.clone(), Arc::clone(&next), arguments.options());
        std::thread::spawn(move || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end || results.send(run_alone(seed, options)).is_err() {
                    return;
                }
            }
        });
    }
    received
}

fn run_alone(seed: u64, options: SimulationOptions) -> Result<Outcome, SimulationError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| SimulationError::Setup(error.to_string()))?
        .block_on(run_seed(seed, options))
}

fn tell(arguments: &Arguments, outcome: &Outcome) {
    let seed = outcome.seed;
    let verdict = if outcome.is_good() { "" } else { " FAILED" };
    eprintln!(
        "seed {seed}: {} withdrawals, {} crashes, {} reorgs, {} faults{verdict}",
        outcome.withdrawals,
        outcome.crashes,
        outcome.reorgs,
        outcome.faults.total(),
    );
    if !outcome.is_good() {
        println!("seed {seed} failed:");
        outcome.problems.iter().for_each(|problem| println!("  {problem}"));
        println!(
            "  replay: cargo xtask sim --first {seed} --seeds 1 --withdrawals {} --crashes {} --trace",
            arguments.withdrawals, arguments.crashes
        );
    }
}
