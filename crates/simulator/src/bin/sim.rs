//! Runs seeds and prints what they came to: `cargo xtask sim`.

use clap::Parser;
use portcullis_simulator::{SimulationOptions, Totals, run_seed};

/// Simulates Portcullis under crashes, lost answers and reorgs, and judges it by the chain.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 50)]
    seeds: u64,
    /// The first seed. With `--seeds 1 --trace` it replays one run.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Withdrawals a seed.
    #[arg(long, default_value_t = 60)]
    withdrawals: usize,
    /// Crashes a seed has at least.
    #[arg(long, default_value_t = 6)]
    crashes: u64,
    /// Prints every move to stderr.
    #[arg(long)]
    trace: bool,
    /// Prints the totals as one JSON object, as the last line.
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let options = SimulationOptions {
        withdrawals: arguments.withdrawals,
        crashes_min: arguments.crashes,
        trace: arguments.trace,
    };
    let mut totals = Totals::default();
    for seed in (arguments.first..).take(usize::try_from(arguments.seeds)?) {
        let outcome = run_seed(seed, options).await?;
        if !outcome.is_good() {
            println!("seed {seed} failed:");
            outcome.problems.iter().for_each(|problem| println!("  {problem}"));
            println!(
                "  replay: cargo xtask sim --first {seed} --seeds 1 --withdrawals {} --crashes {} --trace",
                options.withdrawals, options.crashes_min
            );
        }
        totals.add(&outcome);
        eprintln!(
            "seed {seed}: {} withdrawals, {} crashes, {} reorgs, {} faults{}",
            outcome.withdrawals,
            outcome.crashes,
            outcome.reorgs,
            outcome.faults.total(),
            if outcome.is_good() { "" } else { " FAILED" },
        );
    }
    if arguments.json {
        println!("{}", serde_json::to_string(&totals)?);
    } else {
        println!(
            "{} seeds: {} withdrawals, {} crashes, {} reorgs, {} lost answers; paid twice {}, lost {}, stuck {}",
            totals.seeds,
            totals.withdrawals,
            totals.crashes,
            totals.reorgs,
            totals.lost_answers,
            totals.paid_twice,
            totals.lost,
            totals.stuck,
        );
    }
    if totals.failed_seeds.is_empty() { Ok(()) } else { Err("some seeds failed".into()) }
}
