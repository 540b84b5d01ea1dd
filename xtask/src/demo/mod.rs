//! `cargo xtask demo`: many withdrawals against a development chain, and a judgement of every one.

mod crash;
mod file;
mod invalid;
mod plan;
mod report;
mod submit;
mod watching;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use tokio::sync::watch;

pub use file::payout_list;
pub use report::DemoReport;

use crash::HowFar;
use plan::{Plan, mixed};
use report::Findings;

use crate::assets::TestAsset;
use crate::cargo_build::{Profile, build_portcullis};
use crate::client::ApiClient;
use crate::installation::Installation;
use crate::judge::{BalanceSheet, Observation, Promise, Scope, Verdict, observe};
use crate::rail::Rail;
use crate::replay::{DatabasePlace, replay};
use crate::server::{Server, ServerOptions, free_address};
use crate::testbed::{self, CONFIRMATIONS, Payers, TestChain};
use crate::toolchain;
use crate::watch::ChainWatch;

/// Blocks that are waited for after the last payment: a double one would come by then.
const QUIET_BLOCKS: u64 = CONFIRMATIONS + 2;

/// `cargo xtask demo`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask demo --withdrawals 1000 --wallets 16
  cargo xtask demo --withdrawals 1000 --wallets 16 --kill
  cargo xtask demo --withdrawals 200 --rail direct
  cargo xtask demo --file payouts.csv --wallets 64 --json

Mixed withdrawals in the native coin, a USDC-like and a USDT-like token, with three priorities; one in
twenty is bad on purpose and has to be refused with its code. Whether the others were paid, and once, is
read from the chain's own blocks, logs and balances. At the end every transaction that was ever signed is
offered to the node once more, and nothing may come of it. A payout list has the columns
external_id,to_address,asset,amount, with POL, USDC, USDT and BAL for assets.

Exit codes: 0 every promise was kept once; 1 not so, or it failed.")]
pub struct DemoArgs {
    /// How many withdrawals are asked for
    #[arg(long, default_value_t = 1_000, value_name = "N", conflicts_with = "file", value_parser = at_least_one)]
    pub withdrawals: usize,
    /// How many hot wallets pay
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub wallets: u16,
    /// Who pays: hot wallets by themselves, or a vault that they operate
    #[arg(long, value_enum, default_value_t, value_name = "RAIL")]
    pub rail: Rail,
    /// Pay this list instead, in batches
    #[arg(long, value_name = "CSV")]
    pub file: Option<PathBuf>,
    /// Requests under way at once
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = at_least_one)]
    pub connections: usize,
    /// Kill the server (SIGKILL) so many times in the middle, 3 if no number is given, and start it again
    #[arg(long, value_name = "TIMES", num_args = 0..=1, default_value_t = 0, default_missing_value = "3")]
    pub kill: usize,
    /// Use a release build of the server
    #[arg(long)]
    pub release: bool,
    /// Keep the directory with the database and the logs
    #[arg(long)]
    pub keep: bool,
    /// What the mixed withdrawals are made from; the same again gives the same ones [default: random]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Print one JSON object as the last line
    #[arg(long)]
    pub json: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "a whole number from 1".to_owned())
}

/// A demo whose server runs.
struct Stage<'a> {
    chain: &'a TestChain,
    api: ApiClient,
    payers: Payers,
    scope: Scope,
    plan: Plan,
    is_batch: bool,
    connections: usize,
}

/// Runs a demo to its end.
///
/// # Errors
/// It could not be set up, a process ended by itself, or a request was not answered.
pub async fn run(arguments: &DemoArgs) -> Result<DemoReport> {
    // Before anything is built, started or written.
    if let Some(path) = &arguments.file {
        file::check_list(path)?;
    }
    let profile = if arguments.release { Profile::Release } else { Profile::Dev };
    let binary = build_portcullis(&toolchain::workspace_root(), profile)?;
    let mut folder = tempfile::Builder::new().prefix("portcullis-demo-").tempdir()?;
    if arguments.keep {
        folder.disable_cleanup(true);
        eprintln!("database and logs: {}", folder.path().display());
    }
    let outcome = run_in(arguments, binary, folder.path()).await;
    let is_good = outcome.as_ref().is_ok_and(DemoReport::is_good);
    if !is_good && !arguments.keep {
        folder.disable_cleanup(true);
        eprintln!("kept for a look: {}", folder.path().display());
    }
    outcome
}

async fn run_in(arguments: &DemoArgs, binary: PathBuf, dir: &Path) -> Result<DemoReport> {
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => u64::from(getrandom::u32()?),
    };
    eprintln!("starting a chain with one-second blocks, and {} hot wallets ...", arguments.wallets);
    let (anvil, chain) = testbed::start_chain(dir, None).await?;
    let installation = Installation::at(binary, &dir.join("portcullis"));
    let listen = free_address()?;
    let wallets = (arguments.wallets, arguments.rail);
    let furnished = testbed::furnish(&installation, &chain, listen, wallets).await?;
    let payers = furnished.payers;
    testbed::fund(&chain, &payers).await?;
    let assets = TestAsset::all(&chain.deployment);
    let plan = match &arguments.file {
        Some(path) => file::read_list(path, &assets)?,
        None => mixed(arguments.withdrawals, seed, &assets, &payers.wallets)?,
    };
    let options = testbed::server_options(&installation, &chain, listen, dir);
    let server = Server::start(&options)?;
    server.ready().await?;
    let stage = Stage {
        api: ApiClient::new(listen, &furnished.secret)?,
        chain: &chain,
        scope: testbed::whole_scope(&chain, &payers),
        payers,
        plan,
        is_batch: arguments.file.is_some(),
        connections: arguments.connections,
    };
    let moments = crash::moments(arguments.kill, stage.plan.requests.len(), seed);
    let mut report = stage.play(server, &options, &moments).await?;
    report.seed = if stage.is_batch { 0 } else { seed };
    report.rail = arguments.rail;
    let database = installation.database();
    let replay = replay(&chain.rpc, &stage.scope, DatabasePlace::File(&database)).await?;
    (report.replayed, report.replay_accepted) = (replay.replayed, replay.accepted);
    report.replay_paid = replay.paid;
    anvil.stop().await?;
    Ok(report)
}

