//! Calls of the vault on their way to be bound: the node says what each needs, and what it refuses is narrowed down.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use alloy_primitives::Address;
use portcullis_core::access_list::{may_pay, worth_listing};
use portcullis_core::batching::{Early, Limit, Reason, with_headroom};
use portcullis_core::id::WithdrawalId;
use portcullis_core::slot::{Payload, Purpose, Rail};
use portcullis_core::vault::{VaultItem, VaultRefusal, vault_payment};
use portcullis_evm::{CallRequest, EstimateError, GasQuote};
use portcullis_store::withdrawal::WithdrawalRecord;

use super::pay::{DEFER_MS, Ride};
use super::{SignerChain, SignerRole};
use crate::error::EngineError;

/// How long an account that the vault does not let call is left out.
const SHUNNED_MS: i64 = 30_000;

/// What clients see while nobody can pay for the gas.
pub(super) const NO_GAS_MONEY: &str = "waiting: no operator has gas money";

/// Who makes a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    /// The operator.
    pub(super) sender: Address,
    /// The highest gas limit of its call, and what it follows from.
    pub(super) most: (u64, Limit),
}

/// A call of the vault before its gas is known.
pub(super) struct Call {
    caller: Caller,
    records: Vec<WithdrawalRecord>,
    payload: Payload,
    reason: Reason,
}

/// Why a call cannot be made as it is.
enum Trouble {
    /// It needs a higher gas limit than may be signed.
    Dear(u64),
    /// The vault refuses whatever this operator asks.
    Refused(VaultRefusal, EstimateError),
    /// It reverts.
    Reverts(EstimateError),
    /// It needs more gas than the node grants.
    OutOfGas(EstimateError),
    /// Nothing is known.
    Unknown(EstimateError),
}

impl Trouble {
    fn of(error: EstimateError) -> Self {
        match &error {
            EstimateError::Reverted { selector, .. } => {
                match selector.and_then(VaultRefusal::of_selector) {
                    Some(refusal) => Self::Refused(refusal, error),
                    None => Self::Reverts(error),
                }
            }
            EstimateError::OutOfGas(_) => Self::OutOfGas(error),
            EstimateError::InsufficientFunds | EstimateError::Read(_) => Self::Unknown(error),
        }
    }
}

impl Call {
    pub(super) fn new(
        vault: Address,
        caller: Caller,
        records: Vec<WithdrawalRecord>,
        reason: Reason,
    ) -> Self {
        let payload = payment_of(vault, &records);
        Self { caller, records, payload, reason }
    }

    fn request(&self) -> CallRequest {
        CallRequest::of_payload(self.caller.sender, &self.payload)
    }

    fn ids(&self) -> Vec<WithdrawalId> {
        self.records.iter().map(|record| record.id).collect()
    }

    /// The same with the first payments alone. The others stay queued.
    fn shrunk(mut self, items: usize, by: Limit) -> Self {
        self.records.truncate(items.max(1));
        let reason = Reason::Full { items: self.records.len(), by };
        Self::new(self.payload.to, self.caller, self.records, reason)
    }

    /// As many payments, one at least, as fit under the limit by what the whole call needs.
    fn fitting(&self, gas: u64) -> usize {
        let (items, (gas_max, _)) = (self.records.len() as u64, self.caller.most);
        // A tenth less: what the call costs apart from its items does not shrink with it.
        let share = u128::from(items) * u128::from(gas_max) * 9 / (u128::from(gas.max(1)) * 10);
        usize::try_from(share).unwrap_or(usize::MAX).clamp(1, self.records.len().max(1))
    }

    fn into_ride(self, chain: &SignerChain, quote: GasQuote) -> Ride {
        let Self { caller: Caller { sender, .. }, records, payload, reason } = self;
        let (mut gas, mut most, mut access_list) = (quote.gas, quote.gas, Vec::new());
        if let Some(touched) = quote.touched.filter(|touched| touched.gas_used < quote.gas) {
            access_list = worth_listing(chain.spec(), payload.to, touched.list, quote.gas);
            if !access_list.is_empty() {
                // The limit holds for a replacement without the list as well.
                (gas, most) = (touched.gas_used, quote.gas.max(touched.gas_used));
            }
        }
        Ride {
            sender,
            purpose: Purpose::Pay,
            rail: Rail::Vault,
            records,
            payload,
            gas_limit: with_headroom(most),
            gas_estimated: Some(gas),
            access_list,
            why: Some(reason.to_string()),
        }
    }
}

