//! The simulated operator: looks at the alarms now and then, and does what they say.

use std::sync::Arc;

use portcullis_core::withdrawal::{HoldReason, State};
use portcullis_engine::reconcile::Reconciler;
use portcullis_engine::{EngineError, Progress, RoleParts};
use portcullis_keys::Signer;
use portcullis_store::cancel::RefundOutcome;
use portcullis_store::dead_letter::LetterOutcome;
use portcullis_store::withdrawal::WithdrawalRecord;
use portcullis_store::work::ResumeOutcome;

use crate::oracle::all_withdrawals;
use crate::refused::Refused;
use crate::scheduler::{Run, SimulationError};

/// Follows the alarms of one engine: a halt is answered by `reconcile --repair`, which lifts what it has
/// answered; what is held goes on when nothing halts. An error is what remains, in words.
pub(crate) async fn follow_alarms(
    parts: RoleParts,
    signer: Option<Arc<Signer>>,
    refused: &Refused,
) -> Result<Progress, String> {
    let Some(signer) = signer else { return Ok(Progress::Idle) };
    let words = |error: EngineError| error.to_string();
    if parts.store.halts().await.map_err(|error| words(error.into()))?.is_empty() {
        let resumed = settle_held(&parts, refused).await.map_err(words)?;
        return Ok(resumed.or(redrive(&parts).await.map_err(words)?));
    }
    let journal = signer.journal().clone();
    let found = Reconciler::new(parts, journal).reconcile(true).await.map_err(words)?;
    if found.remaining() == 0 {
        return Ok(Progress::Worked);
    }
    let remaining = found.differences.iter().filter(|difference| !difference.repaired).take(3);
    let remaining: Vec<String> = remaining.map(|difference| format!("{difference:?}")).collect();
    Err(format!("{} differences remain: {}", found.remaining(), remaining.join("; ")))
}

/// Lets go on what is held and no slot carries, and gives up what the vault failed to pay because the token refuses the
/// recipient.
async fn settle_held(parts: &RoleParts, refused: &Refused) -> Result<Progress, EngineError> {
    let mut progress = Progress::Idle;
    for record in all_withdrawals(&parts.store).await? {
        let State::Held { slot: None, reason } = record.state else { continue };
        if reason == HoldReason::Voiding || has_a_spent_number(&record) {
            continue;
        }
        if reason == HoldReason::Failing && refused.has(record.token, record.to) {
            let why = "the token refuses the recipient";
            let outcome = parts.store.refund(record.id, "operator", why).await?;
            progress = progress.or(Progress::of(outcome == RefundOutcome::Voiding));
            continue;
        }
        let outcome = parts.store.resume(record.id, "operator", "the alarm was followed").await?;
        progress = progress.or(Progress::of(outcome == ResumeOutcome::Resumed));
    }
    Ok(progress)
}

/// Redrives the dead letters that nobody redrives by himself.
async fn redrive(parts: &RoleParts) -> Result<Progress, EngineError> {
    let mut progress = Progress::Idle;
    for letter in parts.store.dead_letters(None, false, 50).await? {
        let why = "the alarm was followed";
        let outcome = parts.store.redrive_dead_letter(letter.id, "operator", why).await?;
        progress = progress
            .or(Progress::of(matches!(outcome, LetterOutcome::Done | LetterOutcome::Held(_))));
    }
    Ok(progress)
}

/// Whether its number is spent for another payment: it can never be paid under it.
fn has_a_spent_number(record: &WithdrawalRecord) -> bool {
    let is_restored =
        matches!(record.state, State::Held { reason: HoldReason::Restore, slot: None });
    let said = record.timeline.iter().rev().find_map(|event| event.detail.as_deref());
    is_restored && said.is_some_and(|said| said.contains("was signed for"))
}

impl Run {
    /// An operator gives up what cannot be paid under its number; when that has come to its end unpaid, its client asks
    /// for the same under another id, and never before.
    pub(crate) async fn ask_anew(&mut self) -> Result<(), SimulationError> {
        self.world.gate.set_closed(false);
        let store = self.machine().store.clone();
        for record in all_withdrawals(&store).await? {
            let external_id = record.external_id.as_str();
            let Some(index) = self.wishes.iter().position(|wish| wish.external_id == external_id)
            else {
                continue;
            };
            if has_a_spent_number(&record) {
                let why = "its number belongs to another payment";
                let outcome = store.refund(record.id, "operator", why).await?;
                self.trace(&format!("{external_id} is given up: {outcome:?}"));
                self.wishes[index].is_given_up = true;
            } else if self.wishes[index].is_given_up && has_ended_unpaid(&record.state) {
                self.trace(&format!("{external_id} is asked for anew"));
                self.wishes[index].ask_anew();
            }
        }
        self.world.gate.set_closed(true);
        Ok(())
    }
}

pub(crate) const fn has_ended_unpaid(state: &State) -> bool {
    matches!(state, State::Canceled | State::Failed { .. } | State::Rejected)
}
