//! The last question of a run: everything that was ever signed is offered to the node once more, and
//! nothing may come of it. A nonce is used once, and a vault's number too.

use std::fs;
use std::path::Path;
use std::time::Duration;

use alloy_primitives::Bytes;
use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;
use tokio::time::sleep;

use crate::chain::Rpc;
use crate::judge::{BalanceSheet, Scope, observe};
use crate::mariadb;

/// Blocks in which something could come of it.
const BLOCKS: u64 = 3;
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// A node that makes no block for that long has stopped.
const POLLS_MAX: u32 = 600;

/// Where everything that was ever signed is.
#[derive(Clone, Copy, Debug)]
pub enum DatabasePlace<'a> {
    /// In a file; a copy of it is read.
    File(&'a Path),
    /// On a server at this URL.
    Server(&'a str),
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Replay {
    /// Transactions that were offered again.
    pub replayed: usize,
    /// Those that the node took.
    pub accepted: usize,
    /// Payments that came of them, and balances that changed.
    pub paid: usize,
}

/// Offers every signed transaction in the database of processes that have ended to the node again.
///
/// # Errors
/// The database cannot be read, holds no signed bytes, or the node fails.
pub async fn replay(rpc: &Rpc, scope: &Scope, database: DatabasePlace<'_>) -> Result<Replay> {
    let raws = match database {
        DatabasePlace::File(path) => signed_bytes(path)?,
        DatabasePlace::Server(url) => signed_bytes_on(url).await?,
    };
    ensure!(!raws.is_empty(), "the database holds nothing that was signed");
    let payers = scope.payers();
    let start = rpc.block_number().await?;
    let before = BalanceSheet::read(rpc, &scope.tokens, &payers).await?;
    let mut accepted: usize = 0;
    for raw in &raws {
        // A refusal is what is hoped for; whether the node really did not take it, the chain tells.
        accepted = accepted.saturating_add(usize::from(rpc.send_raw(raw).await.is_ok()));
    }
    let wanted = rpc.block_number().await?.saturating_add(BLOCKS);
    let mut polls = 0;
    while rpc.block_number().await? < wanted {
        polls += 1;
        ensure!(polls < POLLS_MAX, "the node makes no blocks any more");
        sleep(POLL_INTERVAL).await;
    }
    let observation = observe(rpc, scope, start.saturating_add(1), wanted).await?;
    let after = BalanceSheet::read(rpc, &scope.tokens, &payers).await?;
    // A slot that nothing needed any more may be used up by it, which costs its fee.
    let changed = after.check_wallets(&before, &[], &payers, observation.fees_wei).len();
    let paid = observation.payments.len().saturating_add(changed);
    for payment in &observation.payments {
        eprintln!("a replay paid: {payment:?}");
    }
    Ok(Replay { replayed: raws.len(), accepted, paid })
}

/// The bytes of all attempts, those with low nonces first. What was found on the chain has none.
fn signed_bytes(database: &Path) -> Result<Vec<Bytes>> {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("copy.db");
    for end in ["", "-wal"] {
        let from = with_end(database, end);
        if end.is_empty() || from.exists() {
            fs::copy(&from, with_end(&copy, end))
                .with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    let connection = Connection::open_with_flags(&copy, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .with_context(|| format!("cannot open a copy of {}", database.display()))?;
    let mut statement = connection.prepare(
        "SELECT raw FROM attempts JOIN slots ON slots.id = attempts.slot_id \
         WHERE length(raw) > 0 ORDER BY slots.sender, slots.nonce, attempts.ordinal",
    )?;
    let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
    rows.map(|raw| Ok(Bytes::from(raw?))).collect()
}

/// The same of a server.
async fn signed_bytes_on(url: &str) -> Result<Vec<Bytes>> {
    let told = mariadb::ask(
        url,
        "SELECT HEX(raw) FROM attempts JOIN slots ON slots.id = attempts.slot_id \
         WHERE LENGTH(raw) > 0 ORDER BY slots.sender, slots.nonce, attempts.ordinal",
    )
    .await?;
    told.lines().map(|line| Ok(Bytes::from(hex::decode(line)?))).collect()
}

fn with_end(path: &Path, end: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_signed_bytes_are_found_in_the_order_of_their_nonces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portcullis.db");
        let database = Connection::open(&path).unwrap();
        // The newest rows are only in the file beside it.
        database.pragma_update(None, "journal_mode", "wal").unwrap();
        database
            .execute_batch(
                "CREATE TABLE slots (id BLOB, sender BLOB, nonce INTEGER); \
                 CREATE TABLE attempts (slot_id BLOB, ordinal INTEGER, raw BLOB); \
                 INSERT INTO slots VALUES (x'01', x'aa', 2), (x'02', x'aa', 1); \
                 INSERT INTO attempts VALUES (x'01', 1, x'0101'), (x'02', 2, x'0202'), \
                 (x'02', 1, x'0201'), (x'02', 3, x'');",
            )
            .unwrap();
        let raws = signed_bytes(&path).unwrap();
        let expected = [[2, 1], [2, 2], [1, 1]].map(|bytes| Bytes::copy_from_slice(&bytes));
        assert_eq!(raws, expected);
        drop(database);
        assert!(signed_bytes(&folder.path().join("missing.db")).is_err());
    }
}
