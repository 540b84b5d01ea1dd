//! The journal: the signer's append-only memory, outside the database (invariant 13).
//!
//! Whatever happens to the database, the journal knows every signature that ever left, and what it was for.
//! It is a file beside the keystore. A keystore that has signed refuses to work without it.

mod error;
mod file;
mod index;
mod record;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use alloy_primitives::{Address, B256};
use portcullis_core::number::{PaymentRef, PayoutNumber};
use portcullis_core::slot::Slot;
use portcullis_core::time::Timestamp;

use self::file::JournalFile;
pub(crate) use self::index::Index;

pub use self::error::JournalError;
pub use self::index::{JournaledAttempt, PaymentEntry, Ride, SlotEntry};
pub use self::record::{
    AttemptRecord, AuditHead, Begin, EvidenceCause, JournalRecord, JournaledPayment,
    ReleaseEvidence, ReleaseRecord,
};

use crate::keystore::{Keystore, KeystoreId};
use crate::private_file;
use crate::random;

/// The version of the format.
const VERSION: u32 = 1;

random::random_id!(
    /// Names one journal, for ever; the keystore that has signed with it keeps the name.
    JournalId
);

/// An open journal, locked against every other process. Only the signer writes to it.
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
        let signed_with = keystore.signed_with();
        if let Some(journal) = signed_with
            && !path.exists()
        {
            return Err(JournalError::Missing { path, journal });
        }
        let mut index = Index::default();
        let mut begin = None;
        let mut file = JournalFile::open(&path, signed_with.is_none(), |record| {
            if let (0, JournalRecord::Begin(first)) = (index.lines(), record) {
                begin = Some(*first);
            }
            index.apply(record);
        })?;
        let begin = match begin {
            Some(begin) => begin,
            None if index.lines() > 0 => return Err(damaged(&path, "it does not say whose it is")),
            None if signed_with.is_some() => return Err(damaged(&path, "it is empty")),
            None => begin_file(&mut file, &mut index, keystore.id(), now)?,
        };
        check_belongs(&path, begin, keystore)?;
        Ok(Self {
            id: begin.journal,
            keystore: begin.keystore,
            backend: Backend::File(file),
            index: Arc::new(RwLock::new(index)),
        })
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

    /// Appends records: many lines, one fsync. Blocks. When it returns they survive a power failure, and
    /// only then do readers see them.
    ///
    /// # Errors
    /// See [`JournalError`]. After an error the records may or may not be there; nothing more is taken.
    pub(crate) fn append(&mut self, records: &[JournalRecord]) -> Result<(), JournalError> {
        let Backend::File(file) = &mut self.backend;
        file.append(records)?;
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            index.apply(record);
        }
        Ok(())
    }

    /// A view for those who only ask.
    #[must_use]
    pub fn reader(&self) -> JournalReader {
        let Backend::File(file) = &self.backend;
        JournalReader { path: file.path().to_owned(), index: Arc::clone(&self.index) }
    }
}

fn begin_file(
    file: &mut JournalFile,
    index: &mut Index,
    keystore: KeystoreId,
    at: Timestamp,
) -> Result<Begin, JournalError> {
    let begin = Begin { version: VERSION, journal: JournalId::random()?, keystore, at };
    let record = JournalRecord::Begin(begin);
    file.append(std::slice::from_ref(&record))?;
    file.sync_directory()?;
    index.apply(&record);
    Ok(begin)
}

fn check_belongs(path: &Path, begin: Begin, keystore: &Keystore) -> Result<(), JournalError> {
    let path = path.to_owned();
    if begin.version != VERSION {
        let (version, supported) = (begin.version, VERSION);
        return Err(JournalError::UnsupportedVersion { path, version, supported });
    }
    if begin.keystore != keystore.id() {
        let (expected, found) = (keystore.id(), begin.keystore);
        return Err(JournalError::OtherKeystore { path, expected, found });
    }
    match keystore.signed_with() {
        Some(expected) if expected != begin.journal => {
            Err(JournalError::OtherJournal { path, expected, found: begin.journal })
        }
        _ => Ok(()),
    }
}

