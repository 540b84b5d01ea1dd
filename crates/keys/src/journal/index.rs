//! What the journal knows, arranged for the questions that are asked of it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use alloy_primitives::{Address, B256};
use portcullis_core::id::{ExternalId, TenantId, WithdrawalId};
use portcullis_core::number::{PaymentRef, PayoutNumber};
use portcullis_core::slot::{AttemptKind, Purpose, Rail, Slot};
use portcullis_core::time::Timestamp;

use super::record::{AttemptRecord, AuditHead, JournalRecord, ReleaseRecord};

/// All that was ever signed for one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotEntry {
    /// Whether its payload voids numbers instead of paying.
    pub voids: bool,
    /// How its payload travels.
    pub rail: Rail,
    /// The distinct signatures, oldest first.
    pub attempts: Vec<JournaledAttempt>,
    /// The payments that it carries: its fixed set.
    pub payments: Vec<PayoutNumber>,
}

impl SlotEntry {
    /// The digests of what pays in this slot. More than one would break invariant 1.
    pub fn payload_digests(&self) -> impl Iterator<Item = B256> {
        self.attempts
            .iter()
            .filter(|attempt| attempt.kind == AttemptKind::Payload)
            .map(|attempt| attempt.payload_digest)
    }

    /// Whether `hash` is that of an attempt of this kind.
    #[must_use]
    pub fn has_attempt(&self, kind: AttemptKind, hash: B256) -> bool {
        self.attempts.iter().any(|attempt| attempt.kind == kind && attempt.hash == hash)
    }
}

/// One signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournaledAttempt {
    /// Whether it pays or cancels.
    pub kind: AttemptKind,
    /// What it does.
    pub payload_digest: B256,
    /// The transaction's hash.
    pub hash: B256,
    /// When it was signed.
    pub at: Timestamp,
}

/// Where a payment went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentEntry {
    /// The withdrawal.
    pub withdrawal: WithdrawalId,
    /// Its ref.
    pub reference: PaymentRef,
    /// Whose it is.
    pub tenant: TenantId,
    /// The tenant's own id of it.
    pub external_id: ExternalId,
    /// Every slot that ever was to pay it, oldest first.
    pub rides: Vec<Ride>,
    /// Whether a call that voids its number was ever signed: then it is never paid again.
    pub voided: bool,
}

/// One slot that carried a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ride {
    /// The slot.
    pub slot: Slot,
    /// How it travelled.
    pub rail: Rail,
    /// Whether it is proved that the slot did not pay it: for good on the direct rail, at the chain's
    /// confirmations on the vault's.
    pub released: bool,
    /// Whether that is proved for good: then the next ride needs no guard.
    pub is_final: bool,
}

/// The index. Built from all lines at the start, then kept by every append.
#[derive(Debug, Default)]
pub(crate) struct Index {
    slots: BTreeMap<Slot, SlotEntry>,
    payments: HashMap<PayoutNumber, PaymentEntry>,
    numbers_of: HashMap<PaymentRef, Vec<PayoutNumber>>,
    audit_head: Option<AuditHead>,
    lines: u64,
}

impl Index {
    /// Takes in the next line.
    pub(super) fn apply(&mut self, record: &JournalRecord) {
        match record {
            JournalRecord::Begin(_) => {}
            JournalRecord::Attempt(attempt) => self.apply_attempt(attempt),
            JournalRecord::Release(release) => self.apply_release(release),
            JournalRecord::AuditHead(head) => self.audit_head = Some(*head),
        }
        self.lines = self.lines.saturating_add(1);
    }

    fn apply_attempt(&mut self, record: &AttemptRecord) {
        let entry = self.slots.entry(record.slot).or_default();
        entry.voids = record.purpose == Purpose::Void;
        entry.rail = record.rail;
        // Signed again after an end between this line and the database's commit, it is the same attempt.
        if !entry.has_attempt(record.kind, record.hash) {
            entry.attempts.push(JournaledAttempt {
                kind: record.kind,
                payload_digest: record.payload_digest,
                hash: record.hash,
                at: record.at,
            });
        }
        for payment in &record.payments {
            if !entry.payments.contains(&payment.number) {
                entry.payments.push(payment.number);
            }
            let known = self.payments.entry(payment.number).or_insert_with(|| PaymentEntry {
                withdrawal: payment.withdrawal,
                reference: payment.reference,
                tenant: payment.tenant,
                external_id: payment.external_id.clone(),
                rides: Vec::new(),
                voided: false,
            });
            if record.purpose == Purpose::Void {
                known.voided = true;
            } else if !known.rides.iter().any(|ride| ride.slot == record.slot) {
                let (slot, rail) = (record.slot, record.rail);
                known.rides.push(Ride { slot, rail, released: false, is_final: false });
            }
            let numbers = self.numbers_of.entry(payment.reference).or_default();
            if !numbers.contains(&payment.number) {
                numbers.push(payment.number);
            }
        }
    }

    fn apply_release(&mut self, record: &ReleaseRecord) {
        let rides = self.payments.get_mut(&record.number).map(|entry| &mut entry.rides);
        for ride in rides.into_iter().flatten().filter(|ride| ride.slot == record.slot) {
            ride.released = true;
            ride.is_final |= record.evidence.is_final;
        }
    }

    pub(crate) fn slot(&self, slot: Slot) -> Option<&SlotEntry> {
        self.slots.get(&slot)
    }

    pub(crate) fn payment(&self, number: PayoutNumber) -> Option<&PaymentEntry> {
        self.payments.get(&number)
    }

    /// Every payment that was journaled under this ref, whatever its number.
    pub(crate) fn payments_of(
        &self,
        reference: PaymentRef,
    ) -> impl Iterator<Item = (PayoutNumber, &PaymentEntry)> {
        let numbers = self.numbers_of.get(&reference).map(Vec::as_slice).unwrap_or_default();
        numbers.iter().filter_map(|number| Some((*number, self.payments.get(number)?)))
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = (Slot, &SlotEntry)> {
        self.slots.iter().map(|(slot, entry)| (*slot, entry))
    }

    pub(super) fn slots_of(
        &self,
        chain_id: u64,
        sender: Address,
    ) -> impl DoubleEndedIterator<Item = (Slot, &SlotEntry)> {
        let at = |nonce| Slot { chain_id, sender, nonce };
        self.slots.range(at(0)..=at(u64::MAX)).map(|(slot, entry)| (*slot, entry))
    }

    /// The highest slot of each sender on each chain, by the way from one to the next.
    pub(super) fn highest_slots(&self) -> Vec<Slot> {
        let mut highest = Vec::new();
        let mut next = self.slots.keys().next().copied();
        while let Some(first) = next {
            let last = Slot { nonce: u64::MAX, ..first };
            if let Some((slot, _)) = self.slots.range(first..=last).next_back() {
                highest.push(*slot);
            }
            let after = (Bound::Excluded(last), Bound::Unbounded);
            next = self.slots.range(after).next().map(|(slot, _)| *slot);
        }
        highest
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = PayoutNumber> {
        self.payments.keys().copied()
    }

    pub(crate) const fn audit_head(&self) -> Option<AuditHead> {
        self.audit_head
    }

    pub(super) const fn lines(&self) -> u64 {
        self.lines
    }
}
