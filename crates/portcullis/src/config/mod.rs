//! The configuration: a TOML file, below environment variables, below flags. One file a section.
//!
//! A wrong configuration stops the process before it does anything, and every wrong key is named with
//! its value and what is allowed.

mod asset;
mod chain;
mod credentials;
mod database;
mod engine;
mod intake;
mod log;
mod problem;
mod queue;
mod redis;
mod reference;
mod seal;
mod secret;
mod section;
mod seed_names;
mod server;
mod signer;
mod sources;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use alloy_primitives::Address;

pub(crate) use asset::AssetConfig;
pub(crate) use chain::{ChainConfig, parse_cap, parse_token};
pub(crate) use database::{DataConfig, DatabaseConfig};
pub(crate) use engine::EngineConfig;
pub(crate) use intake::IntakeConfig;
pub(crate) use log::{LogConfig, LogFormat};
pub(crate) use problem::{ConfigError, Origin, Problem, nearest};
pub(crate) use queue::QueueConfig;
pub(crate) use redis::RedisConfig;
pub(crate) use reference::{json_schema, reference};
pub(crate) use seal::SealConfig;
pub(crate) use server::ServerConfig;
pub(crate) use signer::{
    HolderConfig, JournalPlace, KeyConfig, SecretConfig, SignerConfig, TokenConfig, WrapWord,
};

use section::{Reading, Section};
use tree::Node;

/// What is looked for in the working directory when no file is named.
pub(crate) const DEFAULT_FILE: &str = "portcullis.toml";

/// One value that a flag sets.
#[derive(Clone, Debug)]
pub(crate) struct FlagValue {
    /// The flag.
    pub(crate) flag: &'static str,
    /// The dotted key.
    pub(crate) key: &'static str,
    /// The value.
    pub(crate) value: String,
}

/// The layers that a configuration is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layers {
    /// The file; `None` takes [`DEFAULT_FILE`] where it exists.
    pub(crate) file: Option<PathBuf>,
    /// The process environment.
    pub(crate) environment: Vec<(String, String)>,
    /// The command line.
    pub(crate) flags: Vec<FlagValue>,
}

/// The whole configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
    pub(crate) server: ServerConfig,
    pub(crate) intake: IntakeConfig,
    pub(crate) data: DataConfig,
    pub(crate) database: DatabaseConfig,
    pub(crate) log: LogConfig,
    pub(crate) seal: SealConfig,
    pub(crate) signer: SignerConfig,
    pub(crate) chains: Vec<ChainConfig>,
    pub(crate) engine: EngineConfig,
    pub(crate) queue: QueueConfig,
    pub(crate) redis: RedisConfig,
    pub(crate) asset: AssetConfig,
    /// Where each value came from that was set, by its full name: `chain[0].network`.
    origins: BTreeMap<String, Origin>,
}

impl Config {
    /// Reads and checks all layers.
    ///
    /// # Errors
    /// See [`ConfigError`]; all problems are reported together.
    pub(crate) fn load(layers: Layers) -> Result<Self, ConfigError> {
        Self::load_and(layers, |_, _| Vec::new())
    }

    /// As [`Config::load`], and everything that `serve --role all` needs: files of secrets are opened,
    /// their contents checked and forgotten again.
    ///
    /// # Errors
    /// See [`ConfigError`]; all problems are reported together.
    pub(crate) fn check(layers: Layers) -> Result<Self, ConfigError> {
        Self::load_and(layers, Self::serving_problems)
    }

