//! The journal: the signer's append-only memory, outside the database (invariant 13).
//!
//! Whatever happens to the database, the journal knows every signature that ever left, and what it was for. It is a file
//! beside the keystore, or, for several signers, a second database. Keys that have signed refuse to work without it.

mod error;
#[cfg(test)]
mod exercise;
mod file;
mod index;
mod reader;
mod record;
mod sql;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use portcullis_core::time::Timestamp;

use self::file::JournalFile;
pub(crate) use self::index::Index;
use self::reader::Source;
use self::sql::SqlJournal;

pub use self::error::JournalError;
pub use self::index::{JournaledAttempt, PaymentEntry, Ride, SlotEntry};
pub use self::reader::JournalReader;
pub use self::record::{
    AttemptRecord, AuditHead, Begin, EvidenceCause, JournalRecord, JournaledPayment,
    ReleaseEvidence, ReleaseRecord,
};
pub use self::sql::SqlJournalOptions;

use crate::keyring::Keyring;
use crate::keystore::{Keystore, KeystoreId};
use crate::private_file;
use crate::random;

/// The version of the format.
const VERSION: u32 = 1;

random::random_id!(
    /// Names one journal, for ever; the keystore that has signed with it keeps the name.
    JournalId
);

/// An open journal. Only the signer writes to it. A file is locked against every other process; a database is shared with
/// the other signers, and nothing is appended by who has not read all that they have.
#[derive(Debug)]
pub struct Journal {
    id: JournalId,
    keystore: KeystoreId,
    backend: Backend,
    index: Arc<RwLock<Index>>,
}

/// Where the lines are.
#[derive(Debug)]
enum Backend {
    File(JournalFile),
    Sql(Box<SqlJournal>),
}

impl Journal {
    /// Where the journal of the keystore at `path` is: beside it, with `.journal` behind its name.
    #[must_use]
    pub fn path_of(keystore: &Path) -> PathBuf {
        private_file::beside(keystore, ".journal")
    }

    /// Opens the journal of `keystore` and checks every line of it. Where there is none and the keystore has
    /// not signed yet, begins one. Reads the whole file: call it where blocking is allowed.
    ///
    /// # Errors
    /// See [`JournalError`]. A damaged, foreign or missing journal is never replaced by a new one.
    pub fn open(keystore: &mut Keystore, now: Timestamp) -> Result<Self, JournalError> {
        keystore.refresh()?;
        let path = Self::path_of(keystore.path());
        let place = path.display().to_string();
        let signed_with = keystore.signed_with();
        if let Some(journal) = signed_with
            && !path.exists()
        {
            return Err(JournalError::Missing { place, journal });
        }
        let mut read = Reading::default();
        let mut file = JournalFile::open(&path, signed_with.is_none(), |record| read.take(record))?;
        if read.index.lines() == 0 {
            if signed_with.is_some() {
                return Err(damaged(place, "it is empty"));
            }
            let begin = beginning(keystore.id(), now)?;
            file.append(std::slice::from_ref(&begin))?;
            file.sync_directory()?;
            read.take(&begin);
        }
        read.finish(Backend::File(file), place, keystore.id(), signed_with)
    }

