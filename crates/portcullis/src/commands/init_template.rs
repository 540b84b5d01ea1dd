//! The configuration that `init` writes: every key, with what it means and its default.

use std::net::SocketAddr;

use alloy_primitives::Address;
use portcullis_core::chain::ChainSpec;

use crate::config::parse_cap;

/// What differs from one installation to the next.
pub(super) struct Template<'a> {
    pub(super) spec: &'static ChainSpec,
    pub(super) rpc_url: &'a str,
    pub(super) listen: SocketAddr,
    pub(super) with_passphrase_file: bool,
    /// The network's vault.
    pub(super) vault: Option<Address>,
    /// `TOKEN=AMOUNT`, checked before.
    pub(super) caps: &'a [String],
}

/// The text of the file. `[[chain]]` comes last, so that a cap can be appended.
pub(super) fn render(template: &Template<'_>) -> String {
    let passphrase = if template.with_passphrase_file {
        "passphrase_file = \"secrets/keystore-passphrase\""
    } else {
        "# passphrase_file = \"secrets/keystore-passphrase\""
    };
    let head = HEAD
        .replace("{listen}", &quoted(&template.listen.to_string()))
        .replace("{passphrase}", passphrase);
    let spec = template.spec;
    let vault = match template.vault {
        Some(vault) => format!("vault = \"{vault}\""),
        None => "# vault = \"0x…\"".to_owned(),
    };
    let chain = CHAIN
        .replace("{network}", &quoted(spec.network))
        .replace("{name}", spec.name)
        .replace("{cap_gwei}", &gwei(spec).to_string())
        .replace("{gas_max}", &spec.transaction_gas_max.to_string())
        .replace("{vault}", &vault)
        .replace("{rpc_url}", &quoted(template.rpc_url));
    format!("{head}{chain}{}", caps(template))
}

fn gwei(spec: &ChainSpec) -> u128 {
    spec.fee_bounds.max_fee_per_gas_wei_cap / 1_000_000_000
}

/// The caps that were asked for; without any, a cap of the native coin to begin with.
fn caps(template: &Template<'_>) -> String {
    let native = "native=1000000000000000000000".to_owned();
    let asked =
        if template.caps.is_empty() { std::slice::from_ref(&native) } else { template.caps };
    asked.iter().filter_map(|text| parse_cap(text).ok()).fold(String::new(), |text, cap| {
        let token = cap.token.map_or("native".to_owned(), |token| token.to_string());
        let most = cap.amount_max;
        text + &format!("\n[[chain.cap]]\ntoken = \"{token}\"\namount_max = \"{most}\"\n")
    })
}

/// Text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

const HEAD: &str = r#"# Portcullis. Every key can also be set by the environment: PORTCULLIS__SECTION__KEY, and
# PORTCULLIS__CHAIN__0__KEY for the first [[chain]]. Relative paths begin at this file.
# `portcullis config check` says what is wrong with it; `portcullis config print` shows what holds.

[server]
# Where the API listens.
listen = {listen}
# A process without the API listens on the port of its role, on the host above; or here:
# probe_listen = "127.0.0.1:3001"
# docs_base_url = "https://payouts.example.com/guide"
# How long open requests may take after a stop was asked for.
# drain_ms = 10000

[intake]
# The most withdrawals that wait to be sent; above it new ones get a 429 with Retry-After.
# queue_max = 250000

[data]
# The directory of the embedded database.
dir = "data"

[database]
# url = "sqlite:///var/lib/portcullis/portcullis.db"   (default: portcullis.db in data.dir)
# For a fleet, a MySQL or MariaDB server, with its password in a file: url_file = "secrets/database.url"
# auto_migrate = true
# readers_max = 4
# writers_max = 8

[log]
# error, warn, info, debug, trace
level = "info"
# json or text; the default is text on a terminal, else json
# format = "json"

[seal]
# Seals every accepted withdrawal, API key, deposit and asset, so that who can write the database
# cannot redirect a payment. Lose it, and nothing that was accepted before can be paid.
key_file = "secrets/seal.key"
key_id = 1
# After a rotation, the older keys, which only verify:
# [[seal.previous]]
# key_id = 1
# key_file = "secrets/seal-1.key"

[signer]
# Read by a process with the signer role alone. The signer's journal lies beside the keystore; keep both
# outside data.dir and out of every backup: a restored backup must not bring back an old journal.
keystore = "keys/keystore.json"
{passphrase}
# second_secret_file = "/run/secrets/portcullis-second"
# Keys in AWS KMS, AWS Secrets Manager or a hardware security module, and a journal for several signers: docs/guide/keys.md
# kind = "keystore"

[engine]
# See docs/guide/configuration.md; the defaults are good.
"#;

const CHAIN: &str = r#"
# {name}
[[chain]]
network = {network}
# The hard cap of maxFeePerGas: nothing is ever signed above it.
# max_fee_per_gas_gwei = {cap_gwei}
# The most that one transaction's fee may cost, in wei; default: 300,000 gas at the cap above, 4,000,000
# with a vault, and at most one coin: nodes refuse more unless they are told otherwise.
# transaction_fee_wei_max = "1500000000000000000"
# gas_limit_max = {gas_max}
# The PayoutVault that pays here, many payments a transaction and none twice (docs/guide/vault.md). Without it
# every payment is a plain transfer from a hot wallet.
{vault}
# How many independent operators have to agree that something was paid, or was not. Two where two are
# configured; one alone is believed about payments, and never about a release (docs/guide/providers.md).
# quorum = 2

[[chain.provider]]
name = "primary"
# Who runs it. Two providers of one operator count as one.
operator = "primary"
# Or url_file, when the URL holds a key.
url = {rpc_url}
# timeout_ms = 10000
# What its plan allows; the default is no limit.
# requests_per_second = 25
# batch_max = 100

# The signer's own caps: the most of one payment in atomic units, whatever the database says. A token
# without a cap is not signed for.
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Layers};

    #[test]
    fn what_is_written_is_a_valid_configuration_on_every_network() {
        let caps = ["native=5".to_owned(), format!("0x{}=6", "ab".repeat(20))];
        for (spec, asked) in ChainSpec::ALL.iter().zip([&caps[..], &[]].into_iter().cycle()) {
            let text = render(&Template {
                spec,
                rpc_url: "http://127.0.0.1:8545/\"quoted\\",
                listen: ([127, 0, 0, 1], 3000).into(),
                with_passphrase_file: true,
                vault: (!asked.is_empty()).then(|| Address::repeat_byte(0xab)),
                caps: asked,
            });
            let dir = tempfile::tempdir().expect("a temporary directory");
            let path = dir.path().join("portcullis.toml");
            std::fs::write(&path, text).expect("writable");
            let layers = Layers { file: Some(path), ..Layers::default() };
            let config = Config::load(layers).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(config.chains.len(), 1);
            assert_eq!(config.chains[0].spec, spec);
            assert_eq!(config.chains[0].caps.len(), asked.len().max(1));
        }
    }
}
