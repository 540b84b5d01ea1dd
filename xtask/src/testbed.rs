//! Everything that a run needs, in one directory: a chain with test tokens, an installation of
//! Portcullis with funded hot wallets, and the options of its server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use alloy_primitives::{Address, U256};
use anyhow::{Context, Result};

use crate::anvil::{Anvil, AnvilOptions};
use crate::assets::TestAsset;
use crate::chain::Rpc;
use crate::contracts::TestTokens;
use crate::installation::{Installation, NewInstallation};
use crate::judge::Scope;
use crate::rail::Rail;
use crate::server::ServerOptions;
use crate::testnet::{self, Deployment};
use crate::{toolchain, vault};

/// Blocks of the development chain come once a second, as on a real one.
pub const BLOCK_TIME_MS: u64 = 1_000;
/// Confirmations that the localhost chain asks for before a payment counts as confirmed.
pub const CONFIRMATIONS: u64 = 3;
/// The tenant of the commands.
pub const TENANT: &str = "demo";

/// Native coins that each hot wallet gets, in wei: a million.
const WALLET_WEI: u128 = 1_000_000_000_000_000_000_000_000;
/// Native coins that a hot wallet gets which only operates a vault, in wei: gas money, ten thousand.
const GAS_WEI: u128 = 10_000_000_000_000_000_000_000;
/// Tokens that each hot wallet gets, or the vault, in whole ones.
const WALLET_TOKENS: u64 = 1_000_000_000;

/// A chain with the test tokens.
#[derive(Clone, Debug)]
pub struct TestChain {
    /// A client of it.
    pub rpc: Rpc,
    /// Where the tokens are.
    pub deployment: Deployment,
    /// Whether they were deployed just now.
    pub is_new: bool,
}

/// Starts a chain with one-second blocks and the test tokens; `dir` gets its log and the record of
/// the tokens. With `state_file` it goes on where it stopped.
///
/// # Errors
/// Anvil cannot be installed or started, or the tokens cannot be deployed.
pub async fn start_chain(dir: &Path, state_file: Option<PathBuf>) -> Result<(Anvil, TestChain)> {
    let root = toolchain::workspace_root();
    let binary = toolchain::anvil_binary(&root)?;
    let options = AnvilOptions {
        block_time_ms: Some(BLOCK_TIME_MS),
        // For a stop that was not one: the chain then goes back by this much at most.
        state_interval_s: state_file.as_ref().map(|_| 5),
        state_file,
        ..AnvilOptions::new(binary, dir.join("anvil.log"))
    };
    let anvil = Anvil::start(options).await.context("the development chain did not start")?;
    let rpc = Rpc::new(anvil.rpc_url())?;
    let tokens = TestTokens::load(&root)?;
    let record = dir.join("tokens.json");
    let (deployment, is_new) = testnet::ensure_test_tokens(&rpc, &tokens, &record).await?;
    Ok((anvil, TestChain { rpc, deployment, is_new }))
}

/// Who pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payers {
    /// The hot wallets.
    pub wallets: Vec<Address>,
    /// The vault that they operate, on the vault rail.
    pub vault: Option<Address>,
}

/// What a new installation has.
#[derive(Debug)]
pub struct Furnished {
    /// Who pays.
    pub payers: Payers,
    /// The secret of an API key that may do everything.
    pub secret: String,
}

/// Makes an installation for `chain`: a vault where `rail` wants one, a configuration with caps, keys,
/// a tenant with an API key, and the four assets.
///
/// # Errors
/// A command of `portcullis` fails; the message holds its own words. Or the node does.
pub async fn furnish(
    installation: &Installation,
    chain: &TestChain,
    listen: SocketAddr,
    (wallets, rail): (u16, Rail),
) -> Result<Furnished> {
    let make_keys = async || installation.new_keys(wallets);
    furnish_with(installation, chain, listen, rail, make_keys).await
}

/// The same with keys that `make_keys` makes, once the configuration is there.
///
/// # Errors
/// As [`furnish`]; or the keys cannot be made.
pub async fn furnish_with(
    installation: &Installation,
    chain: &TestChain,
    listen: SocketAddr,
    rail: Rail,
    make_keys: impl AsyncFnOnce() -> Result<Vec<Address>>,
) -> Result<Furnished> {
    let assets = TestAsset::all(&chain.deployment);
    let mut caps = Vec::new();
    for asset in &assets {
        caps.push((asset.token, asset.units(asset.max)?));
    }
    let rpc = &chain.rpc;
    let vault = match rail {
        Rail::Direct => None,
        Rail::Vault => Some(vault::deploy(rpc, &toolchain::workspace_root(), &assets).await?),
    };
    installation.init(&NewInstallation { rpc_url: rpc.url(), listen, caps: &caps, vault })?;
    let wallets = make_keys().await?;
    if let Some(vault) = vault {
        vault::set_operators(rpc, vault, &wallets).await?;
    }
    installation.add_tenant(TENANT)?;
    for asset in &assets {
        installation.add_asset(asset)?;
    }
    let secret = installation.add_api_key(TENANT, "xtask")?;
    Ok(Furnished { payers: Payers { wallets, vault }, secret })
}

/// Gives each hot wallet its native coins, and tokens where it has less than half of a full purse; where
/// they operate a vault, it gets all that, and they get gas money.
///
/// # Errors
/// The node fails.
pub async fn fund(chain: &TestChain, payers: &Payers) -> Result<()> {
    let Payers { wallets, vault } = payers;
    if let Some(vault) = *vault {
        chain.rpc.fund_native(wallets, U256::from(GAS_WEI)).await?;
        let mut tokens = Vec::new();
        for asset in &TestAsset::all(&chain.deployment) {
            if let Some(token) = asset.token {
                tokens.push((token, asset.units(&WALLET_TOKENS.to_string())?));
            }
        }
        return vault::fill(&chain.rpc, vault, U256::from(WALLET_WEI), &tokens).await;
    }
    chain.rpc.fund_native(wallets, U256::from(WALLET_WEI)).await?;
    for asset in &TestAsset::all(&chain.deployment) {
        let Some(token) = asset.token else { continue };
        let full = asset.units(&WALLET_TOKENS.to_string())?;
        let balances = chain.rpc.token_balance_of(token, wallets).await?;
        let poor = |balance: &U256| balance.saturating_mul(U256::from(2)) < full;
        let mints: Vec<(Address, U256)> = wallets
            .iter()
            .zip(&balances)
            .filter(|(_, balance)| poor(balance))
            .map(|(wallet, _)| (*wallet, full))
            .collect();
        testnet::mint_tokens(&chain.rpc, token, &mints).await?;
    }
    Ok(())
}

/// The options of the installation's server: its log goes beside the chain's.
#[must_use]
pub fn server_options(
    installation: &Installation,
    chain: &TestChain,
    listen: SocketAddr,
    dir: &Path,
) -> ServerOptions {
    ServerOptions {
        installation: installation.clone(),
        listen,
        rpc_url: chain.rpc.url().to_owned(),
        log: dir.join("server.log"),
    }
}

/// Everything that they pay.
#[must_use]
pub fn whole_scope(chain: &TestChain, payers: &Payers) -> Scope {
    Scope {
        wallets: payers.wallets.iter().copied().collect(),
        vault: payers.vault,
        tokens: TestAsset::all(&chain.deployment).iter().filter_map(|asset| asset.token).collect(),
        recipients: None,
    }
}
