//! What can go wrong between Portcullis and its database.

use sea_orm::{DbErr, RuntimeErr};
use thiserror::Error;

/// An error of the store.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database cannot be reached, or stayed locked for too long. Nothing was written.
    #[error("the database is unavailable during {during}: {cause}")]
    Unavailable {
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
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether it may have been committed all the same.
    #[must_use]
    pub const fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. })
    }

    /// Whether another writer was first: the step reads again and goes on.
    #[must_use]
    pub const fn is_lost_race(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::LeaseLost { .. })
    }

    pub(crate) fn corrupt(
        table: &'static str,
        column: &'static str,
        row: impl ToString,
        problem: impl ToString,
    ) -> Self {
        Self::Corrupt { table, column, row: row.to_string(), problem: problem.to_string() }
    }

    /// An error of a statement before COMMIT: nothing is written.
    pub(crate) fn of_statement(during: &'static str, error: &DbErr) -> Self {
        let cause = error.to_string();
        match kind_of(error) {
            Kind::Contention | Kind::Connection => Self::Unavailable { during, cause },
            Kind::Other => Self::Database { during, cause },
        }
    }

    /// An error of COMMIT itself. Only a database that says that it did not commit is believed.
    pub(crate) fn of_commit(during: &'static str, error: &DbErr) -> Self {
        let cause = error.to_string();
        match kind_of(error) {
            Kind::Contention => Self::Unavailable { during, cause },
            Kind::Connection | Kind::Other => Self::OutcomeUnknown { during, cause },
        }
    }
}

enum Kind {
    /// Locked by another writer, or chosen as the victim of a deadlock.
    Contention,
    /// The connection cannot be had, or broke.
    Connection,
    Other,
}

fn kind_of(error: &DbErr) -> Kind {
    let (DbErr::Conn(runtime) | DbErr::Exec(runtime) | DbErr::Query(runtime)) = error else {
        return match error {
            DbErr::ConnectionAcquire(_) => Kind::Connection,
            _ => Kind::Other,
        };
    };
    let RuntimeErr::SqlxError(sqlx) = runtime else { return Kind::Other };
    match sqlx.as_ref() {
        sqlx::Error::Database(database) => match database.code().as_deref() {
            // SQLITE_BUSY and its extended codes; MySQL 1205 (lock wait) and 1213 (deadlock).
            Some("5" | "261" | "517" | "773" | "1205" | "1213" | "40001") => Kind::Contention,
            // SQLITE_CANTOPEN, SQLITE_READONLY_DBMOVED: the file is gone.
            Some("14" | "1032") => Kind::Connection,
            _ => Kind::Other,
        },
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Kind::Connection,
        _ => Kind::Other,
    }
}
