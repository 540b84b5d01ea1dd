//! Opening the database: an SQLite file, or a MySQL or MariaDB server. What differs between the two ends here and in
//! `dialect`.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use portcullis_core::host::{NOT_WITHOUT_TLS, is_this_machine};
use sea_orm::{DatabaseConnection, SqlxMySqlConnector, SqlxSqliteConnector};
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlSslMode};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, SqliteConnection};

use crate::db::{StoreOptions, pause_before_retry};
use crate::dialect::Pool;
use crate::error::StoreError;
use crate::statements::observe;

/// Reading and writing for the owner, nothing for anybody else.
const OWNER_ONLY: u32 = 0o600;

/// How often opening is tried again: together a little over a second.
const OPEN_RETRIES_MAX: u32 = 7;

/// Statements that each connection to a server keeps prepared there: the server has room for 16,382 of all clients.
const PREPARED_MAX: usize = 64;

/// How long a server keeps a connection that says nothing. It frees the locks of a process that was stopped in the middle
/// of a transaction, whose commit fails when it wakes.
const SILENCE_MAX_SECONDS: u64 = 20;

/// When the pool closes an idle connection by itself: before the server does.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// How long a connection is used without asking whether the server still knows it: a trip less for whoever uses it.
const FRESH_FOR: Duration = Duration::from_millis(500);

/// Rows that a connection to a file reads ahead.
const ROWS_BUFFERED: usize = 512;

/// Memory for pages of the file, in KiB, of the connection that writes: SQLite's own 2 MiB hold less than one set of
/// payments touches, and what does not stay there is read from the system again for every set.
const WRITER_CACHE_KIB: i64 = 16 * 1024;

/// How much a server puts together for one group of rows, in bytes. MySQL's own 1,024 cut off what a few payments are.
const GROUP_MAX: u32 = 64 * 1024 * 1024;

/// What MySQL is told to refuse, instead of storing something else than it was given.
const STRICT: &str = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_ENGINE_SUBSTITUTION";

/// The connections of one open database.
pub(crate) struct Connections {
    pub(crate) writer: DatabaseConnection,
    pub(crate) reader: DatabaseConnection,
    /// For lists and searches.
    pub(crate) lists: DatabaseConnection,
    pub(crate) pool: Pool,
}

pub(crate) async fn open(options: &StoreOptions) -> Result<Connections, StoreError> {
    // What a connection is set up with is large, and is gone when it stands.
    let mut connections = if is_server(&options.url) {
        Box::pin(open_server(options)).await?
    } else {
        Box::pin(open_file(options)).await?
    };
    for connection in [&mut connections.writer, &mut connections.reader, &mut connections.lists] {
        observe(connection, options.slow_query_ms);
    }
    Ok(connections)
}

/// Whether a URL names a database server.
#[must_use]
pub(crate) fn is_server(url: &str) -> bool {
    url.starts_with("mysql://") || url.starts_with("mariadb://")
}

/// A URL without what must not be read in a log.
#[must_use]
pub fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let rest = rest.split('?').next().unwrap_or_default();
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    format!("{scheme}://{place}")
}

/// Whether this can be the URL of a database server, told in words where it cannot.
///
/// # Errors
/// It names no database, or a server on another host without encryption.
pub fn check_server_url(url: &str) -> Result<(), String> {
    mysql_options(url).map(|_| ())
}

/// Whether a URL, or a path, names no file but a database of SQLite that ends with the process
/// (<https://www.sqlite.org/inmemorydb.html>).
#[must_use]
pub fn is_in_memory(url: &str) -> bool {
    let Ok(options) = sqlite_options(url) else { return false };
    let given = url.trim_start_matches("sqlite://").trim_start_matches("sqlite:");
    let decoded = options.get_filename().to_string_lossy();
    [given, &*decoded].into_iter().any(|name| {
        let name = name.strip_prefix("file:").unwrap_or(name);
        let (name, parameters) = name.split_once('?').unwrap_or((name, ""));
        // One without a name is a temporary file.
        name.is_empty()
            || name == ":memory:"
            || parameters.split('&').any(|parameter| parameter == "mode=memory")
    })
}

