//! Ends a future where a process may end: between any two of its steps.

use std::future::{Future, poll_fn};
use std::task::Poll;

/// Polls at most `polls` times, then drops the future; `None` when it did not finish. After the last
/// poll others go on for `lingering` turns, so that what was asked of the database may have happened,
/// its answer unseen.
pub(crate) async fn drop_after<F: Future>(
    future: F,
    polls: u64,
    lingering: u64,
) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = polls;
    let outcome = poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    if outcome.is_none() {
        for _ in 0..lingering {
            tokio::task::yield_now().await;
        }
    }
    drop(future);
    outcome
}