    fn load_and(
        layers: Layers,
        more: impl FnOnce(&Self, &[Problem]) -> Vec<Problem>,
    ) -> Result<Self, ConfigError> {
        let default = Path::new(DEFAULT_FILE);
        let file = layers.file.or_else(|| default.is_file().then(|| default.to_owned()));
        let mut tree = match &file {
            None => Node::empty(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
                Node::from_file(&text, path)?
            }
        };
        let mut problems = seed_names::overlay(&mut tree, &layers.environment);
        problems.extend(tree.overlay_environment(layers.environment));
        for flag in layers.flags {
            let path: Vec<String> = flag.key.split('.').map(str::to_owned).collect();
            let value = toml::Value::String(flag.value);
            problems.extend(tree.set(&path, value, Origin::Flag(flag.flag)).err());
        }
        let base = file.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).to_owned();
        let mut reading = Reading::new(problems, base);
        let mut config = Self::read(&mut reading, tree, file);
        config.origins = std::mem::take(&mut reading.origins);
        let found = more(&config, &reading.problems);
        reading.problems.extend(found);
        if reading.problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Invalid(reading.problems))
        }
    }

    fn read(reading: &mut Reading, tree: Node, file: Option<PathBuf>) -> Self {
        let mut top = Section::new(reading, "", Some(tree));
        let data = top.section("data", DataConfig::read);
        let config = Self {
            file,
            server: top.section("server", ServerConfig::read),
            intake: top.section("intake", IntakeConfig::read),
            database: top.section("database", |it| DatabaseConfig::read(it, &data.dir)),
            log: top.section("log", LogConfig::read),
            seal: top.section("seal", SealConfig::read),
            signer: top.section("signer", |it| SignerConfig::read(it, &data.dir)),
            chains: top.sections("chain", ChainConfig::read).into_iter().flatten().collect(),
            engine: top.section("engine", EngineConfig::read),
            queue: top.section("queue", QueueConfig::read),
            redis: top.section("redis", RedisConfig::read),
            asset: top.section("asset", AssetConfig::read),
            data,
            origins: BTreeMap::new(),
        };
        for (index, chain) in config.chains.iter().enumerate() {
            if config.chains[..index].iter().any(|other| other.spec == chain.spec) {
                let name = format!("\"{}\"", chain.spec.network);
                top.refuse("chain", name, "every network has one [[chain]]");
            }
        }
        top.finish();
        config
    }

    /// What stops `serve --role all`. What a key that was `told` of already explains is left out.
    fn serving_problems(&self, told: &[Problem]) -> Vec<Problem> {
        let is_told = |part: &str| told.iter().any(|problem| problem.key().contains(part));
        let mut problems: Vec<Problem> = Vec::new();
        problems.extend(self.database.url().err());
        problems.extend(self.database.replica_url().err());
        problems.extend(self.seal.problems(is_told("seal")));
        problems.extend(self.redis.options().err());
        problems.extend(self.signer.problems());
        problems.extend(self.signer.missing_module(&self.origins));
        if self.chains.is_empty() && !is_told("chain") {
            problems.push(Self::missing_chain());
        }
        for chain in &self.chains {
            if chain.providers.is_empty() && !is_told(".provider") {
                problems.push(chain.missing_provider());
            }
            problems.extend(chain.providers.iter().filter_map(|provider| provider.url().err()));
        }
        problems
    }

    /// What is told when there is no chain to pay on.
    pub(crate) fn missing_chain() -> Problem {
        Problem::Missing {
            key: "chain".to_owned(),
            allowed: "write a [[chain]] with its network and a [[chain.provider]]: without one no \
                      withdrawal can be accepted"
                .to_owned(),
        }
    }

    /// Where the processes of this host that share a database find each other: the folder of an embedded database, else
    /// that of the data.
    pub(crate) fn home(&self) -> PathBuf {
        self.database.folder().unwrap_or_else(|| self.data.dir.clone())
    }

    /// The vault of each chain that has one, by chain id.
    pub(crate) fn vaults(&self) -> BTreeMap<u64, Address> {
        let vaults = self.chains.iter().map(|chain| (chain.spec.chain_id, chain.vault));
        vaults.filter_map(|(chain_id, vault)| Some((chain_id, vault?))).collect()
    }

    /// The effective configuration, without its secrets.
    pub(crate) fn print(&self) -> toml::Table {
        let mut table = toml::Table::new();
        table.insert("server".into(), self.server.print().into());
        table.insert("intake".into(), self.intake.print().into());
        table.insert("data".into(), self.data.print().into());
        table.insert("database".into(), self.database.print().into());
        table.insert("log".into(), self.log.print().into());
        table.insert("seal".into(), self.seal.print().into());
        table.insert("signer".into(), self.signer.print().into());
        table.insert("engine".into(), self.engine.print().into());
        table.insert("queue".into(), self.queue.print().into());
        table.insert("redis".into(), self.redis.print().into());
        table.insert("asset".into(), self.asset.print().into());
        let chains: Vec<toml::Value> =
            self.chains.iter().map(|chain| toml::Value::Table(chain.print())).collect();
        table.insert("chain".into(), chains.into());
        table
    }

    /// The configured chain of that name, or what to write for it.
    pub(crate) fn chain(&self, network: &str) -> Result<&ChainConfig, ConfigError> {
        let configured: Vec<&str> = self.chains.iter().map(|it| it.spec.network).collect();
        self.chains.iter().find(|chain| chain.spec.network == network).ok_or_else(|| {
            let allowed = match nearest(network, configured.iter().copied()) {
                Some(near) => format!("a configured network; did you mean \"{near}\"?"),
                None if configured.is_empty() => {
                    format!("write a [[chain]] with network = \"{network}\" first")
                }
                None => format!("one of the configured networks: {}", configured.join(", ")),
            };
            ConfigError::Invalid(vec![Problem::Value {
                key: "network".to_owned(),
                value: format!("\"{network}\""),
                origin: Origin::Flag("--network"),
                allowed,
            }])
        })
    }
}

/// A number as TOML has it.
fn integer(number: u64) -> toml::Value {
    toml::Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}
