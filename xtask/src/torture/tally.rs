//! What happened, counted where it happens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The chain among the processes that are killed.
pub(crate) const CHAIN: &str = "anvil";

/// Counters of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// SIGKILLs, by process.
    pub(crate) kills: BTreeMap<&'static str, usize>,
    /// SIGSTOPs that lasted longer than a lease.
    pub(crate) pauses: usize,
    /// SIGSTOPs to the chain.
    pub(crate) chain_pauses: usize,
    /// Second processes of a role that ran beside the first.
    pub(crate) twins: usize,
    /// Second signers that ended, as they have to, because the first holds the journal.
    pub(crate) refused_signers: usize,
    /// Processes that ended at their start because the database was out of reach, and were started
    /// again, as they ask for with their exit code.
    pub(crate) started_again: usize,
    /// Faults that found every process busy with another one.
    pub(crate) skipped: usize,
    /// Starts of the chain from an older state.
    pub(crate) chain_restarts: usize,
    /// Blocks that such starts undid.
    pub(crate) blocks_rolled_back: u64,
    /// The most blocks that one start undid.
    pub(crate) deepest_rollback: u64,
    /// Payments in these blocks.
    pub(crate) payments_rolled_back: usize,
    /// Those of them that had the chain's confirmations already.
    pub(crate) confirmed_rolled_back: usize,
    /// Looks at the chain's state file that met half of one.
    pub(crate) torn_states: usize,
    /// State files of the chain that were whole, but not of one moment.
    pub(crate) mixed_states: usize,
    /// Withdrawals that clients asked for.
    pub(crate) asked: usize,
    /// Withdrawals that were accepted.
    pub(crate) accepted: usize,
    /// Requests that were sent again, for whatever reason.
    pub(crate) retries: usize,
    /// Requests that a client gave up on early, on purpose, and sent again.
    pub(crate) client_timeouts: usize,
    /// Requests that were sent again although they had been answered.
    pub(crate) repeats: usize,
    /// Answers that break the promise of the API.
    pub(crate) wrong_answers: Vec<String>,
    /// Requests that were never answered.
    pub(crate) unanswered: Vec<String>,
    /// Processes that ended by themselves, or did not end as they were told.
    pub(crate) failures: Vec<String>,
}

impl Tally {
    /// SIGKILLs to all roles.
    pub(crate) fn role_kills(&self) -> usize {
        self.kills.iter().filter(|(name, _)| **name != CHAIN).map(|(_, count)| count).sum()
    }

    /// SIGKILLs to the chain.
    pub(crate) fn chain_kills(&self) -> usize {
        self.kills.get(CHAIN).copied().unwrap_or_default()
    }

    /// Counts a SIGKILL.
    pub(crate) fn kill(&mut self, process: &'static str) {
        *self.kills.entry(process).or_default() += 1;
    }

    /// Counts a start of the chain that undid `blocks` with `payments` in them, of which `confirmed`
    /// counted as confirmed.
    pub(crate) fn rolled_back(&mut self, blocks: u64, payments: usize, confirmed: usize) {
        self.chain_restarts += 1;
        self.blocks_rolled_back = self.blocks_rolled_back.saturating_add(blocks);
        self.deepest_rollback = self.deepest_rollback.max(blocks);
        self.payments_rolled_back = self.payments_rolled_back.saturating_add(payments);
        self.confirmed_rolled_back = self.confirmed_rolled_back.saturating_add(confirmed);
    }
}

/// The counters, shared by everything that counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book(Arc<Mutex<Tally>>);

impl Book {
    /// Changes the counters.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The counters now.
    pub(crate) fn read(&self) -> Tally {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_by_process() {
        let book = Book::default();
        for process in ["api", CHAIN, "signer", "api"] {
            book.note(|tally| tally.kill(process));
        }
        let tally = book.read();
        assert_eq!((tally.role_kills(), tally.chain_kills()), (3, 1));
        assert_eq!(tally.kills["api"], 2);
    }

    #[test]
    fn rollbacks_add_up_and_the_deepest_is_kept() {
        let mut tally = Tally::default();
        tally.rolled_back(3, 8, 0);
        tally.rolled_back(7, 4, 3);
        tally.rolled_back(2, 1, 0);
        assert_eq!((tally.chain_restarts, tally.blocks_rolled_back), (3, 12));
        assert_eq!((tally.deepest_rollback, tally.payments_rolled_back), (7, 13));
        assert_eq!(tally.confirmed_rolled_back, 3);
    }
}
