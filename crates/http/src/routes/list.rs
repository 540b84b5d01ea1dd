//! The list of withdrawals, newest first.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use portcullis_core::id::{AssetId, ExternalId, WithdrawalId};
use portcullis_core::withdrawal::{Priority, StateCode};
use portcullis_store::access::Scope;
use portcullis_store::withdrawal::{WithdrawalFilter, WithdrawalRecord};

use super::withdrawals::show_all;
use crate::api::{Api, RequestContext};
use crate::auth::Caller;
use crate::catalog::Catalog;
use crate::cursor::{cursor_after, parse_cursor};
use crate::error::{ApiCode, ApiError, ErrorEnvelope};
use crate::form::{Parameters, check_address_text, parse_account_id};
use crate::view::{Page, WithdrawalView, cut_to_page, priority_text};

const LIMIT_DEFAULT: u64 = 20;

/// List withdrawals
///
/// Newest first, filtered, a page at a time. With `external_id`, which goes with no other filter, the list has
/// that withdrawal alone, or nothing.
#[utoipa::path(
    get,
    path = "/v1/withdrawals",
    tag = "withdrawals",
    security(("api_key" = ["withdrawals:read"])),
    params(
        ("external_id" = Option<String>, Query, description = "Your own id", example = "order-20261120-0001"),
        ("account_id" = Option<String>, Query, description = "Of this account"),
        ("status" = Option<String>, Query, description = "In this state", example = "CONFIRMED"),
        ("network" = Option<String>, Query, description = "On this network", example = "polygon"),
        ("asset" = Option<String>, Query, description = "Of this asset; with `network` where several networks have it", example = "USDC"),
        ("to_address" = Option<String>, Query, description = "To this address"),
        ("priority" = Option<String>, Query, description = "`standard`, `vip` or `urgent`"),
        ("created_from" = Option<String>, Query, description = "Accepted at or after (RFC 3339)", example = "2026-11-20T00:00:00Z"),
        ("created_to" = Option<String>, Query, description = "Accepted before (RFC 3339)", example = "2026-11-21T00:00:00Z"),
        ("limit" = Option<u64>, Query, description = "Items of a page, 1 to 100; 20 by default"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<WithdrawalView>),
        (status = 400, description = "A parameter is unknown, or has a value that it cannot have", body = ErrorEnvelope),
        (status = 401, description = "No valid API key", body = ErrorEnvelope),
        (status = 403, description = "The key lacks `withdrawals:read`", body = ErrorEnvelope),
        (status = 422, description = "A filter names an unknown network or asset, or a bad address", body = ErrorEnvelope),
        (status = 503, description = "`DATABASE_UNAVAILABLE`", body = ErrorEnvelope),
    ),
)]
pub(crate) async fn list_withdrawals(
    State(api): State<Api>,
    context: RequestContext,
    caller: Caller,
    uri: Uri,
) -> Result<Json<Page<WithdrawalView>>, ApiError> {
    caller.require(Scope::WithdrawalsRead)?;
    let mut parameters = Parameters::read(&uri)?;
    let limit = parameters.limit(LIMIT_DEFAULT, api.parts.limits.page_items_max);
    if let Some(text) = parameters.take("external_id") {
        let external_id = read_external_id(&text, &mut parameters);
        parameters.finish_alone("external_id")?;
        let external_id = external_id.ok_or_else(|| ApiError::new(ApiCode::InvalidExternalId))?;
        let looking = api.parts.store.withdrawal_by_external_id(caller.tenant, &external_id);
        let record = api.read(&context, looking).await?;
        let records: Vec<_> = record.into_iter().collect();
        return Ok(Json(Page::complete(show_all(&api, &context, &records).await?)));
    }
    let catalog = api.catalog(&context, |catalog| parameters.knows_asset(catalog)).await?;
    let mut filter = read_filter(&mut parameters, &catalog);
    parameters.finish()?;
    // One more than the page tells whether there is more.
    filter.limit = limit.saturating_add(1);
    let listing = api.parts.store.list_withdrawals(caller.tenant, &filter);
    let listing = api.read(&context, listing).await?;
    let mut ids = listing.ids;
    let has_more = cut_to_page(&mut ids, limit);
    let next_cursor = ids.last().filter(|_| has_more).map(|last| cursor_after(*last));
    let is_shown = |id: &WithdrawalId| ids.contains(id);
    let records: Vec<WithdrawalRecord> =
        listing.records.into_iter().filter(|record| is_shown(&record.id)).collect();
    let unreadable: Vec<WithdrawalId> = listing.unreadable.into_iter().filter(is_shown).collect();
    if !unreadable.is_empty() {
        tracing::error!(?unreadable, "withdrawals whose rows are damaged are not shown");
    }
    let data = show_all(&api, &context, &records).await?;
    let unreadable = unreadable.iter().map(ToString::to_string).collect();
    Ok(Json(Page { data, has_more, next_cursor, unreadable }))
}

fn read_external_id(text: &str, parameters: &mut Parameters) -> Option<ExternalId> {
    let parsed: Result<ExternalId, _> = text.parse();
    if let Err(error) = &parsed {
        let message = error.to_string();
        parameters.problems.add(ApiCode::InvalidExternalId, "external_id", message);
    }
    parsed.ok()
}

fn read_filter(parameters: &mut Parameters, catalog: &Catalog) -> WithdrawalFilter {
    let account = parameters.take("account_id");
    let account = account.and_then(|text| parse_account_id(&text, &mut parameters.problems));
    let status = parameters
        .parsed("status", "a status such as CONFIRMED", |text| StateCode::parse(text).ok());
    let network = parameters.take("network");
    let chain_id = network.as_deref().and_then(|network| {
        let chain = catalog.chain(network);
        if chain.is_none() {
            let message = "is not a network that this deployment pays on";
            parameters.problems.add(ApiCode::UnknownNetwork, "network", message);
        }
        chain.map(|chain| chain.chain_id)
    });
    let asset = parameters.take("asset");
    let asset = asset.and_then(|symbol| find_asset(&symbol, chain_id, catalog, parameters));
    let to = parameters.take("to_address");
    let to = to.and_then(|text| check_address_text(&text, "to_address", &mut parameters.problems));
    let priority = parameters.parsed("priority", "standard, vip or urgent", |text| {
        Priority::ALL.into_iter().find(|priority| priority_text(*priority) == text)
    });
    let cursor = parameters.take("cursor");
    let cursor = cursor.and_then(|text| {
        let cursor = parse_cursor(&text);
        if cursor.is_none() {
            let message = "must be next_cursor of the page before, unchanged";
            parameters.problems.add(ApiCode::InvalidCursor, "cursor", message);
        }
        cursor
    });
    WithdrawalFilter {
        account,
        status,
        chain_id,
        asset,
        to,
        priority,
        created_from: parameters.instant("created_from"),
        created_to: parameters.instant("created_to"),
        cursor,
        limit: 0,
    }
}

fn find_asset(
    symbol: &str,
    chain_id: Option<u64>,
    catalog: &Catalog,
    parameters: &mut Parameters,
) -> Option<AssetId> {
    let mut found = catalog
        .assets_called(symbol)
        .filter(|asset| chain_id.is_none_or(|chain_id| asset.chain_id == chain_id));
    match (found.next(), found.next()) {
        (Some(asset), None) => Some(asset.id),
        (None, _) => {
            parameters.problems.add(ApiCode::UnknownAsset, "asset", "is not registered");
            None
        }
        (Some(_), Some(_)) => {
            let message = "is on several networks: give network as well";
            parameters.problems.add(ApiCode::InvalidParameter, "asset", message);
            None
        }
    }
}
