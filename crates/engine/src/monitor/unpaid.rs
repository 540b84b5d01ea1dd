//! The vault rail: payments that a confirmed slot did not make ride again, and numbers that something unknown used stop
//! the engine.

use portcullis_evm::ProviderPool;
use portcullis_store::lease::Lease;

use super::finality::agreed_releases;
use super::{Monitor, SLOTS_MAX};
use crate::error::EngineError;

impl Monitor {
    /// Queues again what the vault did not pay, once the receipt has the chain's confirmations and enough independent
    /// providers agree on it; returns how many slots were looked at. Below the conservative depth only the number
    /// guards it (invariant 14): every slot that carried it is followed until it is final.
    pub(super) async fn release_unpaid(
        &self,
        pool: &ProviderPool,
        lease: &Lease,
    ) -> Result<u64, EngineError> {
        let chain_id = pool.chain().chain_id;
        if !self.vaults.contains_key(&chain_id) {
            return Ok(0);
        }
        let unpaid = self.store.unpaid_slots(chain_id, SLOTS_MAX).await?;
        let looked_at = unpaid.len() as u64;
        let agreed = agreed_releases(pool, unpaid).await;
        self.store.release_unpaid(lease, &agreed).await?;
        Ok(if agreed.is_empty() { 0 } else { looked_at })
    }

    /// `Skipped` is never evidence of a payment: what used the number is not in this database.
    pub(super) async fn notice_skips(&self, chain_id: u64) -> Result<(), EngineError> {
        let Some(vault) = self.vaults.get(&chain_id) else { return Ok(()) };
        for skipped in self.store.unexplained_skips(chain_id).await? {
            let detail = format!(
                "the vault {vault} had used number {} of {} before, by a transaction that this database does \
                 not know: a restored or a second database. Run reconcile",
                skipped.number, skipped.withdrawal
            );
            self.store.raise_halt("restore", &detail).await?;
        }
        Ok(())
    }
}
