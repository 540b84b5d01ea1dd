//! Builds the `portcullis` binary with the cargo that runs this program.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The binary.
const PORTCULLIS: &str = "portcullis";

/// How a binary is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build.
    Dev,
    /// Quick to run: for measuring.
    Release,
}

/// The part of cargo's messages that names an executable.
#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    profile: Option<BuildProfile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct BuildProfile {
    /// Whether these are the unit tests of the binary, which have its name.
    test: bool,
}

/// Names a dev build of `portcullis` that is there already. Cargo gives the tests of the workspace other features of many
/// dependencies than it gives a binary alone: without this the test command would build most of them twice.
pub(crate) const BUILT: &str = "PORTCULLIS_TEST_BINARY";

/// Builds `portcullis`, where it is not named as built, and tells where it is. What cargo says of it goes to standard error.
///
/// # Errors
/// Cargo cannot be run, or the build fails.
pub fn build_portcullis(root: &Path, profile: Profile) -> Result<PathBuf> {
    match std::env::var_os(BUILT) {
        Some(built) if profile == Profile::Dev => Ok(built.into()),
        _ => build(root, profile, PORTCULLIS),
    }
}

/// Builds all tests of the workspace, and tells where the `portcullis` is that comes with them.
///
/// # Errors
/// As [`build_portcullis`].
pub(crate) fn build_tests(root: &Path) -> Result<PathBuf> {
    let mut command = cargo(root);
    command.args(["test", "--locked", "--workspace", "--no-run", "--quiet"]);
    run(command, PORTCULLIS)
}

/// Builds the package `name` with its binary of that name, and tells where it is.
///
/// # Errors
/// As [`build_portcullis`].
pub fn build(root: &Path, profile: Profile, name: &str) -> Result<PathBuf> {
    let mut command = cargo(root);
    command.args(["build", "--package", name, "--bin", name]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    run(command, name)
}

fn cargo(root: &Path) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root);
    command
}

/// Lets cargo build, and tells where the binary `name` is.
fn run(mut command: Command, name: &str) -> Result<PathBuf> {
    command
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = command.output().context("cargo could not be started")?;
    ensure!(
        output.status.success(),
        "{name} could not be built: cargo ended with {}, its reasons are above",
        output.status
    );
    executable_of(&String::from_utf8_lossy(&output.stdout), name)
        .with_context(|| format!("cargo built {name} without naming its executable"))
}

/// The executable of the binary `name` in cargo's messages, one JSON object a line.
fn executable_of(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.reason == "compiler-artifact")
        .filter(|message| message.target.as_ref().is_some_and(|target| target.name == name))
        .filter(|message| message.profile.as_ref().is_some_and(|profile| !profile.test))
        .find_map(|message| message.executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_that_of_the_binary() {
        let artifact = |name: &str, is_test: bool, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"name":"{name}"}},"profile":{{"test":{is_test}}},"executable":{executable}}}"#
            )
        };
        let messages = [
            artifact("other", false, r#""/x/other""#),
            "not json".to_owned(),
            artifact("tool", true, r#""/x/tool-tests""#),
            artifact("tool", false, "null"),
            artifact("tool", false, r#""/x/tool""#),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ]
        .join("\n");
        let messages = messages.as_str();
        assert_eq!(executable_of(messages, "tool"), Some(PathBuf::from("/x/tool")));
        assert_eq!(executable_of(messages, "absent"), None);
    }
}
