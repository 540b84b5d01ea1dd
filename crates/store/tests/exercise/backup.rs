//! Copies of the database, and how one is told from the file in use.

use std::path::Path;
use std::sync::Arc;

use portcullis_core::time::Clock;
use portcullis_store::backup::{FileWatch, files_of, is_marked};
use portcullis_store::{Store, StoreOptions};

use crate::fixture::Fixture;

/// More than the log has before a commit writes it into the file by itself: 1,000 pages
/// (<https://www.sqlite.org/pragma.html#pragma_wal_autocheckpoint>).
const LOG_BYTES_MAX: u64 = 1_200 * 4_096;

#[tokio::test]
async fn a_copy_is_whole_and_says_what_it_is_until_it_is_taken_into_use() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100).await;
    let record = fixture.accept("one", "alice", 40).await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("copy.db");
    fixture.store.back_up(&path).await.expect("copies");
    assert!(!fixture.store.is_copy().await.expect("reads"), "the original is none");
    let again = fixture.store.back_up(&path).await;
    assert!(again.is_err(), "nothing is overwritten");
    assert!(is_marked(&path).expect("reads"));
    let options = StoreOptions {
        url: path.display().to_string(),
        readers_max: 1,
        busy_timeout_ms: 1_000,
        ..StoreOptions::default()
    };
    let clock: Arc<dyn Clock> = Arc::new(fixture.clock.clone());
    let copy = Store::open(&options, clock).await.expect("opens");
    assert!(copy.is_copy().await.expect("reads"));
    let found = copy.withdrawal(fixture.tenant, record.id).await.expect("reads");
    assert_eq!(found, Some(fixture.read(&record).await));
    copy.check_ledger().await.expect("balances");
    copy.take_into_use().await.expect("writes");
    assert!(!copy.is_copy().await.expect("reads"));
    assert!(!is_marked(&path).expect("reads"), "nor the file itself, while it is open");
    assert_eq!(FileWatch::new(&path).what_changed(), None);
    copy.close().await;
}

#[tokio::test]
async fn commits_leave_the_file_alone_where_its_watcher_makes_the_checkpoints() {
    let fixture = Fixture::open().await;
    fixture.store.leave_checkpoints_to_caller().await.expect("answers");
    fixture.store.checkpoint().await.expect("writes");
    let [file, log, _] = files_of(Path::new(fixture.url()));
    let before = std::fs::read(&file).expect("reads");
    while std::fs::metadata(&log).expect("is there").len() < LOG_BYTES_MAX {
        fixture.fund("alice", 1).await;
    }
    assert_eq!(std::fs::read(&file).expect("reads"), before, "a mark on it would still be there");
    fixture.store.checkpoint().await.expect("writes");
    assert_ne!(std::fs::read(&file).expect("reads"), before);
    assert_eq!(FileWatch::new(&file).what_changed(), None);
}

#[tokio::test]
async fn files_that_are_exchanged_are_noticed() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100).await;
    let directory = tempfile::tempdir().expect("a directory");
    let backup = directory.path().join("backup.db");
    fixture.store.back_up(&backup).await.expect("copies");
    let path = directory.path().join("portcullis.db");
    for suffix in ["moved over", "written over", "log removed"] {
        for file in files_of(&path) {
            std::fs::write(file, [0_u8; 128]).expect("writes");
        }
        let watch = FileWatch::new(&path);
        assert_eq!(watch.what_changed(), None);
        match suffix {
            "moved over" => {
                let other = directory.path().join("other.db");
                std::fs::write(&other, [0_u8; 128]).expect("writes");
                std::fs::rename(other, &path).expect("moves");
            }
            "written over" => {
                let bytes = std::fs::read(&backup).expect("reads");
                std::fs::write(&path, bytes).expect("writes in place");
            }
            _ => std::fs::remove_file(&files_of(&path)[1]).expect("removes"),
        }
        assert!(watch.what_changed().is_some(), "{suffix}");
    }
}
