//! MariaDB with a journal in it, for tests.

use std::time::Duration;

use secrecy::SecretString;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{Connection, Executor, MySqlConnection};

use super::workspace_root;
use crate::journal::SqlJournalOptions;

/// A running server. It ends with this, and its data with it.
#[derive(Debug)]
pub(crate) struct MariaDb {
    pub(crate) port: u16,
    server: portcullis_testkit::MariaDb,
}

impl MariaDb {
    /// Starts it, and sets the journal up as the documented script says.
    pub(crate) async fn with_journal() -> Self {
        // Nothing less durable is taken for a journal.
        let durable = ["--innodb-flush-log-at-trx-commit=1".to_owned()];
        let server = portcullis_testkit::MariaDb::start_with(&durable)
            .unwrap_or_else(|error| panic!("{error}"));
        let server = Self { port: server.port(), server };
        let script = std::fs::read_to_string(workspace_root().join("docs/guide/journal.sql"));
        let mut root = server.root().await;
        root.execute(sqlx::AssertSqlSafe(script.expect("the script is there")))
            .await
            .expect("the script runs");
        server
    }

    /// Starts it again, on the same data and port.
    pub(crate) fn start_again(&mut self) {
        self.server.start_again().expect("it starts again");
    }

    /// Ends it as a power failure would.
    pub(crate) fn kill(&mut self) {
        self.server.kill().expect("it was running");
    }

    pub(crate) async fn root(&self) -> MySqlConnection {
        let options = MySqlConnectOptions::new().host("127.0.0.1").port(self.port).username("root");
        MySqlConnection::connect_with(&options).await.expect("the server answers")
    }

    /// As if nothing had ever been written to the journal.
    pub(crate) async fn empty_journal(&self) {
        let mut root = self.root().await;
        for table in ["journal_lines", "journal_slots", "journal_rides"] {
            let statement = format!("DELETE FROM portcullis_journal.{table}");
            root.execute(sqlx::AssertSqlSafe(statement)).await.expect("it is emptied");
        }
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
}
