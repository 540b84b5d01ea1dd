//! The facts that are worth a question less: under which keys, for how long, and in which form.
//!
//! All are read on the way to an estimate or a page, never on the way to a decision about money. Text that does not
//! read as the fact is no fact.

use std::sync::Arc;
use std::time::Duration;

use portcullis_core::amount::Amount;
use portcullis_core::time::Timestamp;

use crate::Cache;

/// How long a gas price is told on: two of the slowest blocks.
const GAS_PRICE_KEPT: Duration = Duration::from_secs(30);
/// How long a token's metadata is told on: it hardly ever changes, and an upgrade of its contract may change it.
const TOKEN_KEPT: Duration = Duration::from_hours(1);
/// How long a balance is told on.
const BALANCE_KEPT: Duration = Duration::from_secs(10);

/// Facts in a cache.
#[derive(Clone, Debug)]
pub struct Facts {
    cache: Arc<dyn Cache>,
}

/// What a chain asked for at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GasPrice {
    /// The tip, in wei.
    pub tip_wei: u128,
    /// When a node said so.
    pub at: Timestamp,
}

/// What a token says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFacts {
    /// Its decimal places.
    pub decimals: u8,
    /// Its symbol, as text that nobody vouches for.
    pub symbol: String,
}

impl Facts {
    /// In that cache.
    #[must_use]
    pub fn new(cache: Arc<dyn Cache>) -> Self {
        Self { cache }
    }

    /// The newest tip that a process was told.
    pub async fn gas_price(&self, chain_id: u64) -> Option<GasPrice> {
        let text = self.read(&gas_key(chain_id)).await?;
        let (tip, at) = text.split_once(' ')?;
        Some(GasPrice { tip_wei: tip.parse().ok()?, at: Timestamp::from_millis(at.parse().ok()?) })
    }

    /// Tells the others of a tip.
    pub async fn keep_gas_price(&self, chain_id: u64, price: GasPrice) {
        let text = format!("{} {}", price.tip_wei, price.at.as_millis());
        self.cache.write(&gas_key(chain_id), text.as_bytes(), GAS_PRICE_KEPT).await;
    }

    /// A token's metadata. `token` is its address as text.
    pub async fn token(&self, chain_id: u64, token: &str) -> Option<TokenFacts> {
        let text = self.read(&token_key(chain_id, token)).await?;
        let (decimals, symbol) = text.split_once(' ')?;
        Some(TokenFacts { decimals: decimals.parse().ok()?, symbol: symbol.to_owned() })
    }

    /// Tells the others of a token.
    pub async fn keep_token(&self, chain_id: u64, token: &str, facts: &TokenFacts) {
        let text = format!("{} {}", facts.decimals, facts.symbol);
        self.cache.write(&token_key(chain_id, token), text.as_bytes(), TOKEN_KEPT).await;
    }

    /// What an address held lately. `asset` is a token's address, or `native`.
    pub async fn balance(&self, chain_id: u64, holder: &str, asset: &str) -> Option<Amount> {
        let text = self.read(&balance_key(chain_id, holder, asset)).await?;
        Amount::parse_atomic(&text).ok()
    }

    /// Tells the others of a balance.
    pub async fn keep_balance(&self, chain_id: u64, holder: &str, asset: &str, amount: Amount) {
        let text = amount.to_string();
        self.cache
            .write(&balance_key(chain_id, holder, asset), text.as_bytes(), BALANCE_KEPT)
            .await;
    }

    /// Forgets a balance that a payment has just changed.
    pub async fn forget_balance(&self, chain_id: u64, holder: &str, asset: &str) {
        self.cache.forget(&balance_key(chain_id, holder, asset)).await;
    }

    /// Until when a provider is not asked, because another process found it failing.
    pub async fn breaker(&self, chain_id: u64, provider: &str) -> Option<Timestamp> {
        let text = self.read(&breaker_key(chain_id, provider)).await?;
        Some(Timestamp::from_millis(text.parse().ok()?))
    }

    /// Tells the others that a provider fails, and until when it is left alone.
    pub async fn keep_breaker(
        &self,
        chain_id: u64,
        provider: &str,
        until: Timestamp,
        now: Timestamp,
    ) {
        let left_ms = u64::try_from(until.millis_since(now)).unwrap_or(0);
        if left_ms > 0 {
            let text = until.as_millis().to_string();
            let key = breaker_key(chain_id, provider);
            self.cache.write(&key, text.as_bytes(), Duration::from_millis(left_ms)).await;
        }
    }

    async fn read(&self, key: &str) -> Option<String> {
        String::from_utf8(self.cache.read(key).await?).ok()
    }
}

fn gas_key(chain_id: u64) -> String {
    format!("gas:{chain_id}")
}

fn token_key(chain_id: u64, token: &str) -> String {
    format!("token:{chain_id}:{token}")
}

fn balance_key(chain_id: u64, holder: &str, asset: &str) -> String {
    format!("balance:{chain_id}:{holder}:{asset}")
}

fn breaker_key(chain_id: u64, provider: &str) -> String {
    format!("breaker:{chain_id}:{provider}")
}