fn damaged(path: &Path, what: &str) -> JournalError {
    JournalError::Damaged { path: path.to_owned(), line: 0, what: what.to_owned() }
}

/// What the journal knows, for the engine: it compares it with the database at the start (invariant 12) and
/// resumes what is journaled and not committed. Cheap to clone; sees only what is durable.
#[derive(Clone, Debug)]
pub struct JournalReader {
    path: PathBuf,
    index: Arc<RwLock<Index>>,
}

impl JournalReader {
    /// Reads a journal that another process may have open: a picture of this moment, without the lock. Checks every
    /// line but a last one that is not finished. Blocks.
    ///
    /// # Errors
    /// [`JournalError::Io`], [`JournalError::Damaged`].
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let mut index = Index::default();
        file::read_whole(path, |record| index.apply(record))?;
        Ok(Self { path: path.to_owned(), index: Arc::new(RwLock::new(index)) })
    }

    /// The journal of a keystore that has not signed yet.
    #[must_use]
    pub fn empty(path: &Path) -> Self {
        Self { path: path.to_owned(), index: Arc::default() }
    }

    /// The highest slot of each sender on each chain.
    #[must_use]
    pub fn highest_slots(&self) -> Vec<Slot> {
        self.index().highest_slots()
    }

    /// The highest payout number that anything was signed for.
    #[must_use]
    pub fn highest_number(&self) -> Option<PayoutNumber> {
        self.index().numbers().max()
    }

    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        // The writer cannot leave the index half changed in a way that matters: records are only added.
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was signed for a slot; `None` when nothing was.
    #[must_use]
    pub fn slot(&self, slot: Slot) -> Option<SlotEntry> {
        self.index().slot(slot).cloned()
    }

    /// All slots of a sender that anything was signed for, lowest nonce first.
    #[must_use]
    pub fn slots(&self, chain_id: u64, sender: Address) -> Vec<(Slot, SlotEntry)> {
        self.index().slots_of(chain_id, sender).map(|(slot, it)| (slot, it.clone())).collect()
    }

    /// Shows every slot that anything was signed for, in order. Signing waits meanwhile: be brief.
    pub fn for_each_slot(&self, mut each: impl FnMut(Slot, &SlotEntry)) {
        self.index().slots().for_each(|(slot, entry)| each(slot, entry));
    }

    /// The highest nonce that anything was signed for.
    #[must_use]
    pub fn highest_nonce(&self, chain_id: u64, sender: Address) -> Option<u64> {
        self.index().slots_of(chain_id, sender).next_back().map(|(slot, _)| slot.nonce)
    }

    /// The hashes of all transactions that were signed for a slot, oldest first.
    #[must_use]
    pub fn attempt_hashes(&self, slot: Slot) -> Vec<B256> {
        let index = self.index();
        let attempts = index.slot(slot).map(|entry| entry.attempts.as_slice()).unwrap_or_default();
        attempts.iter().map(|attempt| attempt.hash).collect()
    }

    /// Where a payment went; `None` when it was never signed.
    #[must_use]
    pub fn payment(&self, number: PayoutNumber) -> Option<PaymentEntry> {
        self.index().payment(number).cloned()
    }

    /// Every slot that was ever to pay this request, under whatever number.
    #[must_use]
    pub fn slots_of_request(&self, reference: PaymentRef) -> Vec<Slot> {
        let index = self.index();
        let rides = index.payments_of(reference).flat_map(|(_, known)| known.rides.iter());
        rides.map(|ride| ride.slot).collect()
    }

    /// The last head of the audit log that was written down.
    #[must_use]
    pub fn audit_head(&self) -> Option<AuditHead> {
        self.index().audit_head()
    }

    /// How many lines there are. The first is the journal's own beginning.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.index().lines()
    }

    /// The records from line `from` on, at most `count`, each with its line. Reads the file from its
    /// beginning: call it where blocking is allowed, and with a large `count`.
    ///
    /// # Errors
    /// [`JournalError::Io`], [`JournalError::Damaged`].
    pub fn records_since(
        &self,
        from: u64,
        count: usize,
    ) -> Result<Vec<(u64, JournalRecord)>, JournalError> {
        let lines = self.lines();
        file::read_since(&self.path, from, count, lines)
    }
}
