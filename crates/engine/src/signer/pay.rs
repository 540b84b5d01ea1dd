//! New payments: choose senders, estimate, bind, sign, commit.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use alloy_primitives::Address;
use portcullis_core::access_list::ListedAccount;
use portcullis_core::error_class::ErrorClass;
use portcullis_core::fee::Fees;
use portcullis_core::id::WithdrawalId;
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

use super::batch::Room;
use super::direct::rooms;
use super::means::tokens_of;
use super::resume::is_passing;
use super::{Held, SignerChain, SignerRole};
use crate::Progress;
use crate::error::EngineError;
use crate::gas::count_gas;
use crate::poison::fail_request;

/// How long a payment waits that cannot be made now.
pub(super) const DEFER_MS: i64 = 2_000;

/// Payments that one step takes on the vault rail, at least: enough that its two questions to the node are shared by many.
const VAULT_PAYMENTS_MAX: u64 = 1_000;

/// Payments that one transaction of the database binds, unless one call carries more: requests of clients wait for their
/// commits behind it.
const BOUND_MAX: usize = 250;

/// Payments that the signer is asked about together: it takes no more in one call of the vault.
const ASKED_MAX: usize = 200;

/// Withdrawals that a step looks at while some lack funds, however few of them there is room for: what has funds may stand
/// behind them.
const LOOK_BEYOND: u64 = 200;

/// What lacks funds waits so long for each thousand that are queued: longer than all of them take to be looked at.
const FUNDS_PAUSE_MS: u64 = 500;

/// The longest that it waits.
const FUNDS_PAUSE_MS_MAX: u64 = 60_000;

/// What of the queue goes now.
#[derive(Default)]
pub(super) struct Going {
    /// The slots to bind.
    pub(super) rides: Vec<Ride>,
    /// Whether something was put off because the money for it is not there.
    pub(super) lacks_funds: bool,
    /// How long a batch lingers that is not full.
    pub(super) lingers_ms: Option<u64>,
}

