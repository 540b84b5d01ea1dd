//! `[[chain]]`: the networks that are paid on, their providers, and the signer's own caps.

use std::collections::BTreeSet;

use alloy_primitives::Address;
use portcullis_core::address::{DestinationError, parse_address};
use portcullis_core::amount::Amount;
use portcullis_core::chain::ChainSpec;
use thiserror::Error;

use super::integer;
use super::problem::{Problem, nearest};
use super::secret::SecretSource;
use super::section::Section;

/// One `[[chain.provider]]`.
#[derive(Clone, Debug)]
pub(crate) struct ProviderConfig {
    /// What logs and metrics call it.
    pub(crate) name: String,
    /// Who runs it: two providers of one operator are not independent.
    pub(crate) operator: String,
    /// Its URL, which usually holds a key.
    pub(crate) url: SecretSource,
    /// How long one call may take.
    pub(crate) timeout_ms: u64,
    /// The most requests in a second; `None` is no limit of ours.
    pub(crate) requests_per_second: Option<u32>,
    /// The most requests in one batch.
    pub(crate) batch_max: usize,
}

/// One `[[chain.cap]]`: the most that the signer puts into one payment, whatever the database says.
/// In atomic units: the signer does not believe the database's decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CapConfig {
    /// The token; `None` is the native coin.
    pub(crate) token: Option<Address>,
    /// The most of one payment.
    pub(crate) amount_max: Amount,
}

/// One `[[chain]]`.
#[derive(Clone, Debug)]
pub(crate) struct ChainConfig {
    /// What is known of the network.
    pub(crate) spec: &'static ChainSpec,
    /// The hard cap of `maxFeePerGas`.
    pub(crate) max_fee_per_gas_wei: u128,
    /// The most that the fee of one transaction may cost.
    pub(crate) transaction_fee_wei_max: u128,
    /// The highest gas limit of one transaction.
    pub(crate) gas_limit_max: u64,
    /// The vault that its payments go through; `None` where they are plain transfers.
    pub(crate) vault: Option<Address>,
    /// How many independent operators have to agree on what decides about money.
    pub(crate) quorum: usize,
    /// Where the chain is read and written.
    pub(crate) providers: Vec<ProviderConfig>,
    /// The signer's caps. A token without one is not signed for.
    pub(crate) caps: Vec<CapConfig>,
}

const GWEI: u128 = 1_000_000_000;

/// Gas of an ordinary payment with room: the fee cap times this is the default of `transaction_fee_wei_max`.
const ORDINARY_GAS: u128 = 300_000;

/// Gas of 50 payments to new holders through the vault, with room, the same way.
const VAULT_GAS: u128 = 4_000_000;

/// One coin. Nodes refuse a transaction that may cost more unless they are told otherwise (`rpc.txfeecap` of geth and bor,
/// 1.0 by default): a dearer one would be signed, and taken by nobody.
const NODE_FEE_WEI_MAX: u128 = 1_000_000_000_000_000_000;

/// The quorum where nothing else is configured and two operators are.
const QUORUM: usize = 2;

/// Requests in one batch where nothing else is configured. Public endpoints take 100, some less.
const BATCH_MAX: usize = 100;

const WEI: &str = "wei as text, digits only, such as \"1500000000000000000\"";

const VAULT: &str = "the address of the network's PayoutVault with its EIP-55 checksum";

const ATOMIC: &str = "atomic units as text, digits only, such as \"5000000000\"";

