//! The four assets that the commands pay in: the native coin and the test tokens.

use alloy_primitives::{Address, U256};
use anyhow::{Context, Result};

use crate::testnet::Deployment;
use crate::units::parse_units;

/// An asset, as `portcullis admin asset add` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestAsset {
    /// What requests call it.
    pub symbol: &'static str,
    /// The contract; `None` for the native coin.
    pub token: Option<Address>,
    /// Decimal places.
    pub decimals: u8,
    /// The smallest withdrawal, in whole tokens.
    pub min: &'static str,
    /// The largest withdrawal, in whole tokens.
    pub max: &'static str,
}

impl TestAsset {
    /// The native coin, USDC, USDT and BAL of a chain with the test tokens.
    #[must_use]
    pub fn all(deployment: &Deployment) -> [Self; 4] {
        let stable = |symbol, token| Self {
            symbol,
            token: Some(token),
            decimals: 6,
            min: "0.01",
            max: "10000",
        };
        [
            Self { symbol: "POL", token: None, decimals: 18, min: "0.0001", max: "100" },
            stable("USDC", deployment.usdc),
            stable("USDT", deployment.usdt),
            Self {
                symbol: "BAL",
                token: Some(deployment.bal),
                decimals: 18,
                min: "0.000000000000000001",
                max: "1000000",
            },
        ]
    }

    /// How a command line or a log names its contract.
    #[must_use]
    pub fn token_text(&self) -> String {
        token_text(self.token)
    }

    /// An amount in atomic units.
    ///
    /// # Errors
    /// See [`parse_units`].
    pub fn units(&self, amount: &str) -> Result<U256> {
        parse_units(amount, self.decimals).with_context(|| format!("an amount of {}", self.symbol))
    }
}

/// The asset of that symbol.
///
/// # Errors
/// There is none.
pub fn by_symbol<'a>(assets: &'a [TestAsset], symbol: &str) -> Result<&'a TestAsset> {
    assets.iter().find(|asset| asset.symbol == symbol).with_context(|| {
        let known: Vec<&str> = assets.iter().map(|asset| asset.symbol).collect();
        format!("{symbol:?} is not one of the assets here, which are {}", known.join(", "))
    })
}

/// The address of a token, or `native`.
#[must_use]
pub fn token_text(token: Option<Address>) -> String {
    token.map_or_else(|| "native".to_owned(), |token| token.to_checksum(None))
}
