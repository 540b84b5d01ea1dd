//! What a payment would cost now.

use std::time::Duration;

use alloy_primitives::{Address, U256, keccak256};
use axum::Json;
use axum::extract::{Request, State};
use portcullis_cache::Facts;
use portcullis_core::amount::Amount;
use portcullis_core::asset::Asset;
use portcullis_core::calldata::direct_payment;
use portcullis_core::fee::{FeeMarket, Fees, first_fees};
use portcullis_evm::{BlockTag, CallRequest, EstimateError, ReadError};
use portcullis_store::access::Scope;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::{Api, RequestContext};
use crate::auth::Caller;
use crate::catalog::{AssetChoice, Catalog};
use crate::error::{ApiCode, ApiError, ErrorEnvelope};
use crate::form::{
    Fields, Problems, check_address_text, check_payee, parse_amount, take_amount_text,
};
use crate::parts::ChainAccess;

/// Gas of a plain transfer of the coin (the Yellow Paper's `G_transaction`).
const NATIVE_TRANSFER_GAS: u64 = 21_000;

/// Gas of an ordinary token's transfer to an account that never held it; used where no hot wallet holds
/// enough for a simulation.
const TOKEN_TRANSFER_GAS: u64 = 65_000;

/// Hot wallets that are looked at for one that can pay.
const SENDERS_MAX: usize = 8;

/// A payment whose cost is asked for.
#[derive(Debug, ToSchema)]
pub(crate) struct FeeEstimateRequest {
    /// Where.
    #[schema(required, value_type = String, example = "polygon")]
    pub(crate) network: Option<String>,
    /// What, by symbol. This or `token_address` is required.
    #[schema(required = false, value_type = String, example = "USDC")]
    pub(crate) asset: Option<String>,
    /// What, by token contract.
    #[schema(required = false, value_type = String, example = "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359")]
    pub(crate) token_address: Option<String>,
    /// How much; the asset's minimum by default.
    #[schema(required = false, value_type = String, example = "12.5")]
    pub(crate) amount: Option<String>,
    /// To whom; an account that never held the asset by default, which costs the most.
    #[schema(required = false, value_type = String, example = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")]
    pub(crate) to_address: Option<String>,
}

/// What a payment would cost now. Fees are paid by this deployment, in the chain's native coin.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FeeEstimateView {
    /// Where.
    #[schema(value_type = String, example = "polygon")]
    pub(crate) network: &'static str,
    /// What.
    #[schema(example = "USDC")]
    pub(crate) asset: String,
    /// Gas that it uses.
    #[schema(example = "62112")]
    pub(crate) gas: String,
    /// Whether a node simulated it. If not, no hot wallet holds enough now, and `gas` is that of an ordinary token.
    pub(crate) is_simulated: bool,
    /// The newest block.
    #[schema(example = 79_000_123)]
    pub(crate) block_number: u64,
    /// The base fee of the newest block, for a unit of gas.
    #[schema(example = "30000000000")]
    pub(crate) base_fee_per_gas_wei: String,
    /// The most that a unit of gas would be allowed to cost.
    #[schema(example = "90000000000")]
    pub(crate) max_fee_per_gas_wei: String,
    /// The tip.
    #[schema(example = "30000000000")]
    pub(crate) max_priority_fee_per_gas_wei: String,
    /// The coin that pays for gas.
    #[schema(value_type = String, example = "POL")]
    pub(crate) native_symbol: &'static str,
    /// What it would cost at the present base fee. On OP-stack chains the cost of L1 data comes on top.
    #[schema(example = "0.00372672")]
    pub(crate) fee_expected_native: String,
    /// What it could cost at most.
    #[schema(example = "0.00559008")]
    pub(crate) fee_max_native: String,
}

