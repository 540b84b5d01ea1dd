//! `cargo xtask fleet`: two of almost each role as processes over one database, with Redis and SQS between them; a process is
//! killed every few seconds while clients ask, and the chain judges.

mod crew;
mod report;
mod servers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::{Instant, interval, sleep};

pub use report::FleetReport;

use crew::Crew;
use servers::Servers;

use crate::assets::TestAsset;
use crate::bench::Database;
use crate::cargo_build::{Profile, build_portcullis};
use crate::client::ApiClient;
use crate::installation::Installation;
use crate::judge::{BalanceSheet, Scope};
use crate::rail::Rail;
use crate::testbed::{self, BLOCK_TIME_MS, TestChain};
use crate::torture::clients::{Accepted, Clients};
use crate::torture::court::Court;
use crate::torture::settle::{self, Settled};
use crate::torture::tally::Book;
use crate::torture::{TortureReport, ports};
use crate::{toolchain, vault};

/// Blocks that are waited for after the last payment: a double one would come by then.
const QUIET_BLOCKS: u64 = 6;
/// How long messages may take to go when nothing waits any more.
const DOORBELLS_LIMIT: Duration = Duration::from_secs(40);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// Leases are short, so that another process takes over soon.
const LEASE_MS: &str = "3000";

/// `cargo xtask fleet`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask fleet --json
  cargo xtask fleet --database sqlite --withdrawals 300 --rate 10 --keep

Starts MariaDB, Redis (redis-server), an SQS API (moto), anvil, and of Portcullis: 2 × api, 2 × processor, 2 × signer,
2 × broadcaster, 1 × monitor, 1 × recovery. Processes without the signer role get a configuration without [signer], and are
held to it.

Exit codes: 0 every promise was kept once, under kills; 1 not so.")]
pub struct FleetArgs {
    /// How many withdrawals are asked for
    #[arg(long, default_value_t = 2_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub withdrawals: u32,
    /// How many in a second
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rate: u32,
    /// From one killed process to the next, in milliseconds
    #[arg(long, default_value_t = 3_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=600_000))]
    pub kill_every: u64,
    /// What requests and kills are drawn from [default: random]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Hot wallets of each signer
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub wallets: u16,
    /// Where the state is: on a server of the run's own, or in a file that all share
    #[arg(long, value_enum, default_value_t = Database::Mysql)]
    pub database: Database,
    /// A server that is there already, with an empty database
    #[arg(long, value_name = "URL", conflicts_with = "database")]
    pub database_url: Option<String>,
    /// Use a release build of the server
    #[arg(long)]
    pub release: bool,
    /// Use this executable of the server instead of building one
    #[arg(long, value_name = "FILE", conflicts_with = "release")]
    pub binary: Option<PathBuf>,
    /// Keep the directory with the database and the logs
    #[arg(long)]
    pub keep: bool,
    /// Print one JSON object as the last line
    #[arg(long)]
    pub json: bool,
}

/// Runs it to its end.
///
/// # Errors
/// It could not be set up, a process could not be started again, or the chain failed.
pub async fn run(arguments: &FleetArgs) -> Result<FleetReport> {
    let root = toolchain::workspace_root();
    let profile = if arguments.release { Profile::Release } else { Profile::Dev };
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => build_portcullis(&root, profile)?,
    };
    let mut folder = tempfile::Builder::new().prefix("portcullis-fleet-").tempdir()?;
    folder.disable_cleanup(true);
    eprintln!("database and logs: {}", folder.path().display());
    let report = run_in(arguments, &root, &binary, folder.path()).await;
    if report.as_ref().is_ok_and(FleetReport::is_good) && !arguments.keep {
        folder.disable_cleanup(false);
    } else {
        eprintln!("kept for a look: {}", folder.path().display());
    }
    report
}

/// A run whose processes are about to start.
struct Run<'a> {
    arguments: &'a FleetArgs,
    seed: u64,
    /// The server with the state; else it is in a file.
    database_url: Option<String>,
    chain: &'a TestChain,
    installation: Installation,
    crew: Crew,
    clients: Clients,
    scope: Scope,
    book: Book,
}

