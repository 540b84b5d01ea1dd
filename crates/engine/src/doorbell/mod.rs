//! Doorbells: a ring says "look", the database says what is true. A lost ring costs one poll interval.
//!
//! Within a process a ring is a notification. Between processes it travels by SQS, by Redis, or not at all
//! (`docs/adr/0009-sqs-doorbells.md`); [`Messenger`] carries it.

mod consumer;
mod messenger;
mod queue;
mod redrive;
mod relay;
mod sqs;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

pub use messenger::Messenger;
pub use queue::{MAX_RECEIVES, Queue, RETENTION_SECONDS, sets_of};
pub use redrive::Redriven;
pub use relay::{Relay, RelayError};
pub use sqs::{QueueCount, Received, SqsError, SqsOptions, SqsQueues};

/// Who is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bell {
    /// The processor.
    Validate,
    /// The signer.
    Sign,
    /// The broadcaster.
    Broadcast,
    /// The monitor.
    Monitor,
    /// Recovery.
    Recover,
}

impl Bell {
    /// Every bell.
    pub const ALL: [Self; 5] =
        [Self::Validate, Self::Sign, Self::Broadcast, Self::Monitor, Self::Recover];

    /// The stable name, between processes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Sign => "sign",
            Self::Broadcast => "broadcast",
            Self::Monitor => "monitor",
            Self::Recover => "recover",
        }
    }
}

/// How a role came to rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It has not stepped yet.
    #[default]
    None,
    /// It found nothing that it could do.
    Idle,
    /// Its step failed.
    Failed,
}

/// The doorbells of one process. Cheap to clone; the clones share the bells.
#[derive(Clone, Debug)]
pub struct Doorbells(Arc<Bells>);

#[derive(Debug)]
struct Bells {
    rings: [Notify; 5],
    rests: [watch::Sender<Rest>; 5],
    away: Option<Away>,
}

/// Rings for roles that run in other processes.
#[derive(Debug, Default)]
struct Away {
    /// Bells that a role of this process answers.
    served: [bool; 5],
    /// One for each [`Way`].
    pending: [Pending; 2],
}

/// A way between processes. Each has what is rung for itself, so that one that hangs holds up no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Sqs,
    Redis,
}

/// What is rung and not yet carried: each bell once at most.
#[derive(Debug, Default)]
struct Pending {
    bells: [AtomicBool; 5],
    wake: Notify,
}

impl Doorbells {
    /// Bells within this process.
    #[must_use]
    pub fn local() -> Self {
        Self::new(None)
    }

    /// Bells that others are to hear as well, but those that a role of this process answers. A [`Messenger`] has to
    /// carry them.
    #[must_use]
    pub fn between_processes(served: &[Bell]) -> Self {
        let mut away = Away::default();
        for bell in served {
            away.served[*bell as usize] = true;
        }
        Self::new(Some(away))
    }

    fn new(away: Option<Away>) -> Self {
        let rests = std::array::from_fn(|_| watch::Sender::new(Rest::None));
        Self(Arc::new(Bells { rings: Default::default(), rests, away }))
    }

    /// Says "look". One ring is kept for a role that is busy, and one for each other process that is slow to hear.
    pub fn ring(&self, bell: Bell) {
        self.ring_here(bell);
        if let Some(away) = &self.0.away
            && !away.served[bell as usize]
        {
            for pending in &away.pending {
                pending.bells[bell as usize].store(true, Ordering::Release);
                pending.wake.notify_one();
            }
        }
    }

    /// Says "look" in this process alone.
    pub(crate) fn ring_here(&self, bell: Bell) {
        self.0.rings[bell as usize].notify_one();
    }

    /// Waits for a ring, at most `timeout`; says whether there was one. Both mean: look.
    pub async fn wait(&self, bell: Bell, timeout: Duration) -> bool {
        tokio::time::timeout(timeout, self.0.rings[bell as usize].notified()).await.is_ok()
    }

    /// Whether a role of this process answers the bell.
    pub(crate) fn is_served(&self, bell: Bell) -> bool {
        self.0.away.as_ref().is_none_or(|away| away.served[bell as usize])
    }

    /// Tells how the role behind a bell came to rest.
    pub(crate) fn rested(&self, bell: Bell, rest: Rest) {
        self.0.rests[bell as usize].send_replace(rest);
    }

    /// How the role behind a bell comes to rest from now on.
    pub(crate) fn rests(&self, bell: Bell) -> watch::Receiver<Rest> {
        self.0.rests[bell as usize].subscribe()
    }

    /// The bells that other processes are to hear by one way; waits until there are any. What was rung several times
    /// meanwhile is there once.
    pub(crate) async fn rung_for_others(&self, way: Way) -> Vec<Bell> {
        let Some(away) = &self.0.away else { return std::future::pending().await };
        let pending = &away.pending[way as usize];
        loop {
            let taken = |bell: &Bell| pending.bells[*bell as usize].swap(false, Ordering::AcqRel);
            let rung: Vec<Bell> = Bell::ALL.into_iter().filter(taken).collect();
            if !rung.is_empty() {
                return rung;
            }
            pending.wake.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_role_of_this_process_answers_is_not_told_to_others() {
        let bells = Doorbells::between_processes(&[Bell::Sign]);
        bells.ring(Bell::Sign);
        bells.ring(Bell::Broadcast);
        bells.ring(Bell::Broadcast);
        bells.ring(Bell::Monitor);
        for way in [Way::Sqs, Way::Redis] {
            assert_eq!(bells.rung_for_others(way).await, [Bell::Broadcast, Bell::Monitor]);
        }
        assert!(bells.wait(Bell::Sign, Duration::ZERO).await);
        assert!(!bells.wait(Bell::Sign, Duration::ZERO).await, "one ring is one look");
    }
}
