//! Runs seeds and prints what they came to: `cargo xtask sim`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use clap::Parser;
use portcullis_simulator::{
    Chaos, ChaosSet, Outcome, SimulationError, SimulationOptions, Totals, run_seed,
};

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
    #[arg(long, default_value_t = 110)]
    withdrawals: usize,
    /// Crashes that a seed has at least
    #[arg(long, default_value_t = 6)]
    crashes: u64,
    /// A kind of trouble that is switched off; may be given several times
    #[arg(long, value_name = "KIND")]
    without: Vec<Chaos>,
    /// Seeds that run side by side
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Prints every move, and the warnings of the engines, to standard error; `RUST_LOG` chooses others
    #[arg(long)]
    trace: bool,
    /// Prints the totals as one JSON object, as the last line
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn options(&self) -> SimulationOptions {
        SimulationOptions {
            withdrawals: self.withdrawals,
            crashes_min: self.crashes,
            chaos: self.without.iter().fold(ChaosSet::ALL, |chaos, kind| chaos.without(*kind)),
            trace: self.trace,
        }
    }

    /// The command that replays one seed of this run.
    fn replay_command(&self, seed: u64) -> String {
        let command = format!(
            "cargo xtask sim --first {seed} --seeds 1 --withdrawals {} --crashes {} --trace",
            self.withdrawals, self.crashes
        );
        let without = self.without.iter().map(|kind| format!(" --without {kind}"));
        std::iter::once(command).chain(without).collect()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    if arguments.trace {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| "portcullis_engine=warn".into());
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .without_time()
            .init();
    }
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
    let (seed, counts) = (outcome.seed, &outcome.counts);
    let verdict = if outcome.is_good() { "" } else { " FAILED" };
    eprintln!(
        "seed {seed} ({:?}): {} crashes, {} power cuts, {} reorgs, {} restores, {} halts, {} moves{verdict}",
        outcome.rail,
        counts.of(Chaos::Crashes),
        counts.of(Chaos::PowerCuts),
        counts.of(Chaos::Reorgs),
        counts.of(Chaos::Restores).saturating_add(counts.of(Chaos::SilentRestores)),
        outcome.halts,
        outcome.moves,
    );
    if !outcome.is_good() {
        println!("seed {seed} failed:");
        outcome.problems.iter().for_each(|problem| println!("  {problem}"));
        println!("  replay: {}", arguments.replay_command(seed));
    }
}
