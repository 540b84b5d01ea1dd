//! A MariaDB server of a run's own: in the run's folder, on a free port of this machine, as durable as one in earnest.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Url;
use tokio::process::Command;
use tokio::time::sleep;

use crate::debian;
use crate::process::CpuTime;
use crate::server::free_address;
use crate::service::Service;

/// How long a start may take, and a stop.
const LIMIT: Duration = Duration::from_mins(1);
const PROBE_INTERVAL: Duration = Duration::from_millis(100);
/// The user, the password and the database: nobody but this machine reaches them, for as long as the run lasts.
const NAME: &str = "portcullis";

/// A running server. Dropping it kills the process.
#[derive(Debug)]
pub struct MariaDb {
    service: Service,
    address: SocketAddr,
    folder: PathBuf,
}

/// What a server that was killed leaves.
#[derive(Debug)]
pub struct Crashed {
    address: SocketAddr,
    folder: PathBuf,
}

impl Crashed {
    /// Starts it again, at the same place with what it had.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_again(self) -> Result<MariaDb> {
        MariaDb::launch(self.folder, self.address).await
    }
}

impl MariaDb {
    /// Makes a server below `dir`, with one empty database.
    ///
    /// # Errors
    /// MariaDB is not there and cannot be installed, or does not start.
    pub async fn start(dir: &Path) -> Result<Self> {
        debian::ensure_program("mariadbd", "mariadb-server")?;
        let folder = dir.join("mariadb");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        install(&folder, user_argument(&folder)?).await?;
        Self::launch(folder, free_address()?).await
    }

    async fn launch(folder: PathBuf, address: SocketAddr) -> Result<Self> {
        let program = debian::ensure_program("mariadbd", "mariadb-server")?;
        let user = user_argument(&folder)?;
        let service = Service::start(
            "mariadbd",
            command(program, &folder, address, user),
            &folder.join("server.log"),
        )?;
        let server = Self { service, address, folder };
        tokio::select! {
            ready = server.ready() => ready?,
            error = server.service.failure() => return Err(error),
        }
        Ok(server)
    }

    /// Where Portcullis finds it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mysql://{NAME}:{NAME}@{}/{NAME}", self.address)
    }

    /// What it has taken of the processors so far.
    ///
    /// # Errors
    /// See [`CpuTime::of`].
    pub fn cpu_time(&self) -> Result<CpuTime> {
        CpuTime::of(self.service.pid())
    }

    /// How many rows a table has.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn count(&self, table: &str) -> Result<i64> {
        let told = ask(&self.url(), &format!("SELECT count(*) FROM {table}")).await?;
        Ok(told.trim().parse()?)
    }

    /// Makes the signers' journal, as an administrator who follows the guide does; where they find it.
    ///
    /// # Errors
    /// The script is not there, or the server refuses a part of it.
    pub async fn make_journal(&self, root: &Path) -> Result<String> {
        let path = root.join("docs/guide/journal.sql");
        let script =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ask(&format!("mysql://root@{}/", self.address), &script).await?;
        Ok(format!("mysql://portcullis_journal:change-me@{}/portcullis_journal", self.address))
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// It had ended by itself.
    pub async fn kill(self) -> Result<Crashed> {
        let Self { service, address, folder } = self;
        service.kill().await?;
        Ok(Crashed { address, folder })
    }

    /// Ends it as it should be.
    ///
    /// # Errors
    /// It had ended before, or had to be killed.
    pub async fn stop(self) -> Result<()> {
        self.service.stop(LIMIT).await
    }

    async fn ready(&self) -> Result<()> {
        let probes = LIMIT.as_millis() / PROBE_INTERVAL.as_millis();
        for _ in 0..probes {
            if TcpStream::connect_timeout(&self.address, PROBE_INTERVAL).is_ok() {
                return Ok(());
            }
            sleep(PROBE_INTERVAL).await;
        }
        anyhow::bail!("mariadbd is not ready after {LIMIT:?}")
    }
}

/// Asks a server in SQL; the rows, a line each, their fields between tabs.
///
/// # Errors
/// The URL names no server, the server does not answer, or it refuses.
pub async fn ask(url: &str, statements: &str) -> Result<String> {
    let place = Url::parse(url).context("this is no URL of a database")?;
    let host = place.host_str().context("the URL of a database names its host")?;
    let port = place.port().unwrap_or(3_306);
    let output = Command::new("mariadb")
        .args(["--no-defaults", "--batch", "--skip-column-names", "--protocol=tcp"])
        .args([format!("--host={host}"), format!("--port={port}")])
        .arg(format!("--user={}", unescaped(place.username())?))
        .args(["--execute", statements])
        .args(Some(place.path().trim_start_matches('/')).filter(|name| !name.is_empty()))
        .env("MYSQL_PWD", unescaped(place.password().unwrap_or_default())?)
        .stdin(Stdio::null())
        .output()
        .await
        .context("the program mariadb could not be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "mariadb ended with {}: {}", output.status, said.trim());
    Ok(String::from_utf8(output.stdout)?)
}

/// What stands in a URL as `%40` and the like.
fn unescaped(text: &str) -> Result<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2).context("a % in a URL has two digits")?;
        bytes.extend(hex::decode(code)?);
        bytes.extend(rest.as_bytes());
    }
    Ok(String::from_utf8(bytes)?)
}

/// The server refuses to run as the administrator unless it is told so.
fn user_argument(folder: &Path) -> Result<Option<&'static str>> {
    let is_root = fs::metadata(folder)?.uid() == 0;
    Ok(is_root.then_some("--user=root"))
}

/// Where a server has its temporary tables. A starting one removes those of all others in the same folder.
const TEMPORARY: &str = "TMPDIR";

async fn install(folder: &Path, user: Option<&str>) -> Result<()> {
    let output = Command::new("mariadb-install-db")
        .args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"])
        .arg(format!("--datadir={}", folder.join("data").display()))
        .args(user)
        .env(TEMPORARY, folder)
        .output()
        .await
        .context("mariadb-install-db could not be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "mariadb-install-db ended with {}: {said}", output.status);
    let setup = format!(
        "CREATE DATABASE IF NOT EXISTS {NAME} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;\n\
         CREATE USER IF NOT EXISTS '{NAME}'@'%' IDENTIFIED BY '{NAME}';\n\
         GRANT ALL ON {NAME}.* TO '{NAME}'@'%';\n"
    );
    fs::write(folder.join("init.sql"), setup)?;
    Ok(())
}

fn command(program: PathBuf, folder: &Path, address: SocketAddr, user: Option<&str>) -> Command {
    let at = |name: &str| folder.join(name).display().to_string();
    let mut command = Command::new(program);
    command.env(TEMPORARY, folder);
    command.arg("--no-defaults").args(user).args([
        format!("--datadir={}", at("data")),
        format!("--socket={}", at("socket")),
        format!("--init-file={}", at("init.sql")),
        format!("--bind-address={}", address.ip()),
        format!("--port={}", address.port()),
    ]);
    command.args([
        "--skip-name-resolve",
        "--skip-log-bin",
        "--innodb-buffer-pool-size=512M",
        "--innodb-log-file-size=256M",
        "--innodb-flush-log-at-trx-commit=1",
    ]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_read_from_its_url() {
        assert_eq!(unescaped("a%40b%2Fc").unwrap(), "a@b/c");
        assert_eq!(unescaped("plain").unwrap(), "plain");
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert!(unescaped(bad).is_err(), "{bad}");
        }
    }
}
