//! What was signed and journaled, and not committed: the database was away, or its disk was full. Signed once more, at the price of
//! that moment, it would be another transaction, and the journal would have one that the database never hears of.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use portcullis_core::id::SlotId;
use portcullis_core::intent::SignedAttempt;
use portcullis_store::slot::{NewAttempt, OpenSlot};

/// Signed bytes, by the slot that they were to open. A process that ends forgets them, and the next one signs anew.
#[derive(Debug, Default)]
pub(super) struct Uncommitted(Mutex<BTreeMap<SlotId, SignedAttempt>>);

impl Uncommitted {
    pub(super) fn keep(&self, attempts: Vec<NewAttempt>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(attempts.into_iter().map(|attempt| (attempt.slot_id, attempt.signed)));
    }

    /// Those of a chain's slots that were never signed as far as the database knows, and that are to do what they were opened for.
    /// The slots stay that are to be signed; whatever else was kept of the chain is forgotten: its slot has been signed after all.
    pub(super) fn take(&self, chain_id: u64, open: &mut Vec<OpenSlot>) -> Vec<NewAttempt> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_chain = |_: &SlotId, signed: &mut SignedAttempt| signed.slot.chain_id == chain_id;
        let mut kept: BTreeMap<SlotId, SignedAttempt> = all.extract_if(.., of_chain).collect();
        drop(all);
        let mut taken = Vec::new();
        open.retain(|slot| {
            let signed = kept.remove(&slot.id).filter(|signed| {
                let is_it =
                    signed.slot == slot.slot && signed.payload_digest == slot.payload_digest;
                is_it && !slot.cancel_requested
            });
            let Some(signed) = signed else { return true };
            taken.push(NewAttempt { slot_id: slot.id, signed });
            false
        });
        taken
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, B256, Bytes};
    use portcullis_core::fee::Fees;
    use portcullis_core::slot::{AttemptKind, Purpose, Rail, Slot, SlotStage};
    use portcullis_core::time::Timestamp;

    use super::*;

    fn place(chain_id: u64, nonce: u64) -> Slot {
        Slot { chain_id, sender: Address::repeat_byte(1), nonce }
    }

    fn open(slot: Slot) -> OpenSlot {
        OpenSlot {
            id: SlotId::from_bytes([u8::try_from(slot.nonce).unwrap_or(0); 16]),
            slot,
            purpose: Purpose::Pay,
            rail: Rail::Direct,
            payload_digest: B256::repeat_byte(7),
            stage: SlotStage::Bound,
            cancel_requested: false,
            opened_at: Timestamp::from_millis(1),
            attempts: Vec::new(),
            payments: Vec::new(),
            left: Vec::new(),
            items: BTreeMap::new(),
        }
    }

    fn signed(open: &OpenSlot) -> NewAttempt {
        let signed = SignedAttempt {
            slot: open.slot,
            kind: AttemptKind::Payload,
            payload_digest: open.payload_digest,
            hash: B256::repeat_byte(9),
            raw: Bytes::from_static(&[1]),
            fees: Fees { max_fee_per_gas_wei: 2, max_priority_fee_per_gas_wei: 1 },
            gas_limit: 21_000,
        };
        NewAttempt { slot_id: open.id, signed }
    }

    #[test]
    fn what_a_slot_was_to_do_is_taken_as_it_was_signed_and_once() {
        let (first, second) = (open(place(137, 1)), open(place(137, 2)));
        let kept = Uncommitted::default();
        kept.keep(vec![signed(&first)]);
        let mut both = vec![first.clone(), second.clone()];
        let taken = kept.take(137, &mut both);
        assert_eq!(taken[0].signed, signed(&first).signed);
        assert_eq!((taken.len(), both), (1, vec![second]), "the other one is to be signed");
        assert!(kept.take(137, &mut vec![first]).is_empty(), "nothing is kept twice");
    }

    #[test]
    fn what_is_to_do_something_else_now_is_signed_anew() {
        let first = open(place(137, 1));
        let other = OpenSlot { payload_digest: B256::ZERO, ..first.clone() };
        let canceled = OpenSlot { cancel_requested: true, ..first.clone() };
        let elsewhere = OpenSlot { slot: place(137, 9), ..first.clone() };
        for changed in [other, canceled, elsewhere] {
            let kept = Uncommitted::default();
            kept.keep(vec![signed(&first)]);
            let mut slots = vec![changed.clone()];
            assert!(kept.take(137, &mut slots).is_empty(), "{changed:?}");
            assert_eq!(slots, [changed]);
        }
    }

    #[test]
    fn a_chain_forgets_its_own_alone() {
        let (here, there) = (open(place(137, 1)), open(place(1, 2)));
        let kept = Uncommitted::default();
        kept.keep(vec![signed(&here), signed(&there)]);
        assert!(kept.take(137, &mut Vec::new()).is_empty());
        assert!(kept.take(137, &mut vec![here]).is_empty(), "it was signed after all");
        assert_eq!(kept.take(1, &mut vec![there]).len(), 1);
    }
}
