//! The broadcaster: sends committed bytes, lowest nonce first, and sends them again for as long as
//! their slot is open. A pool forgets; we do not.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes};
use portcullis_core::chain::ChainSpec;
use portcullis_core::error_class::ErrorClass;
use portcullis_core::recovery::RECEIVES_MAX;
use portcullis_core::slot::Slot;
use portcullis_core::time::Timestamp;
use portcullis_evm::{ProviderPool, SendOutcome};
use portcullis_store::Store;
use portcullis_store::alarm::{AlarmKind, NewAlarm};
use portcullis_store::dead_letter::{DeadLetterQueue, FailedSlot, LetterError};
use portcullis_store::send::{SendResult, Sendable};

use crate::damage::contained;
use crate::doorbell::{Bell, Doorbells};
use crate::error::EngineError;
use crate::poison::{Narrowing, chance, fail_slot, is_of_the_work, letter_error, tell};
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
    narrowing: Narrowing,
}

impl Broadcaster {
    /// A broadcaster.
    #[must_use]
    pub fn new(parts: RoleParts) -> Self {
        let RoleParts { store, pools, settings, around, doorbells, .. } = parts;
        Self { store, pools, settings, around, doorbells, narrowing: Narrowing::default() }
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
        let sendable = self.claim(chain_id, &claim).await?;
        if sendable.is_empty() {
            return Ok(Progress::Idle);
        }
        let transactions: Vec<(B256, Bytes)> =
            sendable.iter().map(|sendable| (sendable.hash, sendable.raw.clone())).collect();
        let outcomes = pool.send(&transactions).await;
        let mut pauses =
            Pauses { now: self.store.now(), around: &self.around, due: BTreeMap::new() };
        let results: Vec<SendResult> = sendable
            .iter()
            .zip(&outcomes)
            .map(|(sendable, outcome)| self.result_of(sendable, outcome, &mut pauses))
            .collect();
        self.store.record_sends(&claim, &results).await?;
        self.follow_up(pool, &sendable, &outcomes).await?;
        let consumed = |outcome: &SendOutcome| matches!(outcome, SendOutcome::NonceTooLow);
        if results.iter().any(|result| result.accepted) || outcomes.iter().any(consumed) {
            self.doorbells.ring(Bell::Monitor);
        }
        Ok(Progress::Worked)
    }

    /// Claims a set. One that cannot be claimed is halved, until the slot that is at fault stands alone: its
    /// failed receives are counted, and the others go on.
    async fn claim(&self, chain_id: u64, claim: &str) -> Result<Vec<Sendable>, EngineError> {
        let limit = self.narrowing.limit(self.settings.batch_max);
        match self.store.claim_sendable(chain_id, claim, limit, CLAIM_MS).await {
            Ok(sendable) => {
                self.narrowing.widen();
                Ok(sendable)
            }
            Err(error) => {
                let error = EngineError::from(error);
                if is_of_the_work(&error) && self.narrowing.narrow(self.settings.batch_max) {
                    let slot = self.store.first_sendable(chain_id).await?;
                    if let Some(slot) = slot {
                        let (queue, why) = (DeadLetterQueue::SignedTx, letter_error(&error));
                        fail_slot(&self.store, &self.around, queue, slot, why).await?;
                        let pause_ms = backoff_ms(u32::MAX);
                        let until = self.store.now().plus_millis(pause_ms);
                        self.store.postpone_send(slot, until).await?;
                    }
                }
                Err(error)
            }
        }
    }

    /// What answers ask for beyond sending again: predecessors, gas money, and letters of what no node takes.
    async fn follow_up(
        &self,
        pool: &ProviderPool,
        sendable: &[Sendable],
        outcomes: &[SendOutcome],
    ) -> Result<(), EngineError> {
        let spec = pool.chain();
        let mut failed = Vec::new();
        let mut missed: BTreeMap<Address, Slot> = BTreeMap::new();
        for (sendable, outcome) in sendable.iter().zip(outcomes) {
            let sender = sendable.slot.sender;
            match outcome {
                SendOutcome::NonceTooHigh => {
                    missed.entry(sender).or_insert(sendable.slot);
                }
                SendOutcome::InsufficientFunds => self.hold(spec, sender).await?,
                _ => {}
            }
            let is_fifth = sendable.receives.saturating_add(1) >= RECEIVES_MAX;
            if let Some(error) = error_of(outcome).filter(|_| is_fifth) {
                let queue = DeadLetterQueue::SignedTx;
                let chance = chance(&self.around);
                failed.push(FailedSlot { queue, slot: sendable.slot_id, error, chance });
            }
        }
        for below in missed.into_values() {
            self.store.send_below(below).await?;
        }
        let letters = self.store.write_slot_letters(&failed).await?;
        for failed in failed.iter().filter(|failed| letters.contains(&failed.slot)) {
            let (class, message) = (failed.error.class, &failed.error.message);
            tell(failed.queue, &failed.slot.to_string(), class, message);
        }
        Ok(())
    }

