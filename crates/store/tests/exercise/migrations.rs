//! The schema's history: applied once, never edited, never run backwards.

use std::sync::Arc;

use portcullis_core::time::{Clock, Timestamp};
use portcullis_store::{Store, StoreError};
use portcullis_testkit::TestClock;
use sha2::{Digest, Sha256};

use crate::DATABASE;
use crate::fixture::{Database, Fixture, START_MS};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");

pub(crate) async fn open(url: &str) -> Result<Store, StoreError> {
    let clock: Arc<dyn Clock> = Arc::new(TestClock::at(Timestamp::from_millis(START_MS)));
    Store::open(&Fixture::options(url, 10_000, 2), clock).await
}

fn files_of(dialect: &str) -> usize {
    std::fs::read_dir(format!("{FOLDER}/{dialect}")).expect("is there").count()
}

#[tokio::test]
async fn an_empty_database_is_brought_to_the_newest_schema_once() {
    let (url, _directory) = DATABASE.fresh();
    let store = open(&url).await.expect("opens");
    let before = store.schema_status().await.expect("reads");
    // A number may be left out: of two branches one may not need what it reserved.
    let files = match DATABASE {
        Database::Sqlite => files_of("sqlite"),
        Database::MariaDb => files_of("mysql"),
    };
    assert_eq!((before.current, before.pending), (0, files as u64));
    let refused = store.check_schema().await.expect_err("an empty database is not served");
    assert!(refused.to_string().contains("portcullis migrate up"), "{refused}");
    assert_eq!(store.migrate().await, Ok(before.known));
    assert_eq!(store.migrate().await, Ok(before.known), "repeated, it does nothing");
    let after = store.schema_status().await.expect("reads");
    assert_eq!((after.current, after.pending), (before.known, 0));
    store.check_schema().await.expect("it is served now");
    store.close().await;
    let again = open(&url).await.expect("opens again");
    again.check_schema().await.expect("it stays");
}

#[tokio::test]
async fn a_newer_database_is_refused() {
    let fixture = Fixture::open().await;
    let known = fixture.store.schema_status().await.expect("reads").known;
    let newer = format!(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES ({}, 'later', TRUE, X'00', 0)",
        known + 1
    );
    fixture.sql(newer).await;
    let expected = StoreError::Schema {
        found: known + 1,
        known,
        remedy: "start the newer binary that made it",
    };
    assert_eq!(fixture.store.check_schema().await, Err(expected.clone()));
    assert_eq!(fixture.store.migrate().await, Err(expected));
}

#[tokio::test]
async fn an_edited_or_unfinished_migration_is_refused() {
    let fixture = Fixture::open().await;
    fixture.sql("UPDATE _sqlx_migrations SET checksum = X'00' WHERE version = 3").await;
    let edited = fixture.store.migrate().await.expect_err("what was applied is not what we have");
    assert!(matches!(edited, StoreError::Database { .. }), "{edited}");
    let fixture = Fixture::open().await;
    let known = fixture.store.schema_status().await.expect("reads").known;
    let newest = format!("UPDATE _sqlx_migrations SET success = FALSE WHERE version = {known}");
    fixture.sql(newest).await;
    let status = fixture.store.schema_status().await.expect("reads");
    assert_eq!((status.current, status.pending), (known - 1, 1));
    assert!(fixture.store.check_schema().await.is_err());
    assert!(fixture.store.migrate().await.is_err());
}

#[test]
fn applied_files_are_never_edited() {
    let listed = std::fs::read_to_string(format!("{FOLDER}/checksums.txt")).expect("is there");
    let mut count = 0;
    for line in listed.lines() {
        let (sum, file) = line.split_once("  ").expect("sum and file");
        let text = std::fs::read(format!("{FOLDER}/{file}")).expect("every listed file is there");
        let found = alloy_primitives::hex::encode(Sha256::digest(&text));
        assert_eq!(found, sum, "{file} was edited: write a new migration instead");
        count += 1;
    }
    assert_eq!(count, files_of("sqlite") + files_of("mysql"), "every file is listed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_together_migrate_once() {
    for _ in 0..8 {
        let (url, _directory) = DATABASE.fresh();
        let start = |url: String| async move {
            let store = open(&url).await?;
            let version = store.migrate().await?;
            store.check_schema().await?;
            Ok::<_, StoreError>((version, store.schema_status().await?.known))
        };
        let starts: Vec<_> = (0..4).map(|_| tokio::spawn(start(url.clone()))).collect();
        for start in starts {
            let (version, known) = start.await.expect("does not panic").expect("migrates");
            assert_eq!(version, known);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_come_and_go_do_not_lock_each_other_out() {
    let (url, _directory) = DATABASE.fresh();
    let visits = (0..4).map(|_| {
        let url = url.clone();
        tokio::spawn(async move {
            for _ in 0..40 {
                let store = open(&url).await?;
                store.ping().await?;
                store.close().await;
            }
            Ok::<(), StoreError>(())
        })
    });
    for visit in visits.collect::<Vec<_>>() {
        assert_eq!(visit.await.expect("does not panic"), Ok(()));
    }
}

#[tokio::test]
async fn a_deployment_is_founded_once() {
    let fixture = Fixture::open().await;
    let first = fixture.store.deployment().await.expect("reads").expect("is founded");
    let other = portcullis_core::id::DeploymentId::from_bytes([8; 16]);
    let again = fixture.store.found_deployment(other).await.expect("answers");
    assert_eq!(again, first, "the second start gets the deployment that there is");
    assert_eq!((first.id, first.epoch), (fixture.deployment, 1));
}