impl SignerRole {
    /// Asks the node what calls need, all of them in one batch. What costs too much carries less; what reverts carries
    /// all but the payments that it reverts for; what cannot be helped waits.
    pub(super) async fn rides_of(
        &self,
        chain: &SignerChain,
        calls: Vec<Call>,
    ) -> Result<Vec<Ride>, EngineError> {
        let (mut rides, troubled) = Self::quoted(chain, calls).await;
        if troubled.is_empty() {
            return Ok(rides);
        }
        let mended = self.mended(chain, troubled).await?;
        let (more, troubled) = Self::quoted(chain, mended).await;
        rides.extend(more);
        for (call, trouble) in troubled {
            self.put_call_off(chain, &call, &trouble).await?;
        }
        Ok(rides)
    }

    async fn quoted(chain: &SignerChain, calls: Vec<Call>) -> (Vec<Ride>, Vec<(Call, Trouble)>) {
        let requests: Vec<CallRequest> = calls.iter().map(Call::request).collect();
        let quotes = chain.pool.quotes(&requests, may_pay(chain.spec())).await;
        let (mut rides, mut troubled) = (Vec::with_capacity(calls.len()), Vec::new());
        let mut learned = chain.learned.lock().unwrap_or_else(PoisonError::into_inner);
        for (call, quote) in calls.into_iter().zip(quotes) {
            match quote {
                Ok(quote) => {
                    learned.gas.observe(call.records.len(), quote.gas);
                    let gas_limit = with_headroom(quote.gas);
                    if gas_limit > call.caller.most.0 {
                        troubled.push((call, Trouble::Dear(gas_limit)));
                    } else {
                        rides.push(call.into_ride(chain, quote));
                    }
                }
                Err(error) => troubled.push((call, Trouble::of(error))),
            }
        }
        (rides, troubled)
    }

    /// Smaller calls of what can be made smaller. The rest waits.
    async fn mended(
        &self,
        chain: &SignerChain,
        troubled: Vec<(Call, Trouble)>,
    ) -> Result<Vec<Call>, EngineError> {
        let (mut mended, mut reverting) = (Vec::new(), Vec::new());
        for (call, trouble) in troubled {
            let items = call.records.len();
            match trouble {
                Trouble::Dear(gas) if items > 1 => {
                    let (items, (_, by)) = (call.fitting(gas), call.caller.most);
                    mended.push(call.shrunk(items, by));
                }
                Trouble::OutOfGas(_) if items > 1 => {
                    mended.push(call.shrunk(items / 2, Limit::TransactionGas));
                }
                Trouble::Reverts(error) if items > 1 => reverting.push((call, error)),
                Trouble::Refused(VaultRefusal::NotOperator, error) => {
                    self.shun(chain, call.caller.sender, &error);
                }
                trouble => self.put_call_off(chain, &call, &trouble).await?,
            }
        }
        let calls: Vec<&Call> = reverting.iter().map(|(call, _)| call).collect();
        let culprits = Self::culprits(chain, &calls).await;
        for (call, error) in reverting {
            let items = call.records.len();
            let is_culprit = |record: &WithdrawalRecord| culprits.contains_key(&record.id);
            let caller = call.caller;
            let (guilty, rest): (Vec<_>, Vec<_>) =
                call.records.iter().cloned().partition(is_culprit);
            if guilty.is_empty() {
                // Each half is fine, and the whole is not: put off together, they would come back together.
                tracing::warn!(%error, items, "halves of a call are fine, the whole is not");
                mended.push(call.shrunk(items / 2, Limit::TransactionGas));
                continue;
            }
            self.put_culprits_off(chain, &guilty, &culprits).await?;
            if !rest.is_empty() {
                let reason = Reason::Part { items: rest.len(), early: Early::Narrowed };
                mended.push(Call::new(call.payload.to, caller, rest, reason));
            }
        }
        Ok(mended)
    }