fn unavailable(url: &str, cause: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable { during: "open", cause: format!("{}: {cause}", shown(url)) }
}

async fn open_server(options: &StoreOptions) -> Result<Connections, StoreError> {
    let url = &options.url;
    let connect = mysql_options(url).map_err(|cause| unavailable(url, &cause))?;
    Box::pin(try_server(options, &connect)).await.map_err(|cause| unavailable(url, &cause))?;
    let writers = mysql_pool(options, options.writers_max, Session::Writes);
    let opened = Box::pin(writers.connect_with(connect.clone())).await;
    let pool = opened.map_err(|e| unavailable(url, &e))?;
    let readers = mysql_pool(options, options.readers_max, Session::Reads);
    let opened = Box::pin(readers.connect_with(connect)).await;
    let read_pool = opened.map_err(|e| unavailable(url, &e))?;
    let lists = match &options.replica_url {
        None => read_pool.clone(),
        Some(replica) => {
            let connect = mysql_options(replica).map_err(|cause| unavailable(replica, &cause))?;
            // It may be away now and come back: lists are read from the database itself meanwhile.
            mysql_pool(options, options.readers_max, Session::Reads).connect_lazy_with(connect)
        }
    };
    Ok(Connections {
        writer: SqlxMySqlConnector::from_sqlx_mysql_pool(pool.clone()),
        reader: SqlxMySqlConnector::from_sqlx_mysql_pool(read_pool),
        lists: SqlxMySqlConnector::from_sqlx_mysql_pool(lists),
        pool: Pool::MySql(pool),
    })
}

/// Connects once, and says why where that fails: a pool tries on while a server refuses the connection or its settings, and
/// then says no more than that the time is over.
async fn try_server(options: &StoreOptions, connect: &MySqlConnectOptions) -> Result<(), String> {
    let trying = async {
        let mut connection = MySqlConnection::connect_with(connect).await?;
        connection.execute(AssertSqlSafe(session_setup(options, Session::Writes))).await?;
        // Whoever does not hear that it ends sees so by itself.
        let _closed = connection.close().await;
        Ok::<(), sqlx::Error>(())
    };
    let patience = Duration::from_millis(options.busy_timeout_ms);
    match tokio::time::timeout(patience, trying).await {
        Ok(tried) => tried.map_err(|error| error.to_string()),
        Err(_) => Err(format!("it gave no answer within {} ms", options.busy_timeout_ms)),
    }
}

/// What the transactions of a connection see.
#[derive(Clone, Copy)]
enum Session {
    /// The newest of what is committed, anew in each statement; what they read to decide by it, they lock.
    Writes,
    /// One picture, whatever others write meanwhile. They can write nothing.
    Reads,
}

/// What each connection is told when it begins.
fn session_setup(options: &StoreOptions, session: Session) -> String {
    let seconds = options.busy_timeout_ms.div_ceil(1_000).max(1);
    let isolation = match session {
        Session::Writes => "READ COMMITTED, READ WRITE",
        Session::Reads => "REPEATABLE READ, READ ONLY",
    };
    format!(
        "SET SESSION sql_mode = '{STRICT}', time_zone = '+00:00', autocommit = 1, \
         innodb_lock_wait_timeout = {seconds}, wait_timeout = {SILENCE_MAX_SECONDS}, \
         group_concat_max_len = {GROUP_MAX}; \
         SET SESSION TRANSACTION ISOLATION LEVEL {isolation}"
    )
}

