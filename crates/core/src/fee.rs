//! EIP-1559 fees: the first price, and the price of a replacement. Integers only, always below a hard cap.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a transaction may cost per unit of gas, in wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fees {
    /// `maxFeePerGas`.
    pub max_fee_per_gas_wei: u128,
    /// `maxPriorityFeePerGas`.
    pub max_priority_fee_per_gas_wei: u128,
}

/// The bounds of a chain's fees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeeBounds {
    /// The least tip that the chain's nodes take. Polygon: 25 gwei (PIP-35).
    pub tip_wei_min: u128,
    /// `maxFeePerGas` is never above this, whatever the chain asks.
    pub max_fee_per_gas_wei_cap: u128,
}

/// What the chain asks for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeeMarket {
    /// The base fee of the newest head.
    pub base_fee_wei: u128,
    /// A tip that gets into the next blocks.
    pub tip_wei: u128,
}

/// The chain asks for more than the hard cap allows. The payment waits; it does not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "needs a fee of {needed_wei} wei per gas, above the hard cap of {cap_wei} wei: wait, or raise the cap"
)]
pub struct AboveFeeCap {
    /// What it would take.
    pub needed_wei: u128,
    /// The cap.
    pub cap_wei: u128,
}

/// The first price: twice the base fee, so that it survives many full blocks
/// (on Polygon, at ±5 % a block since PIP-79, at least 14), plus the tip.
///
/// # Errors
/// [`AboveFeeCap`] when not even one base fee and the tip fit under the cap. Between one and two
/// base fees the cap itself is the price.
pub fn first_fees(market: FeeMarket, bounds: FeeBounds) -> Result<Fees, AboveFeeCap> {
    let tip = market.tip_wei.max(bounds.tip_wei_min);
    let needed_wei = market.base_fee_wei.saturating_add(tip);
    if needed_wei > bounds.max_fee_per_gas_wei_cap {
        return Err(AboveFeeCap { needed_wei, cap_wei: bounds.max_fee_per_gas_wei_cap });
    }
    let wished = market.base_fee_wei.saturating_mul(2).saturating_add(tip);
    Ok(Fees {
        max_fee_per_gas_wei: wished.min(bounds.max_fee_per_gas_wei_cap),
        max_priority_fee_per_gas_wei: tip,
    })
}

/// The price of a replacement: at least 12.5 % above the slot's highest attempt on both fields, and
/// at least what the chain asks for now. Pools want 10 % on both (geth, bor and reth `PriceBump`).
///
/// # Errors
/// [`AboveFeeCap`] when 12.5 % more do not fit under the cap: the slot waits at its price.
pub fn replacement_fees(
    highest: Fees,
    market: FeeMarket,
    bounds: FeeBounds,
) -> Result<Fees, AboveFeeCap> {
    let tip = one_eighth_more(highest.max_priority_fee_per_gas_wei)
        .max(market.tip_wei)
        .max(bounds.tip_wei_min);
    let bumped = one_eighth_more(highest.max_fee_per_gas_wei).max(tip);
    if bumped > bounds.max_fee_per_gas_wei_cap {
        return Err(AboveFeeCap { needed_wei: bumped, cap_wei: bounds.max_fee_per_gas_wei_cap });
    }
    let wished = market.base_fee_wei.saturating_mul(2).saturating_add(tip);
    Ok(Fees {
        max_fee_per_gas_wei: wished.min(bounds.max_fee_per_gas_wei_cap).max(bumped),
        max_priority_fee_per_gas_wei: tip,
    })
}

/// 12.5 % more, rounded up, and never the same.
fn one_eighth_more(wei: u128) -> u128 {
    wei.saturating_add(wei.div_ceil(8)).max(wei.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GWEI: u128 = 1_000_000_000;
    const BOUNDS: FeeBounds =
        FeeBounds { tip_wei_min: 25 * GWEI, max_fee_per_gas_wei_cap: 1_000 * GWEI };

    fn market(base_fee: u128, tip: u128) -> FeeMarket {
        FeeMarket { base_fee_wei: base_fee * GWEI, tip_wei: tip * GWEI }
    }

    fn fees(max_fee: u128, tip: u128) -> Fees {
        Fees { max_fee_per_gas_wei: max_fee * GWEI, max_priority_fee_per_gas_wei: tip * GWEI }
    }

    #[test]
    fn the_first_price_is_two_base_fees_and_the_tip() {
        assert_eq!(first_fees(market(100, 30), BOUNDS), Ok(fees(230, 30)));
        assert_eq!(first_fees(market(100, 1), BOUNDS), Ok(fees(225, 25)), "the chain's least tip");
        assert_eq!(first_fees(market(900, 30), BOUNDS), Ok(fees(1_000, 30)), "the cap");
        let above = AboveFeeCap { needed_wei: 1_001 * GWEI, cap_wei: 1_000 * GWEI };
        assert_eq!(first_fees(market(976, 25), BOUNDS), Err(above));
    }

    #[test]
    fn a_replacement_waits_at_the_cap() {
        assert_eq!(replacement_fees(fees(800, 40), market(10, 25), BOUNDS), Ok(fees(900, 45)));
        let above = AboveFeeCap { needed_wei: 1_012_500_000_000, cap_wei: 1_000 * GWEI };
        assert_eq!(replacement_fees(fees(900, 40), market(10, 25), BOUNDS), Err(above));
    }

    proptest! {
        #[test]
        fn a_replacement_always_satisfies_the_pools(
            base in 0_u64.., tip in 0_u64.., paid_base in 0_u64.., paid_tip in 0_u64..,
        ) {
            let bounds = FeeBounds { max_fee_per_gas_wei_cap: u128::MAX / 4, ..BOUNDS };
            let market = FeeMarket { base_fee_wei: base.into(), tip_wei: tip.into() };
            let paid = FeeMarket { base_fee_wei: paid_base.into(), tip_wei: paid_tip.into() };
            let before = first_fees(paid, bounds).expect("below this cap");
            let after = replacement_fees(before, market, bounds).expect("below this cap");
            let enough = |old: u128, new: u128| new * 8 >= old * 9 && new > old;
            prop_assert!(enough(before.max_fee_per_gas_wei, after.max_fee_per_gas_wei));
            prop_assert!(enough(
                before.max_priority_fee_per_gas_wei,
                after.max_priority_fee_per_gas_wei
            ));
            prop_assert!(after.max_fee_per_gas_wei >= after.max_priority_fee_per_gas_wei);
            prop_assert!(after.max_fee_per_gas_wei >= market.base_fee_wei);
        }

        #[test]
        fn no_price_is_above_the_cap(base in 0_u128.., tip in 0_u128.., cap in 0_u128..) {
            let bounds = FeeBounds { max_fee_per_gas_wei_cap: cap, ..BOUNDS };
            let market = FeeMarket { base_fee_wei: base, tip_wei: tip };
            if let Ok(first) = first_fees(market, bounds) {
                prop_assert!(first.max_fee_per_gas_wei <= cap);
                if let Ok(next) = replacement_fees(first, market, bounds) {
                    prop_assert!(next.max_fee_per_gas_wei <= cap);
                }
            }
        }
    }
}