impl ChainConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let networks: Vec<&str> = ChainSpec::ALL.iter().map(|chain| chain.network).collect();
        let allowed = format!("one of {}", networks.join(", "));
        let mut given = None;
        let spec = section.parsed("network", &allowed, |text| {
            given = Some(text.to_owned());
            Some(ChainSpec::by_network(text))
        });
        if let (Some(None), Some(name)) = (spec, &given) {
            let hint = nearest(name, networks.iter().copied());
            let hint = hint.map(|near| format!("did you mean \"{near}\"? ")).unwrap_or_default();
            section.refuse("network", format!("\"{name}\""), format!("{hint}{allowed}"));
        }
        let spec = section.required("network", &allowed, spec).flatten();
        let gwei = section.number("max_fee_per_gas_gwei", 1..=1_000_000).map(u128::from);
        let fee_max = section.parsed("transaction_fee_wei_max", WEI, |text| {
            text.parse::<u128>().ok().filter(|wei| *wei > 0)
        });
        let gas_limit = section.number("gas_limit_max", 21_000..=1 << 32);
        let vault = section.parsed("vault", VAULT, |text| parse_address(text).ok());
        let quorum = section.number("quorum", 1..=16).and_then(|it| usize::try_from(it).ok());
        let providers: Vec<ProviderConfig> =
            section.sections("provider", read_provider).into_iter().flatten().collect();
        let caps: Vec<CapConfig> =
            section.sections("cap", read_cap).into_iter().flatten().collect();
        refuse_doubles(section, &providers, &caps);
        let quorum = read_quorum(section, quorum, &providers);
        let spec = spec?;
        let max_fee_per_gas_wei =
            gwei.map_or(spec.fee_bounds.max_fee_per_gas_wei_cap, |gwei| gwei.saturating_mul(GWEI));
        if max_fee_per_gas_wei < spec.fee_bounds.tip_wei_min {
            let least = spec.fee_bounds.tip_wei_min / GWEI;
            let allowed = format!("at least {least}, the least tip that {} takes", spec.name);
            section.refuse("max_fee_per_gas_gwei", max_fee_per_gas_wei / GWEI, allowed);
        }
        let usual_gas = if vault.is_some() { VAULT_GAS } else { ORDINARY_GAS };
        let transaction_fee_wei_max = fee_max
            .unwrap_or_else(|| max_fee_per_gas_wei.saturating_mul(usual_gas).min(NODE_FEE_WEI_MAX));
        let gas_limit_max = gas_limit.unwrap_or(spec.transaction_gas_max);
        if gas_limit_max > spec.transaction_gas_max {
            let allowed = format!("at most {}, the chain's own limit", spec.transaction_gas_max);
            section.refuse("gas_limit_max", gas_limit_max, allowed);
        }
        Some(Self {
            spec,
            max_fee_per_gas_wei,
            transaction_fee_wei_max,
            gas_limit_max,
            vault,
            quorum,
            providers,
            caps,
        })
    }

    /// What is told of a chain that nothing can be asked of.
    pub(crate) fn missing_provider(&self) -> Problem {
        Problem::Missing {
            key: format!("chain.provider of \"{}\"", self.spec.network),
            allowed: "at least one [[chain.provider]] with name and url".to_owned(),
        }
    }

    pub(super) fn print(&self) -> toml::Table {
        let mut table = toml::Table::new();
        table.insert("network".into(), self.spec.network.into());
        let gwei = u64::try_from(self.max_fee_per_gas_wei / GWEI).unwrap_or(u64::MAX);
        table.insert("max_fee_per_gas_gwei".into(), integer(gwei));
        let fee_max = self.transaction_fee_wei_max.to_string();
        table.insert("transaction_fee_wei_max".into(), fee_max.into());
        table.insert("gas_limit_max".into(), integer(self.gas_limit_max));
        if let Some(vault) = self.vault {
            table.insert("vault".into(), vault.to_string().into());
        }
        table.insert("quorum".into(), integer(self.quorum as u64));
        let providers: Vec<toml::Value> = self.providers.iter().map(print_provider).collect();
        table.insert("provider".into(), providers.into());
        let caps: Vec<toml::Value> = self.caps.iter().map(print_cap).collect();
        table.insert("cap".into(), caps.into());
        table
    }
}

impl ProviderConfig {
    /// The URL. Messages never show it.
    pub(crate) fn url(&self) -> Result<secrecy::SecretString, Problem> {
        self.url.parse("a URL that begins with http:// or https:// and names a host", |url| {
            let url = url.trim();
            let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
            let has_host = !rest.is_empty() && !rest.starts_with(['/', '?', '#', ':']);
            let is_one_word = !rest.contains(char::is_whitespace);
            (has_host && is_one_word).then(|| secrecy::SecretString::from(url.to_owned()))
        })
    }
}

/// Text that is neither `native` nor an address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum TokenError {
    /// The address does not hold.
    #[error("{0} (or write native for the chain's own coin)")]
    Address(#[from] DestinationError),
}

/// `native`, or the address of a token.
///
/// # Errors
/// See [`TokenError`].
pub(crate) fn parse_token(text: &str) -> Result<Option<Address>, TokenError> {
    if text == "native" { Ok(None) } else { Ok(Some(parse_address(text)?)) }
}

