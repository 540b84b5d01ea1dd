//! `cargo xtask fleet`: two of almost each role as processes over one database, with Redis and SQS between them; a process is
//! killed every few seconds while clients ask, and the chain judges.

mod arguments;
mod clock;
mod crew;
mod faults;
mod keys;
mod logs;
mod proxy;
mod report;
mod servers;

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::{Instant, interval, sleep};

pub use arguments::FleetArgs;
pub use faults::{Fault, Happened};
pub use keys::Keys;
pub use report::FleetReport;

use crew::{Crew, Peculiarities, SKEW_SECONDS};
use faults::Faults;
use keys::Holder;
use proxy::Proxy;
use servers::Servers;

use crate::anvil::Anvil;
use crate::assets::TestAsset;
use crate::bench::Database;
use crate::cargo_build::{Profile, build_portcullis};
use crate::client::ApiClient;
use crate::installation::{Doorbells, Installation};
use crate::judge::{BalanceSheet, Scope};
use crate::replay::DatabasePlace;
use crate::testbed::{self, BLOCK_TIME_MS, Furnished, TestChain};
use crate::torture::clients::{Accepted, Clients};
use crate::torture::court::Court;
use crate::torture::settle::{self, Settled};
use crate::torture::tally::Book;
use crate::torture::{TortureReport, ports};
use crate::{toolchain, vault};

/// Blocks that are waited for after the last payment: a double one would come by then.
const QUIET_BLOCKS: u64 = 6;
/// How long visible messages may take to go when nothing waits any more. Those in flight to a process that was killed come back
/// into sight meanwhile, two minutes later at most; they are told of, and not waited for.
const DOORBELLS_LIMIT: Duration = Duration::from_secs(150);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// Leases are short, so that another process takes over soon.
const LEASE_MS: &str = "3000";

/// Runs it to its end.
///
/// # Errors
/// It could not be set up, a process could not be started again, or the chain failed.
pub async fn run(arguments: &FleetArgs) -> Result<FleetReport> {
    arguments.check()?;
    let root = toolchain::workspace_root();
    let profile = if arguments.release { Profile::Release } else { Profile::Dev };
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => build_portcullis(&root, profile)?,
    };
    let mut folder = tempfile::Builder::new().prefix("portcullis-fleet-").tempdir()?;
    folder.disable_cleanup(true);
    eprintln!("database and logs: {}", folder.path().display());
    let report = Box::pin(run_in(arguments, &root, &binary, folder.path())).await;
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
    ground: &'a Ground,
    crew: Crew,
    clients: Clients,
    scope: Scope,
    book: Book,
}

/// Everything around the processes, and the installation that they are started from.
struct Ground {
    servers: Servers,
    holder: Holder,
    queues: Proxy,
    anvil: Anvil,
    chain: TestChain,
    installation: Installation,
    database_url: Option<String>,
    apis: Vec<SocketAddr>,
}

impl Ground {
    async fn prepare(
        arguments: &FleetArgs,
        root: &Path,
        binary: &Path,
        dir: &Path,
    ) -> Result<Self> {
        let mut apis = ports::reserve(5)?;
        let (redis_at, moto_at, keys_at) = (apis.remove(0), apis.remove(0), apis.remove(0));
        let given = arguments.database_url.clone();
        let has_database = given.is_none() && arguments.database == Database::Mysql;
        let servers = Servers::start(root, dir, (redis_at, moto_at), has_database).await?;
        let database_url = given.or_else(|| servers.database_url().map(str::to_owned));
        let holder = Holder::start(arguments.keys, root, dir, keys_at).await?;
        let queues = Proxy::before(moto_at, arguments.faults.contains(&Fault::Twice)).await?;
        let (anvil, chain) = testbed::start_chain(dir, None).await?;
        // Processes start until the end: a build meanwhile must not change what they are.
        let own_binary = dir.join("portcullis-binary");
        std::fs::copy(binary, &own_binary)
            .with_context(|| format!("cannot copy {}", binary.display()))?;
        let mut installation = Installation::at(own_binary, &dir.join("portcullis"))
            .with("PORTCULLIS__QUEUE__TYPE", "localstack")
            .with("PORTCULLIS__QUEUE__ENDPOINT", &format!("http://{}", queues.address()))
            .with("PORTCULLIS__REDIS__URL", &format!("redis://{redis_at}/"))
            .with("PORTCULLIS__ENGINE__LEASE_MS", LEASE_MS);
        if let Some(url) = &database_url {
            installation = installation.on_server(url);
        }
        let installation = holder.equip(installation);
        Ok(Self { servers, holder, queues, anvil, chain, installation, database_url, apis })
    }

