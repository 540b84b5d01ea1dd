//! Wallets whose key or journal gives nothing: each is left alone for a while, longer each time, and then asked for one
//! signature before it is asked for more. No node is asked what their slots need meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_primitives::Address;
use portcullis_core::slot::Slot;
use portcullis_core::time::Timestamp;
use portcullis_keys::SigningRefusal;

use crate::concerns::{Component, Concerns};

/// The first pause. Each one after it is twice as long.
const PAUSE_MS: i64 = 500;

/// The longest pause.
const PAUSE_MS_MAX: i64 = 15_000;

/// How long after its pause a wallet is remembered that has nothing bound: replacements are tried again much earlier.
const REMEMBERED_MS: i64 = 60_000;

/// Who appends, for the concerns: whoever reads the journal is another.
const APPENDING: &str = "a signature was to be written down";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Standstill {
    pauses: Mutex<BTreeMap<(u64, Address), Pause>>,
    concerns: Concerns,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Timestamp,
    length_ms: i64,
    /// Whether a slot is bound that waits for the signature: it is what is tried next.
    is_bound: bool,
}

impl Standstill {
    pub(super) fn new(concerns: Concerns) -> Self {
        Self { pauses: Mutex::default(), concerns }
    }

    /// Takes note of a refusal; `false` where neither key nor journal is to blame for it.
    pub(super) fn refused(&self, slot: Slot, refusal: &SigningRefusal, now: Timestamp) -> bool {
        match refusal {
            SigningRefusal::Key { sender, reason } => {
                self.concerns.failing(Component::Keys, &sender.to_string(), now, reason);
            }
            SigningRefusal::Journal { reason } => {
                self.concerns.failing(Component::Journal, APPENDING, now, reason);
            }
            _ => return false,
        }
        let mut pauses = self.pauses();
        let known = pauses.get(&key(slot)).copied();
        // The slots of one call are refused together, and count once.
        if known.is_none_or(|known| known.until <= now) {
            let length_ms = known.map_or(PAUSE_MS, |known| known.length_ms.saturating_mul(2));
            let length_ms = length_ms.min(PAUSE_MS_MAX);
            pauses.insert(
                key(slot),
                Pause { until: now.plus_millis(length_ms), length_ms, is_bound: true },
            );
        }
        true
    }

    /// A wallet's signature was given and written down.
    pub(super) fn signed(&self, slot: Slot) {
        self.concerns.well(Component::Journal, APPENDING);
        self.goes_on(slot.chain_id, slot.sender);
    }

    fn goes_on(&self, chain_id: u64, sender: Address) {
        let mut pauses = self.pauses();
        if pauses.remove(&(chain_id, sender)).is_none() {
            return;
        }
        if pauses.is_empty() {
            self.concerns.well(Component::Journal, APPENDING);
        }
        self.concerns.well(Component::Keys, &sender.to_string());
    }

    /// A wallet has no slot that waits for its first signature: a replacement was refused, most often. It opens slots
    /// again, and is forgotten when nothing was refused for a while.
    pub(super) fn has_nothing_bound(&self, chain_id: u64, sender: Address, now: Timestamp) {
        let until = match self.pauses().get_mut(&(chain_id, sender)) {
            None => return,
            Some(pause) => {
                pause.is_bound = false;
                pause.until
            }
        };
        if now.millis_since(until) > REMEMBERED_MS {
            self.goes_on(chain_id, sender);
        }
    }

    /// Nothing was to be written down that is not.
    pub(super) fn journal_goes_on(&self) {
        self.concerns.well(Component::Journal, APPENDING);
        // Not those whose keys are away: they are asked once more, and paused again.
        for pause in self.pauses().values_mut() {
            *pause = Pause { until: Timestamp::from_millis(0), ..*pause };
        }
    }

    /// Whether a wallet has a slot whose signature was not given: it gets no more of them.
    pub(super) fn is_on_trial(&self, chain_id: u64, sender: Address) -> bool {
        self.pauses().get(&(chain_id, sender)).is_some_and(|pause| pause.is_bound)
    }

    /// How long a wallet is to be left alone; `None` where it can be asked.
    pub(super) fn rest_ms(&self, chain_id: u64, sender: Address, now: Timestamp) -> Option<u64> {
        let until = self.pauses().get(&(chain_id, sender))?.until;
        u64::try_from(until.millis_since(now)).ok().filter(|rest_ms| *rest_ms > 0)
    }

