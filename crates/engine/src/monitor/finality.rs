//! The end of slots. A paid one just ends; one that did not pay releases its payments, and for that
//! the evidence is read once more, from as many independent providers as the chain asks for.

use alloy_primitives::B256;
use portcullis_core::slot::{ItemOutcome, Purpose, Rail, SlotOutcome};
use portcullis_evm::{Decision, ProviderPool};
use portcullis_store::chain::ConsumedSlot;
use portcullis_store::lease::Lease;
use portcullis_store::slot::OpenSlot;

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
        let (at, set) = ((chain.chain_id, block, before), self.set_size(chain.chain_id));
        let finished = self.store.end_paid(lease, at, SLOTS_MAX, set).await? as u64;
        let deep = self.store.deep_slots(chain.chain_id, block, before, SLOTS_MAX).await?;
        let looked_at = deep.len() as u64;
        let (releasing, mut ends): (Vec<ConsumedSlot>, Vec<ConsumedSlot>) =
            deep.into_iter().filter(|slot| !carries_unpaid(&slot.open)).partition(|slot| {
                let is_void = slot.open.purpose == Purpose::Void;
                is_void || matches!(slot.outcome, SlotOutcome::Reverted | SlotOutcome::Canceled)
            });
        ends.extend(agreed_releases(pool, releasing).await);
        let failed = self.finalize_each(lease, chain.chain_id, &ends).await?;
        Ok(if ends.len() == failed { finished } else { finished.max(looked_at) })
    }
}

/// Whether a slot of the vault rail still has payments that it did not make: they leave it first, or, where the vault
/// skipped their numbers, an operator has to find out why.
fn carries_unpaid(open: &OpenSlot) -> bool {
    open.rail == Rail::Vault
        && open.purpose == Purpose::Pay
        && open.payments.iter().any(|record| {
            !matches!(open.items.get(&record.id), Some(ItemOutcome::Paid | ItemOutcome::Short))
        })
}

/// Those of which enough independent providers show the same receipt in the same block, and nobody another one
/// (invariant 4). The others wait: nothing is released by what is missing.
pub(super) async fn agreed_releases(
    pool: &ProviderPool,
    slots: Vec<ConsumedSlot>,
) -> Vec<ConsumedSlot> {
    if slots.is_empty() {
        return slots;
    }
    let hashes: Vec<B256> = slots.iter().map(|slot| slot.hash).collect();
    let network = pool.chain().network;
    let evidence = match pool.quorum_receipts(&hashes, Decision::Release).await {
        Ok(evidence) => evidence,
        Err(error) => {
            let waiting = slots.len();
            tracing::warn!(network, waiting, %error, "nothing is released");
            return Vec::new();
        }
    };
    let mut agreed = Vec::with_capacity(slots.len());
    for (slot, evidence) in slots.into_iter().zip(evidence) {
        let fits = evidence.undisputed().is_some_and(|receipt| {
            let did_not_pay = slot.outcome != SlotOutcome::Reverted || !receipt.succeeded;
            did_not_pay && receipt.block == slot.block
        });
        if fits {
            agreed.push(slot);
        } else {
            tracing::warn!(
                network, hash = %slot.hash,
                "not enough independent providers agree that this slot did not pay; nothing is released"
            );
        }
    }
    agreed
}
