//! Whether gas is cheap or dear now, beside what it usually costs.

/// What gas costs now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PriceLevel {
    /// Less than two thirds of the usual.
    Low,
    /// About as always, or nothing is known of before.
    #[default]
    Usual,
    /// More than one and a half times the usual.
    High,
}

/// What gas usually costs: a moving average of base fees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsualPrice {
    wei: Option<u128>,
}

impl UsualPrice {
    /// Learns one more base fee; each moves the average by a sixty-fourth of the way.
    pub fn observe(&mut self, base_fee_wei: u128) {
        self.wei = Some(match self.wei {
            None => base_fee_wei,
            Some(usual) if base_fee_wei >= usual => {
                usual.saturating_add((base_fee_wei - usual).div_ceil(64))
            }
            Some(usual) => usual - (usual - base_fee_wei).div_ceil(64),
        });
    }

    /// How a base fee compares to it.
    #[must_use]
    pub fn level(&self, base_fee_wei: u128) -> PriceLevel {
        let Some(usual) = self.wei else { return PriceLevel::Usual };
        if base_fee_wei.saturating_mul(2) > usual.saturating_mul(3) {
            PriceLevel::High
        } else if base_fee_wei.saturating_mul(3) < usual.saturating_mul(2) {
            PriceLevel::Low
        } else {
            PriceLevel::Usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dear_and_cheap_are_measured_by_what_is_usual() {
        let mut usual = UsualPrice::default();
        assert_eq!(usual.level(u128::MAX), PriceLevel::Usual, "nothing is known");
        usual.observe(90);
        assert_eq!(usual.level(135), PriceLevel::Usual);
        assert_eq!(usual.level(136), PriceLevel::High);
        assert_eq!(usual.level(60), PriceLevel::Usual);
        assert_eq!(usual.level(59), PriceLevel::Low);
    }

    #[test]
    fn a_new_level_becomes_the_usual_one() {
        let mut usual = UsualPrice::default();
        usual.observe(100);
        for _ in 0..1_000 {
            usual.observe(1_000);
        }
        assert_eq!(usual, UsualPrice { wei: Some(1_000) });
        for _ in 0..1_000 {
            usual.observe(7);
        }
        assert_eq!(usual, UsualPrice { wei: Some(7) });
    }
}
