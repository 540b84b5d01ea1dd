//! The database connection and its transactions: named, IMMEDIATE, retried when another writer holds the lock.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::effect::{EffectGate, EffectPoint};
use portcullis_core::time::{Clock, Timestamp};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode,
    SqlxSqliteConnector, TransactionOptions, TransactionTrait,
};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::damage::DamageNotes;
use crate::error::StoreError;

/// Rows that a connection reads ahead.
const ROWS_BUFFERED: usize = 512;

/// Memory for pages of the file, in KiB, of the connection that writes: SQLite's own 2 MiB hold less than one set of
/// payments touches, and what does not stay there is read from the system again for every set.
const WRITER_CACHE_KIB: i64 = 16 * 1024;

/// Where the database is, and how it is used.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// `sqlite:///path/to/portcullis.db`, or a path.
    pub url: String,
    /// Connections that read beside the one that writes.
    pub readers_max: u32,
    /// How long another process's write lock, or a free connection, is waited for.
    pub busy_timeout_ms: u64,
}

/// The store. Cheap to clone; one per process.
#[derive(Clone)]
pub struct Store {
    pub(crate) writer: DatabaseConnection,
    pub(crate) reader: DatabaseConnection,
    pub(crate) write_pool: SqlitePool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) damage: DamageNotes,
    turns: Arc<WriterTurns>,
    gate: Option<Arc<dyn EffectGate>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the database; [`Store::migrate`] brings it to this binary's schema.
    ///
    /// One connection writes, in the order of arrival but for intake ([`Store::turn`]): measured, competing
    /// writers made intake's p99 a hundred times worse. The clock stands in for the database's own, since an embedded
    /// database has none but the process's.
    ///
    /// # Errors
    /// When the file cannot be opened or created.
    pub async fn open(options: &StoreOptions, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let during = "open";
        let busy = Duration::from_millis(options.busy_timeout_ms);
        let connect = sqlite_options(&options.url)
            .map_err(|cause| StoreError::Unavailable { during, cause })?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(busy)
            .foreign_keys(false)
            .pragma("temp_store", "memory")
            .statement_cache_capacity(512)
            // A whole statement's rows: whoever reads them would wake the connection's thread once for each fifty.
            .row_buffer_size(ROWS_BUFFERED);
        let unavailable = |error: sqlx::Error| StoreError::Unavailable {
            during,
            cause: format!("{}: {error}", options.url),
        };
        let pool_options =
            || SqlitePoolOptions::new().acquire_timeout(busy).test_before_acquire(false);
        let writers = pool_options()
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None);
        // Of KiB where it is negative: <https://www.sqlite.org/pragma.html#pragma_cache_size>.
        let writing = connect.clone().pragma("cache_size", (-WRITER_CACHE_KIB).to_string());
        let write_pool = connect_pool(&writers, &writing).await.map_err(unavailable)?;
        let readers = pool_options().max_connections(options.readers_max.max(1));
        let read_pool = connect_pool(&readers, &connect).await.map_err(unavailable)?;
        Ok(Self {
            writer: SqlxSqliteConnector::from_sqlx_sqlite_pool(write_pool.clone()),
            reader: SqlxSqliteConnector::from_sqlx_sqlite_pool(read_pool),
            write_pool,
            clock,
            damage: DamageNotes::default(),
            turns: Arc::new(WriterTurns::new(busy)),
            gate: None,
        })
    }

    /// The same store with a gate around each of its commits (simulation).
    #[must_use]
    pub fn with_gate(mut self, gate: Arc<dyn EffectGate>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.reader
            .execute_unprepared("SELECT 1")
            .await
            .map(|_| ())
            .map_err(|error| StoreError::of_statement("ping", &error))
    }

    /// Closes every connection; the file can be copied afterwards.
    pub async fn close(self) {
        let readers = self.reader.get_sqlite_connection_pool().clone();
        readers.close().await;
        self.write_pool.close().await;
    }

    /// The right to write, for a group whose clients wait: it comes after the transaction that is under way, and
    /// before all that the roles have in the queue.
    pub(crate) async fn turn(&self, name: &'static str) -> Result<WriterTurn, StoreError> {
        self.pass(name, false).await;
        self.turns.of_clients(name).await
    }

    /// The right to write, after the roles that wait.
    pub(crate) async fn role_turn(&self, name: &'static str) -> Result<WriterTurn, StoreError> {
        self.turns.of_roles(name).await
    }

    pub(crate) async fn begin(&self, name: &'static str) -> Result<Transaction, StoreError> {
        self.pass(name, false).await;
        let turn = self.role_turn(name).await?;
        self.begin_in(turn, name).await
    }

    /// A transaction of who has the turn.
    pub(crate) async fn begin_in(
        &self,
        turn: WriterTurn,
        name: &'static str,
    ) -> Result<Transaction, StoreError> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let inner = self
            .writer
            .begin_with_options(options)
            .await
            .map_err(|error| StoreError::of_statement(name, &error))?;
        let damage = self.damage.clone();
        Ok(Transaction { inner, name, now: self.clock.now(), damage, turn })
    }

    /// A picture for reads of several statements: while a writer moves on between them, what they
    /// see would not fit together. Dropping it ends it.
    pub(crate) async fn snapshot(
        &self,
        during: &'static str,
    ) -> Result<DatabaseTransaction, StoreError> {
        self.reader.begin().await.map_err(|error| StoreError::of_statement(during, &error))
    }

    pub(crate) async fn finish(&self, transaction: Transaction) -> Result<(), StoreError> {
        let Transaction { inner, name, turn, .. } = transaction;
        let result = inner.commit().await;
        drop(turn);
        self.pass(name, true).await;
        result.map_err(|error| StoreError::of_commit(name, &error))
    }

    async fn pass(&self, effect: &'static str, happened: bool) {
        if let Some(gate) = &self.gate {
            gate.pass(EffectPoint { effect, happened }).await;
        }
    }
}

