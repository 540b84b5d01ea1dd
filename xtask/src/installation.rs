//! An installation of Portcullis, made and administered through its own command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use alloy_primitives::{Address, U256};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::assets::{TestAsset, token_text};

/// The network that every command here pays on.
pub const NETWORK: &str = "localhost";

/// Names that Portcullis understands beside its own.
const USUAL_NAMES: [&str; 10] = [
    "DATABASE_URL",
    "REDIS_URL",
    "QUEUE_TYPE",
    "AWS_REGION",
    "POLYGON_RPC_URL",
    "POLYGON_CHAIN_ID",
    "MIN_WITHDRAWAL_AMOUNT",
    "MAX_WITHDRAWAL_AMOUNT",
    "DAILY_WITHDRAWAL_LIMIT",
    "BATCH_SIZE",
];

/// Everything that a client of the API may do.
pub const EVERY_SCOPE: &str = "withdrawals:read,withdrawals:write,deposits:write,accounts:read";

/// A directory with a configuration, and the binary that works on it.
#[derive(Clone, Debug)]
pub struct Installation {
    binary: PathBuf,
    config: PathBuf,
    variables: Vec<(String, String)>,
}

/// The variable that names another database than the configuration file.
const DATABASE_URL: &str = "PORTCULLIS__DATABASE__URL";

/// What `portcullis init` is told.
#[derive(Clone, Debug)]
pub struct NewInstallation<'a> {
    /// The node.
    pub rpc_url: &'a str,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// The signer's caps: the most of one payment of each token, in atomic units.
    pub caps: &'a [(Option<Address>, U256)],
    /// The vault that pays, on the vault rail.
    pub vault: Option<Address>,
}

/// The messages in the queues of doorbells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doorbells {
    /// Those that ring whoever looks next.
    pub visible: u64,
    /// Those that somebody received and did not delete. They ring nobody until they are visible again, which takes two minutes
    /// at most: so it is with what a killed process had received.
    pub in_flight: u64,
}

#[derive(Deserialize)]
struct Queues {
    queues: Vec<QueueRow>,
}

#[derive(Deserialize)]
struct QueueRow {
    visible: u64,
    in_flight: u64,
    /// How many messages its work is worth; a queue of dead letters has none.
    sets: Option<u64>,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    address: Address,
}

#[derive(Deserialize)]
struct ApiKey {
    secret: String,
}

#[derive(Deserialize)]
struct BegunJournal {
    journal: String,
}

impl Installation {
    /// What is, or will be, in `dir`.
    #[must_use]
    pub fn at(binary: PathBuf, dir: &Path) -> Self {
        Self { binary, config: dir.join("portcullis.toml"), variables: Vec::new() }
    }

    /// The same, on a database server.
    #[must_use]
    pub fn on_server(self, url: &str) -> Self {
        self.with(DATABASE_URL, url)
    }

    /// The same with a variable in the environment of everything that it runs.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The variables of its environment.
    #[must_use]
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// The executable.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The database, where [`Installation::init`] puts it.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.config.with_file_name("data").join("portcullis.db")
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Makes it, with a keystore passphrase of its own in a file: it is for development.
    ///
    /// # Errors
    /// The command fails; the message holds its own words.
    pub fn init(&self, new: &NewInstallation<'_>) -> Result<()> {
        let dir = self.config.parent().context("a configuration file has a directory")?;
        let mut command = Command::new(&self.binary);
        for name in own_variables() {
            command.env_remove(name);
        }
        command.args(["--json", "init", "--network", NETWORK, "--passphrase"]);
        command.arg("--dir").arg(dir);
        command.args(["--rpc-url", new.rpc_url, "--listen", &new.listen.to_string()]);
        for (token, units) in new.caps {
            command.args(["--cap", &format!("{}={units}", token_text(*token))]);
        }
        if let Some(vault) = new.vault {
            command.args(["--vault", &vault.to_checksum(None)]);
        }
        self.answer::<Value>(command)?;
        Ok(())
    }

    /// Generates hot wallets.
    ///
    /// # Errors
    /// As [`Installation::init`].
    pub fn new_keys(&self, count: u16) -> Result<Vec<Address>> {
        let count = count.to_string();
        let made: Keys =
            self.administer(&["keys", "new", "--network", NETWORK, "--count", &count])?;
        Ok(made.keys.into_iter().map(|key| key.address).collect())
    }