/// Estimate a fee
///
/// What a payment would cost now, with the rules that the engine itself uses. Needs a node; a withdrawal does not.
#[utoipa::path(
    post,
    path = "/v1/fee-estimates",
    tag = "networks",
    security(("api_key" = ["withdrawals:read"])),
    request_body(content = FeeEstimateRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "The estimate", body = FeeEstimateView),
        (status = 400, description = "The body cannot be read", body = ErrorEnvelope),
        (status = 401, description = "No valid API key", body = ErrorEnvelope),
        (status = 403, description = "The key lacks `withdrawals:read`", body = ErrorEnvelope),
        (status = 408, description = "The body did not arrive in time", body = ErrorEnvelope),
        (status = 413, description = "The body is larger than 64 KiB", body = ErrorEnvelope),
        (status = 415, description = "The body is not declared as JSON", body = ErrorEnvelope),
        (status = 422, description = "A field is not acceptable, or `ESTIMATE_REVERTED`", body = ErrorEnvelope),
        (status = 429, description = "`TOO_MANY_REQUESTS`: send the same request again after `Retry-After`", body = ErrorEnvelope),
        (status = 503, description = "`NODE_UNAVAILABLE`, `FEE_ABOVE_CAP` or `DATABASE_UNAVAILABLE`", body = ErrorEnvelope),
    ),
)]
pub(crate) async fn estimate_fee(
    State(api): State<Api>,
    mut context: RequestContext,
    caller: Caller,
    request: Request,
) -> Result<Json<FeeEstimateView>, ApiError> {
    caller.require(Scope::WithdrawalsRead)?;
    let _permit = api.admit(1)?;
    let object = api.read_body(&mut context, request, api.parts.limits.body_bytes_max).await?;
    let mut problems = Problems::default();
    let form = FeeEstimateRequest::read(object, &mut problems);
    let catalog = api.catalog(&context, |catalog| catalog.knows(&form.asset_choice())).await?;
    let payment = form.check(&catalog, problems)?;
    let chain = api
        .chain(payment.asset.chain_id)
        .ok_or_else(|| ApiError::internal("fees", &"the chain is not configured"))?;
    let own = catalog.own_addresses(payment.asset.chain_id);
    let asking = ask_nodes(chain, &api.parts.facts, &payment, own);
    if !api.parts.limits.has_timers {
        return asking.await.map(Json);
    }
    let wait = Duration::from_millis(api.parts.limits.node_wait_ms);
    tokio::time::timeout(wait, asking)
        .await
        .map_err(|_| ApiError::new(ApiCode::NodeUnavailable))?
        .map(Json)
}

/// A payment that is complete.
struct Payment<'a> {
    asset: &'a Asset,
    amount: Amount,
    to: Address,
}

impl FeeEstimateRequest {
    fn read(object: Map<String, Value>, problems: &mut Problems) -> Self {
        let mut fields = Fields::new(object);
        let request = Self {
            network: fields.required_text("network", problems),
            asset: fields.text("asset", problems),
            token_address: fields.text("token_address", problems),
            amount: take_amount_text(&mut fields, false, problems),
            to_address: fields.text("to_address", problems),
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

    fn check<'a>(
        &self,
        catalog: &'a Catalog,
        mut problems: Problems,
    ) -> Result<Payment<'a>, ApiError> {
        let asset = catalog.resolve(&self.asset_choice(), &mut problems);
        let amount = match (&self.amount, asset) {
            (Some(text), Some(asset)) => parse_amount(text, asset, &mut problems),
            (None, Some(asset)) => Some(asset.amount_min),
            _ => None,
        };
        let to = match &self.to_address {
            Some(text) => check_address_text(text, "to_address", &mut problems),
            None => Some(account_without_history()),
        };
        if let Some(to) = to {
            let own = asset.map_or(&[][..], |asset| catalog.own_addresses(asset.chain_id));
            check_payee(to, asset, own, &mut problems);
        }
        let ready = asset.zip(amount).zip(to).filter(|_| problems.is_empty());
        ready
            .map(|((asset, amount), to)| Payment { asset, amount, to })
            .ok_or_else(|| problems.into_error())
    }
}

/// An address that nobody has the key of, so that it never held anything.
fn account_without_history() -> Address {
    Address::from_word(keccak256("portcullis/fee-estimate/recipient"))
}

