//! What can go wrong between Portcullis and its database.

use std::fmt::Display;

use sea_orm::{DbErr, RuntimeErr, SqlErr};
use sqlx::mysql::MySqlDatabaseError;
use sqlx::sqlite::SqliteError;
use thiserror::Error;

use crate::unique_key::key_of;

/// An error of the store.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The database cannot be reached, or stayed locked for too long. Nothing was written.
    #[error("the database is unavailable during {during}: {cause}")]
    Unavailable {
        /// The transaction or query.
        during: &'static str,
        /// What the driver said.
        cause: String,
    },
    /// The disk of the database is full. Nothing was written.
    #[error(
        "the disk of the database is full: free space; nothing was written by {during}: {cause}"
    )]
    Full {
        /// The transaction or query.
        during: &'static str,
        /// What the driver said.
        cause: String,
    },
    /// The answer to COMMIT was lost: the transaction is there, or it is not. Read before repeating.
    #[error("the answer to the commit of {during} was lost, its outcome is unknown: {cause}")]
    OutcomeUnknown {
        /// The transaction.
        during: &'static str,
        /// What the driver said.
        cause: String,
    },
    /// Somebody else moved a row first: what was decided is based on an old picture. Read again.
    #[error(
        "{during} found {found} of {expected} rows as it had read them: another writer was first"
    )]
    Conflict {
        /// The transaction.
        during: &'static str,
        /// Rows that were to move.
        expected: u64,
        /// Rows that did.
        found: u64,
    },
    /// A row of the same key is there already: another writer inserted it first, or it was there before.
    #[error("{during} would insert a second row of the key {key}")]
    Duplicate {
        /// The transaction.
        during: &'static str,
        /// The unique key, by the same name on every database.
        key: String,
    },
    /// The lease is not held any more, or a newer holder has it.
    #[error("the lease {name} is lost")]
    LeaseLost {
        /// The lease.
        name: String,
    },
    /// The engine is halted: nothing is bound or signed.
    #[error("the engine is halted: {reason}")]
    Halted {
        /// Why.
        reason: String,
    },
    /// A row that Portcullis could not have written.
    #[error("table {table}, column {column}, row {row}: {problem}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's key.
        row: String,
        /// What is wrong.
        problem: String,
    },
    /// The schema is not the one that this binary knows.
    #[error("the database has schema {found}, this binary knows {known}: {remedy}")]
    Schema {
        /// The database's version.
        found: i64,
        /// The binary's version.
        known: i64,
        /// What to do.
        remedy: &'static str,
    },
    /// A rule of the ledger would be broken; nothing was written.
    #[error("the ledger refuses {during}: {problem}")]
    Ledger {
        /// The transaction.
        during: &'static str,
        /// The rule.
        problem: String,
    },
    /// Anything else that the driver said.
    #[error("{during}: {cause}")]
    Database {
        /// The transaction or query.
        during: &'static str,
        /// What the driver said.
        cause: String,
    },
}

