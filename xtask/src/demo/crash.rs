//! Keeps an eye on the server, and ends it the hard way where a demo wants that.

use std::time::Duration;

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::server::{Server, ServerOptions};
use crate::watch::Progress;

/// How long the server stays away, in milliseconds: noticed by clients, or hardly.
const AWAY_MS: std::ops::Range<u64> = 20..600;

/// How far a demo is: answers and payments, of twice as many as there are requests.
#[derive(Clone, Debug)]
pub(super) struct HowFar {
    /// Requests that were answered.
    pub(super) answered: watch::Receiver<usize>,
    /// What the chain shows.
    pub(super) chain: watch::Receiver<Progress>,
}

impl HowFar {
    /// Waits for that many answers and payments; for ever if the demo ends before.
    async fn reach(&mut self, wanted: usize) {
        loop {
            let now = self
                .answered
                .borrow_and_update()
                .saturating_add(self.chain.borrow_and_update().payments);
            if now >= wanted {
                return;
            }
            let ended = tokio::select! {
                changed = self.answered.changed() => changed.is_err(),
                changed = self.chain.changed() => changed.is_err(),
            };
            if ended {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Random moments, the earliest first: the first third while requests come in, the others while
/// they are paid. `requests` is their number.
#[must_use]
pub(super) fn moments(kills: usize, requests: usize, seed: u64) -> Vec<usize> {
    let mut random = StdRng::seed_from_u64(seed);
    let early = kills.div_ceil(3);
    let mut moments: Vec<usize> = (0..kills)
        .map(|index| {
            let percent = if index < early { 5..90 } else { 100..180 };
            requests.saturating_mul(random.random_range(percent)) / 100
        })
        .collect();
    moments.sort_unstable();
    moments
}

/// Watches the server, and at each of the moments kills it and starts it again. Never ends but with
/// an error: the server ended by itself, or did not start again.
///
/// # Errors
/// See above; the message holds the end of the server's log.
pub(super) async fn supervise(
    server: &mut Option<Server>,
    options: &ServerOptions,
    moments: &[usize],
    mut how_far: HowFar,
) -> Result<std::convert::Infallible> {
    let mut random = StdRng::seed_from_u64(getrandom::u64()?);
    for (index, &moment) in moments.iter().enumerate() {
        if let Some(running) = server.as_ref() {
            tokio::select! {
                error = running.failure() => return Err(error),
                () = how_far.reach(moment) => {}
            }
        }
        if let Some(running) = server.take() {
            let pid = running.pid();
            running.kill().await?;
            eprintln!("kill -9 {pid}: crash {} of {}", index.saturating_add(1), moments.len());
        }
        sleep(Duration::from_millis(random.random_range(AWAY_MS))).await;
        let running = server.insert(Server::start(options)?);
        let ready = running.ready().await?;
        eprintln!("started again as {}, ready after {ready:?}", running.pid());
    }
    match server.as_ref() {
        Some(running) => Err(running.failure().await),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crashes_come_while_requests_come_in_and_while_they_are_paid() {
        for seed in 0..50 {
            let moments = moments(3, 1_000, seed);
            assert!(moments[0] >= 50 && moments[0] < 900, "{moments:?}");
            assert!(moments[1] >= 1_000 && moments[2] < 1_800, "{moments:?}");
            assert!(moments.is_sorted());
        }
        assert_eq!(moments(0, 1_000, 1), Vec::<usize>::new());
    }

    #[tokio::test]
    async fn how_far_counts_answers_and_payments() {
        let (answers, answered) = watch::channel(0);
        let (blocks, chain) = watch::channel(Progress::default());
        let mut how_far = HowFar { answered, chain };
        let waiting = tokio::spawn(async move { how_far.reach(5).await });
        answers.send_replace(2);
        blocks.send_replace(Progress { head: 1, payments: 3 });
        waiting.await.unwrap();
    }
}
