//! `cargo xtask bench payouts`: how fast the whole thing pays, beside how fast its chain can be paid on at all.

mod report;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use alloy_primitives::U256;
use anyhow::{Context, Result};
use clap::Args;

use report::BlockPoint;
pub use report::PayoutsReport;

use super::ceiling::{self, Ceiling, Kind};
use super::feed::{ACCOUNT, Fed, Written, feed, orders};
use super::machine::number;
use super::metrics::Metrics;
use super::pace::{Count, Pace, SeenBlock, Steady};
use super::stage::Stage;
use super::work::wait_until_done;
use crate::assets::{TestAsset, by_symbol};
use crate::judge::{BalanceSheet, Observation, Promise, Verdict, observe};
use crate::process::CpuTime;
use crate::rail::Rail;
use crate::server::Server;

const ASSET: &str = "USDC";
/// Units of each payment: half a cent more than the least.
const UNITS: u64 = 15_000;
/// More than everything costs.
const DEPOSIT: &str = "1000000000";

/// `cargo xtask bench payouts`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench payouts --rail vault --count 20000 --json
  cargo xtask bench payouts --rail direct --count 10000 --wallets 160 --json

A release build with every role in one process pays N withdrawals of an ERC-20 token to N new addresses, on a chain of
this machine with one-second blocks of 60 M gas and a base fee that is held at 1 gwei. Requests go over HTTP, in batches of 500,
at most --ahead of what is mined. Then the same chain gets transactions of the same kind that were signed
beforehand: same token, same calldata, as many payments in each, as many wallets, new recipients too.

  ratio_to_ceiling    gas of a block in the run / gas of a block of those; first and last block left out
  payments_per_s      payments of a block / the time from block to block, as it was seen
  start_ms            from the first request to the first block that paid
  cpu_ms_per_payment  user and system time of our process from the first request until nothing is left to do
  peak_mib            VmHWM of our process

Each payment is judged by the chain's own logs. Exit codes: 0 every withdrawal was paid exactly once; 1 not so.")]
pub struct PayoutsArgs {
    /// Who pays: hot wallets by themselves, or a vault that they operate
    #[arg(long, value_enum, default_value_t, value_name = "RAIL")]
    pub rail: Rail,
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
        match (self.wallets, self.rail) {
            (Some(wallets), _) => wallets,
            (None, Rail::Vault) => 16,
            (None, Rail::Direct) => 160,
        }
    }
}

/// What was seen from the first request until nothing was left to do.
struct Run {
    fed: Fed,
    begun: Instant,
    seen: Vec<SeenBlock>,
    cpu: CpuTime,
    node_cpu: CpuTime,
    own_cpu: CpuTime,
    peak_kib: u64,
    metrics: Metrics,
}

/// What the chain says of the run.
struct Judged {
    verdict: Verdict,
    observation: Observation,
    wrong_balances: usize,
}

/// Builds, pays, judges, and measures the ceiling.
///
/// # Errors
/// Something could not be set up, a request failed, or the payments stopped.
pub async fn run(arguments: &PayoutsArgs) -> Result<PayoutsReport> {
    let mut stage = Stage::set_up(arguments.dev, arguments.wallets(), arguments.rail).await?;
    let outcome = run_on(&stage, arguments).await;
    if outcome.is_err() {
        stage.keep_files();
    }
    let report = outcome?;
    stage.anvil.stop().await?;
    Ok(report)
}

