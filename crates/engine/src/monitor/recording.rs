//! Recording what was seen, in sets. One slot that cannot be recorded does not keep the others from it.

use portcullis_core::id::SlotId;
use portcullis_store::chain::{ConsumedSlot, Inclusion};
use portcullis_store::dead_letter::DeadLetterQueue;
use portcullis_store::lease::Lease;

use super::{CALLS_PER_COMMIT, Monitor, SLOTS_PER_COMMIT};
use crate::error::EngineError;
use crate::poison::{fail_slot, is_of_the_work, letter_error};

impl Monitor {
    /// Records inclusions; returns how many could not be.
    pub(super) async fn include_each(
        &self,
        lease: &Lease,
        chain_id: u64,
        inclusions: &[Inclusion],
    ) -> Result<usize, EngineError> {
        let mut failed = 0_usize;
        for set in inclusions.chunks(self.set_size(chain_id)) {
            let recorded = self.store.include(lease, set).await.map_err(EngineError::from);
            failed =
                failed.saturating_add(self.recorded(recorded, chain_id, set[0].slot_id).await?);
        }
        self.settle_size(failed);
        Ok(failed)
    }

    /// Ends slots; returns how many could not be ended.
    pub(super) async fn finalize_each(
        &self,
        lease: &Lease,
        chain_id: u64,
        slots: &[ConsumedSlot],
    ) -> Result<usize, EngineError> {
        let mut failed = 0_usize;
        for set in slots.chunks(self.set_size(chain_id)) {
            let recorded = self.store.finalize(lease, set).await.map_err(EngineError::from);
            failed =
                failed.saturating_add(self.recorded(recorded, chain_id, set[0].open.id).await?);
        }
        self.settle_size(failed);
        Ok(failed)
    }

    fn commit_max(&self, chain_id: u64) -> u64 {
        if self.vaults.contains_key(&chain_id) { CALLS_PER_COMMIT } else { SLOTS_PER_COMMIT }
    }

    /// Slots of a chain that one transaction records.
    pub(super) fn set_size(&self, chain_id: u64) -> usize {
        usize::try_from(self.narrowing.limit(self.commit_max(chain_id))).unwrap_or(usize::MAX)
    }

    fn settle_size(&self, failed: usize) {
        if failed == 0 {
            self.narrowing.widen();
        }
    }

    /// Passes a failure on, for the next step to try half as many. A slot that failed alone has failed a receive, and
    /// the step goes on with the next one.
    async fn recorded(
        &self,
        recorded: Result<(), EngineError>,
        chain_id: u64,
        first: SlotId,
    ) -> Result<usize, EngineError> {
        let Err(error) = recorded else { return Ok(0) };
        if !is_of_the_work(&error) || !self.narrowing.narrow(self.commit_max(chain_id)) {
            return Err(error);
        }
        tracing::warn!(slot = %first, %error, "what the chain shows of a slot cannot be recorded");
        let queue = DeadLetterQueue::BroadcastTx;
        fail_slot(&self.store, &self.around, queue, first, letter_error(&error)).await?;
        Ok(1)
    }
}
