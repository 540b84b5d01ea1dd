//! Logs: one line an event on standard error, with the fields that every line has to carry:
//! `timestamp`, `level`, `service`, `correlationId` and `message`.

mod event;
mod json;
mod layer;
mod text;

use std::io::IsTerminal;
use std::sync::Arc;

use portcullis_core::time::Clock;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogConfig, LogFormat};

pub(crate) use layer::LogLayer;

/// What is the same on every line of one process.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// `portcullis`, or the roles that a process of its own serves.
    pub(crate) service: String,
    /// The `correlationId` of lines that belong to no request: the process itself.
    pub(crate) instance: String,
}

/// Sends this process' events to standard error from now on.
///
/// # Errors
/// When a subscriber is installed already.
pub(crate) fn install(
    config: &LogConfig,
    identity: Identity,
    clock: Arc<dyn Clock>,
) -> Result<(), TryInitError> {
    let color = config.format == LogFormat::Text
        && std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none();
    let layer = LogLayer::new(config.format, color, identity, clock, std::io::stderr);
    tracing_subscriber::registry().with(targets(config)).with(layer).try_init()
}

/// Makes a panic a line like every other, with its place; without it, it would be plain text between them.
pub(crate) fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("a panic without a message");
        tracing::error!(place, "panic: {message}");
    }));
}

/// The level is that of Portcullis' own crates; libraries speak from `warn` on, unless `log.filter`
/// asks them to.
fn targets(config: &LogConfig) -> Targets {
    let libraries = config.level.min(tracing::Level::WARN);
    let own = ["portcullis", "portcullis_engine", "portcullis_evm", "portcullis_http"];
    let more = ["portcullis_keys", "portcullis_store", "portcullis_core"];
    let base = Targets::new()
        .with_default(libraries)
        .with_targets(own.into_iter().chain(more).map(|target| (target, config.level)));
    let asked = config.filter.as_deref().and_then(|filter| filter.parse::<Targets>().ok());
    match asked {
        None => base,
        Some(asked) => {
            let default = asked.default_level();
            let base = base.with_targets(asked);
            match default {
                Some(level) => base.with_default(level),
                None => base,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_are_quiet_unless_asked() {
        let config = |filter: Option<&str>| LogConfig {
            level: Level::DEBUG,
            filter: filter.map(str::to_owned),
            format: LogFormat::Json,
        };
        let plain = targets(&config(None));
        assert!(plain.would_enable("portcullis_engine::signer", &Level::DEBUG));
        assert!(!plain.would_enable("portcullis_engine::signer", &Level::TRACE));
        assert!(plain.would_enable("hyper::proto", &Level::WARN));
        assert!(!plain.would_enable("hyper::proto", &Level::INFO));
        let asked = targets(&config(Some("sqlx=trace,portcullis_engine=error")));
        assert!(asked.would_enable("sqlx::query", &Level::TRACE));
        assert!(!asked.would_enable("portcullis_engine::signer", &Level::WARN));
        assert!(asked.would_enable("portcullis_http", &Level::DEBUG));
    }

    #[test]
    fn a_level_above_warn_also_holds_for_libraries() {
        let config = LogConfig { level: Level::ERROR, filter: None, format: LogFormat::Json };
        assert!(!targets(&config).would_enable("hyper", &Level::WARN));
    }
}