async fn run_on(stage: &Stage, arguments: &PayoutsArgs) -> Result<PayoutsReport> {
    let assets = TestAsset::all(&stage.chain.deployment);
    let asset = by_symbol(&assets, ASSET)?;
    let count = usize::try_from(arguments.count)?;
    let orders = orders("payouts", count, asset, U256::from(UNITS));
    let written = Written::new(&orders, arguments.single);

    let payers = stage.scope.payers();
    let before = BalanceSheet::read(&stage.chain.rpc, &stage.scope.tokens, &payers).await?;
    let start = stage.chain.rpc.block_number().await?;
    let server = stage.serve().await?;
    stage.api.deposit(ACCOUNT, "bench-deposit", ASSET, DEPOSIT).await?;
    let measured = tokio::select! {
        measured = pay(stage, &server, &written, arguments) => measured,
        error = server.failure() => Err(error),
    };
    let measured = measured?;
    server.stop().await.context("the server did not stop as it should")?;

    let promises: Vec<Promise> = orders.iter().map(|order| order.promise.clone()).collect();
    let judged = judge(stage, &promises, &before, start).await?;
    let payments = per_block(&judged.verdict);
    let (Some((&first, _)), Some((&last, _))) =
        (payments.first_key_value(), payments.last_key_value())
    else {
        anyhow::bail!("nothing was paid");
    };
    let steady = Steady::between(&measured.seen, (first, last), |block| {
        payments.get(&block.number).copied().unwrap_or_default()
    })?;
    let kind = Kind {
        token: asset.token.context("a token has a contract")?,
        units: U256::from(UNITS),
        items: items_per_transaction(&judged.observation),
        wallets: arguments.wallets(),
    };
    let ceiling = match arguments.no_ceiling {
        true => None,
        false => Some(ceiling::measure(stage, &kind).await?),
    };
    let points = points(&measured, &judged.verdict, &payments, (first, last));
    Ok(fill(arguments, &measured, &judged, (&kind, steady, ceiling), points))
}

async fn pay(
    stage: &Stage,
    server: &Server,
    written: &Written,
    arguments: &PayoutsArgs,
) -> Result<Run> {
    let count = usize::try_from(arguments.count)?;
    let rpc = stage.chain.rpc.clone();
    let token = by_symbol(&TestAsset::all(&stage.chain.deployment), ASSET)?.token;
    let way = match (stage.payers.vault, token) {
        (Some(holder), Some(token)) => Count::Units { token, holder, units: U256::from(UNITS) },
        _ => Count::Transactions,
    };
    let pace = Pace::start(rpc, way).await?;
    let node = stage.anvil.pid();
    let own = std::process::id();
    let cpu = [server.cpu_time()?, CpuTime::of(node)?, CpuTime::of(own)?];
    let begun = Instant::now();
    eprintln!("{count} withdrawals over HTTP ...");
    let ahead = usize::try_from(arguments.ahead)?;
    let (fed, ()) = tokio::try_join!(
        feed(&stage.api, written, ahead, pace.counted()),
        pace.wait_for(count, "paid"),
    )?;
    wait_until_done(&stage.installation.database()).await?;
    let metrics = Metrics::read(&stage.api).await?;
    Ok(Run {
        fed,
        begun,
        seen: pace.seen(),
        cpu: server.cpu_time()? - cpu[0],
        node_cpu: CpuTime::of(node)? - cpu[1],
        own_cpu: CpuTime::of(own)? - cpu[2],
        peak_kib: server.peak_kib()?,
        metrics,
    })
}

async fn judge(
    stage: &Stage,
    promises: &[Promise],
    before: &BalanceSheet,
    start: u64,
) -> Result<Judged> {
    eprintln!("judging {} payments by the chain's logs ...", promises.len());
    let rpc = &stage.chain.rpc;
    let head = rpc.block_number().await?;
    let observation = observe(rpc, &stage.scope, start.saturating_add(1), head).await?;
    let verdict = Verdict::of(promises, &observation.payments);
    let payers = stage.scope.payers();
    let after = BalanceSheet::read(rpc, &stage.scope.tokens, &payers).await?;
    let wrong = after.check_wallets(before, promises, &payers, observation.fees_wei);
    for (token, expected, gone) in &wrong {
        let token = crate::assets::token_text(*token);
        eprintln!("wrong balance: {gone} of {token} left the payers instead of {expected}");
    }
    Ok(Judged { verdict, observation, wrong_balances: wrong.len() })
}

fn per_block(verdict: &Verdict) -> BTreeMap<u64, usize> {
    let mut payments = BTreeMap::new();
    for block in verdict.paid.iter().flatten() {
        let sum: &mut usize = payments.entry(*block).or_default();
        *sum = sum.saturating_add(1);
    }
    payments
}