    /// Opens the journal file at `path` of keys that are held elsewhere, which cannot remember whether they have signed: it is begun by
    /// [`Journal::begin_file`] alone, and `named` in the configuration. Reads the whole file: call it where blocking is allowed.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open_file(
        path: &Path,
        keyring: KeystoreId,
        named: Option<JournalId>,
    ) -> Result<Self, JournalError> {
        let place = path.display().to_string();
        if !path.exists() {
            return Err(match named {
                Some(journal) => JournalError::Missing { place, journal },
                None => JournalError::NotBegun { place },
            });
        }
        let mut read = Reading::default();
        let file = JournalFile::open(path, false, |record| read.take(record))?;
        match (named, read.begin) {
            (None, Some(begin)) => Err(JournalError::Unnamed { place, found: begin.journal }),
            _ => read.finish(Backend::File(file), place, keyring, named),
        }
    }

    /// Opens the journal file of `keyring`: beside its keystore, or at `path` where its keys are held elsewhere. Where the configuration
    /// has `named` a journal, it has to be that one.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open_beside(
        path: &Path,
        keyring: &mut Keyring,
        named: Option<JournalId>,
        now: Timestamp,
    ) -> Result<Self, JournalError> {
        let owner = keyring.id();
        let opened = match keyring.keystore_mut() {
            Some(keystore) => Self::open(keystore, now)?,
            None => Self::open_file(path, owner, named)?,
        };
        opened.if_named(named)
    }

    /// Begins the journal file of keys that are held elsewhere: once in their life.
    ///
    /// # Errors
    /// [`JournalError::Exists`]; see the others there.
    pub fn begin_file(
        path: &Path,
        keyring: KeystoreId,
        now: Timestamp,
    ) -> Result<JournalId, JournalError> {
        let mut read = Reading::default();
        let mut file = JournalFile::open(path, true, |record| read.take(record))?;
        let place = path.display().to_string();
        match read.begin {
            Some(begin) => return Err(JournalError::Exists { place, found: begin.journal }),
            None if read.index.lines() > 0 => return Err(damaged(place, NOBODYS)),
            None => {}
        }
        let begin = beginning(keyring, now)?;
        file.append(std::slice::from_ref(&begin))?;
        file.sync_directory()?;
        read.take(&begin);
        read.finish(Backend::File(file), place, keyring, None).map(|journal| journal.id)
    }

    /// Opens the journal of `keyring` in a database, and checks every line of it. A keystore that has not signed yet begins one
    /// where there is none. Keys that are held elsewhere cannot remember whether they have signed: theirs is begun by
    /// [`Journal::begin_shared`] alone, and `named` in the configuration.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn open_shared(
        options: &SqlJournalOptions,
        keyring: &mut Keyring,
        named: Option<JournalId>,
        now: Timestamp,
    ) -> Result<Self, JournalError> {
        let mut sql = SqlJournal::open(options).await?;
        let owner = keyring.id();
        let mut read = Reading::of(&mut sql).await?;
        let place = sql.place();
        let is_keystore = keyring.keystore_mut().is_some();
        if let Some(keystore) = keyring.keystore_mut() {
            keystore.refresh()?;
        }
        let signed_with = keyring.keystore_mut().and_then(|keystore| keystore.signed_with());
        let expected = signed_with.or(named);
        if read.index.lines() == 0 {
            match expected {
                Some(journal) => return Err(JournalError::Missing { place, journal }),
                None if !is_keystore => return Err(JournalError::NotBegun { place }),
                None => begin_in(&mut sql, &mut read, owner, now).await?,
            }
        }
        if let (None, false, Some(begin)) = (expected, is_keystore, read.begin) {
            return Err(JournalError::Unnamed { place, found: begin.journal });
        }
        read.finish(Backend::Sql(Box::new(sql)), place, owner, expected)?.if_named(named)
    }

    fn if_named(self, named: Option<JournalId>) -> Result<Self, JournalError> {
        match named.filter(|named| *named != self.id) {
            Some(expected) => {
                let place = self.reader().place();
                Err(JournalError::OtherJournal { place, expected, found: self.id })
            }
            None => Ok(self),
        }
    }

    /// Begins the journal of keys that are held elsewhere, in an empty database: once in their life.
    ///
    /// # Errors
    /// [`JournalError::Exists`]; see the others there.
    pub async fn begin_shared(
        options: &SqlJournalOptions,
        keyring: KeystoreId,
        now: Timestamp,
    ) -> Result<JournalId, JournalError> {
        let mut sql = SqlJournal::open(options).await?;
        let mut read = Reading::of(&mut sql).await?;
        let was_empty = read.index.lines() == 0;
        if was_empty {
            begin_in(&mut sql, &mut read, keyring, now).await?;
        }
        match read.begin {
            Some(begin) if was_empty && begin.keystore == keyring => Ok(begin.journal),
            Some(begin) => Err(JournalError::Exists { place: sql.place(), found: begin.journal }),
            None => Err(damaged(sql.place(), NOBODYS)),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> JournalId {
        self.id
    }

    /// The keystore that it belongs to.
    #[must_use]
    pub const fn keystore(&self) -> KeystoreId {
        self.keystore
    }

    /// Whether other signers write to it too.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        matches!(self.backend, Backend::Sql(_))
    }

    /// Whether an append has failed: [`Journal::catch_up`] then blocks, and does not wait.
    pub(crate) const fn is_broken(&self) -> bool {
        match &self.backend {
            Backend::File(file) => file.is_broken(),
            Backend::Sql(_) => false,
        }
    }

    /// Reads what other signers have appended, so that readers see it too. A file has one writer, and nothing to be read:
    /// it is mended where an append has failed.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub(crate) async fn catch_up(&mut self) -> Result<(), JournalError> {
        let sql = match &mut self.backend {
            Backend::File(file) => return file.mend(),
            Backend::Sql(sql) => sql,
        };
        let index = &self.index;
        sql.read_on(|record| index.write().unwrap_or_else(PoisonError::into_inner).apply(record))
            .await
    }

    /// Appends records, all or none. When it returns they survive a power failure, and only then do readers see
    /// them. A file blocks meanwhile, and does not wait: it is done at the first poll.
    ///
    /// # Errors
    /// See [`JournalError`]. After [`JournalError::Overtaken`] nothing was written, and what others have written is known:
    /// judge anew. After any other error the records may or may not be there.
    pub(crate) async fn append(&mut self, records: &[JournalRecord]) -> Result<(), JournalError> {
        match &mut self.backend {
            Backend::File(file) => file.append(records)?,
            Backend::Sql(sql) => {
                let claimed = {
                    let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
                    sql.prepare(records, &index)
                };
                let appended = sql.append(claimed).await;
                if matches!(appended, Err(JournalError::Overtaken { .. })) {
                    self.catch_up().await?;
                }
                appended?;
            }
        }
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            index.apply(record);
        }
        Ok(())
    }

    /// A view for those who only ask.
    #[must_use]
    pub fn reader(&self) -> JournalReader {
        let source = match &self.backend {
            Backend::File(file) => Source::File(file.path().to_owned()),
            Backend::Sql(sql) => Source::Sql(Box::new(sql.dial().clone())),
        };
        JournalReader::new(source, Arc::clone(&self.index))
    }
}

