//! What statements go through. On a server each of them runs to its end, also where whoever asked for it is gone.
//!
//! A connection to a server that is left in the middle of an answer reads the rest of it as the answer to the next
//! question. Requests are given up at their deadlines, so each statement has a task of its own there, and its connection goes back
//! to the pool only afterwards. The driver of files has a thread for each connection and needs none of this; it also
//! leaves the simulator its order.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    EntityTrait, ExecResult, QueryResult, QuerySelect, Select, Statement, TransactionOptions,
    TransactionTrait,
};

use crate::dialect::{BY_KEY, by_index};
use crate::statements::DURING;

/// Where rows are read from: a connection, a picture, or a transaction that goes on to write by what it reads.
pub(crate) trait Source: ConnectionTrait {
    /// The query, whose rows nobody else changes before the transaction ends, where it is one that writes.
    fn holding<E: EntityTrait>(&self, query: Select<E>) -> Select<E> {
        query
    }

    /// The same of a query that names its rows by their keys: nobody waits for any other row.
    fn holding_named<E: EntityTrait>(&self, query: Select<E>) -> Select<E> {
        query
    }
}

/// A connection, or a transaction on one, in the name of what it is used for.
pub(crate) struct Session<T> {
    connection: Arc<T>,
    name: &'static str,
    /// Whether its statements outlast whoever asked for them.
    is_server: bool,
}

/// A transaction that reads.
pub(crate) type Picture = Session<DatabaseTransaction>;

impl<T> Clone for Session<T> {
    fn clone(&self) -> Self {
        Self { connection: Arc::clone(&self.connection), ..*self }
    }
}

impl Session<DatabaseConnection> {
    pub(crate) fn new(connection: DatabaseConnection, name: &'static str) -> Self {
        let is_server = connection.get_database_backend() == DbBackend::MySql;
        Self { connection: Arc::new(connection), name, is_server }
    }

    /// The connection itself, for what SeaORM does not do.
    pub(crate) fn connection(&self) -> &DatabaseConnection {
        &self.connection
    }

    /// Begins a transaction of that name. One that nobody waits for any more is ended at once.
    pub(crate) async fn begin(
        &self,
        name: &'static str,
        options: TransactionOptions,
    ) -> Result<Session<DatabaseTransaction>, DbErr> {
        let connection = Arc::clone(&self.connection);
        let begin = async move { connection.begin_with_options(options).await };
        let transaction = lasting(self.is_server, name, begin).await?;
        Ok(Session { connection: Arc::new(transaction), name, is_server: self.is_server })
    }
}

impl Session<DatabaseTransaction> {
    /// Commits. From here on it is done or not, whether somebody waits for the answer or not.
    pub(crate) async fn commit(self) -> Result<(), DbErr> {
        let Self { connection, name, is_server } = self;
        let transaction = Arc::try_unwrap(connection).map_err(|_| {
            DbErr::Custom("a statement of the transaction is still under way".to_owned())
        })?;
        lasting(is_server, name, transaction.commit()).await
    }
}

/// Runs it in a task of its own where it has to outlast its caller.
async fn lasting<R: Send + 'static>(
    is_server: bool,
    name: &'static str,
    work: impl Future<Output = Result<R, DbErr>> + Send + 'static,
) -> Result<R, DbErr> {
    if !is_server {
        return work.await;
    }
    tokio::spawn(DURING.scope(name, work))
        .await
        .unwrap_or(Err(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed)))
}

#[async_trait]
impl<T: ConnectionTrait + Send + 'static> ConnectionTrait for Session<T> {
    fn get_database_backend(&self) -> DbBackend {
        self.connection.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let connection = Arc::clone(&self.connection);
        let work = async move { connection.execute_raw(statement).await };
        lasting(self.is_server, self.name, work).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let (connection, sql) = (Arc::clone(&self.connection), sql.to_owned());
        let work = async move { connection.execute_unprepared(&sql).await };
        lasting(self.is_server, self.name, work).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let connection = Arc::clone(&self.connection);
        let work = async move { connection.query_one_raw(statement).await };
        lasting(self.is_server, self.name, work).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let connection = Arc::clone(&self.connection);
        let work = async move { connection.query_all_raw(statement).await };
        lasting(self.is_server, self.name, work).await
    }
}

impl<T: ConnectionTrait + Send + 'static> Source for Session<T> {}

/// The session of a transaction that writes.
pub(crate) struct Writing {
    pub(crate) session: Session<DatabaseTransaction>,
    /// Whether nobody else writes before it ends.
    pub(crate) is_alone: bool,
}

impl Source for Writing {
    /// On a database where one transaction writes at a time this changes nothing.
    fn holding<E: EntityTrait>(&self, query: Select<E>) -> Select<E> {
        query.lock_exclusive()
    }

    fn holding_named<E: EntityTrait>(&self, query: Select<E>) -> Select<E> {
        by_index(query, BY_KEY).lock_exclusive()
    }
}

#[async_trait]
impl ConnectionTrait for Writing {
    fn get_database_backend(&self) -> DbBackend {
        self.session.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.session.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.session.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.session.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.session.query_all_raw(statement).await
    }
}
