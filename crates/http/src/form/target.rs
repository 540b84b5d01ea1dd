//! Who and where: external ids, accounts, addresses.

use alloy_primitives::Address;
use axum::http::HeaderMap;
use portcullis_core::address::{DestinationError, check_destination, parse_address};
use portcullis_core::asset::Asset;
use portcullis_core::id::{AccountId, ExternalId};

use super::fields::Problems;
use crate::error::ApiCode;

/// The other form of `external_id`.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Settles the external id of the body and of the header; a problem is recorded when there is none.
pub(crate) fn choose_external_id(
    body: Option<String>,
    headers: Option<&HeaderMap>,
    problems: &mut Problems,
) -> Option<ExternalId> {
    let mut given = headers.into_iter().flat_map(|headers| headers.get_all(IDEMPOTENCY_KEY));
    let (header, second) = (given.next(), given.next());
    if second.is_some_and(|second| Some(second) != header) {
        problems.add(
            ApiCode::IdempotencyKeyMismatch,
            IDEMPOTENCY_KEY,
            "is there twice and differs",
        );
        return None;
    }
    // Bytes that are not ASCII become a text that no external id can be.
    let header = header.map(|value| value.to_str().unwrap_or("").to_owned());
    let (text, field) = match (body, header) {
        (Some(body), Some(header)) if body != header => {
            let message = "differs from the Idempotency-Key header: give one, or the same in both";
            problems.add(ApiCode::IdempotencyKeyMismatch, "external_id", message);
            return None;
        }
        (Some(body), _) => (body, "external_id"),
        (None, Some(header)) => (header, IDEMPOTENCY_KEY),
        (None, None) => {
            let message = "is required, here or as the Idempotency-Key header";
            problems.add(ApiCode::MissingField, "external_id", message);
            return None;
        }
    };
    match text.parse() {
        Ok(external_id) => Some(external_id),
        Err(error) => {
            problems.add(ApiCode::InvalidExternalId, field, format!("{error}"));
            None
        }
    }
}

/// Reads an account's id.
pub(crate) fn parse_account_id(text: &str, problems: &mut Problems) -> Option<AccountId> {
    match text.parse() {
        Ok(account) => Some(account),
        Err(error) => {
            problems.add(ApiCode::InvalidAccountId, "account_id", format!("{error}"));
            None
        }
    }
}

/// Reads an address with its checksum.
pub(crate) fn check_address_text(
    text: &str,
    field: &str,
    problems: &mut Problems,
) -> Option<Address> {
    match parse_address(text) {
        Ok(address) => Some(address),
        Err(error) => {
            problems.add(code_of(error), field, error.to_string());
            None
        }
    }
}

/// Refuses destinations that nobody is ever paid at. Without a known asset, the zero address and
/// the precompiled contracts are told all the same.
pub(crate) fn check_payee(
    to: Address,
    asset: Option<&Asset>,
    own: &[Address],
    problems: &mut Problems,
) {
    let token = asset.and_then(|asset| asset.token);
    if let Err(error) = check_destination(to, token, own) {
        problems.add(code_of(error), "to_address", error.to_string());
    }
}

const fn code_of(error: DestinationError) -> ApiCode {
    match error {
        DestinationError::Malformed => ApiCode::AddressMalformed,
        DestinationError::WrongChecksum => ApiCode::AddressChecksum,
        DestinationError::Zero => ApiCode::AddressZero,
        DestinationError::Precompile => ApiCode::AddressPrecompile,
        DestinationError::TokenContract => ApiCode::AddressTokenContract,
        DestinationError::Own => ApiCode::AddressOwn,
    }
}
