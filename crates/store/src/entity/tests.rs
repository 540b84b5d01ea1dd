//! Entities against the tables that the migrations make: same tables, same columns, same nulls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_core::time::{Clock, Timestamp};
use sea_orm::sea_query::ColumnType;
use sea_orm::{ColumnTrait, EntityTrait, IdenStatic, Iterable};

use crate::dialect::Pool;
use crate::{Store, StoreOptions};

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }
}

async fn migrated() -> (Store, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let url = directory.path().join("parity.db").to_string_lossy().into_owned();
    let options =
        StoreOptions { url, readers_max: 1, busy_timeout_ms: 10_000, ..StoreOptions::default() };
    let store = Store::open(&options, Arc::new(Still)).await.expect("opens");
    store.migrate().await.expect("migrates");
    (store, directory)
}

/// Name, SQLite type, nullable.
type Columns = BTreeSet<(String, &'static str, bool)>;

fn type_of(column: &ColumnType) -> &'static str {
    match column {
        ColumnType::BigInteger | ColumnType::Integer => "INTEGER",
        ColumnType::String(_) | ColumnType::Text => "TEXT",
        ColumnType::VarBinary(_) | ColumnType::Binary(_) | ColumnType::Blob => "BLOB",
        other => panic!("no table has a column of {other:?}"),
    }
}

/// Reads the (empty) table once, through every column that the entity names.
async fn described<E: EntityTrait>(store: &Store, entity: E) -> (String, Columns) {
    let rows = E::find().all(&store.reader).await;
    let table = entity.table_name().to_owned();
    assert_eq!(rows.map(|rows| rows.len()), Ok(0), "{table}");
    let columns = E::Column::iter().map(|column| {
        let definition = column.def();
        let kind = type_of(definition.get_column_type());
        (column.as_str().to_owned(), kind, definition.is_null())
    });
    (table, columns.collect())
}

fn file(store: &Store) -> &sqlx::SqlitePool {
    let Pool::Sqlite(pool) = &store.pool else { panic!("a file was opened") };
    pool
}

async fn columns_of(store: &Store, table: &str) -> Columns {
    let rows: Vec<(String, String, bool)> =
        sqlx::query_as("SELECT name, type, \"notnull\" = 0 FROM pragma_table_info(?)")
            .bind(table)
            .fetch_all(file(store))
            .await
            .expect("describes");
    let known = |kind: &str| ["INTEGER", "TEXT", "BLOB"].into_iter().find(|name| *name == kind);
    rows.into_iter()
        .map(|(name, kind, null)| (name, known(&kind).expect("a type of the subset"), null))
        .collect()
}

#[tokio::test]
async fn every_table_has_an_entity_of_the_same_columns() {
    let (store, _directory) = migrated().await;
    let entities: BTreeMap<String, Columns> = BTreeMap::from([
        described(&store, super::accepted_difference::Entity).await,
        described(&store, super::account::Entity).await,
        described(&store, super::alarm::Entity).await,
        described(&store, super::api_key::Entity).await,
        described(&store, super::asset::Entity).await,
        described(&store, super::attempt::Entity).await,
        described(&store, super::audit::Entity).await,
        described(&store, super::balance::Entity).await,
        described(&store, super::binding::Entity).await,
        described(&store, super::command::Entity).await,
        described(&store, super::dead_letter::Entity).await,
        described(&store, super::deployment::Entity).await,
        described(&store, super::deposit::Entity).await,
        described(&store, super::forgotten::Entity).await,
        described(&store, super::halt::Entity).await,
        described(&store, super::header::Entity).await,
        described(&store, super::lease::Entity).await,
        described(&store, super::line::Entity).await,
        described(&store, super::posting::Entity).await,
        described(&store, super::reconciliation::Entity).await,
        described(&store, super::sender::Entity).await,
        described(&store, super::slot::Entity).await,
        described(&store, super::tenant::Entity).await,
        described(&store, super::window::Entity).await,
        described(&store, super::withdrawal::Entity).await,
        described(&store, super::work::Entity).await,
    ]);
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' \
         AND name NOT IN ('_sqlx_migrations', 'sqlite_stat1', 'sqlite_stat4')",
    )
    .fetch_all(file(&store))
    .await
    .expect("lists");
    assert_eq!(tables.iter().collect::<BTreeSet<_>>(), entities.keys().collect());
    for (table, columns) in &entities {
        assert_eq!(columns, &columns_of(&store, table).await, "{table}");
    }
}