async fn run_in(
    arguments: &FleetArgs,
    root: &Path,
    binary: &Path,
    dir: &Path,
) -> Result<FleetReport> {
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => u64::from(getrandom::u32()?),
    };
    eprintln!("seed {seed}: starting a database, Redis, an SQS API, a chain and a fleet ...");
    let addresses = ports::reserve(4)?;
    let (redis_at, moto_at, apis) = (addresses[0], addresses[1], &addresses[2..]);
    let given = arguments.database_url.clone();
    let has_database = given.is_none() && arguments.database == Database::Mysql;
    let servers = Servers::start(root, dir, (redis_at, moto_at), has_database).await?;
    let database_url = given.or_else(|| servers.database_url());
    let (anvil, chain) = testbed::start_chain(dir, None).await?;
    // Processes start until the end: a build meanwhile must not change what they are.
    let own_binary = dir.join("portcullis-binary");
    std::fs::copy(binary, &own_binary)
        .with_context(|| format!("cannot copy {}", binary.display()))?;
    let mut installation = Installation::at(own_binary, &dir.join("portcullis"))
        .with("PORTCULLIS__QUEUE__TYPE", "localstack")
        .with("PORTCULLIS__QUEUE__ENDPOINT", &format!("http://{moto_at}"))
        .with("PORTCULLIS__REDIS__URL", &format!("redis://{redis_at}/"))
        .with("PORTCULLIS__ENGINE__LEASE_MS", LEASE_MS);
    if let Some(url) = &database_url {
        installation = installation.on_server(url);
    }
    let wallets = (arguments.wallets, Rail::Vault);
    let mut furnished = testbed::furnish(&installation, &chain, apis[0], wallets).await?;
    let second_keystore = dir.join("portcullis").join("keys-2").join("keystore.json");
    let text = second_keystore.to_string_lossy();
    let second = installation.clone().with("PORTCULLIS__SIGNER__KEYSTORE", &text);
    let more = second.new_keys(arguments.wallets)?;
    if let Some(vault) = furnished.payers.vault {
        vault::set_operators(&chain.rpc, vault, &more).await?;
    }
    furnished.payers.wallets.extend(more);
    testbed::fund(&chain, &furnished.payers).await?;
    installation.make_queues()?;
    let book = Book::default();
    let clients = apis.iter().map(|api| ApiClient::new(*api, &furnished.secret));
    let run = Run {
        arguments,
        seed,
        database_url,
        chain: &chain,
        crew: Crew::new(installation.clone(), second_keystore, dir, apis, book.clone())?,
        installation,
        clients: Clients {
            apis: clients.collect::<Result<Vec<_>>>()?,
            assets: TestAsset::all(&chain.deployment),
            seed,
            is_impatient: true,
            rate: arguments.rate,
            book: book.clone(),
        },
        scope: testbed::whole_scope(&chain, &furnished.payers),
        book,
    };
    let report = run.play().await?;
    anvil.stop().await?;
    servers.stop().await?;
    Ok(report)
}

impl Run<'_> {
    async fn play(&self) -> Result<FleetReport> {
        self.crew.start_all().await?;
        self.crew.all_ready().await?;
        self.clients.deposit().await?;
        let rpc = &self.chain.rpc;
        let start = self.wait_blocks(1).await?;
        let before = BalanceSheet::read(rpc, &self.scope.tokens, &self.scope.payers()).await?;
        let (accepted, settled, doorbells_left) = tokio::select! {
            outcome = self.kill_and_settle() => outcome?,
            error = self.crew.patrol() => match error {
                Ok(never) => match never {},
                Err(error) => return Err(error),
            },
        };
        self.wait_blocks(QUIET_BLOCKS).await?;
        self.crew.stop_all().await;
        let judged = self.judge(start, &before, &accepted, &settled).await?;
        let name = self.database_url.as_deref().map_or("sqlite", scheme);
        Ok(FleetReport { doorbells_left, ..FleetReport::of(judged, name, self.crew.size()) })
    }

    /// Everything while the processes run.
    async fn kill_and_settle(&self) -> Result<(Vec<Accepted>, Settled, u64)> {
        let FleetArgs { withdrawals, rate, kill_every, .. } = self.arguments;
        let length_ms = u64::from(*withdrawals).saturating_mul(1_000) / u64::from(*rate).max(1);
        let end = Instant::now() + Duration::from_millis(length_ms);
        let random = StdRng::seed_from_u64(self.seed ^ 1);
        let kills = self.crew.kill_until(end, Duration::from_millis(*kill_every), random);
        let accepted = tokio::select! {
            outcome = async {
                let (killed, accepted) = tokio::join!(kills, self.clients.run(end));
                killed?;
                accepted
            } => outcome?,
            () = self.tell_progress() => anyhow::bail!("the progress ended before the run"),
        };
        eprintln!("no more kills; {} withdrawals were accepted", accepted.len());
        self.crew.all_ready().await?;
        let settled = settle::settle(self.clients.api(0), &accepted).await?;
        let begun = Instant::now();
        let mut left = self.installation.doorbells_left()?;
        while left > 0 && begun.elapsed() < DOORBELLS_LIMIT {
            sleep(Duration::from_secs(1)).await;
            left = self.installation.doorbells_left()?;
        }
        Ok((accepted, settled, left))
    }

    /// A line now and then. Never ends.
    async fn tell_progress(&self) {
        let mut ticks = interval(PROGRESS_INTERVAL);
        loop {
            ticks.tick().await;
            let tally = self.book.read();
            let (accepted, asked, kills) = (tally.accepted, tally.asked, tally.role_kills());
            let failures = tally.failures.len();
            eprintln!("  {accepted} of {asked} accepted; {kills} kills, {failures} failures");
        }
    }

    async fn judge(
        &self,
        start: u64,
        before: &BalanceSheet,
        accepted: &[Accepted],
        settled: &Settled,
    ) -> Result<TortureReport> {
        let file = self.installation.database();
        let court = Court {
            rpc: &self.chain.rpc,
            scope: &self.scope,
            book: &self.book,
            database: self.database_url.is_none().then_some(file.as_path()),
        };
        court.judge((start, before, accepted, settled), Rail::Vault, self.seed).await
    }

    async fn wait_blocks(&self, blocks: u64) -> Result<u64> {
        let wanted = self.chain.rpc.block_number().await?.saturating_add(blocks);
        let mut ticks = interval(Duration::from_millis(BLOCK_TIME_MS / 4));
        loop {
            ticks.tick().await;
            let now = self.chain.rpc.block_number().await?;
            if now >= wanted {
                return Ok(now);
            }
        }
    }
}

fn scheme(url: &str) -> &str {
    url.split_once("://").map_or("sqlite", |(scheme, _)| scheme)
}
