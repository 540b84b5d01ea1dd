//! What tests do to a database behind the store's back, in SQL that both read.

use portcullis_store::Store;
use sqlx::mysql::{MySqlConnection, MySqlPool, MySqlPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor};

use crate::fixture::CHAIN;

/// Connections that the store knows nothing of.
pub(crate) enum Behind {
    Sqlite(SqlitePool),
    MySql(MySqlPool),
}

impl Behind {
    pub(crate) async fn open(url: &str) -> Self {
        if !url.starts_with("mysql://") {
            let options = SqliteConnectOptions::new().filename(url);
            let pool = SqlitePoolOptions::new().max_connections(2).connect_with(options).await;
            return Self::Sqlite(pool.expect("a connection behind the store's back"));
        }
        // Names that are words of MySQL stand in double quotes, as SQLite has them.
        let pool = MySqlPoolOptions::new().max_connections(2).after_connect(|connection, _| {
            let mode = "SET SESSION sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,STRICT_ALL_TABLES', \
                        lock_wait_timeout = 20";
            Box::pin(async move { connection.execute(mode).await.map(|_| ()) })
        });
        Self::MySql(
            Box::pin(pool.connect(url)).await.expect("a connection behind the store's back"),
        )
    }

    pub(crate) async fn execute(&self, statement: &str) -> Result<u64, sqlx::Error> {
        let query = AssertSqlSafe(statement.to_owned());
        Ok(match self {
            Self::Sqlite(pool) => sqlx::query(query).execute(pool).await?.rows_affected(),
            Self::MySql(pool) => sqlx::query(query).execute(pool).await?.rows_affected(),
        })
    }

    pub(crate) async fn number(&self, query: &str) -> Result<i64, sqlx::Error> {
        let query = AssertSqlSafe(query.to_owned());
        match self {
            Self::Sqlite(pool) => sqlx::query_scalar(query).fetch_one(pool).await,
            Self::MySql(pool) => sqlx::query_scalar(query).fetch_one(pool).await,
        }
    }

    pub(crate) async fn pairs(&self, query: &str) -> Result<Vec<(String, String)>, sqlx::Error> {
        let query = AssertSqlSafe(query.to_owned());
        match self {
            Self::Sqlite(pool) => sqlx::query_as(query).fetch_all(pool).await,
            Self::MySql(pool) => sqlx::query_as(query).fetch_all(pool).await,
        }
    }

    /// Until nothing that was begun is open any more: on a file the writer's turn says so, on a server a lock of each table that
    /// a transaction has touched, which waits for its end.
    pub(crate) async fn quiesce(&self, store: &Store) {
        store.register_senders(CHAIN, &[]).await.expect("takes its turn at the writer");
        let Self::MySql(pool) = self else { return };
        let tables = "SELECT '\"' || table_name || '\" WRITE', '' FROM information_schema.tables \
                      WHERE table_schema = DATABASE()";
        let tables = self.pairs(tables).await.expect("the server tells");
        let tables: Vec<String> = tables.into_iter().map(|(table, _)| table).collect();
        let mut connection = Box::pin(pool.acquire()).await.expect("connects");
        let lock = AssertSqlSafe(format!("LOCK TABLES {}", tables.join(", ")));
        connection.execute(lock).await.expect("every transaction ends");
        connection.execute("UNLOCK TABLES").await.expect("unlocks");
    }
}

/// A lock of another process; dropped, it is gone.
pub(crate) enum Held {
    /// The write lock of the file.
    Sqlite(SqliteConnection),
    /// The row that payout numbers are given from.
    MySql(MySqlConnection),
}

impl Held {
    pub(crate) async fn take(url: &str) -> Self {
        if !url.starts_with("mysql://") {
            let options = SqliteConnectOptions::new().filename(url);
            let mut connection = SqliteConnection::connect_with(&options).await.expect("connects");
            connection.execute("BEGIN IMMEDIATE").await.expect("locks");
            return Self::Sqlite(connection);
        }
        let mut connection = MySqlConnection::connect(url).await.expect("connects");
        connection.execute("BEGIN").await.expect("begins");
        connection.execute("SELECT id FROM deployment FOR UPDATE").await.expect("locks");
        Self::MySql(connection)
    }

    /// Lets go, and knows it: a server notices a connection that is only dropped in its own time.
    pub(crate) async fn release(self) {
        match self {
            Self::Sqlite(connection) => connection.close().await.expect("closes"),
            Self::MySql(mut connection) => {
                connection.execute("ROLLBACK").await.expect("rolls back");
                connection.close().await.expect("closes");
            }
        }
    }
}
