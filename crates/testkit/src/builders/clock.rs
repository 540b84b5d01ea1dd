//! A clock that stands still until it is moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use portcullis_core::time::{Clock, Timestamp};

/// A settable clock. Clones share the time.
#[derive(Clone, Debug, Default)]
pub struct TestClock {
    now_ms: Arc<AtomicI64>,
}

impl TestClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { now_ms: Arc::new(AtomicI64::new(now.as_millis())) }
    }

    /// Shows `now` from here on, also where that is a jump back.
    pub fn set(&self, now: Timestamp) {
        self.now_ms.store(now.as_millis(), Ordering::SeqCst);
    }

    /// Moves on by `millis` and returns the new time.
    #[expect(clippy::must_use_candidate, reason = "called for what it does")]
    pub fn advance(&self, millis: i64) -> Timestamp {
        let before = self.now_ms.fetch_add(millis, Ordering::SeqCst);
        Timestamp::from_millis(before).plus_millis(millis)
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now_ms.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_time() {
        let clock = TestClock::at(Timestamp::from_millis(1_000));
        let other = clock.clone();
        assert_eq!(clock.advance(250), Timestamp::from_millis(1_250));
        assert_eq!(other.now(), Timestamp::from_millis(1_250));
        other.set(Timestamp::from_millis(7));
        assert_eq!(clock.now(), Timestamp::from_millis(7));
    }
}
