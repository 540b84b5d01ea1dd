//! The test tokens on a development chain: deployed once, found again after a restart, minted.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::{SolCall, sol};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::chain::{Fee, Rpc};
use crate::contracts::{Artefact, TestTokens};

/// Three times what the largest of the test tokens takes (0.95 M).
const DEPLOY_GAS: u64 = 3_000_000;
/// Twice what a mint to a new holder takes (0.07 M).
const MINT_GAS: u64 = 150_000;
/// Mints that are under way at once; they fit into two blocks.
const MINTS_AT_ONCE: usize = 500;

sol! {
    function mint(address to, uint256 units) external;
}

/// Where the test tokens are on one chain. Kept as JSON beside the chain's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// The USDC-like token, 6 decimals.
    pub usdc: Address,
    /// The USDT-like token, 6 decimals, returns nothing.
    pub usdt: Address,
    /// The plain token, 18 decimals.
    pub bal: Address,
    /// The block of the first of them: none has an older log.
    pub block: u64,
}

impl Deployment {
    /// Reads what [`Deployment::save`] wrote; `None` where nothing was.
    ///
    /// # Errors
    /// The file cannot be read or holds something else.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        serde_json::from_str(&text).map(Some).with_context(|| {
            format!("{} does not say where the test tokens are: delete it", path.display())
        })
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Whether exactly these contracts are on the chain: all three, from today's artefacts.
    ///
    /// # Errors
    /// The node fails.
    pub async fn is_on_chain(&self, rpc: &Rpc, tokens: &TestTokens) -> Result<bool> {
        let pairs = [(self.usdc, &tokens.usdc), (self.usdt, &tokens.usdt), (self.bal, &tokens.bal)];
        for (address, artefact) in pairs {
            if rpc.code_at(address).await? != artefact.deployed_bytecode {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Deploys one contract from the first dev account; `arguments` are its encoded constructor
/// arguments. Gives its address and block.
///
/// # Errors
/// The node fails, or the constructor does.
pub async fn deploy(rpc: &Rpc, artefact: &Artefact, arguments: &[u8]) -> Result<(Address, u64)> {
    let deployed = deploy_all(rpc, &[(artefact, arguments)]).await?;
    deployed.first().copied().context("nothing was deployed")
}

/// Deploys the three test tokens; the first dev account owns them.
///
/// # Errors
/// The node fails.
pub async fn deploy_test_tokens(rpc: &Rpc, tokens: &TestTokens) -> Result<Deployment> {
    let artefacts: [(&Artefact, &[u8]); 3] =
        [(&tokens.usdc, &[]), (&tokens.usdt, &[]), (&tokens.bal, &[])];
    let deployed = deploy_all(rpc, &artefacts).await?;
    let [first, second, third] = deployed[..] else {
        bail!("{} contracts were deployed instead of 3", deployed.len());
    };
    Ok(Deployment { usdc: first.0, usdt: second.0, bal: third.0, block: first.1 })
}

/// The tokens of the record at `path` if they are still on this chain; otherwise new ones, and the
/// record is written anew. The flag says whether they are new.
///
/// # Errors
/// The node or the file fails.
pub async fn ensure_test_tokens(
    rpc: &Rpc,
    tokens: &TestTokens,
    path: &Path,
) -> Result<(Deployment, bool)> {
    if let Some(known) = Deployment::load(path)?
        && known.is_on_chain(rpc, tokens).await?
    {
        return Ok((known, false));
    }
    let deployment = deploy_test_tokens(rpc, tokens).await?;
    deployment.save(path)?;
    Ok((deployment, true))
}

/// Mints units of a test token, each to its holder, from the token's owner.
///
/// # Errors
/// The node fails, or a mint does (a paused token, a barred account).
pub async fn mint_tokens(rpc: &Rpc, token: Address, mints: &[(Address, U256)]) -> Result<()> {
    let owner = rpc.first_dev_account().await?;
    let fee = Fee::generous(rpc, MINT_GAS).await?;
    for part in mints.chunks(MINTS_AT_ONCE) {
        let calls: Vec<_> = part
            .iter()
            .map(|&(to, units)| (Some(token), Bytes::from(mintCall { to, units }.abi_encode())))
            .collect();
        rpc.send_from_dev_account(owner, &calls, fee)
            .await
            .with_context(|| format!("cannot mint units of {token}"))?;
    }
    Ok(())
}

async fn deploy_all(rpc: &Rpc, contracts: &[(&Artefact, &[u8])]) -> Result<Vec<(Address, u64)>> {
    let owner = rpc.first_dev_account().await?;
    let calls: Vec<_> = contracts
        .iter()
        .map(|(artefact, arguments)| {
            (None, Bytes::from([artefact.bytecode.as_ref(), arguments].concat()))
        })
        .collect();
    let fee = Fee::generous(rpc, DEPLOY_GAS).await?;
    let receipts = rpc
        .send_from_dev_account(owner, &calls, fee)
        .await
        .context("cannot deploy the contracts")?;
    receipts
        .iter()
        .map(|receipt| {
            let address = receipt.contract_address.context("a deployment made no contract")?;
            Ok((address, receipt.block_number.to()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_a_broken_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deployed.json");
        assert_eq!(Deployment::load(&path).unwrap(), None);
        let deployment = Deployment {
            usdc: Address::repeat_byte(1),
            usdt: Address::repeat_byte(2),
            bal: Address::repeat_byte(3),
            block: 7,
        };
        deployment.save(&path).unwrap();
        assert_eq!(Deployment::load(&path).unwrap(), Some(deployment));
        fs::write(&path, "{\"usdc\":\"0x00\"}").unwrap();
        let error = Deployment::load(&path).unwrap_err();
        assert!(format!("{error:#}").contains("delete it"), "{error:#}");
    }
}
