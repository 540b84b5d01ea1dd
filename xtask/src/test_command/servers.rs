//! The servers that the tests start themselves: from the path where they are, else installed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::pass_through;
use crate::debian;

/// The APIs of AWS, and the version of them that the tests are written for.
const MOTO: &str = "moto[server]==5.2.5";

/// Names another executable of it.
const MOTO_VARIABLE: &str = "PORTCULLIS_MOTO";

/// A server of Debian's packages.
struct Packaged {
    program: &'static str,
    package: &'static str,
}

const PACKAGED: [Packaged; 3] = [
    Packaged { program: "redis-server", package: "redis-server" },
    Packaged { program: "mariadbd", package: "mariadb-server" },
    Packaged { program: "softhsm2-util", package: "softhsm2" },
];

/// Installs what is missing.
///
/// # Errors
/// A server could not be installed: the message says which, and what to do by hand.
pub(super) fn ensure_all(root: &Path) -> Result<()> {
    for server in &PACKAGED {
        let version = packaged(server)?;
        println!("   {}: {version}", server.program);
    }
    println!("   moto: {}", moto(root)?);
    Ok(())
}

/// The version of a packaged server, which is installed if need be.
fn packaged(server: &Packaged) -> Result<String> {
    let program = debian::ensure_program(server.program, server.package)?;
    let version = version_of(&program);
    version.with_context(|| format!("{} is installed and does not run", server.program))
}

fn version_of(program: &Path) -> Option<String> {
    let answer = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    (answer.status.success() && !text.is_empty()).then_some(text)
}

/// The version of the APIs of AWS, in a Python environment of its own under `target/tools`.
fn moto(root: &Path) -> Result<String> {
    if let Some(own) = std::env::var_os(MOTO_VARIABLE) {
        ensure!(Path::new(&own).is_file(), "{MOTO_VARIABLE} names no file");
        return Ok(format!("{} ({MOTO_VARIABLE})", own.to_string_lossy()));
    }
    let folder = root.join("target").join("tools").join("moto");
    // Written last: an environment that is half made has none.
    let stamp = folder.join("installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == MOTO) {
        return Ok(MOTO.to_owned());
    }
    println!("   installing {MOTO} into target/tools/moto (once)");
    let by_hand = format!("install Python 3 with venv, or name an executable with {MOTO_VARIABLE}");
    let mut environment = Command::new("python3");
    environment.args(["-m", "venv", "--clear"]).arg(&folder);
    pass_through(&mut environment).with_context(|| by_hand.clone())?;
    let mut install = Command::new(folder.join("bin").join("pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check", MOTO]);
    pass_through(&mut install).with_context(|| by_hand)?;
    std::fs::write(&stamp, MOTO).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(MOTO.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_has_no_version() {
        assert_eq!(version_of(Path::new("/nonexistent/mariadbd")), None);
        assert!(
            version_of(Path::new("cargo")).is_some_and(|version| version.starts_with("cargo "))
        );
    }
}
