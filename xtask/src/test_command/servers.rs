//! The servers that the tests start themselves: from the path where they are, else installed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::pass_through;
use crate::debian;

/// The APIs of AWS, and the version of them that the tests are written for.
const MOTO: &str = "moto[server]==5.2.5";

/// Names the `moto_server` of another Python environment; `portcullis-testkit` reads it too.
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

/// What the tests will start.
#[derive(Clone, Debug)]
pub(super) struct Versions {
    pub(super) redis: String,
    pub(super) mariadb: String,
    pub(super) softhsm: String,
    pub(super) moto: String,
}

/// Installs what is missing.
///
/// # Errors
/// A server could not be installed: the message says which, and what to do by hand.
pub(super) fn ensure_all(root: &Path) -> Result<Versions> {
    let [redis, mariadb, softhsm] = PACKAGED.map(|server| packaged(&server));
    Ok(Versions { redis: redis?, mariadb: mariadb?, softhsm: softhsm?, moto: moto(root)? })
}

/// The version of a packaged server, which is installed if need be.
fn packaged(server: &Packaged) -> Result<String> {
    let program = debian::ensure_program(server.program, server.package)?;
    let version = version_of(&program);
    version.with_context(|| format!("{} is installed and does not run", server.program))
}

fn version_of(program: &Path) -> Option<String> {
    let answer = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    if answer.status.success() { number_in(&text).map(str::to_owned) } else { None }
}

/// The first word that has a number and a dot: programs put their version between others.
fn number_in(text: &str) -> Option<&str> {
    let words = text.split_whitespace().map(|word| word.trim_start_matches(['v', '=']));
    words
        .into_iter()
        .find(|word| word.starts_with(|letter: char| letter.is_ascii_digit()) && word.contains('.'))
}

/// The version of the APIs of AWS, in a Python environment of its own under `target/tools`.
fn moto(root: &Path) -> Result<String> {
    if let Some(own) = std::env::var_os(MOTO_VARIABLE) {
        ensure!(Path::new(&own).is_file(), "{MOTO_VARIABLE} names no file");
        return Ok(format!("moto of {MOTO_VARIABLE}"));
    }
    let folder = root.join("target").join("tools").join("moto");
    // Written last: an environment that is half made has none.
    let stamp = folder.join("installed");
    let version = MOTO.replace("[server]==", " ");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == MOTO) {
        return Ok(version);
    }
    println!("   installing {MOTO} into target/tools/moto (once)");
    let by_hand = format!("install Python 3 with venv, or name a moto_server with {MOTO_VARIABLE}");
    if !can_make_environments() {
        // Debian has the module in its Python, and what it needs in a package of its own.
        debian::install("python3-venv").with_context(|| by_hand.clone())?;
    }
    let mut environment = Command::new("python3");
    environment.args(["-m", "venv", "--clear"]).arg(&folder);
    pass_through(&mut environment).with_context(|| by_hand.clone())?;
    let mut install = Command::new(folder.join("bin").join("pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check", MOTO]);
    pass_through(&mut install).with_context(|| by_hand)?;
    std::fs::write(&stamp, MOTO).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(version)
}

fn can_make_environments() -> bool {
    let mut python = Command::new("python3");
    let answer = python.args(["-c", "import ensurepip, venv"]).output();
    answer.is_ok_and(|answer| answer.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_has_no_version() {
        assert_eq!(version_of(Path::new("/nonexistent/mariadbd")), None);
        assert!(version_of(Path::new("cargo")).is_some_and(|version| version.starts_with("1.")));
    }

    #[test]
    fn a_version_is_found_among_other_words() {
        for (said, version) in [
            ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", Some("7.0.15")),
            (
                "mariadbd  Ver 10.11.14-MariaDB-0+deb12u2 for debian-linux-gnu on x86_64",
                Some("10.11.14-MariaDB-0+deb12u2"),
            ),
            ("2.6.1\n", Some("2.6.1")),
            ("no such option", None),
        ] {
            assert_eq!(number_in(said), version);
        }
    }
}
