//! Looks after what no role reports by itself: what the database as a whole lacks.

use std::time::Duration;

use portcullis_engine::{Component, Concerns};
use portcullis_store::Store;

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Who misses it, for the concerns.
const DATABASE: &str = "the database";

/// Reports until the process ends.
pub(crate) async fn watch_database(store: Store, concerns: Concerns) {
    loop {
        match store.full_disk() {
            Some(full) => concerns.failing(Component::Disk, DATABASE, store.now(), &full.cause),
            None => {
                concerns.well(Component::Disk, DATABASE);
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