/// What one slot is going to carry, with its sender and what the node says that it needs.
pub(super) struct Ride {
    pub(super) sender: Address,
    pub(super) purpose: Purpose,
    pub(super) rail: Rail,
    pub(super) records: Vec<WithdrawalRecord>,
    pub(super) payload: Payload,
    pub(super) gas_limit: u64,
    /// What the node says that it uses; `None` where it was not asked.
    pub(super) gas_estimated: Option<u64>,
    pub(super) access_list: Vec<ListedAccount>,
    /// Why its payments travel so, for their timelines.
    pub(super) why: Option<String>,
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
        let most = self.in_flight_max(chain);
        let loads = self.loads(chain, held).await?;
        let free: u64 = loads.iter().map(|load| most.saturating_sub(load.in_flight)).sum();
        if free == 0 {
            return Ok(Progress::Idle);
        }
        let room = match chain.rail() {
            Rail::Direct if chain.lacks_funds() => free.max(LOOK_BEYOND),
            Rail::Direct => free,
            Rail::Vault => free.saturating_mul(self.settings.batching.items_max as u64),
        };
        let limit = room.min(chain.narrowing.limit(self.payments_max(chain)));
        let queued = self.store.queued(chain_id, limit).await?;
        if queued.is_empty() {
            return Ok(Progress::Idle);
        }
        if chain.vault.is_some()
            && let Some(rest_ms) = self.lingers_ms(chain, &loads, most, &queued)
        {
            return Ok(Progress::IdleFor(rest_ms));
        }
        let promised = match chain.vault {
            Some(_) => self.store.vault_promised(chain_id).await?,
            None => BTreeMap::new(),
        };
        let means = self.means(chain, &loads, &queued).await?;
        let Some(fees) = self.first_price_at(chain, &means.head).await else {
            let ids: Vec<WithdrawalId> = queued.iter().map(|record| record.id).collect();
            let why = "waiting: the chain asks for more than the fee cap";
            self.defer(&ids, DEFER_MS, why).await?;
            return Ok(Progress::Idle);
        };
        let (records, moved) = self.screened(chain, queued, fees).await?;
        let Going { rides, lacks_funds, lingers_ms } = match chain.vault {
            None => {
                let mut rooms = rooms(&loads, most, &means, &tokens_of(&records));
                self.direct_rides(chain, &mut rooms, records, fees).await?
            }
            Some(vault) => {
                let (loads, means, promised) = (loads.as_slice(), &means, &promised);
                let room = Room { vault, loads, in_flight_max: most, means, promised, fees };
                self.vault_rides(chain, &room, records).await?
            }
        };
        chain.learned.lock().unwrap_or_else(PoisonError::into_inner).lacks_funds = lacks_funds;
        if !rides.is_empty() {
            self.bind_and_sign(chain_id, held, &loads, rides, fees).await?;
            return Ok(Progress::Worked);
        }
        let rest = lingers_ms.map_or(Progress::Idle, Progress::IdleFor);
        Ok(Progress::of(moved || lacks_funds).or(rest))
    }

    /// How long what lacks funds waits. A pause shorter than a look at the whole queue would bring the first of it back
    /// before what has funds was reached.
    pub(super) async fn funds_pause_ms(&self, chain: &SignerChain) -> Result<i64, EngineError> {
        let queued = self.store.depth(Stage::Sign, chain.spec().chain_id).await?;
        let pause_ms = (queued.saturating_mul(FUNDS_PAUSE_MS) / 1_000).min(FUNDS_PAUSE_MS_MAX);
        Ok(i64::try_from(pause_ms).unwrap_or(DEFER_MS).max(DEFER_MS))
    }

    /// Payments that one step takes.
    pub(super) fn payments_max(&self, chain: &SignerChain) -> u64 {
        match chain.rail() {
            Rail::Direct => self.settings.batch_max,
            Rail::Vault => self.settings.batch_max.max(VAULT_PAYMENTS_MAX),
        }
    }

    /// Slots that a sender may have in flight.
    fn in_flight_max(&self, chain: &SignerChain) -> u64 {
        self.settings.in_flight_max.min(chain.spec().in_flight_max)
    }

    /// The senders that may open a slot, with what they have promised. What the others have need not be asked.
    pub(super) async fn loads(
        &self,
        chain: &SignerChain,
        held: &[Held],
    ) -> Result<Vec<SenderLoad>, EngineError> {
        let (chain_id, most) = (chain.spec().chain_id, self.in_flight_max(chain));
        let mut loads = self.store.sender_loads(chain_id, most).await?;
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
        let mut passed = Vec::with_capacity(queued.len());
        let mut moved = false;
        for records in pieces(queued, chain.rail()) {
            // Most often all is well, and one question is enough.
            let Some(together) = look(chain, &records, fees) else { break };
            if self.signer.check(&together).is_ok() {
                passed.extend(records);
                continue;
            }
            for record in records {
                match self.screened_alone(chain, &record, fees).await? {
                    Screening::Passed => passed.push(record),
                    Screening::Waits => {}
                    Screening::PutAside => moved = true,
                }
            }
        }
        Ok((passed, moved))
    }

    async fn screened_alone(
        &self,
        chain: &SignerChain,
        record: &WithdrawalRecord,
        fees: Fees,
    ) -> Result<Screening, EngineError> {
        let Some(intent) = look(chain, std::slice::from_ref(record), fees) else {
            return Ok(Screening::Waits);
        };
        let mut answer = self.signer.check(&intent);
        let mut missing = None;
        if let Some((number, elsewhere)) = earlier_ride(record, &answer) {
            missing = self.journal_release(chain, record, number, elsewhere).await?;
            answer = self.signer.check(&intent);
        }
        match answer {
            Ok(()) => Ok(Screening::Passed),
            Err(refusal) if let Some(missing) = missing => {
                tracing::warn!(
                    withdrawal = %record.id, %refusal, missing,
                    "the chain does not show yet that an earlier slot did not pay it; waiting"
                );
                let why =
                    format!("waiting for the proof that an earlier slot did not pay it: {missing}");
                self.defer(&[record.id], DEFER_MS, &why).await?;
                Ok(Screening::Waits)
            }
            Err(refusal) => {
                self.put_aside(record, &refusal).await?;
                Ok(Screening::PutAside)
            }
        }
    }

    async fn put_aside(
        &self,
        record: &WithdrawalRecord,
        refusal: &SigningRefusal,
    ) -> Result<(), EngineError> {
        metrics::counter!("portcullis_signing_refusals_total").increment(1);
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
        let until = self.store.now().plus_millis(pause_ms);
        Ok(self.store.defer(ids, until, why).await?)
    }

    /// Binds, signs and commits, in sets that one transaction takes.
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
        let mut set = Vec::new();
        let mut payments = 0;
        for ride in rides {
            let Some(next) = nonces.get_mut(&ride.sender) else { continue };
            // Its key gave nothing for the set before.
            if self.standstill.is_on_trial(chain_id, ride.sender) {
                continue;
            }
            if payments > 0 && payments + ride.records.len() > BOUND_MAX {
                self.bind_set(held, std::mem::take(&mut set)).await?;
                payments = 0;
            }
            payments += ride.records.len();
            let slot = Slot { chain_id, sender: ride.sender, nonce: *next };
            *next = next.saturating_add(1);
            set.push(self.slot_of(ride, slot, fees));
        }
        self.bind_set(held, set).await
    }

    fn slot_of(&self, ride: Ride, slot: Slot, fees: Fees) -> (NewSlot, SigningIntent) {
        let new = NewSlot {
            id: self.around.slot_id(self.store.now()),
            slot,
            purpose: ride.purpose,
            rail: ride.rail,
            payload_digest: ride.payload.digest(slot),
            payments: ride.records.iter().map(|record| record.id).collect(),
            gas_estimated: ride.gas_estimated,
            why: ride.why,
        };
        let intent = SigningIntent {
            slot,
            purpose: ride.purpose,
            rail: ride.rail,
            kind: AttemptKind::Payload,
            payments: ride.records.iter().map(WithdrawalRecord::intent).collect(),
            fees,
            gas_limit: ride.gas_limit,
            access_list: ride.access_list,
        };
        (new, intent)
    }

    async fn bind_set(
        &self,
        held: &[Held],
        set: Vec<(NewSlot, SigningIntent)>,
    ) -> Result<(), EngineError> {
        if set.is_empty() {
            return Ok(());
        }
        let (slots, intents): (Vec<NewSlot>, Vec<SigningIntent>) = set.into_iter().unzip();
        let leases: Vec<Lease> = held
            .iter()
            .filter(|held| slots.iter().any(|new| new.slot.sender == held.address))
            .map(|held| held.lease.clone())
            .collect();
        self.store.bind(&leases, &slots).await?;
        let asked = slots.iter().map(|new| new.id).zip(intents).collect();
        // What is refused now stays a bound slot; the next step resumes it.
        self.sign_and_commit(&leases, asked, &[]).await?;
        let payments = slots.iter().map(|new| new.payments.len() as u64).sum();
        metrics::counter!("portcullis_payments_signed_total").increment(payments);
        for new in slots.iter().filter(|new| new.purpose == Purpose::Pay) {
            if let Some(gas) = new.gas_estimated {
                count_gas(new.slot.chain_id, "estimated", gas, new.payments.len());
            }
        }
        Ok(())
    }
}

