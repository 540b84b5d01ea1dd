//! Accounts: credited by deposits, looked at.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use portcullis_core::amount::Amount;
use portcullis_core::id::{AccountId, DepositId, ExternalId};
use portcullis_store::StoreError;
use portcullis_store::access::Scope;
use portcullis_store::deposit::{DepositOutcome, DepositRecord, NewDeposit};
use portcullis_store::ledger::Balance;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::withdrawals::REPLAYED;
use crate::api::{Api, ApiState, RequestContext};
use crate::auth::Caller;
use crate::catalog::{AssetChoice, Catalog};
use crate::error::{ApiCode, ApiError, ErrorEnvelope};
use crate::form::{
    Fields, Problems, choose_external_id, hash_fields, parse_amount, take_amount_text,
};
use crate::view::{asset_of, decimal, network_of};

/// A request to credit an account.
#[derive(Debug, ToSchema)]
pub(crate) struct DepositRequest {
    /// Your own id of it, unique for ever among deposits. May be given as the `Idempotency-Key` header instead.
    #[schema(required = false, value_type = String, example = "deposit-0001")]
    pub(crate) external_id: Option<String>,
    /// Where.
    #[schema(required, value_type = String, example = "polygon")]
    pub(crate) network: Option<String>,
    /// What, by symbol. This or `token_address` is required.
    #[schema(required = false, value_type = String, example = "USDC")]
    pub(crate) asset: Option<String>,
    /// What, by token contract.
    #[schema(required = false, value_type = String, example = "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359")]
    pub(crate) token_address: Option<String>,
    /// How much, in whole tokens, as a decimal string.
    #[schema(required, value_type = String, example = "1000")]
    pub(crate) amount: Option<String>,
}

/// A deposit that credited an account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DepositView {
    /// Ours.
    #[schema(example = "dp_01kaha8gr0000000000000007a")]
    pub(crate) id: String,
    /// Yours.
    #[schema(example = "deposit-0001")]
    pub(crate) external_id: String,
    /// The account.
    #[schema(example = "customer-42")]
    pub(crate) account_id: String,
    /// Where.
    #[schema(example = "polygon")]
    pub(crate) network: String,
    /// What.
    #[schema(example = "USDC")]
    pub(crate) asset: String,
    /// How much, in whole tokens.
    #[schema(example = "1000")]
    pub(crate) amount: String,
    /// The same in atomic units.
    #[schema(example = "1000000000")]
    pub(crate) amount_atomic: String,
    /// Decimal places of the asset.
    #[schema(example = 6)]
    pub(crate) decimals: u8,
    /// When.
    #[schema(example = "2026-11-20T15:59:59.999Z")]
    pub(crate) created_at: String,
}

/// An account and what it holds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountView {
    /// Your id of it.
    #[schema(example = "customer-42")]
    pub(crate) id: String,
    /// What it holds, by asset.
    pub(crate) balances: Vec<BalanceView>,
    /// When its first deposit came.
    #[schema(example = "2026-11-20T15:59:59.999Z")]
    pub(crate) created_at: String,
}

/// What an account holds of one asset: `deposited` = `available` + `held` + `paid`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BalanceView {
    /// Where.
    #[schema(example = "polygon")]
    pub(crate) network: String,
    /// What.
    #[schema(example = "USDC")]
    pub(crate) asset: String,
    /// Its contract; `null` for the chain's native coin.
    pub(crate) token_address: Option<String>,
    /// Decimal places of the asset.
    #[schema(example = 6)]
    pub(crate) decimals: u8,
    /// Free to be withdrawn, in whole tokens.
    #[schema(example = "987.5")]
    pub(crate) available: String,
    /// Reserved for withdrawals under way.
    #[schema(example = "12.5")]
    pub(crate) held: String,
    /// Paid on chain.
    #[schema(example = "0")]
    pub(crate) paid: String,
    /// Everything that ever came in.
    #[schema(example = "1000")]
    pub(crate) deposited: String,
    /// `available` in atomic units.
    #[schema(example = "987500000")]
    pub(crate) available_atomic: String,
    /// `held` in atomic units.
    #[schema(example = "12500000")]
    pub(crate) held_atomic: String,
    /// `paid` in atomic units.
    #[schema(example = "0")]
    pub(crate) paid_atomic: String,
    /// `deposited` in atomic units.
    #[schema(example = "1000000000")]
    pub(crate) deposited_atomic: String,
}

