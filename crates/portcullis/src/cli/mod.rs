//! The command line.

pub(crate) mod copies;
pub(crate) mod operate;
pub(crate) mod queues;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::FlagValue;

use self::copies::{BackupArgs, ReconcileArgs, RestoreArgs};
use self::operate::{AuditCommand, DeadLetterCommand, HaltCommand, SlotCommand, WithdrawalCommand};
use self::queues::QueuesCommand;

/// What `--help` says below the commands.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed: the message says why
  2  the command line is wrong
  3  the configuration is wrong: every wrong key is named
  4  a database, node or file could not be reached: try again
  5  refused: it exists with other values, or it does not exist

Start on a laptop, against a local node:
  portcullis init --dir ./payouts --network localhost --rpc-url http://127.0.0.1:8545
  export PORTCULLIS_CONFIG=./payouts/portcullis.toml
  portcullis keys new --network localhost --count 4
  portcullis admin tenant add acme
  portcullis admin api-key add --tenant acme --name backend --scopes withdrawals:read,withdrawals:write
  portcullis admin asset add --network localhost --symbol POL --token native --decimals 18 --min 0.01 --max 100
  portcullis serve

Answers go to standard output, logs and prompts to standard error.";

/// A self-hosted withdrawal engine for EVM chains: pays every withdrawal exactly once, or provably not
/// at all, and shows where each of them stands.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct GlobalArgs {
    /// The configuration file [default: ./portcullis.toml where it exists]
    #[arg(long, global = true, env = "PORTCULLIS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Answer with JSON, for machines: one object on one line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The least level that is logged: error, warn, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// How log lines look: json, or text
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the engine and its API
    Serve(ServeArgs),
    /// Bring the database schema up to date, or show where it stands
    Migrate(MigrateArgs),
    /// Write a configuration, a sealing key and the directories of a new installation
    Init(InitArgs),
    /// Make, import and list the keys that payments are signed with
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Tenants, API keys and assets
    #[command(subcommand)]
    Admin(AdminCommand),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The doorbells between the processes of a fleet, in SQS
    #[command(subcommand)]
    Queues(QueuesCommand),
    /// Copy the database to a file, while it is in use
    Backup(BackupArgs),
    /// Put a backup in the database's place; the engine is stopped
    Restore(RestoreArgs),
    /// Compare database, journal, ledger and chain, and repair the database
    Reconcile(ReconcileArgs),
    /// Check providers, clock, assets, wallets, vault, journal and files; say what to do
    Doctor,
}

/// `serve`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis serve                                   every role in one process, on port 3000
  portcullis serve --role api                        the API alone
  portcullis serve --role signer                     the signer alone; probes and metrics on port 3002
  portcullis serve --role processor,monitor          two roles; probes on the first one's port, 3001

Ports of a role alone: api 3000, processor 3001, signer 3002, monitor 3003, broadcaster 3004, recovery 3006.
SIGTERM or SIGINT stops gracefully: readiness fails, work in hand is finished, open requests are
answered, exit code 0. A second signal ends at once.")]
pub(crate) struct ServeArgs {
    /// The roles that this process runs, with commas
    #[arg(long, value_delimiter = ',', default_value = "all", value_name = "ROLE")]
    pub(crate) role: Vec<RoleName>,
    /// Listen here instead of where the configuration says
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
}

/// A role, as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    /// Every role
    All,
    /// Takes requests in
    Api,
    /// Applies the policy
    Processor,
    /// Binds payments to nonces and signs; the only one that opens the keystore
    Signer,
    /// Sends signed transactions
    Broadcaster,
    /// Follows the chain and counts confirmations
    Monitor,
    /// Takes care of what is stuck
    Recovery,
}

/// `migrate`
#[derive(Clone, Debug, Args)]
pub(crate) struct MigrateArgs {
    #[command(subcommand)]
    pub(crate) action: Option<MigrateAction>,
}

/// What `migrate` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum MigrateAction {
    /// Apply what is pending [the default]
    Up,
    /// Show the version of the schema and how much is pending
    Status,
}

/// `init`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Example:
  portcullis init --dir ./payouts --network localhost --rpc-url http://127.0.0.1:8545

