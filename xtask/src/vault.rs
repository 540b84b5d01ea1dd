//! The `PayoutVault` on a development chain: deployed, given operators, and filled.

use std::path::Path;

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::{SolCall, SolValue, sol};
use anyhow::{Context, Result, ensure};

use crate::assets::TestAsset;
use crate::chain::{Fee, Rpc};
use crate::contracts::Artefact;
use crate::testnet;

/// Twice what making an operator takes (0.05 M).
const OPERATOR_GAS: u64 = 100_000;
/// Operators that are made at once; they fit into two blocks.
const OPERATORS_AT_ONCE: usize = 400;
/// What one transfer of a token may use: three times the dearest of the test tokens.
const TOKEN_CALL_GAS: u32 = 150_000;
/// What a recipient with code may use for taking native coins.
const NATIVE_CALL_GAS: u32 = 50_000;

sol! {
    struct Listing {
        address token;
        uint104 dailyCap;
        uint24 callGas;
    }

    struct Item {
        uint256 number;
        bytes32 ref;
        address token;
        address to;
        uint256 amount;
    }

    function setOperator(address operator, bool allowed) external;
    function pay(Item[] items) external;
}

/// Deploys a vault that pays `assets`, and has no operator yet. The second dev account owns it, and
/// the third is its treasury: neither is a hot wallet.
///
/// # Errors
/// The artefact is missing, or the node fails.
pub async fn deploy(rpc: &Rpc, root: &Path, assets: &[TestAsset]) -> Result<Address> {
    let accounts = rpc.dev_accounts().await?;
    let [_, owner, treasury, ..] = accounts[..] else {
        anyhow::bail!("the node has {} dev accounts, and a vault needs 3", accounts.len());
    };
    let artefact = Artefact::load(root, "PayoutVault")?;
    let listings = assets.iter().map(listing).collect::<Vec<_>>();
    let arguments = (owner, treasury, Vec::<Address>::new(), listings).abi_encode_params();
    let (vault, _) = testnet::deploy(rpc, &artefact, &arguments).await?;
    Ok(vault)
}

/// A cap of a day that no run reaches: the largest that the contract takes.
fn listing(asset: &TestAsset) -> Listing {
    Listing {
        token: asset.token.unwrap_or_default(),
        dailyCap: alloy_primitives::aliases::U104::MAX,
        callGas: alloy_primitives::aliases::U24::from(match asset.token {
            Some(_) => TOKEN_CALL_GAS,
            None => NATIVE_CALL_GAS,
        }),
    }
}

/// Lets hot wallets operate the vault.
///
/// # Errors
/// The node fails, or the vault has another owner.
pub async fn set_operators(rpc: &Rpc, vault: Address, operators: &[Address]) -> Result<()> {
    let accounts = rpc.dev_accounts().await?;
    let owner = *accounts.get(1).context("the node has no second dev account")?;
    ensure!(!operators.contains(&owner), "the owner of the vault is a hot wallet");
    let fee = Fee::generous(rpc, OPERATOR_GAS).await?;
    for part in operators.chunks(OPERATORS_AT_ONCE) {
        let calls: Vec<(Option<Address>, Bytes)> = part
            .iter()
            .map(|&operator| {
                let call = setOperatorCall { operator, allowed: true };
                (Some(vault), Bytes::from(call.abi_encode()))
            })
            .collect();
        rpc.send_from_dev_account(owner, &calls, fee).await.context("cannot make operators")?;
    }
    Ok(())
}

/// Fills the vault up to `wei` native coins, and of each token up to `units(token)`.
///
/// # Errors
/// The node fails.
pub async fn fill(rpc: &Rpc, vault: Address, wei: U256, tokens: &[(Address, U256)]) -> Result<()> {
    rpc.fund_native(&[vault], wei).await?;
    for &(token, full) in tokens {
        let held = rpc.token_balance_of(token, &[vault]).await?;
        let missing = full.saturating_sub(held.first().copied().unwrap_or_default());
        if !missing.is_zero() {
            testnet::mint_tokens(rpc, token, &[(vault, missing)]).await?;
        }
    }
    Ok(())
}