impl Stage<'_> {
    /// Plays it with the server under supervision, then stops the server.
    async fn play(
        &self,
        server: Server,
        options: &ServerOptions,
        moments: &[usize],
    ) -> Result<DemoReport> {
        for deposit in &self.plan.deposits {
            let id = format!("deposit-{}-{}", deposit.account, deposit.asset);
            self.api.deposit(&deposit.account, &id, deposit.asset, &deposit.amount).await?;
        }
        let start = self.chain.rpc.block_number().await?;
        let watch = ChainWatch::start(self.chain.rpc.clone(), self.scope.clone(), start);
        let (answers, answered) = watch::channel(0);
        let how_far = HowFar { answered, chain: watch.progress() };
        let mut server = Some(server);
        let report = tokio::select! {
            report = self.submit_and_judge(&watch, &answers, start, moments.len()) => report?,
            error = crash::supervise(&mut server, options, moments, how_far) => match error {
                Ok(never) => match never {},
                Err(error) => return Err(error),
            },
        };
        let server = server.context("the server was not running at the end")?;
        server.stop().await.context("the server did not stop as it should")?;
        Ok(report)
    }

    async fn submit_and_judge(
        &self,
        watch: &ChainWatch,
        answers: &watch::Sender<usize>,
        start: u64,
        kills: usize,
    ) -> Result<DemoReport> {
        let scope = &self.scope;
        let payers = scope.payers();
        let mut holders: BTreeSet<_> = self.plan.promises().map(|promise| promise.to).collect();
        holders.extend(&payers);
        let rpc = &self.chain.rpc;
        let before = BalanceSheet::read(rpc, &scope.tokens, &holders).await?;

        let begun = Instant::now();
        let valid = self.plan.promises().count();
        let bar = watching::ProgressLine::start(valid, watch.progress());
        let submitted = if self.is_batch {
            submit::in_batches(&self.api, &self.plan, answers).await?
        } else {
            submit::one_by_one(&self.api, &self.plan, self.connections, answers).await?
        };
        let took = begun.elapsed();
        bar.say(&format!("{} requests answered in {took:.1?}", self.plan.requests.len()));
        watching::wait_for_payments(watch, submitted.accepted.len(), stall(kills)).await?;
        let reported_confirmed =
            watching::wait_for_confirmed(&self.api, submitted.accepted.len(), stall(kills)).await?;
        watch.wait_blocks(QUIET_BLOCKS).await?;
        bar.finish();

        let head = rpc.block_number().await?;
        let observation = observe(rpc, scope, start.saturating_add(1), head).await?;
        let promises: Vec<Promise> =
            submitted.accepted.iter().map(|(promise, _)| promise.clone()).collect();
        let verdict = Verdict::of(&promises, &observation.payments);
        let after = BalanceSheet::read(rpc, &scope.tokens, &holders).await?;
        let wrong_recipients = after.check_recipients(&before, &promises, &payers);
        let wrong_wallets = check_payers(&before, &after, &promises, scope, &observation);
        let findings = Findings {
            submitted: &submitted,
            verdict: &verdict,
            observation: &observation,
            wrong_recipients: &wrong_recipients,
            wrong_wallets,
            reported_confirmed,
            watch,
            begun,
            has_crashes: kills > 0,
        };
        findings.tell_problems();
        ensure!(watch.seen_at(head).is_some(), "the chain's newest block was not seen in time");
        let mut report = self.blank(valid, kills);
        findings.fill(&mut report);
        Ok(report)
    }

    fn blank(&self, valid: usize, kills: usize) -> DemoReport {
        let withdrawals = self.plan.requests.len();
        DemoReport {
            withdrawals,
            valid,
            invalid: withdrawals.saturating_sub(valid),
            kills,
            wallets: self.payers.wallets.len(),
            ..DemoReport::default()
        }
    }
}

/// Tells on standard error of what too much or too little is gone, and counts these tokens.
fn check_payers(
    before: &BalanceSheet,
    after: &BalanceSheet,
    promises: &[Promise],
    scope: &Scope,
    observation: &Observation,
) -> usize {
    let wrong = after.check_wallets(before, promises, &scope.payers(), observation.fees_wei);
    for (token, expected, gone) in &wrong {
        let token = crate::assets::token_text(*token);
        eprintln!("wrong balance: {gone} of {token} left its payers instead of {expected}");
    }
    wrong.len()
}

/// How long nothing may happen before what is missing counts as lost. After a crash, leases have to
/// run out first.
const fn stall(kills: usize) -> Duration {
    if kills == 0 { Duration::from_mins(1) } else { Duration::from_mins(2) }
}