/// `TOKEN=AMOUNT`, as `init --cap` takes it.
///
/// # Errors
/// What is allowed.
pub(crate) fn parse_cap(text: &str) -> Result<CapConfig, String> {
    let cap = text.split_once('=').and_then(|(token, amount)| {
        Some(CapConfig { token: parse_token(token).ok()?, amount_max: parse_amount(amount)? })
    });
    cap.ok_or_else(|| {
        "native or the token's address, = and the most of one payment in atomic units, such as \
         native=1000000000000000000"
            .to_owned()
    })
}

fn parse_amount(text: &str) -> Option<Amount> {
    Amount::parse_atomic(text).ok().filter(|amount| !amount.is_zero())
}

fn read_provider(section: &mut Section<'_>) -> Option<ProviderConfig> {
    let name = section.text("name");
    let operator = section.text("operator");
    let url = section.secret("url", "url_file");
    let timeout_ms = section.number("timeout_ms", 100..=60_000).unwrap_or(10_000);
    let requests_per_second = section.number("requests_per_second", 1..=100_000);
    let batch_max = section.number("batch_max", 1..=1_000);
    let name = section.required("name", "what logs call this provider", name);
    let url = section.required("url", "the provider's JSON-RPC URL, or url_file", url);
    let (name, url) = (name?, url?);
    Some(ProviderConfig {
        operator: operator.unwrap_or_else(|| name.clone()),
        name,
        url,
        timeout_ms,
        requests_per_second: requests_per_second.and_then(|rate| u32::try_from(rate).ok()),
        batch_max: batch_max.and_then(|most| usize::try_from(most).ok()).unwrap_or(BATCH_MAX),
    })
}

/// As configured, or two; one where there is one operator only, who is then believed alone.
fn read_quorum(
    section: &mut Section<'_>,
    asked: Option<usize>,
    providers: &[ProviderConfig],
) -> usize {
    let operators: BTreeSet<&str> =
        providers.iter().map(|provider| provider.operator.as_str()).collect();
    let have = operators.len().max(1);
    if let Some(quorum) = asked.filter(|quorum| *quorum > have && !providers.is_empty()) {
        let allowed = format!(
            "at most {have}, the number of different operators of this chain's providers; add a \
             [[chain.provider]] of another operator"
        );
        section.refuse("quorum", quorum, allowed);
    }
    asked.unwrap_or(QUORUM.min(have))
}

fn read_cap(section: &mut Section<'_>) -> Option<CapConfig> {
    let allowed = "\"native\", or the token's address with its EIP-55 checksum";
    let token = section.parsed("token", allowed, |text| parse_token(text).ok());
    let amount_max = section.parsed("amount_max", ATOMIC, parse_amount);
    let token = section.required("token", allowed, token);
    let amount_max = section.required("amount_max", ATOMIC, amount_max);
    Some(CapConfig { token: token?, amount_max: amount_max? })
}

fn refuse_doubles(section: &mut Section<'_>, providers: &[ProviderConfig], caps: &[CapConfig]) {
    for (index, provider) in providers.iter().enumerate() {
        if providers[..index].iter().any(|earlier| earlier.name == provider.name) {
            let allowed = "every provider of a chain has a name of its own";
            section.refuse("provider", format!("\"{}\"", provider.name), allowed);
        }
    }
    for (index, cap) in caps.iter().enumerate() {
        if caps[..index].iter().any(|earlier| earlier.token == cap.token) {
            let token = cap.token.map_or("native".to_owned(), |token| token.to_string());
            section.refuse("cap", token, "one cap a token");
        }
    }
}

fn print_provider(provider: &ProviderConfig) -> toml::Value {
    let (url_key, url) = provider.url.printed("url");
    let mut table = toml::Table::from_iter([
        ("name".to_owned(), provider.name.clone().into()),
        ("operator".to_owned(), provider.operator.clone().into()),
        (url_key, url.into()),
        ("timeout_ms".to_owned(), integer(provider.timeout_ms)),
        ("batch_max".to_owned(), integer(provider.batch_max as u64)),
    ]);
    if let Some(rate) = provider.requests_per_second {
        table.insert("requests_per_second".to_owned(), integer(u64::from(rate)));
    }
    toml::Value::Table(table)
}

fn print_cap(cap: &CapConfig) -> toml::Value {
    let token = cap.token.map_or("native".to_owned(), |token| token.to_string());
    toml::Value::Table(toml::Table::from_iter([
        ("token".to_owned(), token.into()),
        ("amount_max".to_owned(), cap.amount_max.to_string().into()),
    ]))
}
