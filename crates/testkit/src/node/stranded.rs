//! bor's rule for accounts whose first transaction bids less than the base fee for too long
//! (bor 2.10.3, `core/txpool/legacypool/legacypool_stranded.go`).

use std::collections::BTreeMap;

use alloy_consensus::Transaction as _;
use alloy_primitives::Address;
use portcullis_core::time::Timestamp;

use super::block::SignedTransaction;
use super::pool::Pool;

/// What the rule remembers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stranded {
    /// Since when which nonce stands first in its account's line and bids too little.
    since: BTreeMap<Address, (u64, Timestamp)>,
    /// Until when a nonce is refused that was dropped.
    refused_until: BTreeMap<(Address, u64), Timestamp>,
    evicted: u64,
}

impl Stranded {
    /// Transactions that were dropped so far.
    pub(crate) const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// After a new head: drops the executable chain of every account whose first transaction has bid less
    /// than the base fee for longer than `lifetime_ms`, and refuses its nonce for twice that time.
    pub(crate) fn sweep(
        &mut self,
        pool: &mut Pool,
        next_nonce: impl Fn(Address) -> u64,
        base_fee_wei: u64,
        now: Timestamp,
        lifetime_ms: i64,
    ) {
        self.refused_until.retain(|_, until| *until > now);
        let mut since = BTreeMap::new();
        let mut dropped = Vec::new();
        for sender in pool.senders() {
            let nonce = next_nonce(sender);
            let first = pool.at(sender, nonce).map(|waiting| &waiting.transaction);
            if !first.is_some_and(|first| bids_too_little(first, base_fee_wei)) {
                continue;
            }
            let began = match self.since.get(&sender) {
                Some((known, began)) if *known == nonce => *began,
                _ => now,
            };
            if now.millis_since(began) > lifetime_ms {
                dropped.extend(pool.executable(sender, nonce).map(|it| it.transaction.hash()));
                let until = now.plus_millis(lifetime_ms.saturating_mul(2));
                self.refused_until.insert((sender, nonce), until);
            } else {
                since.insert(sender, (nonce, began));
            }
        }
        self.since = since;
        for hash in dropped {
            self.evicted += u64::from(pool.remove(hash).is_some());
        }
    }

    /// Whether bytes of a dropped nonce still bid too little.
    pub(crate) fn refuses(
        &self,
        transaction: &SignedTransaction,
        now: Timestamp,
        base_fee_wei: u64,
    ) -> bool {
        let place = (transaction.sender, transaction.envelope.nonce());
        let is_shut = self.refused_until.get(&place).is_some_and(|until| *until > now);
        is_shut && bids_too_little(transaction, base_fee_wei)
    }
}

fn bids_too_little(transaction: &SignedTransaction, base_fee_wei: u64) -> bool {
    transaction.envelope.max_fee_per_gas() < u128::from(base_fee_wei)
}
