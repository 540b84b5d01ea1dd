//! What fees were and may be.

use alloy_consensus::Transaction as _;
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{U64, U256};
use alloy_rpc_types_eth::FeeHistory;
use serde_json::Value;

use super::{Answer, View, failure, json, optional, required, server_error};
use crate::node::StoredBlock;

/// The longest history that geth gives (`eth/gasprice`, `maxHeaderHistory`).
const HISTORY_MAX: u64 = 1_024;

pub(super) fn gas_price(view: View<'_>) -> Answer {
    let tip_wei = view.chain().config.suggested_tip_wei;
    let base_fee_wei = view.block(view.head).map_or(0, base_fee_wei);
    json(&U256::from(u128::from(base_fee_wei).saturating_add(tip_wei)))
}

pub(super) fn history(view: View<'_>, params: &Value) -> Answer {
    let count: U64 = required(params, 0)?;
    let newest = view.number(required::<BlockNumberOrTag>(params, 1)?)?;
    let percentiles: Vec<f64> = optional(params, 2)?.unwrap_or_default();
    let rising = percentiles.windows(2).all(|pair| pair.first() <= pair.last());
    if !rising || percentiles.iter().any(|percent| !(0.0..=100.0).contains(percent)) {
        return Err(failure(-32602, "invalid reward percentile"));
    }
    if newest > view.head {
        return Err(server_error(format!(
            "request beyond head block: requested {newest}, head {}",
            view.head
        )));
    }
    let count = count.to::<u64>().clamp(1, HISTORY_MAX);
    let oldest = (newest + 1).saturating_sub(count);
    let blocks: Vec<_> = (oldest..=newest).filter_map(|number| view.block(number)).collect();
    let mut base_fees: Vec<u128> =
        blocks.iter().map(|block| u128::from(base_fee_wei(block))).collect();
    // One more than there are blocks: the fee of the next one follows from the last.
    let next = view.block(newest + 1).map_or(view.chain().next_base_fee_wei, base_fee_wei);
    base_fees.push(u128::from(next));
    json(&FeeHistory {
        base_fee_per_gas: base_fees,
        gas_used_ratio: blocks
            .iter()
            .map(|block| {
                let header = &block.header.inner;
                share(header.gas_used, header.gas_limit)
            })
            .collect(),
        oldest_block: oldest,
        reward: (!percentiles.is_empty())
            .then(|| blocks.iter().map(|block| rewards(block, &percentiles)).collect()),
        ..FeeHistory::default()
    })
}

fn base_fee_wei(block: &StoredBlock) -> u64 {
    block.header.inner.base_fee_per_gas.unwrap_or(0)
}

/// The tips at each percentile of the block's gas.
fn rewards(block: &StoredBlock, percentiles: &[f64]) -> Vec<u128> {
    let base_fee_wei = base_fee_wei(block);
    let mut tips: Vec<(u128, u64)> = block
        .transactions
        .iter()
        .map(|mined| {
            let tip_wei = mined.transaction.envelope.effective_tip_per_gas(base_fee_wei);
            (tip_wei.unwrap_or(0), mined.receipt.gas_used)
        })
        .collect();
    tips.sort_unstable();
    let reward = |percent: &f64| {
        let mut below = 0;
        let reached = tips.iter().find(|(_, gas)| {
            below += gas;
            share(below, block.header.inner.gas_used) * 100.0 >= *percent
        });
        reached.or(tips.last()).map_or(0, |(tip_wei, _)| *tip_wei)
    };
    percentiles.iter().map(reward).collect()
}

/// A part of a whole, to six places. The API asks for floating point here; no money depends on it.
fn share(part: u64, whole: u64) -> f64 {
    let millionths = u128::from(part) * 1_000_000 / u128::from(whole.max(1));
    f64::from(u32::try_from(millionths).unwrap_or(u32::MAX)) / 1_000_000.0
}
