//! `cargo xtask bench api`

use std::fmt;
use std::path::Path;
use std::time::Duration;

use alloy_primitives::Address;
use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use serde_json::json;
use tokio::time::sleep;

use super::load::send_steadily;
use super::machine::{machine, mebibytes};
use crate::cargo_build::{Profile, build_portcullis};
use crate::client::{ApiClient, ApiRequest};
use crate::installation::{Installation, NETWORK};
use crate::latency::{Latencies, milliseconds};
use crate::rail::Rail;
use crate::server::{Server, ServerOptions, free_address};
use crate::testbed;
use crate::toolchain;

const STARTS: usize = 3;
const IDLE: Duration = Duration::from_secs(5);
/// Sent before the measuring begins, so that connections and caches are as they are in use.
const WARM_UP_SECONDS: u32 = 3;
const ACCOUNT: &str = "bench";

/// `cargo xtask bench api`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Example:
  cargo xtask bench api --json

A release build with every role in one process pays into a local chain meanwhile. Each request is a new
withdrawal, POST /v1/withdrawals. Requests are sent at fixed moments; latency counts from the moment at
which a request was due, so a server that falls behind cannot hide it. ready_ms is the best of three
starts, from the start of the process to the first 200 of /readyz. idle_mib is the resident memory five
seconds after a start, before any request but those to /readyz.")]
pub struct ApiBenchArgs {
    /// Requests a second
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,
    /// How long the load lasts
    #[arg(long, default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub seconds: u32,
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

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct ApiBenchReport {
    /// Latency, the median.
    pub p50_ms: f64,
    /// Latency, the 95th percentile.
    pub p95_ms: f64,
    /// Latency, the 99th percentile.
    pub p99_ms: f64,
    /// The slowest answer.
    pub max_ms: f64,
    /// Resident memory of the idle server.
    pub idle_mib: f64,
    /// Resident memory of the server after the load.
    pub loaded_mib: f64,
    /// From the start of the process to the first 200 of `/readyz`.
    pub ready_ms: f64,
    /// Requests a second.
    pub rate: u32,
    /// Requests that were measured.
    pub requests: usize,
    /// How the server was built.
    pub profile: &'static str,
    /// What it ran on.
    pub machine: String,
}

/// Builds, measures, and cleans up.
///
/// # Errors
/// Something could not be set up, or a request failed.
pub async fn run(arguments: &ApiBenchArgs) -> Result<ApiBenchReport> {
    let profile = if arguments.dev { Profile::Dev } else { Profile::Release };
    let binary = build_portcullis(&toolchain::workspace_root(), profile)?;
    let folder = tempfile::Builder::new().prefix("portcullis-bench-").tempdir()?;
    let dir = folder.path();
    let (anvil, chain) = testbed::start_chain(dir, None).await?;
    let installation = Installation::at(binary, &dir.join("portcullis"));
    let listen = free_address()?;
    let wallets = (arguments.wallets, Rail::Direct);
    let furnished = testbed::furnish(&installation, &chain, listen, wallets).await?;
    testbed::fund(&chain, &furnished.payers).await?;
    let options = testbed::server_options(&installation, &chain, listen, dir);
    let api = ApiClient::new(listen, &furnished.secret)?;

    eprintln!("starting the server {STARTS} times ...");
    let (server, ready) = best_start(&options).await?;
    sleep(IDLE).await;
    let idle_mib = mebibytes(server.resident_kib()?);
    api.deposit(ACCOUNT, "bench-deposit", "POL", "1000000").await?;
    let measured = tokio::select! {
        measured = measure(&api, arguments, dir) => measured,
        error = server.failure() => Err(error),
    };
    let latencies = measured?;
    let loaded_mib = mebibytes(server.resident_kib()?);
    server.stop().await?;
    anvil.stop().await?;
    Ok(ApiBenchReport {
        p50_ms: latencies.percentile_ms(50),
        p95_ms: latencies.percentile_ms(95),
        p99_ms: latencies.percentile_ms(99),
        max_ms: latencies.percentile_ms(100),
        idle_mib,
        loaded_mib,
        ready_ms: milliseconds(ready),
        rate: arguments.rate,
        requests: latencies.count(),
        profile: if arguments.dev { "dev" } else { "release" },
        machine: machine(),
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

async fn measure(api: &ApiClient, arguments: &ApiBenchArgs, dir: &Path) -> Result<Latencies> {
    let rate = arguments.rate;
    eprintln!("{} s at {rate} requests a second ...", arguments.seconds);
    let mut latencies = Vec::new();
    for (phase, seconds) in [("warm-up", WARM_UP_SECONDS), ("bench", arguments.seconds)] {
        let count = rate.saturating_mul(seconds);
        let outcome = send_steadily(api, requests(phase, count), rate).await;
        if let Some(first) = outcome.failures.first() {
            let log = crate::service::log_end(&dir.join("server.log"));
            let failures = outcome.failures.len();
            bail!("{failures} of {count} requests failed, the first with {first}\n{log}");
        }
        latencies = outcome.latencies;
    }
    Ok(Latencies::new(latencies))
}

fn requests(phase: &str, count: u32) -> Vec<ApiRequest> {
    let request = |index: u32| {
        let mut to = [0xbe_u8; 20];
        to[16..].copy_from_slice(&index.to_be_bytes());
        let body = json!({
            "external_id": format!("{phase}-{index}"),
            "account_id": ACCOUNT,
            "network": NETWORK,
            "asset": "POL",
            "amount": "0.001",
            "to_address": Address::from(to).to_checksum(None),
        });
        ApiRequest::post("/v1/withdrawals", &body)
    };
    (0..count).map(request).collect()
}

impl fmt::Display for ApiBenchReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(formatter, "  {name:<30}{value:>14}");
        row("requests", format!("{} at {}/s", self.requests, self.rate))?;
        row("latency, p50", format!("{:.2} ms", self.p50_ms))?;
        row("latency, p95", format!("{:.2} ms", self.p95_ms))?;
        row("latency, p99", format!("{:.2} ms", self.p99_ms))?;
        row("latency, slowest", format!("{:.2} ms", self.max_ms))?;
        row("resident memory, idle", format!("{:.1} MiB", self.idle_mib))?;
        row("resident memory, after the load", format!("{:.1} MiB", self.loaded_mib))?;
        row("cold start to ready", format!("{:.1} ms", self.ready_ms))?;
        write!(formatter, "  {} build on {}", self.profile, self.machine)
    }
}
