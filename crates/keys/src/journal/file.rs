//! The journal as a file: locked, append-only, every line chained to the one before it.
//!
//! An append that failed leaves bytes behind the last durable line of which nobody knows whether they are on the disk; after
//! a failed fsync not even reading them tells (<https://wiki.postgresql.org/wiki/Fsync_Errors>). Nothing that they stand for
//! has left the signer, so they are cut off and the cut is made durable before anything else is written. Where the process
//! ends before that, the next one reads them, and what it reads counts as signed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
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
    /// What became of an append that failed.
    broken: Option<Break>,
}

/// An append that failed.
#[derive(Clone, Debug)]
struct Break {
    reason: String,
    /// What it was to write; `None` where the file was not as this process had left it, which no process mends.
    tried: Option<Vec<u8>>,
}

/// The least room that there has to be before an append is tried again, in bytes: a disk that takes one line and not the
/// next would be found full at every step.
const ROOM_MIN: usize = 64 * 1024;

/// What is written to see whether there is room.
const BLANK: u8 = b' ';

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct End {
    bytes: u64,
    lines: u64,
    hash: B256,
}

/// By name, not by closing it: a program that this process is just starting has a copy of the open file for a moment, and would
/// hold the lock so long.
impl Drop for JournalFile {
    fn drop(&mut self) {
        // Closed, it is unlocked all the same.
        let _closed = self.file.unlock();
    }
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
            file.set_len(end.bytes).map_err(failed)?;
        }
        // The lines of a process that ended before its fsync are read from memory: from here on they count, so they have
        // to survive.
        file.sync_all().map_err(failed)?;
        let identity = private_file::identity(&metadata);
        Ok(Self { file, path: path.to_owned(), identity, end, broken: None })
    }

    /// Appends the records as one write with one fsync. Blocks. After an error the file takes nothing more until
    /// [`JournalFile::mend`] has put it in order: nobody knows how much is on the disk.
    pub(super) fn append(&mut self, records: &[JournalRecord]) -> Result<(), JournalError> {
        self.mend()?;
        self.check_undisturbed().inspect_err(|error| {
            self.broken = Some(Break { reason: error.to_string(), tried: None });
        })?;
        let mut bytes = Vec::with_capacity(records.len().saturating_mul(768));
        let mut end = self.end;
        for record in records {
            end.hash = write_line(&mut bytes, end.lines, end.hash, record);
            end.lines = end.lines.saturating_add(1);
        }
        end.bytes = end.bytes.saturating_add(bytes.len() as u64);
        let written = self.write(&bytes).map_err(|source| self.failed_append(source));
        let reason = match &written {
            Ok(()) => {
                self.end = end;
                return Ok(());
            }
            Err(error) => error.to_string(),
        };
        self.broken = Some(Break { reason, tried: Some(bytes) });
        // At once, so that a process that ends now leaves nothing in doubt. Where it fails, mending does it later.
        let _cut = self.cut_back();
        written
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.file).write_all(bytes).and_then(|()| self.file.sync_data())
    }

    /// Whether an append has failed, and nothing is taken before the file is mended.
    pub(super) const fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// After a failed append: cuts off what it left, sees whether there is room to write again, and reads whether all that
    /// was durable still is. Blocks.
    ///
    /// # Errors
    /// [`JournalError::Unwritable`] as long as the disk does not take it; [`JournalError::Broken`] where the file is not as
    /// this process had left it.
    pub(super) fn mend(&mut self) -> Result<(), JournalError> {
        let Some(Break { reason, tried }) = &self.broken else { return Ok(()) };
        let place = self.path.display().to_string();
        let Some(tried) = tried else {
            return Err(JournalError::Broken { place, reason: reason.clone() });
        };
        match self.try_to_mend(tried) {
            Ok(()) => {
                tracing::info!(path = %self.path.display(), "the journal can be written again");
                self.broken = None;
                Ok(())
            }
            Err(
                error @ (JournalError::ChangedUnderneath { .. } | JournalError::Damaged { .. }),
            ) => {
                self.broken = Some(Break { reason: error.to_string(), tried: None });
                Err(error)
            }
            Err(JournalError::Io { source, .. }) => {
                Err(JournalError::Unwritable { place, reason: source.to_string() })
            }
            Err(error) => Err(error),
        }
    }

    fn try_to_mend(&self, tried: &[u8]) -> Result<(), JournalError> {
        let failed = |source| self.failed_append(source);
        self.check_remains(tried)?;
        self.cut_back().map_err(failed)?;
        // Blanks without a newline are what any start cuts off.
        let room = self.write(&vec![BLANK; tried.len().max(ROOM_MIN)]);
        self.cut_back().map_err(failed)?;
        room.map_err(failed)?;
        let found = read_lines(&self.file, &self.path, self.end.lines, |_line, _record| {})?;
        if found == self.end { Ok(()) } else { Err(self.changed()) }
    }

    /// Cuts off all that is behind the last durable line, and makes that durable.
    fn cut_back(&self) -> io::Result<()> {
        self.file.set_len(self.end.bytes).and_then(|()| self.file.sync_all())
    }

    /// Whether nothing is behind the last durable line but what this process tried to write: whatever else is there,
    /// somebody has to look at it.
    fn check_remains(&self, tried: &[u8]) -> Result<(), JournalError> {
        if !self.is_in_place() {
            return Err(self.changed());
        }
        let mut remains = Vec::new();
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.end.bytes))
            .and_then(|_place| file.read_to_end(&mut remains))
            .map_err(|source| JournalError::io("read the journal", &self.path, source))?;
        let length = self.end.bytes.saturating_add(remains.len() as u64);
        let is_whole = self.file.metadata().is_ok_and(|metadata| metadata.len() == length);
        let is_ours = tried.starts_with(&remains) || remains.iter().all(|byte| *byte == BLANK);
        if is_whole && is_ours { Ok(()) } else { Err(self.changed()) }
    }

    fn failed_append(&self, source: io::Error) -> JournalError {
        JournalError::io("append to the journal", &self.path, source)
    }

    fn changed(&self) -> JournalError {
        JournalError::ChangedUnderneath { path: self.path.clone() }
    }

    /// Makes the file's own name durable, once, when it is new.
    pub(super) fn sync_directory(&self) -> Result<(), JournalError> {
        private_file::sync_directory(&self.path)
            .map_err(|source| JournalError::io("make durable the journal", &self.path, source))
    }

    /// Whether the name still leads to this file and the file ends where we left it.
    fn check_undisturbed(&self) -> Result<(), JournalError> {
        let length = self.file.metadata().map(|metadata| metadata.len());
        if self.is_in_place() && length.is_ok_and(|length| length == self.end.bytes) {
            return Ok(());
        }
        Err(self.changed())
    }

    /// Whether the name still leads to this file.
    fn is_in_place(&self) -> bool {
        let there = std::fs::metadata(&self.path);
        there.is_ok_and(|metadata| private_file::identity(&metadata) == self.identity)
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

#[cfg(test)]
mod tests {
    use std::fs;

    use portcullis_core::time::Timestamp;

    use super::*;
    use crate::journal::AuditHead;

    fn head(sequence: u64) -> JournalRecord {
        let at = Timestamp::from_millis(1);
        JournalRecord::AuditHead(AuditHead { sequence, hash: B256::repeat_byte(7), at })
    }

    /// A file with two durable lines, whose third append failed with `left` behind them.
    fn failed_with(path: &Path, left: &[u8]) -> (JournalFile, Vec<u8>) {
        let mut file = JournalFile::open(path, true, |_| {}).expect("a new file");
        file.append(&[head(1), head(2)]).expect("room");
        let mut tried = Vec::new();
        write_line(&mut tried, file.end.lines, file.end.hash, &head(3));
        let mut other = OpenOptions::new().append(true).open(path).expect("our own file");
        other.write_all(left).expect("room");
        let reason = "No space left on device".to_owned();
        file.broken = Some(Break { reason, tried: Some(tried.clone()) });
        (file, tried)
    }

    fn sequences(path: &Path) -> Vec<u64> {
        let mut found = Vec::new();
        read_whole(path, |record| {
            if let JournalRecord::AuditHead(head) = record {
                found.push(head.sequence);
            }
        })
        .expect("whole");
        found
    }

    #[test]
    fn after_a_failed_append_it_goes_on_behind_the_last_durable_line() {
        let folder = tempfile::tempdir().expect("a directory");
        let mut third = Vec::new();
        // What a write leaves: nothing, a piece, a whole line that was not synced, a piece of a look for room.
        for (row, left) in [0, 1, 40, usize::MAX].into_iter().enumerate() {
            let path = folder.path().join(row.to_string());
            let (file, tried) = failed_with(&path, b"");
            drop(file);
            fs::remove_file(&path).expect("our own file");
            third.clone_from(&tried);
            let left = left.min(tried.len());
            let (mut file, _) = failed_with(&path, &tried[..left]);
            assert!(file.is_broken());
            file.mend().expect("there is room");
            assert!(!file.is_broken());
            assert_eq!(sequences(&path), [1, 2], "row {row}: what was not synced is no evidence");
            file.append(&[head(4)]).expect("room");
            assert_eq!(sequences(&path), [1, 2, 4], "row {row}");
        }
        let path = folder.path().join("blanks");
        let (mut file, _) = failed_with(&path, b"   ");
        file.append(&[head(3)]).expect("an append mends");
        assert_eq!(sequences(&path), [1, 2, 3]);
        // And a process that ended before it could mend finds the same, or the whole line.
        for (left, expected) in [(third.len() - 1, 2), (third.len(), 3)] {
            let path = folder.path().join(format!("ended-{left}"));
            drop(failed_with(&path, &third[..left]));
            let mut lines = 0;
            JournalFile::open(&path, false, |_| lines += 1).expect("in order");
            assert_eq!(lines, expected, "what may be on the disk counts");
        }
    }

    #[test]
    fn what_somebody_else_wrote_is_neither_cut_off_nor_written_behind() {
        let folder = tempfile::tempdir().expect("a directory");
        for (row, left) in [&b"{\"line\":2}\n"[..], b"x"].into_iter().enumerate() {
            let path = folder.path().join(row.to_string());
            let (mut file, _) = failed_with(&path, left);
            let before = fs::read(&path).expect("our own file");
            let mended = file.mend();
            assert!(matches!(mended, Err(JournalError::ChangedUnderneath { .. })), "{mended:?}");
            let appended = file.append(&[head(3)]);
            assert!(matches!(appended, Err(JournalError::Broken { .. })), "{appended:?}");
            assert_eq!(fs::read(&path).expect("our own file"), before, "row {row}");
        }
        let path = folder.path().join("shortened");
        let (mut file, _) = failed_with(&path, b"");
        let length = fs::metadata(&path).expect("there").len();
        OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|it| it.set_len(length - 1))
            .expect("ours");
        let mended = file.mend();
        assert!(matches!(mended, Err(JournalError::ChangedUnderneath { .. })), "{mended:?}");
    }

    #[test]
    fn the_lock_ends_with_the_journal_whoever_has_a_copy_of_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let open = |create| JournalFile::open(&path, create, |_record| {});
        let journal = open(true).expect("opens");
        let copy = journal.file.try_clone().expect("a copy");
        assert!(matches!(open(false), Err(JournalError::Locked { .. })), "it is held");
        drop(journal);
        open(false).expect("nobody holds it");
        drop(copy);
    }
}
