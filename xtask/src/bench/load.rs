//! A steady load: requests at fixed moments, whether or not earlier ones were answered.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::client::{ApiClient, ApiRequest};

/// What the answers came to.
#[derive(Debug, Default)]
pub(super) struct LoadOutcome {
    /// From the moment at which a request was due to the end of its answer. A server, or a client,
    /// that falls behind is not excused by sending later.
    pub(super) latencies: Vec<Duration>,
    /// Requests that were not answered, or not with 202; the first one's words.
    pub(super) failures: Vec<String>,
}

/// Sends each request at its moment, `rate` a second, and waits for all answers.
pub(super) async fn send_steadily(
    api: &ApiClient,
    requests: Vec<ApiRequest>,
    rate: u32,
) -> LoadOutcome {
    let start = Instant::now();
    let mut under_way = JoinSet::new();
    for (place, request) in (0_u32..).zip(requests) {
        let due = start + due_after(place, rate);
        sleep_until(due).await;
        let api = api.clone();
        under_way.spawn(async move {
            let outcome = api.send(&request).await;
            (due.elapsed(), outcome)
        });
    }
    let mut load = LoadOutcome::default();
    while let Some(joined) = under_way.join_next().await {
        match joined {
            Ok((latency, Ok(answer))) if answer.status.as_u16() == 202 => {
                load.latencies.push(latency);
            }
            Ok((_, Ok(answer))) => {
                load.failures.push(format!("{} {}", answer.status, answer.body));
            }
            Ok((_, Err(error))) => load.failures.push(format!("not answered: {error}")),
            Err(error) => load.failures.push(error.to_string()),
        }
    }
    load
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
}
