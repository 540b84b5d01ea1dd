//! The yardstick: axum and one SQLite insert, in a process of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::process::Command;
use tokio::time::sleep;

use crate::cargo_build::{Profile, build};
use crate::service::{Service, log_end};
use crate::toolchain::workspace_root;

const START_LIMIT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A running yardstick. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Yardstick {
    service: Service,
    pub(super) address: SocketAddr,
}

impl Yardstick {
    /// Builds and starts it; its database goes to `dir`.
    ///
    /// # Errors
    /// It cannot be built, or does not start.
    pub(super) async fn start(dir: &Path, profile: Profile) -> Result<Self> {
        let binary = build(&workspace_root(), profile, "portcullis-yardstick")?;
        let log = dir.join("yardstick.log");
        let mut command = Command::new(binary);
        command.arg(dir.join("yardstick.db"));
        let service = Service::start("the yardstick", command, &log)?;
        let begun = Instant::now();
        loop {
            let text = fs::read_to_string(&log).unwrap_or_default();
            if let Some(address) = text.lines().next().and_then(|line| line.parse().ok()) {
                return Ok(Self { service, address });
            }
            ensure!(begun.elapsed() < START_LIMIT, "no yardstick; {}", log_end(&log));
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Ends it.
    pub(super) async fn stop(self) -> Result<()> {
        // It keeps nothing, so a crash is as good an end as any.
        self.service.kill().await
    }
}
