//! Slots that the database calls final: the chain has to show the same, to the last atomic unit.

use alloy_primitives::Address;
use portcullis_core::id::WithdrawalId;
use portcullis_core::slot::{AttemptKind, ItemOutcome, SlotOutcome};
use portcullis_core::withdrawal::State;
use portcullis_evm::Receipt;
use portcullis_store::reconcile::StoredSlot;

use super::evidence::{Shown, outcome_of};
use super::slots::SlotView;
use super::{ACTOR, Difference, DifferenceKind, Findings, Reconciler, Setting};
use crate::error::EngineError;
use crate::evidence::judge;

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
                short_payment(stored, *kind, receipt, setting.vault)
            } else {
                Some(format!("the chain shows it {}", outcome_of(view, *kind, receipt).as_str()))
            };
            if let Some(detail) = problem {
                let difference = Difference::of_slot(DifferenceKind::NotPaid, view.slot, detail)
                    .resting_on(receipt.hash, true);
                if !findings.is_accepted(&difference) {
                    findings.differences.push(difference);
                }
            }
        }
        Ok(())
    }
}

fn short_payment(
    stored: &StoredSlot,
    kind: AttemptKind,
    receipt: &Receipt,
    vault: Option<Address>,
) -> Option<String> {
    let verdict = judge(&stored.open, kind, receipt, vault);
    let paid = |id: WithdrawalId| {
        verdict.items.iter().any(|(item, outcome)| *item == id && *outcome == ItemOutcome::Paid)
    };
    let settled = stored.open.payments.iter();
    let mut settled = settled.filter(|record| matches!(record.state, State::Confirmed { .. }));
    settled.find(|record| !paid(record.id)).map(|record| {
        format!(
            "{} ({}) was to get {} atomic units, and {} does not show exactly that",
            record.to, record.external_id, record.amount, receipt.hash
        )
    })
}
