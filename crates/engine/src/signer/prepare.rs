//! What is checked once before a signer signs on a chain: that database, journal and chain agree
//! about its senders.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use alloy_primitives::Address;
use portcullis_core::slot::Slot;
use portcullis_evm::{AgreedCount, Decision};

use super::{SignerChain, SignerRole};
use crate::error::EngineError;
use crate::foreign::halt_for_foreign_use;
use crate::reconcile::what_journal_knows_more;

/// The newest slots of a sender that are compared one by one. Older ones are covered by the nonce.
const SLOTS_COMPARED: u64 = 64;

impl SignerRole {
    /// The senders that may sign on a chain. Registers new ones; halts the engine when the journal or
    /// the chain knows more than the database (invariant 12).
    pub(super) async fn prepared(
        &self,
        chain: &SignerChain,
    ) -> Result<BTreeSet<Address>, EngineError> {
        let ready = chain.ready();
        if !ready.is_empty() {
            return Ok(ready);
        }
        let chain_id = chain.spec().chain_id;
        let addresses = self.signer.addresses(chain_id);
        if addresses.is_empty() {
            return Ok(ready);
        }
        // Before a sender is registered with the chain's own count: a database that never knew it would agree then.
        if let Some(detail) = what_journal_knows_more(&self.store, self.signer.journal()).await? {
            self.store.raise_halt("restore", &detail).await?;
            return Ok(BTreeSet::new());
        }
        let codes = chain.pool.codes(&addresses).await?;
        // At a block that the quorum has: "latest" is another block at each provider.
        let head = chain.pool.agreed_head(&[]).await?.head;
        let counts = chain.pool.agreed_counts(&addresses, head.number).await?;
        let usable: Vec<(Address, AgreedCount)> = addresses
            .into_iter()
            .zip(counts)
            .zip(codes)
            .filter(|((address, _), has_code)| {
                if *has_code {
                    // A delegated account (EIP-7702) gets one transaction in flight, and can be emptied
                    // by its code.
                    tracing::error!(chain_id, %address, "a sender has code on chain and is not used");
                }
                !has_code
            })
            .map(|(sender, _)| sender)
            .collect();
        let counted: Vec<(Address, u64)> =
            usable.iter().map(|(sender, agreed)| (*sender, agreed.count)).collect();
        self.store.register_senders(chain_id, &counted).await?;
        if !self.agrees(chain, &usable).await? {
            return Ok(BTreeSet::new());
        }
        let mut ready = chain.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.extend(usable.into_iter().map(|(address, _)| address));
        Ok(ready.clone())
    }

    async fn agrees(
        &self,
        chain: &SignerChain,
        counts: &[(Address, AgreedCount)],
    ) -> Result<bool, EngineError> {
        let chain_id = chain.spec().chain_id;
        let needed = chain.pool.needed(Decision::Stop)?;
        let senders = self.store.senders(chain_id).await?;
        for (address, AgreedCount { count, operators }) in counts {
            let known = senders.iter().find(|(sender, _)| sender == address);
            let Some((_, nonce_next)) = known else { continue };
            if count > nonce_next && *operators < needed {
                tracing::warn!(chain_id, %address, count, nonce_next, "a provider alone counts more than we sent");
                return Ok(false);
            }
            if count > nonce_next {
                let detail = format!(
                    "the chain counts {count} transactions of {address}, the database opened {nonce_next} \
                     slots: a restored database, or another holder of the key. Run reconcile"
                );
                halt_for_foreign_use(&self.store, &detail).await?;
                return Ok(false);
            }
            if let Some(detail) = self.unjournaled(chain_id, *address, *nonce_next).await? {
                self.store.raise_halt("restore", &detail).await?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// An attempt of the newest slots of a sender that the database has and the journal does not.
    async fn unjournaled(
        &self,
        chain_id: u64,
        sender: Address,
        nonce_next: u64,
    ) -> Result<Option<String>, EngineError> {
        let journal = self.signer.journal();
        for nonce in nonce_next.saturating_sub(SLOTS_COMPARED)..nonce_next {
            let slot = Slot { chain_id, sender, nonce };
            let Some(open) = self.store.slot(slot).await? else { continue };
            let missing = || {
                let journaled = journal.attempt_hashes(slot);
                let mut own = open.attempts.iter().filter(|attempt| !attempt.is_adopted);
                own.find(|attempt| !journaled.contains(&attempt.hash))
            };
            if missing().is_some() {
                // Another signer may have journaled and committed it a moment ago.
                self.signer.catch_up().await?;
            }
            if let Some(attempt) = missing() {
                return Ok(Some(format!(
                    "the database holds attempt {} of {sender} nonce {nonce}, the journal does not: an \
                     older or another journal. Run reconcile",
                    attempt.hash
                )));
            }
        }
        Ok(None)
    }
}
