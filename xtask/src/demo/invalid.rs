//! Requests that must be refused: each kind of bad input, with the status and the code that it gets.

use alloy_primitives::Address;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::client::ApiRequest;

/// The path of a single withdrawal.
pub(super) const WITHDRAWALS: &str = "/v1/withdrawals";
/// An account with one USDC.
pub(super) const POOR_ACCOUNT: &str = "demo-poor";
/// Above the limit of a single request, 64 KiB.
const LARGE_BYTES: usize = 70 * 1_024;

/// What a bad request is made from.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    /// A request that would be accepted, for USDC.
    pub(super) body: Value,
    /// The external id of a request that was accepted before, with another body.
    pub(super) used_id: String,
    /// One of the hot wallets.
    pub(super) wallet: Address,
    /// The contract of USDC.
    pub(super) token: Address,
}

impl Ground {
    fn with(&self, field: &str, value: impl Into<Value>) -> ApiRequest {
        let mut body = self.body.clone();
        body[field] = value.into();
        ApiRequest::post(WITHDRAWALS, &body)
    }

    fn without(&self, field: &str) -> ApiRequest {
        let mut body = self.body.clone();
        if let Some(object) = body.as_object_mut() {
            object.remove(field);
        }
        ApiRequest::post(WITHDRAWALS, &body)
    }

    fn as_it_is(&self) -> ApiRequest {
        ApiRequest::post(WITHDRAWALS, &self.body)
    }

    /// The text of the body with `text` in place of its last brace.
    fn ending_with(&self, text: &str) -> ApiRequest {
        let body = self.body.to_string();
        let open = body.strip_suffix('}').unwrap_or(&body);
        ApiRequest::post_bytes(WITHDRAWALS, format!("{open}{text}").into_bytes())
    }
}

/// A kind of bad request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    /// What is wrong with it, for people.
    pub(super) name: &'static str,
    /// The HTTP status that it must get.
    pub(super) status: u16,
    /// The code that it must get.
    pub(super) code: &'static str,
    /// Makes one.
    pub(super) make: fn(&Ground) -> ApiRequest,
}

const fn fault(
    name: &'static str,
    status: u16,
    code: &'static str,
    make: fn(&Ground) -> ApiRequest,
) -> Fault {
    Fault { name, status, code, make }
}

