//! Slots that the database calls final: the chain has to show the same, to the last atomic unit.

use portcullis_core::amount::Amount;
use portcullis_core::calldata::read_transfer;
use portcullis_core::slot::SlotOutcome;
use portcullis_core::withdrawal::State;
use portcullis_evm::Receipt;
use portcullis_store::reconcile::{StoredEnd, StoredSlot};
use portcullis_store::withdrawal::WithdrawalRecord;

use super::evidence::{Shown, outcome_of};
use super::slots::SlotView;
use super::{ACTOR, Difference, DifferenceKind, Findings, Reconciler, Setting};
use crate::error::EngineError;

impl Reconciler {
    pub(super) async fn check_ended(
        &self,
        setting: &Setting<'_>,
        view: &SlotView,
        shown: &Shown,
        findings: &mut Findings,
    ) -> Result<(), EngineError> {
        let Some(stored) = &view.stored else { return Ok(()) };
        let Some(end) = stored.end else { return Ok(()) };
        let gone = match shown {
            Shown::Open => Some("its nonce is not consumed".to_owned()),
            Shown::Mined { receipt, .. } if receipt.block != end.block => {
                Some(format!("it is in block {} now", receipt.block.number))
            }
            _ => None,
        };
        if let Some(detail) = gone {
            let kind = DifferenceKind::LeftTheChain;
            findings.differences.push(Difference::of_slot(kind, view.slot, detail));
            // Where it did not pay, what it released may be paid by another slot by now: an operator decides.
            if setting.repair && matches!(end.outcome, SlotOutcome::Paid | SlotOutcome::Filled) {
                self.store.reopen_slot(stored.open.id, ACTOR).await?;
            }
            return Ok(());
        }
        if let Shown::Mined { kind, receipt, .. } = shown {
            let problem = if outcome_of(view, *kind, receipt) == end.outcome {
                short_payment(stored, end, receipt)
            } else {
                Some(format!("the chain shows it {}", outcome_of(view, *kind, receipt).as_str()))
            };
            if let Some(detail) = problem {
                let kind = DifferenceKind::NotPaid;
                findings.differences.push(Difference::of_slot(kind, view.slot, detail));
            }
        }
        Ok(())
    }
}

fn short_payment(stored: &StoredSlot, end: StoredEnd, receipt: &Receipt) -> Option<String> {
    if end.outcome != SlotOutcome::Paid {
        return None;
    }
    let settled = stored
        .open
        .payments
        .iter()
        .filter(|record| matches!(record.state, State::Confirmed { .. }));
    for record in settled {
        let arrived = arrived(stored, record, receipt);
        if arrived != Some(record.amount) {
            let arrived = arrived.unwrap_or_default();
            return Some(format!(
                "{} ({}) was to get {} atomic units, {} has {arrived}",
                record.to, record.external_id, record.amount, receipt.hash
            ));
        }
    }
    None
}

/// What reached the recipient by the token's own events. A native payment is the call itself.
fn arrived(stored: &StoredSlot, record: &WithdrawalRecord, receipt: &Receipt) -> Option<Amount> {
    let Some(token) = record.token else {
        return (receipt.succeeded && receipt.to == Some(record.to)).then_some(record.amount);
    };
    receipt
        .logs
        .iter()
        .filter_map(read_transfer)
        .filter(|transfer| {
            transfer.token == token
                && transfer.from == stored.open.slot.sender
                && transfer.to == record.to
        })
        .try_fold(Amount::ZERO, |sum, transfer| sum.checked_add(transfer.amount))
}