/// Credit an account
///
/// An account begins with its first deposit. The same `external_id` with the same body returns the same deposit.
#[utoipa::path(
    post,
    path = "/v1/accounts/{id}/deposits",
    tag = "accounts",
    security(("api_key" = ["deposits:write"])),
    params(
        ("id" = String, Path, description = "Your id of the account", example = "customer-42"),
        ("Idempotency-Key" = Option<String>, Header, description = "The other form of `external_id`; both and different: 422"),
    ),
    request_body(content = DepositRequest, content_type = "application/json"),
    responses(
        (status = 201, description = "Credited", body = DepositView),
        (status = 200, description = "The same deposit was credited before; `idempotent-replayed: true`", body = DepositView),
        (status = 400, description = "The body cannot be read, or `INVALID_ID`", body = ErrorEnvelope),
        (status = 401, description = "No valid API key", body = ErrorEnvelope),
        (status = 403, description = "The key lacks `deposits:write`", body = ErrorEnvelope),
        (status = 409, description = "`EXTERNAL_ID_CONFLICT`", body = ErrorEnvelope),
        (status = 408, description = "The body did not arrive in time", body = ErrorEnvelope),
        (status = 413, description = "The body is larger than 64 KiB", body = ErrorEnvelope),
        (status = 415, description = "The body is not declared as JSON", body = ErrorEnvelope),
        (status = 422, description = "A field is not acceptable", body = ErrorEnvelope),
        (status = 429, description = "`TOO_MANY_REQUESTS`: send the same request again after `Retry-After`", body = ErrorEnvelope),
        (status = 503, description = "`DATABASE_UNAVAILABLE` or `OUTCOME_UNKNOWN`: send the same request again", body = ErrorEnvelope),
    ),
)]
pub(crate) async fn create_deposit(
    State(api): State<Api>,
    mut context: RequestContext,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    caller.require(Scope::DepositsWrite)?;
    let account = parse_account(id)?;
    let headers = request.headers().clone();
    let _permit = api.admit(1)?;
    let object = api.read_body(&mut context, request, api.parts.limits.body_bytes_max).await?;
    let mut problems = Problems::default();
    let form = DepositRequest::read(object, &mut problems);
    let catalog = api.catalog(&context, |catalog| catalog.knows(&form.asset_choice())).await?;
    let external_id = if problems.concern(&["external_id"]) {
        None
    } else {
        choose_external_id(form.external_id.clone(), Some(&headers), &mut problems)
    };
    let asset = catalog.resolve(&form.asset_choice(), &mut problems);
    let amount = match (&form.amount, asset) {
        (Some(text), Some(asset)) => parse_amount(text, asset, &mut problems),
        _ => None,
    };
    let ready = external_id.zip(asset).zip(amount).filter(|_| problems.is_empty());
    let Some(((external_id, asset), amount)) = ready else { return Err(problems.into_error()) };
    let new = NewDeposit {
        id: DepositId::from_parts(api.now(), (api.parts.entropy)()),
        tenant: caller.tenant,
        request_hash: deposit_hash(&account, asset.id, amount),
        account,
        asset: asset.id,
        amount,
        external_id,
    };
    match api.write(&context, credit(&api, &new)).await?.ok_or_else(overflow)? {
        DepositOutcome::Credited(record) => {
            let view = deposit_view(&record, &catalog)?;
            Ok((StatusCode::CREATED, Json(view)).into_response())
        }
        DepositOutcome::Existing(record) => {
            let view = deposit_view(&record, &catalog)?;
            let replayed = [(REPLAYED, HeaderValue::from_static("true"))];
            Ok((StatusCode::OK, replayed, Json(view)).into_response())
        }
        DepositOutcome::Conflict(record) => Err(conflict(&record)),
    }
}

