//! What is so of SQLite files alone: where they are, and that one process can lock them.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use portcullis_store::backup::files_of;
use portcullis_store::intake::{IntakeError, Submitted};

use crate::fixture::{Fixture, PATIENCE_MS, units};
use crate::migrations::open;

#[tokio::test]
async fn a_place_that_cannot_be_opened_says_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("nowhere").join("a.db");
    let error = open(&missing.to_string_lossy()).await.expect_err("the folder is missing");
    assert!(error.is_unavailable(), "{error}");
    assert!(error.to_string().contains("nowhere"), "{error}");
    let error = open("postgres://localhost/a").await.expect_err("another database");
    assert!(error.to_string().contains("postgres is not a supported database"), "{error}");
}

#[tokio::test]
async fn a_url_and_a_path_lead_to_the_same_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.db").to_string_lossy().into_owned();
    let store = open(&format!("sqlite://{path}")).await.expect("opens");
    store.migrate().await.expect("migrates");
    store.close().await;
    open(&path).await.expect("opens by its path").check_schema().await.expect("is there");
}

#[tokio::test]
async fn a_new_database_is_for_its_owner_alone_and_an_old_one_stays_as_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let mode = |path: &std::path::Path| {
        std::fs::metadata(path).expect("is there").permissions().mode() & 0o777
    };
    let path = directory.path().join("new.db");
    let store = open(&path.to_string_lossy()).await.expect("opens");
    store.migrate().await.expect("writes");
    for file in files_of(&path) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    store.close().await;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("ours");
    let again = open(&path.to_string_lossy()).await.expect("opens");
    again.check_schema().await.expect("is there");
    assert_eq!(mode(&path), 0o640, "who may read it is its owner's business");
}

/// The lock is waited for once, not once a retry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_stays_is_unavailable_after_the_timeout() {
    let fixture = Fixture::open_with(400, 2).await;
    let lock = fixture.lock().await;
    let begun = Instant::now();
    let deposit = fixture.deposit_of("alice", 3);
    let error = fixture.store.deposit(&fixture.keys, &deposit).await.expect_err("is locked");
    let waited = begun.elapsed();
    assert!(error.is_unavailable(), "{error}");
    assert!(!error.is_outcome_unknown() && !error.is_lost_race());
    assert!(waited >= Duration::from_millis(350), "it gave up after {waited:?}");
    assert!(waited < Duration::from_millis(1_200), "it took {waited:?}");
    assert_eq!(fixture.store.ping().await, Ok(()), "reads go on");
    assert_eq!(fixture.all().await, []);
    drop(lock);
    assert_eq!(fixture.number("SELECT count(*) FROM deposits").await, 0, "nothing was written");
    fixture.store.deposit(&fixture.keys, &deposit).await.expect("the lock is gone");
    fixture.store.check_ledger().await.expect("adds up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn intake_does_not_outwait_a_short_busy_timeout() {
    let fixture = Fixture::open_with(200, 2).await;
    fixture.fund("alice", 100).await;
    let lock = fixture.lock().await;
    let request = fixture.submission("w", "alice", 1);
    let outcome = fixture.intake.submit(request.clone(), PATIENCE_MS).await;
    assert!(matches!(outcome, Err(IntakeError::Unavailable)), "{outcome:?}");
    drop(lock);
    assert!(matches!(fixture.submit(request).await, Submitted::Accepted(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_goes_in_time_is_only_a_delay() {
    let fixture = Fixture::open_with(10_000, 2).await;
    let lock = fixture.lock().await;
    let deposit = fixture.deposit_of("alice", 3);
    let store = fixture.store.clone();
    let keys = fixture.keys.clone();
    let waiting = tokio::spawn(async move { store.deposit(&keys, &deposit).await });
    // The writer is at the lock when the reader, asked after it, has answered.
    fixture.store.ping().await.expect("answers");
    drop(lock);
    waiting.await.expect("does not panic").expect("credits");
    assert_eq!(fixture.buckets("alice").await.0, units(3));
}
