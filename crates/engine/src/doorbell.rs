//! Doorbells: a ring says "look", the database says what is true. A lost ring costs one poll interval.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

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

/// The doorbells of one process. Cheap to clone; the clones share the bells.
#[derive(Clone, Debug, Default)]
pub struct Doorbells(Arc<[Notify; 5]>);

impl Doorbells {
    /// Bells within this process.
    #[must_use]
    pub fn local() -> Self {
        Self::default()
    }

    /// Says "look". One ring is kept for a role that is busy.
    pub fn ring(&self, bell: Bell) {
        self.0[bell as usize].notify_one();
    }

    /// Waits for a ring, at most `timeout`.
    pub(crate) async fn wait(&self, bell: Bell, timeout: Duration) {
        // A timeout is the poll; both mean: look.
        let _rang = tokio::time::timeout(timeout, self.0[bell as usize].notified()).await;
    }
}
