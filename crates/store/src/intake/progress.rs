//! How far a request has come: what decides whether a caller that stops waiting may be told that
//! nothing was written.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

const WAITING: u8 = 0;
/// A transaction that has the lock is writing it.
const WRITING: u8 = 1;
/// Its caller left. It will not be written.
const GIVEN_UP: u8 = 2;

/// The progress of one request, shared by its caller and by who leads its group.
#[derive(Default)]
pub(super) struct Progress {
    stage: AtomicU8,
    /// A COMMIT that holds it was begun. Stays, since nothing takes that back.
    commit_begun: AtomicBool,
}

impl Progress {
    fn claim(&self) -> bool {
        self.stage.compare_exchange(WAITING, WRITING, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Keeps the request from being written, and says whether that is certain: it was never part of
    /// a COMMIT, and no transaction is writing it now.
    pub(super) fn give_up(&self) -> bool {
        let stage =
            self.stage.compare_exchange(WAITING, GIVEN_UP, Ordering::SeqCst, Ordering::SeqCst);
        matches!(stage, Ok(WAITING) | Err(GIVEN_UP)) && !self.commit_begun.load(Ordering::SeqCst)
    }
}

/// What one transaction writes. Dropped with the transaction, it gives back what it did not commit.
pub(super) struct Claims<'a> {
    claimed: Vec<Option<&'a Progress>>,
}

impl<'a> Claims<'a> {
    /// Claims those whose callers still wait.
    pub(super) fn of(requests: impl Iterator<Item = &'a Progress>) -> Self {
        Self { claimed: requests.map(|request| Some(request).filter(|it| it.claim())).collect() }
    }

    /// Whether the request at this place is claimed.
    pub(super) fn holds(&self, index: usize) -> bool {
        self.claimed.get(index).is_some_and(Option::is_some)
    }

    /// From here on a caller that stops waiting does not know what becomes of its request.
    pub(super) fn commit_begins(&self) {
        for progress in self.claimed.iter().flatten() {
            progress.commit_begun.store(true, Ordering::SeqCst);
        }
    }
}

impl Drop for Claims<'_> {
    fn drop(&mut self) {
        for progress in self.claimed.iter().flatten() {
            progress.stage.store(WAITING, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_request_can_be_given_up_and_is_not_claimed_then() {
        let progress = Progress::default();
        assert!(progress.give_up());
        assert!(progress.give_up(), "asking again changes nothing");
        assert!(!Claims::of([&progress].into_iter()).holds(0));
    }

    #[test]
    fn a_request_that_is_being_written_is_in_doubt_until_the_transaction_ends() {
        let progress = Progress::default();
        let claims = Claims::of([&progress].into_iter());
        assert!(claims.holds(0));
        assert!(!progress.give_up());
        drop(claims);
        assert!(progress.give_up(), "it was rolled back");
    }

    #[test]
    fn once_a_commit_was_begun_the_doubt_stays() {
        let progress = Progress::default();
        let claims = Claims::of([&progress].into_iter());
        claims.commit_begins();
        drop(claims);
        assert!(!progress.give_up());
        drop(Claims::of([&progress].into_iter()));
        assert!(!progress.give_up());
    }
}
