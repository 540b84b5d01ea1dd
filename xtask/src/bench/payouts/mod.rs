//! `cargo xtask bench payouts`: how fast the whole thing pays, beside how fast its chain can be paid on at all.

mod report;

use alloy_primitives::U256;
use anyhow::{Context, Result};
use clap::Args;

pub use report::PayoutsReport;

use super::ceiling::{self, Ceiling, Kind};
use super::feed::{ACCOUNT, Written, orders};
use super::pace::{Count, Steady};
use super::points::BlockPoint;
use super::run::{Before, Judged, Load, Run, judge, pay};
use super::stage::{Database, Stage};
use crate::assets::{TestAsset, by_symbol};
use crate::rail::Rail;

const ASSET: &str = "USDC";
/// Units of each payment: half a cent more than the least.
const UNITS: u64 = 15_000;
/// More than everything costs.
const DEPOSIT: &str = "1000000000";

/// `cargo xtask bench payouts`
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "they are the switches of a command line")]
#[command(after_help = "\
Examples:
  cargo xtask bench payouts --rail vault --count 20000 --json
  cargo xtask bench payouts --rail direct --count 10000 --wallets 160 --json
  cargo xtask bench payouts --database mysql --json

A release build with every role in one process pays N withdrawals of an ERC-20 token to N new addresses, on a chain of
this machine with one-second blocks of 60 M gas and a base fee that is held at 1 gwei. Requests go over HTTP, in batches of 500,
at most --ahead of what is mined. Then the same chain gets transactions of the same kind that were signed
beforehand: same token, same calldata, as many payments in each, as many wallets, new recipients too.

  ratio_to_ceiling    gas of a block in the run / gas of a block of those; first and last block left out
  payments_per_s      payments of a block / the time from block to block, as it was seen
  start_ms            from the first request to the first block that paid
  cpu_ms_per_payment  user and system time of our process from the first request until nothing is left to do
  peak_mib            VmHWM of our process
  statements_per_payment  SQL from the first request until nothing is left to do, polls included
  ratio_to_sqlite     with --database mysql: payments_per_s / the same of a run on SQLite just before

Each payment is judged by the chain's own logs. Exit codes: 0 every withdrawal was paid exactly once; 1 not so.")]
pub struct PayoutsArgs {
    /// Who pays: hot wallets by themselves, or a vault that they operate
    #[arg(long, value_enum, default_value_t, value_name = "RAIL")]
    pub rail: Rail,
    /// Where the state is kept: in a file, or on a MariaDB server that is started for it
    #[arg(long, value_enum, default_value_t, value_name = "DATABASE")]
    pub database: Database,
    /// How many withdrawals are asked for
    #[arg(long, default_value_t = 20_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub count: u32,
    /// How many hot wallets pay [default: 16 on the vault rail, 160 on the direct one]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub wallets: Option<u16>,
    /// How many withdrawals wait or travel at once
    #[arg(long, default_value_t = 8_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub ahead: u32,
    /// Each withdrawal in a request of its own
    #[arg(long)]
    pub single: bool,
    /// Leave the ceiling out: to profile the server
    #[arg(long)]
    pub no_ceiling: bool,
    /// Measure a dev build, to try the command itself
    #[arg(long)]
    pub dev: bool,
    /// Print one JSON object as the last line
    #[arg(long)]
    pub json: bool,
}

impl PayoutsArgs {
    /// How many hot wallets pay.
    #[must_use]
    pub const fn wallets(&self) -> u16 {
        match self.wallets {
            Some(wallets) => wallets,
            None => self.rail.wallets(),
        }
    }
}

