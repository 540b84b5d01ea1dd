//! Metadata: a small JSON object of the client's, kept in one canonical form.

use serde_json::Value;

use super::fields::{Fields, Problems};
use super::json::kind_of;
use crate::error::ApiCode;

const FIELD: &str = "metadata";

/// Takes the metadata and writes it compactly with sorted names, so that the order and the spaces
/// of a retry do not make it another request.
pub(crate) fn take_metadata(
    fields: &mut Fields,
    bytes_max: usize,
    problems: &mut Problems,
) -> Option<String> {
    let value = fields.take(FIELD)?;
    if !value.is_object() {
        let message = format!("must be an object, not {}", kind_of(&value));
        problems.add(ApiCode::InvalidMetadata, FIELD, message);
        return None;
    }
    if loses_digits(&value) {
        let message = "has a number that loses digits: write it as a string";
        problems.add(ApiCode::InvalidMetadata, FIELD, message);
        return None;
    }
    let mut text = String::new();
    write_canonical(&value, &mut text);
    if text.len() > bytes_max {
        let message = format!("takes {} bytes, at most {bytes_max} are kept", text.len());
        problems.add(ApiCode::MetadataTooLarge, FIELD, message);
        return None;
    }
    Some(text)
}

/// A whole number beyond 64 bits has become a float by now, and its last digits are gone.
fn loses_digits(value: &Value) -> bool {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => {
            !number.is_i64()
                && !number.is_u64()
                && number.as_f64().is_none_or(|float| float.abs() >= EXACT_MAX)
        }
        Value::Array(items) => items.iter().any(loses_digits),
        Value::Object(object) => object.values().any(loses_digits),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

/// The parser bounds the depth of what comes here.
fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_by_key(|(name, _)| *name);
            text.push('{');
            for (index, (name, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&Value::String(name.clone()).to_string());
                text.push(':');
                write_canonical(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        plain => text.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn take(metadata: &Value) -> (Option<String>, bool) {
        let mut problems = Problems::default();
        let Value::Object(object) = json!({ "metadata": metadata }) else { return (None, false) };
        let text = take_metadata(&mut Fields::new(object), 64, &mut problems);
        (text, problems.is_empty())
    }

    #[test]
    fn the_order_of_names_does_not_matter() {
        let text = Some(r#"{"a":[1,{"c":null,"d":"é"}],"b":0.5}"#.to_owned());
        assert_eq!(take(&json!({"b": 0.5, "a": [1, {"d": "é", "c": null}]})), (text, true));
        assert_eq!(take(&Value::Null), (None, true));
        assert_eq!(take(&json!({})), (Some("{}".to_owned()), true));
    }

    #[test]
    fn what_cannot_be_kept_as_it_is_is_refused() {
        for bad in [json!([]), json!("x"), json!({"n": 1e30}), json!({"s": "x".repeat(64)})] {
            assert_eq!(take(&bad), (None, false), "{bad}");
        }
        assert!(take(&json!({ "n": u64::MAX })).1);
    }
}
