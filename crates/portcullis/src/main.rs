//! `portcullis`: the command line, the configuration, and the wiring of the roles.

mod actor;
mod cli;
mod clock;
mod commands;
mod config;
mod connections;
mod failure;
mod fleet;
mod guard;
mod holder;
mod logging;
mod output;
mod random;
mod roles;
mod serve;
mod session;
mod signing;
mod stop;
mod telemetry;
mod watch;
mod wire;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use portcullis_core::time::Clock;

use crate::cli::{AdminCommand, Cli, Command, ConfigCommand, GlobalArgs, MigrateAction};
use crate::clock::SystemClock;
use crate::config::{Config, FlagValue, Layers, LogConfig, LogFormat};
use crate::failure::Failure;
use crate::logging::Identity;
use crate::output::Output;
use crate::session::Session;

/// Every value of every row that SQLite gives is an allocation, made on one thread and freed on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Warnings, and how far the comparison has come.
const RECONCILE_LOG: &str = "warn,portcullis_engine::reconcile=info";

fn main() -> ExitCode {
    keep_pages_small();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let as_json = cli.global.json;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(as_json),
    }
}

/// Asks the kernel for pages of their ordinary size: a set of payments frees what it took, the allocator gives it back, and the next set
/// had it cleared in pieces of 2 MiB, a tenth of all processor time. Without the kernel's consent it is slower and larger, and no more.
fn keep_pages_small() {
    #[cfg(target_os = "linux")]
    let _refused = rustix::thread::disable_transparent_huge_pages(true);
}

/// Tells what is wrong with the command line. `--json` cannot be read from it then, and is looked for among
/// the words.
fn refuse(error: &clap::Error) -> ExitCode {
    let as_json = std::env::args_os().any(|word| word == "--json");
    if !as_json || !error.use_stderr() {
        error.exit();
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text).trim();
    Failure::Usage(text.to_owned()).report(true)
}

fn run(cli: Cli) -> Result<(), Failure> {
    let flags = cli.flag_values();
    let global = cli.global;
    let output = Output::new(global.json);
    match cli.command {
        Command::Init(arguments) => commands::init(&arguments, output),
        Command::Serve(arguments) => {
            serve::serve(&arguments, load(&global, flags)?, Arc::new(SystemClock))
        }
        Command::Migrate(arguments) => {
            let action = arguments.action.unwrap_or(MigrateAction::Up);
            let (config, clock) = prepare(&global, flags)?;
            runtime()?.block_on(commands::migrate(action, &config, clock, output))
        }
        Command::Keys(command) => {
            let (config, clock) = prepare(&global, flags)?;
            if config.signer.holder.is_keystore() {
                return commands::keys(&command, &config, &clock, output);
            }
            in_session(config, clock, output, async |session| {
                commands::held_keys(&command, session).await
            })
        }
        Command::Config(ConfigCommand::Reference) => {
            commands::show_reference(output);
            Ok(())
        }
        Command::Config(ConfigCommand::Schema) => commands::show_schema(output),
        Command::Config(command) => {
            if matches!(command, ConfigCommand::Check) {
                Config::check(layers(&global, flags.clone()))?;
            }
            let (config, _clock) = prepare(&global, flags)?;
            commands::show_config(command, &config, output)
        }
        Command::Backup(arguments) => {
            let (config, clock) = prepare(&global, flags)?;
            in_session(config, clock, output, async |session| {
                commands::backup(&arguments, session).await
            })
        }
        Command::Queues(command) => {
            let (config, clock) = prepare(&global, flags)?;
            in_session(config, clock, output, async |session| {
                commands::queues(&command, session).await
            })
        }
        Command::Restore(arguments) => {
            let (config, clock) = prepare(&global, flags)?;
            runtime()?.block_on(commands::restore(&arguments, &config, &clock, output))
        }
        Command::Reconcile(arguments) => {
            let (config, clock) = prepare_telling(&global, flags, RECONCILE_LOG)?;
            runtime()?.block_on(commands::reconcile(&arguments, &config, &clock, output))
        }
        Command::Doctor => {
            let (config, clock) = prepare(&global, flags)?;
            runtime()?.block_on(commands::doctor(&config, &clock, output))
        }
        Command::Admin(command) => {
            let (config, clock) = prepare(&global, flags)?;
            in_session(config, clock, output, async |session| administer(&command, session).await)
        }
    }
}

/// Runs a command over the open store, which is closed however the command ends.
fn in_session(
    config: Config,
    clock: Arc<dyn Clock>,
    output: Output,
    command: impl AsyncFnOnce(&Session) -> Result<(), Failure>,
) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let session = Session::open(config, clock, output).await?;
        let outcome = Box::pin(command(&session)).await;
        session.store.close().await;
        outcome
    })
}

async fn administer(command: &AdminCommand, session: &Session) -> Result<(), Failure> {
    match command {
        AdminCommand::Tenant(command) => commands::tenant(command, session).await,
        AdminCommand::ApiKey(command) => commands::api_key(command, session).await,
        AdminCommand::Asset(command) => commands::asset(command, session).await,
        AdminCommand::Halt(command) => commands::halt(command, session).await,
        AdminCommand::Slot(command) => commands::slot(command, session).await,
        AdminCommand::DeadLetter(command) => commands::dead_letter(command, session).await,
        AdminCommand::Withdrawal(command) => commands::withdrawal(command, session).await,
        AdminCommand::Audit(command) => commands::audit(*command, session).await,
    }
}

fn layers(global: &GlobalArgs, flags: Vec<FlagValue>) -> Layers {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Layers { file: global.config.clone(), environment, flags }
}

fn load(global: &GlobalArgs, flags: Vec<FlagValue>) -> Result<Config, Failure> {
    Ok(Config::load(layers(global, flags))?)
}

/// For a command that ends by itself: the configuration, and logs of warnings for people, unless
/// flags ask for more.
fn prepare(
    global: &GlobalArgs,
    flags: Vec<FlagValue>,
) -> Result<(Config, Arc<dyn Clock>), Failure> {
    prepare_telling(global, flags, "warn")
}

/// The same, with more than warnings of some of it: long work tells how far it has come.
fn prepare_telling(
    global: &GlobalArgs,
    flags: Vec<FlagValue>,
    unasked: &str,
) -> Result<(Config, Arc<dyn Clock>), Failure> {
    let config = load(global, flags)?;
    let asked_level = global.log_level.is_some();
    let asked_format = global.log_format.is_some();
    let log = LogConfig {
        level: if asked_level { config.log.level } else { tracing::Level::WARN },
        filter: if asked_level { config.log.filter.clone() } else { Some(unasked.to_owned()) },
        format: if asked_format { config.log.format } else { LogFormat::Text },
    };
    let identity = Identity { service: "portcullis".to_owned(), instance: "cli".to_owned() };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    logging::install(&log, identity, Arc::clone(&clock))
        .map_err(|error| Failure::failed("cannot start logging", &error))?;
    Ok((config, clock))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("cannot start the runtime", &error))
}
