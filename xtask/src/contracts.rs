//! The compiled contracts of `contracts/artifacts/`, the proof that they match their sources, and
//! their own tests.

use std::fs;
use std::path::Path;
use std::process::Command;

use alloy_primitives::Bytes;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::toolchain;

/// One compiled contract, as `contracts/compile.mjs` writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Artefact {
    /// The contract's name in Solidity.
    pub contract_name: String,
    /// The compiler's full version.
    pub compiler: String,
    /// The interface, in the JSON form of the Solidity ABI.
    pub abi: serde_json::Value,
    /// What a deployment sends; constructor arguments come after it.
    pub bytecode: Bytes,
    /// What then stands at the contract's address, but for immutables.
    pub deployed_bytecode: Bytes,
}

impl Artefact {
    /// Reads `contracts/artifacts/NAME.json` below `root`.
    ///
    /// # Errors
    /// The file is missing, is not an artefact, or is of another contract.
    pub fn load(root: &Path, name: &str) -> Result<Self> {
        let path = root.join("contracts/artifacts").join(name).with_extension("json");
        let text = fs::read_to_string(&path).with_context(|| {
            format!("cannot read {}: run `npm run build` in contracts/", path.display())
        })?;
        let artefact: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is not an artefact", path.display()))?;
        ensure!(
            artefact.contract_name == name && !artefact.bytecode.is_empty(),
            "{} is not the artefact of {name}",
            path.display()
        );
        Ok(artefact)
    }
}

/// The three test tokens.
#[derive(Clone, Debug)]
pub struct TestTokens {
    /// 6 decimals, pausable, with a list of barred accounts.
    pub usdc: Artefact,
    /// 6 decimals, returns nothing.
    pub usdt: Artefact,
    /// 18 decimals, plain.
    pub bal: Artefact,
}

impl TestTokens {
    /// Reads the three artefacts below `root`.
    ///
    /// # Errors
    /// As [`Artefact::load`].
    pub fn load(root: &Path) -> Result<Self> {
        Ok(Self {
            usdc: Artefact::load(root, "TestUsdc")?,
            usdt: Artefact::load(root, "TestUsdt")?,
            bal: Artefact::load(root, "TestBal")?,
        })
    }
}

/// Compiles the sources again and compares the result with the checked-in artefacts.
///
/// # Errors
/// The toolchain is missing, a source does not compile, or an artefact differs: the message names it.
pub fn check(root: &Path) -> Result<()> {
    toolchain::ensure_node_packages(root)?;
    let mut compile = Command::new("node");
    compile.args(["compile.mjs", "--check"]).current_dir(root.join("contracts"));
    toolchain::run(&mut compile, "node").context("contracts/artifacts is not what src/ gives")?;
    Ok(())
}

/// Runs the forge tests of `contracts/test/` on the checked-in artefacts, and compares the gas of a
/// payment with `contracts/snapshots/`.
///
/// # Errors
/// The toolchain is missing, a test fails, or a figure of the snapshot differs: forge's own words
/// are in the message.
pub fn forge_test(root: &Path) -> Result<()> {
    let contracts = root.join("contracts");
    // forge takes a missing file for a first run and would compare with nothing.
    let snapshot = contracts.join("snapshots/PayoutVault.json");
    ensure!(
        snapshot.is_file(),
        "{} is missing: run `npm run snapshot` in contracts/",
        snapshot.display()
    );
    let mut forge = Command::new(toolchain::forge_binary(root)?);
    forge.args(["test", "--color", "never"]).current_dir(contracts);
    for variable in ["FOUNDRY_PROFILE", "FORGE_SNAPSHOT_CHECK", "FORGE_SNAPSHOT_EMIT"] {
        forge.env_remove(variable);
    }
    toolchain::run(&mut forge, "forge").context(
        "the tests of contracts/ fail, or a payment costs another amount of gas than contracts/snapshots says",
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_artefacts_are_read() {
        let tokens = TestTokens::load(&toolchain::workspace_root()).unwrap();
        for artefact in [&tokens.usdc, &tokens.usdt, &tokens.bal] {
            assert!(artefact.compiler.starts_with("0.8."), "{}", artefact.compiler);
            assert!(artefact.abi.as_array().is_some_and(|entries| !entries.is_empty()));
            assert!(artefact.bytecode.len() > artefact.deployed_bytecode.len());
            assert!(!artefact.deployed_bytecode.is_empty());
        }
    }

    #[test]
    fn a_missing_snapshot_says_how_to_make_it() {
        let root = tempfile::tempdir().unwrap();
        let error = forge_test(root.path()).unwrap_err().to_string();
        assert!(error.contains("npm run snapshot"), "{error}");
    }

    #[test]
    fn the_checked_in_vault_is_read() {
        let vault = Artefact::load(&toolchain::workspace_root(), "PayoutVault").unwrap();
        assert_eq!(vault.abi[0]["type"], "constructor");
    }

    #[test]
    fn a_missing_artefact_says_how_to_make_it() {
        let error = Artefact::load(&toolchain::workspace_root(), "Nothing").unwrap_err();
        assert!(format!("{error:#}").contains("npm run build"), "{error:#}");
    }

    #[test]
    fn an_artefact_under_another_name_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("contracts/artifacts");
        fs::create_dir_all(&folder).unwrap();
        let original = toolchain::workspace_root().join("contracts/artifacts/TestBal.json");
        fs::copy(original, folder.join("TestUsdc.json")).unwrap();
        let error = Artefact::load(root.path(), "TestUsdc").unwrap_err().to_string();
        assert!(error.contains("is not the artefact of TestUsdc"), "{error}");
    }
}