    /// A sender without gas money opens no new slots; recovery lets it go on when it has some again.
    async fn hold(&self, spec: &ChainSpec, sender: Address) -> Result<(), EngineError> {
        let (kind, network) = (AlarmKind::GasMoney, spec.network);
        let symbol = spec.native.symbol;
        let detail = format!(
            "{sender} cannot pay for what it has under way: send it {symbol}. It opens no new slots, and goes on by \
             itself when its balance suffices"
        );
        let alarm = NewAlarm { sender, subject: sender.to_string(), detail };
        if self.store.raise_alarm(kind, spec.chain_id, &alarm).await? {
            tracing::error!(network, %sender, "{}", alarm.detail);
            metrics::counter!("portcullis_alarms_total", "kind" => kind.as_str(), "network" => network)
                .increment(1);
        }
        Ok(())
    }

    fn result_of(
        &self,
        sendable: &Sendable,
        outcome: &SendOutcome,
        pauses: &mut Pauses<'_>,
    ) -> SendResult {
        let accepted = matches!(outcome, SendOutcome::Accepted | SendOutcome::AlreadyKnown);
        metrics::counter!("portcullis_sends_total", "outcome" => outcome.as_str()).increment(1);
        let (sender, nonce) = (sendable.slot.sender, sendable.slot.nonce);
        if *outcome == SendOutcome::NonceTooLow {
            // Most likely mined already: the monitor reads the receipts.
            tracing::debug!(hash = %sendable.hash, %sender, nonce, "the nonce is used");
        } else if !accepted && sendable.receives == 0 {
            tracing::warn!(
                hash = %sendable.hash, %sender, nonce,
                outcome = %outcome, in_doubt = outcome.maybe_live(),
                "a send was not accepted; the slot stays open and the bytes are sent again"
            );
        }
        let pause_ms = match outcome {
            SendOutcome::Accepted | SendOutcome::AlreadyKnown => self.settings.rebroadcast_after_ms,
            _ => backoff_ms(sendable.receives),
        };
        SendResult {
            slot_id: sendable.slot_id,
            hash: sendable.hash,
            outcome: describe(outcome),
            accepted,
            due_at: pauses.end_of(pause_ms),
        }
    }
}

/// When the pauses of one set end. Jitter keeps processes apart, not the slots of one set: those that pause equally
/// long are due together, so that one statement records them.
struct Pauses<'a> {
    now: Timestamp,
    around: &'a Surroundings,
    due: BTreeMap<i64, Timestamp>,
}

impl Pauses<'_> {
    fn end_of(&mut self, pause_ms: i64) -> Timestamp {
        *self.due.entry(pause_ms).or_insert_with(|| {
            let jitter_ms = self.around.jitter_ms(pause_ms / 8);
            self.now.plus_millis(pause_ms.saturating_add(jitter_ms))
        })
    }
}

/// The outcome as the attempt remembers it: an error begins with its class.
fn describe(outcome: &SendOutcome) -> String {
    let name = outcome.as_str();
    let described = match outcome {
        SendOutcome::Unknown { message, .. } => format!("{name}: {message}"),
        _ => name.to_owned(),
    };
    match outcome.error_class() {
        Some(class) => format!("{class} {described}"),
        None => described,
    }
}

/// What a letter says of an outcome. A used nonce is none: the receipts tell what used it.
fn error_of(outcome: &SendOutcome) -> Option<LetterError> {
    let class = outcome.error_class()?;
    if class == ErrorClass::NonceTooLow {
        return None;
    }
    let code = Some(outcome.as_str().to_owned());
    let details = Some(format!("in doubt: {}", outcome.maybe_live()));
    Some(LetterError { class, code, message: outcome.to_string(), details })
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
    fn outcomes_are_remembered_with_their_class() {
        assert_eq!(describe(&SendOutcome::Accepted), "accepted");
        assert_eq!(describe(&SendOutcome::Underpriced), "GAS_PRICE_TOO_LOW underpriced");
        let kind = portcullis_evm::UnknownKind::Timeout;
        let unknown = SendOutcome::Unknown { kind, message: "30 s".into() };
        assert_eq!(describe(&unknown), "TIMEOUT unknown: 30 s");
        assert_eq!(error_of(&unknown).map(|error| error.class), Some(ErrorClass::Timeout));
        assert_eq!(error_of(&SendOutcome::NonceTooLow), None, "it is mined, most likely");
        assert_eq!(error_of(&SendOutcome::AlreadyKnown), None);
    }

    #[test]
    fn the_pause_doubles_up_to_its_limit() {
        let pauses: Vec<i64> = (0..9).map(backoff_ms).collect();
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(backoff_ms(u32::MAX), BACKOFF_MOST_MS);
    }
}