    /// Makes keys, queues and clocks, and funds who pays.
    async fn furnish(
        &self,
        arguments: &FleetArgs,
        dir: &Path,
    ) -> Result<(Furnished, Peculiarities)> {
        let Self { servers, holder, chain, installation, .. } = self;
        let are_shared = arguments.keys.are_shared();
        let journal = if are_shared { Some(servers.make_journal().await?) } else { None };
        let make_keys =
            async || holder.make_keys(installation, arguments.wallets, journal.as_deref()).await;
        let mut furnished =
            testbed::furnish_with(installation, chain, self.apis[0], arguments.rail, make_keys)
                .await?;
        let second_keystore = if are_shared {
            None
        } else {
            Some(second_keystore(arguments, installation, chain, &mut furnished).await?)
        };
        testbed::fund(chain, &furnished.payers).await?;
        installation.make_queues()?;
        let has_skewed_clocks = arguments.faults.contains(&Fault::Clock);
        if has_skewed_clocks {
            for (_, _, seconds) in SKEW_SECONDS {
                clock::make(dir, seconds).await?;
            }
        }
        Ok((furnished, Peculiarities { second_keystore, has_skewed_clocks }))
    }

    /// Ends everything.
    async fn clear(self) -> Result<()> {
        self.anvil.stop().await?;
        self.holder.stop().await?;
        self.servers.stop().await
    }
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
    let ground = Ground::prepare(arguments, root, binary, dir).await?;
    let (furnished, peculiarities) = ground.furnish(arguments, dir).await?;
    let Ground { chain, installation, apis, .. } = &ground;
    let book = Book::default();
    let clients = apis.iter().map(|api| ApiClient::new(*api, &furnished.secret));
    let run = Run {
        arguments,
        seed,
        ground: &ground,
        crew: Crew::new(installation.clone(), peculiarities, dir, apis, book.clone())?,
        clients: Clients {
            apis: clients.collect::<Result<Vec<_>>>()?,
            assets: TestAsset::all(&chain.deployment),
            seed,
            is_impatient: true,
            rate: arguments.rate,
            book: book.clone(),
        },
        scope: testbed::whole_scope(chain, &furnished.payers),
        book,
    };
    let report = run.play().await?;
    ground.clear().await?;
    Ok(report)
}

/// Makes a keystore with wallets of its own for the second signer.
async fn second_keystore(
    arguments: &FleetArgs,
    installation: &Installation,
    chain: &TestChain,
    furnished: &mut Furnished,
) -> Result<PathBuf> {
    let folder = installation.config().with_file_name("keys-2");
    std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
    let path = folder.join("keystore.json");
    let text = path.to_string_lossy();
    let second = installation.clone().with("PORTCULLIS__SIGNER__KEYSTORE", &text);
    let more = second.new_keys(arguments.wallets)?;
    if let Some(vault) = furnished.payers.vault {
        vault::set_operators(&chain.rpc, vault, &more).await?;
    }
    furnished.payers.wallets.extend(more);
    Ok(path)
}

/// What was accepted, what became of it, which doorbells are left, and which faults there were.
type Outcome = (Vec<Accepted>, Settled, Doorbells, Vec<Happened>);

