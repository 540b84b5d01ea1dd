//! Amounts between their decimal and their atomic form, written anew here: the judge of the engine
//! does not compute with the engine's own code.

use alloy_primitives::U256;
use anyhow::{Context, Result, ensure};

/// Reads a plain decimal number: `"12.5"` with 6 decimals is 12,500,000 units.
///
/// # Errors
/// It is not one, has more places than `decimals`, or does not fit in 256 bits.
pub fn parse_units(text: &str, decimals: u8) -> Result<U256> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    ensure!(
        !whole.is_empty() && is_number(whole) && is_number(fraction) && !text.ends_with('.'),
        "{text:?} is not a plain decimal number"
    );
    let places = usize::from(decimals);
    ensure!(fraction.len() <= places, "{text} has more than {decimals} decimal places");
    let digits = format!("{whole}{fraction:0<places$}");
    U256::from_str_radix(&digits, 10)
        .ok()
        .with_context(|| format!("{text} does not fit in 256 bits with {decimals} decimals"))
}

/// Writes units as a decimal number without trailing zeros: 12,500,000 with 6 decimals is `12.5`.
#[must_use]
pub fn format_units(units: U256, decimals: u8) -> String {
    let places = usize::from(decimals);
    let digits = format!("{units:0>width$}", width = places.saturating_add(1));
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(places));
    match fraction.trim_end_matches('0') {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_and_written_exactly() {
        for (text, decimals, units) in [
            ("12.5", 6, 12_500_000_u64),
            ("0.00000000004", 18, 40_000_000),
            ("7", 0, 7),
            ("0.1", 1, 1),
            ("3", 6, 3_000_000),
        ] {
            assert_eq!(parse_units(text, decimals).unwrap(), U256::from(units), "{text}");
            assert_eq!(format_units(U256::from(units), decimals), text);
        }
        assert_eq!(parse_units("1.50", 2).unwrap(), U256::from(150));
        assert_eq!(format_units(U256::ZERO, 18), "0");
    }

    #[test]
    fn what_is_not_exact_is_refused() {
        let above = format!("1{}", "0".repeat(78));
        for text in ["", ".", "1.", ".5", "-1", "1e3", "1.1234567", "1,000", " 1", &above] {
            assert!(parse_units(text, 6).is_err(), "{text:?}");
        }
    }
}
