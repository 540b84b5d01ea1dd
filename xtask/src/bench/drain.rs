//! `cargo xtask bench drain`: a large backlog, handed over at once, paid to its end.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use alloy_primitives::U256;
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::feed::{ACCOUNT, Order, Written, orders};
use super::machine::{machine, mebibytes, number, rounded};
use super::pace::Count;
use super::points::BlockPoint;
use super::run::{Before, Judged, Load, Run, judge, pay};
use super::stage::{Stage, profile_name};
use crate::assets::{TestAsset, by_symbol};
use crate::demo::payout_list;
use crate::installation::NETWORK;
use crate::latency::seconds;
use crate::rail::Rail;
use crate::toolchain::workspace_root;
use crate::units::format_units;

/// A payout list that may lie beside the project; it is not a part of it.
const LIST: &str = "shared/data/payouts-polygon-week99.csv";
/// As many rows as that list has, where it is not there.
const LIST_ROWS: usize = 10_087;
/// What each generated withdrawal pays.
const UNITS: u64 = 15_000;

/// `cargo xtask bench drain`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench drain --json
  cargo xtask bench drain --count 20000 --no-list

Two backlogs, one after the other, each on a chain and an installation of its own: N withdrawals of one token to new
addresses, and a payout list (../shared/data/payouts-polygon-week99.csv beside the project, or --list; one of as
many rows is made up where there is none, and the report says so). Everything is handed over as fast as it is taken;
time counts from the first request to the last block that paid. Each payment is judged by the chain's own logs.

Exit codes: 0 every withdrawal was paid exactly once; 1 not so.")]
pub struct DrainArgs {
    /// How many withdrawals the made-up backlog has
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub count: u32,
    /// The payout list: a CSV file of the external id, recipient, asset and amount of each
    #[arg(long, value_name = "CSV", conflicts_with = "no_list")]
    pub list: Option<PathBuf>,
    /// Only the made-up backlog
    #[arg(long)]
    pub no_list: bool,
    /// Who pays: hot wallets by themselves, or a vault that they operate
    #[arg(long, value_enum, default_value_t, value_name = "RAIL")]
    pub rail: Rail,
    /// How many hot wallets pay
    #[arg(long, default_value_t = 16, value_name = "K", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub wallets: u16,
    /// Measure a dev build, to try the command itself
    #[arg(long)]
    pub dev: bool,
    /// Print one JSON object as the last line
    #[arg(long)]
    pub json: bool,
}

/// One backlog.
#[derive(Debug)]
struct Drained {
    name: String,
    run: Run,
    judged: Judged,
    points: Vec<BlockPoint>,
}

/// What was measured.
#[derive(Debug)]
pub struct DrainReport {
    rail: Rail,
    wallets: u16,
    profile: &'static str,
    drained: Vec<Drained>,
}

/// Where the orders come from.
enum Source {
    MadeUp(usize, String),
    List(PathBuf),
}

/// Drains both backlogs.
///
/// # Errors
/// Something could not be set up, a request failed, or the payments stopped.
pub async fn run(arguments: &DrainArgs) -> Result<DrainReport> {
    let count = usize::try_from(arguments.count)?;
    let mut sources = vec![Source::MadeUp(count, format!("{count} made up"))];
    if !arguments.no_list {
        sources.push(list(arguments));
    }
    let mut drained = Vec::new();
    for source in &sources {
        let mut stage = Stage::set_up(arguments.dev, arguments.wallets, arguments.rail).await?;
        let outcome = drain(&stage, source).await;
        if outcome.is_err() {
            stage.keep_files();
        }
        drained.push(outcome?);
        stage.anvil.stop().await?;
    }
    Ok(DrainReport {
        rail: arguments.rail,
        wallets: arguments.wallets,
        profile: profile_name(arguments.dev),
        drained,
    })
}

/// The list that was named, or the one beside the project, or one that is made up.
fn list(arguments: &DrainArgs) -> Source {
    if let Some(path) = &arguments.list {
        return Source::List(path.clone());
    }
    let beside = workspace_root().join("..").join(LIST);
    if beside.is_file() {
        return Source::List(beside);
    }
    eprintln!("there is no ../{LIST}: a list of as many rows is made up instead");
    Source::MadeUp(LIST_ROWS, format!("{LIST_ROWS} made up, for there is no ../{LIST}"))
}

