//! The journal as a second SQL database: for a fleet, whose signers share it.
//!
//! The lines are those of the file. The number of a line is taken once, by the primary key: who appends has therefore read
//! all that came before, and of two signers that append at the same moment one writes nothing, reads what the other
//! wrote and judges anew. Two more tables take each slot and each ride of a request once, whatever a signer believes.
//!
//! An append whose answer was lost is not given up before the database has been asked what became of it: the transaction
//! that may still be under way holds the number of its first line, so that the same append, made again, finds out.

mod claims;
mod connection;
mod grants;
#[cfg(test)]
mod tests;

use std::time::Duration;

use alloy_primitives::B256;
use secrecy::SecretString;
use sqlx::{Connection, MySqlConnection, QueryBuilder};

use super::error::JournalError;
use super::index::Index;
use super::record::{JournalRecord, read_line, write_line};

use self::claims::{Claims, claims_of};
use self::connection::Failed;

pub(super) use self::connection::Dial as SqlDial;

/// Where the journal's database is, and how patiently it is asked.
#[derive(Clone, Debug)]
pub struct SqlJournalOptions {
    /// `mysql://user:password@host:port/database`. Without `ssl-mode`, TLS is needed unless the host is this one.
    pub url: SecretString,
    /// How long one statement may take. Afterwards its outcome is unknown.
    pub statement_timeout: Duration,
    /// How often an append is tried whose answer was lost.
    pub tries_max: u32,
}

/// How many lines one statement reads.
const LINES_READ: u64 = 2_000;

/// How many rows, and how many bytes of lines, one statement writes at most.
const ROWS_WRITTEN: usize = 500;
const BYTES_WRITTEN: usize = 1 << 20;

/// The pause before an append is tried again, times the number of tries.
const PAUSE: Duration = Duration::from_millis(100);

/// An open journal in a database.
#[derive(Debug)]
pub(super) struct SqlJournal {
    dial: SqlDial,
    /// Taken while a statement is under way: of one that was cut short, nobody uses the connection again.
    connection: Option<MySqlConnection>,
    /// How many lines were read, and the hash of the last.
    end: End,
    tries_max: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct End {
    lines: u64,
    hash: B256,
}

/// A set of lines that goes in together or not at all.
pub(super) struct Batch {
    lines: Vec<(u64, String)>,
    claims: Claims,
    end: End,
}

/// What became of an append.
enum Fate {
    Written,
    Overtaken,
    /// Neither this nor anything else took its place: it can be tried again.
    Open,
}

impl SqlJournal {
    /// Connects, and looks at the tables and at what the account may do. Nothing is read yet.
    pub(super) async fn open(options: &SqlJournalOptions) -> Result<Self, JournalError> {
        let dial = SqlDial::new(options)?;
        let mut connection = dial.connect().await.map_err(|error| dial.failed("open", &error))?;
        dial.check_tables(&mut connection).await?;
        dial.check_grants(&mut connection).await?;
        Ok(Self {
            dial,
            connection: Some(connection),
            end: End::default(),
            tries_max: options.tries_max.max(1),
        })
    }

    /// The database, without the password.
    pub(super) fn place(&self) -> String {
        self.dial.place().to_owned()
    }

    /// Reads the lines that were written since the last time, checks each, and hands them over in order.
    pub(super) async fn read_on(
        &mut self,
        mut each: impl FnMut(&JournalRecord),
    ) -> Result<(), JournalError> {
        loop {
            let from = self.end.lines;
            let rows = self
                .lines_from(from, LINES_READ)
                .await
                .map_err(|error| self.failed("read", &error))?;
            let count = rows.len() as u64;
            for (place, content) in rows {
                let record = self.take_in(place, &content)?;
                each(&record);
            }
            if count < LINES_READ {
                return Ok(());
            }
        }
    }

    /// The records from line `from` on, at most `count`, of the first `lines` lines.
    pub(super) async fn records_since(
        dial: &SqlDial,
        from: u64,
        count: u64,
    ) -> Result<Vec<(u64, JournalRecord)>, JournalError> {
        let failed = |error: Failed| dial.failed("read", &error);
        let mut connection = dial.connect().await.map_err(failed)?;
        let rows = dial.within(select_lines(&mut connection, from, count)).await.map_err(failed)?;
        rows.into_iter()
            .map(|(place, content)| {
                let line =
                    read_line(content.as_bytes()).map_err(|what| dial.damaged(place, what))?;
                Ok((place, line.record))
            })
            .collect()
    }

    /// The way to the same database, for those who only ask.
    pub(super) const fn dial(&self) -> &SqlDial {
        &self.dial
    }

    /// The lines of these records, behind all that was read so far: `index` knows just those.
    pub(super) fn prepare(&self, records: &[JournalRecord], index: &Index) -> Batch {
        let mut end = self.end;
        let mut lines = Vec::with_capacity(records.len());
        for record in records {
            let mut bytes = Vec::with_capacity(1_024);
            end.hash = write_line(&mut bytes, end.lines, end.hash, record);
            bytes.pop();
            let content = String::from_utf8(bytes).expect("JSON is text");
            lines.push((end.lines, content));
            end.lines = end.lines.saturating_add(1);
        }
        Batch { lines, claims: claims_of(records, index, self.end.lines), end }
    }

