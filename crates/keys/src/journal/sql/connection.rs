//! The way to the journal's database: how it is dialled, what it has to be, and what its errors mean.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use portcullis_core::host::{NOT_WITHOUT_TLS, is_this_machine};
use secrecy::ExposeSecret;
use sqlx::mysql::{MySqlConnectOptions, MySqlDatabaseError, MySqlSslMode};
use sqlx::{ConnectOptions, Connection, MySqlConnection};
use thiserror::Error;

use super::SqlJournalOptions;
use super::grants::excess_privilege;
use crate::journal::error::JournalError;

/// Every connection judges by these, whatever the server's defaults are. The server ends one that is silent for 10 seconds: a
/// signer that was stopped in the middle of an append would hold the place of the next line, and with it all others, until it
/// wakes. Its commit fails then.
const SESSION: [&str; 4] = [
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION innodb_lock_wait_timeout = 3",
    "SET SESSION wait_timeout = 10",
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
];

/// The primary keys that hold the journal together.
const KEYS: [(&str, &[&str]); 3] = [
    ("journal_lines", &["line"]),
    ("journal_slots", &["chain_id", "sender", "nonce"]),
    ("journal_rides", &["reference", "ride"]),
];

/// Where, and how patiently. Cheap to clone.
#[derive(Clone)]
pub(in crate::journal) struct Dial {
    options: MySqlConnectOptions,
    place: String,
    timeout: Duration,
}

/// Why a statement did not do what it says.
#[derive(Debug, Error)]
pub(super) enum Failed {
    /// A row with that key is there.
    #[error("the place is taken")]
    Taken,
    /// The database says no, and has done nothing.
    #[error("{0}")]
    Refused(String),
    /// It may have been done.
    #[error("{0}")]
    Unknown(String),
}

impl fmt::Debug for Dial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Dial({})", self.place)
    }
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        let Some(database) = error.as_database_error() else {
            return Self::Unknown(error.to_string());
        };
        if database.is_unique_violation() {
            return Self::Taken;
        }
        match database.try_downcast_ref().map(MySqlDatabaseError::number) {
            // Access, unknown table or column, a value that does not fit, a read-only server: nothing was done.
            Some(1044 | 1045 | 1049 | 1054 | 1142 | 1143 | 1146 | 1264 | 1290 | 1406 | 1836) => {
                Self::Refused(database.to_string())
            }
            _ => Self::Unknown(database.to_string()),
        }
    }
}

impl Dial {
    pub(super) fn new(options: &SqlJournalOptions) -> Result<Self, JournalError> {
        let url = options.url.expose_secret();
        let unprepared = |what: &str| JournalError::Unprepared {
            place: "signer.journal.url".to_owned(),
            what: what.to_owned(),
        };
        // The parser's own words could repeat the password.
        let connect = MySqlConnectOptions::from_str(url).map_err(|_| {
            unprepared("it is not a URL like mysql://user:password@host:3306/portcullis_journal")
        })?;
        let Some(database) = connect.get_database().map(str::to_owned) else {
            return Err(unprepared("it names no database"));
        };
        let host = connect.get_host().to_owned();
        let is_here = connect.get_socket().is_some() || is_this_machine(&host);
        let mode = match connect.get_ssl_mode() {
            mode if is_here => mode,
            MySqlSslMode::Disabled => return Err(unprepared(NOT_WITHOUT_TLS)),
            MySqlSslMode::Preferred => MySqlSslMode::VerifyIdentity,
            verified => verified,
        };
        let place = match connect.get_socket() {
            Some(socket) => format!("mysql:{}/{database}", socket.display()),
            None => format!("mysql://{host}:{}/{database}", connect.get_port()),
        };
        let connect = connect.ssl_mode(mode).charset("utf8mb4").disable_statement_logging();
        Ok(Self { options: connect, place, timeout: options.statement_timeout })
    }

    /// The database, without user and password.
    pub(in crate::journal) fn place(&self) -> &str {
        &self.place
    }

    pub(super) async fn connect(&self) -> Result<MySqlConnection, Failed> {
        self.within(async {
            let mut connection = MySqlConnection::connect_with(&self.options).await?;
            for statement in SESSION {
                sqlx::query(statement).execute(&mut connection).await?;
            }
            Ok(connection)
        })
        .await
    }

    /// Waits for the database, not for ever.
    pub(super) async fn within<T>(
        &self,
        asked: impl Future<Output = Result<T, sqlx::Error>> + Send,
    ) -> Result<T, Failed> {
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Failed::Unknown("it took too long".to_owned())),
        }
    }

    /// Tables that take a number once and survive a power failure, or the error that says which do not.
    pub(super) async fn check_tables(
        &self,
        connection: &mut MySqlConnection,
    ) -> Result<(), JournalError> {
        let found: Vec<(String, String, Option<String>)> = self
            .within(
                sqlx::query_as(
                    "SELECT s.table_name, s.column_name, t.engine FROM information_schema.statistics s \
                     JOIN information_schema.tables t ON t.table_schema = s.table_schema AND t.table_name = s.table_name \
                     WHERE s.table_schema = DATABASE() AND s.index_name = 'PRIMARY' \
                     ORDER BY s.table_name, s.seq_in_index",
                )
                .fetch_all(&mut *connection),
            )
            .await
            .map_err(|error| self.failed("look at the tables of", &error))?;
        for (table, key) in KEYS {
            let rows: Vec<_> = found.iter().filter(|(name, ..)| name == table).collect();
            let columns: Vec<&str> = rows.iter().map(|(_, column, _)| column.as_str()).collect();
            let is_durable = rows.iter().all(|(.., engine)| engine.as_deref() == Some("InnoDB"));
            if columns != key || !is_durable {
                let what = format!(
                    "the table {table} is missing, or has not the key and the engine that it needs"
                );
                return Err(self.unprepared(what));
            }
        }
        let (flushed,): (i64,) = self
            .within(
                sqlx::query_as("SELECT CAST(@@GLOBAL.innodb_flush_log_at_trx_commit AS SIGNED)")
                    .fetch_one(connection),
            )
            .await
            .map_err(|error| self.failed("look at the settings of", &error))?;
        if flushed == 1 {
            return Ok(());
        }
        Err(self.unprepared(
            "a power failure would forget signatures: set innodb_flush_log_at_trx_commit = 1"
                .to_owned(),
        ))
    }

    /// That the account may add and read, and nothing else.
    pub(super) async fn check_grants(
        &self,
        connection: &mut MySqlConnection,
    ) -> Result<(), JournalError> {
        let rows: Vec<(String,)> = self
            .within(sqlx::query_as("SHOW GRANTS FOR CURRENT_USER()").fetch_all(connection))
            .await
            .map_err(|error| self.failed("look at the grants of", &error))?;
        match rows.iter().find_map(|(row,)| excess_privilege(row)) {
            None => Ok(()),
            Some(privilege) => {
                Err(JournalError::Privilege { place: self.place.clone(), privilege })
            }
        }
    }

    pub(super) fn failed(&self, action: &'static str, error: &Failed) -> JournalError {
        let (place, reason) = (self.place.clone(), error.to_string());
        match error {
            Failed::Unknown(_) => JournalError::Away { action, place, reason },
            Failed::Taken | Failed::Refused(_) => JournalError::Sql { action, place, reason },
        }
    }

    pub(super) fn damaged(&self, line: u64, what: String) -> JournalError {
        JournalError::Damaged { place: self.place.clone(), line, what }
    }

    fn unprepared(&self, what: String) -> JournalError {
        JournalError::Unprepared { place: self.place.clone(), what }
    }
}
