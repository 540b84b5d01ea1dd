//! New payments: choose senders, estimate, bind, sign, commit.

use std::collections::BTreeMap;

use alloy_primitives::{Address, U256};
use portcullis_core::amount::Amount;
use portcullis_core::calldata::direct_payment;
use portcullis_core::fee::Fees;
use portcullis_core::id::{SlotId, WithdrawalId};
use portcullis_core::intent::SigningIntent;
use portcullis_core::slot::{AttemptKind, Payload, Purpose, Slot};
use portcullis_core::withdrawal::HoldReason;
use portcullis_evm::{BlockTag, CallRequest, EstimateError};
use portcullis_keys::SigningRefusal;
use portcullis_store::lease::Lease;
use portcullis_store::sender::SenderLoad;
use portcullis_store::slot::NewSlot;
use portcullis_store::transition::Stage;
use portcullis_store::withdrawal::WithdrawalRecord;

use super::plan::{Room, share};
use super::{Held, SignerChain, SignerRole};
use crate::Progress;
use crate::error::EngineError;

/// Gas that a transfer is thought to need before the node has said so; only for choosing a sender.
const GAS_GUESS: u64 = 150_000;

/// 20,000 for a fresh storage slot, 2,100 for a cold one, and room for chains that ask more (PIP-88).
const FIRST_TOKEN_GAS: u64 = 30_000;

/// How long a payment waits that cannot be made now.
const DEFER_MS: i64 = 2_000;