    /// The addresses of the keys that the configuration names.
    ///
    /// # Errors
    /// As [`Installation::init`].
    pub fn keys(&self) -> Result<Vec<Address>> {
        let listed: Keys = self.administer(&["keys", "list"])?;
        Ok(listed.keys.into_iter().map(|key| key.address).collect())
    }

    /// Encrypts the keys of a secret anew.
    ///
    /// # Errors
    /// As [`Installation::init`].
    pub fn rotate_keys(&self) -> Result<()> {
        self.administer::<Value>(&["keys", "rotate"])?;
        Ok(())
    }

    /// Begins the journal of keys that are held elsewhere, and gives its name.
    ///
    /// # Errors
    /// As [`Installation::init`].
    pub fn begin_journal(&self) -> Result<String> {
        let begun: BegunJournal = self.administer(&["keys", "journal"])?;
        Ok(begun.journal)
    }

    /// Adds a tenant.
    ///
    /// # Errors
    /// As [`Installation::init`].
    pub fn add_tenant(&self, name: &str) -> Result<()> {
        self.administer::<Value>(&["admin", "tenant", "add", name])?;
        Ok(())
    }

    /// Makes an API key that may do everything, and gives its secret.
    ///
    /// # Errors
    /// As [`Installation::init`].
    pub fn add_api_key(&self, tenant: &str, name: &str) -> Result<String> {
        let arguments = [
            "admin",
            "api-key",
            "add",
            "--tenant",
            tenant,
            "--name",
            name,
            "--scopes",
            EVERY_SCOPE,
        ];
        let key: ApiKey = self.administer(&arguments)?;
        Ok(key.secret)
    }

    /// Registers an asset.
    ///
    /// # Errors
    /// As [`Installation::init`].
    pub fn add_asset(&self, asset: &TestAsset) -> Result<()> {
        let (token, decimals) = (asset.token_text(), asset.decimals.to_string());
        let arguments = [
            ["--network", NETWORK],
            ["--symbol", asset.symbol],
            ["--token", &token],
            ["--decimals", &decimals],
            ["--min", asset.min],
            ["--max", asset.max],
        ];
        self.administer::<Value>(&[&["admin", "asset", "add"], arguments.as_flattened()].concat())?;
        Ok(())
    }

    /// Makes the queues between processes.
    ///
    /// # Errors
    /// As [`Installation::init`].
    pub fn make_queues(&self) -> Result<()> {
        self.administer::<Value>(&["queues", "init"])?;
        Ok(())
    }

    /// How many messages are in the queues of doorbells.
    ///
    /// # Errors
    /// As [`Installation::init`].
    pub fn doorbells(&self) -> Result<Doorbells> {
        let Queues { queues } = self.administer(&["queues", "status"])?;
        let of_doorbells = || queues.iter().filter(|queue| queue.sets.is_some());
        Ok(Doorbells {
            visible: of_doorbells().map(|queue| queue.visible).sum(),
            in_flight: of_doorbells().map(|queue| queue.in_flight).sum(),
        })
    }

    /// Runs a command with `--json` to its end, however it ends.
    ///
    /// # Errors
    /// It could not be started.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.command(arguments);
        command.output().with_context(|| format!("{} could not be started", self.binary.display()))
    }

    fn administer<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        self.answer(self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--json").arg("--config").arg(&self.config).args(arguments);
        for name in own_variables() {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().cloned());
        command
    }

    /// Runs it to its end and reads its answer, one JSON object on standard output.
    fn answer<T: DeserializeOwned>(&self, mut command: Command) -> Result<T> {
        let words: Vec<String> =
            command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        let shown = format!("portcullis {}", words.join(" "));
        let output = command
            .output()
            .with_context(|| format!("{} could not be started", self.binary.display()))?;
        if !output.status.success() {
            bail!("`{shown}` ended with {}:\n{}", output.status, said(&output.stderr));
        }
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`{shown}` gave an unexpected answer"))
    }
}

/// The variables of this process's environment that would change what Portcullis does.
pub fn own_variables() -> impl Iterator<Item = String> {
    std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with("PORTCULLIS_") || USUAL_NAMES.contains(&name.as_str()))
}

fn said(stderr: &[u8]) -> String {
    String::from_utf8_lossy(stderr).trim().to_owned()
}
