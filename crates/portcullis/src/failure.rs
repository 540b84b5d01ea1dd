//! How a command fails: what is told, and with which exit code.

use std::process::ExitCode;

use portcullis_core::causes::with_causes;
use portcullis_store::StoreError;
use serde_json::json;
use thiserror::Error;

use crate::config::{ConfigError, Problem};
use crate::output::write_error_line;

/// Why a command did not do what was asked.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An argument's value is wrong, which only became clear after parsing.
    #[error("{0}")]
    Usage(String),
    /// A database, a node or a file cannot be reached.
    #[error("{0}")]
    Unavailable(String),
    /// It exists with other values, or it does not exist.
    #[error("{0}")]
    Refused(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    /// The exit code, as `--help` lists them.
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Config(_) => 3,
            Self::Unavailable(_) => 4,
            Self::Refused(_) => 5,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Failed(_) => "FAILED",
            Self::Usage(_) => "USAGE",
            Self::Config(_) => "CONFIGURATION",
            Self::Unavailable(_) => "UNAVAILABLE",
            Self::Refused(_) => "REFUSED",
        }
    }

    /// Tells it on standard error.
    pub(crate) fn report(&self, as_json: bool) -> ExitCode {
        if as_json {
            let error = json!({ "code": self.name(), "message": self.to_string() });
            write_error_line(&json!({ "error": error }).to_string());
        } else {
            write_error_line(&format!("error: {self}"));
        }
        ExitCode::from(self.code())
    }

    /// Something failed while doing `what`.
    pub(crate) fn failed(what: &str, error: &dyn std::error::Error) -> Self {
        Self::Failed(format!("{what}: {}", with_causes(error)))
    }

    /// The store answered `error` while doing `what`.
    pub(crate) fn of_store(what: &str, error: &StoreError) -> Self {
        let message = format!("{what}: {}", with_causes(error));
        if error.is_unavailable() { Self::Unavailable(message) } else { Self::Failed(message) }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Config(ConfigError::Invalid(vec![problem]))
    }
}
