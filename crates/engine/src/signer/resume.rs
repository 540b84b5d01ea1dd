//! Slots that were bound and never signed: a signer ended between two commits, or was refused.

use portcullis_core::batching::with_headroom;
use portcullis_core::fee::Fees;
use portcullis_core::id::{SlotId, WithdrawalId};
use portcullis_core::intent::SigningIntent;
use portcullis_core::recovery::gas_after_rides;
use portcullis_core::slot::{AttemptKind, Purpose, Rail};
use portcullis_evm::{CallRequest, EstimateError};
use portcullis_keys::SigningRefusal;
use portcullis_store::lease::Lease;
use portcullis_store::slot::OpenSlot;
use portcullis_store::withdrawal::WithdrawalRecord;

use super::{Held, SignerChain, SignerRole};
use crate::Progress;
use crate::error::EngineError;

/// The gas of a zero self-transfer: the intrinsic gas of a transaction, and room for chains that
/// count L1 data as gas.
const SELF_TRANSFER_GAS: u64 = 21_000;

/// Gas for each bound payment that the node will not estimate: it is bound, so it must be signed or
/// canceled, and a revert costs gas, not the payment.
pub(super) const GAS_UNESTIMATED: u64 = 200_000;

impl SignerRole {
    pub(super) async fn resume(
        &self,
        chain: &SignerChain,
        held: &[Held],
    ) -> Result<Progress, EngineError> {
        let senders: Vec<_> = held.iter().map(|held| held.address).collect();
        let chain_id = chain.spec().chain_id;
        let mut open = self.store.unsigned_slots(chain_id, &senders).await?;
        let now = self.store.now();
        for sender in senders {
            if !open.iter().any(|slot| slot.slot.sender == sender) {
                self.standstill.has_nothing_bound(chain_id, sender, now);
            }
        }
        self.standstill.tried(&mut open, |slot| slot.slot);
        let leases: Vec<Lease> = held.iter().map(|held| held.lease.clone()).collect();
        let signed = self.uncommitted.take(chain_id, &mut open);
        let committed = Progress::of(!signed.is_empty());
        self.commit(&leases, signed, &[]).await?;
        if open.is_empty() {
            return Ok(committed);
        }
        let Some(fees) = self.first_price(chain).await? else { return Ok(committed) };
        let mut asked = Vec::with_capacity(open.len());
        for slot in &open {
            asked.push((slot.id, self.first_intent(chain, slot, fees).await?));
        }
        let refused = self.sign_and_commit(&leases, asked, &[]).await?;
        let canceled = refused
            .iter()
            .filter(|(_, refusal)| !is_passing(refusal))
            .filter_map(|(id, _)| open.iter().find(|slot| slot.id == *id))
            .map(|slot| (slot.id, cancel_intent(slot, fees)))
            .collect::<Vec<(SlotId, SigningIntent)>>();
        if !canceled.is_empty() {
            tracing::warn!(
                slots = canceled.len(),
                "bound payments cannot be signed; their slots are canceled"
            );
            self.sign_and_commit(&leases, canceled, &[]).await?;
        }
        Ok(committed.or(Progress::of(refused.len() < open.len())))
    }

    async fn first_intent(
        &self,
        chain: &SignerChain,
        open: &OpenSlot,
        fees: Fees,
    ) -> Result<SigningIntent, EngineError> {
        let is_filler = open.purpose == Purpose::Fill || open.payments.is_empty();
        if is_filler || open.cancel_requested {
            return Ok(cancel_intent(open, fees));
        }
        let mut intent = SigningIntent {
            slot: open.slot,
            purpose: open.purpose,
            rail: open.rail,
            kind: AttemptKind::Payload,
            payments: open.payments.iter().map(WithdrawalRecord::intent).collect(),
            fees,
            gas_limit: GAS_UNESTIMATED.saturating_mul(open.payments.len() as u64),
            access_list: Vec::new(),
        };
        // What cannot be built cannot be signed either: the signer says why.
        let Ok(payload) = self.signer.payload(&intent) else { return Ok(intent) };
        let call = CallRequest::of_payload(open.slot.sender, &payload);
        match chain.pool.estimate_gas(&[call]).await.pop() {
            Some(Ok(gas)) => intent.gas_limit = self.gas_limit(chain, open, gas).await?,
            Some(Err(EstimateError::Read(error))) => return Err(error.into()),
            Some(Err(_)) | None => {}
        }
        Ok(intent)
    }

    /// With the headroom of a first ride, and more where an earlier one has used up its gas.
    async fn gas_limit(
        &self,
        chain: &SignerChain,
        open: &OpenSlot,
        estimate: u64,
    ) -> Result<u64, EngineError> {
        let ids: Vec<WithdrawalId> = open.payments.iter().map(|record| record.id).collect();
        let earlier = match open.rail {
            Rail::Direct => self.store.out_of_gas_rides(&ids).await?.into_values().max(),
            Rail::Vault => None,
        };
        let gas_max = chain.spec().transaction_gas_max;
        Ok(gas_after_rides(with_headroom(estimate), earlier.unwrap_or(0), gas_max))
    }
}

/// A zero self-transfer in the slot.
pub(super) fn cancel_intent(open: &OpenSlot, fees: Fees) -> SigningIntent {
    SigningIntent {
        slot: open.slot,
        purpose: open.purpose,
        rail: open.rail,
        kind: AttemptKind::Cancel,
        payments: open.payments.iter().map(WithdrawalRecord::intent).collect(),
        fees,
        gas_limit: SELF_TRANSFER_GAS,
        access_list: Vec::new(),
    }
}

/// Whether the refusal may pass by itself: prices fall, a journal is repaired, who holds the key answers again. A slot is
/// not given up for it.
pub(super) const fn is_passing(refusal: &SigningRefusal) -> bool {
    matches!(
        refusal,
        SigningRefusal::FeePerGasAboveCap { .. }
            | SigningRefusal::TransactionFeeAboveCap { .. }
            | SigningRefusal::Journal { .. }
            | SigningRefusal::Key { .. }
            | SigningRefusal::RepeatedInCall { .. }
    ) || refusal.journal_knows_more()
}