async fn drain(stage: &Stage, source: &Source) -> Result<Drained> {
    let assets = TestAsset::all(&stage.chain.deployment);
    let (name, orders) = match source {
        Source::MadeUp(count, name) => {
            let asset = by_symbol(&assets, "USDC")?;
            (name.clone(), orders("drain", *count, asset, U256::from(UNITS)))
        }
        Source::List(path) => {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, listed(path, &assets)?)
        }
    };
    let first = orders.first().context("a backlog has at least one withdrawal")?;
    let token = first.promise.token.context("a backlog is paid in a token")?;
    ensure!(
        orders.iter().all(|order| order.promise.token == Some(token)),
        "the list pays in more than one asset, which is not measured here"
    );
    let total =
        orders.iter().fold(U256::ZERO, |sum, order| sum.saturating_add(order.promise.units));
    let asset = assets.iter().find(|asset| asset.token == Some(token));
    let asset = asset.context("a token of the list is not known")?;
    // Progress counts in averages, rounded up; what was really paid, the judge says.
    let average = total.div_ceil(U256::from(orders.len()));
    let count = Count::of(stage.payers.vault, token, average);
    let wanted = match count {
        Count::Transactions => orders.len(),
        Count::Units { units, .. } => usize::try_from(total.checked_div(units).unwrap_or(total))?,
    };
    let written = Written::new(&orders, false);
    let before = Before::look(stage).await?;
    let server = stage.serve().await?;
    let deposit = format_units(total, asset.decimals);
    stage.api.deposit(ACCOUNT, "bench-deposit", asset.symbol, &deposit).await?;
    let load = Load { orders: &orders, written: &written, ahead: usize::MAX, count, wanted };
    let run = pay(stage, &server, &load).await?;
    server.stop().await.context("the server did not stop as it should")?;
    let judged = judge(stage, &orders, &before).await?;
    let points = run.points(&judged, judged.span()?);
    Ok(Drained { name, run, judged, points })
}

/// The rows of a payout list as orders of one account.
fn listed(path: &std::path::Path, assets: &[TestAsset]) -> Result<Vec<Order>> {
    let mut orders = Vec::new();
    for promise in payout_list(path, assets)? {
        let asset = assets.iter().find(|asset| asset.token == promise.token);
        let asset = asset.context("a row has an asset")?;
        let body = json!({
            "external_id": promise.external_id,
            "account_id": ACCOUNT,
            "network": NETWORK,
            "asset": asset.symbol,
            "amount": format_units(promise.units, asset.decimals),
            "to_address": promise.to.to_checksum(None),
        });
        orders.push(Order { body, promise });
    }
    Ok(orders)
}

impl DrainReport {
    /// Whether every withdrawal was paid exactly once, and nothing else was.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.drained.iter().all(|it| it.judged.is_good())
    }
}

impl Drained {
    fn took(&self) -> Duration {
        self.points.last().map(|point| point.at).unwrap_or_default()
    }

    fn gas(&self) -> u64 {
        self.points.iter().map(|point| point.outline.gas_used).fold(0, u64::saturating_add)
    }

    fn cpu_ms(&self) -> f64 {
        Run::each_ms(self.run.cpu, self.judged.paid())
    }

    fn per_s(&self) -> f64 {
        number(self.judged.paid()) / self.took().as_secs_f64().max(0.001)
    }

    fn json(&self) -> Value {
        let gas = self.gas();
        let paid = self.judged.paid();
        json!({
            "backlog": self.name,
            "withdrawals": self.judged.verdict.paid.len(),
            "paid": paid,
            "lost": self.judged.verdict.lost().len(),
            "paid_twice": self.judged.paid_twice(),
            "unexpected": self.judged.verdict.unexpected.len(),
            "seconds": seconds(self.took()),
            "accepted_seconds": seconds(self.run.accepted),
            "payments_per_s": rounded(self.per_s(), 1),
            "gas": gas,
            "gas_per_payment": gas / u64::try_from(paid.max(1)).unwrap_or(u64::MAX),
            "fees_wei": self.judged.observation.fees_wei.to_string(),
            "cpu_ms_per_payment": rounded(self.cpu_ms(), 3),
            "cpu_seconds": seconds(self.run.cpu.total()),
            "peak_mib": mebibytes(self.run.peak_kib),
            "put_off": self.run.fed.put_off,
            "blocks": self.points.iter().map(BlockPoint::json).collect::<Vec<_>>(),
        })
    }
}

impl Serialize for DrainReport {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        json!({
            "rail": self.rail,
            "wallets": self.wallets,
            "profile": self.profile,
            "machine": machine(),
            "backlogs": self.drained.iter().map(Drained::json).collect::<Vec<_>>(),
        })
        .serialize(serializer)
    }
}

impl fmt::Display for DrainReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(formatter, "  {name:<34}{value:>26}");
        row("rail", format!("{}, {} wallets", self.rail, self.wallets))?;
        for it in &self.drained {
            let judged = &it.judged;
            row("backlog", it.name.clone())?;
            let withdrawals = judged.verdict.paid.len();
            row("  paid once, by the chain", format!("{} of {withdrawals}", judged.paid()))?;
            let wrong = [judged.verdict.lost().len(), judged.paid_twice()];
            row("  lost / twice", wrong.map(|count| count.to_string()).join(" / "))?;
            row("  all accepted after", format!("{:.1?}", it.run.accepted))?;
            row("  all paid after", format!("{:.1?}", it.took()))?;
            row("  payments a second", format!("{:.1}", it.per_s()))?;
            row("  gas", it.gas().to_string())?;
            row("  fees", format!("{} wei", judged.observation.fees_wei))?;
            row("  processor time a payment", format!("{:.3} ms", it.cpu_ms()))?;
            row("  memory at most", format!("{:.1} MiB", mebibytes(it.run.peak_kib)))?;
        }
        write!(formatter, "  {} build on {}", self.profile, machine())
    }
}
