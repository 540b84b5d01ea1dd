//! Money is integers: atomic units of an asset, 256 bits. Decimals exist only at the edge.

use std::fmt;

use alloy_primitives::U256;
use thiserror::Error;

/// An amount of one asset in its atomic units (the token's smallest unit, or wei).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(U256);

/// Why a decimal string is not an amount of the asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AmountError {
    /// Not `digits` or `digits.digits`: empty, signed, exponent-formed, grouped, padded with zeros.
    #[error(
        "must be a plain decimal number such as \"12.5\": digits, at most one point, no sign, exponent or separator"
    )]
    Malformed,
    /// More digits behind the point than the asset has.
    #[error("has more than {decimals} decimal places, the precision of this asset")]
    TooPrecise {
        /// Decimal places that the asset has.
        decimals: u8,
    },
    /// At or above 2^256 atomic units.
    #[error("does not fit in 256 bits")]
    TooLarge,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(U256::ZERO);

    /// From atomic units.
    #[must_use]
    pub const fn from_atomic(units: U256) -> Self {
        Self(units)
    }

    /// The atomic units.
    #[must_use]
    pub const fn atomic(self) -> U256 {
        self.0
    }

    /// Whether it is nothing.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// Parses a decimal string in token units.
    ///
    /// # Errors
    /// Refuses rather than rounds: see [`AmountError`].
    pub fn parse_decimal(text: &str, decimals: u8) -> Result<Self, AmountError> {
        let (whole, fraction) = match text.split_once('.') {
            Some((_, "")) => return Err(AmountError::Malformed),
            Some(parts) => parts,
            None => (text, ""),
        };
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let padded = whole.len() > 1 && whole.starts_with('0');
        if whole.is_empty() || padded || !all_digits(whole) || !all_digits(fraction) {
            return Err(AmountError::Malformed);
        }
        if fraction.len() > usize::from(decimals) {
            return Err(AmountError::TooPrecise { decimals });
        }
        let width = usize::from(decimals);
        Self::parse_atomic(&format!("{whole}{fraction:0<width$}"))
    }

    /// Parses a string of atomic units, as the store keeps them.
    ///
    /// # Errors
    /// [`AmountError::Malformed`] or [`AmountError::TooLarge`].
    pub fn parse_atomic(digits: &str) -> Result<Self, AmountError> {
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AmountError::Malformed);
        }
        U256::from_str_radix(digits, 10).map(Self).map_err(|_| AmountError::TooLarge)
    }

    /// The decimal string in token units, without trailing zeros: `12.5`.
    #[must_use]
    pub fn to_decimal(self, decimals: u8) -> String {
        let width = usize::from(decimals).saturating_add(1);
        let digits = format!("{:0>width$}", self.0.to_string());
        let (whole, fraction) = digits.split_at(digits.len().saturating_sub(usize::from(decimals)));
        match fraction.trim_end_matches('0') {
            "" => whole.to_owned(),
            fraction => format!("{whole}.{fraction}"),
        }
    }

    /// The sum, or `None` above 256 bits.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or `None` below zero.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The product with a count, or `None` above 256 bits.
    #[must_use]
    pub fn checked_mul(self, factor: u64) -> Option<Self> {
        self.0.checked_mul(U256::from(factor)).map(Self)
    }
}

/// Atomic units in decimal digits.
impl fmt::Display for Amount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn atomic(units: u64) -> Amount {
        Amount::from_atomic(U256::from(units))
    }

    #[test]
    fn decimal_strings_are_read_to_the_last_digit() {
        for (text, decimals, units) in [
            ("0", 6, 0),
            ("1", 6, 1_000_000),
            ("0.000001", 6, 1),
            ("12.5", 6, 12_500_000),
            ("12.500000", 6, 12_500_000),
            ("7", 0, 7),
            ("0.00000000004", 18, 40_000_000),
        ] {
            assert_eq!(Amount::parse_decimal(text, decimals), Ok(atomic(units)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "", ".", ".5", "5.", "-1", "+1", "1e6", "1E6", "0x10", "1,000", " 1", "1 ", "01", "00",
            "1.2.3", "NaN", "inf", "١", "1_000",
        ] {
            assert_eq!(Amount::parse_decimal(text, 6), Err(AmountError::Malformed), "{text:?}");
        }
        assert_eq!(
            Amount::parse_decimal("0.0000001", 6),
            Err(AmountError::TooPrecise { decimals: 6 })
        );
        let above = format!("{}0", U256::MAX);
        assert_eq!(Amount::parse_decimal(&above, 0), Err(AmountError::TooLarge));
        assert_eq!(Amount::parse_decimal(&U256::MAX.to_string(), 1), Err(AmountError::TooLarge));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(limbs: [u64; 4], decimals in 0_u8..=30) {
            let amount = Amount::from_atomic(U256::from_limbs(limbs));
            let text = amount.to_decimal(decimals);
            prop_assert_eq!(Amount::parse_decimal(&text, decimals), Ok(amount));
            prop_assert_eq!(Amount::parse_atomic(&amount.to_string()), Ok(amount));
        }

        #[test]
        fn no_string_panics(text in ".{0,90}", decimals: u8) {
            let _outcome = Amount::parse_decimal(&text, decimals);
        }
    }
}
