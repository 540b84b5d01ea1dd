//! The database connection and its transactions: named, and retried when other writers were in their way.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::effect::{EffectGate, EffectPoint};
use portcullis_core::time::{Clock, Timestamp};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, QuerySelect, Select,
    SqliteTransactionMode, TransactionOptions,
};

use crate::connect::{self, Connections, shown};
use crate::damage::DamageNotes;
use crate::dialect::{Pool, TimeSource};
use crate::error::StoreError;
use crate::room::RoomNotes;
use crate::server_clock::ServerClock;
pub(crate) use crate::session::Source;
use crate::session::{Picture, Session, Writing};
use crate::statements;
use crate::writer_turns::{WriterTurn, WriterTurns};

/// Where the database is, and how it is used.
#[derive(Clone)]
pub struct StoreOptions {
    /// `sqlite:///path/to/portcullis.db`, a path, or `mysql://user:password@host:3306/name`.
    pub url: String,
    /// Connections that read beside those that write.
    pub readers_max: u32,
    /// Connections that write to a database server. To a file there is one.
    pub writers_max: u32,
    /// How long another's write lock, or a free connection, is waited for.
    pub busy_timeout_ms: u64,
    /// A server that follows the database's: lists and searches are read from it, and may be a moment old.
    pub replica_url: Option<String>,
    /// Statements that take as long or longer are logged, with the transaction that they belong to. 0 logs none.
    pub slow_query_ms: u64,
    /// Whose clock rows and leases are timed by.
    pub time: TimeSource,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            url: String::new(),
            readers_max: 4,
            writers_max: 8,
            busy_timeout_ms: 2_000,
            replica_url: None,
            slow_query_ms: 0,
            time: TimeSource::Database,
        }
    }
}

/// Without passwords.
impl fmt::Debug for StoreOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("StoreOptions")
            .field("url", &shown(&self.url))
            .field("replica_url", &self.replica_url.as_deref().map(shown))
            .finish_non_exhaustive()
    }
}

/// The store. Cheap to clone; one per process.
#[derive(Clone)]
pub struct Store {
    writer: Session<DatabaseConnection>,
    pub(crate) reader: Session<DatabaseConnection>,
    lists: Session<DatabaseConnection>,
    pub(crate) pool: Pool,
    pub(crate) clock: Arc<dyn Clock>,
    server_clock: Option<Arc<ServerClock>>,
    pub(crate) damage: DamageNotes,
    pub(crate) room: RoomNotes,
    /// Who writes next to a file. A server lets all of them.
    turns: Option<Arc<WriterTurns>>,
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
    /// To a file one connection writes, in the order of arrival but for intake ([`Store::turn`]): measured, competing
    /// writers made intake's p99 a hundred times worse. A server has many writers, and its own clock; `clock` stands in
    /// for the one that a file does not have.
    ///
    /// # Errors
    /// When the file cannot be opened or created, or the server does not answer.
    pub async fn open(options: &StoreOptions, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let Connections { writer, reader, lists, pool } = connect::open(options).await?;
        let (writer, reader) = (Session::new(writer, "write"), Session::new(reader, "read"));
        let lists = Session::new(lists, "list");
        let asks_server = !pool.is_single_writer() && options.time == TimeSource::Database;
        let server_clock = asks_server.then(|| Arc::new(ServerClock::new(Arc::clone(&clock))));
        let clock = match &server_clock {
            None => clock,
            Some(server) => {
                let read = server.read(&reader).await;
                read.map_err(|error| StoreError::of_statement("open", &error))?;
                Arc::clone(server) as Arc<dyn Clock>
            }
        };
        let (damage, room) = (DamageNotes::default(), RoomNotes::default());
        let patience = Duration::from_millis(options.busy_timeout_ms);
        let turns = pool.is_single_writer().then(|| Arc::new(WriterTurns::new(patience)));
        Ok(Self {
            writer,
            reader,
            lists,
            pool,
            clock,
            server_clock,
            damage,
            room,
            turns,
            gate: None,
        })
    }

    /// The same store with a gate around each of its commits (simulation).
    #[must_use]
    pub fn with_gate(mut self, gate: Arc<dyn EffectGate>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// The time by the clock that times rows and leases, as well as this process knows it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// That clock: whatever is compared with rows, or with what other processes say, goes by it. A database server's runs
    /// on in a process whose own clock is wrong, or is set.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// How far this process's own clock is ahead of the database server's, negative where it is behind. `None` where the
    /// process's is the only one. Harmless, but its logs lie.
    #[must_use]
    pub fn clock_offset_ms(&self) -> Option<i64> {
        self.server_clock.as_deref().map(ServerClock::own_ahead_ms)
    }

    /// Asks a database server for its time, as every transaction does: for a process that has none under way.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn read_clock(&self) -> Result<(), StoreError> {
        let Some(server) = &self.server_clock else { return Ok(()) };
        let read = server.read(&self.reader).await;
        read.map(|_| ()).map_err(|error| StoreError::of_statement("read_clock", &error))
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
        for connection in [&self.reader, &self.lists] {
            // One that is closed already, or lost, is closed.
            let _closed = connection.connection().close_by_ref().await;
        }
        self.pool.close().await;
    }

