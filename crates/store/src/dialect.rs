//! What the two databases do differently: the pool behind the connections, the clock, and the one statement that SeaORM
//! writes in words that MariaDB does not know.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use portcullis_core::time::{Clock, Timestamp};
use sea_orm::{ConnectionTrait, DbErr, Statement};
use sqlx::MySqlPool;
use sqlx::sqlite::SqlitePool;

/// The pool that writes, for what SeaORM does not do: migrations, copies of a file, questions about the schema.
#[derive(Clone)]
pub(crate) enum Pool {
    /// One connection to a file.
    Sqlite(SqlitePool),
    /// Connections to a server, which write at the same time.
    MySql(MySqlPool),
}

impl Pool {
    /// Whether one transaction writes at a time, so that what it has read stays as it was.
    pub(crate) const fn is_single_writer(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::MySql(pool) => pool.close().await,
        }
    }
}

/// Whose clock says what time it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeSource {
    /// The database server's, so that the leases of many hosts mean the same. An embedded database has none but the
    /// process's.
    #[default]
    Database,
    /// The process's own, whatever the database: where time is told from outside.
    Process,
}

/// The clock of a database server as this process knows it: asked in every transaction, reckoned from the process's own
/// clock in between.
pub(crate) struct ServerClock {
    own: Arc<dyn Clock>,
    ahead_ms: AtomicI64,
}

impl ServerClock {
    pub(crate) fn new(own: Arc<dyn Clock>) -> Self {
        Self { own, ahead_ms: AtomicI64::new(0) }
    }

    /// Asks the server.
    pub(crate) async fn read<C: ConnectionTrait>(
        &self,
        connection: &C,
    ) -> Result<Timestamp, DbErr> {
        let question = "SELECT CAST(UNIX_TIMESTAMP(UTC_TIMESTAMP(3)) * 1000 AS SIGNED) AS now";
        let backend = connection.get_database_backend();
        let row = connection.query_one_raw(Statement::from_string(backend, question)).await?;
        let row =
            row.ok_or_else(|| DbErr::RecordNotFound("the server tells no time".to_owned()))?;
        let now = Timestamp::from_millis(row.try_get("", "now")?);
        self.ahead_ms.store(now.millis_since(self.own.now()), Ordering::Relaxed);
        Ok(now)
    }
}

impl Clock for ServerClock {
    fn now(&self) -> Timestamp {
        self.own.now().plus_millis(self.ahead_ms.load(Ordering::Relaxed))
    }
}

/// The row that whoever raises a halt changes places with whoever obeys them: those read it, that one locks it. Only a
/// database with many writers needs it, and has it from its second migration.
const HALT_GATE: &str = "SELECT id FROM halts WHERE id = 1";

/// Keeps halts from being raised before this transaction ends; waits for one that is being raised.
pub(crate) async fn share_halt_gate<C: ConnectionTrait>(connection: &C) -> Result<(), DbErr> {
    // Not FOR SHARE, which MariaDB does not know.
    let question = format!("{HALT_GATE} LOCK IN SHARE MODE");
    let backend = connection.get_database_backend();
    connection.query_one_raw(Statement::from_string(backend, question)).await.map(|_| ())
}

/// Waits for those who obeyed the halts as they were, and keeps others from reading them before this transaction ends.
pub(crate) async fn close_halt_gate<C: ConnectionTrait>(connection: &C) -> Result<(), DbErr> {
    let question = format!("{HALT_GATE} FOR UPDATE");
    let backend = connection.get_database_backend();
    connection.query_one_raw(Statement::from_string(backend, question)).await.map(|_| ())
}
