//! Looks after what no role reports by itself: what the database as a whole lacks.

use std::time::Duration;

use portcullis_core::time::Timestamp;
use portcullis_engine::{Component, Concerns};
use portcullis_store::Store;

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Who misses it, for the concerns.
const DATABASE: &str = "the database";

/// Reports until the process ends.
pub(crate) async fn watch_database(store: Store, concerns: Concerns) {
    loop {
        note(&concerns, Component::Disk, store.now(), store.full_disk().map(|full| full.cause));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Reports what is wrong with a component, or that nothing is.
fn note(concerns: &Concerns, component: Component, now: Timestamp, wrong: Option<String>) {
    match wrong {
        Some(why) => concerns.failing(component, DATABASE, now, &why),
        None => {
            concerns.well(component, DATABASE);
        }
    }
}
