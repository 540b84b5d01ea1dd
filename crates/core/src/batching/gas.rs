//! What calls of the vault need, learned from what nodes said about earlier ones. It chooses sizes and operators; the
//! gas limit of a call always comes from an estimate of that very call.

/// What every transaction costs before it does anything.
pub(super) const INTRINSIC_GAS: u64 = 21_000;

/// What a payment is thought to need before a node has said anything: a token that reads a lot, to a new holder.
const ITEM_GAS_UNMEASURED: u64 = 60_000;

/// From as many payments on, what an item needs can be told apart from what the call needs.
const SAMPLE_ITEMS_MIN: usize = 5;

/// 20,000 for a fresh storage slot, 2,100 for a cold one, and room for chains that ask more (PIP-88).
const FIRST_TOKEN_GAS: u64 = 30_000;

/// A quarter more than the node estimates, and what a recipient's first token costs more than the
/// next one (a storage slot that becomes non-zero, EIP-2200 and EIP-2929): between estimate and
/// inclusion another payment to the same recipient can come or, by a reorg, go. Unused gas is free.
#[must_use]
pub const fn with_headroom(gas: u64) -> u64 {
    gas.saturating_add(gas / 4).saturating_add(FIRST_TOKEN_GAS)
}

/// What a call needs: a fixed part, and a part for each payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GasModel {
    fixed: u64,
    item: u64,
    /// Whether a call of [`SAMPLE_ITEMS_MIN`] payments was seen.
    is_sampled: bool,
}

impl Default for GasModel {
    fn default() -> Self {
        Self { fixed: INTRINSIC_GAS, item: ITEM_GAS_UNMEASURED, is_sampled: false }
    }
}

impl GasModel {
    /// Learns from what a node said of a call with so many payments.
    pub fn observe(&mut self, items: usize, gas: u64) {
        let count = (items as u64).max(1);
        if items >= SAMPLE_ITEMS_MIN {
            let item = gas.saturating_sub(self.fixed) / count;
            self.item = if self.is_sampled { smoothed(self.item, item) } else { item };
            self.is_sampled = true;
        } else if self.is_sampled {
            let item_max = gas.saturating_sub(INTRINSIC_GAS) / count;
            if item_max < self.item {
                // What made items dear is over, and no larger call may ever say so.
                self.item = smoothed(self.item, item_max);
            }
            let fixed = gas.saturating_sub(self.item.saturating_mul(count)).max(INTRINSIC_GAS);
            self.fixed = smoothed(self.fixed, fixed);
        } else {
            self.item = gas.saturating_sub(INTRINSIC_GAS) / count;
        }
    }

    /// The gas limit that a call of so many payments will probably be given.
    #[must_use]
    pub const fn gas_limit(&self, items: usize) -> u64 {
        with_headroom(self.fixed.saturating_add(self.item.saturating_mul(items as u64)))
    }

    /// The most payments, up to `items_max`, whose gas limit is probably no higher than `gas_max`.
    #[must_use]
    pub fn items_within(&self, gas_max: u64, items_max: usize) -> usize {
        let (mut fits, mut above) = (0, items_max.saturating_add(1));
        while above - fits > 1 {
            let middle = fits + (above - fits) / 2;
            if self.gas_limit(middle) <= gas_max {
                fits = middle;
            } else {
                above = middle;
            }
        }
        fits
    }
}

/// Gas as it is learned: it rises at once, and falls by a quarter of the way. A call that does not fit has to be asked about
/// twice, one that is too small only costs a little more.
#[must_use]
pub const fn smoothed(before: u64, seen: u64) -> u64 {
    if seen >= before { seen } else { before - (before - seen).div_ceil(4) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_item_needs_is_told_apart_from_what_a_call_needs() {
        let mut model = GasModel::default();
        model.observe(1, 73_200);
        assert_eq!(model.item, 52_200, "all that one payment needs, until more is known");
        model.observe(50, 50 * 15_000 + 21_000);
        assert_eq!((model.fixed, model.item), (21_000, 15_000));
        model.observe(1, 73_200);
        assert_eq!((model.fixed, model.item), (58_200, 15_000));
        assert_eq!(model.gas_limit(50), with_headroom(58_200 + 750_000));
    }

    #[test]
    fn it_rises_at_once_and_falls_slowly() {
        let mut model = GasModel::default();
        model.observe(10, 21_000 + 10 * 10_000);
        model.observe(10, 21_000 + 10 * 30_000);
        assert_eq!(model.item, 30_000);
        model.observe(10, 21_000 + 10 * 10_000);
        assert_eq!(model.item, 25_000);
        for _ in 0..100 {
            model.observe(10, 21_000 + 10 * 10_000);
        }
        assert_eq!(model.item, 10_000);
    }

    #[test]
    fn one_cheap_payment_says_that_items_are_cheap_again() {
        let mut model = GasModel::default();
        model.observe(10, 21_000 + 10 * 1_000_000);
        for _ in 0..100 {
            model.observe(1, 73_200);
        }
        assert_eq!(model.item, 52_200);
    }

    #[test]
    fn sizes_follow_from_the_gas() {
        let model = GasModel { fixed: 21_000, item: 10_000, is_sampled: true };
        for gas_max in [0, 68_749, 68_750, 500_000, 5_000_000, u64::MAX] {
            let fits = model.items_within(gas_max, 50);
            assert!(fits == 0 || model.gas_limit(fits) <= gas_max);
            assert!(fits == 50 || model.gas_limit(fits + 1) > gas_max);
        }
        assert_eq!(model.items_within(68_750, 50), 1);
    }
}
