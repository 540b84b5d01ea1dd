//! Poisoned sets: when a set of work fails, the next one is half as large, until the one that fails stands
//! alone. Its failed receives are counted, and its neighbours go on.

use std::sync::atomic::{AtomicU32, Ordering};

use portcullis_core::error_class::ErrorClass;
use portcullis_core::id::{SlotId, WithdrawalId};
use portcullis_store::dead_letter::{DeadLetterQueue, FailedRequest, FailedSlot, LetterError};
use portcullis_store::{Store, StoreError};

use crate::Surroundings;
use crate::error::EngineError;

/// The pause after a failed receive.
pub(crate) const RETRY_MS: i64 = 2_000;

/// How large the next set of a role may be.
#[derive(Debug, Default)]
pub(crate) struct Narrowing(AtomicU32);

impl Narrowing {
    /// Half of `most` for each failure since all went well; one at least.
    pub(crate) fn limit(&self, most: u64) -> u64 {
        most.checked_shr(self.0.load(Ordering::Relaxed)).unwrap_or(0).max(1)
    }

    /// The set went well: the next one may be twice as large.
    pub(crate) fn widen(&self) {
        let halvings = self.0.load(Ordering::Relaxed);
        self.0.store(halvings.saturating_sub(1), Ordering::Relaxed);
    }

    /// The set failed. `true` when it was one alone, out of `most`.
    pub(crate) fn narrow(&self, most: u64) -> bool {
        let was_alone = self.limit(most) == 1;
        if !was_alone {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        was_alone
    }
}

/// Whether an error may be the fault of what was worked on: not of the database, a node or a lease.
pub(crate) const fn is_of_the_work(error: &EngineError) -> bool {
    matches!(
        error,
        EngineError::Store(
            StoreError::Conflict { .. }
                | StoreError::Duplicate { .. }
                | StoreError::Corrupt { .. }
                | StoreError::Ledger { .. }
                | StoreError::Database { .. }
        )
    )
}

/// An error as a letter tells it.
pub(crate) fn letter_error(error: &EngineError) -> LetterError {
    let code = match error {
        EngineError::Store(StoreError::Conflict { .. } | StoreError::Duplicate { .. }) => {
            "conflict"
        }
        EngineError::Store(StoreError::Corrupt { .. }) => "damaged_row",
        EngineError::Store(StoreError::Ledger { .. }) => "ledger",
        _ => "database",
    };
    LetterError {
        class: ErrorClass::Unknown,
        code: Some(code.to_owned()),
        message: error.to_string(),
        details: None,
    }
}

/// Counts a failed receive of a request; the fifth makes it a dead letter.
pub(crate) async fn fail_request(
    store: &Store,
    around: &Surroundings,
    withdrawal: WithdrawalId,
    error: LetterError,
    pause_ms: i64,
) -> Result<(), EngineError> {
    let pause_ms = pause_ms.saturating_add(around.jitter_ms(pause_ms / 8));
    let retry_at = store.now().plus_millis(pause_ms);
    let class = error.class;
    let message = error.message.clone();
    let failed = FailedRequest { withdrawal, error, retry_at, chance: chance(around) };
    if !store.fail_requests(&[failed]).await?.is_empty() {
        tell(DeadLetterQueue::Request, &withdrawal.to_string(), class, &message);
    }
    Ok(())
}

/// Counts a failed receive of a slot; the fifth makes a letter about it.
pub(crate) async fn fail_slot(
    store: &Store,
    around: &Surroundings,
    queue: DeadLetterQueue,
    slot: SlotId,
    error: LetterError,
) -> Result<(), EngineError> {
    let class = error.class;
    let message = error.message.clone();
    let failed = FailedSlot { queue, slot, error, chance: chance(around) };
    if !store.fail_slots(&[failed]).await?.is_empty() {
        tell(queue, &slot.to_string(), class, &message);
    }
    Ok(())
}

/// Tells of a new letter, once.
pub(crate) fn tell(queue: DeadLetterQueue, subject: &str, class: ErrorClass, message: &str) {
    let queue = queue.as_str();
    tracing::error!(
        queue,
        subject,
        class = class.as_str(),
        message,
        "a dead letter: `portcullis admin dead-letter list` shows it; nothing is lost"
    );
    metrics::counter!("portcullis_dead_letters_total", "queue" => queue, "class" => class.as_str())
        .increment(1);
}

pub(crate) fn chance(around: &Surroundings) -> u64 {
    u64::try_from((around.entropy)() & u128::from(u64::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_set_is_halved_until_one_is_left() {
        let narrowing = Narrowing::default();
        let mut limits = Vec::new();
        while !narrowing.narrow(200) {
            limits.push(narrowing.limit(200));
        }
        assert_eq!(limits, [100, 50, 25, 12, 6, 3, 1]);
        assert!(narrowing.narrow(200), "it stays alone");
        for expected in [3, 6, 12] {
            narrowing.widen();
            assert_eq!(narrowing.limit(200), expected);
        }
        for _ in 0..9 {
            narrowing.widen();
        }
        assert_eq!(narrowing.limit(200), 200);
    }

    #[test]
    fn only_the_work_is_blamed_for_what_may_be_its_fault() {
        let conflict = StoreError::Conflict { during: "bind", expected: 1, found: 0 };
        let down = StoreError::Unavailable { during: "bind", cause: "locked".into() };
        let lost = StoreError::LeaseLost { name: "sender".into() };
        let halted = StoreError::Halted { reason: "restore".into() };
        assert!(is_of_the_work(&conflict.into()));
        for error in [down, lost, halted] {
            assert!(!is_of_the_work(&error.into()));
        }
    }
}
