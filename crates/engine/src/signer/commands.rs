//! Commands of the other roles and of operators: bumps, cancels and fillers of gaps.

use portcullis_core::access_list::{ListedAccount, may_pay};
use portcullis_core::fee::{Fees, replacement_fees};
use portcullis_core::intent::SigningIntent;
use portcullis_core::slot::{AttemptKind, Payload, Purpose, Rail, SlotStage};
use portcullis_core::transaction::decode_transaction;
use portcullis_keys::SigningRefusal;
use portcullis_store::command::{Command, CommandKind};
use portcullis_store::lease::Lease;
use portcullis_store::slot::{NewSlot, OpenAttempt, OpenSlot};
use portcullis_store::withdrawal::WithdrawalRecord;

use super::resume::{GAS_UNESTIMATED, cancel_intent};
use super::{Held, SignerChain, SignerRole, priced};
use crate::Progress;
use crate::error::EngineError;

/// Commands that one step takes.
const COMMANDS_MAX: u64 = 64;

/// How long a command waits while the chain asks for more than the fee cap.
const CAP_WAIT_MS: i64 = 10_000;

impl SignerRole {
    pub(super) async fn obey(
        &self,
        chain: &SignerChain,
        held: &[Held],
    ) -> Result<Progress, EngineError> {
        let commands = self.store.open_commands(chain.spec().chain_id, COMMANDS_MAX).await?;
        let mut progress = Progress::Idle;
        for command in commands {
            let Some(held) = held.iter().find(|held| held.address == command.slot.sender) else {
                continue;
            };
            let leases = [held.lease.clone()];
            let open = self.store.slot(command.slot).await?;
            progress = progress.or(match (command.kind, open) {
                (CommandKind::Fill, None) => self.fill(&held.lease, &command).await?,
                (_, None) => self.answer(&command, "there is no such slot").await?,
                (CommandKind::Fill, Some(_)) => self.answer(&command, "the slot is no gap").await?,
                (kind, Some(open)) => self.replace(chain, &leases, &command, kind, &open).await?,
            });
        }
        Ok(progress)
    }

    /// A dearer attempt of the same slot: of what its newest attempt does, or a cancel.
    async fn replace(
        &self,
        chain: &SignerChain,
        leases: &[Lease],
        command: &Command,
        kind: CommandKind,
        open: &OpenSlot,
    ) -> Result<Progress, EngineError> {
        if open.stage >= SlotStage::Included {
            return self.answer(command, "a block consumed the slot").await;
        }
        let Some(newest) = open.attempts.last() else {
            // Not signed yet: resuming signs it, as a cancel where one was asked for.
            return self.answer(command, "the slot had no attempt yet").await;
        };
        let market = chain.oracle.market().await?;
        let fees = replacement_fees(highest_fees(open), market, chain.spec().fee_bounds);
        let Some(fees) = priced(chain, fees, market) else {
            let until = self.store.now().plus_millis(CAP_WAIT_MS);
            self.store.defer_command(command.id, until).await?;
            return Ok(Progress::Idle);
        };
        // Once a cancel was asked for, or where nobody knows what the slot pays, only a cancel is dearer. A payment that
        // left the slot may ride another one: this slot must not be signed to pay it once more, and what is signed of it
        // already goes on.
        let cancels = kind == CommandKind::Cancel
            || newest.kind == AttemptKind::Cancel
            || open.cancel_requested
            || open.payments.is_empty()
            || !open.left.is_empty();
        let mut again = payload_intent(open, fees);
        again.access_list = self.listed_before(chain, open).await?;
        let intent = if cancels || self.is_unsignable(open, &again) {
            cancel_intent(open, fees)
        } else {
            again
        };
        if let Err(refusal) = self.signer.check(&intent) {
            let (sender, nonce) = (open.slot.sender, open.slot.nonce);
            tracing::warn!(%sender, nonce, %refusal, "the signer refuses a dearer attempt; it is asked again");
            let until = self.store.now().plus_millis(CAP_WAIT_MS);
            self.store.defer_command(command.id, until).await?;
            return Ok(Progress::Idle);
        }
        let done = [(command.id, format!("signed at {} wei per gas", fees.max_fee_per_gas_wei))];
        let refused = self.sign_and_commit(leases, vec![(open.id, intent)], &done).await?;
        if !refused.is_empty() {
            // It was in order a moment ago: who holds the key, or the journal, gives no answer.
            let until = self.store.now().plus_millis(CAP_WAIT_MS);
            self.store.defer_command(command.id, until).await?;
            return Ok(Progress::Idle);
        }
        metrics::counter!("portcullis_replacements_total", "kind" => kind.as_str()).increment(1);
        Ok(Progress::Worked)
    }