    /// The right to write, for a group whose clients wait: it comes after the transaction that is under way, and
    /// before all that the roles have in the queue.
    pub(crate) async fn turn(&self, name: &'static str) -> Result<WriterTurn, StoreError> {
        self.pass(name, false).await;
        match &self.turns {
            None => Ok(WriterTurn::of_many()),
            Some(turns) => turns.of_clients(name).await,
        }
    }

    /// The right to write, after the roles that wait.
    pub(crate) async fn role_turn(&self, name: &'static str) -> Result<WriterTurn, StoreError> {
        match &self.turns {
            None => Ok(WriterTurn::of_many()),
            Some(turns) => turns.of_roles(name).await,
        }
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
        let failed = |error: DbErr| StoreError::of_statement(name, &error);
        statements::count();
        let session = self.writer.begin(name, options).await.map_err(failed)?;
        let inner = Writing { session, is_alone: self.pool.is_single_writer() };
        let now = match &self.server_clock {
            None => self.clock.now(),
            Some(server) => server.read(&inner).await.map_err(failed)?,
        };
        Ok(Transaction { inner, name, now, damage: self.damage.clone(), turn })
    }

    /// A picture for reads of several statements: while a writer moves on between them, what they
    /// see would not fit together. Dropping it ends it.
    pub(crate) async fn snapshot(&self, during: &'static str) -> Result<Picture, StoreError> {
        let begun = self.reader.begin(during, TransactionOptions::default()).await;
        begun.map_err(|error| StoreError::of_statement(during, &error))
    }

    /// As [`Store::snapshot`], of the replica where there is one. While that is away the database itself answers.
    pub(crate) async fn list_snapshot(&self, during: &'static str) -> Result<Picture, StoreError> {
        let begun = self.lists.begin(during, TransactionOptions::default()).await;
        match begun.map_err(|error| StoreError::of_statement(during, &error)) {
            Err(error) if error.is_unavailable() => {
                tracing::warn!(during, %error, "the replica does not answer; the database itself is asked");
                self.snapshot(during).await
            }
            outcome => outcome,
        }
    }

    pub(crate) async fn finish(&self, transaction: Transaction) -> Result<(), StoreError> {
        let Transaction { inner, name, turn, .. } = transaction;
        statements::count();
        let result = inner.session.commit().await;
        drop(turn);
        self.pass(name, true).await;
        result.map_err(|error| StoreError::of_commit(name, &error))
    }

    /// Whether a transaction that failed so is to be run again. Nothing of it was written. On a server another writer may
    /// have inserted a row after this one had looked for it: it finds that row now.
    pub(crate) fn tries_again(&self, error: &StoreError, retry: u32) -> bool {
        if self.pool.is_single_writer() {
            return error.is_unavailable() && retry < RETRIES_MAX;
        }
        let most = if error.is_duplicate() { DUPLICATE_RETRIES_MAX } else { SERVER_RETRIES_MAX };
        (error.is_unavailable() || error.is_duplicate()) && retry < most
    }

    async fn pass(&self, effect: &'static str, happened: bool) {
        if let Some(gate) = &self.gate {
            gate.pass(EffectPoint { effect, happened }).await;
        }
    }
}

/// A write transaction. Dropped without [`Store::finish`], it is rolled back.
pub(crate) struct Transaction {
    pub(crate) inner: Writing,
    pub(crate) name: &'static str,
    /// The database's clock at BEGIN.
    pub(crate) now: Timestamp,
    pub(crate) damage: DamageNotes,
    turn: WriterTurn,
}

impl Transaction {
    /// Whether nobody else writes before it ends.
    pub(crate) const fn is_alone(&self) -> bool {
        self.inner.is_alone
    }

    /// Waits until nobody else has the rows of a query, and keeps them until this transaction ends. Where nobody else
    /// writes there is nothing to wait for.
    pub(crate) async fn wait_for<E: EntityTrait>(
        &self,
        query: Select<E>,
    ) -> Result<(), StoreError> {
        if self.is_alone() {
            return Ok(());
        }
        let held = query.lock_exclusive().all(&self.inner).await;
        held.map(|_| ()).map_err(|error| self.failed(&error))
    }

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

/// How often a transaction that met a lock is tried again.
const RETRIES_MAX: u32 = 3;

/// The same on a database server, which ends one of two transactions that wait for each other.
const SERVER_RETRIES_MAX: u32 = 5;

/// The same where a row was there already: whoever does not find it the second time is wrong about more than the moment.
const DUPLICATE_RETRIES_MAX: u32 = 2;

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
            let body = async {
                let value = $body.await?;
                $store.finish($tx).await?;
                Ok(value)
            };
            let outcome: Result<_, $crate::error::StoreError> =
                Box::pin($crate::statements::DURING.scope($name, body)).await;
            $store.note_room(&outcome);
            match outcome {
                Err(error) if $store.tries_again(&error, retry) => {
                    $crate::db::pause_before_retry($name, retry).await;
                    retry = retry.saturating_add(1);
                }
                outcome => break outcome,
            }
        }
    }};
}
pub(crate) use transaction;