/// What most payments of the run travelled with: the median over payments, not over transactions.
fn items_per_transaction(observation: &Observation) -> usize {
    let mut sizes: BTreeMap<_, usize> = BTreeMap::new();
    for payment in &observation.payments {
        let size = sizes.entry(payment.tx).or_default();
        *size = size.saturating_add(1);
    }
    let mut sizes: Vec<usize> = sizes.into_values().collect();
    sizes.sort_unstable();
    let half = observation.payments.len() / 2;
    let mut reached: usize = 0;
    let median = sizes.iter().find(|size| {
        reached = reached.saturating_add(**size);
        reached > half
    });
    median.copied().unwrap_or(1)
}

/// Latency and size of each block, from the first that paid to the last.
fn points(
    run: &Run,
    verdict: &Verdict,
    payments: &BTreeMap<u64, usize>,
    (first, last): (u64, u64),
) -> Vec<BlockPoint> {
    let mut latencies: BTreeMap<u64, Vec<Duration>> = BTreeMap::new();
    let at: BTreeMap<u64, Instant> =
        run.seen.iter().map(|block| (block.outline.number, block.at)).collect();
    for (block, sent_at) in verdict.paid.iter().zip(&run.fed.sent_at) {
        let Some(block) = block else { continue };
        let Some(mined_at) = at.get(block) else { continue };
        let latency = mined_at.saturating_duration_since(*sent_at);
        latencies.entry(*block).or_default().push(latency);
    }
    let blocks = run.seen.iter().filter(|block| (first..=last).contains(&block.outline.number));
    blocks
        .map(|block| {
            let number = block.outline.number;
            BlockPoint {
                at: block.at.saturating_duration_since(run.begun),
                outline: block.outline,
                payments: payments.get(&number).copied().unwrap_or_default(),
                latencies: latencies.remove(&number).unwrap_or_default(),
            }
        })
        .collect()
}

fn fill(
    arguments: &PayoutsArgs,
    run: &Run,
    judged: &Judged,
    (kind, steady, ceiling): (&Kind, Steady, Option<Ceiling>),
    points: Vec<BlockPoint>,
) -> PayoutsReport {
    let paid = judged.verdict.paid.iter().flatten().count();
    let each_ms = |time: CpuTime| time.total().as_secs_f64() * 1_000.0 / number(paid.max(1));
    PayoutsReport {
        rail: arguments.rail,
        wallets: arguments.wallets(),
        withdrawals: judged.verdict.paid.len(),
        paid,
        lost: judged.verdict.lost().len(),
        paid_twice: judged
            .verdict
            .paid_twice
            .len()
            .saturating_add(judged.observation.items.paid_again()),
        unexpected: judged.verdict.unexpected.len(),
        foreign: judged.observation.foreign.len(),
        failed: judged.observation.failed.len(),
        wrong_balances: judged.wrong_balances,
        put_off: run.fed.put_off,
        items_per_transaction: kind.items,
        steady,
        ceiling,
        cpu_ms_per_payment: each_ms(run.cpu),
        cpu: run.cpu,
        node_cpu_ms_per_payment: each_ms(run.node_cpu),
        load_cpu_ms_per_payment: each_ms(run.own_cpu),
        peak_kib: run.peak_kib,
        metrics: run.metrics.clone(),
        profile: super::stage::profile_name(arguments.dev),
        points,
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, B256};

    use super::*;
    use crate::judge::Payment;

    fn payment(tx: u8) -> Payment {
        let (from, to) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let tx = B256::repeat_byte(tx);
        Payment { token: None, from, to, units: U256::from(1), block: 1, tx }
    }

    #[test]
    fn the_usual_size_of_a_transaction_is_that_of_most_payments() {
        let of = |payments: Vec<Payment>| {
            items_per_transaction(&Observation { payments, ..Observation::default() })
        };
        // Four transactions of one payment, and one of five.
        let mixed: Vec<Payment> = [1, 2, 3, 4, 9, 9, 9, 9, 9].map(payment).into();
        assert_eq!(of(mixed), 5);
        assert_eq!(of([1, 2, 3].map(payment).into()), 1);
        assert_eq!(of(vec![]), 1);
    }

    #[test]
    fn payments_are_counted_by_block() {
        let verdict = Verdict { paid: vec![Some(4), None, Some(5), Some(4)], ..Verdict::default() };
        assert_eq!(per_block(&verdict), BTreeMap::from([(4, 2), (5, 1)]));
    }
}