Writes DIR/portcullis.toml with a comment for every key, DIR/secrets/seal.key (random, readable by
its owner alone), DIR/data for the database and DIR/keys for the keystore and its journal. Nothing
that exists is overwritten.")]
pub(crate) struct InitArgs {
    /// The directory of the installation; made if it is absent
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The first network
    #[arg(long, value_name = "NETWORK", default_value = "localhost")]
    pub(crate) network: String,
    /// The JSON-RPC URL of a node of that network
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8545")]
    pub(crate) rpc_url: String,
    /// Where the API is to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    pub(crate) listen: SocketAddr,
    /// The network's PayoutVault, if one is deployed: payments go through it (docs/guide/vault.md)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) vault: Option<String>,
    /// A cap of the signer, in atomic units of the token: 0x…=5000000000 or native=1000; repeatable
    #[arg(long, value_name = "TOKEN=AMOUNT")]
    pub(crate) cap: Vec<String>,
    /// Also write a random keystore passphrase to DIR/secrets. For development: who can read both
    /// files can sign. In production give the passphrase from elsewhere
    #[arg(long)]
    pub(crate) passphrase: bool,
}

/// `keys`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
The passphrase comes from signer.passphrase_file (or signer.passphrase, or their environment
variables PORTCULLIS__SIGNER__PASSPHRASE_FILE and PORTCULLIS__SIGNER__PASSPHRASE), else it is asked for.
A private key is never printed and never taken from an argument.

Examples:
  portcullis keys new --network polygon --count 8 --label payouts
  portcullis keys import --network polygon --file ./key.hex
  pass show hot-wallet | portcullis keys import --network polygon --file -
  portcullis keys list --json")]
pub(crate) enum KeysCommand {
    /// Generate keys; the keystore is made with the first
    New {
        /// The network that the keys sign for
        #[arg(long)]
        network: String,
        /// How many
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
        count: u16,
        /// What people call them
        #[arg(long)]
        label: Option<String>,
    },
    /// Take in a private key: 64 hexadecimal digits from a file or standard input
    Import {
        /// The network that the key signs for
        #[arg(long)]
        network: String,
        /// The file; - reads standard input
        #[arg(long, value_name = "FILE", default_value = "-")]
        file: PathBuf,
        /// What people call it
        #[arg(long)]
        label: Option<String>,
    },
    /// List addresses, networks and labels; needs no passphrase
    List {
        /// Only this network
        #[arg(long)]
        network: Option<String>,
    },
    /// Encrypt the keys of a secret in AWS Secrets Manager anew, as a new version
    Rotate,
    /// Begin the signer's journal of keys in AWS or a hardware security module, once, and print its name
    Journal,
}

/// `admin`
#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Who has accounts and API keys here
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Keys of the HTTP API
    #[command(subcommand)]
    ApiKey(ApiKeyCommand),
    /// What can be withdrawn
    #[command(subcommand)]
    Asset(AssetCommand),
    /// What stops the engine
    #[command(subcommand)]
    Halt(HaltCommand),
    /// One nonce of one hot wallet: look, bump, cancel, fill
    #[command(subcommand)]
    Slot(SlotCommand),
    /// Work that failed too often
    #[command(subcommand)]
    DeadLetter(DeadLetterCommand),
    /// Withdrawals that wait for a decision
    #[command(subcommand)]
    Withdrawal(WithdrawalCommand),
    /// The audit log and the books
    #[command(subcommand)]
    Audit(AuditCommand),
}

/// `admin tenant`
#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// Add a tenant; the same name again answers with the same tenant
    Add {
        /// Its name
        name: String,
    },
    /// List all tenants
    List,
}

/// `admin api-key`
#[derive(Debug, Subcommand)]
pub(crate) enum ApiKeyCommand {
    /// Make a key and show its secret, once
    #[command(after_help = "\
Example:
  portcullis admin api-key add --tenant acme --name backend --scopes withdrawals:read,withdrawals:write

Only a hash of the secret is stored: it cannot be shown again.")]
    Add {
        /// The tenant, by name or id
        #[arg(long)]
        tenant: String,
        /// What the key is for
        #[arg(long)]
        name: String,
        /// With commas: withdrawals:read, withdrawals:write, deposits:write, accounts:read
        #[arg(long)]
        scopes: String,
    },
    /// List the keys of a tenant, never their secrets
    List {
        /// The tenant, by name or id
        #[arg(long)]
        tenant: String,
    },
    /// End a key for ever
    Revoke {
        /// Its id, key_…
        id: String,
    },
}

