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

impl fmt::Display for Rail {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Direct => "direct",
            Self::Vault => "vault",
        })
    }
}
