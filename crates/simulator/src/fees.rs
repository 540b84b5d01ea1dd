//! The base fee: it rises and falls with a demand that is drawn from the seed.

use portcullis_testkit::SeededEntropy;

const GWEI: u64 = 1_000_000_000;

/// Where it starts, and where it goes when the trouble is over.
pub(crate) const CALM_WEI: u64 = 30 * GWEI;

/// The base fee of the next block. A simulated block stands for several: bor moves by 5 % a block, this by
/// up to 60 %.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FeeWalk {
    base_fee_wei: u64,
    target_wei: u64,
    blocks_left: u64,
}

impl FeeWalk {
    pub(crate) const fn new() -> Self {
        Self { base_fee_wei: CALM_WEI, target_wei: CALM_WEI, blocks_left: 0 }
    }

    /// Moves on by one block. `spikes` says whether it may go above `cap_wei`.
    pub(crate) fn advance(
        &mut self,
        entropy: &mut SeededEntropy,
        cap_wei: u64,
        spikes: bool,
    ) -> u64 {
        if self.blocks_left == 0 {
            (self.target_wei, self.blocks_left) = match entropy.below(8) {
                0..=1 if spikes => (cap_wei.saturating_add(entropy.below(cap_wei)), 13),
                0..=3 => ((200 + entropy.below(1_800)) * GWEI, 8),
                _ => ((15 + entropy.below(100)) * GWEI, 4 + entropy.below(12)),
            };
        }
        self.blocks_left = self.blocks_left.saturating_sub(1);
        self.approach()
    }

    /// Moves on by one block towards the calm.
    pub(crate) fn calm(&mut self) -> u64 {
        (self.target_wei, self.blocks_left) = (CALM_WEI, 0);
        self.approach()
    }

    fn approach(&mut self) -> u64 {
        let now = self.base_fee_wei;
        self.base_fee_wei = if now < self.target_wei {
            now.saturating_mul(2).min(self.target_wei)
        } else {
            now.div_euclid(2).max(self.target_wei)
        };
        self.base_fee_wei
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_above_the_cap_only_where_it_may_and_comes_back() {
        let cap = 5_000 * GWEI;
        for (spikes, seed) in [(true, 1), (false, 1)] {
            let (mut walk, mut entropy) = (FeeWalk::new(), SeededEntropy::new(seed));
            let fees: Vec<u64> =
                (0..2_000).map(|_| walk.advance(&mut entropy, cap, spikes)).collect();
            assert_eq!(fees.iter().any(|fee| *fee > cap), spikes);
            assert!(fees.iter().any(|fee| *fee < CALM_WEI));
            assert!(fees.windows(2).any(|pair| pair[0] > pair[1]));
            let calm: Vec<u64> = (0..20).map(|_| walk.calm()).collect();
            assert_eq!(calm.last(), Some(&CALM_WEI));
        }
    }
}
