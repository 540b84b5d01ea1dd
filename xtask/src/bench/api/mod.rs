//! `cargo xtask bench api`

mod load;
mod report;
mod wire;
mod yardstick;

use std::net::SocketAddr;
use std::time::Duration;

use alloy_primitives::Address;
use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};
use tokio::time::sleep;

pub use report::ApiBenchReport;

use load::{Figures, as_fast_as_taken, steadily};
use report::Beside;
use wire::{Wire, WireRequest};
use yardstick::Yardstick;

use super::feed::{ACCOUNT, BATCH_ITEMS};
use super::machine::mebibytes;
use super::stage::{Stage, profile_name};
use crate::cargo_build::Profile;
use crate::installation::NETWORK;
use crate::latency::milliseconds;
use crate::rail::Rail;
use crate::server::{Server, ServerOptions};

const STARTS: usize = 3;
const IDLE: Duration = Duration::from_secs(5);
/// Sent before the measuring begins, so that connections and caches are as they are in use.
const WARM_UP_SECONDS: u32 = 2;
const WARM_UP_RATE: u32 = 100;
/// More than any of the loads reserves.
const DEPOSIT: &str = "1000000000";
/// Most requests that the maximal load can make a second; more are not written beforehand.
const MAX_PER_S: u32 = 6_000;
/// Batches under way at once under the maximal load.
const BATCHES_AT_ONCE: usize = 4;
const BATCHES: u32 = 40;

/// `cargo xtask bench api`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench api --json
  cargo xtask bench api --rate 100 --seconds 30 --rail direct

A release build with every role in one process pays on a local chain meanwhile. Each request is a new withdrawal,
POST /v1/withdrawals, over 1,000 kept connections in turn. At a rate, requests are sent at fixed moments, and latency
counts from the moment at which a request was due, so a server that falls behind cannot hide it. `max` is every
connection sending again as soon as it is answered; `batch` is the same with batches of 500 over 4 connections. Each
load is given to the yardstick as well, a release build of axum and one SQLite insert and nothing else, right
after it on the same machine (`bare`). ready_ms is the best of three starts, from the start of the process to the
first 200 of /readyz. idle_mib is the resident memory five seconds after a start.")]
pub struct ApiBenchArgs {
    /// Requests a second, one load after the other
    #[arg(long, default_values_t = [100, 500, 1_000], value_delimiter = ',', value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: Vec<u32>,
    /// How long each load lasts
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: u32,
    /// Kept connections
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=5_000))]
    pub connections: u16,
    /// Who pays meanwhile: hot wallets by themselves, or a vault that they operate
    #[arg(long, value_enum, default_value_t, value_name = "RAIL")]
    pub rail: Rail,
    /// How many hot wallets pay meanwhile
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub wallets: u16,
    /// Measure a dev build, to try the command itself
    #[arg(long)]
    pub dev: bool,
    /// Print one JSON object as the last line
    #[arg(long)]
    pub json: bool,
}

/// Where a load goes.
struct Target<'a> {
    address: SocketAddr,
    wire: Wire,
    secret: &'a str,
    arguments: &'a ApiBenchArgs,
}

/// Builds, measures, and cleans up.
///
/// # Errors
/// Something could not be set up, or a request failed.
pub async fn run(arguments: &ApiBenchArgs) -> Result<ApiBenchReport> {
    let profile = if arguments.dev { Profile::Dev } else { Profile::Release };
    let mut stage = Stage::set_up(arguments.dev, arguments.wallets, arguments.rail).await?;
    let yardstick = Yardstick::start(stage.dir(), profile).await?;
    let outcome = measure(&stage, &yardstick, arguments).await;
    if outcome.is_err() {
        stage.keep_files();
    }
    let report = outcome?;
    yardstick.stop().await?;
    stage.anvil.stop().await?;
    Ok(report)
}

async fn measure(
    stage: &Stage,
    yardstick: &Yardstick,
    arguments: &ApiBenchArgs,
) -> Result<ApiBenchReport> {
    eprintln!("starting the server {STARTS} times ...");
    let (server, ready) = best_start(&stage.options).await?;
    sleep(IDLE).await;
    let idle_kib = server.resident_kib()?;
    stage.api.deposit(ACCOUNT, "bench-deposit", "POL", "1000000").await?;
    stage.api.deposit(ACCOUNT, "bench-deposit-usdc", "USDC", DEPOSIT).await?;
    let loads = tokio::select! {
        loads = every_load(stage, yardstick, arguments) => loads?,
        error = server.failure() => return Err(error),
    };
    let (loaded_kib, peak_kib) = (server.resident_kib()?, server.peak_kib()?);
    server.stop().await?;
    Ok(ApiBenchReport {
        loads,
        idle_mib: mebibytes(idle_kib),
        loaded_mib: mebibytes(loaded_kib),
        peak_mib: mebibytes(peak_kib),
        ready_ms: milliseconds(ready),
        rail: arguments.rail,
        connections: arguments.connections,
        profile: profile_name(arguments.dev),
    })
}