/// Every kind, in the order in which a demo goes through them.
pub(super) const FAULTS: [Fault; 32] = [
    fault("malformed JSON", 400, "MALFORMED_JSON", |it| it.ending_with("")),
    fault("an unknown field", 422, "UNKNOWN_FIELD", |it| it.with("amuont", "1")),
    fault("a field twice", 400, "DUPLICATE_FIELD", |it| it.ending_with(r#","amount":"5"}"#)),
    fault("an unknown network", 422, "UNKNOWN_NETWORK", |it| it.with("network", "atlantis")),
    fault("an unknown asset", 422, "UNKNOWN_ASSET", |it| it.with("asset", "NOPE")),
    fault("an unregistered token", 422, "UNKNOWN_ASSET", |it| {
        let mut body = it.body.clone();
        body["token_address"] = json!(Address::repeat_byte(0x77).to_checksum(None));
        body.as_object_mut().map(|body| body.remove("asset"));
        ApiRequest::post(WITHDRAWALS, &body)
    }),
    fault("asset and token that differ", 422, "ASSET_MISMATCH", |it| {
        let mut body = it.body.clone();
        body["asset"] = json!("USDT");
        body["token_address"] = json!(it.token.to_checksum(None));
        ApiRequest::post(WITHDRAWALS, &body)
    }),
    fault("a wrong checksum", 422, "ADDRESS_CHECKSUM", |it| {
        it.with("to_address", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD")
    }),
    fault("half an address", 422, "ADDRESS_MALFORMED", |it| it.with("to_address", "0x5aAeb605")),
    fault("the zero address", 422, "ADDRESS_ZERO", |it| {
        it.with("to_address", Address::ZERO.to_checksum(None))
    }),
    fault("a precompiled contract", 422, "ADDRESS_PRECOMPILE", |it| {
        it.with("to_address", Address::with_last_byte(4).to_checksum(None))
    }),
    fault("the token's own contract", 422, "ADDRESS_TOKEN_CONTRACT", |it| {
        it.with("to_address", it.token.to_checksum(None))
    }),
    fault("one of our own senders", 422, "ADDRESS_OWN", |it| {
        it.with("to_address", it.wallet.to_checksum(None))
    }),
    fault("a negative amount", 422, "AMOUNT_NEGATIVE", |it| it.with("amount", "-5")),
    fault("an amount of zero", 422, "AMOUNT_ZERO", |it| it.with("amount", "0.000")),
    fault("an exponent", 422, "AMOUNT_EXPONENT", |it| it.with("amount", "5e3")),
    fault("too many decimals", 422, "AMOUNT_TOO_PRECISE", |it| it.with("amount", "5.1234567")),
    fault("more than 256 bits", 422, "AMOUNT_TOO_LARGE", |it| {
        it.with("amount", format!("1{}", "0".repeat(78)))
    }),
    fault("below the minimum", 422, "AMOUNT_BELOW_MINIMUM", |it| it.with("amount", "0.001")),
    fault("above the maximum", 422, "AMOUNT_ABOVE_MAXIMUM", |it| it.with("amount", "10000.000001")),
    fault("an amount as a number", 422, "AMOUNT_NOT_TEXT", |it| it.with("amount", 5)),
    fault("words for an amount", 422, "AMOUNT_MALFORMED", |it| it.with("amount", "five")),
    fault("a balance too small", 422, "INSUFFICIENT_BALANCE", |it| {
        it.with("account_id", POOR_ACCOUNT)
    }),
    fault("an unknown account", 422, "UNKNOWN_ACCOUNT", |it| it.with("account_id", "nobody")),
    fault("no external id", 422, "MISSING_FIELD", |it| it.without("external_id")),
    fault("another Idempotency-Key", 422, "IDEMPOTENCY_KEY_MISMATCH", |it| {
        let name = HeaderName::from_static("idempotency-key");
        it.as_it_is().header(name, HeaderValue::from_static("another"))
    }),
    fault("a used external id", 409, "EXTERNAL_ID_CONFLICT", |it| {
        it.with("external_id", it.used_id.clone())
    }),
    fault("an unknown priority", 422, "INVALID_PRIORITY", |it| it.with("priority", "asap")),
    fault("a body over 64 KiB", 413, "BODY_TOO_LARGE", |it| {
        it.with("metadata", json!({ "note": "x".repeat(LARGE_BYTES) }))
    }),
    fault("a body that is not JSON", 415, "UNSUPPORTED_MEDIA_TYPE", |it| {
        it.as_it_is().header(CONTENT_TYPE, HeaderValue::from_static("text/plain"))
    }),
    fault("no API key", 401, "MISSING_API_KEY", |it| it.as_it_is().secret("")),
    fault("a wrong API key", 401, "INVALID_API_KEY", |it| it.as_it_is().secret("pk_live_wrong")),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_is_a_request_of_its_own() {
        let ground = Ground {
            body: json!({
                "external_id": "id-1", "account_id": "demo-0", "network": "localhost",
                "asset": "USDC", "amount": "5", "to_address": Address::repeat_byte(0xb0),
            }),
            used_id: "id-0".to_owned(),
            wallet: Address::repeat_byte(1),
            token: Address::repeat_byte(2),
        };
        let good = format!("{:?}", ground.as_it_is());
        let made: BTreeSet<String> =
            FAULTS.iter().map(|fault| format!("{:?}", (fault.make)(&ground))).collect();
        assert_eq!(made.len(), FAULTS.len());
        assert!(!made.contains(&good));
        for fault in &FAULTS {
            assert!((400..500).contains(&fault.status), "{}", fault.name);
            let is_code = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
            assert!(fault.code.bytes().all(is_code), "{}", fault.code);
        }
    }
}
