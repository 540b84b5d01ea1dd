//! `cargo xtask sim`: builds the simulator and runs it. What it takes, it tells itself: `sim -- --help`.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

/// What a seed spends its time in, and is not optimised in other dev builds.
const OPTIMISED: [&str; 7] = ["core", "engine", "evm", "keys", "simulator", "store", "testkit"];

/// How the simulator is run.
#[derive(Args, Debug)]
pub struct SimArgs {
    /// Build it optimised: slower to begin, faster for many seeds
    #[arg(long)]
    release: bool,
    /// What the simulator takes: --seeds N, --first N, --withdrawals N, --crashes N, --jobs N, --trace, --json
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds and runs it; its exit code is this one's.
///
/// # Errors
/// Cargo cannot be run.
pub fn run(root: &Path, arguments: &SimArgs) -> Result<ExitCode> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["run", "--quiet", "--package", "portcullis-simulator", "--bin", "sim"])
        .current_dir(root);
    if arguments.release {
        command.arg("--release");
    } else {
        for name in OPTIMISED {
            let optimised = format!("profile.dev.package.portcullis-{name}.opt-level=2");
            command.arg("--config").arg(optimised);
        }
    }
    let status = command
        .arg("--")
        .args(&arguments.arguments)
        .status()
        .context("cargo could not be started")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