    /// Of the slots of wallets that are on trial, the first of each.
    pub(super) fn tried<T>(&self, open: &mut Vec<T>, slot: impl Fn(&T) -> Slot) {
        let mut tried = BTreeSet::new();
        open.retain(|one| {
            let Slot { chain_id, sender, .. } = slot(one);
            !self.is_on_trial(chain_id, sender) || tried.insert(sender)
        });
    }

    fn pauses(&self) -> MutexGuard<'_, BTreeMap<(u64, Address), Pause>> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn key(slot: Slot) -> (u64, Address) {
    (slot.chain_id, slot.sender)
}

#[cfg(test)]
mod tests {
    use portcullis_keys::keyring::KeyError;

    use super::*;

    fn slot(sender: u8, nonce: u64) -> Slot {
        Slot { chain_id: 137, sender: Address::repeat_byte(sender), nonce }
    }

    fn away(sender: u8) -> SigningRefusal {
        let reason = KeyError::Unavailable { holder: "KMS", reason: "no route".to_owned() };
        SigningRefusal::Key { sender: Address::repeat_byte(sender), reason }
    }

    #[test]
    fn pauses_grow_until_a_signature_is_given() {
        let concerns = Concerns::default();
        let standstill = Standstill::new(concerns.clone());
        let (one, other) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let mut now = Timestamp::from_millis(1_000);
        let mut rests = Vec::new();
        for _ in 0..7 {
            // Many slots of one call.
            for nonce in 0..5 {
                assert!(standstill.refused(slot(1, nonce), &away(1), now));
            }
            let rest_ms = standstill.rest_ms(137, one, now).expect("a pause");
            rests.push(rest_ms);
            now = now.plus_millis(i64::try_from(rest_ms).expect("short"));
            assert_eq!(standstill.rest_ms(137, one, now), None, "it is tried again");
        }
        assert_eq!(rests, [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
        assert_eq!(standstill.rest_ms(137, other, now), None, "the others go on");
        assert_eq!(concerns.all().len(), 1);
        let mut open = vec![slot(1, 4), slot(2, 8), slot(1, 5), slot(2, 9)];
        standstill.tried(&mut open, |slot| *slot);
        assert_eq!(open, [slot(1, 4), slot(2, 8), slot(2, 9)]);
        standstill.signed(slot(1, 4));
        assert!(!standstill.is_on_trial(137, one));
        assert_eq!(concerns.all(), []);
    }

    #[test]
    fn a_wallet_whose_replacement_was_refused_opens_slots_again() {
        let concerns = Concerns::default();
        let standstill = Standstill::new(concerns.clone());
        let one = Address::repeat_byte(1);
        let now = Timestamp::from_millis(1_000);
        assert!(standstill.refused(slot(1, 1), &away(1), now));
        assert!(standstill.is_on_trial(137, one));
        standstill.has_nothing_bound(137, one, now.plus_millis(60_500));
        assert!(!standstill.is_on_trial(137, one));
        assert_eq!(concerns.all().len(), 1, "nobody has seen its key answer");
        standstill.has_nothing_bound(137, one, now.plus_millis(60_501));
        assert_eq!(concerns.all(), [], "and nobody has asked it since");
    }

    #[test]
    fn a_journal_that_is_mended_ends_the_pauses_at_once() {
        let concerns = Concerns::default();
        let standstill = Standstill::new(concerns.clone());
        let now = Timestamp::from_millis(1_000);
        let refusal = SigningRefusal::Journal { reason: "No space left on device".to_owned() };
        assert!(standstill.refused(slot(1, 1), &refusal, now));
        assert_eq!(concerns.all().first().map(|it| it.component), Some(Component::Journal));
        standstill.journal_goes_on();
        assert_eq!(standstill.rest_ms(137, Address::repeat_byte(1), now), None);
        assert_eq!(concerns.all(), []);
    }

    #[test]
    fn a_refusal_for_another_reason_stops_nobody() {
        let standstill = Standstill::default();
        let refusal = SigningRefusal::NoCaps { chain_id: 137 };
        assert!(!standstill.refused(slot(1, 1), &refusal, Timestamp::from_millis(1)));
        assert!(!standstill.is_on_trial(137, Address::repeat_byte(1)));
    }
}
