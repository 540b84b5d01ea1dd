//! Dead letters: redriven where their class says so, ended where their work went on, forgotten after their time.

use portcullis_core::recovery::LETTER_KEPT_MS;
use portcullis_store::dead_letter::LetterOutcome;

use super::Recovery;
use crate::Progress;
use crate::doorbell::Bell;
use crate::error::EngineError;

/// Letters that one step redrives.
const REDRIVES_MAX: u64 = 100;

impl Recovery {
    pub(super) async fn tend_letters(&self) -> Result<Progress, EngineError> {
        let forgotten_before = self.store.now().plus_millis(-LETTER_KEPT_MS);
        self.store.tidy_dead_letters(forgotten_before).await?;
        let due = self.store.due_dead_letters(REDRIVES_MAX).await?;
        let mut redriven = 0_u64;
        for letter in due {
            let why = format!("{} passes by itself", letter.error.class);
            let outcome = self.store.redrive_dead_letter(letter.id, "recovery", &why).await?;
            redriven = redriven.saturating_add(u64::from(outcome == LetterOutcome::Done));
        }
        if redriven > 0 {
            tracing::info!(letters = redriven, "dead letters are redriven");
            metrics::counter!("portcullis_dead_letters_redriven_total").increment(redriven);
            self.doorbells.ring(Bell::Validate);
            self.doorbells.ring(Bell::Broadcast);
        }
        Ok(Progress::of(redriven > 0))
    }
}