/// `None` when the balance would not fit in 256 bits any more.
async fn credit(api: &ApiState, new: &NewDeposit) -> Result<Option<DepositOutcome>, StoreError> {
    match api.parts.store.deposit(&api.parts.sealing_keys, new).await {
        Ok(outcome) => Ok(Some(outcome)),
        Err(StoreError::Ledger { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn overflow() -> ApiError {
    let message = "would raise the balance above 256 bits";
    ApiError::of_field(ApiCode::AmountTooLarge, "amount", message)
}

/// Look at an account
///
/// What it holds of each asset: available, held for withdrawals under way, paid.
#[utoipa::path(
    get,
    path = "/v1/accounts/{id}",
    tag = "accounts",
    security(("api_key" = ["accounts:read"])),
    params(("id" = String, Path, description = "Your id of the account", example = "customer-42")),
    responses(
        (status = 200, description = "The account", body = AccountView),
        (status = 400, description = "`INVALID_ID`", body = ErrorEnvelope),
        (status = 401, description = "No valid API key", body = ErrorEnvelope),
        (status = 403, description = "The key lacks `accounts:read`", body = ErrorEnvelope),
        (status = 404, description = "`ACCOUNT_NOT_FOUND`", body = ErrorEnvelope),
        (status = 503, description = "`DATABASE_UNAVAILABLE`", body = ErrorEnvelope),
    ),
)]
pub(crate) async fn read_account(
    State(api): State<Api>,
    context: RequestContext,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<AccountView>, ApiError> {
    caller.require(Scope::AccountsRead)?;
    let account = parse_account(id)?;
    let record = api.read(&context, api.parts.store.account(caller.tenant, &account)).await?;
    let record = record.ok_or_else(|| ApiError::new(ApiCode::AccountNotFound))?;
    let knows_all = |catalog: &Catalog| {
        record.balances.iter().all(|balance| catalog.asset(balance.asset).is_some())
    };
    let catalog = api.catalog(&context, knows_all).await?;
    let balances = record.balances.iter().map(|balance| balance_view(balance, &catalog));
    Ok(Json(AccountView {
        id: record.account.to_string(),
        balances: balances.collect::<Result<_, _>>()?,
        created_at: record.created_at.to_rfc3339(),
    }))
}

impl DepositRequest {
    fn read(object: Map<String, Value>, problems: &mut Problems) -> Self {
        let mut fields = Fields::new(object);
        let request = Self {
            external_id: fields.text("external_id", problems),
            network: fields.required_text("network", problems),
            asset: fields.text("asset", problems),
            token_address: fields.text("token_address", problems),
            amount: take_amount_text(&mut fields, true, problems),
        };
        fields.finish(problems);
        request
    }

    fn asset_choice(&self) -> AssetChoice<'_> {
        AssetChoice {
            network: self.network.as_deref(),
            symbol: self.asset.as_deref(),
            token: self.token_address.as_deref(),
        }
    }
}

fn parse_account(id: Result<Path<String>, PathRejection>) -> Result<AccountId, ApiError> {
    let parsed = id.ok().and_then(|Path(text)| text.parse().ok());
    parsed.ok_or_else(|| {
        let message = "must be 1 to 128 printable ASCII characters without spaces";
        ApiError::of_field(ApiCode::InvalidId, "id", message)
    })
}

fn deposit_hash(
    account: &AccountId,
    asset: portcullis_core::id::AssetId,
    amount: Amount,
) -> alloy_primitives::B256 {
    let amount = amount.atomic().to_be_bytes::<32>();
    let fields: [&[u8]; 3] = [account.as_str().as_bytes(), &asset.to_bytes(), &amount];
    hash_fields(b"portcullis/deposit-request/v1", &fields)
}

fn conflict(record: &DepositRecord) -> ApiError {
    let (id, external_id): (DepositId, &ExternalId) = (record.id, &record.external_id);
    let message = format!("{external_id} was used for {id}, with another body");
    ApiError::of_field(ApiCode::ExternalIdConflict, "external_id", message)
}

fn deposit_view(record: &DepositRecord, catalog: &Catalog) -> Result<DepositView, ApiError> {
    let asset = asset_of(catalog, record.asset)?;
    Ok(DepositView {
        id: record.id.to_string(),
        external_id: record.external_id.to_string(),
        account_id: record.account.to_string(),
        network: network_of(asset.chain_id),
        asset: asset.symbol.clone(),
        amount: decimal(record.amount, asset),
        amount_atomic: record.amount.to_string(),
        decimals: asset.decimals,
        created_at: record.created_at.to_rfc3339(),
    })
}

fn balance_view(balance: &Balance, catalog: &Catalog) -> Result<BalanceView, ApiError> {
    let asset = asset_of(catalog, balance.asset)?;
    Ok(BalanceView {
        network: network_of(asset.chain_id),
        asset: asset.symbol.clone(),
        token_address: asset.token.map(|token| token.to_checksum(None)),
        decimals: asset.decimals,
        available: decimal(balance.available, asset),
        held: decimal(balance.held, asset),
        paid: decimal(balance.paid, asset),
        deposited: decimal(balance.deposited, asset),
        available_atomic: balance.available.to_string(),
        held_atomic: balance.held.to_string(),
        paid_atomic: balance.paid.to_string(),
        deposited_atomic: balance.deposited.to_string(),
    })
}
