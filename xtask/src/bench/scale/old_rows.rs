//! Old rows: a table grows by copies of withdrawals that were really paid. They are put straight into the database of
//! an engine that is stopped, with everything that a finished withdrawal leaves behind, and the ledger stays balanced.
//!
//! Copies are older than what they are copied from: their ids and times lie before it, their nonces below. What is not
//! copied is what does not grow with every withdrawal: the audit log (one entry a commit), windows, headers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use alloy_primitives::{U256, keccak256};
use anyhow::{Context, Result, bail, ensure};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Transaction, params, params_from_iter};

/// What a finished withdrawal leaves rows in, and which of these are its own.
const TABLES: [(&str, &str); 5] = [
    ("withdrawals", "1"),
    ("bindings", "1"),
    ("slots", "1"),
    ("attempts", "1"),
    ("postings", "kind IN ('reserve', 'settle')"),
];
/// Between the ids of one copy and those of the next.
const APART_MS: i64 = 60_000;
/// The newest slots of a wallet, which a signer that starts compares with its journal, are never copies.
const NONCES_APART: i64 = 128;
const CACHE_KIB: i64 = 128 * 1_024;

/// How a column of a copy differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// Not at all.
    Keep,
    /// The database gives a new one.
    Fresh,
    /// An id, which begins with its time.
    Id,
    /// The hash of a transaction.
    Hash,
    /// Milliseconds since the Unix epoch.
    Time,
    /// The nonce of a wallet.
    Nonce,
    /// The payout number within its epoch.
    Sequence,
    /// The client's own id.
    Name,
}

/// One table of the sample.
#[derive(Debug)]
struct SampleTable {
    insert: String,
    changes: Vec<Change>,
    rows: Vec<Vec<Value>>,
}

/// Every finished withdrawal of a database, in memory, to be copied.
#[derive(Debug)]
pub(super) struct Sample {
    tables: Vec<SampleTable>,
    withdrawals: usize,
    /// What was paid from each balance.
    paid: BTreeMap<i64, U256>,
    span_ms: i64,
    nonces: i64,
    /// Copies that were made.
    copies: i64,
}

/// How far one copy lies from the sample.
#[derive(Clone, Copy, Debug)]
struct Distance {
    copy: i64,
    earlier_ms: i64,
    nonces_below: i64,
}

impl Sample {
    /// Reads the database at `path`, in which every withdrawal is finished.
    ///
    /// # Errors
    /// It cannot be read, has work left, or grows by tables that are not known here.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let database = open(path)?;
        let withdrawals = count(&database, "withdrawals")?;
        ensure!(withdrawals > 0, "there is no withdrawal to be copied");
        ensure!(count(&database, "work")? == 0, "a withdrawal is not finished");
        check_strangers(&database, withdrawals)?;
        let span_ms: i64 = database.query_row(
            "SELECT max(updated_at) - min(created_at) FROM withdrawals",
            [],
            |row| row.get(0),
        )?;
        let nonces: i64 =
            database
                .query_row("SELECT max(nonce) - min(nonce) + 1 FROM slots", [], |row| row.get(0))?;
        let mut tables = Vec::new();
        for (table, own) in TABLES {
            tables.push(SampleTable::read(&database, table, own)?);
        }
        Ok(Self {
            tables,
            withdrawals,
            paid: paid(&database)?,
            span_ms: span_ms.saturating_add(APART_MS),
            nonces,
            copies: 0,
        })
    }

    /// Adds copies until the database has at least `wanted` withdrawals; how many it has then.
    ///
    /// # Errors
    /// It cannot be written, or the wallets have not sent enough for so many copies.
    pub(super) fn grow(&mut self, path: &Path, wanted: usize) -> Result<usize> {
        let mut database = open(path)?;
        // Whoever pulls the plug here measures anew.
        database.pragma_update(None, "synchronous", "OFF")?;
        database.pragma_update(None, "cache_size", -CACHE_KIB)?;
        let missing = wanted.saturating_sub(count(&database, "withdrawals")?);
        let copies = i64::try_from(missing.div_ceil(self.withdrawals))?;
        let (first, last) = (self.copies.saturating_add(1), self.copies.saturating_add(copies));
        let tenth = (copies / 10).max(1);
        // The oldest first, as they would have come.
        for copy in (first..=last).rev() {
            let transaction = database.transaction()?;
            self.copy(&transaction, copy)?;
            transaction.commit()?;
            let left = copy.saturating_sub(first);
            if left % tenth == 0 {
                eprintln!("{} of {copies} copies are made", copies.saturating_sub(left));
            }
        }
        self.copies = last;
        count(&database, "withdrawals")
    }

    fn copy(&self, transaction: &Transaction<'_>, copy: i64) -> Result<()> {
        let distance = Distance {
            copy,
            earlier_ms: copy.saturating_mul(self.span_ms),
            nonces_below: copy.saturating_mul(self.nonces).saturating_add(NONCES_APART),
        };
        let mut sequence: i64 =
            transaction.query_row("SELECT sequence_next FROM deployment", [], |row| row.get(0))?;
        for table in &self.tables {
            let mut insert = transaction.prepare(&table.insert)?;
            for row in &table.rows {
                let mut copied = Vec::with_capacity(row.len());
                for (change, value) in table.changes.iter().zip(row) {
                    copied.push(distance.changed(*change, value, &mut sequence)?);
                }
                insert.execute(params_from_iter(copied.iter()))?;
            }
        }
        transaction.execute("UPDATE deployment SET sequence_next = ?1", [sequence])?;
        for (balance, paid) in &self.paid {
            post(transaction, *balance, *paid)?;
        }
        Ok(())
    }
}