/// A write transaction. Dropped without [`Store::finish`], it is rolled back.
pub(crate) struct Transaction {
    pub(crate) inner: DatabaseTransaction,
    pub(crate) name: &'static str,
    /// The database's clock at BEGIN.
    pub(crate) now: Timestamp,
    pub(crate) damage: DamageNotes,
    turn: WriterTurn,
}

impl Transaction {
    /// Turns a driver's error into this transaction's.
    pub(crate) fn failed(&self, error: &DbErr) -> StoreError {
        StoreError::of_statement(self.name, error)
    }

    /// Asserts a row count: the guard of every compare-and-set.
    pub(crate) fn expect_rows(&self, found: u64, expected: usize) -> Result<(), StoreError> {
        let expected = expected as u64;
        if found == expected {
            return Ok(());
        }
        Err(StoreError::Conflict { during: self.name, expected, found })
    }
}

/// Who writes next. Roles queue for the second place, so that clients wait for one transaction at most, however many the
/// roles have in hand.
struct WriterTurns {
    roles: Arc<Mutex<()>>,
    writer: Arc<Mutex<()>>,
    patience: Duration,
}

/// The right to write, until it is dropped.
pub(crate) struct WriterTurn {
    _writer: OwnedMutexGuard<()>,
    _role: Option<OwnedMutexGuard<()>>,
}

impl WriterTurns {
    fn new(patience: Duration) -> Self {
        Self { roles: Arc::default(), writer: Arc::default(), patience }
    }

    async fn of_clients(&self, during: &'static str) -> Result<WriterTurn, StoreError> {
        let writer = self.wait(during, Arc::clone(&self.writer).lock_owned()).await?;
        Ok(WriterTurn { _writer: writer, _role: None })
    }

    async fn of_roles(&self, during: &'static str) -> Result<WriterTurn, StoreError> {
        let turn = async {
            let role = Arc::clone(&self.roles).lock_owned().await;
            let writer = Arc::clone(&self.writer).lock_owned().await;
            WriterTurn { _writer: writer, _role: Some(role) }
        };
        self.wait(during, turn).await
    }

    async fn wait<T>(
        &self,
        during: &'static str,
        turn: impl Future<Output = T>,
    ) -> Result<T, StoreError> {
        tokio::time::timeout(self.patience, turn).await.map_err(|_| StoreError::Unavailable {
            during,
            cause: format!("no turn to write came within {} ms", self.patience.as_millis()),
        })
    }
}

