//! What nothing repairs and an operator decides: another's use of a key, a transfer that nobody explains, a payment that
//! does not show. Accepting one pays nobody and lifts nothing by itself; the next reconciliation does not find it any more.

use portcullis_core::slot::{AttemptKind, Purpose, Rail};
use portcullis_store::reconcile::{
    AcceptedDifference, ForeignSlot, Freed, ImportedAttempt, ImportedEnd,
};
use portcullis_store::withdrawal::WithdrawalRecord;

use super::slots::SlotView;
use super::{Difference, DifferenceKind, Findings, Reconciler};
use crate::error::EngineError;

/// A slot that a foreign transaction has consumed for good.
#[derive(Clone, Debug)]
pub(super) struct ForeignView {
    pub(super) view: SlotView,
    pub(super) end: ImportedEnd,
}

/// What became of an operator's wish to accept a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcceptOutcome {
    /// It is accepted, with what its slot carried let go.
    Accepted(Difference, Freed),
    /// It was accepted before.
    Already,
    /// There is no such difference.
    Unknown,
    /// Not now, or not at all: why, and what to do.
    Refused(String),
}

impl Reconciler {
    /// Accepts a difference, by the id that [`Self::reconcile`] tells, for an operator who gives a reason. Everything is
    /// compared anew first, and what is not final is refused (invariant 4).
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn accept(
        &self,
        id: &str,
        actor: &str,
        reason: &str,
    ) -> Result<AcceptOutcome, EngineError> {
        let findings = self.look(false).await?;
        if findings.accepted.iter().any(|accepted| accepted.id == id) {
            return Ok(AcceptOutcome::Already);
        }
        let Some(difference) = findings.differences.iter().find(|found| found.id == id) else {
            return Ok(AcceptOutcome::Unknown);
        };
        if let Some(why) = refusal(difference, &findings) {
            return Ok(AcceptOutcome::Refused(why));
        }
        let accepted = AcceptedDifference {
            id: id.to_owned(),
            kind: difference.kind.as_str().to_owned(),
            subject: difference.subject.clone(),
            detail: difference.detail.clone(),
            reason: reason.to_owned(),
            actor: actor.to_owned(),
            at: self.store.now(),
        };
        let foreign = findings.foreign.get(id).map(|seen| self.foreign_slot(seen, &findings));
        match self.store.accept_difference(&accepted, foreign.as_ref()).await {
            Ok(freed) => {
                tracing::warn!(
                    id,
                    kind = accepted.kind,
                    subject = accepted.subject,
                    actor,
                    reason,
                    "a difference is accepted"
                );
                Ok(AcceptOutcome::Accepted(difference.clone(), freed))
            }
            Err(error) if error.is_lost_race() => Ok(AcceptOutcome::Refused(
                "its slot moved on meanwhile: reconcile again".to_owned(),
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// The slot with the foreign transaction as its end. It pays nothing of ours, as a cancel does.
    fn foreign_slot(&self, seen: &ForeignView, findings: &Findings) -> ForeignSlot {
        let ForeignView { view, end } = seen;
        let (hash, at) = (end.hash, self.store.now());
        let theirs = ImportedAttempt { hash, kind: AttemptKind::Cancel, at };
        let bound = view.stored.iter().flat_map(|stored| &stored.open.payments);
        let may_be_paid = |record: &&WithdrawalRecord| {
            let paid = (record.chain_id, record.token, record.to, record.amount);
            // The vault pays its number once, whoever asks. Of the native coin no log tells.
            let is_guarded = view.rail() == Rail::Vault || view.purpose() != Purpose::Pay;
            !is_guarded && (record.token.is_none() || findings.unexplained.contains(&paid))
        };
        ForeignSlot {
            held: bound.filter(may_be_paid).map(|record| record.id).collect(),
            import: view.import(
                self.around.slot_id(self.store.now()),
                Some(theirs),
                Vec::new(),
                Some(*end),
            ),
        }
    }
}

/// Why a difference cannot be accepted now.
fn refusal(difference: &Difference, findings: &Findings) -> Option<String> {
    if !difference.kind.is_for_operator() {
        return Some(format!("nobody accepts that: {}", difference.kind.remedy()));
    }
    if !difference.acceptable {
        return Some(
            "it is not final, or too few independent providers show it: a block may still leave the chain. Wait for \
             the conservative depth"
                .to_owned(),
        );
    }
    // What these say is imported or held first: afterwards nothing tells any more that it may be paid.
    let first = findings.differences.iter().find(|found| {
        matches!(found.kind, DifferenceKind::PerhapsPaid | DifferenceKind::UnknownSlot)
    });
    first.map(|found| {
        format!("run `portcullis reconcile --repair` first: {}: {}", found.subject, found.detail)
    })
}
