//! The two ways in which a payment travels.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// A rail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Rail {
    /// Plain transfers from hot wallets, which hold the money.
    Direct,
    /// A vault holds the money and pays each number once; hot wallets hold gas money and operate it.
    #[default]
    Vault,
}

impl Rail {
    /// How many hot wallets a benchmark has where nobody says: enough that they are not what it measures.
    #[must_use]
    pub const fn wallets(self) -> u16 {
        match self {
            Self::Direct => 160,
            Self::Vault => 16,
        }
    }
}

impl fmt::Display for Rail {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Direct => "direct",
            Self::Vault => "vault",
        })
    }
}
