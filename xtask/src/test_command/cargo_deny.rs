//! cargo-deny: licences, sources, banned crates and advisories, as `deny.toml` has them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::{install, pass_through};

/// The version that is installed where there is none.
const VERSION: &str = "0.20.2";

/// Versions that read our `deny.toml` alike begin so.
const ACCEPTED: &str = "0.20.";

/// Everything that needs no network once the crates are there.
///
/// # Errors
/// cargo-deny could not be installed, or found something: it is on the screen.
pub(super) fn check(root: &Path) -> Result<()> {
    deny(root, &["check", "bans", "licenses", "sources"])
}

/// The advisory database changes without us, and not every machine may fetch it. The answer is why
/// it was not read, or nothing.
///
/// # Errors
/// cargo-deny could not be installed, or an advisory applies: it is on the screen.
pub(super) fn check_advisories(root: &Path) -> Result<Option<String>> {
    let mut fetch = Command::new(program(root)?);
    // Where a host wants a password, an answer beats a prompt that nobody sees.
    fetch.args(["fetch", "db"]).env("GIT_TERMINAL_PROMPT", "0").current_dir(root);
    let fetched = fetch.output()?;
    if !fetched.status.success() {
        let words = String::from_utf8_lossy(&fetched.stderr).into_owned();
        return Ok(Some(format!(
            "the advisory database could not be fetched: {}",
            last_line(&words)
        )));
    }
    deny(root, &["check", "--disable-fetch", "advisories"])?;
    Ok(None)
}

fn deny(root: &Path, arguments: &[&str]) -> Result<()> {
    pass_through(Command::new(program(root)?).args(arguments).current_dir(root))
}

/// The executable: of the path, of an earlier run, or installed now.
fn program(root: &Path) -> Result<PathBuf> {
    let tools = root.join("target").join("tools");
    let own = tools.join("bin").join(format!("cargo-deny{}", std::env::consts::EXE_SUFFIX));
    for candidate in [PathBuf::from("cargo-deny"), own.clone()] {
        let answer = Command::new(&candidate).arg("--version").output();
        if answer.is_ok_and(|answer| is_accepted(&String::from_utf8_lossy(&answer.stdout))) {
            return Ok(candidate);
        }
    }
    println!("   installing cargo-deny {VERSION} into target/tools (a few minutes, once)");
    install(root, "cargo-deny", VERSION, &tools)?;
    ensure!(own.is_file(), "cargo install did not make {}", own.display());
    Ok(own)
}

/// Reads what `cargo-deny --version` prints.
fn is_accepted(answer: &str) -> bool {
    answer.trim().strip_prefix("cargo-deny ").is_some_and(|version| version.starts_with(ACCEPTED))
}

fn last_line(words: &str) -> &str {
    words.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_line_of_versions_is_not_accepted() {
        assert!(is_accepted("cargo-deny 0.20.2\n"));
        assert!(is_accepted(&format!("cargo-deny {VERSION}")));
        for other in ["cargo-deny 0.19.0", "cargo-deny 1.0.0", "", "0.20.2"] {
            assert!(!is_accepted(other), "{other}");
        }
    }

    #[test]
    fn the_reason_is_the_last_thing_that_was_said() {
        assert_eq!(last_line("fetching\nfatal: no such host\n\n"), "fatal: no such host");
        assert_eq!(last_line(""), "no reason given");
    }
}
