//! The lowest open slot of each sender: the slots behind it wait for it, so a bump of theirs would only cost.

use std::collections::BTreeSet;

use alloy_primitives::Address;
use portcullis_core::fee::{FeeMarket, Fees};
use portcullis_core::recovery::{BumpReason, Decision, HeadFacts, decide_head, price_refusals};
use portcullis_core::time::Timestamp;
use portcullis_store::alarm::{AlarmKind, NewAlarm};
use portcullis_store::command::CommandKind;
use portcullis_store::slot::OpenSlot;

use super::{Recovery, RecoveryChain, tell_alarms};
use crate::Progress;
use crate::error::EngineError;

impl Recovery {
    /// Asks for a dearer attempt of every head that is due for one. Where the hard cap leaves no room it waits,
    /// with an alarm for as long as that is so.
    pub(super) async fn tend_heads(&self, chain: &RecoveryChain) -> Result<Progress, EngineError> {
        let spec = chain.pool.chain();
        if !spec.replaceable {
            return Ok(Progress::Idle);
        }
        let now = self.store.now();
        let heads = self.store.waiting_heads(spec.chain_id, now).await?;
        let least_ms = self.patience(chain).least_ms;
        let is_candidate = |head: &OpenSlot| waited_ms(head, now) >= least_ms || refusals(head) > 0;
        let mut at_cap = Vec::new();
        let mut progress = Progress::Idle;
        if heads.iter().any(is_candidate) {
            let market = chain.oracle.market().await?;
            let poor = self.senders_without_gas(spec.chain_id).await?;
            for head in &heads {
                let facts = facts_of(head, now, poor.contains(&head.slot.sender));
                let decision = decide_head(&facts, market, spec.fee_bounds, self.patience(chain));
                match decision {
                    Decision::Wait(_) => {}
                    Decision::Bump { reason, .. } => {
                        progress = progress.or(self.ask_for_bump(head, reason).await?);
                    }
                    Decision::AtCap { above, .. } => at_cap.push(cap_alarm(head, market, &above)),
                }
            }
        }
        let changes = self.store.settle_alarms(AlarmKind::FeeCap, spec.chain_id, &at_cap).await?;
        tell_alarms(AlarmKind::FeeCap, spec.network, &changes);
        Ok(progress)
    }

    async fn ask_for_bump(
        &self,
        head: &OpenSlot,
        reason: BumpReason,
    ) -> Result<Progress, EngineError> {
        let kind = CommandKind::Bump;
        let why = reason.to_string();
        let asked = self.store.request_command(kind, head.slot, "recovery", &why).await?;
        if asked {
            let (sender, nonce) = (head.slot.sender, head.slot.nonce);
            tracing::info!(%sender, nonce, why, "a dearer attempt is asked for");
        }
        Ok(Progress::of(asked))
    }

    async fn senders_without_gas(&self, chain_id: u64) -> Result<BTreeSet<Address>, EngineError> {
        let alarms = self.store.alarms_of(AlarmKind::GasMoney, chain_id).await?;
        Ok(alarms.into_values().map(|alarm| alarm.sender).collect())
    }
}

fn waited_ms(head: &OpenSlot, now: Timestamp) -> i64 {
    let newest = head.attempts.iter().map(|attempt| attempt.committed_at).max();
    newest.map_or(0, |committed_at| now.millis_since(committed_at))
}

fn refusals(head: &OpenSlot) -> u32 {
    let own = head.attempts.iter().filter(|attempt| !attempt.is_adopted);
    price_refusals(own.map(|attempt| attempt.last_outcome.as_deref()))
}

fn facts_of(head: &OpenSlot, now: Timestamp, lacks_gas_money: bool) -> HeadFacts {
    let highest = |field: fn(&Fees) -> u128| {
        head.attempts.iter().map(|attempt| field(&attempt.fees)).max().unwrap_or(0)
    };
    let accepted_at = head.payments.iter().map(|record| record.created_at).min();
    let chance = head.attempts.last().map_or(0, |newest| {
        let (first, _) = newest.hash.0.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        u64::from_be_bytes(*first)
    });
    HeadFacts {
        priority: head.payments.iter().map(|record| record.priority).max().unwrap_or_default(),
        age_ms: now.millis_since(accepted_at.unwrap_or(head.opened_at)),
        waited_ms: waited_ms(head, now),
        highest: Fees {
            max_fee_per_gas_wei: highest(|fees| fees.max_fee_per_gas_wei),
            max_priority_fee_per_gas_wei: highest(|fees| fees.max_priority_fee_per_gas_wei),
        },
        has_own_bytes: head.attempts.iter().any(|attempt| !attempt.is_adopted),
        price_refusals: refusals(head),
        lacks_gas_money,
        chance,
    }
}

fn cap_alarm(
    head: &OpenSlot,
    market: FeeMarket,
    above: &portcullis_core::fee::AboveFeeCap,
) -> NewAlarm {
    let (sender, nonce) = (head.slot.sender, head.slot.nonce);
    let detail = format!(
        "nonce {nonce} of {sender} is not mined, and a dearer attempt {above}. The base fee is {} wei per gas; it \
         goes on by itself when that falls",
        market.base_fee_wei
    );
    NewAlarm { sender, subject: format!("{sender}:{nonce}"), detail }
}