impl Run<'_> {
    async fn play(&self) -> Result<FleetReport> {
        self.crew.start_all().await?;
        self.crew.all_ready().await?;
        self.clients.deposit().await?;
        let rpc = &self.ground.chain.rpc;
        let start = self.wait_blocks(1).await?;
        let before = BalanceSheet::read(rpc, &self.scope.tokens, &self.scope.payers()).await?;
        let faults = Faults {
            wanted: &self.arguments.faults,
            crew: &self.crew,
            servers: &self.ground.servers,
            holder: &self.ground.holder,
            queues: &self.ground.queues,
            installation: &self.ground.installation,
            apis: &self.ground.apis,
        };
        let (accepted, settled, left, mut happened) = tokio::select! {
            outcome = self.hurt_and_settle(&faults) => outcome?,
            error = self.crew.patrol() => match error {
                Ok(never) => match never {},
                Err(error) => return Err(error),
            },
        };
        self.wait_blocks(QUIET_BLOCKS).await?;
        self.crew.stop_all().await;
        let judged = self.judge(start, &before, &accepted, &settled).await?;
        let name = self.ground.database_url.as_deref().map_or("sqlite", scheme);
        happened.extend(faults.lasted());
        let report = FleetReport::of(judged, name, self.crew.size());
        Ok(FleetReport {
            doorbells_left: left.visible,
            doorbells_in_flight: left.in_flight,
            faults: happened,
            ..report
        })
    }

    /// Everything while the processes run.
    async fn hurt_and_settle(&self, faults: &Faults<'_>) -> Result<Outcome> {
        let FleetArgs { withdrawals, rate, kill_every, .. } = self.arguments;
        let length_ms = u64::from(*withdrawals).saturating_mul(1_000) / u64::from(*rate).max(1);
        let length = Duration::from_millis(length_ms);
        let end = Instant::now() + length;
        let random = StdRng::seed_from_u64(self.seed ^ 1);
        let kills = self.crew.kill_until(end, Duration::from_millis(*kill_every), random);
        let (accepted, happened) = tokio::select! {
            outcome = async {
                let asking = self.clients.run(end);
                let (killed, happened, accepted) =
                    tokio::join!(kills, faults.play(length), asking);
                killed?;
                anyhow::Ok((accepted?, happened?))
            } => outcome?,
            () = self.tell_progress() => anyhow::bail!("the progress ended before the run"),
        };
        eprintln!("no more kills and faults; {} withdrawals were accepted", accepted.len());
        self.crew.all_ready().await?;
        let settled = settle::settle(self.clients.api(0), &accepted).await?;
        let begun = Instant::now();
        let mut left = self.ground.installation.doorbells()?;
        while left.visible > 0 && begun.elapsed() < DOORBELLS_LIMIT {
            sleep(Duration::from_secs(1)).await;
            left = self.ground.installation.doorbells()?;
        }
        Ok((accepted, settled, left, happened))
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
        let file = self.ground.installation.database();
        let court = Court {
            rpc: &self.ground.chain.rpc,
            scope: &self.scope,
            book: &self.book,
            database: match &self.ground.database_url {
                Some(url) => DatabasePlace::Server(url),
                None => DatabasePlace::File(&file),
            },
        };
        let rail = self.arguments.rail;
        court.judge((start, before, accepted, settled), rail, self.seed).await
    }

    async fn wait_blocks(&self, blocks: u64) -> Result<u64> {
        let wanted = self.ground.chain.rpc.block_number().await?.saturating_add(blocks);
        let mut ticks = interval(Duration::from_millis(BLOCK_TIME_MS / 4));
        loop {
            ticks.tick().await;
            let now = self.ground.chain.rpc.block_number().await?;
            if now >= wanted {
                return Ok(now);
            }
        }
    }
}

fn scheme(url: &str) -> &str {
    url.split_once("://").map_or("sqlite", |(scheme, _)| scheme)
}