    /// The payments that make calls revert: calls are halved until single payments stand alone, all halves of a round
    /// in one batch.
    async fn culprits(chain: &SignerChain, calls: &[&Call]) -> BTreeMap<WithdrawalId, String> {
        let mut culprits = BTreeMap::new();
        let mut suspects: Vec<(&Call, &[WithdrawalRecord])> =
            calls.iter().map(|call| (*call, call.records.as_slice())).collect();
        while !suspects.is_empty() {
            let halves: Vec<(&Call, &[WithdrawalRecord])> = suspects
                .iter()
                .flat_map(|(call, records)| {
                    let (one, other) = records.split_at(records.len() / 2);
                    [(*call, one), (*call, other)]
                })
                .collect();
            let requests: Vec<CallRequest> = halves
                .iter()
                .map(|(call, records)| {
                    let payload = payment_of(call.payload.to, records);
                    CallRequest::of_payload(call.caller.sender, &payload)
                })
                .collect();
            let quotes = chain.pool.quotes(&requests, false).await;
            suspects.clear();
            for (half, quote) in halves.into_iter().zip(quotes) {
                let Err(error @ EstimateError::Reverted { .. }) = quote else { continue };
                match half.1 {
                    [culprit] => {
                        culprits.insert(culprit.id, error.to_string());
                    }
                    _ => suspects.push(half),
                }
            }
        }
        culprits
    }

    async fn put_culprits_off(
        &self,
        chain: &SignerChain,
        guilty: &[WithdrawalRecord],
        culprits: &BTreeMap<WithdrawalId, String>,
    ) -> Result<(), EngineError> {
        count_refusal(chain);
        for record in guilty {
            let error = culprits.get(&record.id).map(String::as_str).unwrap_or_default();
            let network = chain.spec().network;
            tracing::warn!(network, withdrawal = %record.id, error, "it alone would make its call fail; it waits");
            let why = format!("waiting: the vault's call would fail: {error}");
            self.defer(&[record.id], DEFER_MS, &why).await?;
        }
        Ok(())
    }

    async fn put_call_off(
        &self,
        chain: &SignerChain,
        call: &Call,
        trouble: &Trouble,
    ) -> Result<(), EngineError> {
        let why = match trouble {
            Trouble::Dear(_) if call.caller.most.1 == Limit::GasMoney => NO_GAS_MONEY.to_owned(),
            Trouble::Dear(_) => {
                "waiting: at this price of gas a call of the vault may cost more than the cap"
                    .to_owned()
            }
            Trouble::Refused(VaultRefusal::Paused, _) => "waiting: the vault is paused".to_owned(),
            Trouble::Refused(_, error)
            | Trouble::Reverts(error)
            | Trouble::OutOfGas(error)
            | Trouble::Unknown(error) => format!("waiting: the vault's call would fail: {error}"),
        };
        let (network, operator) = (chain.spec().network, call.caller.sender);
        tracing::warn!(network, %operator, payments = call.records.len(), why, "a call of the vault is put off");
        count_refusal(chain);
        self.defer(&call.ids(), DEFER_MS, &why).await
    }

    /// Leaves out an account that is no operator of the vault; its payments stay queued for the others.
    fn shun(&self, chain: &SignerChain, operator: Address, error: &EstimateError) {
        let network = chain.spec().network;
        tracing::error!(network, %operator, %error, "a sender is no operator of the vault and is left out for a while");
        count_refusal(chain);
        let until = self.store.now().plus_millis(SHUNNED_MS);
        let mut learned = chain.learned.lock().unwrap_or_else(PoisonError::into_inner);
        learned.shunned.insert(operator, until);
    }
}

fn count_refusal(chain: &SignerChain) {
    let network = chain.spec().network;
    metrics::counter!("portcullis_vault_refusals_total", "network" => network).increment(1);
}

fn payment_of(vault: Address, records: &[WithdrawalRecord]) -> Payload {
    let items: Vec<VaultItem> = records.iter().map(item_of).collect();
    vault_payment(vault, &items)
}

const fn item_of(record: &WithdrawalRecord) -> VaultItem {
    VaultItem {
        number: record.number,
        reference: record.reference,
        token: record.token,
        to: record.to,
        amount: record.amount,
    }
}
