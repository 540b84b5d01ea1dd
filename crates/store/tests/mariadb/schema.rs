//! The schemas of both databases against each other: the same tables, columns, keys, indexes and lists of words.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_store::UNIQUE_KEYS;
use tempfile::TempDir;

use crate::behind::Behind;
use crate::fixture::Database;
use crate::migrations::open;

/// A database with the newest schema and nothing in it.
async fn migrated(database: Database) -> (Behind, TempDir) {
    let (url, directory) = database.fresh();
    let store = open(&url).await.expect("opens");
    store.migrate().await.expect("migrates");
    store.close().await;
    (Behind::open(&url).await, directory)
}

async fn both() -> [(Behind, TempDir); 2] {
    [migrated(Database::Sqlite).await, migrated(Database::MariaDb).await]
}

async fn rows(behind: &Behind, sqlite: &str, mysql: &str) -> BTreeSet<(String, String)> {
    let query = match behind {
        Behind::Sqlite(_) => sqlite,
        Behind::MySql(_) => mysql,
    };
    behind
        .pairs(query)
        .await
        .unwrap_or_else(|error| panic!("{query}: {error}"))
        .into_iter()
        .collect()
}

#[tokio::test]
async fn tables_have_the_same_columns_of_the_same_kinds_and_nulls() {
    let sqlite = "SELECT t.name || '.' || c.name, c.type || CASE c.\"notnull\" WHEN 1 THEN '' ELSE ' NULL' END \
                  FROM sqlite_master AS t JOIN pragma_table_info(t.name) AS c \
                  WHERE t.type = 'table' AND t.name NOT IN ('_sqlx_migrations', 'sqlite_stat1', 'sqlite_stat4')";
    let mysql = "SELECT table_name || '.' || column_name, CASE \
                   WHEN data_type IN ('bigint', 'int') THEN 'INTEGER' \
                   WHEN data_type IN ('varchar', 'text', 'mediumtext') THEN 'TEXT' \
                   WHEN data_type IN ('varbinary', 'mediumblob') THEN 'BLOB' ELSE data_type END \
                   || CASE is_nullable WHEN 'YES' THEN ' NULL' ELSE '' END \
                 FROM information_schema.columns \
                 WHERE table_schema = DATABASE() AND table_name <> '_sqlx_migrations'";
    let [(file, _folder), (server, _other)] = both().await;
    let (file, server) = (rows(&file, sqlite, mysql).await, rows(&server, sqlite, mysql).await);
    assert!(file.len() > 200, "{}", file.len());
    assert_eq!(file, server);
}

#[tokio::test]
async fn keys_and_indexes_have_the_same_names_and_columns() {
    let sqlite = "SELECT i.name, m.name || ': ' || group_concat(c.name, ', ') FROM sqlite_master AS m \
                  JOIN pragma_index_list(m.name) AS i JOIN pragma_index_info(i.name) AS c \
                  WHERE m.type = 'table' AND i.\"unique\" = 0 GROUP BY i.name";
    let mysql = "SELECT index_name, min(table_name) || ': ' \
                   || group_concat(column_name ORDER BY seq_in_index SEPARATOR ', ') \
                 FROM information_schema.statistics WHERE table_schema = DATABASE() AND non_unique = 1 \
                 GROUP BY index_name";
    let [(file, _folder), (server, _other)] = both().await;
    let indexes = rows(&file, sqlite, mysql).await;
    assert!(indexes.len() >= 9, "{indexes:?}");
    assert_eq!(indexes, rows(&server, sqlite, mysql).await);
    let sqlite = "SELECT m.name || '.' || group_concat(c.name, ', ' || m.name || '.'), '' FROM sqlite_master AS m \
                  JOIN pragma_index_list(m.name) AS i JOIN pragma_index_info(i.name) AS c \
                  WHERE m.type = 'table' AND i.origin = 'u' GROUP BY i.name";
    let mysql = "SELECT group_concat(table_name || '.' || column_name ORDER BY seq_in_index SEPARATOR ', '), index_name \
                 FROM information_schema.statistics WHERE table_schema = DATABASE() AND non_unique = 0 \
                   AND index_name <> 'PRIMARY' GROUP BY table_name, index_name";
    let named: BTreeMap<String, String> = rows(&server, sqlite, mysql).await.into_iter().collect();
    let known: BTreeMap<String, String> =
        UNIQUE_KEYS.iter().map(|key| (key.columns.to_owned(), key.name.to_owned())).collect();
    assert_eq!(named, known, "what errors call them");
    let unnamed: BTreeSet<String> =
        rows(&file, sqlite, mysql).await.into_iter().map(|(columns, _)| columns).collect();
    assert_eq!(unnamed, known.into_keys().collect());
}

#[tokio::test]
async fn primary_keys_have_the_same_columns() {
    let sqlite = "SELECT t.name, group_concat(c.name, ', ' ORDER BY c.pk) FROM sqlite_master AS t JOIN \
                  (SELECT m.name AS \"table\", p.name, p.pk FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS p \
                   WHERE p.pk > 0 ORDER BY 1, p.pk) AS c ON c.\"table\" = t.name \
                  WHERE t.type = 'table' AND t.name <> '_sqlx_migrations' GROUP BY t.name";
    let mysql = "SELECT table_name, group_concat(column_name ORDER BY seq_in_index SEPARATOR ', ') \
                 FROM information_schema.statistics WHERE table_schema = DATABASE() AND index_name = 'PRIMARY' \
                   AND table_name <> '_sqlx_migrations' GROUP BY table_name";
    let [(file, _folder), (server, _other)] = both().await;
    let keys = rows(&file, sqlite, mysql).await;
    assert_eq!(keys.len(), 26);
    assert_eq!(keys, rows(&server, sqlite, mysql).await);
}

/// The words of `column IN ('a', 'b')`, by table and column.
fn words(table: &str, sql: &str) -> BTreeSet<(String, BTreeSet<String>)> {
    let mut found = BTreeSet::new();
    let sql = sql.replace(['`', '"'], "").replace(" in (", " IN (");
    for (before, rest) in
        sql.match_indices(" IN (").map(|(at, hit)| (&sql[..at], &sql[at + hit.len()..]))
    {
        let column = before.rsplit(['(', ' ']).next().unwrap_or_default();
        let values = rest.split(')').next().unwrap_or_default();
        let texts = values.split(',').map(|value| value.trim().trim_matches('\'').to_owned());
        found.insert((format!("{table}.{column}"), texts.collect()));
    }
    found
}

#[tokio::test]
async fn columns_take_the_same_words() {
    let sqlite =
        "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name <> '_sqlx_migrations'";
    let mysql = "SELECT table_name, check_clause FROM information_schema.check_constraints \
                 WHERE constraint_schema = DATABASE()";
    let [(file, _folder), (server, _other)] = both().await;
    let mut lists = Vec::new();
    for behind in [&file, &server] {
        let rows = rows(behind, sqlite, mysql).await;
        lists.push(rows.iter().flat_map(|(table, sql)| words(table, sql)).collect::<BTreeSet<_>>());
    }
    assert!(lists[0].len() >= 15, "{:?}", lists[0]);
    assert_eq!(lists[0], lists[1]);
}

#[tokio::test]
async fn every_table_keeps_transactions_and_tells_texts_apart_byte_by_byte() {
    let (server, _folder) = migrated(Database::MariaDb).await;
    let other = "SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE() \
                 AND table_name <> '_sqlx_migrations' \
                 AND (engine <> 'InnoDB' OR table_collation <> 'utf8mb4_bin')";
    assert_eq!(server.number(other).await.expect("tells"), 0);
}