impl SampleTable {
    fn read(database: &Connection, table: &str, own: &str) -> Result<Self> {
        let mut select =
            database.prepare(&format!("SELECT * FROM {table} WHERE {own} ORDER BY rowid"))?;
        let columns: Vec<String> =
            select.column_names().into_iter().map(ToOwned::to_owned).collect();
        let places = vec!["?"; columns.len()].join(", ");
        let insert = format!("INSERT INTO {table} ({}) VALUES ({places})", columns.join(", "));
        let changes = columns.iter().map(|column| change_of(table, column)).collect();
        let width = columns.len();
        let rows = select
            .query_map([], |row| {
                (0..width).map(|place| row.get(place)).collect::<rusqlite::Result<Vec<Value>>>()
            })?
            .collect::<rusqlite::Result<Vec<Vec<Value>>>>()?;
        Ok(Self { insert, changes, rows })
    }
}

impl Distance {
    fn changed(self, change: Change, value: &Value, sequence: &mut i64) -> Result<Value> {
        Ok(match (change, value) {
            (Change::Keep, value) => value.clone(),
            (Change::Fresh, _) | (_, Value::Null) => Value::Null,
            (Change::Id, Value::Blob(id)) => Value::Blob(earlier_id(id, self.earlier_ms)?),
            (Change::Hash, Value::Blob(hash)) => {
                let seed = [hash.as_slice(), &self.copy.to_be_bytes()].concat();
                Value::Blob(keccak256(seed).to_vec())
            }
            (Change::Time, Value::Integer(at)) => {
                Value::Integer(at.saturating_sub(self.earlier_ms))
            }
            (Change::Nonce, Value::Integer(nonce)) => {
                let below = nonce.saturating_sub(self.nonces_below);
                ensure!(below >= 0, "the wallets have not sent enough for copy {}", self.copy);
                Value::Integer(below)
            }
            (Change::Sequence, Value::Integer(_)) => {
                let given = *sequence;
                *sequence = sequence.checked_add(1).context("the payout numbers are used up")?;
                Value::Integer(given)
            }
            (Change::Name, Value::Text(name)) => Value::Text(format!("{name}-{}", self.copy)),
            (change, value) => bail!("{value:?} is nothing that {change:?} is made of"),
        })
    }
}

fn change_of(table: &str, column: &str) -> Change {
    match (table, column) {
        ("postings", "id") => Change::Fresh,
        ("withdrawals" | "slots", "id")
        | ("bindings", "withdrawal_id")
        | ("bindings" | "attempts", "slot_id")
        | ("postings", "subject") => Change::Id,
        ("attempts", "hash") | ("slots", "transaction_hash") => Change::Hash,
        ("slots", "nonce") => Change::Nonce,
        ("withdrawals", "sequence") => Change::Sequence,
        ("withdrawals", "external_id") => Change::Name,
        (_, "at" | "created_at" | "updated_at" | "opened_at" | "committed_at" | "sent_at") => {
            Change::Time
        }
        _ => Change::Keep,
    }
}

/// The id of the same random part that was made so much earlier: its first six bytes are milliseconds.
fn earlier_id(id: &[u8], earlier_ms: i64) -> Result<Vec<u8>> {
    let (time, random) = id.split_at_checked(6).context("an id has more than six bytes")?;
    let mut wide = [0_u8; 8];
    wide[2..].copy_from_slice(time);
    let moved = u64::from_be_bytes(wide).checked_sub(u64::try_from(earlier_ms)?);
    let moved = moved.context("an id cannot be older than 1970")?.to_be_bytes();
    Ok([&moved[2..], random].concat())
}