/// Starts the server several times; the last one goes on running.
async fn best_start(options: &ServerOptions) -> Result<(Server, Duration)> {
    let mut best = Duration::MAX;
    for _ in 1..STARTS {
        let server = Server::start(options)?;
        best = best.min(server.ready().await?);
        server.stop().await?;
    }
    let server = Server::start(options)?;
    best = best.min(server.ready().await?);
    Ok((server, best))
}

/// Each load by its name, and beside it the same load on the yardstick.
async fn every_load(
    stage: &Stage,
    yardstick: &Yardstick,
    arguments: &ApiBenchArgs,
) -> Result<Vec<(String, Beside)>> {
    let connections = usize::from(arguments.connections);
    let listen = stage.options.listen;
    let ours = Target {
        address: listen,
        wire: Wire::connect(listen, connections).await?,
        secret: &stage.secret,
        arguments,
    };
    let bare = Target {
        address: yardstick.address,
        wire: Wire::connect(yardstick.address, connections).await?,
        secret: "none",
        arguments,
    };
    for target in [&ours, &bare] {
        target.steady("warm-up", WARM_UP_RATE, WARM_UP_SECONDS).await?;
    }
    let mut loads = Vec::new();
    for &rate in &arguments.rate {
        eprintln!("{rate} requests a second for {} s, twice ...", arguments.seconds);
        let name = format!("at_{rate}");
        let figures = ours.steady(&name, rate, arguments.seconds).await.context("at the API")?;
        let bare = bare.steady(&name, rate, arguments.seconds).await.context("at the yardstick")?;
        loads.push((name, Beside { figures, bare }));
    }
    eprintln!("as many as are taken, single and in batches ...");
    let figures = ours.most().await.context("at the API")?;
    loads.push(("max".to_owned(), Beside { figures, bare: bare.most().await? }));
    let figures = ours.batches().await.context("at the API")?;
    loads.push(("batch".to_owned(), Beside { figures, bare: bare.batches().await? }));
    Ok(loads)
}

impl Target<'_> {
    fn singles(&self, name: &str, count: u32) -> Vec<WireRequest> {
        let single = |index| {
            let body = withdrawal(name, index);
            WireRequest::post(self.address, "/v1/withdrawals", self.secret, &body)
        };
        (0..count).map(single).collect()
    }

    async fn steady(&self, name: &str, rate: u32, seconds: u32) -> Result<Figures> {
        let requests = self.singles(name, rate.saturating_mul(seconds));
        steadily(&self.wire, requests, rate, 1).await
    }

    async fn most(&self) -> Result<Figures> {
        let seconds = self.arguments.seconds;
        let requests = self.singles("max", MAX_PER_S.saturating_mul(seconds));
        let limit = Duration::from_secs(seconds.into());
        as_fast_as_taken(&self.wire, requests, self.arguments.connections.into(), limit, 1).await
    }

    async fn batches(&self) -> Result<Figures> {
        let items = u32::try_from(BATCH_ITEMS)?;
        let batch = |batch: u32| {
            let first = batch.saturating_mul(items);
            let bodies: Vec<Value> = (first..first.saturating_add(items))
                .map(|index| withdrawal("batch", index))
                .collect();
            let body = json!({ "withdrawals": bodies });
            WireRequest::post(self.address, "/v1/withdrawals/batch", self.secret, &body)
        };
        let requests = (0..BATCHES).map(batch).collect();
        let limit = Duration::from_secs(self.arguments.seconds.into());
        as_fast_as_taken(&self.wire, requests, BATCHES_AT_ONCE, limit, BATCH_ITEMS).await
    }
}

/// Recipients are a few thousand, as customers are.
fn withdrawal(name: &str, index: u32) -> Value {
    let mut to = [0xbe_u8; 20];
    to[18..].copy_from_slice(&(index % 4_096).to_be_bytes()[2..]);
    json!({
        "external_id": format!("{name}-{index}"),
        "account_id": ACCOUNT,
        "network": NETWORK,
        "asset": "USDC",
        "amount": "0.015",
        "to_address": Address::from(to).to_checksum(None),
    })
}
