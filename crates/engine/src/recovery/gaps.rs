//! Gaps: nonces that no slot has, so that the chain executes nothing behind them. The signer fills them, after a
//! look into its journal.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use alloy_primitives::Address;
use portcullis_core::slot::Slot;
use portcullis_core::time::Timestamp;
use portcullis_store::command::CommandKind;

use super::{GapWatch, Recovery, RecoveryChain};
use crate::Progress;
use crate::error::EngineError;

/// Who asks for fillers, in the audit log: nobody but the system itself.
const SYSTEM: &str = "SYSTEM";

impl Recovery {
    /// Looks for gaps now and then, and has those filled that were there at an earlier look as well: the first may
    /// have met a node behind.
    pub(super) async fn fill_gaps(&self, chain: &RecoveryChain) -> Result<Progress, EngineError> {
        let now = self.store.now();
        if !chain.is_time_for_gaps(now, self.settings.rebroadcast_after_ms) {
            return Ok(Progress::Idle);
        }
        let chain_id = chain.pool.chain().chain_id;
        let senders = self.store.own_addresses(chain_id).await?;
        if senders.is_empty() {
            return Ok(Progress::Idle);
        }
        let head = chain.pool.agreed_head(&[]).await?.head;
        let counts = chain.pool.agreed_counts(&senders, head.number).await?;
        let counts: Vec<(Address, u64)> = senders
            .into_iter()
            .zip(counts)
            .map(|(sender, agreed)| (sender, agreed.count))
            .collect();
        let gaps = self.store.gaps(chain_id, &counts).await?;
        let mut progress = Progress::Idle;
        for slot in chain.gaps_since(&gaps, now, self.settings.bump_after_ms) {
            let why = "no slot and no attempt has this nonce, and the nonces behind it wait";
            let asked = self.store.request_command(CommandKind::Fill, slot, SYSTEM, why).await?;
            if asked {
                tracing::warn!(sender = %slot.sender, nonce = slot.nonce, "a gap is to be filled");
                metrics::counter!("portcullis_gaps_total").increment(1);
            }
            progress = progress.or(Progress::of(asked));
        }
        Ok(progress)
    }
}

impl RecoveryChain {
    fn is_time_for_gaps(&self, now: Timestamp, every_ms: i64) -> bool {
        let mut watch = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = watch.looked_at.is_none_or(|at| now.millis_since(at) >= every_ms);
        if is_time {
            watch.looked_at = Some(now);
        }
        is_time
    }

    fn gaps_since(&self, gaps: &[Slot], now: Timestamp, since_ms: i64) -> Vec<Slot> {
        let mut watch = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        watch.settle(gaps, now, since_ms)
    }
}

impl GapWatch {
    /// Remembers these gaps alone; returns those that are there for long enough.
    fn settle(&mut self, gaps: &[Slot], now: Timestamp, since_ms: i64) -> Vec<Slot> {
        let seen: BTreeMap<Slot, Timestamp> =
            gaps.iter().map(|slot| (*slot, self.seen.get(slot).copied().unwrap_or(now))).collect();
        self.seen = seen;
        let old = self.seen.iter().filter(|(_, first)| now.millis_since(**first) >= since_ms);
        old.map(|(slot, _)| *slot).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_has_to_last() {
        let gap = |nonce| Slot { chain_id: 137, sender: Address::repeat_byte(1), nonce };
        let at = Timestamp::from_millis;
        let mut watch = GapWatch::default();
        assert_eq!(watch.settle(&[gap(5), gap(6)], at(0), 30), []);
        assert_eq!(watch.settle(&[gap(6)], at(29), 30), []);
        assert_eq!(watch.settle(&[gap(5), gap(6)], at(30), 30), [gap(6)], "5 was gone meanwhile");
        assert_eq!(watch.settle(&[gap(5)], at(60), 30), [gap(5)]);
    }
}
