//! Evidence that a slot did not pay: read by the signer's role itself from the chain, then journaled.

use alloy_primitives::B256;
use portcullis_core::chain::ChainSpec;
use portcullis_core::number::PayoutNumber;
use portcullis_core::slot::{AttemptKind, Slot, SlotStage};
use portcullis_evm::{AgreedHead, Decision, QuorumError, QuorumReceipt};
use portcullis_keys::journal::{EvidenceCause, ReleaseEvidence};
use portcullis_keys::signer::Release;
use portcullis_store::withdrawal::WithdrawalRecord;

use super::{SignerChain, SignerRole};
use crate::error::EngineError;

impl SignerRole {
    /// Journals that `record` left `slot`, where it was signed under `number`, if the chain proves it: the slot is
    /// final in the database, and a receipt at the conservative depth, on which the chain's release quorum agrees, shows our
    /// cancel, or a revert. Without that proof
    /// nothing is written, and the signer goes on refusing the payment. Says whether the database
    /// knows the slot as one that the payment left: then only the proof is still missing.
    pub(super) async fn journal_release(
        &self,
        chain: &SignerChain,
        record: &WithdrawalRecord,
        number: PayoutNumber,
        slot: Slot,
    ) -> Result<bool, EngineError> {
        let Some(open) = self.store.slot(slot).await? else { return Ok(false) };
        // Not by its rides alone: what reconcile imported as unpaid was never bound here.
        let is_carried = open.payments.iter().any(|payment| payment.reference == record.reference);
        if open.stage != SlotStage::Final || is_carried {
            return Ok(false);
        }
        let hashes: Vec<_> = open.attempts.iter().map(|attempt| attempt.hash).collect();
        let (agreed, receipts) = match self.read_release(chain, &hashes).await {
            Ok(read) => read,
            Err(error) => {
                let network = chain.spec().network;
                tracing::warn!(network, number = %record.number, %error, "no proof of a release yet");
                return Ok(true);
            }
        };
        for (attempt, receipt) in open.attempts.iter().zip(&receipts) {
            let Some(receipt) = receipt.undisputed() else { continue };
            let depth = ChainSpec::depth(receipt.block.number, agreed.head.number);
            let canonical = chain.pool.agreed_header(&agreed, receipt.block.number).await?;
            let is_canonical = canonical.is_some_and(|header| header.hash == receipt.block.hash);
            let deep = depth >= chain.spec().conservative.blocks;
            let cause = match (attempt.kind, receipt.succeeded) {
                (AttemptKind::Cancel, _) => EvidenceCause::Canceled,
                (AttemptKind::Payload, false) => EvidenceCause::Reverted,
                (AttemptKind::Payload, true) => return Ok(false),
            };
            if is_canonical && deep {
                let evidence = ReleaseEvidence {
                    block_number: receipt.block.number,
                    block_hash: receipt.block.hash,
                    transaction_hash: receipt.hash,
                    cause,
                };
                let release = Release { number, slot, evidence };
                self.signer.record_release(vec![release]).await?;
                return Ok(true);
            }
        }
        Ok(true)
    }

    async fn read_release(
        &self,
        chain: &SignerChain,
        hashes: &[B256],
    ) -> Result<(AgreedHead, Vec<QuorumReceipt>), QuorumError> {
        let receipts = chain.pool.quorum_receipts(hashes, Decision::Release).await?;
        Ok((chain.pool.agreed_head(&[]).await?, receipts))
    }
}
