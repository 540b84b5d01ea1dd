//! The halt for a use of our keys that is not ours.

use portcullis_store::{Store, StoreError};

/// Halts of which such a use is a part: a database that is older than the chain sees its own payments so.
const ANSWERED_WITH: [&str; 2] = ["restore", "journal"];

/// Halts the engine, unless it is halted already for being restored: its own payments of later would be strangers to
/// it, and one alarm is enough. When that halt is lifted and the use is still unexplained, it is told.
pub(crate) async fn halt_for_foreign_use(store: &Store, detail: &str) -> Result<(), StoreError> {
    let halts = store.halts().await?;
    if halts.iter().any(|halt| ANSWERED_WITH.contains(&halt.reason.as_str())) {
        tracing::debug!(detail, "a foreign use, or what the restored database does not know yet");
        return Ok(());
    }
    store.raise_halt("foreign", detail).await
}
