//! MariaDB on a temporary data directory, for tests.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use secrecy::SecretString;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{Connection, Executor, MySqlConnection};
use tempfile::TempDir;

use super::{Owned, installed, workspace_root};
use crate::journal::SqlJournalOptions;

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_mins(1);

/// A running server. It ends with this, and its data with it.
#[derive(Debug)]
pub(crate) struct MariaDb {
    pub(crate) port: u16,
    server: Option<Owned>,
    folder: TempDir,
}

impl MariaDb {
    /// Starts it, and sets the journal up as the documented script says.
    pub(crate) async fn with_journal() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let install = installed("MariaDB", "mariadb-server", &["/usr/bin/mariadb-install-db"]);
        let made = Command::new(install)
            .arg("--no-defaults")
            .arg(format!("--datadir={}", folder.path().join("data").display()))
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            .args(owner())
            .output()
            .expect("mariadb-install-db starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut server = Self { port: free_port(), server: None, folder };
        server.start().await;
        let script = std::fs::read_to_string(workspace_root().join("docs/guide/journal.sql"));
        let mut root = server.root().await;
        root.execute(sqlx::AssertSqlSafe(script.expect("the script is there")))
            .await
            .expect("the script runs");
        server
    }

    /// Starts it, or starts it again, on the same data and port.
    pub(crate) async fn start(&mut self) {
        let path = installed("MariaDB", "mariadb-server", &["/usr/sbin/mariadbd"]);
        let log = File::create(self.log()).expect("our own folder");
        let server = Command::new(path)
            .arg("--no-defaults")
            .arg(format!("--datadir={}", self.folder.path().join("data").display()))
            .arg(format!("--socket={}", self.folder.path().join("socket").display()))
            .arg(format!("--pid-file={}", self.folder.path().join("pid").display()))
            .arg(format!("--port={}", self.port))
            .args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--skip-log-bin"])
            .args(["--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M"])
            .args(["--innodb-flush-log-at-trx-commit=1", "--performance-schema=0"])
            .args(owner())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("mariadbd starts");
        self.server = Some(Owned(server));
        let begun = Instant::now();
        while self.try_root().await.is_err() {
            assert!(
                begun.elapsed() < START,
                "MariaDB does not start: {}",
                std::fs::read_to_string(self.log()).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends it as a power failure would.
    pub(crate) fn kill(&mut self) {
        self.server = None;
    }

    pub(crate) async fn root(&self) -> MySqlConnection {
        self.try_root().await.expect("the server answers")
    }

    /// As if nothing had ever been written to the journal.
    pub(crate) async fn empty_journal(&self) {
        let mut root = self.root().await;
        for table in ["journal_lines", "journal_slots", "journal_rides"] {
            let statement = format!("DELETE FROM portcullis_journal.{table}");
            root.execute(sqlx::AssertSqlSafe(statement)).await.expect("it is emptied");
        }
    }

    async fn try_root(&self) -> Result<MySqlConnection, sqlx::Error> {
        let options = MySqlConnectOptions::new().host("127.0.0.1").port(self.port).username("root");
        MySqlConnection::connect_with(&options).await
    }

    /// The journal's account, at this port: the server's own, or that of a proxy before it.
    pub(crate) fn options_at(port: u16) -> SqlJournalOptions {
        Self::options_of("portcullis_journal", port)
    }

    pub(crate) fn options_of(user: &str, port: u16) -> SqlJournalOptions {
        SqlJournalOptions {
            url: SecretString::from(format!(
                "mysql://{user}:change-me@127.0.0.1:{port}/portcullis_journal"
            )),
            statement_timeout: Duration::from_secs(20),
            tries_max: 5,
        }
    }

    pub(crate) fn options(&self) -> SqlJournalOptions {
        Self::options_at(self.port)
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

/// The server refuses to run as the superuser unless it is told to.
fn owner() -> Option<&'static str> {
    let is_root = std::fs::metadata("/proc/self")
        .is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0);
    is_root.then_some("--user=root")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
