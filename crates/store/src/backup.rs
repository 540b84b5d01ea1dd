//! Copies of the database, and how one is told from the file that is in use.
//!
//! A copy made here bears a mark in its header (`user_version`, bytes 60 to 63 of the file,
//! <https://www.sqlite.org/fileformat.html>): put back by hand, it says itself what it is. A checkpoint writes the pages
//! of the write-ahead log into the file, and the mark of a copy that was just put there would be gone. So whoever watches
//! a database that is in use makes its checkpoints too, each after a look.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::db::Store;
use crate::dialect::Pool;
use crate::error::StoreError;

/// The mark of a copy. A database in use has another one.
const COPY_MARK: u32 = 0x0c09;

/// Pages of the write-ahead log, of 4 KiB each, from which on it is worth a pause to begin it anew.
const LOG_PAGES_MAX: i64 = 8_192;

/// Where the mark is in the file.
const MARK_AT: usize = 60;

impl Store {
    /// Writes a consistent copy of the database, while it is in use. Only the database: neither keystore nor journal
    /// is in it, on purpose.
    ///
    /// # Errors
    /// When the file exists already, or cannot be written; and on a database server, which has tools of its own for it.
    pub async fn back_up(&self, path: &Path) -> Result<(), StoreError> {
        let during = "back_up";
        let failed = |error: sqlx::Error| StoreError::of_driver(during, &error);
        let text = path.to_str().filter(|text| !text.contains('\0')).ok_or_else(|| {
            let cause = format!("{} is no path that the database can write to", path.display());
            StoreError::Database { during, cause }
        })?;
        if self.file_pool().is_none() {
            let cause = "a database server is copied with its own tools, `mariadb-dump --single-transaction` for instance";
            return Err(StoreError::Database { during, cause: cause.to_owned() });
        }
        let pool = self.reader.connection().get_sqlite_connection_pool();
        sqlx::query("VACUUM INTO ?").bind(text).execute(pool).await.map_err(failed)?;
        let options = SqliteConnectOptions::new().filename(path);
        let mut copy = options.connect().await.map_err(failed)?;
        let mark = format!("PRAGMA user_version = {COPY_MARK}");
        sqlx::query(AssertSqlSafe(mark)).execute(&mut copy).await.map_err(failed)?;
        copy.close().await.map_err(failed)
    }

    /// From now on commits write nothing into the file itself: [`Store::checkpoint`] does, when its caller says so. A
    /// server sees to its own.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn leave_checkpoints_to_caller(&self) -> Result<(), StoreError> {
        let Some(pool) = self.file_pool() else { return Ok(()) };
        // Of a connection, and made by commits: there is one that commits, and it stays.
        sqlx::query("PRAGMA wal_autocheckpoint = 0")
            .execute(pool)
            .await
            .map_err(|error| StoreError::of_driver("leave_checkpoints_to_caller", &error))?;
        Ok(())
    }

    /// Writes what the write-ahead log holds into the file, while others write. What they wrote meanwhile would keep the
    /// log from being begun anew, however long it is: once it is long, the rest of it is written while nobody writes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        if self.file_pool().is_none() || self.checkpoint_once().await? < LOG_PAGES_MAX {
            return Ok(());
        }
        let _turn = self.role_turn("checkpoint").await?;
        self.checkpoint_once().await.map(|_| ())
    }

    /// Returns how many pages the log has.
    async fn checkpoint_once(&self) -> Result<i64, StoreError> {
        let asked: Result<(i64, i64, i64), sqlx::Error> =
            sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)")
                .fetch_one(self.reader.connection().get_sqlite_connection_pool())
                .await;
        let outcome = asked.map_err(|error| StoreError::of_driver("checkpoint", &error));
        if outcome.is_err() {
            self.note_room(&outcome);
        }
        outcome.map(|(_busy, pages, _written)| pages)
    }

    /// Whether this database is a copy that nobody has taken into use yet. What a server was restored from bears no mark:
    /// there the journal alone tells.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn is_copy(&self) -> Result<bool, StoreError> {
        let Some(pool) = self.file_pool() else { return Ok(false) };
        let mark: i64 = sqlx::query_scalar("PRAGMA user_version")
            .fetch_one(pool)
            .await
            .map_err(|error| StoreError::of_driver("is_copy", &error))?;
        Ok(mark == i64::from(COPY_MARK))
    }

    /// Takes a copy into use: its mark goes, from the file itself too.
    ///
    /// # Errors
    /// When the database does not answer; [`StoreError::Unavailable`] while another process keeps the write-ahead log
    /// from being emptied.
    pub async fn take_into_use(&self) -> Result<(), StoreError> {
        let during = "take_into_use";
        let failed = |error: sqlx::Error| StoreError::of_driver(during, &error);
        let Some(pool) = self.file_pool() else { return Ok(()) };
        sqlx::query("PRAGMA user_version = 0").execute(pool).await.map_err(failed)?;
        let (busy, _log, _done): (i64, i64, i64) =
            sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)")
                .fetch_one(pool)
                .await
                .map_err(failed)?;
        if busy == 0 {
            return Ok(());
        }
        let cause = "another process reads from the database: start again in a moment".to_owned();
        Err(StoreError::Unavailable { during, cause })
    }

    /// The pool of an embedded database.
    const fn file_pool(&self) -> Option<&SqlitePool> {
        match &self.pool {
            Pool::Sqlite(pool) => Some(pool),
            Pool::MySql(_) => None,
        }
    }
}

/// The file of an embedded database; `None` for a URL that names none.
#[must_use]
pub fn file_of(url: &str) -> Option<PathBuf> {
    if url.starts_with("sqlite:") {
        return SqliteConnectOptions::from_str(url)
            .ok()
            .map(|options| options.get_filename().to_owned());
    }
    (!url.contains("://")).then(|| PathBuf::from(url))
}

/// Whether the file itself, past what its write-ahead log says, is a copy.
///
/// # Errors
/// When it cannot be read.
pub fn is_marked(path: &Path) -> io::Result<bool> {
    let mut head = [0_u8; MARK_AT + 4];
    match File::open(path)?.read_exact(&mut head) {
        Ok(()) => {}
        // A new file, not yet written.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    }
    Ok(head[MARK_AT..] == COPY_MARK.to_be_bytes())
}

/// The files that belong to a database in use: itself, its write-ahead log and the index of that.
#[must_use]
pub fn files_of(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    })
}

/// Remembers which files a running process has open, and sees when others lie in their place: whoever writes on then
/// writes into nothing, or spoils what was put there.
#[derive(Debug)]
pub struct FileWatch {
    files: [(PathBuf, Option<(u64, u64)>); 3],
}

impl FileWatch {
    /// Remembers the files of the database at `path`, which is open.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            files: files_of(path).map(|file| {
                let id = identity_of(&file);
                (file, id)
            }),
        }
    }

    /// What has changed, in words; `None` while all is as it was.
    #[must_use]
    pub fn what_changed(&self) -> Option<String> {
        for (file, known) in &self.files {
            if known.is_some() && identity_of(file) != *known {
                return Some(format!("{} was removed or replaced", file.display()));
            }
        }
        let main = &self.files[0].0;
        is_marked(main)
            .is_ok_and(|is_marked| is_marked)
            .then(|| format!("a backup was copied over {}", main.display()))
    }
}

fn identity_of(path: &Path) -> Option<(u64, u64)> {
    let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
    std::fs::metadata(path).ok().map(identity)
}
