//! Bodies: read whole within a limit, declared as JSON, one document, no field twice.

use std::fmt;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::error::{ApiCode, ApiError};

/// Reads a JSON object of at most `bytes_max` bytes.
///
/// # Errors
/// `UNSUPPORTED_MEDIA_TYPE`, `BODY_TOO_LARGE`, `MALFORMED_REQUEST`, `MALFORMED_JSON`,
/// `DUPLICATE_FIELD`, and `WRONG_TYPE` for a document that is no object.
pub(crate) async fn read_object(
    mut request: Request,
    bytes_max: usize,
) -> Result<Map<String, Value>, ApiError> {
    check_content_type(request.headers())?;
    let declared = request.headers().get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > bytes_max) {
        return Err(too_large(bytes_max));
    }
    DefaultBodyLimit::max(bytes_max).apply(&mut request);
    let bytes = Bytes::from_request(request, &()).await.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            too_large(bytes_max)
        } else {
            ApiError::new(ApiCode::MalformedRequest)
        }
    })?;
    match parse(&bytes)? {
        Value::Object(object) => Ok(object),
        other => Err(ApiError::with_message(
            ApiCode::WrongType,
            format!("the body must be a JSON object, not {}", kind_of(&other)),
        )),
    }
}

fn too_large(bytes_max: usize) -> ApiError {
    let message = format!("the body is larger than the {bytes_max} bytes that this endpoint reads");
    ApiError::with_message(ApiCode::BodyTooLarge, message)
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = declared.and_then(|value| value.split(';').next()).map(str::trim);
    match media_type {
        Some(media_type) if media_type.eq_ignore_ascii_case("application/json") => Ok(()),
        _ => Err(ApiError::new(ApiCode::UnsupportedMediaType)),
    }
}

/// What a value is, for messages.
pub(crate) const fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Says in a message of serde which error it is; never shown.
const DUPLICATE: &str = "\u{1}duplicate:";

/// Parses one document. `serde_json` itself bounds the depth, and would keep the last of two equal fields.
///
/// # Errors
/// `MALFORMED_JSON` with line and column, `DUPLICATE_FIELD` with the field's name.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = deserializer
        .deserialize_any(StrictValue)
        .and_then(|value| deserializer.end().map(|()| value));
    parsed.map_err(|error| {
        let text = error.to_string();
        match text.strip_prefix(DUPLICATE).and_then(|rest| rest.rsplit_once(" at line ")) {
            Some((name, _)) => ApiError::of_field(
                ApiCode::DuplicateField,
                name,
                format!("is there twice (line {})", error.line()),
            ),
            None => ApiError::with_message(
                ApiCode::MalformedJson,
                format!(
                    "the body is not one JSON document: {} at line {} column {}",
                    explain(&error),
                    error.line(),
                    error.column()
                ),
            ),
        }
    })
}

fn explain(error: &serde_json::Error) -> &'static str {
    let text = error.to_string();
    if text.starts_with("recursion limit") {
        "too deeply nested"
    } else if text.starts_with("number out of range") {
        "a number is out of range"
    } else if error.is_eof() {
        "it ends too early"
    } else {
        "unexpected text"
    }
}

/// Builds a [`Value`] and refuses a field that is there twice.
#[derive(Clone, Copy)]
struct StrictValue;

impl<'de> DeserializeSeed<'de> for StrictValue {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictValue {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if object.contains_key(&name) {
                let shown: String = name.chars().take(64).collect();
                return Err(A::Error::custom(format!("{DUPLICATE}{shown}")));
            }
            let value = entries.next_value_seed(self)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &[u8]) -> ApiCode {
        parse(text).expect_err("must be refused").code()
    }

    #[test]
    fn documents_read_as_serde_json_reads_them() {
        let text = br#"{"a":[1,-2,0.5,true,null,"x\u00e9"],"b":{"c":{}}}"#;
        let expected: Value = serde_json::from_slice(text).expect("valid");
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn what_is_no_document_is_malformed() {
        let deep = "[".repeat(10_000);
        for text in [
            b"".as_slice(),
            b"{",
            b"nul",
            b"{} {}",
            b"{'a':1}",
            b"[1,]",
            b"1e999999",
            b"\"\xff\"",
            b"\"\\ud800\"",
            b"{\"a\":01}",
            b"NaN",
            deep.as_bytes(),
        ] {
            assert_eq!(code(text), ApiCode::MalformedJson, "{:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn a_field_twice_is_refused_at_any_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"m":{"a":1,"b":2,"a":3}}"#, r#"[{"a":1,"\u0061":2}]"#]
        {
            let error = parse(text.as_bytes()).expect_err("must be refused");
            assert_eq!(error.code(), ApiCode::DuplicateField, "{text}");
            assert_eq!(error.to_body("r", "d").fields[0].field, "a");
        }
    }
}
