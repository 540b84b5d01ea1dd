//! What tests do to a database behind the store's back, in SQL that both read.

use std::time::Duration;

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

/// Makes a database on a server.
pub(crate) async fn create_database(url: &str, name: &str) {
    let mut connection = MySqlConnection::connect(url).await.expect("the server answers");
    let create = format!("CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
    connection.execute(AssertSqlSafe(create)).await.expect("creates");
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
            let mode = "SET SESSION sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,STRICT_ALL_TABLES'";
            Box::pin(async move { connection.execute(mode).await.map(|_| ()) })
        });
        Self::MySql(pool.connect(url).await.expect("a connection behind the store's back"))
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

    /// Until nothing that was begun is open any more: on a file the writer's turn says so, a server tells what runs.
    pub(crate) async fn quiesce(&self, store: &Store) {
        store.register_senders(CHAIN, &[]).await.expect("takes its turn at the writer");
        if matches!(self, Self::Sqlite(_)) {
            return;
        }
        let open = "SELECT count(*) FROM information_schema.innodb_trx AS t \
                    JOIN information_schema.processlist AS p ON p.id = t.trx_mysql_thread_id \
                    WHERE p.db = DATABASE() AND p.id <> CONNECTION_ID()";
        for _ in 0..1_000 {
            if self.number(open).await.expect("the server tells") == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("a transaction stays open");
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