/// The ledger's part of a copy: what it paid had come in before.
fn post(transaction: &Transaction<'_>, balance: i64, paid: U256) -> Result<()> {
    let posted = transaction.execute(
        "INSERT INTO postings (balance_id, kind, amount, subject, at)
             SELECT balance_id, kind, ?2, subject, at FROM postings
             WHERE balance_id = ?1 AND kind = 'deposit' ORDER BY id LIMIT 1",
        params![balance, paid.to_string()],
    )?;
    ensure!(posted == 1, "balance {balance} has no deposit");
    let (outside, out): (String, String) = transaction.query_row(
        "SELECT outside, paid FROM balances WHERE id = ?1",
        [balance],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let more = |text: &str| -> Result<String> {
        let sum = units(text)?.checked_add(paid).context("a balance is too large")?;
        Ok(sum.to_string())
    };
    let changed = transaction.execute(
        "UPDATE balances SET outside = ?2, paid = ?3 WHERE id = ?1",
        params![balance, more(&outside)?, more(&out)?],
    )?;
    ensure!(changed == 1, "balance {balance} is gone");
    Ok(())
}

fn paid(database: &Connection) -> Result<BTreeMap<i64, U256>> {
    let mut select =
        database.prepare("SELECT balance_id, amount FROM postings WHERE kind = 'settle'")?;
    let mut rows = select.query([])?;
    let mut paid: BTreeMap<i64, U256> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let amount = units(&row.get::<_, String>(1)?)?;
        let sum = paid.entry(row.get(0)?).or_default();
        *sum = sum.saturating_add(amount);
    }
    Ok(paid)
}

fn units(text: &str) -> Result<U256> {
    U256::from_str_radix(text, 10).ok().with_context(|| format!("{text:?} is no amount"))
}

/// A table that grows with every withdrawal and is not copied would make the old rows too light.
fn check_strangers(database: &Connection, withdrawals: usize) -> Result<()> {
    let mut select = database.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )?;
    let names = select
        .query_map([], |row| row.get::<_, String>(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    for name in names.iter().filter(|name| TABLES.iter().all(|(table, _)| table != name)) {
        let rows = count(database, name)?;
        ensure!(
            rows.saturating_mul(2) < withdrawals,
            "{withdrawals} withdrawals leave {rows} rows in {name}, which are not copied here"
        );
    }
    Ok(())
}

/// The size of the database's file once its log is folded into it.
///
/// # Errors
/// It cannot be read, or somebody else holds its log.
pub(super) fn file_bytes(path: &Path) -> Result<u64> {
    let database = open(path)?;
    let busy: i64 = database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    ensure!(busy == 0, "somebody reads {}", path.display());
    Ok(fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?.len())
}

fn open(path: &Path) -> Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .with_context(|| format!("cannot open {}", path.display()))
}

