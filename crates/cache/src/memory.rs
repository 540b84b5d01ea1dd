//! The cache of one process.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use portcullis_core::time::{Clock, Timestamp};
use tokio::sync::broadcast;

use crate::rate::{Admission, Rate};
use crate::{Cache, Health};

/// Values and counted keys that are kept, of each kind. Beyond it what is over goes, and then everything.
const ENTRIES_MAX: usize = 10_000;

/// Rings that a listener may be behind. One that is further behind looks anyway.
pub(crate) const RINGS_KEPT: usize = 64;

/// In memory.
pub struct MemoryCache {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    rings: broadcast::Sender<String>,
}

#[derive(Default)]
struct State {
    values: HashMap<String, (Vec<u8>, Timestamp)>,
    /// When each counted key is free again, in microseconds.
    rates: HashMap<String, i64>,
}

impl fmt::Debug for MemoryCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MemoryCache")
    }
}

impl MemoryCache {
    /// An empty one under that clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let (rings, _) = broadcast::channel(RINGS_KEPT);
        Self { clock, state: Mutex::default(), rings }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings here, whatever the source.
    pub(crate) fn ring_here(&self, bell: &str) {
        // Nobody may be listening yet.
        let _listeners = self.rings.send(bell.to_owned());
    }
}

#[async_trait]
impl Cache for MemoryCache {
    async fn read(&self, key: &str) -> Option<Vec<u8>> {
        let now = self.clock.now();
        let state = self.state();
        let (value, until) = state.values.get(key)?;
        (now < *until).then(|| value.clone())
    }

    async fn write(&self, key: &str, value: &[u8], keep: Duration) {
        let now = self.clock.now();
        let until = now.plus_millis(i64::try_from(keep.as_millis()).unwrap_or(i64::MAX));
        let mut state = self.state();
        make_room(&mut state.values, |(_, until)| now < *until);
        state.values.insert(key.to_owned(), (value.to_vec(), until));
    }

    async fn forget(&self, key: &str) {
        self.state().values.remove(key);
    }

    async fn admit(&self, key: &str, rate: Rate, cost: u32) -> Admission {
        let now_us = self.clock.now().as_millis().saturating_mul(1_000);
        let mut state = self.state();
        make_room(&mut state.rates, |free_at| now_us < *free_at);
        let kept = state.rates.get(key).copied();
        // A clock that went back leaves an instant that lies further ahead than any burst reaches.
        let kept = kept.filter(|free_at| free_at.saturating_sub(now_us) <= rate.span_us());
        let (admission, free_at) = rate.decide(kept, now_us, cost);
        if let Some(free_at) = free_at {
            state.rates.insert(key.to_owned(), free_at);
        }
        admission
    }

    async fn ring(&self, bell: &str) {
        self.ring_here(bell);
    }

    fn listen(&self) -> broadcast::Receiver<String> {
        self.rings.subscribe()
    }

    fn health(&self) -> Health {
        Health::Alone
    }
}

fn make_room<K: Eq + Hash, V>(map: &mut HashMap<K, V>, is_needed: impl Fn(&V) -> bool) {
    if map.len() >= ENTRIES_MAX {
        map.retain(|_, value| is_needed(value));
    }
    if map.len() >= ENTRIES_MAX {
        map.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct HandClock(AtomicI64);

    impl Clock for HandClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0.load(Ordering::Relaxed))
        }
    }

    #[tokio::test]
    async fn values_end_with_their_time() {
        let clock = Arc::new(HandClock::default());
        let cache = MemoryCache::new(clock.clone());
        cache.write("a", b"1", Duration::from_millis(10)).await;
        clock.0.store(9, Ordering::Relaxed);
        assert_eq!(cache.read("a").await.as_deref(), Some(&b"1"[..]));
        clock.0.store(10, Ordering::Relaxed);
        assert_eq!(cache.read("a").await, None);
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let cache = MemoryCache::new(Arc::new(HandClock::default()));
        let rate = Rate::per_second(1, 1);
        for index in 0..ENTRIES_MAX + 5 {
            cache.write(&format!("k{index}"), b"", Duration::from_secs(1)).await;
            cache.admit(&format!("k{index}"), rate, 1).await;
        }
        let state = cache.state();
        assert!(state.values.len() <= ENTRIES_MAX && state.rates.len() <= ENTRIES_MAX);
    }

    #[tokio::test]
    async fn a_clock_that_goes_back_locks_nobody_out() {
        let clock = Arc::new(HandClock(AtomicI64::new(9_000_000)));
        let cache = MemoryCache::new(clock.clone());
        let rate = Rate::per_second(1, 1);
        assert!(cache.admit("a", rate, 1).await.is_admitted);
        assert!(!cache.admit("a", rate, 1).await.is_admitted);
        clock.0.store(1, Ordering::Relaxed);
        assert!(cache.admit("a", rate, 1).await.is_admitted);
    }
}
