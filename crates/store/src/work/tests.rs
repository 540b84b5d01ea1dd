//! How the database answers the questions of the queue: from the index, whatever the depth.

use std::sync::Arc;

use portcullis_core::time::{Clock, Timestamp};
use sea_orm::{ConnectionTrait, DbBackend, QueryTrait, Statement};
use tempfile::TempDir;

use super::{chain_query, depth_query, due_query};
use crate::intake::waiting_query;
use crate::transition::Stage;
use crate::{Store, StoreOptions};

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }
}

pub(crate) async fn plan_of(store: &Store, query: impl QueryTrait) -> Vec<String> {
    let mut statement = query.build(DbBackend::Sqlite);
    statement.sql = format!("EXPLAIN QUERY PLAN {}", statement.sql);
    let rows = store.reader.query_all_raw(Statement::clone(&statement)).await.expect("explains");
    rows.iter().map(|row| row.try_get("", "detail").expect("has a detail")).collect()
}

/// An empty database, in a folder that ends with it.
pub(crate) async fn migrated() -> (TempDir, Store) {
    let directory = tempfile::tempdir().expect("a directory");
    let url = directory.path().join("plan.db").to_string_lossy().into_owned();
    let options =
        StoreOptions { url, readers_max: 1, busy_timeout_ms: 10_000, ..StoreOptions::default() };
    let store = Store::open(&options, Arc::new(Still)).await.expect("opens");
    store.migrate().await.expect("migrates");
    (directory, store)
}

#[tokio::test]
async fn the_queue_is_read_from_its_index_alone_and_never_sorted() {
    let (_directory, store) = migrated().await;
    let index = "SEARCH work USING COVERING INDEX work_by_turn";
    let due = due_query(Stage::Sign, 137, 200, Timestamp::from_millis(1));
    assert_eq!(plan_of(&store, due).await, [format!("{index} (stage=? AND chain_id=?)")]);
    let depth = depth_query(Stage::Sign, 137);
    assert_eq!(plan_of(&store, depth).await, [format!("{index} (stage=? AND chain_id=?)")]);
    let first = chain_query(Stage::Validate, None);
    assert_eq!(plan_of(&store, first).await, [format!("{index} (stage=?)")]);
    let second = chain_query(Stage::Validate, Some(137));
    assert_eq!(plan_of(&store, second).await, [format!("{index} (stage=? AND chain_id>?)")]);
    let waiting = plan_of(&store, waiting_query()).await;
    assert_eq!(waiting, [format!("{index} (stage=?)")]);
}
