//! The journal as a file: locked, append-only, every line chained to the one before it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use alloy_primitives::B256;

use super::error::JournalError;
use super::record::{JournalRecord, read_line, write_line};
use crate::private_file::{self, OWNER_ONLY};

/// An open journal file. Its lock ends with it.
#[derive(Debug)]
pub(super) struct JournalFile {
    file: File,
    path: PathBuf,
    identity: (u64, u64),
    /// Bytes, lines and last hash of what is durable.
    end: End,
    /// Why nothing can be appended any more.
    broken: Option<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct End {
    bytes: u64,
    lines: u64,
    hash: B256,
}

impl JournalFile {
    /// Opens and locks the file, making it where `create` allows. Hands every line to `each`, in order.
    /// A last line without its newline is the trace of a crash in the middle of an append: it was never
    /// acknowledged, and is cut off. Any other damage is an error.
    pub(super) fn open(
        path: &Path,
        create: bool,
        mut each: impl FnMut(&JournalRecord),
    ) -> Result<Self, JournalError> {
        let failed = |source| JournalError::io("open the journal", path, source);
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(create)
            .mode(OWNER_ONLY)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(JournalError::Locked { path: path.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        if let Some(mode) = private_file::open_to_others(&file).map_err(failed)? {
            return Err(JournalError::OpenToOthers { path: path.to_owned(), mode });
        }
        let metadata = file.metadata().map_err(failed)?;
        let end = read_lines(&file, path, u64::MAX, |_line, record| each(&record))?;
        if end.bytes < metadata.len() {
            let cut_bytes = metadata.len().saturating_sub(end.bytes);
            tracing::warn!(path = %path.display(), cut_bytes, "cut off a journal line that a crash left unfinished");
            file.set_len(end.bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        }
        let identity = private_file::identity(&metadata);
        Ok(Self { file, path: path.to_owned(), identity, end, broken: None })
    }

    /// Appends the records as one write with one fsync. Blocks. After an error the file takes nothing more
    /// until it is opened again: nobody knows how much is on the disk.
    pub(super) fn append(&mut self, records: &[JournalRecord]) -> Result<(), JournalError> {
        if let Some(reason) = &self.broken {
            return Err(JournalError::Broken {
                place: self.path.display().to_string(),
                reason: reason.clone(),
            });
        }
        // Until the end of this append nothing is sure, not even after a panic.
        self.broken = Some("an append was interrupted".to_owned());
        match self.write(records) {
            Ok(end) => {
                self.end = end;
                self.broken = None;
                Ok(())
            }
            Err(error) => {
                self.broken = Some(error.to_string());
                Err(error)
            }
        }
    }

    fn write(&mut self, records: &[JournalRecord]) -> Result<End, JournalError> {
        self.check_undisturbed()?;
        let mut bytes = Vec::with_capacity(records.len().saturating_mul(768));
        let mut end = self.end;
        for record in records {
            end.hash = write_line(&mut bytes, end.lines, end.hash, record);
            end.lines = end.lines.saturating_add(1);
        }
        end.bytes = end.bytes.saturating_add(bytes.len() as u64);
        self.file
            .write_all(&bytes)
            .and_then(|()| self.file.sync_data())
            .map_err(|source| JournalError::io("append to the journal", &self.path, source))?;
        Ok(end)
    }

    /// Makes the file's own name durable, once, when it is new.
    pub(super) fn sync_directory(&self) -> Result<(), JournalError> {
        private_file::sync_directory(&self.path)
            .map_err(|source| JournalError::io("make durable the journal", &self.path, source))
    }

    /// Whether the name still leads to this file and the file ends where we left it.
    fn check_undisturbed(&self) -> Result<(), JournalError> {
        let there = std::fs::metadata(&self.path);
        let length = self.file.metadata().map(|metadata| metadata.len());
        let same = there.is_ok_and(|metadata| private_file::identity(&metadata) == self.identity);
        if same && length.is_ok_and(|length| length == self.end.bytes) {
            return Ok(());
        }
        Err(JournalError::ChangedUnderneath { path: self.path.clone() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Reads lines from the start, at most `lines_max`, and returns where the last whole one ends.
fn read_lines(
    mut file: &File,
    path: &Path,
    lines_max: u64,
    mut each: impl FnMut(u64, JournalRecord),
) -> Result<End, JournalError> {
    let failed = |source| JournalError::io("read the journal", path, source);
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut end = End::default();
    let mut bytes = Vec::new();
    while end.lines < lines_max {
        bytes.clear();
        let length = reader.by_ref().read_until(b'\n', &mut bytes).map_err(failed)?;
        let Some(text) = bytes.strip_suffix(b"\n") else { break };
        let damaged = |what: String| JournalError::Damaged {
            place: path.display().to_string(),
            line: end.lines,
            what,
        };
        let line = read_line(text).map_err(damaged)?;
        if line.place != end.lines || line.previous != end.hash {
            return Err(damaged("it does not follow the line before it".to_owned()));
        }
        each(line.place, line.record);
        end = End {
            bytes: end.bytes.saturating_add(length as u64),
            lines: end.lines.saturating_add(1),
            hash: line.hash,
        };
    }
    Ok(end)
}

/// Hands every whole line to `each`, in order, without the lock: whoever writes goes on meanwhile.
pub(super) fn read_whole(
    path: &Path,
    mut each: impl FnMut(&JournalRecord),
) -> Result<(), JournalError> {
    let file =
        File::open(path).map_err(|source| JournalError::io("open the journal", path, source))?;
    read_lines(&file, path, u64::MAX, |_line, record| each(&record)).map(|_end| ())
}

/// Reads the records from line `from` on, at most `count`, of the first `lines` lines: those that are durable.
pub(super) fn read_since(
    path: &Path,
    from: u64,
    count: usize,
    lines: u64,
) -> Result<Vec<(u64, JournalRecord)>, JournalError> {
    let last = from.saturating_add(count as u64).min(lines);
    let file = File::open(path).map_err(|source| JournalError::io("open", path, source))?;
    let mut records = Vec::new();
    read_lines(&file, path, last, |line, record| {
        if line >= from {
            records.push((line, record));
        }
    })?;
    Ok(records)
}
