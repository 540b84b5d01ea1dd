//! Old copies of the database: noticed before a request is taken in, and while the engine runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::time::Clock;
use portcullis_engine::reconcile::what_journal_knows_more;
use portcullis_keys::journal::JournalReader;
use portcullis_store::backup::{FileWatch, file_of, files_of, is_marked};
use portcullis_store::{Store, StoreOptions};

use crate::config::Config;
use crate::failure::Failure;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// At which of the looks the write-ahead log is written into the file.
const CHECKPOINT_EVERY: usize = 4;

/// Before the database is opened: a backup that was copied over it, with the write-ahead log of another one still
/// beside it, would be mixed with that.
pub(crate) fn refuse_mixed_files(config: &Config) -> Result<(), Failure> {
    let url = config.database.url()?;
    let Some(path) = file_of(&url) else { return Ok(()) };
    if !is_mixed(&path) {
        return Ok(());
    }
    let [_, log, index] = files_of(&path);
    Err(Failure::Refused(format!(
        "{} is a backup, and {} belongs to the database that it replaced: move {} and {} away and try again \
         (`portcullis restore` does all of this)",
        path.display(),
        log.display(),
        log.display(),
        index.display()
    )))
}

/// Whether the file is a backup, and beside it lies a write-ahead log, which no backup has.
pub(crate) fn is_mixed(path: &Path) -> bool {
    let [_, log, _] = files_of(path);
    let has_log = std::fs::metadata(&log).is_ok_and(|metadata| metadata.len() > 0);
    has_log && is_marked(path).unwrap_or(false)
}

/// Before the first request is taken in: whether this database is an old one. It is halted then, and with it intake.
pub(crate) async fn notice_old_copy(
    store: &Store,
    journal: Option<&JournalReader>,
) -> Result<(), Failure> {
    let failed = |error| Failure::of_store("cannot compare the database with the journal", &error);
    if store.is_copy().await.map_err(failed)? {
        let detail =
            "this file is a backup that was copied back. Run `portcullis reconcile --repair`";
        store.raise_halt("restore", detail).await.map_err(failed)?;
        store.take_into_use().await.map_err(failed)?;
    }
    let Some(journal) = journal else { return Ok(()) };
    let more = what_journal_knows_more(store, journal)
        .await
        .map_err(|error| Failure::failed("cannot compare the database with the journal", &error))?;
    if let Some(detail) = more {
        store.raise_halt("restore", &detail).await.map_err(failed)?;
    }
    Ok(())
}

/// Looks after the files of the open database.
pub(crate) struct FileGuard {
    path: PathBuf,
    watch: FileWatch,
    store: Store,
    clock: Arc<dyn Clock>,
}

impl FileGuard {
    /// Of the database of this configuration, which is open; `None` where it is no file. Its checkpoints are the guard's
    /// from now on.
    pub(crate) async fn over(
        store: &Store,
        config: &Config,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Arc<Self>>, Failure> {
        let url = config.database.url()?;
        let Some(path) = file_of(&url) else { return Ok(None) };
        store
            .leave_checkpoints_to_caller()
            .await
            .map_err(|error| Failure::of_store("cannot watch the database", &error))?;
        let (watch, store) = (FileWatch::new(&path), store.clone());
        Ok(Some(Arc::new(Self { path, watch, store, clock })))
    }

    /// Looks again and again, and writes into the file only what it has just seen to be the one that was opened: a
    /// checkpoint that comes before the look would overwrite the mark of a backup that was copied over it.
    pub(crate) async fn keep(self: Arc<Self>) {
        for look in 1_usize.. {
            tokio::time::sleep(LOOK_EVERY).await;
            self.look().await;
            if look % CHECKPOINT_EVERY != 0 {
                continue;
            }
            if let Err(error) = self.store.checkpoint().await {
                tracing::warn!(%error, "the write-ahead log could not be written into the database; it grows until it can");
            }
        }
    }

    /// Ends the process when the database is another one: whatever it wrote from then on would be lost, or would spoil
    /// the new file. The new one is halted first.
    pub(crate) async fn look(&self) {
        let Some(what) = self.watch.what_changed() else { return };
        tracing::error!(
            what,
            "the database was exchanged under the running engine, which ends now: start it again, and run \
             `portcullis reconcile --repair`"
        );
        self.halt_new_file(&what).await;
        // Not by the ordinary way: closing would write the old pages into the new file.
        std::process::exit(1);
    }

    /// The log of the replaced database may still lie there: then the start refuses, and this leaves it alone.
    async fn halt_new_file(&self, what: &str) {
        let [_, log, _] = files_of(&self.path);
        if !self.path.exists() || log.exists() {
            return;
        }
        let options = StoreOptions {
            url: self.path.display().to_string(),
            readers_max: 1,
            busy_timeout_ms: 1_000,
            ..StoreOptions::default()
        };
        let detail = format!("{what} while the engine ran. Run `portcullis reconcile --repair`");
        let Ok(store) = Store::open(&options, Arc::clone(&self.clock)).await else { return };
        if let Err(error) = store.raise_halt("restore", &detail).await {
            tracing::warn!(%error, "the exchanged database could not be halted; its next start compares it");
        }
        store.close().await;
    }
}
