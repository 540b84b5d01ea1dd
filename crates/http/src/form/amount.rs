//! Amounts: each way to be wrong has a code of its own.

use portcullis_core::amount::{Amount, AmountError};
use portcullis_core::asset::Asset;
use serde_json::Value;

use super::fields::{Fields, Problems};
use super::json::kind_of;
use crate::error::ApiCode;

const FIELD: &str = "amount";

/// Takes the amount's text, and refuses what cannot be an amount of any asset.
pub(crate) fn take_amount_text(
    fields: &mut Fields,
    required: bool,
    problems: &mut Problems,
) -> Option<String> {
    let text = match fields.take(FIELD) {
        Some(Value::String(text)) => text,
        Some(Value::Number(_)) => {
            let message = "must be a string such as \"12.5\": a JSON number loses digits";
            problems.add(ApiCode::AmountNotText, FIELD, message);
            return None;
        }
        Some(other) => {
            let message = format!("must be a string such as \"12.5\", not {}", kind_of(&other));
            problems.add(ApiCode::WrongType, FIELD, message);
            return None;
        }
        None if required => {
            problems.add(ApiCode::MissingField, FIELD, "is required");
            return None;
        }
        None => return None,
    };
    match check_form(&text) {
        Ok(()) => Some(text),
        Err((code, message)) => {
            problems.add(code, FIELD, message);
            None
        }
    }
}

fn check_form(text: &str) -> Result<(), (ApiCode, String)> {
    if text.starts_with('-') {
        return Err((ApiCode::AmountNegative, "must be positive".to_owned()));
    }
    let mut characters = text.chars();
    let numeric = text.starts_with(|first: char| first.is_ascii_digit())
        && characters.all(|one| one.is_ascii_digit() || matches!(one, '.' | 'e' | 'E' | '+' | '-'));
    if numeric && text.contains(['e', 'E']) {
        let message = "must be written out, without an exponent".to_owned();
        return Err((ApiCode::AmountExponent, message));
    }
    // Any asset has at most 255 decimals; how many are too many is said where the asset is known.
    let whole = text.split_once('.').map_or(text, |(whole, fraction)| {
        let digits = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
        if digits { whole } else { text }
    });
    match Amount::parse_decimal(whole, 0) {
        Err(error @ AmountError::TooLarge) => Err((ApiCode::AmountTooLarge, error.to_string())),
        Err(_) => Err((ApiCode::AmountMalformed, AmountError::Malformed.to_string())),
        Ok(_) if text.bytes().all(|byte| matches!(byte, b'0' | b'.')) => {
            Err((ApiCode::AmountZero, "must be above zero".to_owned()))
        }
        Ok(_) => Ok(()),
    }
}

/// Reads the amount of a known asset.
pub(crate) fn parse_amount(text: &str, asset: &Asset, problems: &mut Problems) -> Option<Amount> {
    match Amount::parse_decimal(text, asset.decimals) {
        Ok(amount) => Some(amount),
        Err(error) => {
            let code = match error {
                AmountError::Malformed => ApiCode::AmountMalformed,
                AmountError::TooPrecise { .. } => ApiCode::AmountTooPrecise,
                AmountError::TooLarge => ApiCode::AmountTooLarge,
            };
            problems.add(code, FIELD, error.to_string());
            None
        }
    }
}

/// Checks a withdrawal's amount against the asset's bounds.
pub(crate) fn check_bounds(amount: Amount, asset: &Asset, problems: &mut Problems) {
    let decimal = |bound: Amount| bound.to_decimal(asset.decimals);
    if amount < asset.amount_min {
        let least = decimal(asset.amount_min);
        let message = format!("is below the minimum of {least} {}", asset.symbol);
        problems.add(ApiCode::AmountBelowMinimum, FIELD, message);
    } else if amount > asset.amount_max {
        let most = decimal(asset.amount_max);
        let message = format!("is above the maximum of {most} {}", asset.symbol);
        problems.add(ApiCode::AmountAboveMaximum, FIELD, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Option<ApiCode> {
        check_form(text).err().map(|(code, _)| code)
    }

    #[test]
    fn each_form_has_its_code() {
        let above = format!("1{}", "0".repeat(78));
        for (text, expected) in [
            ("12.5", None),
            ("0.000000000000000000000000000001", None),
            ("-1", Some(ApiCode::AmountNegative)),
            ("-0", Some(ApiCode::AmountNegative)),
            ("0", Some(ApiCode::AmountZero)),
            ("0.000", Some(ApiCode::AmountZero)),
            ("1e6", Some(ApiCode::AmountExponent)),
            ("1.5E-3", Some(ApiCode::AmountExponent)),
            ("e6", Some(ApiCode::AmountMalformed)),
            ("", Some(ApiCode::AmountMalformed)),
            (".", Some(ApiCode::AmountMalformed)),
            ("5.", Some(ApiCode::AmountMalformed)),
            ("0.", Some(ApiCode::AmountMalformed)),
            ("1.2.3", Some(ApiCode::AmountMalformed)),
            ("1,000", Some(ApiCode::AmountMalformed)),
            ("01", Some(ApiCode::AmountMalformed)),
            ("+1", Some(ApiCode::AmountMalformed)),
            (" 1", Some(ApiCode::AmountMalformed)),
            ("0x10", Some(ApiCode::AmountMalformed)),
            ("NaN", Some(ApiCode::AmountMalformed)),
            (&above, Some(ApiCode::AmountTooLarge)),
        ] {
            assert_eq!(code(text), expected, "{text:?}");
        }
    }
}
