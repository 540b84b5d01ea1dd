//! Which payments a slot carries, by the journal, and what they pay, by the transaction.

use alloy_primitives::B256;
use portcullis_core::calldata::read_direct_payment;
use portcullis_core::number::{PaymentRef, PayoutNumber};
use portcullis_core::slot::{AttemptKind, Rail, SlotOutcome, SlotStage};
use portcullis_core::vault::{VaultItem, read_vault_payment};
use portcullis_keys::journal::PaymentEntry;
use portcullis_store::reconcile::{ImportedPayment, ImportedPurpose, ImportedRequest};

use super::evidence::{Shown, outcome_of};
use super::slots::SlotView;
use super::{Reconciler, Setting};
use crate::error::EngineError;

impl Reconciler {
    /// The payments that the slot carries: those that were signed for it and not released; none where the chain has
    /// shown for good that it did not pay, for nobody is bound to it again then. A slot of which only cancels were
    /// signed keeps what is bound to it.
    ///
    /// On the vault rail the vault's own word decides where a number was paid; until then its last ride carries it.
    pub(super) fn carried(
        &self,
        setting: &Setting<'_>,
        view: &SlotView,
        shown: &Shown,
    ) -> Vec<ImportedPayment> {
        let stored = view.stored.as_ref();
        let unpaid = [SlotOutcome::Reverted, SlotOutcome::Canceled, SlotOutcome::Filled];
        let ended = stored.filter(|_| view.is_final()).and_then(|stored| stored.end);
        if ended.is_some_and(|end| unpaid.contains(&end.outcome)) {
            return Vec::new();
        }
        let signed = view.journaled.as_ref().filter(|_| view.signed_digest().is_some());
        let Some(entry) = signed.filter(|entry| !entry.voids) else {
            let bound = stored.into_iter().flat_map(|stored| &stored.open.payments);
            return bound.map(ImportedPayment::of).collect();
        };
        let was_paid = was_paid(view, shown);
        let numbers = entry.payments.iter().copied();
        numbers
            .filter_map(|number| Some((number, self.journal.payment(number)?)))
            .filter(|(number, known)| match view.rail() {
                Rail::Direct => was_paid || !was_released(known, view),
                Rail::Vault => rides_here(setting, view, shown, (*number, known)),
            })
            .map(|(number, known)| ImportedPayment {
                number,
                reference: known.reference,
                request: Some(ImportedRequest {
                    withdrawal: known.withdrawal,
                    tenant: known.tenant,
                    external_id: known.external_id,
                }),
                purpose: None,
            })
            .collect()
    }

    /// Reads what the slot's payment pays from any of its transactions that a node shows. The digest in the journal
    /// and the ref say that it is the one.
    pub(super) async fn read_purposes(
        &self,
        setting: &Setting<'_>,
        view: &SlotView,
        payments: &mut [ImportedPayment],
    ) -> Result<(), EngineError> {
        if view.rail() == Rail::Vault {
            return self.read_items(setting, view, payments).await;
        }
        let [payment] = payments else { return Ok(()) };
        let hashes: Vec<_> = view
            .hashes()
            .into_iter()
            .filter(|(_, kind)| *kind == AttemptKind::Payload)
            .map(|(hash, _)| hash)
            .collect();
        if hashes.is_empty() {
            return Ok(());
        }
        let known = setting.pool.transactions_by_hash(&hashes).await?;
        let payload = known
            .into_iter()
            .flatten()
            .filter_map(|known| known.transaction.payload())
            .find(|payload| Some(payload.digest(view.slot)) == view.signed_digest());
        let read = payload.and_then(|payload| read_direct_payment(view.slot.sender, &payload));
        let Some((token, to, amount)) = read else { return Ok(()) };
        let (Some(deployment), Some(request)) = (setting.deployment, &payment.request) else {
            return Ok(());
        };
        let reference =
            PaymentRef::derive(deployment, request.tenant, &request.external_id, token, to, amount);
        if reference == payment.reference {
            payment.purpose = Some(ImportedPurpose { token, amount, to });
        } else {
            tracing::warn!(number = %payment.number, "a payment of another deployment, or without its ref");
        }
        Ok(())
    }
}

/// Whether this slot of the vault rail is the one that carries a number.
fn rides_here(
    setting: &Setting<'_>,
    view: &SlotView,
    shown: &Shown,
    (number, known): (PayoutNumber, &PaymentEntry),
) -> bool {
    let hashes: Vec<B256> = view.hashes().into_iter().map(|(hash, _)| hash).collect();
    if let Some(is_paid_here) = setting.history.paid_by(number, &hashes) {
        return is_paid_here;
    }
    let bound = view.stored.iter().flat_map(|stored| &stored.open.payments);
    let is_bound = bound.into_iter().any(|record| record.number == number);
    match shown {
        // Consumed without paying it: for good, or as far as the monitor has come with it.
        Shown::Mined { end: Some(_), .. } => false,
        Shown::Mined { .. } | Shown::Adopted(_) => is_bound,
        // The monitor has read the block that consumed it, and the head that is asked is behind it, or left it.
        _ if view.stage().is_some_and(|stage| stage >= SlotStage::Included) => is_bound,
        _ => {
            let last = known.rides.last().is_some_and(|ride| ride.slot == view.slot);
            (last || is_bound) && !was_released(known, view) && !known.voided
        }
    }
}

/// Whether a block holds the slot's payload, successful.
pub(super) fn was_paid(view: &SlotView, shown: &Shown) -> bool {
    matches!(shown, Shown::Mined { kind, receipt, .. }
        if outcome_of(view, *kind, receipt) == SlotOutcome::Paid)
}

impl Reconciler {
    /// What the items of a call pay: by the vault's events, or by the calldata of a transaction that a node shows.
    async fn read_items(
        &self,
        setting: &Setting<'_>,
        view: &SlotView,
        payments: &mut [ImportedPayment],
    ) -> Result<(), EngineError> {
        let hashes: Vec<B256> = view.hashes().into_iter().map(|(hash, _)| hash).collect();
        let known = setting.pool.transactions_by_hash(&hashes).await?;
        let items: Vec<VaultItem> = known
            .into_iter()
            .flatten()
            .filter_map(|known| known.transaction.payload())
            .find(|payload| Some(payload.digest(view.slot)) == view.signed_digest())
            .and_then(|payload| read_vault_payment(&payload.input))
            .unwrap_or_default();
        for payment in payments {
            let item = items
                .iter()
                .find(|item| item.number == payment.number && item.reference == payment.reference);
            let by_call = item.map(|item| ImportedPurpose {
                token: item.token,
                amount: item.amount,
                to: item.to,
            });
            let by_event = setting.history.purpose(payment.number, payment.reference);
            payment.purpose = by_event.or(by_call);
        }
        Ok(())
    }
}

fn was_released(known: &PaymentEntry, view: &SlotView) -> bool {
    known.rides.iter().any(|ride| ride.slot == view.slot && ride.released)
}
