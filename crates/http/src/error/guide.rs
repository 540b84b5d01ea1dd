//! The guide to the error codes, written from the catalogue.

use std::fmt::Write as _;

use portcullis_core::error_class::ErrorClass;

use super::ApiCode;

const INTRODUCTION: &str = "\
# Errors

Every answer with a status of 400 or above has this body:

```json
{
  \"error\": {
    \"code\": \"INSUFFICIENT_BALANCE\",
    \"message\": \"the account has 12.5 USDC available, 40 are asked for\",
    \"retryable\": false,
    \"request_id\": \"req_0190f3b6c2b44d0f9a6f1f0e5d8c7b6a\",
    \"doc_url\": \"https://…/errors.md#insufficient_balance\",
    \"fields\": [
      {\"field\": \"amount\", \"code\": \"INSUFFICIENT_BALANCE\", \"message\": \"…\"}
    ]
  }
}
```

* `code` is stable: match on it. `message` is for people and may change.
* `retryable` says whether the same request can succeed later. A withdrawal or a deposit may always be sent
  again with the same `external_id` and the same body: it takes effect at most once.
* `fields` names every field that was refused, with a code of its own. One bad field: `code` is that field's
  code. Several: `code` is `VALIDATION_FAILED`.
* `request_id` is also in the `x-request-id` header and in the server's log.
* In a batch, each refused item carries such an `error` of its own.

A 4xx means that nothing was written. After a 503 `OUTCOME_UNKNOWN`, or when no answer arrives at all, send the
same request again with the same `external_id` until it answers.

The codes, in the order of the path that a request takes:
";

const CLASSES: &str = "
# Error classes

What a node says when signed bytes are handed to it is sorted into these classes. They are the first word of an attempt's
`outcome`, and `error.type` of a dead letter. A class steers what is tried next, always in the same slot; whether a payment
was made is told by the chain's receipts alone, never by an error. A redriven letter is taken up again by itself, after one
minute, two, four, up to an hour.

| class | letter | what is done |
| --- | --- | --- |
";

/// The text of `docs/guide/errors.md`.
#[must_use]
pub fn errors_guide() -> String {
    let mut text = INTRODUCTION.to_owned();
    for code in ApiCode::ALL {
        let retryable = if code.is_retryable() { "yes" } else { "no" };
        // Writing to a String cannot fail.
        let _infallible = write!(
            text,
            "\n## {}\n\n{}\n\nStatus {}, retryable: {retryable}. {}\n",
            code.as_str(),
            code.message(),
            code.status().as_u16(),
            code.advice(),
        );
    }
    text.push_str(CLASSES);
    for class in ErrorClass::ALL {
        let letter = if class.is_redriven() { "redriven" } else { "waits for an operator" };
        let _infallible = writeln!(text, "| `{class}` | {letter} | {} |", class.action().advice());
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use axum::http::StatusCode;

    use super::*;

    #[test]
    fn the_guide_in_the_repository_is_the_catalogue() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/errors.md");
        if std::env::var_os("PORTCULLIS_WRITE_GUIDE").is_some() {
            std::fs::write(&path, errors_guide()).expect("the guide can be written");
        }
        let stored = std::fs::read_to_string(&path).expect("the guide is in the repository");
        for code in ApiCode::ALL {
            assert!(stored.contains(&format!("\n## {}\n", code.as_str())), "{}", code.as_str());
        }
        assert_eq!(
            stored,
            errors_guide(),
            "run PORTCULLIS_WRITE_GUIDE=1 cargo test -p portcullis-http guide"
        );
    }

    #[test]
    fn codes_are_upper_snake_and_unique() {
        let mut seen = std::collections::BTreeSet::new();
        for code in ApiCode::ALL {
            let text = code.as_str();
            let allowed = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
            assert!(text.bytes().all(allowed), "{text}");
            assert!(seen.insert(text), "{text} is there twice");
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{text}");
            let may_pass_later = code.status().is_server_error()
                || code.status() == StatusCode::TOO_MANY_REQUESTS
                || *code == ApiCode::RequestTimeout;
            assert!(!code.is_retryable() || may_pass_later, "{text}");
        }
    }
}
