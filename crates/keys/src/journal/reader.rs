//! The journal for those who only ask.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use alloy_primitives::{Address, B256};
use portcullis_core::number::{PaymentRef, PayoutNumber};
use portcullis_core::slot::Slot;

use super::error::JournalError;
use super::file;
use super::index::{Index, PaymentEntry, SlotEntry};
use super::record::{AuditHead, JournalRecord};
use super::sql::{SqlDial, SqlJournal, SqlJournalOptions};

/// Where a reader finds the records themselves.
#[derive(Clone, Debug)]
pub(super) enum Source {
    File(PathBuf),
    Sql(Box<SqlDial>),
}

/// What the journal knows, for the engine: it compares it with the database at the start (invariant 12) and
/// resumes what is journaled and not committed. Cheap to clone; sees only what is durable.
#[derive(Clone, Debug)]
pub struct JournalReader {
    source: Source,
    index: Arc<RwLock<Index>>,
}

impl JournalReader {
    pub(super) const fn new(source: Source, index: Arc<RwLock<Index>>) -> Self {
        Self { source, index }
    }

    /// Reads a journal that another process may have open: a picture of this moment, without the lock. Checks every
    /// line but a last one that is not finished. Blocks.
    ///
    /// # Errors
    /// [`JournalError::Io`], [`JournalError::Damaged`].
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let mut index = Index::default();
        file::read_whole(path, |record| index.apply(record))?;
        Ok(Self { source: Source::File(path.to_owned()), index: Arc::new(RwLock::new(index)) })
    }

    /// Reads a journal in a database, which others may be writing to: a picture of this moment.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn open_shared(options: &SqlJournalOptions) -> Result<Self, JournalError> {
        let mut sql = SqlJournal::open(options).await?;
        let mut index = Index::default();
        sql.read_on(|record| index.apply(record)).await?;
        let source = Source::Sql(Box::new(sql.dial().clone()));
        Ok(Self { source, index: Arc::new(RwLock::new(index)) })
    }

    /// Where the journal is, without any password.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.source {
            Source::File(path) => path.display().to_string(),
            Source::Sql(dial) => dial.place().to_owned(),
        }
    }

    /// The journal of a keystore that has not signed yet.
    #[must_use]
    pub fn empty(path: &Path) -> Self {
        Self { source: Source::File(path.to_owned()), index: Arc::default() }
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

    /// The records from line `from` on, at most `count`, each with its line. Reads a file from its beginning, and blocks
    /// meanwhile: ask with a large `count`.
    ///
    /// # Errors
    /// [`JournalError::Io`], [`JournalError::Away`], [`JournalError::Damaged`].
    pub async fn records_since(
        &self,
        from: u64,
        count: usize,
    ) -> Result<Vec<(u64, JournalRecord)>, JournalError> {
        let lines = self.lines();
        match &self.source {
            Source::File(path) => file::read_since(path, from, count, lines),
            Source::Sql(dial) => {
                let count = lines.saturating_sub(from).min(count as u64);
                SqlJournal::records_since(dial, from, count).await
            }
        }
    }
}
