//! The end of slots. A paid one just ends; one that did not pay releases its payments, and for that
//! the evidence is read once more, from as many independent providers as the chain asks for.

use std::collections::BTreeSet;

use portcullis_core::slot::SlotOutcome;
use portcullis_evm::ProviderPool;
use portcullis_store::chain::ConsumedSlot;
use portcullis_store::lease::Lease;

use super::{Monitor, SLOTS_MAX, View};
use crate::error::EngineError;

impl Monitor {
    /// Ends what lies at the conservative depth; returns how many slots were looked at.
    pub(super) async fn end_deep_slots(
        &self,
        pool: &ProviderPool,
        lease: &Lease,
        view: &View,
    ) -> Result<u64, EngineError> {
        let chain = pool.chain();
        let Some(tip) = view.tip() else { return Ok(0) };
        let deepest = tip.block.number.saturating_add(1).checked_sub(chain.conservative.blocks);
        let Some(block) = deepest else { return Ok(0) };
        // By the chain's own clock: ours may be wrong.
        let before = tip.at.plus_millis(chain.conservative.age_ms.saturating_neg());
        let deep = self.store.deep_slots(chain.chain_id, block, before, SLOTS_MAX).await?;
        let looked_at = deep.len() as u64;
        let mut ends = Vec::with_capacity(deep.len());
        for slot in deep {
            let releases = matches!(slot.outcome, SlotOutcome::Reverted | SlotOutcome::Canceled);
            if !releases || self.is_agreed(pool, &slot).await? {
                ends.push(slot);
            }
        }
        self.store.finalize(lease, &ends).await?;
        Ok(if ends.is_empty() { 0 } else { looked_at })
    }

    /// Whether enough independent providers show the same receipt in the same block (invariant 4).
    async fn is_agreed(
        &self,
        pool: &ProviderPool,
        slot: &ConsumedSlot,
    ) -> Result<bool, EngineError> {
        let needed = pool.chain().release_quorum_min;
        let mut agreeing: BTreeSet<&str> = BTreeSet::new();
        for upstream in pool.upstreams() {
            let receipt = match upstream.receipts(&[slot.hash]).await {
                Ok(mut receipts) => receipts.pop().flatten(),
                Err(error) => {
                    tracing::warn!(%error, "a provider has no answer about a release");
                    None
                }
            };
            let Some(receipt) = receipt else { continue };
            let fits = match slot.outcome {
                SlotOutcome::Reverted => !receipt.succeeded,
                _ => true,
            };
            if fits && receipt.block == slot.block {
                agreeing.insert(upstream.operator());
            }
        }
        if agreeing.len() < needed {
            tracing::warn!(
                hash = %slot.hash, agreeing = agreeing.len(), needed,
                "not enough independent providers agree that this slot did not pay; nothing is released"
            );
        }
        Ok(agreeing.len() >= needed)
    }
}
