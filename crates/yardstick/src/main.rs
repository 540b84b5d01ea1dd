//! The least that a service of this kind can do: take a request, insert one row durably, answer 202. It checks nothing,
//! reserves nothing, seals nothing and pays nobody. `cargo xtask bench api` measures the API against it.
//!
//! `portcullis-yardstick DATABASE` makes the database, listens on a free port of 127.0.0.1, and prints its address.

use std::sync::Arc;

use anyhow::{Context, Result};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

const TABLE: &str = "CREATE TABLE withdrawals (
    id INTEGER NOT NULL PRIMARY KEY, external_id TEXT NOT NULL UNIQUE, account_id TEXT NOT NULL,
    asset TEXT NOT NULL, amount TEXT NOT NULL, to_address TEXT NOT NULL) STRICT";
const INSERT: &str = "INSERT INTO withdrawals (external_id, account_id, asset, amount, to_address)
    VALUES (?, ?, ?, ?, ?)";

/// One writer, as SQLite has it.
type Database = Arc<Mutex<SqliteConnection>>;

#[derive(Deserialize)]
struct Withdrawal {
    external_id: String,
    account_id: String,
    asset: String,
    amount: String,
    to_address: String,
}

#[derive(Deserialize)]
struct Batch {
    withdrawals: Vec<Withdrawal>,
}

#[derive(Serialize)]
struct Accepted {
    id: i64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let path = std::env::args_os().nth(1).context("the path of a database is needed")?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut connection = options.connect().await?;
    sqlx::query(TABLE).execute(&mut connection).await?;
    let router = Router::new()
        .route("/v1/withdrawals", post(one))
        .route("/v1/withdrawals/batch", post(many))
        .with_state(Arc::new(Mutex::new(connection)));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}

async fn one(
    State(database): State<Database>,
    Json(withdrawal): Json<Withdrawal>,
) -> Result<(StatusCode, Json<Accepted>), StatusCode> {
    let mut database = database.lock().await;
    let id = insert(&mut database, &withdrawal).await.map_err(|error| refused(&error))?;
    Ok((StatusCode::ACCEPTED, Json(Accepted { id })))
}

async fn many(
    State(database): State<Database>,
    Json(batch): Json<Batch>,
) -> Result<(StatusCode, Json<Vec<Accepted>>), StatusCode> {
    let mut database = database.lock().await;
    let accepted =
        insert_all(&mut database, &batch.withdrawals).await.map_err(|error| refused(&error))?;
    Ok((StatusCode::ACCEPTED, Json(accepted)))
}

async fn insert(database: &mut SqliteConnection, row: &Withdrawal) -> Result<i64, sqlx::Error> {
    let query = sqlx::query(INSERT)
        .bind(&row.external_id)
        .bind(&row.account_id)
        .bind(&row.asset)
        .bind(&row.amount)
        .bind(&row.to_address);
    Ok(query.execute(database).await?.last_insert_rowid())
}

/// Many rows, one commit.
async fn insert_all(
    database: &mut SqliteConnection,
    rows: &[Withdrawal],
) -> Result<Vec<Accepted>, sqlx::Error> {
    let mut transaction = database.begin().await?;
    let mut accepted = Vec::with_capacity(rows.len());
    for row in rows {
        accepted.push(Accepted { id: insert(&mut transaction, row).await? });
    }
    transaction.commit().await?;
    Ok(accepted)
}

fn refused(error: &sqlx::Error) -> StatusCode {
    eprintln!("{error}");
    StatusCode::INTERNAL_SERVER_ERROR
}
