//! `cargo xtask bench scale`: whether a payment costs the same however many were paid before it, and however many
//! wallets pay.

mod old_rows;
mod report;

use std::time::{Duration, Instant};

use alloy_primitives::U256;
use anyhow::{Context, Result};
use clap::Args;
use tokio::time::sleep;

pub use report::ScaleReport;

use self::old_rows::{Sample, file_bytes};
use self::report::{Burst, SendersPoint, TablePoint};
use super::feed::{ACCOUNT, Written, orders};
use super::pace::{Count, Steady};
use super::run::{Before, Load, judge, pay};
use super::stage::{Stage, profile_name};
use crate::assets::{TestAsset, by_symbol};
use crate::rail::Rail;
use crate::server::Server;

const ASSET: &str = "USDC";
/// Units of each payment: half a cent more than the least.
const UNITS: u64 = 15_000;
/// More than one burst costs.
const DEPOSIT: &str = "1000000";
/// Withdrawals that wait or travel at once.
const AHEAD: usize = 8_000;
/// What these have sent before, so that old rows have nonces: more than enough for every copy.
const NONCE_FIRST: u64 = 100_000_000;
/// Finished withdrawals in the table before a burst; the first burst finds none.
const OLD_ROWS: [usize; 2] = [100_000, 1_000_000];
const OLD_ROWS_LONG: usize = 5_000_000;
/// How many wallets pay.
const SENDERS: [u16; 4] = [1, 4, 16, 64];
/// A wallet has that many transactions under way at most, so one block pays no more of them.
const IN_FLIGHT_MAX: usize = 8;
/// Blocks that few wallets are given: one alone would need hours for what many pay in seconds.
const SENDERS_BLOCKS: usize = 20;

/// A process that takes less of a processor in a second has caught up with the chain.
const CALM: Duration = Duration::from_millis(150);
/// One that is never calm is measured as it is.
const CALM_LIMIT: Duration = Duration::from_secs(30);

/// `cargo xtask bench scale`
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "they are the switches of a command line")]
#[command(after_help = "\
Examples:
  cargo xtask bench scale --json
  cargo xtask bench scale --long --no-senders --json
  cargo xtask bench scale --rail direct --no-senders --json

First one installation on the vault rail with 16 wallets, or on the direct one with 160: a burst of N payments into an
empty table, then one after it has 100,000 finished withdrawals, and one after 1,000,000 (with --long also 5,000,000). Old
rows are copies of those of the first burst in every table that a finished withdrawal leaves rows in, with ids, times,
nonces, numbers and hashes of their own, put into the database of the stopped engine; each burst has a new process. Then
four installations on the direct rail with 1, 4, 16 and 64 wallets, each with as many payments as its wallets make in 20
blocks, N at most.

  throughput_ratio    payments a second with the most old rows / with none; at least 0.9
  cpu_ratio           user and system time of our process a payment, likewise; at most 1.25
  senders_cpu_ratio   the same with 64 wallets / with one: what a block costs anyway, more payments share
  bytes_per_row       the database's file / the withdrawals in it, with the most of them; at most 2048
  flat                whether all of these are so

Each payment is judged by the chain's own logs. Exit codes: 0 flat, and every withdrawal was paid exactly once; 1 not so.")]
pub struct ScaleArgs {
    /// How many payments a burst has
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1_000..=100_000))]
    pub count: u32,
    /// How the payments travel while the table grows
    #[arg(long, value_enum, default_value_t, value_name = "RAIL")]
    pub rail: Rail,
    /// Go on to five million old rows
    #[arg(long)]
    pub long: bool,
    /// Only the growing table
    #[arg(long)]
    pub no_senders: bool,
    /// Measure a dev build, to try the command itself
    #[arg(long)]
    pub dev: bool,
    /// Print one JSON object as the last line
    #[arg(long)]
    pub json: bool,
}

