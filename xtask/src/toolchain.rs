//! What the commands need beside Rust: the npm packages of `contracts/`, which bring the Solidity
//! compiler, anvil and forge, all pinned in `contracts/package-lock.json`.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use alloy_primitives::keccak256;
use anyhow::{Context, Result, bail, ensure};

/// The oldest major version of Node that the packages run on.
const OLDEST_NODE_MAJOR: u32 = 20;

/// Names another anvil executable, for platforms without an npm package and for trying a version.
pub const ANVIL_VARIABLE: &str = "PORTCULLIS_ANVIL";

/// Names another forge executable, for the same reasons.
pub const FORGE_VARIABLE: &str = "PORTCULLIS_FORGE";

/// The root of the checkout that this program was built from.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Installs the npm packages of `contracts/` unless exactly those of the lock file are there
/// already. Safe to call from several processes at once: one installs, the others wait for it.
///
/// # Errors
/// Node or npm is missing or too old, or `npm ci` failed; the message holds npm's own words.
pub fn ensure_node_packages(root: &Path) -> Result<()> {
    let contracts = root.join("contracts");
    let lock_path = contracts.join("package-lock.json");
    let lock_file =
        File::open(&lock_path).with_context(|| format!("cannot open {}", lock_path.display()))?;
    lock_file
        .lock()
        .with_context(|| format!("cannot wait for another install on {}", lock_path.display()))?;

    let wanted = keccak256(fs::read(&lock_path)?).to_string();
    // `npm ci` removes the folder first, and with it the stamp of an older install.
    let stamp = contracts.join("node_modules").join(".installed-lock");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }

    check_node_version(&run(Command::new("node").arg("--version"), "node")?)?;
    eprintln!("installing the Solidity compiler, anvil and forge (npm ci in contracts/) ...");
    run(Command::new("npm").arg("ci").current_dir(&contracts), "npm").context(
        "the npm packages of contracts/ could not be installed: check the network and npm's registry setting, then run this again",
    )?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    eprintln!("installed.");
    Ok(())
}

/// The anvil executable itself (not npm's script around it, which would stand between us and its
/// process id): the one that [`ANVIL_VARIABLE`] names, or the pinned one, installed if need be.
///
/// # Errors
/// As [`ensure_node_packages`]; or there is no anvil package for this platform.
pub fn anvil_binary(root: &Path) -> Result<PathBuf> {
    foundry_binary(root, "anvil", ANVIL_VARIABLE)
}

/// The forge executable: the one that [`FORGE_VARIABLE`] names, or the pinned one, installed if
/// need be.
///
/// # Errors
/// As [`ensure_node_packages`]; or there is no forge package for this platform.
pub fn forge_binary(root: &Path) -> Result<PathBuf> {
    foundry_binary(root, "forge", FORGE_VARIABLE)
}

fn foundry_binary(root: &Path, tool: &str, variable: &str) -> Result<PathBuf> {
    if let Some(own) = std::env::var_os(variable) {
        let own = PathBuf::from(own);
        ensure!(own.is_file(), "{variable} names {}, which is not a file", own.display());
        return Ok(own);
    }
    ensure_node_packages(root)?;
    let platform = foundry_platform(std::env::consts::OS, std::env::consts::ARCH)
        .with_context(|| format!("set {variable} to an executable of {tool} 1.7"))?;
    let package = format!("{tool}-{platform}");
    let binary =
        root.join("contracts/node_modules/@foundry-rs").join(package).join("bin").join(tool);
    ensure!(
        binary.is_file(),
        "npm did not install {}: set {variable} to an executable of {tool} 1.7",
        binary.display()
    );
    Ok(binary)
}

/// What the npm package with the executable has after the tool's name, as
/// `@foundry-rs/anvil/const.mjs` names them.
fn foundry_platform(system: &str, architecture: &str) -> Result<&'static str> {
    Ok(match (system, architecture) {
        ("linux", "x86_64") => "linux-amd64",
        ("linux", "aarch64") => "linux-arm64",
        ("macos", "x86_64") => "darwin-amd64",
        ("macos", "aarch64") => "darwin-arm64",
        _ => bail!("npm has no packages of anvil and forge for {system} on {architecture}"),
    })
}

/// Runs a program to its end with nothing on our own standard output, which may be read by a
/// machine. What it printed comes back, or goes into the error.
pub(crate) fn run(command: &mut Command, program: &str) -> Result<String> {
    let Output { status, stdout, stderr } = command.output().map_err(|error| {
        if error.kind() == ErrorKind::NotFound {
            anyhow::anyhow!(
                "{program} was not found: install Node.js {OLDEST_NODE_MAJOR} or newer, which brings node and npm, and run this again"
            )
        } else {
            anyhow::Error::new(error).context(format!("{program} could not be started"))
        }
    })?;
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    if !status.success() {
        bail!("{program} ended with {status}:\n{stdout}{}", String::from_utf8_lossy(&stderr));
    }
    Ok(stdout)
}

/// Refuses a Node that is too old; `version` is what `node --version` prints, such as `v20.11.0`.
fn check_node_version(version: &str) -> Result<()> {
    let version = version.trim();
    let major = version.strip_prefix('v').and_then(|rest| rest.split('.').next()?.parse().ok());
    let major: u32 = major.with_context(|| format!("`node --version` answered {version:?}"))?;
    ensure!(
        major >= OLDEST_NODE_MAJOR,
        "Node.js {version} is too old: install Node.js {OLDEST_NODE_MAJOR} or newer and run this again"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_unreadable_versions_of_node_are_refused() {
        for good in ["v20.0.0\n", "v22.18.1", "v100.1.2"] {
            assert!(check_node_version(good).is_ok(), "{good}");
        }
        for bad in ["v18.20.4\n", "v9.0.0", "", "20.0.0", "vX.1.1"] {
            assert!(check_node_version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unknown_platform_is_named() {
        let error = foundry_platform("plan9", "mips").unwrap_err().to_string();
        assert!(error.contains("plan9 on mips"), "{error}");
    }

    #[test]
    fn every_platform_that_we_name_is_in_the_lock_file() {
        let lock =
            fs::read_to_string(workspace_root().join("contracts/package-lock.json")).unwrap();
        for system in ["linux", "macos"] {
            for architecture in ["x86_64", "aarch64"] {
                let platform = foundry_platform(system, architecture).unwrap();
                for tool in ["anvil", "forge"] {
                    let entry = format!("\"node_modules/@foundry-rs/{tool}-{platform}\"");
                    assert!(lock.contains(&entry), "{entry} is not in package-lock.json");
                }
            }
        }
        assert!(!lock.contains("\"resolved\""), "the lock file names download hosts");
    }

    #[test]
    fn a_missing_program_is_told_what_to_install() {
        let mut missing = Command::new("/nonexistent/portcullis-npm");
        let error = run(&mut missing, "npm").unwrap_err().to_string();
        assert!(error.starts_with("npm was not found: install Node.js 20"), "{error}");
    }

    #[test]
    fn a_failing_program_leaves_its_words_in_the_error() {
        let mut failing = Command::new("sh");
        failing.args(["-c", "echo out; echo why >&2; exit 3"]);
        let error = run(&mut failing, "sh").unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("why"), "{error}");
    }
}
