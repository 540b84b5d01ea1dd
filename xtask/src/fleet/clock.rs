//! Clocks that are off: a library that is loaded into a process before the C library, and tells it another time.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

const SOURCE: &str = include_str!("clock.c");

/// Makes the library for a clock that is `seconds` ahead, in `dir`.
///
/// # Errors
/// There is no C compiler (`cc`, which Rust links with), or it refuses.
pub(super) async fn make(dir: &Path, seconds: i64) -> Result<PathBuf> {
    let (source, library) = (dir.join("clock.c"), library(dir, seconds));
    std::fs::write(&source, SOURCE)?;
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", &format!("-DSKEW_SECONDS=({seconds})"), "-o"])
        .args([&library, &source])
        .output()
        .await
        .context("the C compiler cc could not be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cc ended with {}: {said}", output.status);
    Ok(library)
}

/// Where it lies.
pub(super) fn library(dir: &Path, seconds: i64) -> PathBuf {
    dir.join(format!("clock{seconds:+}.so"))
}