const NOBODYS: &str = "it does not say whose it is";

/// What is known while the lines are read.
#[derive(Default)]
struct Reading {
    index: Index,
    begin: Option<Begin>,
}

impl Reading {
    async fn of(sql: &mut SqlJournal) -> Result<Self, JournalError> {
        let mut read = Self::default();
        sql.read_on(|record| read.take(record)).await?;
        Ok(read)
    }

    fn take(&mut self, record: &JournalRecord) {
        if let (0, JournalRecord::Begin(first)) = (self.index.lines(), record) {
            self.begin = Some(*first);
        }
        self.index.apply(record);
    }

    /// The open journal, when it is the right one.
    fn finish(
        self,
        backend: Backend,
        place: String,
        owner: KeystoreId,
        expected: Option<JournalId>,
    ) -> Result<Journal, JournalError> {
        let Some(begin) = self.begin else { return Err(damaged(place, NOBODYS)) };
        if begin.version != VERSION {
            let (version, supported) = (begin.version, VERSION);
            return Err(JournalError::UnsupportedVersion { place, version, supported });
        }
        if begin.keystore != owner {
            let (expected, found) = (owner, begin.keystore);
            return Err(JournalError::OtherKeystore { place, expected, found });
        }
        if let Some(expected) = expected.filter(|expected| *expected != begin.journal) {
            return Err(JournalError::OtherJournal { place, expected, found: begin.journal });
        }
        Ok(Journal {
            id: begin.journal,
            keystore: begin.keystore,
            backend,
            index: Arc::new(RwLock::new(self.index)),
        })
    }
}

fn beginning(keystore: KeystoreId, at: Timestamp) -> Result<JournalRecord, JournalError> {
    let journal = JournalId::random()?;
    Ok(JournalRecord::Begin(Begin { version: VERSION, journal, keystore, at }))
}

/// Writes the first line, unless another signer does that at the same moment.
async fn begin_in(
    sql: &mut SqlJournal,
    read: &mut Reading,
    owner: KeystoreId,
    now: Timestamp,
) -> Result<(), JournalError> {
    let begin = beginning(owner, now)?;
    let batch = sql.prepare(std::slice::from_ref(&begin), &read.index);
    match sql.append(batch).await {
        Ok(()) => {
            read.take(&begin);
            Ok(())
        }
        Err(JournalError::Overtaken { .. }) => sql.read_on(|record| read.take(record)).await,
        Err(error) => Err(error),
    }
}

fn damaged(place: String, what: &str) -> JournalError {
    JournalError::Damaged { place, line: 0, what: what.to_owned() }
}
