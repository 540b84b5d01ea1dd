//! Evidence that a slot did not pay: read by the signer's role itself from the chain, then journaled.

use alloy_primitives::B256;
use portcullis_core::chain::ChainSpec;
use portcullis_core::number::PayoutNumber;
use portcullis_core::slot::{
    AttemptKind, Consumption, ItemOutcome, Rail, Slot, SlotOutcome, SlotStage, explain_consumption,
};
use portcullis_evm::{AgreedHead, Decision, QuorumError, QuorumReceipt, Receipt};
use portcullis_keys::journal::{EvidenceCause, ReleaseEvidence};
use portcullis_keys::signer::Release;
use portcullis_store::slot::OpenSlot;
use portcullis_store::withdrawal::WithdrawalRecord;

use super::{SignerChain, SignerRole};
use crate::error::EngineError;
use crate::evidence::judge;

impl SignerRole {
    /// Journals that `record` left `slot`, where it was signed under `number`, if the chain proves it: a receipt on which
    /// the chain's release quorum agrees shows our cancel, a revert, or that the vault did not pay this item. On the direct
    /// rail the slot is final in the database and the receipt at the conservative depth; on the vault rail the chain's
    /// confirmations will do, because the payment's number guards it (invariant 14), unless it is to be paid under another
    /// number now. Without that proof nothing is written, and the signer goes on refusing the payment. Where the database
    /// knows the slot as one that the payment left, only the proof is missing, and the answer says why it is.
    pub(super) async fn journal_release(
        &self,
        chain: &SignerChain,
        record: &WithdrawalRecord,
        number: PayoutNumber,
        slot: Slot,
    ) -> Result<Option<&'static str>, EngineError> {
        let Some(open) = self.store.slot(slot).await? else { return Ok(None) };
        let is_guarded = open.rail == Rail::Vault && number == record.number;
        let needed = match open.rail {
            Rail::Direct if open.stage != SlotStage::Final => return Ok(None),
            Rail::Vault if is_guarded => chain.spec().confirmations,
            Rail::Direct | Rail::Vault => chain.spec().conservative.blocks,
        };
        // Not by its rides alone: what reconcile imported as unpaid was never bound here.
        if open.payments.iter().any(|payment| payment.reference == record.reference) {
            return Ok(None);
        }
        let least = if is_guarded { SlotStage::Confirmed } else { SlotStage::Final };
        if open.stage < least {
            // A reorg put the slot back: it may pay after all. Or it is not over for good.
            return Ok(Some("its slot is not over"));
        }
        let hashes: Vec<_> = open.attempts.iter().map(|attempt| attempt.hash).collect();
        let (agreed, receipts) = match self.read_release(chain, &hashes).await {
            Ok(read) => read,
            Err(error) => {
                let network = chain.spec().network;
                tracing::warn!(network, number = %record.number, %error, "no proof of a release yet");
                return Ok(Some("the providers do not answer"));
            }
        };
        let mut missing = "no receipt is agreed on";
        for (attempt, receipt) in open.attempts.iter().zip(&receipts) {
            let Some(receipt) = receipt.undisputed() else { continue };
            let depth = ChainSpec::depth(receipt.block.number, agreed.head.number);
            let canonical = chain.pool.agreed_header(&agreed, receipt.block.number).await?;
            let is_canonical = canonical.is_some_and(|header| header.hash == receipt.block.hash);
            let Some(consumer) = self.consumer(chain, &open, receipt).await else {
                let hash = attempt.hash;
                tracing::warn!(%hash, number = %record.number, "no proof that it is of the slot");
                return Ok(Some("the transaction is not proved to be of the slot"));
            };
            let Some(cause) = cause_of(chain, &open, consumer, receipt, record) else {
                return Ok((open.rail == Rail::Vault).then_some("the receipt does not show it"));
            };
            if is_canonical && depth >= needed {
                let evidence = ReleaseEvidence {
                    block_number: receipt.block.number,
                    block_hash: receipt.block.hash,
                    transaction_hash: receipt.hash,
                    cause,
                    is_final: depth >= chain.spec().conservative.blocks,
                };
                let release = Release { number, slot, evidence };
                self.signer.record_release(vec![release]).await?;
                return Ok(Some("it has just been journaled"));
            }
            missing =
                if is_canonical { "it is not deep enough" } else { "its block is not agreed on" };
        }
        Ok(Some(missing))
    }

    /// What a mined transaction is to the slot. The database's word for it is not asked: of what was signed here the
    /// journal knows the kind, and anything else has to be a transaction of this sender and nonce, as the release
    /// quorum shows it. `None` while that is not proved.
    async fn consumer(
        &self,
        chain: &SignerChain,
        open: &OpenSlot,
        receipt: &Receipt,
    ) -> Option<Consumer> {
        let entry = self.signer.journal().slot(open.slot);
        let attempts = entry.iter().flat_map(|entry| &entry.attempts);
        if let Some(known) = attempts.into_iter().find(|attempt| attempt.hash == receipt.hash) {
            return Some(Consumer::Ours(known.kind));
        }
        let shown = chain.pool.quorum_transactions(&[receipt.hash], Decision::Release).await;
        let shown = shown.unwrap_or_default();
        let shown = shown.first().and_then(|shown| shown.undisputed());
        let consumed = shown.filter(|shown| shown.block == receipt.block)?;
        let mined = consumed
            .transaction
            .as_ref()
            .filter(|mined| (mined.from, mined.nonce) == (open.slot.sender, open.slot.nonce))?;
        let signed = entry.as_ref().and_then(|entry| entry.payload_digests().next());
        let digest = signed.unwrap_or(open.payload_digest);
        let explained = mined.payload().map_or(Consumption::Foreign, |payload| {
            explain_consumption(open.slot, digest, &[], mined.hash, &payload)
        });
        Some(match explained {
            Consumption::KnownAttempt | Consumption::SamePayload => {
                Consumer::Ours(AttemptKind::Payload)
            }
            Consumption::SelfTransfer => Consumer::Ours(AttemptKind::Cancel),
            Consumption::Foreign => Consumer::Foreign,
        })
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

/// What consumed a slot, as the signer knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Consumer {
    /// What was signed for it, or the same by other bytes.
    Ours(AttemptKind),
    /// Anything else.
    Foreign,
}

/// How the receipt shows that the slot did not pay this withdrawal; `None` when it does not show that. What reconcile
/// imported was never bound to the slot here, and is judged as one that left it.
fn cause_of(
    chain: &SignerChain,
    open: &OpenSlot,
    consumer: Consumer,
    receipt: &Receipt,
    record: &WithdrawalRecord,
) -> Option<EvidenceCause> {
    let Consumer::Ours(kind) = consumer else { return Some(EvidenceCause::Foreign) };
    let mut open = open.clone();
    if open.left.iter().all(|left| left.id != record.id) {
        open.left.push(record.clone());
    }
    let verdict = judge(&open, kind, receipt, chain.vault);
    match verdict.outcome {
        SlotOutcome::Canceled | SlotOutcome::Filled => Some(EvidenceCause::Canceled),
        SlotOutcome::Reverted => Some(EvidenceCause::Reverted),
        SlotOutcome::Paid | SlotOutcome::Voided => verdict
            .items
            .contains(&(record.id, ItemOutcome::Failed))
            .then_some(EvidenceCause::ItemFailed),
    }
}
