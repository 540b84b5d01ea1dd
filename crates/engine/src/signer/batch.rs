//! The vault rail: many payments a transaction, from the vault's money. `core::batching` decides; this gathers its
//! facts and does what it says.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use alloy_primitives::{Address, U256};
use portcullis_core::amount::Amount;
use portcullis_core::batching::{
    CallLimits, Decision, Facts, GasModel, Limit, Operator, PriceLevel, Queued, UsualPrice, Wait,
    decide,
};
use portcullis_core::fee::Fees;
use portcullis_core::id::WithdrawalId;
use portcullis_core::time::Timestamp;
use portcullis_core::withdrawal::Priority;
use portcullis_store::sender::SenderLoad;
use portcullis_store::withdrawal::WithdrawalRecord;

use super::call::{Call, Caller, NO_GAS_MONEY};
use super::means::Means;
use super::pay::{DEFER_MS, Going};
use super::{SignerChain, SignerRole};
use crate::error::EngineError;

/// What the signer has learned about a chain since it started. Losing it costs a little gas or time, nothing else.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// What calls of the vault need.
    pub(super) gas: GasModel,
    /// What gas usually costs.
    usual: UsualPrice,
    /// What the last decision went by.
    last: Option<(CallLimits, PriceLevel)>,
    /// What plain transfers of tokens need.
    pub(super) transfers: BTreeMap<Address, u64>,
    /// Whether some of what was looked at last lacks funds.
    pub(super) lacks_funds: bool,
    /// Senders that the vault does not know, and until when they are left out.
    pub(super) shunned: BTreeMap<Address, Timestamp>,
    /// Up to which withdrawal those that are to be voided were looked at, where there are more.
    pub(super) voidable_after: Option<WithdrawalId>,
}

/// What a step may do on the vault rail, and with what.
pub(super) struct Room<'a> {
    /// The vault.
    pub(super) vault: Address,
    /// The operators.
    pub(super) loads: &'a [SenderLoad],
    /// Transactions that each may have in flight.
    pub(super) in_flight_max: u64,
    /// Balances.
    pub(super) means: &'a Means,
    /// What calls under way will take of the vault, read before its balance was: what has been taken since counts twice,
    /// and not never.
    pub(super) promised: &'a BTreeMap<Option<Address>, Amount>,
    /// The price of now.
    pub(super) fees: Fees,
}

impl SignerRole {
    /// A look without a node, by what the last decision went by: for how many milliseconds everything that is queued
    /// lingers. `None` where something may have to be done.
    pub(super) fn lingers_ms(
        &self,
        chain: &SignerChain,
        loads: &[SenderLoad],
        in_flight_max: u64,
        records: &[WithdrawalRecord],
    ) -> Option<u64> {
        let learned = chain.learned.lock().unwrap_or_else(PoisonError::into_inner);
        let (limits, price) = learned.last?;
        let operators: Vec<Operator> = loads
            .iter()
            .map(|load| Operator {
                slots: in_flight_max.saturating_sub(load.in_flight),
                gas: u64::MAX,
            })
            .collect();
        let queue = self.queue_of(records);
        let rules = self.settings.batching;
        let facts =
            Facts { queue: &queue, operators: &operators, limits, gas: learned.gas, price, rules };
        let decision = decide(&facts);
        let left_ms = decision.lingers_ms().filter(|_| decision.calls.is_empty())?;
        u64::try_from(left_ms).ok()
    }

    /// Calls of the vault as `core` decides them, with what the node says that each needs. What the vault or its
    /// operators cannot afford waits.
    pub(super) async fn vault_rides(
        &self,
        chain: &SignerChain,
        room: &Room<'_>,
        records: Vec<WithdrawalRecord>,
    ) -> Result<Going, EngineError> {
        let (records, lacks_funds) = self.affordable(chain, room, records).await?;
        if records.is_empty() {
            return Ok(Going { lacks_funds, ..Going::default() });
        }
        let (callers, decision) = self.decided(chain, room, &records);
        let waiting = |why| decision.waiting.iter().filter(move |(_, wait)| *wait == why);
        let poor: Vec<WithdrawalId> =
            waiting(Wait::NoGasMoney).map(|(place, _)| records[*place].id).collect();
        if !poor.is_empty() {
            let network = chain.spec().network;
            tracing::warn!(network, payments = poor.len(), "no operator has gas money");
            metrics::counter!("portcullis_funds_waits_total", "network" => network).increment(1);
            self.defer(&poor, DEFER_MS, NO_GAS_MONEY).await?;
        }
        let lingers_ms = decision.lingers_ms().and_then(|left_ms| u64::try_from(left_ms).ok());
        let mut records: Vec<Option<WithdrawalRecord>> = records.into_iter().map(Some).collect();
        let mut calls = Vec::with_capacity(decision.calls.len());
        for planned in decision.calls {
            count_decision(chain, planned.reason.kind(), planned.payments.len());
            let carried = planned.payments.iter();
            let carried = carried.filter_map(|place| records.get_mut(*place)?.take()).collect();
            calls.push(Call::new(room.vault, callers[planned.operator], carried, planned.reason));
        }
        let rides = self.rides_of(chain, calls).await?;
        Ok(Going { rides, lacks_funds, lingers_ms })
    }

