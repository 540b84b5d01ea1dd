//! The servers that a fleet has between its processes: Redis, an SQS API in memory, and MariaDB.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::mariadb::MariaDb;
use crate::service::Service;

const START_LIMIT: Duration = Duration::from_mins(1);
const PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// Names another executable of the SQS API.
const MOTO_VARIABLE: &str = "PORTCULLIS_MOTO";

/// All of them.
#[derive(Debug)]
pub(super) struct Servers {
    redis: Service,
    moto: Service,
    mariadb: Option<MariaDb>,
}

impl Servers {
    /// Starts them, with their logs in `dir`; the database's where the state is to be in one.
    ///
    /// # Errors
    /// One is missing (`cargo xtask test` installs them), or does not listen.
    pub(super) async fn start(
        root: &Path,
        dir: &Path,
        (redis_at, moto_at): (SocketAddr, SocketAddr),
        has_database: bool,
    ) -> Result<Self> {
        let by_hand = "`cargo xtask test` installs it";
        let port = redis_at.port().to_string();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"]);
        command.current_dir(dir);
        let redis = Service::start("redis-server", command, &dir.join("redis.log"));
        let redis = redis.context(by_hand)?;
        let own = root.join("target/tools/moto/bin/moto_server");
        let program = std::env::var_os(MOTO_VARIABLE).map_or(own, PathBuf::from);
        let port = moto_at.port().to_string();
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port]).current_dir(dir);
        let moto = Service::start("moto_server", command, &dir.join("moto.log"));
        let moto = moto.context(by_hand)?;
        let mariadb = if has_database { Some(MariaDb::start(dir).await?) } else { None };
        let servers = Self { redis, moto, mariadb };
        listens(redis_at, &servers.redis).await?;
        listens(moto_at, &servers.moto).await?;
        Ok(servers)
    }

    /// Where Portcullis finds the database.
    pub(super) fn database_url(&self) -> Option<String> {
        self.mariadb.as_ref().map(MariaDb::url)
    }

    /// Ends them.
    ///
    /// # Errors
    /// One had ended by itself.
    pub(super) async fn stop(self) -> Result<()> {
        self.redis.kill().await?;
        self.moto.kill().await?;
        match self.mariadb {
            Some(server) => server.stop().await,
            None => Ok(()),
        }
    }
}

async fn listens(address: SocketAddr, service: &Service) -> Result<()> {
    let begun = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        if service.status().is_some() {
            return Err(service.failure().await);
        }
        ensure!(begun.elapsed() < START_LIMIT, "nothing listens on {address}");
        sleep(PROBE_INTERVAL).await;
    }
    Ok(())
}
