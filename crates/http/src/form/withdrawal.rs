//! A request to pay: its fields, and what they mean.

use alloy_primitives::{Address, B256};
use axum::http::HeaderMap;
use portcullis_core::amount::Amount;
use portcullis_core::id::{AccountId, AssetId, ExternalId};
use portcullis_core::withdrawal::Priority;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::amount::{check_bounds, parse_amount, take_amount_text};
use super::fields::{Fields, Problems};
use super::metadata::take_metadata;
use super::target::{check_address_text, check_payee, choose_external_id, parse_account_id};
use crate::catalog::{AssetChoice, Catalog};
use crate::error::{ApiCode, ApiError};
use crate::view::priority_text;

/// A request to pay `amount` of an asset to `to_address`.
#[derive(Debug, Default, ToSchema)]
pub(crate) struct WithdrawalRequest {
    /// Your own id of it, unique for ever: 1 to 255 printable ASCII characters without spaces. May be given as
    /// the `Idempotency-Key` header instead. The same id with the same body returns the same withdrawal.
    #[schema(required = false, value_type = String, example = "order-20261120-0001")]
    pub(crate) external_id: Option<String>,
    /// The account that pays.
    #[schema(required, value_type = String, example = "customer-42")]
    pub(crate) account_id: Option<String>,
    /// Where: `polygon`. `GET /v1/networks` lists them.
    #[schema(required, value_type = String, example = "polygon")]
    pub(crate) network: Option<String>,
    /// What, by symbol. This or `token_address` is required.
    #[schema(required = false, value_type = String, example = "USDC")]
    pub(crate) asset: Option<String>,
    /// What, by token contract.
    #[schema(required = false, value_type = String, example = "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359")]
    pub(crate) token_address: Option<String>,
    /// How much, in whole tokens, as a decimal string. Never rounded.
    #[schema(required, value_type = String, example = "12.5")]
    pub(crate) amount: Option<String>,
    /// To whom, with the EIP-55 checksum.
    #[schema(required, value_type = String, example = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")]
    pub(crate) to_address: Option<String>,
    /// `standard` (the default), `vip` or `urgent`.
    #[schema(required = false, value_type = String, example = "standard")]
    pub(crate) priority: Option<String>,
    /// Anything of yours, a JSON object of at most 4 KiB; returned unchanged in meaning.
    #[schema(required = false, value_type = Object)]
    pub(crate) metadata: Option<String>,
}

/// What a request means, apart from its external id. Two requests are the same when this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) account: AccountId,
    pub(crate) asset: AssetId,
    pub(crate) chain_id: u64,
    pub(crate) token: Option<Address>,
    pub(crate) amount: Amount,
    pub(crate) to: Address,
    pub(crate) priority: Priority,
    pub(crate) metadata: Option<String>,
}

/// A request after every check that needs no balance.
#[derive(Debug)]
pub(crate) enum Checked {
    /// It may be submitted.
    Good(ExternalId, Meaning),
    /// It is well-formed, but today's settings refuse it. Unless it was accepted before, the error is the answer.
    RefusedBySettings(ExternalId, Meaning, ApiError),
    /// It is refused.
    Bad(ApiError),
}

impl Meaning {
    /// The hash that tells a retry from another request under the same external id. It covers the
    /// meaning, so `"1.0"` and `"1"` are the same request.
    pub(crate) fn hash(&self) -> B256 {
        let amount = self.amount.atomic().to_be_bytes::<32>();
        let fields: [&[u8]; 6] = [
            self.account.as_str().as_bytes(),
            &self.asset.to_bytes(),
            &amount,
            self.to.as_slice(),
            priority_text(self.priority).as_bytes(),
            self.metadata.as_deref().unwrap_or_default().as_bytes(),
        ];
        hash_fields(b"portcullis/withdrawal-request/v1", &fields)
    }
}

/// SHA-256 over a domain and fields, each behind its length.
pub(crate) fn hash_fields(domain: &[u8], fields: &[&[u8]]) -> B256 {
    let mut hasher = Sha256::new();
    hasher.update(domain);
    for field in fields {
        hasher.update((field.len() as u64).to_be_bytes());
        hasher.update(field);
    }
    B256::from_slice(&hasher.finalize())
}

