//! Servers that tests and benches start by themselves, from Debian's packages.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Where a server's program is; its package is installed where that is missing.
///
/// # Errors
/// It is not there, and this is no Debian, or not its administrator; or apt failed.
pub fn ensure_program(program: &str, package: &str) -> Result<PathBuf> {
    if let Some(found) = find(program) {
        return Ok(found);
    }
    install(package).with_context(|| format!("{program} was not found"))?;
    find(program).with_context(|| format!("{package} was installed, and brought no {program}"))
}

/// Installs a package.
///
/// # Errors
/// This is no Debian, or not its administrator; or apt failed.
pub fn install(package: &str) -> Result<()> {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
    if !is_root || find("apt-get").is_none() {
        bail!("install the package {package} and run this again");
    }
    eprintln!("installing {package} (apt-get) ...");
    apt_get(&["update", "--quiet"])?;
    apt_get(&["install", "--yes", "--quiet", "--no-install-recommends", package])
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Not started as a service: whoever needs a server starts one of his own, on a port of its own.
        .env("RUNLEVEL", "1")
        .output()
        .context("apt-get could not be started")?;
    ensure!(
        output.status.success(),
        "apt-get {} ended with {}:\n{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Servers lie where only the administrator's path leads.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([Path::new("/usr/sbin").to_path_buf()]);
    folders.map(|folder| folder.join(program)).find(|found| found.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_the_path() {
        assert!(find("sh").is_some());
        assert!(find("portcullis-no-such-program").is_none());
    }
}