/// A payment with its sender and what the node says that it needs.
struct Ride {
    record: WithdrawalRecord,
    sender: Address,
    payload: Payload,
    gas_limit: u64,
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
        let queued = self.store.queued(chain_id, free.min(self.settings.batch_max)).await?;
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
        let mut rooms = self.rooms(chain, &loads, most, &records).await?;
        let rides = self.rides(chain, &mut rooms, records, fees).await?;
        if rides.is_empty() {
            return Ok(Progress::of(refused));
        }
        self.bind_and_sign(chain_id, held, &loads, rides, fees).await?;
        Ok(Progress::Worked)
    }

    async fn loads(&self, chain_id: u64, held: &[Held]) -> Result<Vec<SenderLoad>, EngineError> {
        let mut loads = self.store.sender_loads(chain_id).await?;
        loads.retain(|load| held.iter().any(|held| held.address == load.address));
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
                kind: AttemptKind::Payload,
                payments: vec![record.intent()],
                fees,
                gas_limit: 21_000,
            };
            let mut answer = self.signer.check(&intent);
            let mut lacks_proof = false;
            if let Err(SigningRefusal::PaymentElsewhere { elsewhere, number, .. }) = answer {
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
        } else if matches!(refusal, SigningRefusal::NumberReused { .. }) {
            self.store.hold(&ids, HoldReason::Restore, &detail).await?;
        } else {
            let until = self.around.clock.now().plus_millis(DEFER_MS.saturating_mul(15));
            self.store.defer(&ids, until, &detail).await?;
        }
        Ok(())
    }

    /// What each sender can take on, by its balances on chain less all that it has promised.
    async fn rooms(
        &self,
        chain: &SignerChain,
        loads: &[SenderLoad],
        in_flight_max: u64,
        records: &[WithdrawalRecord],
    ) -> Result<Vec<Room>, EngineError> {
        let mut tokens: Vec<Address> = records.iter().filter_map(|record| record.token).collect();
        tokens.sort_unstable();
        tokens.dedup();
        let senders: Vec<Address> = loads.iter().map(|load| load.address).collect();
        let natives = chain.pool.native_balances(&senders, BlockTag::Latest).await?;
        let pairs: Vec<(Address, Address)> = senders
            .iter()
            .flat_map(|sender| tokens.iter().map(|token| (*token, *sender)))
            .collect();
        let balances = chain.pool.token_balances(&pairs, BlockTag::Latest).await?;
        let by_pair: BTreeMap<(Address, Address), Amount> =
            pairs.into_iter().zip(balances).collect();
        let rooms = loads.iter().zip(natives).map(|(load, native)| {
            let promised = |token| load.promised.get(&token).copied().unwrap_or_default();
            let left =
                |balance: Amount, promised| balance.checked_sub(promised).unwrap_or_default();
            let native = left(left(native, promised(None)), load.gas_promised);
            let mut funds = BTreeMap::from([(None, native)]);
            for token in &tokens {
                let balance = by_pair.get(&(*token, load.address)).copied().unwrap_or_default();
                funds.insert(Some(*token), left(balance, promised(Some(*token))));
            }
            Room {
                address: load.address,
                slots: in_flight_max.saturating_sub(load.in_flight),
                funds,
            }
        });
        Ok(rooms.collect())
    }

    /// Chooses senders and asks the node what each payment needs. What nobody can afford, or nobody
    /// knows about, is put off; what the node refuses to execute fails: it was never bound.
    async fn rides(
        &self,
        chain: &SignerChain,
        rooms: &mut [Room],
        records: Vec<WithdrawalRecord>,
        fees: Fees,
    ) -> Result<Vec<Ride>, EngineError> {
        let price = Amount::from_atomic(U256::from(fees.max_fee_per_gas_wei));
        let gas_cost = price.checked_mul(GAS_GUESS).unwrap_or(Amount::ZERO);
        let wanted: Vec<(Option<Address>, Amount)> =
            records.iter().map(|record| (record.token, record.amount)).collect();
        let senders = share(rooms, &wanted, gas_cost);
        let mut chosen = Vec::with_capacity(records.len());
        let mut waiting = Vec::new();
        for (record, sender) in records.into_iter().zip(senders) {
            match sender {
                None => waiting.push(record.id),
                Some(sender) => {
                    let payload = direct_payment(record.token, record.to, record.amount);
                    chosen.push((record, sender, payload));
                }
            }
        }
        if !waiting.is_empty() && rooms.iter().any(|room| room.slots > 0) {
            let network = chain.spec().network;
            tracing::warn!(
                network,
                payments = waiting.len(),
                "no sender has the funds; waiting for a top-up"
            );
            metrics::counter!("portcullis_funds_waits_total", "network" => network).increment(1);
            self.defer(&waiting, DEFER_MS, "waiting: no hot wallet has the funds").await?;
        }
        let calls: Vec<CallRequest> = chosen
            .iter()
            .map(|(_, sender, payload)| CallRequest::of_payload(*sender, payload))
            .collect();
        let estimates = chain.pool.estimate_gas(&calls).await;
        let mut rides = Vec::with_capacity(chosen.len());
        let mut unknown = Vec::new();
        for ((record, sender, payload), estimate) in chosen.into_iter().zip(estimates) {
            match estimate {
                Ok(gas) => {
                    let gas_limit = with_headroom(gas);
                    rides.push(Ride { record, sender, payload, gas_limit });
                }
                Err(EstimateError::Reverted { reason }) => {
                    let detail = reason.unwrap_or_else(|| "without a reason".into());
                    self.store.fail_preflight(&[record.id], &format!("reverts: {detail}")).await?;
                }
                Err(error) => {
                    tracing::warn!(withdrawal = %record.id, %error, "no gas estimate; put off");
                    unknown.push(record.id);
                }
            }
        }
        self.defer(&unknown, DEFER_MS, "waiting: no node gives a gas estimate").await?;
        Ok(rides)
    }

    async fn defer(
        &self,
        ids: &[WithdrawalId],
        pause_ms: i64,
        why: &str,
    ) -> Result<(), EngineError> {
        let until = self.around.clock.now().plus_millis(pause_ms);
        Ok(self.store.defer(ids, until, why).await?)
    }

    async fn bind_and_sign(
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
        let mut asked: Vec<(SlotId, SigningIntent)> = Vec::with_capacity(rides.len());
        for ride in rides {
            let Some(next) = nonces.get_mut(&ride.sender) else { continue };
            let slot = Slot { chain_id, sender: ride.sender, nonce: *next };
            *next = next.saturating_add(1);
            let id = self.around.slot_id();
            slots.push(NewSlot {
                id,
                slot,
                purpose: Purpose::Pay,
                payload_digest: ride.payload.digest(slot),
                payments: vec![ride.record.id],
            });
            let intent = SigningIntent {
                slot,
                kind: AttemptKind::Payload,
                payments: vec![ride.record.intent()],
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
        metrics::counter!("portcullis_payments_signed_total").increment(slots.len() as u64);
        Ok(())
    }
}

/// A quarter more than the node estimates, and what a recipient's first token costs more than the
/// next one (a storage slot that becomes non-zero, EIP-2200 and EIP-2929): between estimate and
/// inclusion another payment to the same recipient can come or, by a reorg, go. Unused gas is free.
pub(super) const fn with_headroom(gas: u64) -> u64 {
    gas.saturating_add(gas / 4).saturating_add(FIRST_TOKEN_GAS)
}
