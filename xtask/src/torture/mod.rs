//! `cargo xtask torture`: the roles as processes of their own, killed, paused and doubled at random
//! moments, on a chain that loses its newest blocks, with clients that give up and ask again; judged
//! by the chain's own balances and Transfer logs.

mod chaos;
pub(crate) mod clients;
pub(crate) mod court;
mod crew;
mod dump;
pub(crate) mod life;
mod node;
pub(crate) mod ports;
pub(crate) mod report;
pub(crate) mod role;
mod schedule;
pub(crate) mod settle;
pub(crate) mod tally;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use tokio::time::{Instant, interval};

pub use report::TortureReport;

use chaos::Chaos;
use clients::{Accepted, Clients};
use court::Court;
use crew::{Crew, LEASE_MS};
use node::Node;
use schedule::Kinds;
use settle::Settled;
use tally::Book;

use crate::assets::TestAsset;
use crate::cargo_build::{Profile, build_portcullis};
use crate::client::ApiClient;
use crate::installation::Installation;
use crate::judge::{BalanceSheet, Scope};
use crate::rail::Rail;
use crate::replay::DatabasePlace;
use crate::testbed::{self, BLOCK_TIME_MS};
use crate::toolchain;

/// Blocks that are waited for after the last payment: a double one would come by then.
const QUIET_BLOCKS: u64 = 6;
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// `cargo xtask torture`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask torture --minutes 3 --json
  cargo xtask torture --minutes 1 --seed 7 --no-anvil-kill

Each role of `portcullis serve` is a process of its own, over one SQLite data directory. SIGKILL hits any of
them, and the chain, which then goes on from its last whole state: a reorg of the blocks since, of at most
10 of the 12 that count as final on the localhost chain. SIGSTOP holds a role for longer than its leases,
now and then with a second process of it beside, and the chain for some seconds. On both rails, one after the
other, each for half the time. At the end every transaction that was ever signed is offered to the node once
more. The seed repeats what is asked for and what happens when; processes keep their own pace.

Exit codes: 0 every promise was kept once, and every fault that is switched on did happen; 1 not so.")]
#[expect(clippy::struct_excessive_bools, reason = "they are the switches of a command line")]
pub struct TortureArgs {
    /// How long faults happen
    #[arg(long, default_value_t = 3, value_name = "M", value_parser = clap::value_parser!(u64).range(1..=1440))]
    pub minutes: u64,
    /// What requests and faults are drawn from [default: random]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Withdrawals asked for in a second
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rate: u32,
    /// Who pays: hot wallets by themselves, a vault that they operate, or one after the other
    #[arg(long, value_enum, default_value_t, value_name = "RAIL")]
    pub rail: Rails,
    /// How many hot wallets pay
    #[arg(long, default_value_t = 6, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub wallets: u16,
    /// Kill no role
    #[arg(long)]
    pub no_kill: bool,
    /// Do not kill the chain: no reorgs
    #[arg(long)]
    pub no_anvil_kill: bool,
    /// Do not hold the chain with SIGSTOP
    #[arg(long)]
    pub no_anvil_pause: bool,
    /// Hold no role with SIGSTOP
    #[arg(long)]
    pub no_pause: bool,
    /// Start no second process of a held role
    #[arg(long)]
    pub no_twin: bool,
    /// Let clients wait for every answer
    #[arg(long)]
    pub no_client_timeout: bool,
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

/// The rails of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Rails {
    /// Plain transfers from hot wallets.
    Direct,
    /// The vault.
    Vault,
    /// One after the other, each for half the time.
    #[default]
    Both,
}

impl Rails {
    const fn all(self) -> &'static [Rail] {
        match self {
            Self::Direct => &[Rail::Direct],
            Self::Vault => &[Rail::Vault],
            Self::Both => &[Rail::Direct, Rail::Vault],
        }
    }
}

impl TortureArgs {
    /// How long faults happen on each rail.
    fn length(&self) -> Duration {
        let rails = u32::try_from(self.rail.all().len()).unwrap_or(1).max(1);
        Duration::from_secs(self.minutes.saturating_mul(60)) / rails
    }