    /// The decision, and who calls by their places in it.
    fn decided(
        &self,
        chain: &SignerChain,
        room: &Room<'_>,
        records: &[WithdrawalRecord],
    ) -> (Vec<Caller>, Decision) {
        let (spec, head) = (chain.spec(), &room.means.head);
        let limits = CallLimits {
            transaction_gas_max: spec
                .transaction_gas_max
                .min(self.signer.gas_limit_max(spec.chain_id, 0)),
            fee_gas_max: self.call_gas_max(chain, room.fees.max_fee_per_gas_wei),
            block_gas: head.gas_limit,
            calldata_bytes_max: spec.calldata_bytes_max,
        };
        let now = self.store.now();
        let mut learned = chain.learned.lock().unwrap_or_else(PoisonError::into_inner);
        let price = learned.usual.level(head.base_fee_wei);
        learned.usual.observe(head.base_fee_wei);
        learned.last = Some((limits, price));
        learned.shunned.retain(|_, until| *until > now);
        let (callers, operators): (Vec<Caller>, Vec<Operator>) = room
            .loads
            .iter()
            .filter(|load| !learned.shunned.contains_key(&load.address))
            .map(|load| {
                let operator = operator_of(room, load);
                (Caller { sender: load.address, most: most_of(limits, operator) }, operator)
            })
            .unzip();
        let queue = self.queue_of(records);
        let rules = self.settings.batching;
        let facts =
            Facts { queue: &queue, operators: &operators, limits, gas: learned.gas, price, rules };
        (callers, decide(&facts))
    }

    /// The most gas of a call at this price: three bumps of it stay below what a transaction may cost. Only what pays one
    /// alone and is dearer may use up the whole.
    fn call_gas_max(&self, chain: &SignerChain, price_wei: u128) -> u64 {
        let most = |price_wei| self.signer.gas_limit_max(chain.spec().chain_id, price_wei);
        let one = {
            let learned = chain.learned.lock().unwrap_or_else(PoisonError::into_inner);
            learned.gas.gas_limit(1)
        };
        let bumpable = most(price_wei.saturating_add(price_wei / 2));
        if bumpable < one { most(price_wei) } else { bumpable }
    }

    fn queue_of(&self, records: &[WithdrawalRecord]) -> Vec<Queued> {
        let now = self.store.now();
        let queued = |record: &WithdrawalRecord| Queued {
            token: record.token,
            is_urgent: record.priority == Priority::Urgent,
            // It moved last when it was queued.
            age_ms: now.millis_since(record.updated_at),
        };
        records.iter().map(queued).collect()
    }

    /// What the vault can pay now: its balance and what is left of the day's cap, less what calls under way will take.
    /// The others wait; says also whether there are any.
    async fn affordable(
        &self,
        chain: &SignerChain,
        room: &Room<'_>,
        records: Vec<WithdrawalRecord>,
    ) -> Result<(Vec<WithdrawalRecord>, bool), EngineError> {
        let mut funds: BTreeMap<Option<Address>, Amount> = BTreeMap::new();
        let (mut passed, mut waiting) = (Vec::with_capacity(records.len()), Vec::new());
        for record in records {
            let fund = funds.entry(record.token).or_insert_with_key(|token| {
                let held = room.means.held(room.vault, *token);
                let most = held.min(room.means.may_leave_vault(*token));
                let promised = room.promised.get(token).copied().unwrap_or_default();
                most.checked_sub(promised).unwrap_or_default()
            });
            match fund.checked_sub(record.amount) {
                Some(left) => {
                    *fund = left;
                    passed.push(record);
                }
                None => waiting.push(record.id),
            }
        }
        if !waiting.is_empty() {
            let (network, vault) = (chain.spec().network, room.vault);
            tracing::warn!(
                network, %vault, payments = waiting.len(),
                "the vault has too little money, or too little is left of its daily cap; waiting"
            );
            metrics::counter!("portcullis_funds_waits_total", "network" => network).increment(1);
            let why = "waiting: the vault has not the funds, or its daily cap is used up";
            self.defer(&waiting, self.funds_pause_ms(chain).await?, why).await?;
        }
        Ok((passed, !waiting.is_empty()))
    }
}

/// An operator's free slots, and the gas that its money buys, less what is under way.
fn operator_of(room: &Room<'_>, load: &SenderLoad) -> Operator {
    let promised = load.promised.get(&None).copied().unwrap_or_default();
    let money = room.means.held(load.address, None);
    let money = money.checked_sub(load.gas_promised).unwrap_or_default();
    let money = money.checked_sub(promised).unwrap_or_default();
    let price_wei = U256::from(room.fees.max_fee_per_gas_wei);
    let gas = money.atomic().checked_div(price_wei).and_then(|gas| u64::try_from(gas).ok());
    Operator {
        slots: room.in_flight_max.saturating_sub(load.in_flight),
        gas: gas.unwrap_or(u64::MAX),
    }
}

/// The most gas of one call by an operator, and by which limit.
fn most_of(limits: CallLimits, operator: Operator) -> (u64, Limit) {
    let all = [
        (limits.transaction_gas_max, Limit::TransactionGas),
        (limits.fee_gas_max, Limit::FeeCap),
        (operator.gas, Limit::GasMoney),
    ];
    all.into_iter().min_by_key(|(gas, _)| *gas).unwrap_or(all[0])
}

fn count_decision(chain: &SignerChain, kind: &'static str, items: usize) {
    let network = chain.spec().network;
    metrics::counter!("portcullis_vault_calls_total", "network" => network, "kind" => kind)
        .increment(1);
    let items = u32::try_from(items).unwrap_or(u32::MAX);
    metrics::histogram!("portcullis_vault_call_payments", "network" => network)
        .record(f64::from(items));
}
