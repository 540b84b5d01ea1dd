//! The command line of a fleet's run.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;

use super::faults::Fault;
use super::keys::Keys;
use crate::bench::Database;
use crate::rail::Rail;

/// `cargo xtask fleet`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask fleet --json
  cargo xtask fleet --database sqlite --withdrawals 300 --rate 10 --keep
  cargo xtask fleet --keys shared --kill-every 0 --fault database --fault signer --fault clock

Starts MariaDB, Redis (redis-server), an SQS API (moto), anvil, and of Portcullis: 2 × api, 2 × processor, 2 × signer,
2 × broadcaster, 1 × monitor, 1 × recovery. Processes without the signer role get a configuration without [signer], and are
held to it. Faults happen one after the other while clients ask. The judge is the chain; in the end everything that was ever
signed is sent once more, and may pay nothing.

Exit codes: 0 every promise was kept once, under kills or faults; 1 not so.")]
pub struct FleetArgs {
    /// How many withdrawals are asked for
    #[arg(long, default_value_t = 2_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub withdrawals: u32,
    /// How many in a second
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rate: u32,
    /// From one killed process to the next, in milliseconds; 0: nobody is killed
    #[arg(long, default_value_t = 3_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(0..=600_000))]
    pub kill_every: u64,
    /// What else goes wrong; may be given several times
    #[arg(long = "fault", value_name = "NAME", value_enum)]
    pub faults: Vec<Fault>,
    /// Who holds the keys of the signers
    #[arg(long, value_enum, default_value_t = Keys::Apart)]
    pub keys: Keys,
    /// How payments travel
    #[arg(long, value_enum, default_value_t = Rail::Vault)]
    pub rail: Rail,
    /// What requests and kills are drawn from [default: random]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Hot wallets of each signer; of both together where they share their keys
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

impl FleetArgs {
    /// What cannot be done with these, before anything is started.
    ///
    /// # Errors
    /// Two of them contradict each other.
    pub(super) fn check(&self) -> Result<()> {
        let has_own_server = self.database_url.is_none() && self.database == Database::Mysql;
        let needs_server = self.keys.are_shared()
            || [Fault::Database, Fault::Signer].iter().any(|fault| self.faults.contains(fault));
        ensure!(
            has_own_server || !needs_server,
            "shared keys and these faults need --database mysql"
        );
        let is_shared = self.keys.are_shared();
        ensure!(
            is_shared || !self.faults.contains(&Fault::Signer),
            "--fault signer needs --keys shared"
        );
        let fails = !matches!(self.keys, Keys::Apart | Keys::Shared);
        ensure!(
            fails || !self.faults.contains(&Fault::Keys),
            "a keystore does not fail: see --keys"
        );
        Ok(())
    }
}
