//! The servers that a fleet has between its processes: Redis, an SQS API in memory, and MariaDB.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::mariadb::MariaDb;
use crate::service::Service;

const START_LIMIT: Duration = Duration::from_mins(1);
const PROBE_INTERVAL: Duration = Duration::from_millis(100);
const BY_HAND: &str = "`cargo xtask test` installs it";

/// Names another executable of the SQS API.
const MOTO_VARIABLE: &str = "PORTCULLIS_MOTO";

/// All of them.
#[derive(Debug)]
pub(super) struct Servers {
    root: PathBuf,
    dir: PathBuf,
    redis_at: SocketAddr,
    moto_at: SocketAddr,
    /// Each is absent while a fault has it.
    redis: Mutex<Option<Service>>,
    moto: Mutex<Option<Service>>,
    mariadb: Mutex<Option<MariaDb>>,
    database_url: Option<String>,
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
        let mariadb = if has_database { Some(MariaDb::start(dir).await?) } else { None };
        let servers = Self {
            root: root.to_path_buf(),
            dir: dir.to_path_buf(),
            redis_at,
            moto_at,
            redis: Mutex::default(),
            moto: Mutex::default(),
            database_url: mariadb.as_ref().map(MariaDb::url),
            mariadb: Mutex::new(mariadb),
        };
        *servers.redis.lock().await = Some(servers.start_redis().await?);
        *servers.moto.lock().await = Some(servers.start_moto().await?);
        Ok(servers)
    }

    async fn start_redis(&self) -> Result<Service> {
        let port = self.redis_at.port().to_string();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"]);
        command.current_dir(&self.dir);
        let redis = Service::start("redis-server", command, &self.dir.join("redis.log"));
        let redis = redis.context(BY_HAND)?;
        listens(self.redis_at, &redis).await?;
        Ok(redis)
    }

    async fn start_moto(&self) -> Result<Service> {
        let own = self.root.join("target/tools/moto/bin/moto_server");
        let program = std::env::var_os(MOTO_VARIABLE).map_or(own, PathBuf::from);
        let port = self.moto_at.port().to_string();
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port]).current_dir(&self.dir);
        let moto = Service::start("moto_server", command, &self.dir.join("moto.log"));
        let moto = moto.context(BY_HAND)?;
        listens(self.moto_at, &moto).await?;
        Ok(moto)
    }

    /// Where Portcullis finds the database.
    pub(super) fn database_url(&self) -> Option<&str> {
        self.database_url.as_deref()
    }

    /// Makes the signers' journal, and tells where it is.
    ///
    /// # Errors
    /// There is no database, or the script of the guide does not run there.
    pub(super) async fn make_journal(&self) -> Result<String> {
        let mariadb = self.mariadb.lock().await;
        mariadb.as_ref().context("the run has no database server")?.make_journal(&self.root).await
    }

    /// Kills the database, and starts it again on its data when `meanwhile` is over.
    ///
    /// # Errors
    /// There is none, it had ended by itself, or it does not start.
    pub(super) async fn without_database<T>(
        &self,
        meanwhile: impl Future<Output = T>,
    ) -> Result<T> {
        let mut place = self.mariadb.lock().await;
        let crashed = place.take().context("the run has no database server")?.kill().await?;
        let outcome = meanwhile.await;
        *place = Some(crashed.start_again().await?);
        Ok(outcome)
    }

    /// Makes Redis forget everything, kills it, and starts it again when `meanwhile` is over.
    ///
    /// # Errors
    /// It had ended by itself, or it does not start.
    pub(super) async fn without_redis<T>(&self, meanwhile: impl Future<Output = T>) -> Result<T> {
        let mut place = self.redis.lock().await;
        self.flush_redis().await?;
        place.take().context("Redis is away")?.kill().await?;
        let outcome = meanwhile.await;
        *place = Some(self.start_redis().await?);
        Ok(outcome)
    }

    async fn flush_redis(&self) -> Result<()> {
        let mut redis = TcpStream::connect(self.redis_at).await?;
        redis.write_all(b"FLUSHALL\r\n").await?;
        let mut answer = [0; 5];
        redis.read_exact(&mut answer).await?;
        ensure!(&answer == b"+OK\r\n", "Redis was not flushed");
        Ok(())
    }

    /// Kills the SQS API, and starts it again, empty, when `meanwhile` is over.
    ///
    /// # Errors
    /// It had ended by itself, or it does not start.
    pub(super) async fn without_queues<T>(&self, meanwhile: impl Future<Output = T>) -> Result<T> {
        let mut place = self.moto.lock().await;
        place.take().context("the SQS API is away")?.kill().await?;
        let outcome = meanwhile.await;
        *place = Some(self.start_moto().await?);
        Ok(outcome)
    }

    /// Ends them.
    ///
    /// # Errors
    /// One had ended by itself.
    pub(super) async fn stop(self) -> Result<()> {
        for service in [self.redis.into_inner(), self.moto.into_inner()].into_iter().flatten() {
            service.kill().await?;
        }
        match self.mariadb.into_inner() {
            Some(server) => server.stop().await,
            None => Ok(()),
        }
    }
}

/// Waits until somebody listens.
///
/// # Errors
/// The service ended, or does not listen within a minute.
pub(super) async fn listens(address: SocketAddr, service: &Service) -> Result<()> {
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