    /// Appends what was prepared, all or none.
    pub(super) async fn append(&mut self, batch: Batch) -> Result<(), JournalError> {
        let mut last = String::new();
        for attempt in 0..self.tries_max {
            if attempt > 0 {
                tokio::time::sleep(PAUSE.saturating_mul(attempt)).await;
            }
            let failure = match self.insert(&batch).await {
                Ok(()) => {
                    self.end = batch.end;
                    return Ok(());
                }
                Err(failure @ Failed::Refused(_)) => return Err(self.failed("append to", &failure)),
                Err(failure) => failure,
            };
            // A number that is taken, a lost answer, a deadlock: what is there tells.
            match (self.fate(&batch).await, failure) {
                (Ok(Fate::Written), _) => {
                    self.end = batch.end;
                    return Ok(());
                }
                (Ok(Fate::Overtaken), _) => {
                    return Err(JournalError::Overtaken { place: self.place() });
                }
                // Lines are taken first: a slot or a ride that is taken while they are free was never in a line.
                (Ok(Fate::Open), Failed::Taken) => {
                    let what = "a slot or a ride is taken, and no line says by what".to_owned();
                    return Err(self.dial.damaged(self.end.lines, what));
                }
                (Ok(Fate::Open), failure) | (Err(failure), _) => last = failure.to_string(),
            }
        }
        Err(JournalError::Unsure { place: self.place(), reason: last })
    }

    /// One transaction.
    async fn insert(&mut self, batch: &Batch) -> Result<(), Failed> {
        let mut connection = self.connected().await?;
        let writing = async {
            let mut transaction = connection.begin().await?;
            for lines in parts(&batch.lines) {
                let mut statement = QueryBuilder::new("INSERT INTO journal_lines (line, content) ");
                statement.push_values(lines, |mut row, (place, content)| {
                    row.push_bind(*place).push_bind(content.as_str());
                });
                statement.build().persistent(false).execute(&mut *transaction).await?;
            }
            batch.claims.insert(&mut transaction).await?;
            transaction.commit().await
        };
        self.dial.within(writing).await?;
        self.connection = Some(connection);
        Ok(())
    }

    /// Whether the last line of the batch is there. Its hash covers all that came before it.
    async fn fate(&mut self, batch: &Batch) -> Result<Fate, Failed> {
        let Some((last, ours)) = batch.lines.last() else { return Ok(Fate::Written) };
        if self.lines_from(*last, 1).await?.first().is_some_and(|(_, content)| content == ours) {
            return Ok(Fate::Written);
        }
        let next = self.lines_from(self.end.lines, 1).await?;
        Ok(if next.is_empty() { Fate::Open } else { Fate::Overtaken })
    }

    /// Reads on the connection that is open; where that has died, on a new one.
    async fn lines_from(&mut self, from: u64, count: u64) -> Result<Vec<(u64, String)>, Failed> {
        if let Some(mut connection) = self.connection.take() {
            match self.dial.within(select_lines(&mut connection, from, count)).await {
                Err(Failed::Unknown(_)) => {}
                read => {
                    self.connection = Some(connection);
                    return read;
                }
            }
        }
        let mut connection = self.dial.connect().await?;
        let rows = self.dial.within(select_lines(&mut connection, from, count)).await?;
        self.connection = Some(connection);
        Ok(rows)
    }

    async fn connected(&mut self) -> Result<MySqlConnection, Failed> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.dial.connect().await,
        }
    }

    /// Checks one line against those before it.
    fn take_in(&mut self, place: u64, content: &str) -> Result<JournalRecord, JournalError> {
        let expected = self.end.lines;
        let line =
            read_line(content.as_bytes()).map_err(|what| self.dial.damaged(expected, what))?;
        if place != expected || line.place != expected || line.previous != self.end.hash {
            let what = "it does not follow the line before it".to_owned();
            return Err(self.dial.damaged(expected, what));
        }
        self.end = End { lines: expected.saturating_add(1), hash: line.hash };
        Ok(line.record)
    }

    fn failed(&self, action: &'static str, error: &Failed) -> JournalError {
        self.dial.failed(action, error)
    }
}

async fn select_lines(
    connection: &mut MySqlConnection,
    from: u64,
    count: u64,
) -> Result<Vec<(u64, String)>, sqlx::Error> {
    sqlx::query_as("SELECT line, content FROM journal_lines WHERE line >= ? ORDER BY line LIMIT ?")
        .bind(from)
        .bind(count)
        .fetch_all(connection)
        .await
}

/// Cuts the lines so that no statement is too large for the server.
fn parts(lines: &[(u64, String)]) -> Vec<&[(u64, String)]> {
    let mut parts = Vec::new();
    let (mut start, mut bytes) = (0, 0_usize);
    for (at, (_, content)) in lines.iter().enumerate() {
        let full = at.saturating_sub(start) >= ROWS_WRITTEN
            || bytes.saturating_add(content.len()) > BYTES_WRITTEN;
        if full && at > start {
            parts.push(&lines[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes = bytes.saturating_add(content.len());
    }
    if start < lines.len() {
        parts.push(&lines[start..]);
    }
    parts
}