/// What became of a payment that the signer was asked about.
enum Screening {
    Passed,
    Waits,
    PutAside,
}

/// As many together as the signer takes in one question.
fn pieces(queued: Vec<WithdrawalRecord>, rail: Rail) -> Vec<Vec<WithdrawalRecord>> {
    let most = match rail {
        Rail::Direct => 1,
        Rail::Vault => ASKED_MAX,
    };
    let mut pieces: Vec<Vec<WithdrawalRecord>> = Vec::new();
    for record in queued {
        match pieces.last_mut().filter(|piece| piece.len() < most) {
            Some(piece) => piece.push(record),
            None => pieces.push(vec![record]),
        }
    }
    pieces
}

/// The question whether payments would be signed. Any nonce that was never signed will do for a look.
fn look(chain: &SignerChain, records: &[WithdrawalRecord], fees: Fees) -> Option<SigningIntent> {
    let sender = chain.ready().into_iter().next()?;
    Some(SigningIntent {
        slot: Slot { chain_id: chain.spec().chain_id, sender, nonce: u64::MAX },
        purpose: Purpose::Pay,
        rail: chain.rail(),
        kind: AttemptKind::Payload,
        payments: records.iter().map(WithdrawalRecord::intent).collect(),
        fees,
        gas_limit: 21_000,
        access_list: Vec::new(),
    })
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