fn count(database: &Connection, table: &str) -> Result<usize> {
    let rows: i64 =
        database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
    Ok(usize::try_from(rows)?)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::toolchain::workspace_root;

    const ID_MS: i64 = 1_795_190_400_000;
    const NONCE: i64 = 10_000;

    fn id(ms: i64, last: u8) -> Vec<u8> {
        let time = ms.to_be_bytes();
        [&time[2..], &[last; 10]].concat()
    }

    /// A migrated database in which four withdrawals were paid by two transactions.
    fn paid_database() -> (TempDir, std::path::PathBuf) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("portcullis.db");
        let database = Connection::open(&path).unwrap();
        let migrations = workspace_root().join("crates/store/migrations/sqlite");
        let mut files: Vec<_> =
            fs::read_dir(migrations).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            database.execute_batch(&fs::read_to_string(file).unwrap()).unwrap();
        }
        database
            .execute_batch(
                "INSERT INTO deployment VALUES (1, x'01', 1, 5, 0);
                 INSERT INTO balances VALUES (1, x'02', 'bench', x'03', '100', '60', '0', '40');
                 INSERT INTO postings VALUES (1, 1, 'deposit', '100', x'04', 0);",
            )
            .unwrap();
        for place in 0..4_u8 {
            let (sequence, own) = (i64::from(place) + 1, id(ID_MS, place));
            database
                .execute(
                    "INSERT INTO withdrawals VALUES (?1, x'02', ?2, x'05', 'bench', x'03', 137, x'06',
                     '10', x'07', 0, NULL, 1, ?3, x'08', 1, x'09', 'CONFIRMED', NULL, 9, 'x', ?4, ?4, 0)",
                    params![own, format!("order-{place}"), sequence, ID_MS],
                )
                .unwrap();
            database
                .execute(
                    "INSERT INTO bindings VALUES (?1, ?2, ?3, 0, 'paid')",
                    params![id(ID_MS, 100 + place / 2), place % 2, own],
                )
                .unwrap();
            for kind in ["reserve", "settle"] {
                database
                    .execute(
                        "INSERT INTO postings VALUES (NULL, 1, ?1, '10', ?2, ?3)",
                        params![kind, own, ID_MS],
                    )
                    .unwrap();
            }
        }
        for slot in 0..2_u8 {
            let own = id(ID_MS, 100 + slot);
            database
                .execute(
                    "INSERT INTO slots VALUES (?1, 137, x'0a', ?2, 'pay', 'vault', x'0b', 'final', 'paid', ?3, 7,
                     x'0c', 8, 0, 0, 0, NULL, 0, ?4, ?4, 50000)",
                    params![own, NONCE + i64::from(slot), [slot; 32], ID_MS],
                )
                .unwrap();
            database
                .execute(
                    "INSERT INTO attempts VALUES (?1, ?2, 0, 'payload', x'0d', 1, 1, 1, ?3, ?3, 1, NULL, 1, 1)",
                    params![[slot; 32], own, ID_MS],
                )
                .unwrap();
        }
        (folder, path)
    }

    fn number(path: &Path, sql: &str) -> i64 {
        open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_table_grows_by_whole_copies_that_fit_together() {
        let (_folder, path) = paid_database();
        let mut sample = Sample::read(&path).unwrap();
        assert_eq!(sample.grow(&path, 10).unwrap(), 12);
        assert_eq!(sample.grow(&path, 13).unwrap(), 16, "it goes on after the first copies");
        assert_eq!(sample.grow(&path, 16).unwrap(), 16);
        for (sql, expected) in [
            ("SELECT count(*) FROM slots", 8),
            (
                "SELECT count(*) FROM attempts JOIN slots ON slots.id = slot_id AND hash = transaction_hash",
                8,
            ),
            ("SELECT count(*) FROM bindings JOIN slots ON slots.id = slot_id", 16),
            ("SELECT count(*) FROM bindings JOIN withdrawals w ON w.id = withdrawal_id", 16),
            ("SELECT count(*) FROM postings JOIN withdrawals w ON w.id = subject", 32),
            ("SELECT max(sequence) FROM withdrawals", 16),
            ("SELECT sequence_next FROM deployment", 17),
            ("SELECT count(DISTINCT external_id) FROM withdrawals", 16),
            ("SELECT count(*) FROM slots WHERE nonce BETWEEN 9873 AND 9999", 0),
            ("SELECT max(nonce) FROM slots", NONCE + 1),
        ] {
            assert_eq!(number(&path, sql), expected, "{sql}");
        }
    }

    #[test]
    fn copies_are_older_and_the_ledger_stays_balanced() {
        let (_folder, path) = paid_database();
        let mut sample = Sample::read(&path).unwrap();
        sample.grow(&path, 12).unwrap();
        let newest = number(
            &path,
            "SELECT max(created_at) FROM withdrawals WHERE id < (SELECT id FROM withdrawals WHERE external_id = 'order-0')",
        );
        assert_eq!(newest, ID_MS - APART_MS);
        let balance = "SELECT sum(CAST(amount AS INTEGER)) FROM postings WHERE kind = ";
        assert_eq!(number(&path, &format!("{balance}'deposit'")), 180);
        assert_eq!(number(&path, &format!("{balance}'settle'")), 120);
        let sums = "SELECT outside - available - held - paid FROM balances WHERE paid = '120'";
        assert_eq!(number(&path, sums), 0);
        assert!(file_bytes(&path).unwrap() > 0);
    }

    #[test]
    fn what_cannot_be_copied_truly_is_refused() {
        let (_folder, path) = paid_database();
        let database = open(&path).unwrap();
        let mut sample = Sample::read(&path).unwrap();
        sample.nonces = NONCE;
        assert!(sample.grow(&path, 8).unwrap_err().to_string().contains("not sent enough"));
        let stranger = "CREATE TABLE stranger (id INTEGER); INSERT INTO stranger VALUES (1), (2)";
        database.execute_batch(stranger).unwrap();
        assert!(Sample::read(&path).unwrap_err().to_string().contains("stranger"));
        let work = "DROP TABLE stranger;
             INSERT INTO work VALUES (x'01', 137, 'sign', 0, 0, 0, 0, NULL, 0, 0)";
        database.execute_batch(work).unwrap();
        assert!(Sample::read(&path).unwrap_err().to_string().contains("not finished"));
    }

    #[test]
    fn an_id_keeps_its_random_part() {
        assert_eq!(earlier_id(&id(5_000, 7), 1_000).unwrap(), id(4_000, 7));
        assert!(earlier_id(&id(5_000, 7), 6_000).is_err());
    }
}
