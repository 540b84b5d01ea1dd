//! New payments: choose senders, estimate, bind, sign, commit.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use portcullis_core::error_class::ErrorClass;
use portcullis_core::fee::Fees;
use portcullis_core::id::{SlotId, WithdrawalId};
use portcullis_core::intent::SigningIntent;
use portcullis_core::number::PayoutNumber;
use portcullis_core::slot::{AttemptKind, Payload, Purpose, Rail, Slot};
use portcullis_core::withdrawal::HoldReason;
use portcullis_keys::SigningRefusal;
use portcullis_store::dead_letter::LetterError;
use portcullis_store::lease::Lease;
use portcullis_store::sender::SenderLoad;
use portcullis_store::slot::NewSlot;
use portcullis_store::transition::Stage;
use portcullis_store::withdrawal::WithdrawalRecord;

use super::resume::is_passing;
use super::{Held, SignerChain, SignerRole};
use crate::Progress;
use crate::error::EngineError;
use crate::poison::fail_request;

/// How long a payment waits that cannot be made now.
pub(super) const DEFER_MS: i64 = 2_000;

/// What one slot is going to carry, with its sender and what the node says that it needs.
pub(super) struct Ride {
    pub(super) sender: Address,
    pub(super) purpose: Purpose,
    pub(super) rail: Rail,
    pub(super) records: Vec<WithdrawalRecord>,
    pub(super) payload: Payload,
    pub(super) gas_limit: u64,
}

impl SignerRole {
    pub(super) async fn pay(
        &self,
        chain: &SignerChain,
        held: &[Held],
    ) -> Result<Progress, EngineError> {
        let chain_id = chain.spec().chain_id;
        if !self.store.has_work(Stage::Sign).await? {
            return Ok(Progress::Idle);
        }
        let loads = self.loads(chain_id, held).await?;
        let most = self.settings.in_flight_max.min(chain.spec().in_flight_max);
        let free: u64 = loads.iter().map(|load| most.saturating_sub(load.in_flight)).sum();
        if free == 0 {
            return Ok(Progress::Idle);
        }
        let rail = chain.rail();
        let room = match rail {
            Rail::Direct => free,
            Rail::Vault => free.saturating_mul(self.settings.vault_items_max as u64),
        };
        let limit = room.min(self.narrowing.limit(self.settings.batch_max));
        let queued = self.store.queued(chain_id, limit).await?;
        if queued.is_empty() {
            return Ok(Progress::Idle);
        }
        let Some(fees) = self.first_price(chain).await? else {
            let ids: Vec<WithdrawalId> = queued.iter().map(|record| record.id).collect();
            let why = "waiting: the chain asks for more than the fee cap";
            self.defer(&ids, DEFER_MS, why).await?;
            return Ok(Progress::Idle);
        };
        let (records, refused) = self.screened(chain, queued, fees).await?;
        let rides = match chain.vault {
            None => self.direct_rides(chain, &loads, most, records, fees).await?,
            Some(vault) => self.vault_rides(chain, vault, (&loads, most), records, fees).await?,
        };
        if rides.is_empty() {
            return Ok(Progress::of(refused));
        }
        self.bind_and_sign(chain_id, held, &loads, rides, fees).await?;
        Ok(Progress::Worked)
    }

    pub(super) async fn loads(
        &self,
        chain_id: u64,
        held: &[Held],
    ) -> Result<Vec<SenderLoad>, EngineError> {
        let mut loads = self.store.sender_loads(chain_id).await?;
        loads.retain(|load| !load.is_held && held.iter().any(|held| held.address == load.address));
        Ok(loads)
    }

    /// Asks the signer before anything is bound. What was changed behind our back is held; what the
    /// caps refuse waits for an operator; a payment that an earlier slot carried first needs that
    /// slot's evidence in the journal. Says also whether anything was moved out of the way.
    async fn screened(
        &self,
        chain: &SignerChain,
        queued: Vec<WithdrawalRecord>,
        fees: Fees,
    ) -> Result<(Vec<WithdrawalRecord>, bool), EngineError> {
        let chain_id = chain.spec().chain_id;
        let Some(sender) = chain.ready().into_iter().next() else { return Ok((Vec::new(), false)) };
        // Any nonce that was never signed will do for a look.
        let slot = Slot { chain_id, sender, nonce: u64::MAX };
        let mut passed = Vec::with_capacity(queued.len());
        let mut moved = false;
        for record in queued {
            let intent = SigningIntent {
                slot,
                purpose: Purpose::Pay,
                rail: chain.rail(),
                kind: AttemptKind::Payload,
                payments: vec![record.intent()],
                fees,
                gas_limit: 21_000,
            };
            let mut answer = self.signer.check(&intent);
            let mut lacks_proof = false;
            if let Some((number, elsewhere)) = earlier_ride(&record, &answer) {
                lacks_proof = self.journal_release(chain, &record, number, elsewhere).await?;
                answer = self.signer.check(&intent);
            }
            match answer {
                Ok(()) => passed.push(record),
                Err(_) if lacks_proof => {
                    tracing::warn!(
                        withdrawal = %record.id,
                        "the chain does not show yet that an earlier slot did not pay it; waiting"
                    );
                    let why = "waiting for the proof that an earlier slot did not pay it";
                    self.defer(&[record.id], DEFER_MS, why).await?;
                }
                Err(refusal) => {
                    moved = true;
                    self.put_aside(&record, &refusal).await?;
                }
            }
        }
        Ok((passed, moved))
    }