/// How often, and how long apart, a transaction that met a lock is tried again.
pub(crate) const RETRIES_MAX: u32 = 3;

/// How often opening is tried again: together a little over a second.
const OPEN_RETRIES_MAX: u32 = 7;

pub(crate) async fn pause_before_retry(name: &'static str, retry: u32) {
    tracing::debug!(transaction = name, retry, "the database is contended; trying again");
    metrics::counter!("portcullis_store_transaction_retries_total", "transaction" => name)
        .increment(1);
    tokio::time::sleep(Duration::from_millis(10 << retry.min(5))).await;
}

/// Runs a body in one named transaction, and again when the database was contended in the middle of
/// it. A BEGIN that was refused is not repeated: it has waited for the lock as long as it may. The
/// body gets the transaction and is an expression that yields a `Future` of `Result<_, StoreError>`.
macro_rules! transaction {
    ($store:expr, $name:literal, |$tx:ident| $body:expr) => {
        transaction!($store, $name, $store.begin($name), |$tx| $body)
    };
    ($store:expr, $name:literal, $begin:expr, |$tx:ident| $body:expr) => {{
        let mut retry = 0_u32;
        loop {
            let $tx = match $begin.await {
                Ok(begun) => begun,
                Err(error) => break Err(error),
            };
            let outcome: Result<_, $crate::error::StoreError> = async {
                let value = $body.await?;
                $store.finish($tx).await?;
                Ok(value)
            }
            .await;
            match outcome {
                Err(error) if error.is_unavailable() && retry < $crate::db::RETRIES_MAX => {
                    $crate::db::pause_before_retry($name, retry).await;
                    retry = retry.saturating_add(1);
                }
                outcome => break outcome,
            }
        }
    }};
}
pub(crate) use transaction;

/// Opens a pool. Processes that make a new file a WAL one together would wait for each other, so SQLite
/// tells one of them BUSY at once (<https://www.sqlite.org/c3ref/busy_handler.html>): it comes back.
async fn connect_pool(
    pool: &SqlitePoolOptions,
    connect: &SqliteConnectOptions,
) -> Result<SqlitePool, sqlx::Error> {
    let mut retry = 0;
    loop {
        match pool.clone().connect_with(connect.clone()).await {
            Err(error) if StoreError::is_contention(&error) && retry < OPEN_RETRIES_MAX => {
                pause_before_retry("open", retry).await;
                retry = retry.saturating_add(1);
            }
            outcome => return outcome,
        }
    }
}

fn sqlite_options(url: &str) -> Result<SqliteConnectOptions, String> {
    if url.starts_with("sqlite:") {
        return SqliteConnectOptions::from_str(url).map_err(|error| error.to_string());
    }
    if let Some((scheme, _)) = url.split_once("://") {
        return Err(format!("{scheme} is not a supported database: use sqlite:///path/to/file"));
    }
    Ok(SqliteConnectOptions::new().filename(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn clients_come_before_the_roles_that_wait() {
        let turns = Arc::new(WriterTurns::new(PATIENCE));
        let order: Arc<Mutex<Vec<&str>>> = Arc::default();
        let under_way = turns.of_roles("first").await.map_err(|error| error.to_string());
        let mut waiting = Vec::new();
        for name in ["second", "third", "clients"] {
            let (turns, order) = (Arc::clone(&turns), Arc::clone(&order));
            waiting.push(tokio::spawn(async move {
                let turn = match name {
                    "clients" => turns.of_clients(name).await,
                    _ => turns.of_roles(name).await,
                };
                order.lock().await.push(name);
                drop(turn);
            }));
            tokio::task::yield_now().await;
        }
        assert!(order.lock().await.is_empty(), "one writes at a time");
        drop(under_way);
        for task in waiting {
            task.await.expect("ends");
        }
        assert_eq!(*order.lock().await, ["clients", "second", "third"]);
    }

    #[tokio::test]
    async fn a_turn_that_does_not_come_is_said_to_be_unavailable() {
        let turns = WriterTurns::new(Duration::ZERO);
        let _under_way = turns.of_roles("first").await;
        for refused in [turns.of_roles("second").await, turns.of_clients("third").await] {
            assert!(refused.is_err_and(|error| error.is_unavailable()));
        }
    }
}
