//! What the two databases do differently: the pool behind the connections, whose clock it is, and the one statement that
//! SeaORM writes in words that MariaDB does not know.

use sea_orm::sea_query::extension::mysql::{IndexHintScope, MySqlSelectStatementExt};
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, QueryTrait, Select, Statement};
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
    /// The database server's, so that rows and leases of many hosts mean the same. An embedded database has none but the
    /// process's.
    #[default]
    Database,
    /// The process's own, whatever the database: where time is told from outside.
    Process,
}

/// The index of a table's key, as a server calls it.
pub(crate) const BY_KEY: &str = "PRIMARY";

/// The query, answered by this index of a server's. A small table it would rather read as a whole, and where it locks what it
/// reads it waits for whoever has any row of it
/// (<https://dev.mysql.com/doc/refman/8.4/en/innodb-locks-set.html>). A file has no locks of rows, and takes no advice here.
pub(crate) fn by_index<E: EntityTrait>(mut query: Select<E>, index: &'static str) -> Select<E> {
    QueryTrait::query(&mut query).force_index(index, IndexHintScope::All);
    query
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