    const fn kinds(&self) -> Kinds {
        Kinds {
            kills: !self.no_kill,
            chain_kills: !self.no_anvil_kill,
            chain_pauses: !self.no_anvil_pause,
            pauses: !self.no_pause,
            twins: !self.no_twin,
        }
    }
}

/// What a run came to, and whether that is good: promises kept, and faults that did happen.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The numbers.
    pub report: TortureReport,
    /// Whether the command succeeded.
    pub is_good: bool,
}

/// Tortures to the end of it.
///
/// # Errors
/// It could not be set up, a process could not be started again, or the chain failed by itself.
pub async fn run(arguments: &TortureArgs) -> Result<Outcome> {
    let profile = if arguments.release { Profile::Release } else { Profile::Dev };
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => build_portcullis(&toolchain::workspace_root(), profile)?,
    };
    let mut folder = tempfile::Builder::new().prefix("portcullis-torture-").tempdir()?;
    folder.disable_cleanup(true);
    eprintln!("database, states of the chain and logs: {}", folder.path().display());
    let outcome = on_each_rail(arguments, &binary, folder.path()).await;
    if outcome.as_ref().is_ok_and(|outcome| outcome.is_good) && !arguments.keep {
        folder.disable_cleanup(false);
    } else {
        eprintln!("kept for a look: {}", folder.path().display());
    }
    outcome
}

/// A run whose processes are about to start.
struct Run<'a> {
    arguments: &'a TortureArgs,
    rail: Rail,
    seed: u64,
    /// The database, for when its processes have ended.
    database: PathBuf,
    node: &'a Node,
    crew: Crew,
    clients: Clients,
    scope: Scope,
    book: Book,
}

/// One run after the other, and their numbers together.
async fn on_each_rail(arguments: &TortureArgs, binary: &Path, dir: &Path) -> Result<Outcome> {
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => u64::from(getrandom::u32()?),
    };
    let mut whole = TortureReport { minutes: arguments.minutes, seed, ..TortureReport::default() };
    for (seed, rail) in (seed..).zip(arguments.rail.all()) {
        let dir = dir.join(rail.to_string());
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        whole.add(run_in(arguments, (*rail, seed), binary, &dir).await?);
    }
    let unreal = whole.unreal(arguments.kinds(), !arguments.no_client_timeout);
    for name in &unreal {
        eprintln!("not as switched on and off: {name}");
    }
    Ok(Outcome { is_good: whole.is_good() && unreal.is_empty(), report: whole })
}

async fn run_in(
    arguments: &TortureArgs,
    (rail, seed): (Rail, u64),
    binary: &Path,
    dir: &Path,
) -> Result<TortureReport> {
    eprintln!(
        "seed {seed}, rail {rail}: starting a chain with one-second blocks, and six processes ..."
    );
    let book = Book::default();
    let addresses = ports::reserve(2)?;
    let (node_at, api_at) = (addresses[0], addresses[1]);
    let node = Node::start(dir, node_at, seed, book.clone()).await?;
    // Processes start until the end: a build meanwhile must not change what they are.
    let own_binary = dir.join("portcullis-binary");
    fs::copy(binary, &own_binary).with_context(|| format!("cannot copy {}", binary.display()))?;
    let installation = Installation::at(own_binary, &dir.join("portcullis"));
    let wallets = (arguments.wallets, rail);
    let furnished = testbed::furnish(&installation, &node.chain, api_at, wallets).await?;
    testbed::fund(&node.chain, &furnished.payers).await?;
    let run = Run {
        arguments,
        rail,
        seed,
        database: installation.database(),
        crew: Crew::new(installation, dir.to_path_buf(), api_at, book.clone())?,
        clients: Clients {
            apis: vec![ApiClient::new(api_at, &furnished.secret)?],
            assets: TestAsset::all(&node.chain.deployment),
            seed,
            is_impatient: !arguments.no_client_timeout,
            rate: arguments.rate,
            book: book.clone(),
        },
        scope: testbed::whole_scope(&node.chain, &furnished.payers),
        node: &node,
        book,
    };
    let outcome = tokio::select! {
        outcome = run.play() => outcome?,
        never = run.node.keep_states() => match never {},
    };
    node.stop().await?;
    Ok(outcome)
}