    /// The access list that the slot's newest own payload was signed with. A replacement without it would be valid too,
    /// and dearer.
    async fn listed_before(
        &self,
        chain: &SignerChain,
        open: &OpenSlot,
    ) -> Result<Vec<ListedAccount>, EngineError> {
        let own = |it: &&OpenAttempt| it.kind == AttemptKind::Payload && !it.is_adopted;
        let Some(newest) = open.attempts.iter().rev().find(own).filter(|_| may_pay(chain.spec()))
        else {
            return Ok(Vec::new());
        };
        let Some(raw) = self.store.signed_bytes(newest.hash).await? else { return Ok(Vec::new()) };
        Ok(decode_transaction(&raw).map(|decoded| decoded.access_list).unwrap_or_default())
    }

    /// Whether a slot that reconcile or the monitor took from elsewhere can never be signed again as it was: a payment
    /// has another number here than it was signed under, or no payer yet, or some of a batch are not known.
    fn is_unsignable(&self, open: &OpenSlot, intent: &SigningIntent) -> bool {
        let is_taken_over = open.attempts.iter().any(|attempt| attempt.is_adopted);
        is_taken_over
            && self.signer.check(intent).is_err_and(|refusal| {
                !matches!(
                    refusal,
                    SigningRefusal::FeePerGasAboveCap { .. }
                        | SigningRefusal::TransactionFeeAboveCap { .. }
                        | SigningRefusal::Journal { .. }
                )
            })
    }

    /// Opens a slot of the system; resuming signs it as a zero self-transfer. A nonce that the journal knows is no
    /// gap: the database is older than what was signed.
    async fn fill(&self, lease: &Lease, command: &Command) -> Result<Progress, EngineError> {
        let slot = command.slot;
        let (sender, nonce) = (slot.sender, slot.nonce);
        self.signer.catch_up().await?;
        if self.signer.journal().slot(slot).is_some() {
            let detail = format!(
                "nonce {nonce} of {sender} has no slot in the database, and the journal knows what was signed for it: \
                 a restored or a second database. Run reconcile"
            );
            self.store.raise_halt("journal", &detail).await?;
            return self.answer(command, "the journal knows this nonce: it is not filled").await;
        }
        let senders = self.store.senders(slot.chain_id).await?;
        let next = senders.iter().find(|(known, _)| *known == sender).map(|(_, next)| *next);
        if next.is_none_or(|next| nonce > next) {
            return self.answer(command, "this nonce is not the next one, nor below it").await;
        }
        let payload = Payload::self_transfer(sender);
        let new = NewSlot {
            id: self.around.slot_id(self.store.now()),
            slot,
            purpose: Purpose::Fill,
            rail: Rail::Direct,
            payload_digest: payload.digest(slot),
            payments: Vec::new(),
            gas_estimated: None,
            why: None,
        };
        self.store.fill_gap(lease, &new).await?;
        self.answer(command, "the gap is a slot of the system now").await
    }

    async fn answer(&self, command: &Command, answer: &str) -> Result<Progress, EngineError> {
        self.store.answer_commands(&[(command.id, answer.to_owned())]).await?;
        Ok(Progress::Worked)
    }
}

/// The same payload at another price.
fn payload_intent(open: &OpenSlot, fees: Fees) -> SigningIntent {
    // Of an attempt that is known by its hash alone, the limit is not known either.
    let known = open.attempts.iter().map(|attempt| attempt.gas_limit).max().filter(|gas| *gas > 0);
    let unknown = GAS_UNESTIMATED.saturating_mul(open.payments.len() as u64);
    SigningIntent {
        slot: open.slot,
        purpose: open.purpose,
        rail: open.rail,
        kind: AttemptKind::Payload,
        payments: open.payments.iter().map(WithdrawalRecord::intent).collect(),
        fees,
        gas_limit: known.unwrap_or(unknown),
        access_list: Vec::new(),
    }
}

/// The highest price of a slot's attempts, field by field: a replacement must beat both.
fn highest_fees(open: &OpenSlot) -> Fees {
    let highest = |field: fn(&Fees) -> u128| {
        open.attempts.iter().map(|attempt| field(&attempt.fees)).max().unwrap_or(0)
    };
    Fees {
        max_fee_per_gas_wei: highest(|fees| fees.max_fee_per_gas_wei),
        max_priority_fee_per_gas_wei: highest(|fees| fees.max_priority_fee_per_gas_wei),
    }
}