/// Builds, pays, judges, and measures the ceiling.
///
/// # Errors
/// Something could not be set up, a request failed, or the payments stopped.
pub async fn run(arguments: &PayoutsArgs) -> Result<PayoutsReport> {
    if arguments.database == Database::Sqlite {
        return pay_once(arguments).await;
    }
    eprintln!("first the same on SQLite, to compare with ...");
    let beside = PayoutsArgs { database: Database::Sqlite, no_ceiling: true, ..arguments.clone() };
    let beside = pay_once(&beside).await?;
    let report = pay_once(arguments).await?;
    Ok(PayoutsReport { sqlite: Some(beside.steady), ..report })
}

async fn pay_once(arguments: &PayoutsArgs) -> Result<PayoutsReport> {
    let PayoutsArgs { dev, rail, database, .. } = *arguments;
    let mut stage = Stage::set_up_on(dev, arguments.wallets(), rail, database).await?;
    let outcome = run_on(&stage, arguments).await;
    if outcome.is_err() {
        stage.keep_files();
    }
    let report = outcome?;
    stage.anvil.stop().await?;
    if let Some(server) = stage.mariadb.take() {
        server.stop().await?;
    }
    Ok(report)
}

async fn run_on(stage: &Stage, arguments: &PayoutsArgs) -> Result<PayoutsReport> {
    let assets = TestAsset::all(&stage.chain.deployment);
    let asset = by_symbol(&assets, ASSET)?;
    let token = asset.token.context("a token has a contract")?;
    let (count, units) = (usize::try_from(arguments.count)?, U256::from(UNITS));
    let orders = orders("payouts", count, asset, units);
    let written = Written::new(&orders, arguments.single);
    let load = Load {
        orders: &orders,
        written: &written,
        ahead: usize::try_from(arguments.ahead)?,
        count: Count::of(stage.payers.vault, token, units),
        wanted: count,
    };
    let before = Before::look(stage).await?;
    let server = stage.serve().await?;
    stage.api.deposit(ACCOUNT, "bench-deposit", ASSET, DEPOSIT).await?;
    let run = pay(stage, &server, &load).await?;
    server.stop().await.context("the server did not stop as it should")?;

    let judged = judge(stage, &orders, &before).await?;
    let payments = judged.per_block();
    let span = judged.span()?;
    let steady = Steady::between(&run.seen, span, |block| {
        payments.get(&block.number).copied().unwrap_or_default()
    })?;
    let items = judged.items_per_transaction();
    let kind = Kind { token, units, items, wallets: arguments.wallets() };
    let ceiling =
        if arguments.no_ceiling { None } else { Some(ceiling::measure(stage, &kind).await?) };
    let points = run.points(&judged, span);
    Ok(fill(arguments, &run, &judged, (&kind, steady, ceiling), points))
}

fn fill(
    arguments: &PayoutsArgs,
    run: &Run,
    judged: &Judged,
    (kind, steady, ceiling): (&Kind, Steady, Option<Ceiling>),
    points: Vec<BlockPoint>,
) -> PayoutsReport {
    let paid = judged.paid();
    PayoutsReport {
        rail: arguments.rail,
        database: arguments.database,
        sqlite: None,
        database_cpu_ms_per_payment: Run::each_ms(run.database_cpu, paid),
        statements: run.statements,
        wallets: arguments.wallets(),
        withdrawals: judged.verdict.paid.len(),
        paid,
        lost: judged.verdict.lost().len(),
        paid_twice: judged.paid_twice(),
        unexpected: judged.verdict.unexpected.len(),
        foreign: judged.observation.foreign.len(),
        failed: judged.observation.failed.len(),
        wrong_balances: judged.wrong_balances,
        put_off: run.fed.put_off,
        items_per_transaction: kind.items,
        steady,
        ceiling,
        cpu_ms_per_payment: Run::each_ms(run.cpu, paid),
        cpu: run.cpu,
        node_cpu_ms_per_payment: Run::each_ms(run.node_cpu, paid),
        load_cpu_ms_per_payment: Run::each_ms(run.own_cpu, paid),
        peak_kib: run.peak_kib,
        metrics: run.metrics.clone(),
        profile: super::stage::profile_name(arguments.dev),
        points,
    }
}
