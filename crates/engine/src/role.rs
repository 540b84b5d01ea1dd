//! The roles of a deployment, and the ports of their health and metrics.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Takes requests.
    Api,
    /// Puts them before policy.
    Processor,
    /// Binds and signs.
    Signer,
    /// Follows the chain.
    Monitor,
    /// Sends.
    Broadcaster,
    /// Goes after what is stuck.
    Recovery,
}

/// Text that names no role.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no role; the roles are api, processor, signer, monitor, broadcaster, recovery and all"
)]
pub struct UnknownRole(String);

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] = [
        Self::Api,
        Self::Processor,
        Self::Signer,
        Self::Monitor,
        Self::Broadcaster,
        Self::Recovery,
    ];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Processor => "processor",
            Self::Signer => "signer",
            Self::Monitor => "monitor",
            Self::Broadcaster => "broadcaster",
            Self::Recovery => "recovery",
        }
    }

    /// Where it answers for health and metrics when it runs alone.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Api => 3000,
            Self::Processor => 3001,
            Self::Signer => 3002,
            Self::Monitor => 3003,
            Self::Broadcaster => 3004,
            Self::Recovery => 3006,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| UnknownRole(text.to_owned()))
    }
}
