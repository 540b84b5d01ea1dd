//! Whether there is room on the disk of the database, as far as its transactions tell.

use std::sync::{Arc, Mutex, PoisonError};

use portcullis_core::time::Timestamp;

use crate::db::Store;
use crate::error::StoreError;

/// How long no transaction may have been refused before one that was committed shows that there is room: a small one fits
/// where a large one does not.
const SETTLED_MS: i64 = 2_000;

/// How long a refusal says something where nobody writes any more.
const REMEMBERED_MS: i64 = 30_000;

/// The disk of the database is full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullDisk {
    /// Since when transactions are refused.
    pub since: Timestamp,
    /// What the database said the last time.
    pub cause: String,
}

/// What the transactions of a store have met. Its clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RoomNotes(Arc<Mutex<Option<Refusals>>>);

#[derive(Debug)]
struct Refusals {
    first_at: Timestamp,
    last_at: Timestamp,
    cause: String,
}

impl RoomNotes {
    fn refused(&self, now: Timestamp, cause: &str) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = notes.take().filter(|it| now.millis_since(it.last_at) <= REMEMBERED_MS);
        let first_at = known.map_or(now, |known| known.first_at);
        *notes = Some(Refusals { first_at, last_at: now, cause: cause.to_owned() });
    }

    fn committed(&self, now: Timestamp) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.as_ref().is_some_and(|it| now.millis_since(it.last_at) >= SETTLED_MS) {
            *notes = None;
        }
    }

    fn full(&self, now: Timestamp) -> Option<FullDisk> {
        let notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = notes.as_ref().filter(|it| now.millis_since(it.last_at) <= REMEMBERED_MS)?;
        Some(FullDisk { since: known.first_at, cause: known.cause.clone() })
    }
}

impl Store {
    /// Whether transactions are refused for want of room on the disk. They are tried again by whoever made them.
    #[must_use]
    pub fn full_disk(&self) -> Option<FullDisk> {
        self.room.full(self.now())
    }

    /// Remembers what became of something that was to be written.
    pub(crate) fn note_room<T>(&self, outcome: &Result<T, StoreError>) {
        match outcome {
            Ok(_) => self.room.committed(self.now()),
            Err(StoreError::Full { cause, .. }) => self.room.refused(self.now(), cause),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::id::TenantId;

    use super::*;
    use crate::dialect::Pool;
    use crate::work::tests::migrated;

    /// SQLite ends the transaction by itself when it finds no room, and the driver does not know of it.
    #[tokio::test]
    async fn the_connection_that_found_no_room_is_replaced_and_the_transaction_is_run_again() {
        let (_directory, store) = migrated().await;
        let Pool::Sqlite(pool) = &store.pool else { panic!("a file") };
        // Of the connection that writes. The one that takes its place finds room again, as after somebody made some.
        let pages: i64 = sqlx::query_scalar("PRAGMA max_page_count = 1")
            .fetch_one(pool)
            .await
            .expect("a number");
        assert!(pages > 1, "as many as there are");
        let mut written = 0;
        while store.full_disk().is_none() && written < 10_000 {
            written += 1;
            let id = TenantId::from_bytes(u128::to_be_bytes(written));
            let made = store.create_tenant(id, &format!("tenant-{written}"), "test").await;
            made.expect("it is run again");
        }
        let full = store.full_disk().expect("some page was missing");
        assert!(full.cause.contains("full"), "{full:?}");
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM tenants")
            .fetch_one(pool)
            .await
            .expect("a number");
        assert_eq!(u128::try_from(left), Ok(written), "each of them once");
    }

    #[test]
    fn a_disk_is_full_until_a_while_without_refusals_ends_with_a_commit() {
        let at = Timestamp::from_millis;
        let notes = RoomNotes::default();
        notes.committed(at(1));
        assert_eq!(notes.full(at(1)), None);
        notes.refused(at(1_000), "full");
        notes.refused(at(3_000), "full still");
        let expected = FullDisk { since: at(1_000), cause: "full still".to_owned() };
        notes.committed(at(4_999));
        assert_eq!(notes.full(at(4_999)), Some(expected), "a small one may fit");
        notes.committed(at(5_000));
        assert_eq!(notes.full(at(5_000)), None);
        notes.refused(at(6_000), "full");
        assert!(notes.full(at(36_000)).is_some());
        assert_eq!(notes.full(at(36_001)), None, "nobody has tried since");
        notes.refused(at(40_000), "full");
        assert_eq!(notes.full(at(40_000)).map(|full| full.since), Some(at(40_000)));
    }
}
