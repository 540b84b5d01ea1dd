//! What payments take in gas, for the metrics: what a node said before, and what the chain took.

use portcullis_core::chain::ChainSpec;

/// Counts a transaction's gas, shared evenly among its payments. `when` is `estimated` or `used`.
pub(crate) fn count_gas(chain_id: u64, when: &'static str, gas: u64, payments: usize) {
    let Some(chain) = ChainSpec::by_id(chain_id).filter(|_| payments > 0) else { return };
    let each = u32::try_from(gas.div_ceil(payments as u64)).unwrap_or(u32::MAX);
    metrics::histogram!("portcullis_gas_per_payment", "network" => chain.network, "when" => when)
        .record(f64::from(each));
}