/// `admin asset`
#[derive(Debug, Subcommand)]
pub(crate) enum AssetCommand {
    /// Let an asset be withdrawn. Its decimals are compared with the token's where the node answers
    Add(AssetAddArgs),
    /// List all assets
    List {
        /// Show beside them what the token's contract says of itself, at most an hour old where Redis remembers it
        #[arg(long)]
        on_chain: bool,
    },
}

/// `admin asset add`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Example:
  portcullis admin asset add --network polygon --symbol USDC --decimals 6 \\
    --token 0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359 --min 1 --max 50000 --daily-max 200000

The signer has caps of its own, in [[chain.cap]]: a token without one is accepted here and not signed for.")]
pub(crate) struct AssetAddArgs {
    /// The network
    #[arg(long)]
    pub(crate) network: String,
    /// What people call it, unique on its network
    #[arg(long)]
    pub(crate) symbol: String,
    /// The token's address, or native
    #[arg(long, value_name = "0x…|native")]
    pub(crate) token: String,
    /// Decimal places of one unit
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=36))]
    pub(crate) decimals: u8,
    /// The smallest withdrawal, in units [default: asset.min]
    #[arg(long, value_name = "AMOUNT")]
    pub(crate) min: Option<String>,
    /// The largest withdrawal, in units [default: asset.max]
    #[arg(long, value_name = "AMOUNT")]
    pub(crate) max: Option<String>,
    /// The most that one account may withdraw on one UTC day, in units [default: the configured one, else no limit]
    #[arg(long, value_name = "AMOUNT")]
    pub(crate) daily_max: Option<String>,
    /// Add a token that has no contract at its address yet
    #[arg(long)]
    pub(crate) force: bool,
}

/// `config`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Read every layer and every file of a secret, and say what is wrong
    Check,
    /// Show the effective configuration, without its secrets, and where each value came from
    Print,
    /// Show every key with its meaning and default, as a commented file
    Reference,
    /// Show the JSON Schema of the configuration
    Schema,
}

impl Cli {
    /// The flags that are above file and environment.
    pub(crate) fn flag_values(&self) -> Vec<FlagValue> {
        let mut values = Vec::new();
        let mut put = |flag, key, value: Option<String>| {
            values.extend(value.map(|value| FlagValue { flag, key, value }));
        };
        put("--log-level", "log.level", self.global.log_level.clone());
        put("--log-format", "log.format", self.global.log_format.clone());
        values
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn roles_are_a_list_and_all_is_the_default() {
        let roles = |arguments: &[&str]| {
            let cli = Cli::try_parse_from([&["portcullis", "serve"], arguments].concat());
            match cli.map(|cli| cli.command) {
                Ok(Command::Serve(serve)) => Some(serve.role),
                _ => None,
            }
        };
        assert_eq!(roles(&[]), Some(vec![RoleName::All]));
        assert_eq!(
            roles(&["--role", "processor,monitor"]),
            Some(vec![RoleName::Processor, RoleName::Monitor])
        );
        assert_eq!(roles(&["--role", "janitor"]), None);
    }

    #[test]
    fn json_is_understood_behind_every_command() {
        for line in [
            "portcullis admin tenant list --json",
            "portcullis keys list --json",
            "portcullis migrate status --json",
            "portcullis --json config check",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).expect("valid in this test");
            assert!(cli.global.json, "{line}");
        }
    }

    #[test]
    fn a_private_key_is_no_argument() {
        let line = "portcullis keys import --network localhost 0xabc";
        assert!(Cli::try_parse_from(line.split(' ')).is_err());
    }

    #[test]
    fn flags_name_the_keys_that_they_set() {
        let line = "portcullis migrate --log-level debug";
        let cli = Cli::try_parse_from(line.split(' ')).expect("valid in this test");
        let keys: Vec<&str> = cli.flag_values().iter().map(|value| value.key).collect();
        assert_eq!(keys, ["log.level"]);
    }
}
