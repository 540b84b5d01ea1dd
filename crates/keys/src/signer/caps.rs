//! The signer's own limits: whatever the database says, no transaction goes beyond them.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use portcullis_core::access_list::list_gas;
use portcullis_core::amount::Amount;
use portcullis_core::intent::SigningIntent;

use super::refusal::SigningRefusal;

/// The limits of one chain, per transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainCaps {
    /// The chain.
    pub chain_id: u64,
    /// The highest `maxFeePerGas`.
    pub max_fee_per_gas_wei: u128,
    /// The most that gas may cost in all: `maxFeePerGas` × gas limit.
    pub transaction_fee_wei_max: u128,
    /// The highest gas limit.
    pub gas_limit_max: u64,
    /// The vault of this chain; `None` where payments are plain transfers. The signer takes it from its own
    /// configuration, never from the database.
    pub vault: Option<Address>,
    /// The largest payment of each token, `None` being the native coin. A token that is not listed is refused.
    pub amount_max: BTreeMap<Option<Address>, Amount>,
}

impl ChainCaps {
    /// Whether the intent's price is within the limits.
    pub(super) fn check_fees(&self, intent: &SigningIntent) -> Result<(), SigningRefusal> {
        let (fees, slot) = (intent.fees, intent.slot);
        if fees.max_priority_fee_per_gas_wei > fees.max_fee_per_gas_wei {
            return Err(SigningRefusal::TipAboveFee {
                slot,
                tip_wei: fees.max_priority_fee_per_gas_wei,
                fee_wei: fees.max_fee_per_gas_wei,
            });
        }
        if fees.max_fee_per_gas_wei > self.max_fee_per_gas_wei {
            return Err(SigningRefusal::FeePerGasAboveCap {
                slot,
                asked_wei: fees.max_fee_per_gas_wei,
                cap_wei: self.max_fee_per_gas_wei,
            });
        }
        if intent.gas_limit > self.gas_limit_max {
            return Err(SigningRefusal::GasLimitAboveCap {
                slot,
                asked: intent.gas_limit,
                cap: self.gas_limit_max,
            });
        }
        // What is listed is paid before anything runs: the call needs the other half.
        let list_gas = list_gas(&intent.access_list);
        if list_gas > intent.gas_limit / 2 {
            let gas_limit = intent.gas_limit;
            return Err(SigningRefusal::AccessListTooLong { slot, list_gas, gas_limit });
        }
        // A product beyond 128 bits is beyond every cap.
        let fee_wei = fees.max_fee_per_gas_wei.saturating_mul(u128::from(intent.gas_limit));
        if fee_wei > self.transaction_fee_wei_max {
            return Err(SigningRefusal::TransactionFeeAboveCap {
                slot,
                asked_wei: fee_wei,
                cap_wei: self.transaction_fee_wei_max,
            });
        }
        Ok(())
    }

    /// Whether the intent's payments are within the limits.
    pub(super) fn check_amounts(&self, intent: &SigningIntent) -> Result<(), SigningRefusal> {
        for payment in &intent.payments {
            let cap = self.amount_max.get(&payment.token).copied().ok_or(
                SigningRefusal::TokenNotListed {
                    withdrawal: payment.withdrawal,
                    chain_id: self.chain_id,
                    token: payment.token,
                },
            )?;
            if payment.amount > cap {
                return Err(SigningRefusal::AmountAboveCap {
                    withdrawal: payment.withdrawal,
                    asked: payment.amount,
                    cap,
                });
            }
        }
        Ok(())
    }
}
