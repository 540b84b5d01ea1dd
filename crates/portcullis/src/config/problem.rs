//! What is wrong with a configuration: the key, the value and what is allowed.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The configuration file.
    File,
    /// An environment variable, by its name.
    Environment(String),
    /// A command line flag, by its name.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => formatter.write_str("the configuration file"),
            Self::Environment(name) => write!(formatter, "environment variable {name}"),
            Self::Flag(name) => write!(formatter, "flag {name}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Problem {
    /// A value that is not allowed. Secrets arrive here already redacted.
    #[error("{key} = {value} ({origin}) is not allowed: {allowed}")]
    Value {
        /// The dotted key.
        key: String,
        /// What was given.
        value: String,
        /// Where it was given.
        origin: Origin,
        /// What would be right.
        allowed: String,
    },
    /// A key that does not exist.
    #[error("{key} ({origin}) is unknown: {hint}")]
    Unknown {
        /// The dotted key.
        key: String,
        /// Where it was given.
        origin: Origin,
        /// The nearest name, or the names that exist there.
        hint: String,
    },
    /// A key that is needed and absent.
    #[error("{key} is missing: {allowed}")]
    Missing {
        /// The dotted key.
        key: String,
        /// What has to be set.
        allowed: String,
    },
}

impl Problem {
    /// The key that it is about.
    pub(crate) fn key(&self) -> &str {
        match self {
            Self::Value { key, .. } | Self::Unknown { key, .. } | Self::Missing { key, .. } => key,
        }
    }
}

/// A configuration that cannot be used. Every problem is listed, not only the first.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {source}; name another with --config, or write one with `portcullis init --dir DIR`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{} is not valid TOML, line {line}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser says. It never quotes the line, which may hold a secret.
        message: String,
    },
    /// Keys or values are wrong.
    #[error("{}", listed(.0))]
    Invalid(Vec<Problem>),
}

fn listed(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| format!("  {problem}")).collect();
    let noun = if problems.len() == 1 { "problem" } else { "problems" };
    format!("the configuration has {} {noun}:\n{}", problems.len(), lines.join("\n"))
}

/// The name in `known` that was most likely meant by `given`.
pub(crate) fn nearest<'a>(
    given: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, name)| name)
}
