//! Entropy from a seed. Predictable on purpose: never for a secret.

/// The `SplitMix64` generator (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators",
/// 2014). The same seed gives the same numbers on every machine and in every release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeededEntropy {
    state: u64,
}

impl SeededEntropy {
    /// The generator of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next 128 bits, as identifiers take them.
    pub fn next_u128(&mut self) -> u128 {
        (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64())
    }

    /// A number below `bound`; 0 where `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product: Lemire's method without its rejection step, whose bias (below
        // 2^-32 for every bound that a test uses) is of no interest here.
        let product = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// True in `times` of `out_of` cases.
    pub fn chance(&mut self, times: u64, out_of: u64) -> bool {
        self.below(out_of) < times
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            for (byte, random) in chunk.iter_mut().zip(word) {
                *byte = random;
            }
        }
    }

    /// A generator of its own for a part of the test, so that more draws in one part do not move another.
    #[must_use]
    pub fn split(&mut self) -> Self {
        Self::new(self.next_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_reference() {
        // The first outputs of the authors' C implementation for the seed 1234567.
        let mut entropy = SeededEntropy::new(1_234_567);
        let numbers: Vec<u64> = (0..3).map(|_| entropy.next_u64()).collect();
        assert_eq!(
            numbers,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn bounds_hold_and_chances_are_taken() {
        let mut entropy = SeededEntropy::new(1);
        assert!((0..1_000).all(|_| entropy.below(3) < 3));
        let taken = (0..10_000).filter(|_| entropy.chance(1, 4)).count();
        assert!((2_300..2_700).contains(&taken), "{taken}");
        let mut bytes = [0; 13];
        entropy.fill(&mut bytes);
        assert!(bytes.iter().any(|byte| *byte != 0));
    }
}