    async fn put_aside(
        &self,
        record: &WithdrawalRecord,
        refusal: &SigningRefusal,
    ) -> Result<(), EngineError> {
        self.report(refusal).await?;
        let ids = [record.id];
        let detail = refusal.to_string();
        if refusal.is_tamper() {
            self.store.hold(&ids, HoldReason::Tamper, &detail).await?;
        } else if has_another_number(record, refusal) {
            self.store.hold(&ids, HoldReason::Restore, &detail).await?;
        } else {
            let pause_ms = DEFER_MS.saturating_mul(15);
            self.defer(&ids, pause_ms, &detail).await?;
            if !is_passing(refusal) {
                let error = LetterError {
                    class: ErrorClass::InvalidTransaction,
                    code: Some("refused_by_signer".to_owned()),
                    message: detail,
                    details: None,
                };
                fail_request(&self.store, &self.around, record.id, error, pause_ms).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn defer(
        &self,
        ids: &[WithdrawalId],
        pause_ms: i64,
        why: &str,
    ) -> Result<(), EngineError> {
        let until = self.around.clock.now().plus_millis(pause_ms);
        Ok(self.store.defer(ids, until, why).await?)
    }

    pub(super) async fn bind_and_sign(
        &self,
        chain_id: u64,
        held: &[Held],
        loads: &[SenderLoad],
        rides: Vec<Ride>,
        fees: Fees,
    ) -> Result<(), EngineError> {
        let mut nonces: BTreeMap<Address, u64> =
            loads.iter().map(|load| (load.address, load.nonce_next)).collect();
        let mut slots = Vec::with_capacity(rides.len());
        let mut payments = 0;
        let mut asked: Vec<(SlotId, SigningIntent)> = Vec::with_capacity(rides.len());
        for ride in rides {
            let Some(next) = nonces.get_mut(&ride.sender) else { continue };
            let slot = Slot { chain_id, sender: ride.sender, nonce: *next };
            *next = next.saturating_add(1);
            let id = self.around.slot_id();
            slots.push(NewSlot {
                id,
                slot,
                purpose: ride.purpose,
                rail: ride.rail,
                payload_digest: ride.payload.digest(slot),
                payments: ride.records.iter().map(|record| record.id).collect(),
            });
            payments += ride.records.len() as u64;
            let intent = SigningIntent {
                slot,
                purpose: ride.purpose,
                rail: ride.rail,
                kind: AttemptKind::Payload,
                payments: ride.records.iter().map(WithdrawalRecord::intent).collect(),
                fees,
                gas_limit: ride.gas_limit,
            };
            asked.push((id, intent));
        }
        let leases: Vec<Lease> = held
            .iter()
            .filter(|held| slots.iter().any(|new| new.slot.sender == held.address))
            .map(|held| held.lease.clone())
            .collect();
        self.store.bind(&leases, &slots).await?;
        // What is refused now stays a bound slot; the next step resumes it.
        self.sign_and_commit(&leases, asked, &[]).await?;
        metrics::counter!("portcullis_payments_signed_total").increment(payments);
        Ok(())
    }
}

/// The ride whose proof the signer asks for, with the number that was signed there.
pub(super) fn earlier_ride(
    record: &WithdrawalRecord,
    answer: &Result<(), SigningRefusal>,
) -> Option<(PayoutNumber, Slot)> {
    match answer {
        Err(SigningRefusal::PaymentElsewhere { elsewhere, number, .. }) => {
            Some((*number, *elsewhere))
        }
        Err(SigningRefusal::RodeVault { elsewhere, number, .. }) if *number != record.number => {
            Some((*number, *elsewhere))
        }
        _ => None,
    }
}

/// Whether the journal knows the request under another number, or the number for another request: only an operator can
/// tell which of them is right.
fn has_another_number(record: &WithdrawalRecord, refusal: &SigningRefusal) -> bool {
    match refusal {
        SigningRefusal::NumberReused { .. } => true,
        SigningRefusal::RodeVault { number, .. } | SigningRefusal::PaymentVoided { number, .. } => {
            *number != record.number
        }
        _ => false,
    }
}
