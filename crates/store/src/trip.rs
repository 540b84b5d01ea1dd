//! Many statements in one trip to the database. Each on its own is handed to the database's thread and waited for, which
//! takes longer on a busy machine than most statements do; SQLite takes a text of several, and what is bound to each in
//! their order (<https://www.sqlite.org/c3ref/prepare.html>). A server takes one statement at a time, and gets them one by
//! one in the same order.

use std::marker::PhantomData;

use sea_orm::sea_query::Expr;
use sea_orm::{
    Condition, ConnectionTrait, DbBackend, DbErr, DeleteMany, EntityTrait, FromQueryResult,
    QueryFilter, QueryResult, QueryTrait, Select, Statement, StatementBuilder, Value, Values,
};

use crate::db::Transaction;
use crate::error::StoreError;

/// The column that says to which question a row answers.
const PART: &str = "trip_part";

/// A statement in no database's words yet.
type Unbuilt = Box<dyn StatementBuilder + Send>;

/// Questions that are asked together.
#[derive(Default)]
pub(crate) struct Trip {
    parts: Vec<Part>,
}

enum Part {
    Ask(Unbuilt),
    Clear(Unbuilt),
    ClearWithout(Box<Clearing>),
}

/// What is cleared where questions that were asked before have found nothing.
struct Clearing {
    /// With the questions in it.
    in_file: Unbuilt,
    on_server: Unbuilt,
    /// Which parts they are.
    questions: Vec<usize>,
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
    /// Asks for rows. What others must not change before the transaction ends is asked for with a lock.
    pub(crate) fn ask<E: EntityTrait>(&mut self, select: Select<E>) -> Asked<E::Model> {
        let part = self.parts.len();
        self.parts.push(Part::Ask(Box::new(select.into_query())));
        Asked { part, model: PhantomData }
    }

    /// Does what nobody counts, before what is asked afterwards.
    pub(crate) fn clear<Q>(&mut self, statement: Q)
    where
        Q: QueryTrait<QueryStatement: Send + 'static>,
    {
        self.parts.push(Part::Clear(Box::new(statement.into_query())));
    }

    /// Does what nobody counts, where none of the questions has found a row. A file sees to that in the statement itself. A server
    /// would lock what a statement reads that writes, and keep whoever works on those rows waiting: there the answers decide.
    pub(crate) fn clear_without<E: EntityTrait, Q: EntityTrait, const N: usize>(
        &mut self,
        clearing: DeleteMany<E>,
        questions: [(&Asked<Q::Model>, Select<Q>); N],
    ) {
        let parts = questions.iter().map(|(asked, _)| asked.part).collect();
        let none = questions
            .into_iter()
            .map(|(_, select)| Expr::not_exists(select.into_query()))
            .fold(Condition::all(), Condition::add);
        self.parts.push(Part::ClearWithout(Box::new(Clearing {
            in_file: Box::new(clearing.clone().filter(none).into_query()),
            on_server: Box::new(clearing.into_query()),
            questions: parts,
        })));
    }

    /// Goes there and back.
    pub(crate) async fn go(self, tx: &Transaction) -> Result<Answers, StoreError> {
        let parts = match tx.inner.get_database_backend() {
            DbBackend::Sqlite => self.go_once(tx).await?,
            server => self.go_each(tx, server).await?,
        };
        Ok(Answers { during: tx.name, parts })
    }

    async fn go_once(self, tx: &Transaction) -> Result<Vec<Vec<QueryResult>>, StoreError> {
        let mut parts = Vec::new();
        parts.resize_with(self.parts.len(), Vec::new);
        let statements = self.parts.iter().enumerate().map(|(part, asked)| match asked {
            Part::Clear(statement) => statement.build(&DbBackend::Sqlite),
            Part::ClearWithout(clearing) => clearing.in_file.build(&DbBackend::Sqlite),
            Part::Ask(select) => {
                let mut asked = select.build(&DbBackend::Sqlite);
                asked.sql = format!("SELECT {part} AS {PART}, told.* FROM ({}) AS told", asked.sql);
                asked
            }
        });
        let statement = joined(statements);
        let rows = tx.inner.query_all_raw(statement).await.map_err(|error| tx.failed(&error))?;
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
        Ok(parts)
    }

    async fn go_each(
        self,
        tx: &Transaction,
        server: DbBackend,
    ) -> Result<Vec<Vec<QueryResult>>, StoreError> {
        let mut parts: Vec<Vec<QueryResult>> = Vec::with_capacity(self.parts.len());
        for part in self.parts {
            let done = match part {
                Part::Ask(select) => tx.inner.query_all_raw(select.build(&server)).await,
                Part::Clear(statement) => clear(tx, &statement, server).await,
                Part::ClearWithout(clearing) => {
                    let has_none = |part: &usize| parts.get(*part).is_none_or(Vec::is_empty);
                    if clearing.questions.iter().all(has_none) {
                        clear(tx, &clearing.on_server, server).await
                    } else {
                        Ok(Vec::new())
                    }
                }
            };
            parts.push(done.map_err(|error| tx.failed(&error))?);
        }
        Ok(parts)
    }
}

async fn clear(
    tx: &Transaction,
    statement: &Unbuilt,
    server: DbBackend,
) -> Result<Vec<QueryResult>, DbErr> {
    tx.inner.execute_raw(statement.build(&server)).await.map(|_| Vec::new())
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
    statement: Unbuilt,
    rows: usize,
}

impl Write {
    /// No statement of a trip can touch more rows than it has to: it inserts them, or names each by its key.
    pub(crate) fn new<Q>(statement: Q, rows: usize) -> Self
    where
        Q: QueryTrait<QueryStatement: Send + 'static>,
    {
        Self { statement: Box::new(statement.into_query()), rows }
    }
}

impl Transaction {
    /// Writes in one trip, or one by one where the database takes no more.
    pub(crate) async fn write_together(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        match self.inner.get_database_backend() {
            DbBackend::Sqlite => self.write_once(&writes).await,
            server => self.write_each(writes, server).await,
        }
    }

    /// Each statement touches at most its rows, so that all of them were touched if the sum is right.
    async fn write_once(&self, writes: &[Write]) -> Result<(), StoreError> {
        let rows = writes.iter().map(|write| write.rows).sum();
        let statement =
            joined(writes.iter().map(|write| write.statement.build(&DbBackend::Sqlite)));
        let done = self.inner.execute_raw(statement).await.map_err(|error| self.failed(&error))?;
        self.expect_rows(done.rows_affected(), rows)
    }

    async fn write_each(&self, writes: Vec<Write>, server: DbBackend) -> Result<(), StoreError> {
        for write in writes {
            let statement = write.statement.build(&server);
            let done =
                self.inner.execute_raw(statement).await.map_err(|error| self.failed(&error))?;
            self.expect_rows(done.rows_affected(), write.rows)?;
        }
        Ok(())
    }
}

fn joined(statements: impl Iterator<Item = Statement>) -> Statement {
    let mut sql = String::new();
    let mut values: Vec<Value> = Vec::new();
    for statement in statements {
        sql.push_str(&statement.sql);
        sql.push_str("; ");
        values.extend(statement.values.into_iter().flat_map(|values| values.0));
    }
    Statement { sql, values: Some(Values(values)), db_backend: DbBackend::Sqlite }
}