/// Grows the table, then the number of wallets.
///
/// # Errors
/// Something could not be set up, a request failed, or the payments stopped.
pub async fn run(arguments: &ScaleArgs) -> Result<ScaleReport> {
    let count = usize::try_from(arguments.count)?;
    let mut stage = Stage::set_up(arguments.dev, arguments.rail.wallets(), arguments.rail).await?;
    let outcome = grow_table(&stage, count, arguments.long).await;
    if outcome.is_err() {
        stage.keep_files();
    }
    let tables = outcome?;
    stage.anvil.stop().await?;
    let mut senders = Vec::new();
    for wallets in SENDERS.into_iter().filter(|_| !arguments.no_senders) {
        let payments = payments_of(wallets, count);
        let mut stage = Stage::set_up(arguments.dev, wallets, Rail::Direct).await?;
        let outcome = burst(&stage, &format!("scale-by-{wallets}"), payments).await;
        if outcome.is_err() {
            stage.keep_files();
        }
        senders.push(SendersPoint { wallets, burst: outcome? });
        stage.anvil.stop().await?;
    }
    Ok(ScaleReport { profile: profile_name(arguments.dev), rail: arguments.rail, tables, senders })
}

/// What so many wallets pay in the blocks that they are given.
fn payments_of(wallets: u16, most: usize) -> usize {
    let a_block = usize::from(wallets).saturating_mul(IN_FLIGHT_MAX);
    a_block.saturating_mul(SENDERS_BLOCKS).min(most)
}

/// A burst into the empty table, and one after each growth.
async fn grow_table(stage: &Stage, count: usize, is_long: bool) -> Result<Vec<TablePoint>> {
    let database = stage.installation.database();
    stage.chain.rpc.set_nonces(&stage.payers.wallets, NONCE_FIRST).await?;
    let first = burst(stage, "scale-empty", count).await?;
    let mut points = vec![TablePoint { rows: 0, file_bytes: 0, burst: first }];
    let mut sample = Sample::read(&database)?;
    let more = is_long.then_some(OLD_ROWS_LONG);
    for wanted in OLD_ROWS.into_iter().chain(more) {
        eprintln!("growing the table to {wanted} finished withdrawals ...");
        let rows = sample.grow(&database, wanted)?;
        let file_bytes = file_bytes(&database)?;
        let burst = burst(stage, &format!("scale-{wanted}"), count).await?;
        points.push(TablePoint { rows, file_bytes, burst });
    }
    Ok(points)
}

/// Pays so many withdrawals with a new process.
async fn burst(stage: &Stage, name: &str, count: usize) -> Result<Burst> {
    let assets = TestAsset::all(&stage.chain.deployment);
    let asset = by_symbol(&assets, ASSET)?;
    let token = asset.token.context("a token has a contract")?;
    let units = U256::from(UNITS);
    let orders = orders(name, count, asset, units);
    let written = Written::new(&orders, false);
    let load = Load {
        orders: &orders,
        written: &written,
        ahead: AHEAD,
        count: Count::of(stage.payers.vault, token, units),
        wanted: count,
    };
    let before = Before::look(stage).await?;
    let server = stage.serve().await?;
    stage.api.deposit(ACCOUNT, &format!("{name}-deposit"), ASSET, DEPOSIT).await?;
    calm_down(&server).await?;
    let run = pay(stage, &server, &load).await?;
    server.stop().await.context("the server did not stop as it should")?;
    let judged = judge(stage, &orders, &before).await?;
    let span = judged.span()?;
    let payments = judged.per_block();
    let steady = Steady::between(&run.seen, span, |block| {
        payments.get(&block.number).copied().unwrap_or_default()
    })?;
    let points = run.points(&judged, span);
    Ok(Burst { run, judged, steady, points })
}

/// While the table grew, the chain went on: reading its blocks belongs to no payment.
async fn calm_down(server: &Server) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < CALM_LIMIT {
        let before = server.cpu_time()?;
        sleep(Duration::from_secs(1)).await;
        if (server.cpu_time()? - before).total() < CALM {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_wallets_are_asked_for_less() {
        assert_eq!(SENDERS.map(|wallets| payments_of(wallets, 10_000)), [160, 640, 2_560, 10_000]);
        assert_eq!(payments_of(64, 1_000), 1_000);
    }
}
