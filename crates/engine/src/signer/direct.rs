//! The direct rail: one payment a transaction, from the money of the account that sends it.

use std::collections::BTreeMap;

use alloy_primitives::{Address, U256};
use portcullis_core::amount::Amount;
use portcullis_core::batching::with_headroom;
use portcullis_core::calldata::direct_payment;
use portcullis_core::error_class::ErrorClass;
use portcullis_core::fee::Fees;
use portcullis_core::id::WithdrawalId;
use portcullis_core::recovery::gas_after_rides;
use portcullis_core::slot::{Purpose, Rail};
use portcullis_evm::{CallRequest, EstimateError};
use portcullis_store::dead_letter::LetterError;
use portcullis_store::sender::SenderLoad;
use portcullis_store::withdrawal::WithdrawalRecord;

use super::means::Means;
use super::pay::{DEFER_MS, Going, Ride};
use super::plan::{Room, share};
use super::transfer_gas::Question;
use super::{SignerChain, SignerRole};
use crate::error::EngineError;
use crate::poison::fail_request;

/// Gas that a transfer is thought to need before the node has said so; only for choosing a sender.
const GAS_GUESS: u64 = 150_000;

impl SignerRole {
    /// Chooses senders and asks the node what each payment needs. What nobody can afford, or nobody
    /// knows about, is put off; what the node refuses to execute fails: it was never bound.
    pub(super) async fn direct_rides(
        &self,
        chain: &SignerChain,
        rooms: &mut [Room],
        records: Vec<WithdrawalRecord>,
        fees: Fees,
    ) -> Result<Going, EngineError> {
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
        let lacks_funds = !waiting.is_empty() && rooms.iter().any(|room| room.slots > 0);
        if lacks_funds {
            self.wait_for_funds(chain, &waiting).await?;
        }
        let ids: Vec<WithdrawalId> = chosen.iter().map(|(record, ..)| record.id).collect();
        let dry = self.store.out_of_gas_rides(&ids).await?;
        let questions: Vec<Question> = chosen
            .iter()
            .map(|(record, sender, payload)| Question {
                token: record.token,
                call: CallRequest::of_payload(*sender, payload),
                is_dry: dry.contains_key(&record.id),
            })
            .collect();
        let estimates = Self::transfer_gas(chain, &questions).await;
        let gas_max = chain.spec().transaction_gas_max;
        let mut rides = Vec::with_capacity(chosen.len());
        let mut unknown = Vec::new();
        for ((record, sender, payload), estimate) in chosen.into_iter().zip(estimates) {
            match estimate {
                Ok(gas) => {
                    let earlier = dry.get(&record.id).copied().unwrap_or(0);
                    let gas_limit = gas_after_rides(with_headroom(gas), earlier, gas_max);
                    let (purpose, rail) = (Purpose::Pay, Rail::Direct);
                    rides.push(Ride {
                        sender,
                        purpose,
                        rail,
                        records: vec![record],
                        payload,
                        gas_limit,
                        gas_estimated: Some(gas),
                        access_list: Vec::new(),
                        why: None,
                    });
                }
                Err(error) => unknown.extend(self.refused_by_node(record.id, error).await?),
            }
        }
        self.defer(&unknown, DEFER_MS, "waiting: no node gives a gas estimate").await?;
        Ok(Going { rides, lacks_funds, lingers_ms: None })
    }

    /// What the node would not execute fails: it was never bound. Of what is not known it gives the id back.
    async fn refused_by_node(
        &self,
        id: WithdrawalId,
        error: EstimateError,
    ) -> Result<Option<WithdrawalId>, EngineError> {
        match error {
            EstimateError::Reverted { reason, .. } => {
                let detail = reason.unwrap_or_else(|| "without a reason".into());
                self.store.fail_preflight(&[id], &format!("reverts: {detail}")).await?;
                Ok(None)
            }
            EstimateError::OutOfGas(words) => {
                let error = LetterError {
                    class: ErrorClass::OutOfGas,
                    code: Some("estimate".to_owned()),
                    message: words,
                    details: None,
                };
                fail_request(&self.store, &self.around, id, error, DEFER_MS).await?;
                Ok(None)
            }
            error @ (EstimateError::InsufficientFunds | EstimateError::Read(_)) => {
                tracing::warn!(withdrawal = %id, %error, "no gas estimate; put off");
                Ok(Some(id))
            }
        }
    }

    async fn wait_for_funds(
        &self,
        chain: &SignerChain,
        waiting: &[WithdrawalId],
    ) -> Result<(), EngineError> {
        let network = chain.spec().network;
        tracing::warn!(
            network,
            payments = waiting.len(),
            "no sender has the funds; waiting for a top-up"
        );
        metrics::counter!("portcullis_funds_waits_total", "network" => network).increment(1);
        let pause_ms = self.funds_pause_ms(chain).await?;
        self.defer(waiting, pause_ms, "waiting: no hot wallet has the funds").await
    }
}

/// What each sender can take on, by its balances on chain less all that it has promised.
pub(super) fn rooms(
    loads: &[SenderLoad],
    in_flight_max: u64,
    means: &Means,
    tokens: &[Option<Address>],
) -> Vec<Room> {
    let left = |balance: Amount, promised| balance.checked_sub(promised).unwrap_or_default();
    let room = |load: &SenderLoad| {
        let promised = |token| load.promised.get(&token).copied().unwrap_or_default();
        let native = left(means.held(load.address, None), promised(None));
        let mut funds = BTreeMap::from([(None, left(native, load.gas_promised))]);
        for token in tokens.iter().filter(|token| token.is_some()) {
            funds.insert(*token, left(means.held(load.address, *token), promised(*token)));
        }
        let slots = in_flight_max.saturating_sub(load.in_flight);
        Room { address: load.address, slots, funds }
    };
    loads.iter().map(room).collect()
}
