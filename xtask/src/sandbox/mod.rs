//! `cargo xtask sandbox`: everything on this machine, with one command.

mod home;
mod payments;
mod table;
mod words;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tokio::time::sleep;

pub use payments::SandboxReport;

use home::{Home, Record};
use payments::Errands;

use crate::anvil::Anvil;
use crate::assets::TestAsset;
use crate::cargo_build::{Profile, build_portcullis};
use crate::client::ApiClient;
use crate::installation::Installation;
use crate::interrupt::Interrupt;
use crate::rail::Rail;
use crate::server::{Server, free_address, is_free};
use crate::testbed;
use crate::toolchain;

const DEFAULT_PORT: u16 = 3_000;
const WALLETS: u16 = 8;
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// `cargo xtask sandbox`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask sandbox                  set up, pay 20 withdrawals, and keep running until Ctrl-C
  cargo xtask sandbox --once --json    the same, then stop; the last line is the judgement
  cargo xtask sandbox --fresh          forget the last sandbox and begin anew

Needs Rust and Node.js, and nothing else: the chain is anvil from npm. Everything listens on 127.0.0.1.
The chain, the keys, the database and the API key stay in the directory, and the next start goes on there.

Exit codes: 0 every promise was kept once; 1 not so, or it failed; 130 stopped before that was known.")]
pub struct SandboxArgs {
    /// Stop after the demo withdrawals were paid and judged
    #[arg(long)]
    pub once: bool,
    /// Clear away what an earlier sandbox left in the directory
    #[arg(long)]
    pub fresh: bool,
    /// Print the judgement as one JSON object, as the last line
    #[arg(long)]
    pub json: bool,
    /// Who pays in a new sandbox: hot wallets by themselves, or a vault that they operate
    #[arg(long, value_enum, default_value_t, value_name = "RAIL")]
    pub rail: Rail,
    /// Where the API listens [default: 127.0.0.1:3000, or a free port where that is taken]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Where the sandbox lives [default: target/sandbox]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// How a sandbox ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every promise was kept.
    Good,
    /// Not every promise was kept.
    Bad,
    /// It was stopped before that was known.
    Interrupted,
}

/// The processes. They outlive the future that started them, so that they can be stopped in order.
#[derive(Default)]
struct Running {
    anvil: Option<Anvil>,
    server: Option<Server>,
    ending: Option<Ending>,
}

impl Running {
    /// The server first: what it has in hand still needs the chain. Then the chain, which writes
    /// its state.
    async fn stop(self) -> Result<()> {
        let server = match self.server {
            Some(server) => server.stop().await.context("the server did not stop as it should"),
            None => Ok(()),
        };
        let chain = match self.anvil {
            Some(anvil) => anvil.stop().await,
            None => Ok(()),
        };
        server.and(chain)
    }
}

/// Runs a sandbox until it is told to stop.
///
/// # Errors
/// It could not be set up, a process ended by itself, or one did not stop as it should.
pub async fn run(arguments: &SandboxArgs) -> Result<Ending> {
    let mut interrupt = Interrupt::listen()?;
    let root = toolchain::workspace_root();
    let binary = build_portcullis(&root, Profile::Dev)?;
    let dir = arguments.dir.clone().unwrap_or_else(|| root.join("target").join("sandbox"));
    let home = Home::open(&std::path::absolute(dir)?, arguments.fresh)?;
    let mut running = Running::default();
    let outcome = tokio::select! {
        outcome = live(arguments, &home, binary, &mut running) => outcome,
        () = interrupt.wait() => Ok(()),
    };
    let ending = running.ending.unwrap_or(Ending::Interrupted);
    if running.server.is_some() {
        // The terminal may be gone, which is no reason to stop less orderly.
        let _unseen = writeln!(std::io::stderr(), "stopping ...");
    }
    let stopped = tokio::select! {
        stopped = running.stop() => stopped,
        () = interrupt.wait() => bail!("stopped the hard way: the next start may need --fresh"),
    };
    outcome.and(stopped)?;
    Ok(ending)
}

