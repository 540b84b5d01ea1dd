//! Builds the `portcullis` binary with the cargo that runs this program.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

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
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Builds `portcullis` and tells where it is. What cargo says of it goes to standard error.
///
/// # Errors
/// Cargo cannot be run, or the build fails.
pub fn build_portcullis(root: &Path, profile: Profile) -> Result<PathBuf> {
    build(root, profile, "portcullis")
}

/// Builds the package `name` with its binary of that name, and tells where it is.
///
/// # Errors
/// As [`build_portcullis`].
pub fn build(root: &Path, profile: Profile, name: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--package", name, "--bin", name])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(root)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    if profile == Profile::Release {
        command.arg("--release");
    }
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
        .find_map(|message| message.executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_that_of_the_binary() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/x/other"}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","target":{"name":"tool"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"tool"},"executable":"/x/tool"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(executable_of(messages, "tool"), Some(PathBuf::from("/x/tool")));
        assert_eq!(executable_of(messages, "absent"), None);
    }
}
