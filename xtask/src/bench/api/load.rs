//! The loads: requests at fixed moments, whether or not earlier ones were answered; and as many as are taken.

use std::time::Duration;

use anyhow::{Result, bail};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::wire::{Wire, WireRequest};
use crate::bench::machine::{number, rounded};
use crate::latency::Latencies;

/// What the answers came to.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Figures {
    /// Requests that were accepted.
    pub requests: usize,
    /// Accepted withdrawals a second, from the first moment to the last answer.
    pub per_s: f64,
    /// The median.
    pub p50_ms: f64,
    /// The 95th percentile.
    pub p95_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// The slowest answer.
    pub max_ms: f64,
}

/// Latency counts from the moment at which a request was due: who falls behind, server or client, is not excused by
/// sending later.
///
/// # Errors
/// A request was not accepted.
pub(super) async fn steadily(
    wire: &Wire,
    requests: Vec<WireRequest>,
    rate: u32,
    items: usize,
) -> Result<Figures> {
    let start = Instant::now();
    let mut under_way = JoinSet::new();
    for (place, request) in (0_u32..).zip(requests) {
        let due = start + due_after(place, rate);
        sleep_until(due).await;
        let wire = wire.clone();
        under_way.spawn(async move {
            wire.send(&request).await?;
            Ok::<_, anyhow::Error>(due.elapsed())
        });
    }
    figures(under_way, start, items).await
}

/// Every one of `clients` sends its next request when the last one was answered, for `limit` at most.
///
/// # Errors
/// As [`steadily`].
pub(super) async fn as_fast_as_taken(
    wire: &Wire,
    requests: Vec<WireRequest>,
    clients: usize,
    limit: Duration,
    items: usize,
) -> Result<Figures> {
    let start = Instant::now();
    let mut under_way = JoinSet::new();
    let share = requests.len().div_ceil(clients.max(1)).max(1);
    let mut requests = requests.into_iter();
    loop {
        let own: Vec<WireRequest> = requests.by_ref().take(share).collect();
        if own.is_empty() {
            break;
        }
        let wire = wire.clone();
        under_way.spawn(async move {
            let mut latencies = Vec::with_capacity(own.len());
            for request in own {
                if start.elapsed() > limit {
                    break;
                }
                let sent = Instant::now();
                wire.send(&request).await?;
                latencies.push(sent.elapsed());
            }
            Ok::<_, anyhow::Error>(latencies)
        });
    }
    let mut all = Vec::new();
    while let Some(joined) = under_way.join_next().await {
        all.extend(joined??);
    }
    told(all, start.elapsed(), items)
}

async fn figures(
    mut under_way: JoinSet<Result<Duration>>,
    start: Instant,
    items: usize,
) -> Result<Figures> {
    let mut latencies = Vec::new();
    while let Some(joined) = under_way.join_next().await {
        latencies.push(joined??);
    }
    told(latencies, start.elapsed(), items)
}

fn told(latencies: Vec<Duration>, took: Duration, items: usize) -> Result<Figures> {
    if latencies.is_empty() {
        bail!("nothing was sent");
    }
    let requests = latencies.len();
    let latencies = Latencies::new(latencies);
    let accepted = number(requests.saturating_mul(items));
    Ok(Figures {
        requests,
        per_s: rounded(accepted / took.as_secs_f64().max(0.001), 1),
        p50_ms: latencies.percentile_ms(50),
        p95_ms: latencies.percentile_ms(95),
        p99_ms: latencies.percentile_ms(99),
        max_ms: latencies.percentile_ms(100),
    })
}

/// When the request at that place is due.
fn due_after(place: u32, rate: u32) -> Duration {
    Duration::from_secs(u64::from(place)) / rate.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_even() {
        assert_eq!(due_after(0, 100), Duration::ZERO);
        assert_eq!(due_after(1, 100), Duration::from_millis(10));
        assert_eq!(due_after(250, 100), Duration::from_millis(2_500));
        assert_eq!(due_after(1, 3), Duration::from_nanos(333_333_333));
    }

    #[test]
    fn items_count_and_latencies_are_those_of_requests() {
        let latencies = vec![Duration::from_millis(4), Duration::from_millis(2)];
        let figures = told(latencies, Duration::from_secs(2), 500).unwrap();
        assert_eq!((figures.requests, figures.per_s.to_string()), (2, "500".to_owned()));
        assert_eq!(
            (figures.p50_ms.to_string(), figures.max_ms.to_string()),
            ("2".into(), "4".into())
        );
        assert!(told(vec![], Duration::from_secs(1), 1).is_err());
    }
}
