//! The vault rail: many payments a transaction, from the vault's money.

use std::collections::BTreeMap;

use alloy_primitives::{Address, U256};
use portcullis_core::amount::Amount;
use portcullis_core::fee::Fees;
use portcullis_core::slot::{Payload, Purpose, Rail};
use portcullis_core::vault::{VaultItem, vault_payment};
use portcullis_evm::{BlockTag, CallRequest, EstimateError};
use portcullis_store::sender::SenderLoad;
use portcullis_store::withdrawal::WithdrawalRecord;

use super::direct::with_headroom;
use super::pay::{DEFER_MS, Ride};
use super::{SignerChain, SignerRole};
use crate::error::EngineError;

/// Gas that a call of the vault is thought to need before the node has said so; only for choosing an operator.
const GAS_GUESS: u64 = 300_000;

/// An operator with the slots that it may still open, and the gas money that nothing has been promised of.
struct Operator {
    address: Address,
    slots: u64,
    gas_money: Amount,
}

/// A call of the vault before its gas is known.
struct Call {
    sender: Address,
    records: Vec<WithdrawalRecord>,
    payload: Payload,
}

impl Call {
    fn new(vault: Address, sender: Address, records: Vec<WithdrawalRecord>) -> Self {
        let items: Vec<VaultItem> = records.iter().map(item_of).collect();
        Self { sender, records, payload: vault_payment(vault, &items) }
    }

    /// The same with as many payments, from the first on, as fit under the limit by what the whole call needs; one at
    /// least.
    fn shrunk(mut self, vault: Address, gas: u64, gas_max: u64) -> Self {
        let items = self.records.len() as u64;
        // A tenth less: what the call costs apart from its items does not shrink with it.
        let share = u128::from(items) * u128::from(gas_max) * 9 / (u128::from(gas.max(1)) * 10);
        let fits = usize::try_from(share).unwrap_or(usize::MAX).clamp(1, self.records.len().max(1));
        self.records.truncate(fits);
        Self::new(vault, self.sender, self.records)
    }

    fn into_ride(self, gas_limit: u64) -> Ride {
        let Self { sender, records, payload } = self;
        Ride { sender, purpose: Purpose::Pay, rail: Rail::Vault, records, payload, gas_limit }
    }
}

impl SignerRole {
    /// Fills calls of the vault in the order of the queue, and asks the node what each needs. What the vault cannot
    /// afford today waits; so does all of a call that the node refuses, for an item of it is never the reason.
    pub(super) async fn vault_rides(
        &self,
        chain: &SignerChain,
        vault: Address,
        (loads, in_flight_max): (&[SenderLoad], u64),
        records: Vec<WithdrawalRecord>,
        fees: Fees,
    ) -> Result<Vec<Ride>, EngineError> {
        let records = self.affordable(chain, vault, records).await?;
        let mut operators = self.operators(chain, loads, in_flight_max).await?;
        let price = Amount::from_atomic(U256::from(fees.max_fee_per_gas_wei));
        let guess = price.checked_mul(GAS_GUESS).unwrap_or(Amount::ZERO);
        let mut chosen: Vec<Call> = Vec::new();
        for records in chunked(records, self.settings.vault_items_max.max(1)) {
            let Some(sender) = take_operator(&mut operators, guess) else {
                let ids: Vec<_> = records.iter().map(|record| record.id).collect();
                if operators.iter().any(|operator| operator.slots > 0) {
                    let network = chain.spec().network;
                    tracing::warn!(network, payments = ids.len(), "no operator has gas money");
                    metrics::counter!("portcullis_funds_waits_total", "network" => network)
                        .increment(1);
                    self.defer(&ids, DEFER_MS, "waiting: no operator has gas money").await?;
                }
                continue;
            };
            chosen.push(Call::new(vault, sender, records));
        }
        let gas_max = self.signer.gas_limit_max(chain.spec().chain_id, fees.max_fee_per_gas_wei);
        let (mut rides, dear) = self.estimated(chain, chosen, gas_max).await?;
        // A call that would cost more than may be signed carries fewer payments; the others stay queued.
        let smaller: Vec<Call> =
            dear.into_iter().map(|(call, gas)| call.shrunk(vault, gas, gas_max)).collect();
        let (more, dear) = self.estimated(chain, smaller, gas_max).await?;
        rides.extend(more);
        for (call, _) in dear {
            let ids: Vec<_> = call.records.iter().map(|record| record.id).collect();
            let why =
                "waiting: at this price of gas a call of the vault may cost more than the cap";
            self.defer(&ids, DEFER_MS, why).await?;
        }
        Ok(rides)
    }

    /// Asks the node what calls need. Comes back with those that may be signed, and with those that need more gas than
    /// that, each with what it needs.
    async fn estimated(
        &self,
        chain: &SignerChain,
        calls: Vec<Call>,
        gas_max: u64,
    ) -> Result<(Vec<Ride>, Vec<(Call, u64)>), EngineError> {
        let requests: Vec<CallRequest> =
            calls.iter().map(|call| CallRequest::of_payload(call.sender, &call.payload)).collect();
        let estimates = chain.pool.estimate_gas(&requests).await;
        let (mut rides, mut dear) = (Vec::with_capacity(calls.len()), Vec::new());
        for (call, estimate) in calls.into_iter().zip(estimates) {
            match estimate.map(with_headroom) {
                Ok(gas_limit) if gas_limit > gas_max => dear.push((call, gas_limit)),
                Ok(gas_limit) => rides.push(call.into_ride(gas_limit)),
                Err(error) => self.put_batch_off(chain, call.sender, &call.records, &error).await?,
            }
        }
        Ok((rides, dear))
    }