impl Run<'_> {
    async fn play(&self) -> Result<TortureReport> {
        self.crew.start_all().await?;
        self.crew.all_ready().await?;
        self.clients.deposit().await?;
        let start = self.next_block().await?;
        self.node.never_behind(start).await;
        self.node.fresh_state().await?;
        let rpc = &self.node.chain.rpc;
        let before = BalanceSheet::read(rpc, &self.scope.tokens, &self.scope.payers()).await?;

        let (accepted, settled) = tokio::select! {
            outcome = self.torture_and_settle() => outcome?,
            error = self.crew.patrol() => match error {
                Ok(never) => match never {},
                Err(error) => return Err(error),
            },
        };
        self.wait_blocks(QUIET_BLOCKS).await?;
        self.crew.stop_all().await;
        self.judge(start, &before, &accepted, &settled).await
    }

    /// Everything while the processes run.
    async fn torture_and_settle(&self) -> Result<(Vec<Accepted>, Settled)> {
        let begun = Instant::now();
        let length = self.arguments.length();
        let length_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        let schedule = schedule::draw(self.seed, length_ms, LEASE_MS, self.arguments.kinds());
        let chaos = Chaos { crew: &self.crew, node: self.node, scope: &self.scope };
        let accepted = tokio::select! {
            outcome = async {
                let (done, accepted) =
                    tokio::join!(chaos.run(&schedule, begun), self.clients.run(begun + length));
                done?;
                accepted
            } => outcome?,
            () = self.tell_progress(begun) => bail!("the progress ended before the run"),
        };
        eprintln!("no more faults; {} withdrawals were accepted", accepted.len());
        self.crew.start_all().await?;
        for complaint in self.crew.all_ready().await? {
            eprintln!("  {complaint}");
        }
        let settled = settle::settle(self.clients.api(0), &accepted).await?;
        if !settled.stuck.is_empty() {
            for complaint in self.crew.all_ready().await? {
                eprintln!("  {complaint}");
            }
        }
        Ok((accepted, settled))
    }

    /// A line now and then. Never ends.
    async fn tell_progress(&self, begun: Instant) {
        let mut ticks = interval(PROGRESS_INTERVAL);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let tally = self.book.read();
            eprintln!(
                "  {:>4} s: {} of {} accepted, {} sent again; {} kills of roles, {} of the chain ({} blocks rolled back), {} and {} pauses, {} twins, {} failures",
                begun.elapsed().as_secs(),
                tally.accepted,
                tally.asked,
                tally.retries,
                tally.role_kills(),
                tally.chain_kills(),
                tally.blocks_rolled_back,
                tally.pauses,
                tally.chain_pauses,
                tally.twins,
                tally.failures.len(),
            );
        }
    }

    async fn judge(
        &self,
        start: u64,
        before: &BalanceSheet,
        accepted: &[Accepted],
        settled: &Settled,
    ) -> Result<TortureReport> {
        let court = Court {
            rpc: &self.node.chain.rpc,
            scope: &self.scope,
            book: &self.book,
            database: DatabasePlace::File(&self.database),
        };
        let findings = (start, before, accepted, settled);
        court.judge(findings, self.rail, self.seed).await
    }

    async fn next_block(&self) -> Result<u64> {
        let now = self.node.chain.rpc.block_number().await?;
        self.wait_for(now.saturating_add(1)).await
    }

    async fn wait_blocks(&self, blocks: u64) -> Result<u64> {
        let now = self.node.chain.rpc.block_number().await?;
        self.wait_for(now.saturating_add(blocks)).await
    }

    async fn wait_for(&self, block: u64) -> Result<u64> {
        let mut ticks = interval(Duration::from_millis(BLOCK_TIME_MS / 4));
        loop {
            ticks.tick().await;
            let now = self.node.chain.rpc.block_number().await?;
            if now >= block {
                return Ok(now);
            }
        }
    }
}
