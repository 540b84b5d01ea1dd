//! Voids: numbers of payments that are not to be made any more are used up in the vault, so that the money can go back.

use std::sync::PoisonError;

use alloy_primitives::Address;
use portcullis_core::batching::with_headroom;
use portcullis_core::fee::Fees;
use portcullis_core::intent::SigningIntent;
use portcullis_core::number::PayoutNumber;
use portcullis_core::slot::{AttemptKind, Purpose, Rail, Slot};
use portcullis_core::vault::vault_void;
use portcullis_evm::CallRequest;
use portcullis_store::sender::SenderLoad;
use portcullis_store::withdrawal::WithdrawalRecord;

use super::pay::{Ride, earlier_ride};
use super::{Held, SignerChain, SignerRole};
use crate::Progress;
use crate::error::EngineError;
use crate::given_up::can_pay_no_more;

/// Numbers that one call voids.
const VOIDS_MAX: usize = 100;

impl SignerRole {
    /// Voids what is held for it and whose rides are all over for good, in one call. What has another payment's number
    /// is not voided: its refund ends without, once nothing that was signed for it can pay any more.
    pub(super) async fn void(
        &self,
        chain: &SignerChain,
        held: &[Held],
    ) -> Result<Progress, EngineError> {
        let chain_id = chain.spec().chain_id;
        let Some(vault) = chain.vault else { return Ok(Progress::Idle) };
        let records = self.next_voidable(chain).await?;
        let (records, others): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|record| self.has_its_own_number(record));
        let ended = self.end_refunds(&others).await?;
        if records.is_empty() {
            return Ok(ended);
        }
        let loads = self.loads(chain, held).await?;
        let Some(sender) = freest(&loads) else { return Ok(ended) };
        let Some(fees) = self.first_price(chain).await? else { return Ok(ended) };
        let slot = Slot { chain_id, sender, nonce: u64::MAX };
        let records = self.finally_unpaid(chain, slot, fees, records).await?;
        if records.is_empty() {
            return Ok(ended);
        }
        let numbers: Vec<PayoutNumber> = records.iter().map(|record| record.number).collect();
        let payload = vault_void(vault, &numbers);
        let call = CallRequest::of_payload(sender, &payload);
        let gas = match chain.pool.estimate_gas(&[call]).await.pop() {
            Some(Ok(gas)) => gas,
            Some(Err(error)) => {
                tracing::warn!(%vault, %error, "no node would execute a void; waiting");
                return Ok(ended);
            }
            None => return Ok(ended),
        };
        let ride = Ride {
            sender,
            purpose: Purpose::Void,
            rail: Rail::Vault,
            records,
            payload,
            gas_limit: with_headroom(gas),
            gas_estimated: Some(gas),
            access_list: Vec::new(),
            why: None,
        };
        self.bind_and_sign(chain_id, held, &loads, vec![ride], fees).await?;
        Ok(Progress::Worked)
    }

    /// The next of those that are to be voided, the first ones again after the last: some may wait for long, and others stand behind
    /// them.
    async fn next_voidable(
        &self,
        chain: &SignerChain,
    ) -> Result<Vec<WithdrawalRecord>, EngineError> {
        let learned = || chain.learned.lock().unwrap_or_else(PoisonError::into_inner);
        let after = learned().voidable_after;
        let chain_id = chain.spec().chain_id;
        let records = self.store.voidable(chain_id, after, VOIDS_MAX as u64).await?;
        let full = records.last().filter(|_| records.len() == VOIDS_MAX);
        learned().voidable_after = full.map(|last| last.id);
        Ok(records)
    }

    /// Those that the signer would void: of each ride the journal has to know the proof that it did not pay. What rides
    /// again has it journaled on the way, so only the last ride's is missing; where the chain does not show it yet, the
    /// void waits. `slot` is any that was never signed.
    async fn finally_unpaid(
        &self,
        chain: &SignerChain,
        slot: Slot,
        fees: Fees,
        records: Vec<WithdrawalRecord>,
    ) -> Result<Vec<WithdrawalRecord>, EngineError> {
        let mut unpaid = Vec::with_capacity(records.len());
        for record in records {
            let intent = SigningIntent {
                slot,
                purpose: Purpose::Void,
                rail: Rail::Vault,
                kind: AttemptKind::Payload,
                payments: vec![record.intent()],
                fees,
                gas_limit: 21_000,
                access_list: Vec::new(),
            };
            let mut answer = self.signer.check(&intent);
            if let Some((number, elsewhere)) = earlier_ride(&record, &answer) {
                self.journal_release(chain, &record, number, elsewhere).await?;
                answer = self.signer.check(&intent);
            }
            match answer {
                Ok(()) => unpaid.push(record),
                Err(refusal) => tracing::warn!(%refusal, "a number is not voided yet"),
            }
        }
        Ok(unpaid)
    }

    /// Whether the journal knows the number for this request, or not at all.
    fn has_its_own_number(&self, record: &WithdrawalRecord) -> bool {
        let known = self.signer.journal().payment(record.number);
        known.is_none_or(|known| known.reference == record.reference)
    }

    async fn end_refunds(&self, records: &[WithdrawalRecord]) -> Result<Progress, EngineError> {
        let mut progress = Progress::Idle;
        for record in records {
            if can_pay_no_more(&self.store, self.signer.journal(), record).await? {
                let number = record.number;
                let detail =
                    format!("its number {number} is another payment's, and nothing of it can pay");
                self.store.end_voided(record.id, &detail).await?;
                progress = Progress::Worked;
            }
        }
        Ok(progress)
    }
}

fn freest(loads: &[SenderLoad]) -> Option<Address> {
    let freest = loads.iter().min_by_key(|load| (load.in_flight, load.address))?;
    Some(freest.address)
}
