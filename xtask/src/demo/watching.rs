//! Waiting for payments, with something to look at meanwhile.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::client::ApiClient;
use crate::watch::{ChainWatch, Progress};

const TEMPLATE: &str = "{elapsed_precise} [{bar:40}] {pos}/{len} paid, block {msg}";
const API_INTERVAL: Duration = Duration::from_millis(500);

/// A bar on a terminal; a line for every tenth elsewhere. On standard error.
#[derive(Debug)]
pub(super) struct ProgressLine {
    bar: ProgressBar,
    task: JoinHandle<()>,
}

impl ProgressLine {
    /// Follows `progress` up to `total` payments.
    pub(super) fn start(total: usize, mut progress: watch::Receiver<Progress>) -> Self {
        let bar = ProgressBar::new(u64::try_from(total).unwrap_or(u64::MAX));
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("=> "));
        }
        let shown = bar.clone();
        let on_terminal = std::io::stderr().is_terminal();
        let task = tokio::spawn(async move {
            let mut tenths = 0;
            while progress.changed().await.is_ok() {
                let now = *progress.borrow_and_update();
                shown.set_message(now.head.to_string());
                shown.set_position(u64::try_from(now.payments).unwrap_or(u64::MAX));
                let reached = now.payments.saturating_mul(10) / total.max(1);
                if reached > tenths && !on_terminal {
                    eprintln!("{} of {total} paid at block {}", now.payments, now.head);
                }
                tenths = reached.max(tenths);
            }
        });
        Self { bar, task }
    }

    /// Tells something without breaking the bar.
    pub(super) fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    /// Leaves the bar as it is.
    pub(super) fn finish(self) {
        self.bar.abandon();
        if std::io::stderr().is_terminal() {
            eprintln!();
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits until the chain shows `wanted` payments, or until none has come for `stall`: then the
/// judge says what is missing.
///
/// # Errors
/// The node does not answer any more.
pub(super) async fn wait_for_payments(
    watch: &ChainWatch,
    wanted: usize,
    stall: Duration,
) -> Result<()> {
    let mut progress = watch.progress();
    loop {
        let paid = progress.borrow_and_update().payments;
        if paid >= wanted {
            return Ok(());
        }
        let more = progress.wait_for(|now| now.payments > paid);
        let Ok(reached) = timeout(stall, more).await else {
            eprintln!("no payment for {stall:?}: {paid} of {wanted} were paid");
            return Ok(());
        };
        reached.context("the node does not answer any more")?;
    }
}

/// Waits until the API says of `wanted` withdrawals that they are confirmed, or until no more of
/// them are for `stall`. Gives their number.
///
/// # Errors
/// The API does not answer.
pub(super) async fn wait_for_confirmed(
    api: &ApiClient,
    wanted: usize,
    stall: Duration,
) -> Result<usize> {
    let (mut most, mut changed_at) = (0, Instant::now());
    loop {
        let confirmed = api.withdrawals_in("CONFIRMED").await?.len();
        if confirmed >= wanted {
            return Ok(confirmed);
        }
        if confirmed != most {
            (most, changed_at) = (confirmed, Instant::now());
        } else if changed_at.elapsed() > stall {
            eprintln!(
                "the API says of {confirmed} of {wanted} withdrawals that they are confirmed"
            );
            return Ok(confirmed);
        }
        sleep(API_INTERVAL).await;
    }
}
