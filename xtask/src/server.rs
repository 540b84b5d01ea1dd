//! The running `portcullis serve`.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use tokio::time::sleep;

use crate::installation::{Installation, own_variables};
use crate::process::{CpuTime, memory_kib};
use crate::service::Service;

/// How long a start may take before it counts as failed.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Longer than the server's own limit for open requests.
const STOP_LIMIT: Duration = Duration::from_secs(20);
const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// Short: the time until it is ready is measured by it.
const PROBE_INTERVAL: Duration = Duration::from_millis(5);

/// How to start the server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// What is served.
    pub installation: Installation,
    /// Where it listens.
    pub listen: SocketAddr,
    /// The node; it goes above what the configuration file says.
    pub rpc_url: String,
    /// Where its log goes.
    pub log: PathBuf,
}

/// A running server. Dropping it kills the process.
#[derive(Debug)]
pub struct Server {
    service: Service,
    started_at: Instant,
    listen: SocketAddr,
}

impl Server {
    /// Starts it, with every role in the one process.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(options: &ServerOptions) -> Result<Self> {
        let mut command = Command::new(options.installation.binary());
        for name in own_variables() {
            command.env_remove(name);
        }
        command
            .args(["serve", "--role", "all", "--log-format", "json"])
            .arg("--config")
            .arg(options.installation.config())
            .args(["--listen", &options.listen.to_string()])
            .env("PORTCULLIS__CHAIN__0__PROVIDER__0__URL", &options.rpc_url)
            .envs(options.installation.variables().iter().cloned())
            // The node is on this machine, whatever proxy the environment names.
            .envs([("NO_PROXY", "127.0.0.1,localhost"), ("no_proxy", "127.0.0.1,localhost")]);
        let started_at = Instant::now();
        let service = Service::start("portcullis serve", command, &options.log)?;
        Ok(Self { service, started_at, listen: options.listen })
    }

    /// Waits for the first 200 of `/readyz`; the time since the process was started.
    ///
    /// # Errors
    /// The process ended, or is not ready within half a minute: the message holds its reasons.
    pub async fn ready(&self) -> Result<Duration> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(PROBE_LIMIT)
            .build()
            .context("cannot set up an HTTP client")?;
        let url = format!("http://{}/readyz", self.listen);
        let probe = async {
            let mut said = "it does not answer".to_owned();
            loop {
                if let Ok(response) = client.get(&url).send().await {
                    let is_ready = response.status().is_success();
                    if is_ready {
                        return Ok(self.started_at.elapsed());
                    }
                    said = response.text().await.unwrap_or_default();
                }
                if self.started_at.elapsed() > START_LIMIT {
                    bail!("{url} is not ready after {START_LIMIT:?}: {said}");
                }
                sleep(PROBE_INTERVAL).await;
            }
        };
        tokio::select! {
            ready = probe => ready,
            error = self.service.failure() => Err(error),
        }
    }

    /// Waits until the process ends, and tells it as an error with the end of its log.
    pub fn failure(&self) -> impl Future<Output = anyhow::Error> + Send + use<> {
        self.service.failure()
    }

    /// The process id.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.service.pid()
    }

    /// The memory that it takes now, in KiB.
    ///
    /// # Errors
    /// See [`memory_kib`].
    pub fn resident_kib(&self) -> Result<u64> {
        memory_kib(self.pid(), "VmRSS")
    }

    /// The most memory that it has taken so far, in KiB.
    ///
    /// # Errors
    /// See [`memory_kib`].
    pub fn peak_kib(&self) -> Result<u64> {
        memory_kib(self.pid(), "VmHWM")
    }

    /// What it has taken of the processors so far.
    ///
    /// # Errors
    /// See [`CpuTime::of`].
    pub fn cpu_time(&self) -> Result<CpuTime> {
        CpuTime::of(self.pid())
    }

    /// Ends it with SIGTERM and waits.
    ///
    /// # Errors
    /// It had ended before, ended with a failure, or had to be killed.
    pub async fn stop(self) -> Result<()> {
        self.service.stop(STOP_LIMIT).await
    }

    /// Ends it with SIGKILL, as a crash would.
    ///
    /// # Errors
    /// It had ended by itself.
    pub async fn kill(self) -> Result<()> {
        self.service.kill().await
    }
}

/// A port of 127.0.0.1 that nobody listens on now.
///
/// # Errors
/// The system has none.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}

/// Whether somebody could listen there now.
#[must_use]
pub fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_seen() {
        let free = free_address().unwrap();
        assert!(free.ip().is_loopback() && is_free(free));
        let _taken = TcpListener::bind(free).unwrap();
        assert!(!is_free(free));
    }
}
