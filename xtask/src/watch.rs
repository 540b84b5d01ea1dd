//! Watches a chain while a command runs: when each block was first seen, by our own clock (a
//! block's own time has whole seconds only), and how many payments it brought.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::chain::Rpc;
use crate::judge::{Scope, observe};

/// How exactly the time of a block is known.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// A node that is busy may fail to answer for a moment.
const FAILURES_MAX: u32 = 10;

/// What has happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The newest block that was read.
    pub head: u64,
    /// Payments of the hot wallets up to there.
    pub payments: usize,
}

/// A running watch. Dropping it ends it.
#[derive(Debug)]
pub struct ChainWatch {
    seen: Arc<Mutex<BTreeMap<u64, Instant>>>,
    progress: watch::Receiver<Progress>,
    task: JoinHandle<()>,
}

impl ChainWatch {
    /// Begins with the block after `from_block`.
    #[must_use]
    pub fn start(rpc: Rpc, scope: Scope, from_block: u64) -> Self {
        let seen = Arc::new(Mutex::new(BTreeMap::new()));
        let start = Progress { head: from_block, payments: 0 };
        let (tell, progress) = watch::channel(start);
        let notes = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut failures = 0;
            let mut now = start;
            while failures < FAILURES_MAX {
                match look(&rpc, &scope, &notes, now).await {
                    Ok(next) => {
                        failures = 0;
                        if next != now {
                            now = next;
                            tell.send_replace(now);
                        }
                    }
                    Err(_) => failures += 1,
                }
                sleep(POLL_INTERVAL).await;
            }
        });
        Self { seen, progress, task }
    }

    /// Follows the progress. The channel closes when the node does not answer any more.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// When a block was first seen.
    #[must_use]
    pub fn seen_at(&self, block: u64) -> Option<Instant> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&block).copied()
    }

    /// Waits until `blocks` more blocks are there.
    ///
    /// # Errors
    /// The node does not answer any more.
    pub async fn wait_blocks(&self, blocks: u64) -> Result<u64> {
        let mut progress = self.progress();
        let wanted = progress.borrow().head.saturating_add(blocks);
        let reached = progress.wait_for(|now| now.head >= wanted).await;
        Ok(reached.context("the node does not answer any more")?.head)
    }
}

impl Drop for ChainWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn look(
    rpc: &Rpc,
    scope: &Scope,
    seen: &Mutex<BTreeMap<u64, Instant>>,
    now: Progress,
) -> Result<Progress> {
    let head = rpc.block_number().await?;
    if head <= now.head {
        return Ok(now);
    }
    let at = Instant::now();
    {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        for block in now.head.saturating_add(1)..=head {
            seen.entry(block).or_insert(at);
        }
    }
    let next = observe(rpc, scope, now.head.saturating_add(1), head).await?;
    Ok(Progress { head, payments: now.payments.saturating_add(next.payments.len()) })
}