async fn ask_nodes(
    chain: &ChainAccess,
    facts: &Facts,
    payment: &Payment<'_>,
    own: &[Address],
) -> Result<FeeEstimateView, ApiError> {
    let head = chain.pool.head().await.map_err(|error| node_unavailable(&error))?;
    let market = chain.oracle.market_at(&head).await;
    let spec = chain.spec();
    let fees = first_fees(market, spec.fee_bounds)
        .map_err(|error| ApiError::with_message(ApiCode::FeeAboveCap, error.to_string()))?;
    let simulated = simulate(chain, facts, payment, own).await?;
    let gas = simulated.unwrap_or(match payment.asset.token {
        None => NATIVE_TRANSFER_GAS,
        Some(_) => TOKEN_TRANSFER_GAS,
    });
    let native = |price_wei: u128| {
        let fee = Amount::from_atomic(U256::from(gas).saturating_mul(U256::from(price_wei)));
        fee.to_decimal(spec.native.decimals)
    };
    Ok(FeeEstimateView {
        network: spec.network,
        asset: payment.asset.symbol.clone(),
        gas: gas.to_string(),
        is_simulated: simulated.is_some(),
        block_number: head.number,
        base_fee_per_gas_wei: market.base_fee_wei.to_string(),
        max_fee_per_gas_wei: fees.max_fee_per_gas_wei.to_string(),
        max_priority_fee_per_gas_wei: fees.max_priority_fee_per_gas_wei.to_string(),
        native_symbol: spec.native.symbol,
        fee_expected_native: native(expected_price_wei(market, fees)),
        fee_max_native: native(fees.max_fee_per_gas_wei),
    })
}

fn expected_price_wei(market: FeeMarket, fees: Fees) -> u128 {
    let now = market.base_fee_wei.saturating_add(fees.max_priority_fee_per_gas_wei);
    now.min(fees.max_fee_per_gas_wei)
}

/// Gas of the payment by the first hot wallet that holds enough for it; `None` when none does.
async fn simulate(
    chain: &ChainAccess,
    facts: &Facts,
    payment: &Payment<'_>,
    own: &[Address],
) -> Result<Option<u64>, ApiError> {
    let own = &own[..own.len().min(SENDERS_MAX)];
    if own.is_empty() {
        return Ok(None);
    }
    let balances = balances(chain, facts, payment.asset.token, own).await?;
    let able = own.iter().zip(balances).find(|(_, balance)| *balance >= payment.amount);
    let Some((sender, _)) = able else { return Ok(None) };
    let payload = direct_payment(payment.asset.token, payment.to, payment.amount);
    let call = CallRequest::of_payload(*sender, &payload);
    match chain.pool.estimate_gas(&[call]).await.into_iter().next() {
        Some(Ok(gas)) => Ok(Some(gas)),
        Some(Err(EstimateError::InsufficientFunds)) => {
            // It has paid since.
            let asset = name_of(payment.asset.token);
            facts.forget_balance(chain.spec().chain_id, &sender.to_checksum(None), &asset).await;
            Ok(None)
        }
        None => Ok(None),
        Some(Err(EstimateError::Read(error))) => Err(node_unavailable(&error)),
        Some(Err(error)) => {
            Err(ApiError::with_message(ApiCode::EstimateReverted, error.to_string()))
        }
    }
}

/// What the wallets hold, as of some seconds ago where that is known: an estimate may be that old, and the node itself
/// judges the simulated payment.
async fn balances(
    chain: &ChainAccess,
    facts: &Facts,
    token: Option<Address>,
    own: &[Address],
) -> Result<Vec<Amount>, ApiError> {
    let (chain_id, asset) = (chain.spec().chain_id, name_of(token));
    let mut known = Vec::with_capacity(own.len());
    for owner in own {
        let Some(balance) = facts.balance(chain_id, &owner.to_checksum(None), &asset).await else {
            break;
        };
        known.push(balance);
    }
    if known.len() == own.len() {
        return Ok(known);
    }
    let asked = match token {
        None => chain.pool.native_balances(own, BlockTag::Latest).await,
        Some(token) => {
            let held: Vec<(Address, Address)> = own.iter().map(|owner| (token, *owner)).collect();
            chain.pool.token_balances(&held, BlockTag::Latest).await
        }
    };
    let asked = asked.map_err(|error| node_unavailable(&error))?;
    for (owner, balance) in own.iter().zip(&asked) {
        facts.keep_balance(chain_id, &owner.to_checksum(None), &asset, *balance).await;
    }
    Ok(asked)
}

/// An asset as the cache names it.
fn name_of(token: Option<Address>) -> String {
    token.map_or_else(|| "native".to_owned(), |token| token.to_checksum(None))
}

fn node_unavailable(error: &ReadError) -> ApiError {
    tracing::warn!(%error, "a fee estimate has no answer");
    ApiError::new(ApiCode::NodeUnavailable)
}