impl WithdrawalRequest {
    /// Takes the fields out of the body and tells which are missing, unknown or of the wrong type.
    pub(crate) fn read(
        object: Map<String, Value>,
        metadata_bytes_max: usize,
        problems: &mut Problems,
    ) -> Self {
        let mut fields = Fields::new(object);
        let request = Self {
            external_id: fields.text("external_id", problems),
            account_id: fields.required_text("account_id", problems),
            network: fields.required_text("network", problems),
            asset: fields.text("asset", problems),
            token_address: fields.text("token_address", problems),
            amount: take_amount_text(&mut fields, true, problems),
            to_address: fields.required_text("to_address", problems),
            priority: fields.text("priority", problems),
            metadata: take_metadata(&mut fields, metadata_bytes_max, problems),
        };
        fields.finish(problems);
        request
    }

    /// How it names its asset.
    pub(crate) fn asset_choice(&self) -> AssetChoice<'_> {
        AssetChoice {
            network: self.network.as_deref(),
            symbol: self.asset.as_deref(),
            token: self.token_address.as_deref(),
        }
    }

    /// Checks it against the catalogue. `headers` may carry the external id; a batch's do not.
    pub(crate) fn check(
        self,
        headers: Option<&HeaderMap>,
        catalog: &Catalog,
        mut problems: Problems,
    ) -> Checked {
        let external_id = if problems.concern(&["external_id"]) {
            None
        } else {
            choose_external_id(self.external_id.clone(), headers, &mut problems)
        };
        let account =
            self.account_id.as_deref().and_then(|text| parse_account_id(text, &mut problems));
        let asset = catalog.resolve(&self.asset_choice(), &mut problems);
        let amount = match (&self.amount, asset) {
            (Some(text), Some(asset)) => parse_amount(text, asset, &mut problems),
            _ => None,
        };
        let to = self
            .to_address
            .as_deref()
            .and_then(|text| check_address_text(text, "to_address", &mut problems));
        let priority = parse_priority(self.priority.as_deref(), &mut problems);
        if let Some(to) = to {
            let own = asset.map_or(&[][..], |asset| catalog.own_addresses(asset.chain_id));
            check_payee(to, asset, own, &mut problems);
        }
        if let Some(asset) = asset {
            check_settings(asset, amount, &mut problems);
        }
        let meaning =
            account.zip(asset).zip(amount).zip(to).map(|(((account, asset), amount), to)| {
                let (chain_id, token) = (asset.chain_id, asset.token);
                let metadata = self.metadata;
                Meaning {
                    account,
                    asset: asset.id,
                    chain_id,
                    token,
                    amount,
                    to,
                    priority,
                    metadata,
                }
            });
        match (external_id, meaning) {
            (Some(id), Some(meaning)) if problems.is_empty() => Checked::Good(id, meaning),
            (Some(id), Some(meaning)) if problems.all_depend_on_settings() => {
                Checked::RefusedBySettings(id, meaning, problems.into_error())
            }
            _ => Checked::Bad(problems.into_error()),
        }
    }
}

fn check_settings(
    asset: &portcullis_core::asset::Asset,
    amount: Option<Amount>,
    problems: &mut Problems,
) {
    if !asset.enabled {
        let message = format!("new withdrawals of {} are switched off", asset.symbol);
        problems.add(ApiCode::AssetDisabled, "asset", message);
    }
    if let Some(amount) = amount {
        check_bounds(amount, asset, problems);
    }
}

fn parse_priority(text: Option<&str>, problems: &mut Problems) -> Priority {
    let Some(text) = text else { return Priority::default() };
    let known = Priority::ALL.into_iter().find(|priority| priority_text(*priority) == text);
    known.unwrap_or_else(|| {
        problems.add(ApiCode::InvalidPriority, "priority", "must be standard, vip or urgent");
        Priority::default()
    })
}