    /// What the vault can pay now: its balance and what is left of the day's cap, less what calls under way will take.
    /// The others wait.
    async fn affordable(
        &self,
        chain: &SignerChain,
        vault: Address,
        records: Vec<WithdrawalRecord>,
    ) -> Result<Vec<WithdrawalRecord>, EngineError> {
        let mut funds = self.vault_funds(chain, vault, &records).await?;
        let (mut passed, mut waiting) = (Vec::with_capacity(records.len()), Vec::new());
        for record in records {
            let fund = funds.entry(record.token).or_default();
            match fund.checked_sub(record.amount) {
                Some(left) => {
                    *fund = left;
                    passed.push(record);
                }
                None => waiting.push(record.id),
            }
        }
        if !waiting.is_empty() {
            let network = chain.spec().network;
            tracing::warn!(
                network, %vault, payments = waiting.len(),
                "the vault has too little money, or too little is left of its daily cap; waiting"
            );
            metrics::counter!("portcullis_funds_waits_total", "network" => network).increment(1);
            let why = "waiting: the vault has not the funds, or its daily cap is used up";
            self.defer(&waiting, DEFER_MS, why).await?;
        }
        Ok(passed)
    }

    async fn vault_funds(
        &self,
        chain: &SignerChain,
        vault: Address,
        records: &[WithdrawalRecord],
    ) -> Result<BTreeMap<Option<Address>, Amount>, EngineError> {
        let mut tokens: Vec<Option<Address>> = records.iter().map(|record| record.token).collect();
        tokens.sort_unstable();
        tokens.dedup();
        let promised = self.store.vault_promised(chain.spec().chain_id).await?;
        let caps = chain.pool.vault_remaining(vault, &tokens, BlockTag::Latest).await?;
        let natives = chain.pool.native_balances(&[vault], BlockTag::Latest).await?;
        let contracts: Vec<(Address, Address)> =
            tokens.iter().flatten().map(|token| (*token, vault)).collect();
        let balances = chain.pool.token_balances(&contracts, BlockTag::Latest).await?;
        let held = contracts.iter().map(|(token, _)| Some(*token)).zip(balances);
        let mut held: BTreeMap<Option<Address>, Amount> = held.collect();
        held.extend(natives.into_iter().map(|native| (None, native)));
        let funds = tokens.into_iter().zip(caps).map(|(token, cap)| {
            let most = held.get(&token).copied().unwrap_or_default().min(cap);
            let promised = promised.get(&token).copied().unwrap_or_default();
            (token, most.checked_sub(promised).unwrap_or_default())
        });
        Ok(funds.collect())
    }

    async fn operators(
        &self,
        chain: &SignerChain,
        loads: &[SenderLoad],
        in_flight_max: u64,
    ) -> Result<Vec<Operator>, EngineError> {
        let senders: Vec<Address> = loads.iter().map(|load| load.address).collect();
        let natives = chain.pool.native_balances(&senders, BlockTag::Latest).await?;
        let operators = loads.iter().zip(natives).map(|(load, native)| {
            let promised = load.promised.get(&None).copied().unwrap_or_default();
            let left = native.checked_sub(load.gas_promised).unwrap_or_default();
            Operator {
                address: load.address,
                slots: in_flight_max.saturating_sub(load.in_flight),
                gas_money: left.checked_sub(promised).unwrap_or_default(),
            }
        });
        Ok(operators.collect())
    }

    async fn put_batch_off(
        &self,
        chain: &SignerChain,
        operator: Address,
        records: &[WithdrawalRecord],
        error: &EstimateError,
    ) -> Result<(), EngineError> {
        let network = chain.spec().network;
        tracing::warn!(
            network, %operator, payments = records.len(), %error,
            "no node would execute a call of the vault; its payments wait"
        );
        metrics::counter!("portcullis_vault_refusals_total", "network" => network).increment(1);
        let ids: Vec<_> = records.iter().map(|record| record.id).collect();
        self.defer(&ids, DEFER_MS, &format!("waiting: the vault's call would fail: {error}")).await
    }
}

/// The operator with the most free slots that can pay for its gas.
fn take_operator(operators: &mut [Operator], gas_cost: Amount) -> Option<Address> {
    let chosen = operators
        .iter_mut()
        .filter(|operator| operator.slots > 0 && operator.gas_money >= gas_cost)
        .max_by_key(|operator| (operator.slots, std::cmp::Reverse(operator.address)))?;
    chosen.slots = chosen.slots.saturating_sub(1);
    chosen.gas_money = chosen.gas_money.checked_sub(gas_cost).unwrap_or_default();
    Some(chosen.address)
}

fn chunked(records: Vec<WithdrawalRecord>, most: usize) -> Vec<Vec<WithdrawalRecord>> {
    let mut chunks: Vec<Vec<WithdrawalRecord>> = Vec::new();
    for record in records {
        match chunks.last_mut().filter(|chunk| chunk.len() < most) {
            Some(chunk) => chunk.push(record),
            None => chunks.push(vec![record]),
        }
    }
    chunks
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

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(byte: u8, slots: u64, gas_money: u64) -> Operator {
        let gas_money = Amount::from_atomic(U256::from(gas_money));
        Operator { address: Address::repeat_byte(byte), slots, gas_money }
    }

    #[test]
    fn calls_are_shared_among_those_who_can_pay_for_gas() {
        let cost = Amount::from_atomic(U256::from(5));
        let mut operators = [operator(1, 1, 100), operator(2, 3, 9), operator(3, 8, 4)];
        let taken: Vec<_> = (0..4).map(|_| take_operator(&mut operators, cost)).collect();
        let expected = [Some(2), Some(1), None, None].map(|byte| byte.map(Address::repeat_byte));
        assert_eq!(taken, expected);
    }
}
