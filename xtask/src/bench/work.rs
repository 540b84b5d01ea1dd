//! Waits until a server has nothing left to do: a withdrawal's work row goes when it is final.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, OpenFlags};
use tokio::time::sleep;

use super::stage::Stage;

const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Final is a dozen blocks after the last payment.
const STALL: Duration = Duration::from_mins(1);

/// Waits until no work is left in the database of the stage.
///
/// # Errors
/// It cannot be read, or no row has gone for a minute.
pub(super) async fn wait_until_done(stage: &Stage) -> Result<()> {
    let mut fewest = (i64::MAX, Instant::now());
    loop {
        let left = match &stage.mariadb {
            None => rows(&stage.installation.database())?,
            Some(server) => server.count("work").await?,
        };
        if left == 0 {
            return Ok(());
        }
        if left < fewest.0 {
            fewest = (left, Instant::now());
        }
        ensure!(fewest.1.elapsed() < STALL, "{left} withdrawals do not become final");
        sleep(POLL_INTERVAL).await;
    }
}

/// Opened anew each time: an open reader keeps the server from folding its log into the database.
fn rows(path: &Path) -> Result<i64> {
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .with_context(|| format!("cannot open {}", path.display()))?;
    database.busy_timeout(Duration::from_secs(5))?;
    Ok(database.query_row("SELECT COUNT(*) FROM work", [], |row| row.get(0))?)
}
