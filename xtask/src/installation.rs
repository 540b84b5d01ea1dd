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

/// Everything that a client of the API may do.
pub const EVERY_SCOPE: &str = "withdrawals:read,withdrawals:write,deposits:write,accounts:read";

/// A directory with a configuration, and the binary that works on it.
#[derive(Clone, Debug)]
pub struct Installation {
    binary: PathBuf,
    config: PathBuf,
    database_url: Option<String>,
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

impl Installation {
    /// What is, or will be, in `dir`.
    #[must_use]
    pub fn at(binary: PathBuf, dir: &Path) -> Self {
        Self { binary, config: dir.join("portcullis.toml"), database_url: None }
    }

    /// The same, on a database server.
    #[must_use]
    pub fn on_server(self, url: String) -> Self {
        Self { database_url: Some(url), ..self }
    }

    /// What a process of it finds in its environment beside the configuration file.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.database_url.iter().map(|url| (DATABASE_URL, url.as_str()))
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
        command.envs(self.variables());
        command
    }

    /// Runs it to its end and reads its answer, one JSON object on standard output.
    fn answer<T: DeserializeOwned>(&self, mut command: Command) -> Result<T> {
        for name in own_variables() {
            command.env_remove(name);
        }
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
        .filter(|name| name.starts_with("PORTCULLIS_"))
}

fn said(stderr: &[u8]) -> String {
    String::from_utf8_lossy(stderr).trim().to_owned()
}
