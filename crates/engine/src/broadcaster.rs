//! The broadcaster: sends committed bytes, lowest nonce first, and sends them again for as long as
//! their slot is open. A pool forgets; we do not.

use std::sync::Arc;

use alloy_primitives::{B256, Bytes};
use portcullis_evm::{ProviderPool, SendOutcome};
use portcullis_store::Store;
use portcullis_store::send::{SendResult, Sendable};

use crate::damage::contained;
use crate::doorbell::{Bell, Doorbells};
use crate::error::EngineError;
use crate::settings::EngineSettings;
use crate::{Progress, RoleParts, Surroundings};

/// How long a claim keeps others from the same slots. Sending twice is harmless, only wasteful.
const CLAIM_MS: i64 = 20_000;

/// The first pause after a send that nobody took; it doubles with every further one.
const BACKOFF_FIRST_MS: i64 = 500;

/// The longest pause.
const BACKOFF_MOST_MS: i64 = 30_000;

/// The broadcaster's role.
pub struct Broadcaster {
    store: Store,
    pools: Vec<Arc<ProviderPool>>,
    settings: EngineSettings,
    around: Surroundings,
    doorbells: Doorbells,
}

impl Broadcaster {
    /// A broadcaster.
    #[must_use]
    pub fn new(parts: RoleParts) -> Self {
        let RoleParts { store, pools, settings, around, doorbells, .. } = parts;
        Self { store, pools, settings, around, doorbells }
    }

    /// Sends one set for each chain.
    ///
    /// # Errors
    /// When the database does not answer. What a node says is recorded, never an error.
    pub async fn step(&self) -> Result<Progress, EngineError> {
        contained(&self.store, self.try_step().await).await
    }

    async fn try_step(&self) -> Result<Progress, EngineError> {
        let mut progress = Progress::Idle;
        for pool in &self.pools {
            progress = progress.or(self.send_due(pool).await?);
        }
        Ok(progress)
    }

    async fn send_due(&self, pool: &ProviderPool) -> Result<Progress, EngineError> {
        let chain_id = pool.chain().chain_id;
        let claim = format!("{}:{:032x}", self.around.instance, (self.around.entropy)());
        let limit = self.settings.batch_max;
        let sendable = self.store.claim_sendable(chain_id, &claim, limit, CLAIM_MS).await?;
        if sendable.is_empty() {
            return Ok(Progress::Idle);
        }
        let transactions: Vec<(B256, Bytes)> =
            sendable.iter().map(|sendable| (sendable.hash, sendable.raw.clone())).collect();
        let outcomes = pool.send(&transactions).await;
        let results: Vec<SendResult> = sendable
            .iter()
            .zip(&outcomes)
            .map(|(sendable, outcome)| self.result_of(sendable, outcome))
            .collect();
        self.store.record_sends(&claim, &results).await?;
        if results.iter().any(|result| result.accepted) {
            self.doorbells.ring(Bell::Monitor);
        }
        Ok(Progress::Worked)
    }

    fn result_of(&self, sendable: &Sendable, outcome: &SendOutcome) -> SendResult {
        let accepted = matches!(outcome, SendOutcome::Accepted | SendOutcome::AlreadyKnown);
        metrics::counter!("portcullis_sends_total", "outcome" => outcome.as_str()).increment(1);
        if !accepted {
            let nonce = sendable.slot.nonce;
            tracing::warn!(
                hash = %sendable.hash, sender = %sendable.slot.sender, nonce,
                outcome = ?outcome, in_doubt = outcome.maybe_live(),
                "a send was not accepted; the slot stays open and the bytes are sent again"
            );
        }
        let pause_ms = match outcome {
            SendOutcome::Accepted | SendOutcome::AlreadyKnown => self.settings.rebroadcast_after_ms,
            _ => backoff_ms(sendable.receives),
        };
        let jitter_ms = self.around.jitter_ms(pause_ms / 8);
        SendResult {
            slot_id: sendable.slot_id,
            hash: sendable.hash,
            outcome: describe(outcome),
            accepted,
            due_at: self.around.clock.now().plus_millis(pause_ms.saturating_add(jitter_ms)),
        }
    }
}

fn describe(outcome: &SendOutcome) -> String {
    match outcome {
        SendOutcome::Unknown { message, .. } => format!("{}: {message}", outcome.as_str()),
        other => other.as_str().to_owned(),
    }
}

/// Doubles with every send, up to a limit.
fn backoff_ms(sends: u32) -> i64 {
    let doublings = sends.min(10);
    BACKOFF_FIRST_MS.saturating_mul(1 << doublings).min(BACKOFF_MOST_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_limit() {
        let pauses: Vec<i64> = (0..9).map(backoff_ms).collect();
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(backoff_ms(u32::MAX), BACKOFF_MOST_MS);
    }
}