fn mysql_pool(options: &StoreOptions, connections_max: u32, session: Session) -> MySqlPoolOptions {
    let setup = session_setup(options, session);
    MySqlPoolOptions::new()
        .max_connections(connections_max.max(1))
        .acquire_timeout(Duration::from_millis(options.busy_timeout_ms))
        .idle_timeout(Some(IDLE_MAX))
        .test_before_acquire(false)
        .before_acquire(|connection, about| {
            // A server that was restarted has forgotten the connection. One that answered a moment ago has not been.
            let is_fresh = about.idle_for < FRESH_FOR;
            Box::pin(async move {
                if !is_fresh {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_connect(move |connection, _| {
            let setup = setup.clone();
            Box::pin(async move { connection.execute(AssertSqlSafe(setup)).await.map(|_| ()) })
        })
}

/// Reads a URL. A server on another host is spoken to over TLS: its certificate is verified, unless the URL asks for
/// encryption alone.
fn mysql_options(url: &str) -> Result<MySqlConnectOptions, String> {
    if !is_server(url) {
        return Err("it is not the URL of a MySQL or MariaDB server".to_owned());
    }
    let url = url.replacen("mariadb://", "mysql://", 1);
    let options = MySqlConnectOptions::from_str(&url).map_err(|error| error.to_string())?;
    if options.get_database().is_none_or(str::is_empty) {
        return Err("names no database: mysql://user:password@host:3306/portcullis".to_owned());
    }
    let is_here = options.get_socket().is_some() || is_this_machine(options.get_host());
    let mode = match options.get_ssl_mode() {
        _ if is_here => options.get_ssl_mode(),
        MySqlSslMode::Disabled => {
            return Err(NOT_WITHOUT_TLS.to_owned());
        }
        MySqlSslMode::Preferred => MySqlSslMode::VerifyIdentity,
        verified => verified,
    };
    Ok(options
        .ssl_mode(mode)
        .charset("utf8mb4")
        .collation("utf8mb4_bin")
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .statement_cache_capacity(PREPARED_MAX))
}

async fn open_file(options: &StoreOptions) -> Result<Connections, StoreError> {
    let url = &options.url;
    let busy = Duration::from_millis(options.busy_timeout_ms);
    let connect = sqlite_options(url)
        .map_err(|cause| StoreError::Unavailable { during: "open", cause })?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(busy)
        .foreign_keys(false)
        .pragma("temp_store", "memory")
        .statement_cache_capacity(512)
        // A whole statement's rows: whoever reads them would wake the connection's thread once for each fifty.
        .row_buffer_size(ROWS_BUFFERED);
    let pool_options = || {
        let options = SqlitePoolOptions::new().acquire_timeout(busy).test_before_acquire(false);
        options.before_acquire(|connection, _| Box::pin(is_settled(connection)))
    };
    let (file, path) = (Arc::new(OneFile::default()), connect.get_filename().to_owned());
    let writers = pool_options()
        .max_connections(1)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(move |connection, _| {
            let (file, path) = (Arc::clone(&file), path.clone());
            Box::pin(async move { file.opened(&path, connection).await })
        });
    if !is_in_memory(url) {
        make_private(connect.get_filename());
    }
    // Of KiB where it is negative: <https://www.sqlite.org/pragma.html#pragma_cache_size>.
    let writing = connect.clone().pragma("cache_size", (-WRITER_CACHE_KIB).to_string());
    let pool = connect_file(&writers, &writing).await.map_err(|e| unavailable(url, &e))?;
    let readers = pool_options().max_connections(options.readers_max.max(1));
    let read_pool = connect_file(&readers, &connect).await.map_err(|e| unavailable(url, &e))?;
    let reader = SqlxSqliteConnector::from_sqlx_sqlite_pool(read_pool);
    Ok(Connections {
        writer: SqlxSqliteConnector::from_sqlx_sqlite_pool(pool.clone()),
        lists: reader.clone(),
        reader,
        pool: Pool::Sqlite(pool),
    })
}

/// Makes the file where there is none, for its owner alone: SQLite would let everybody read it whom the umask lets. The
/// write-ahead log and its index get the mode of the file.
fn make_private(path: &Path) {
    // Whatever is wrong with the place, the database tells when it is opened.
    let _made = OpenOptions::new().append(true).create(true).mode(OWNER_ONLY).open(path);
}

/// Whether a connection can begin a transaction. SQLite ends one by itself when the disk is full
/// (<https://www.sqlite.org/lang_transaction.html>): the driver's rollback finds none to roll back then, and goes on
/// counting it, so that none could begin on this connection ever again. The pool opens another one instead.
async fn is_settled(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // A rollback that was asked for a moment ago comes first.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

/// The file that the first connection has opened. One that is opened later, in its place, has to lead to the same: a
/// database that was exchanged meanwhile is not written to.
#[derive(Debug, Default)]
struct OneFile(OnceLock<(u64, u64)>);

impl OneFile {
    /// Called on each connection that is opened.
    async fn opened(
        &self,
        path: &Path,
        connection: &mut SqliteConnection,
    ) -> Result<(), sqlx::Error> {
        let metadata = std::fs::metadata(path)?;
        let identity = (metadata.dev(), metadata.ino());
        let Err(first) = self.0.set(identity).map_err(|_| self.0.get()) else { return Ok(()) };
        if first.is_some_and(|first| *first != identity) {
            let what = format!("{} is another file than the one that was opened", path.display());
            return Err(io::Error::other(what).into());
        }
        // Whoever had taken over the checkpoints has them still.
        connection.execute("PRAGMA wal_autocheckpoint = 0").await.map(|_| ())
    }
}

/// Opens a pool. Processes that make a new file a WAL one together would wait for each other, so SQLite
/// tells one of them BUSY at once (<https://www.sqlite.org/c3ref/busy_handler.html>): it comes back.
async fn connect_file(
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
        return Err(format!(
            "{scheme} is not a supported database: use sqlite:///path/to/file or mysql://user@host/name"
        ));
    }
    Ok(SqliteConnectOptions::new().filename(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_elsewhere_is_spoken_to_over_tls() {
        let mode = |url: &str| mysql_options(url).map(|options| options.get_ssl_mode());
        let far = mode("mysql://app:secret@db.example:3306/portcullis");
        assert!(matches!(far, Ok(MySqlSslMode::VerifyIdentity)), "{far:?}");
        let named = mode("mysql://app@db.example/portcullis?ssl-mode=REQUIRED");
        assert!(matches!(named, Ok(MySqlSslMode::Required)), "{named:?}");
        let plain = mode("mysql://app:secret@10.0.0.7/portcullis?ssl-mode=DISABLED");
        let refused = plain.expect_err("no TLS");
        assert!(refused.contains("TLS") && !refused.contains("secret"), "{refused}");
        for near in [
            "mariadb://app@127.0.0.1:3307/portcullis?ssl-mode=DISABLED",
            "mysql://app@localhost/portcullis",
            "mysql://app@db.example/portcullis?socket=/run/mysqld/mysqld.sock",
        ] {
            assert!(matches!(mode(near), Ok(MySqlSslMode::Disabled | MySqlSslMode::Preferred)));
        }
    }

    #[test]
    fn a_url_without_a_database_is_refused() {
        for url in ["mysql://app@localhost", "mysql://app@localhost/"] {
            assert!(
                check_server_url(url).is_err_and(|why| why.contains("names no database")),
                "{url}"
            );
        }
    }

    #[test]
    fn what_ends_with_the_process_is_known_in_every_form() {
        for url in [
            "sqlite::memory:",
            "sqlite://:memory:",
            "sqlite://%3Amemory%3A",
            "sqlite://?mode=memory",
            "sqlite://a.db?cache=shared&mode=memory",
            "sqlite:file:a?mode=memory",
            "sqlite:",
            "sqlite://",
            ":memory:",
            "file::memory:?cache=shared",
        ] {
            assert!(is_in_memory(url), "{url}");
        }
        for url in [
            "sqlite:///data/a.db",
            "sqlite:a.db?mode=rwc",
            "/data/memory.db",
            "memory",
            "mysql://app@localhost/memory",
        ] {
            assert!(!is_in_memory(url), "{url}");
        }
    }

    #[test]
    fn no_password_is_shown() {
        let url = "mysql://app:p%40ss@word@db.example:3306/portcullis?ssl-ca=/a";
        assert_eq!(shown(url), "mysql://db.example:3306/portcullis");
        assert_eq!(shown("/data/portcullis.db"), "/data/portcullis.db");
        assert_eq!(shown("sqlite:///data/a.db"), "sqlite:///data/a.db");
    }
}
