//! One slot as database and journal have it.

use alloy_primitives::B256;
use portcullis_core::id::SlotId;
use portcullis_core::slot::{AttemptKind, Payload, Purpose, Rail, Slot, SlotStage};
use portcullis_keys::journal::SlotEntry;
use portcullis_store::reconcile::{
    ImportedAttempt, ImportedEnd, ImportedPayment, SlotImport, StoredSlot,
};

/// Both sides of one slot.
#[derive(Clone, Debug)]
pub(super) struct SlotView {
    pub(super) slot: Slot,
    pub(super) stored: Option<StoredSlot>,
    pub(super) journaled: Option<SlotEntry>,
}

impl SlotView {
    /// Every hash that is known of it. Of a slot that is final, the one that ended it.
    pub(super) fn hashes(&self) -> Vec<(B256, AttemptKind)> {
        let mut hashes: Vec<(B256, AttemptKind)> = Vec::new();
        let own = self.stored.iter().flat_map(|stored| &stored.open.attempts);
        hashes.extend(own.map(|attempt| (attempt.hash, attempt.kind)));
        let end = self.stored.as_ref().and_then(|stored| stored.end);
        if let Some(end) = end.filter(|_| self.is_final()) {
            hashes.retain(|(hash, _)| *hash == end.hash);
            return hashes;
        }
        for attempt in self.journaled.iter().flat_map(|entry| &entry.attempts) {
            if !hashes.iter().any(|(hash, _)| *hash == attempt.hash) {
                hashes.push((attempt.hash, attempt.kind));
            }
        }
        hashes
    }

    pub(super) fn stage(&self) -> Option<SlotStage> {
        self.stored.as_ref().map(|stored| stored.open.stage)
    }

    pub(super) fn is_final(&self) -> bool {
        self.stage() == Some(SlotStage::Final)
    }

    /// What was signed to be paid in it, where the journal knows.
    pub(super) fn signed_digest(&self) -> Option<B256> {
        self.journaled.as_ref().and_then(|entry| entry.payload_digests().next())
    }

    /// The digest of what it does: as signed, as bound, or a zero self-transfer.
    pub(super) fn digest(&self) -> B256 {
        let stored = self.stored.as_ref().map(|stored| stored.open.payload_digest);
        self.signed_digest()
            .or(stored)
            .unwrap_or_else(|| Payload::self_transfer(self.slot.sender).digest(self.slot))
    }

    pub(super) fn purpose(&self) -> Purpose {
        if self.signed_digest().is_some() {
            let voids = self.journaled.as_ref().is_some_and(|entry| entry.voids);
            return if voids { Purpose::Void } else { Purpose::Pay };
        }
        self.stored.as_ref().map_or(Purpose::Fill, |stored| stored.open.purpose)
    }

    /// How its payments travel, as signed or as bound.
    pub(super) fn rail(&self) -> Rail {
        let stored = self.stored.as_ref().map(|stored| stored.open.rail);
        let journaled = self.journaled.as_ref().map(|entry| entry.rail);
        journaled.or(stored).unwrap_or_default()
    }

    pub(super) fn is_fill(&self) -> bool {
        self.purpose() == Purpose::Fill
    }

    /// What the database is to learn of it: the attempts that it lacks, those of the journal and one that was `found`
    /// on the chain, its payments, and its end. `id` is for a slot that is new to it.
    pub(super) fn import(
        &self,
        id: SlotId,
        found: Option<ImportedAttempt>,
        payments: Vec<ImportedPayment>,
        end: Option<ImportedEnd>,
    ) -> SlotImport {
        let mut attempts = self.unknown_attempts();
        attempts.extend(found);
        SlotImport {
            id,
            slot: self.slot,
            seen: self.stage(),
            purpose: self.purpose(),
            rail: self.rail(),
            payload_digest: self.digest(),
            attempts,
            payments,
            end,
        }
    }

    /// Attempts of the journal that the database does not have.
    pub(super) fn unknown_attempts(&self) -> Vec<ImportedAttempt> {
        let known: Vec<B256> = self
            .stored
            .iter()
            .flat_map(|stored| stored.open.attempts.iter().map(|attempt| attempt.hash))
            .collect();
        self.journaled
            .iter()
            .flat_map(|entry| &entry.attempts)
            .filter(|attempt| !known.contains(&attempt.hash))
            .map(|attempt| ImportedAttempt {
                hash: attempt.hash,
                kind: attempt.kind,
                at: attempt.at,
            })
            .collect()
    }

    /// An attempt whose bytes the database has, and which the journal never saw.
    pub(super) fn unjournaled(&self) -> Option<B256> {
        let journaled = |hash: B256| {
            let attempts = self.journaled.iter().flat_map(|entry| &entry.attempts);
            attempts.into_iter().any(|attempt| attempt.hash == hash)
        };
        let own = self.stored.iter().flat_map(|stored| &stored.open.attempts);
        own.into_iter()
            .find(|attempt| !attempt.is_adopted && !journaled(attempt.hash))
            .map(|attempt| attempt.hash)
    }
}
