//! Statements: how many there are, and which of them take long.

use std::time::Duration;

use sea_orm::DatabaseConnection;

/// As much of a statement as the log gets: enough to tell it by.
const SHOWN_MAX: usize = 240;

tokio::task_local! {
    /// The transaction that the running statement belongs to.
    pub(crate) static DURING: &'static str;
}

/// Counts one statement that is not built by SeaORM: BEGIN, COMMIT.
pub(crate) fn count() {
    metrics::counter!("portcullis_store_statements_total").increment(1);
}

/// Counts the statements of a connection, and logs those that take `slow_ms` or longer; 0 logs none. A statement holds
/// placeholders where its values go, so nothing of anybody's is in the log.
pub(crate) fn observe(connection: &mut DatabaseConnection, slow_ms: u64) {
    let slow = Duration::from_millis(slow_ms);
    connection.set_metric_callback(move |info| {
        count();
        if slow.is_zero() || info.elapsed < slow {
            return;
        }
        let during = DURING.try_with(|name| *name).unwrap_or("read");
        let sql = &info.statement.sql;
        let statement = &sql[..sql.floor_char_boundary(SHOWN_MAX)];
        let elapsed_ms = u64::try_from(info.elapsed.as_millis()).unwrap_or(u64::MAX);
        metrics::counter!("portcullis_store_slow_statements_total", "during" => during)
            .increment(1);
        tracing::warn!(during, elapsed_ms, failed = info.failed, statement, "a slow statement");
    });
}
