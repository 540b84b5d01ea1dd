//! Many statements in one trip to the database. Each on its own is handed to the database's thread and waited for, which
//! takes longer on a busy machine than most statements do; SQLite takes a text of several, and what is bound to each in
//! their order (<https://www.sqlite.org/c3ref/prepare.html>).

use std::marker::PhantomData;

use sea_orm::{
    ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, QueryResult, QueryTrait, Select,
    Statement, Value, Values,
};

use crate::db::Transaction;
use crate::error::StoreError;

/// The column that says to which question a row answers.
const PART: &str = "trip_part";

/// Questions that are asked together.
#[derive(Default)]
pub(crate) struct Trip {
    statements: Vec<Statement>,
}

/// A question of a [`Trip`].
pub(crate) struct Asked<M> {
    part: usize,
    model: PhantomData<M>,
}

/// What a [`Trip`] brought back.
pub(crate) struct Answers {
    during: &'static str,
    parts: Vec<Vec<QueryResult>>,
}

impl Trip {
    /// Asks for rows.
    pub(crate) fn ask<E: EntityTrait>(&mut self, select: &Select<E>) -> Asked<E::Model> {
        let part = self.statements.len();
        let mut statement = select.build(DbBackend::Sqlite);
        statement.sql = format!("SELECT {part} AS {PART}, told.* FROM ({}) AS told", statement.sql);
        self.statements.push(statement);
        Asked { part, model: PhantomData }
    }

    /// Does what nobody counts, before what is asked afterwards.
    pub(crate) fn clear(&mut self, statement: &impl QueryTrait) {
        self.statements.push(statement.build(DbBackend::Sqlite));
    }

    /// Goes there and back.
    pub(crate) async fn go(self, tx: &Transaction) -> Result<Answers, StoreError> {
        let mut parts = Vec::new();
        parts.resize_with(self.statements.len(), Vec::new);
        let rows = tx
            .inner
            .query_all_raw(joined(self.statements))
            .await
            .map_err(|error| tx.failed(&error))?;
        for row in rows {
            let part: i64 = row.try_get("", PART).map_err(|error| tx.failed(&error))?;
            let place = usize::try_from(part).ok().and_then(|part| parts.get_mut(part));
            place
                .ok_or_else(|| StoreError::Database {
                    during: tx.name,
                    cause: format!("a row answers to question {part}, which nobody asked"),
                })?
                .push(row);
        }
        Ok(Answers { during: tx.name, parts })
    }
}

impl Answers {
    /// The rows that answer to one question; it is asked once.
    pub(crate) fn take<M: FromQueryResult>(
        &mut self,
        asked: &Asked<M>,
    ) -> Result<Vec<M>, StoreError> {
        let rows = self.parts.get_mut(asked.part).ok_or_else(|| StoreError::Database {
            during: self.during,
            cause: format!("question {} was not asked on this trip", asked.part),
        })?;
        std::mem::take(rows)
            .iter()
            .map(|row| M::from_query_result(row, ""))
            .collect::<Result<_, _>>()
            .map_err(|error| StoreError::of_statement(self.during, &error))
    }

    /// The rows that answer to several questions.
    pub(crate) fn take_all<M: FromQueryResult>(
        &mut self,
        asked: &[Asked<M>],
    ) -> Result<Vec<M>, StoreError> {
        let mut rows = Vec::new();
        for asked in asked {
            rows.extend(self.take(asked)?);
        }
        Ok(rows)
    }
}

/// Repeats the last of the values up to a power of two: few texts of a statement are prepared then, whatever it asks for.
pub(crate) fn in_steps<T: Clone>(mut values: Vec<T>) -> Vec<T> {
    if let Some(last) = values.last().cloned() {
        values.resize(values.len().next_power_of_two(), last);
    }
    values
}

/// A statement that writes, and how many rows it has to touch.
pub(crate) struct Write {
    statement: Statement,
    rows: u64,
}

impl Write {
    /// No statement of a trip can touch more rows than it has to: it inserts them, or names each by its key.
    pub(crate) fn new(statement: &impl QueryTrait, rows: usize) -> Self {
        Self { statement: statement.build(DbBackend::Sqlite), rows: rows as u64 }
    }
}

impl Transaction {
    /// Writes in one trip. Each statement touches at most its rows, so that all of them were touched if the sum is right.
    pub(crate) async fn write_together(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        let rows: u64 = writes.iter().map(|write| write.rows).sum();
        let statements = writes.into_iter().map(|write| write.statement).collect();
        let done = self
            .inner
            .execute_raw(joined(statements))
            .await
            .map_err(|error| self.failed(&error))?;
        let expected = usize::try_from(rows).unwrap_or(usize::MAX);
        self.expect_rows(done.rows_affected(), expected)
    }
}

fn joined(statements: Vec<Statement>) -> Statement {
    let mut sql = String::new();
    let mut values: Vec<Value> = Vec::new();
    for statement in statements {
        sql.push_str(&statement.sql);
        sql.push_str("; ");
        values.extend(statement.values.into_iter().flat_map(|values| values.0));
    }
    Statement { sql, values: Some(Values(values)), db_backend: DbBackend::Sqlite }
}