/// Sets up, pays, judges, and then only watches.
async fn live(
    arguments: &SandboxArgs,
    home: &Home,
    binary: PathBuf,
    running: &mut Running,
) -> Result<()> {
    let listen = choose_address(arguments.listen)?;
    eprintln!("starting a chain with one-second blocks ...");
    let (anvil, chain) = testbed::start_chain(home.dir(), Some(home.chain_state())).await?;
    let anvil = running.anvil.insert(anvil);

    let installation = Installation::at(binary, &home.installation());
    let known = home.record()?;
    ensure!(
        known.is_none() || !chain.is_new,
        "the chain of this sandbox is gone, its database is not: start again with --fresh"
    );
    let record = if let Some(record) = known {
        testbed::fund(&chain, &record.payers()).await?;
        record
    } else {
        eprintln!("creating {WALLETS} hot wallets, an API key and 4 assets ...");
        let wallets = (WALLETS, arguments.rail);
        let furnished = testbed::furnish(&installation, &chain, listen, wallets).await?;
        let testbed::Furnished { payers, secret } = furnished;
        testbed::fund(&chain, &payers).await?;
        let record = Record { api_key: secret, wallets: payers.wallets, vault: payers.vault };
        home.save(&record)?;
        record
    };
    let options = testbed::server_options(&installation, &chain, listen, home.dir());
    let server = running.server.insert(Server::start(&options)?);
    server.ready().await.context("if its data is of no use any more, start again with --fresh")?;

    let api = ApiClient::new(listen, &record.api_key)?;
    let run = format!("{:08x}", getrandom::u32()?);
    let errands = Errands {
        api: &api,
        rpc: &chain.rpc,
        assets: &TestAsset::all(&chain.deployment),
        payers: &record.payers(),
        run: &run,
    };
    let report = tokio::select! {
        report = errands.pay_and_judge() => report,
        error = server.failure() => Err(error),
    };
    let report = match (report, anvil.ended()?) {
        (Err(error), Some(status)) => {
            return Err(error.context(format!("the development chain ended with {status}")));
        }
        (report, _) => report?,
    };
    running.ending = Some(if report.is_good() { Ending::Good } else { Ending::Bad });
    println!("{}", words::judgement(&report));
    if !arguments.once {
        println!("{}", words::invitation(&api, &record.api_key, &run, home.dir()));
        eprintln!("Running. Ctrl-C stops it; the next start goes on here.");
    }
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    if arguments.once {
        return Ok(());
    }
    tokio::select! {
        error = server.failure() => Err(error),
        error = chain_failure(anvil) => Err(error),
    }
}

async fn chain_failure(anvil: &mut Anvil) -> anyhow::Error {
    loop {
        match anvil.ended() {
            Ok(None) => sleep(WATCH_INTERVAL).await,
            Ok(Some(status)) => {
                return anyhow::anyhow!("the development chain ended by itself with {status}");
            }
            Err(error) => return error,
        }
    }
}

/// The address that was asked for, or the default one, or a free one in its place.
fn choose_address(asked: Option<SocketAddr>) -> Result<SocketAddr> {
    if let Some(asked) = asked {
        ensure!(asked.ip().is_loopback(), "--listen {asked}: a sandbox listens on 127.0.0.1 only");
        if asked.port() == 0 {
            return free_address();
        }
        ensure!(is_free(asked), "--listen {asked}: somebody listens there already");
        return Ok(asked);
    }
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT));
    if is_free(default) {
        return Ok(default);
    }
    let free = free_address()?;
    eprintln!("port {DEFAULT_PORT} is taken: the API will listen on {free}");
    Ok(free)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_a_free_address_of_this_machine_is_taken() {
        let free = free_address().unwrap();
        assert_eq!(choose_address(Some(free)).unwrap(), free);
        let _taken = TcpListener::bind(free).unwrap();
        assert!(choose_address(Some(free)).is_err());
        assert!(choose_address(Some("0.0.0.0:3000".parse().unwrap())).is_err());
        let any = choose_address(Some("127.0.0.1:0".parse().unwrap())).unwrap();
        assert!(any.ip().is_loopback() && any.port() != 0);
    }
}