impl StoreError {
    /// Whether it may be tried again at once, with nothing written.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Full { .. })
    }

    /// Whether it may have been committed all the same.
    #[must_use]
    pub const fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. })
    }

    /// Whether another writer was first: the step reads again and goes on.
    #[must_use]
    pub const fn is_lost_race(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::Duplicate { .. } | Self::LeaseLost { .. })
    }

    pub(crate) const fn is_duplicate(&self) -> bool {
        matches!(self, Self::Duplicate { .. })
    }

    pub(crate) fn corrupt(
        table: &'static str,
        column: &'static str,
        row: &dyn Display,
        problem: &dyn Display,
    ) -> Self {
        Self::Corrupt { table, column, row: row.to_string(), problem: problem.to_string() }
    }

    /// An error of a statement before COMMIT: nothing is written.
    pub(crate) fn of_statement(during: &'static str, error: &DbErr) -> Self {
        let cause = error.to_string();
        match kind_of(error) {
            Kind::Contention | Kind::Deadlock | Kind::Connection => {
                Self::Unavailable { during, cause }
            }
            Kind::Full => Self::Full { during, cause },
            Kind::Duplicate => Self::Duplicate { during, key: key_of(error) },
            Kind::Other => Self::Database { during, cause },
        }
    }

    /// Whether another connection has the lock.
    pub(crate) fn is_contention(error: &sqlx::Error) -> bool {
        matches!(kind_of_driver(error), Kind::Contention)
    }

    /// An error of the driver itself, outside SeaORM.
    pub(crate) fn of_driver(during: &'static str, error: &sqlx::Error) -> Self {
        let cause = error.to_string();
        match kind_of_driver(error) {
            Kind::Contention | Kind::Deadlock | Kind::Connection => {
                Self::Unavailable { during, cause }
            }
            Kind::Full => Self::Full { during, cause },
            Kind::Duplicate | Kind::Other => Self::Database { during, cause },
        }
    }

    /// An error of COMMIT itself. Only a database that says that it did not commit is believed: an SQLite file that was
    /// locked, or whose disk is full (the frame that makes a transaction count is written last, and FULL says that a write
    /// failed, not that a sync did), and a server that ended this transaction for the sake of another (a cluster finds that out here).
    pub(crate) fn of_commit(during: &'static str, error: &DbErr) -> Self {
        let cause = error.to_string();
        match kind_of(error) {
            Kind::Contention if is_of_sqlite(error) => Self::Unavailable { during, cause },
            Kind::Full if is_of_sqlite(error) => Self::Full { during, cause },
            Kind::Deadlock => Self::Unavailable { during, cause },
            Kind::Contention | Kind::Full | Kind::Connection | Kind::Duplicate | Kind::Other => {
                Self::OutcomeUnknown { during, cause }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Locked by another writer for too long. The statement wrote nothing; the transaction is rolled back by us.
    Contention,
    /// Chosen as the one to be ended of two that waited for each other. The server has rolled it back.
    Deadlock,
    /// There is no room on the disk.
    Full,
    /// The connection cannot be had, or broke, or what holds the database is gone or read only.
    Connection,
    /// Another writer inserted the same key first.
    Duplicate,
    Other,
}

fn kind_of(error: &DbErr) -> Kind {
    if let Some(SqlErr::UniqueConstraintViolation(_)) = error.sql_err() {
        return Kind::Duplicate;
    }
    let (DbErr::Conn(runtime) | DbErr::Exec(runtime) | DbErr::Query(runtime)) = error else {
        return match error {
            DbErr::ConnectionAcquire(_) => Kind::Connection,
            _ => Kind::Other,
        };
    };
    let RuntimeErr::SqlxError(error) = runtime else { return Kind::Other };
    kind_of_driver(error)
}

fn is_of_sqlite(error: &DbErr) -> bool {
    let (DbErr::Conn(runtime) | DbErr::Exec(runtime) | DbErr::Query(runtime)) = error else {
        return false;
    };
    let RuntimeErr::SqlxError(error) = runtime else { return false };
    error
        .as_database_error()
        .is_some_and(|database| database.try_downcast_ref::<SqliteError>().is_some())
}

fn kind_of_driver(error: &sqlx::Error) -> Kind {
    match error {
        sqlx::Error::Database(database) => {
            if database.try_downcast_ref::<SqliteError>().is_some() {
                return kind_of_sqlite(&database.code().unwrap_or_default());
            }
            database
                .try_downcast_ref::<MySqlDatabaseError>()
                .map_or(Kind::Other, |error| kind_of_mysql(error.number()))
        }
        // A connection that breaks in the middle of an answer is told as a breach of the protocol.
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::BeginFailed
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Kind::Connection,
        _ => Kind::Other,
    }
}

/// By the number of MySQL's and MariaDB's errors
/// (<https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>,
/// <https://mariadb.com/kb/en/mariadb-error-code-reference/>).
const fn kind_of_mysql(number: u16) -> Kind {
    match number {
        // Deadlock; and MariaDB's "record has changed since last read", which ends a transaction for the same reason.
        1213 | 1020 => Kind::Deadlock,
        // Lock wait timeout, lock table full, too many transactions, a statement that took too long (MariaDB, MySQL),
        // a lock that was aborted.
        1205 | 1206 | 1637 | 1969 | 3024 | 1689 => Kind::Contention,
        // Too many connections (of all, of one user), shutdown in progress, host blocked, connection killed, query
        // interrupted, connection lost as clients number it; then out of memory, an error of the
        // storage engine or of a file, and a server that has become read only, as after a fail-over.
        1040 | 1203 | 1053 | 1129 | 1927 | 1317 | 2002 | 2003 | 2006 | 2013 | 1037 | 1041
        | 1030 | 1026 | 3 | 1290 | 1836 => Kind::Connection,
        // Disk full, table full.
        1021 | 1114 => Kind::Full,
        1062 | 1022 | 1169 | 1586 => Kind::Duplicate,
        _ => Kind::Other,
    }
}

/// By SQLite's primary result code, which is the low byte of the extended one
/// (<https://www.sqlite.org/rescode.html>).
fn kind_of_sqlite(code: &str) -> Kind {
    match code.parse::<u32>().map(|code| code & 0xff) {
        // BUSY, LOCKED
        Ok(5 | 6) => Kind::Contention,
        Ok(13) => Kind::Full,
        // READONLY (the file was moved), IOERR, CANTOPEN
        Ok(8 | 10 | 14) => Kind::Connection,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(error: sqlx::Error) -> DbErr {
        DbErr::Exec(RuntimeErr::SqlxError(error.into()))
    }

    #[test]
    fn a_connection_that_breaks_before_commit_wrote_nothing() {
        for error in [of(sqlx::Error::WorkerCrashed), of(sqlx::Error::PoolTimedOut)] {
            let seen = StoreError::of_statement("intake", &error);
            assert!(seen.is_unavailable() && !seen.is_outcome_unknown(), "{seen}");
        }
        let seen = StoreError::of_statement("intake", &of(sqlx::Error::RowNotFound));
        assert!(matches!(seen, StoreError::Database { during: "intake", .. }), "{seen}");
    }

    #[test]
    fn a_connection_that_breaks_in_commit_leaves_doubt() {
        for error in [of(sqlx::Error::WorkerCrashed), of(sqlx::Error::RowNotFound)] {
            let seen = StoreError::of_commit("intake", &error);
            assert!(seen.is_outcome_unknown() && !seen.is_unavailable(), "{seen}");
        }
    }

    #[test]
    fn numbers_of_mysql_say_whether_a_transaction_is_run_again() {
        assert_eq!(kind_of_mysql(1213), Kind::Deadlock);
        assert_eq!(kind_of_mysql(1205), Kind::Contention);
        for number in [1040, 1053, 1927, 2006, 2013, 1836] {
            assert_eq!(kind_of_mysql(number), Kind::Connection, "{number}");
        }
        assert_eq!((kind_of_mysql(1021), kind_of_mysql(1114)), (Kind::Full, Kind::Full));
        assert_eq!(kind_of_mysql(1062), Kind::Duplicate);
        // Access denied, syntax, data too long, a check that failed
        for number in [1045, 1064, 1406, 3819, 4025] {
            assert_eq!(kind_of_mysql(number), Kind::Other, "{number}");
        }
    }

    #[test]
    fn result_codes_of_sqlite_are_told_apart_by_their_low_byte() {
        let unavailable =
            |code: &str| matches!(kind_of_sqlite(code), Kind::Contention | Kind::Connection);
        assert_eq!(kind_of_sqlite("13"), Kind::Full);
        // BUSY, BUSY_SNAPSHOT, LOCKED, IOERR_WRITE, CANTOPEN, READONLY_DBMOVED
        for code in ["5", "517", "6", "778", "14", "1032"] {
            assert!(unavailable(code), "{code}");
        }
        // ERROR, CONSTRAINT_CHECK, MISMATCH, nothing
        for code in ["1", "275", "20", ""] {
            assert!(!unavailable(code), "{code}");
        }
    }
}
