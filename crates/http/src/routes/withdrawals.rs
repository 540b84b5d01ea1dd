//! One withdrawal: asked for, looked at, taken back.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use portcullis_core::id::WithdrawalId;
use portcullis_store::access::Scope;
use portcullis_store::cancel::CancelOutcome;
use portcullis_store::withdrawal::WithdrawalRecord;

use crate::api::{Api, ApiState, RequestContext};
use crate::auth::Caller;
use crate::error::{ApiCode, ApiError, ErrorEnvelope};
use crate::form::{Problems, WithdrawalRequest};
use crate::intake::{Taken, take_many};
use crate::parts::ChainAccess;
use crate::view::{WithdrawalView, withdrawal_view};

/// On an answer that was given before.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Ask for a withdrawal
///
/// Reserves the balance and accepts the withdrawal; it is paid exactly once, or provably not at all. Send the
/// same request again whenever the answer is lost: the same `external_id` with the same body returns the same
/// withdrawal.
#[utoipa::path(
    post,
    path = "/v1/withdrawals",
    tag = "withdrawals",
    security(("api_key" = ["withdrawals:write"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "The other form of `external_id`; both and different: 422")),
    request_body(content = WithdrawalRequest, content_type = "application/json"),
    responses(
        (status = 202, description = "Accepted", body = WithdrawalView),
        (status = 200, description = "The same request was accepted before; `idempotent-replayed: true`", body = WithdrawalView),
        (status = 400, description = "The body cannot be read", body = ErrorEnvelope),
        (status = 401, description = "No valid API key", body = ErrorEnvelope),
        (status = 403, description = "The key lacks `withdrawals:write`", body = ErrorEnvelope),
        (status = 409, description = "`EXTERNAL_ID_CONFLICT`: the external id was used with another body", body = ErrorEnvelope),
        (status = 408, description = "The body did not arrive in time", body = ErrorEnvelope),
        (status = 413, description = "The body is larger than 64 KiB", body = ErrorEnvelope),
        (status = 415, description = "The body is not declared as JSON", body = ErrorEnvelope),
        (status = 422, description = "A field is not acceptable, or the balance is too small", body = ErrorEnvelope),
        (status = 429, description = "`QUEUE_FULL` or `TOO_MANY_REQUESTS`: send the same request again after `Retry-After`", body = ErrorEnvelope),
        (status = 503, description = "`DATABASE_UNAVAILABLE` or `OUTCOME_UNKNOWN`: send the same request again", body = ErrorEnvelope),
    ),
)]
pub(crate) async fn create_withdrawal(
    State(api): State<Api>,
    mut context: RequestContext,
    caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    caller.require(Scope::WithdrawalsWrite)?;
    let limits = api.parts.limits;
    let _permit = api.admit(1)?;
    let headers = request.headers().clone();
    let object = api.read_body(&mut context, request, limits.body_bytes_max).await?;
    let mut problems = Problems::default();
    let form = WithdrawalRequest::read(object, limits.metadata_bytes_max, &mut problems);
    let catalog = api.catalog(&context, |catalog| catalog.knows(&form.asset_choice())).await?;
    let checked = form.check(Some(&headers), &catalog, problems);
    let taken = take_many(&api, &context, &caller, vec![checked]).await?.pop();
    match taken.ok_or_else(|| ApiError::internal("intake", &"it gave no result"))? {
        Taken::Accepted(record) => {
            let view = withdrawal_view(&record, &[], &catalog, None)?;
            Ok((StatusCode::ACCEPTED, Json(view)).into_response())
        }
        Taken::Existing(record) => {
            let view = show(&api, &context, &record).await?;
            let replayed = [(REPLAYED, HeaderValue::from_static("true"))];
            Ok((StatusCode::OK, replayed, Json(view)).into_response())
        }
        Taken::Refused(error) => Err(error),
    }
}

/// Look at a withdrawal
///
/// Its state, its timeline, and every attempt with nonce, fees, hash and explorer link.
#[utoipa::path(
    get,
    path = "/v1/withdrawals/{id}",
    tag = "withdrawals",
    security(("api_key" = ["withdrawals:read"])),
    params(("id" = String, Path, description = "`wd_` and 26 characters", example = "wd_01kaha8gr0000000000000007a")),
    responses(
        (status = 200, description = "The withdrawal", body = WithdrawalView),
        (status = 400, description = "`INVALID_ID`", body = ErrorEnvelope),
        (status = 401, description = "No valid API key", body = ErrorEnvelope),
        (status = 403, description = "The key lacks `withdrawals:read`", body = ErrorEnvelope),
        (status = 404, description = "`WITHDRAWAL_NOT_FOUND`", body = ErrorEnvelope),
        (status = 503, description = "`DATABASE_UNAVAILABLE`", body = ErrorEnvelope),
    ),
)]
pub(crate) async fn read_withdrawal(
    State(api): State<Api>,
    context: RequestContext,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<WithdrawalView>, ApiError> {
    caller.require(Scope::WithdrawalsRead)?;
    let id = parse_id(id)?;
    let record = api.read(&context, api.parts.store.withdrawal(caller.tenant, id)).await?;
    let record = record.ok_or_else(|| ApiError::new(ApiCode::WithdrawalNotFound))?;
    Ok(Json(show(&api, &context, &record).await?))
}

/// Take a withdrawal back
///
/// Until it is bound to a transaction: at once, and the reserved balance becomes available again. Canceling a
/// canceled withdrawal is no error. While a transaction carries it alone and is not in a block: 202, and a transaction that
/// pays nothing is put in its place. The chain takes one of the two; when that is final, the withdrawal is `CANCELED` or
/// `CONFIRMED`.
#[utoipa::path(
    post,
    path = "/v1/withdrawals/{id}/cancel",
    tag = "withdrawals",
    security(("api_key" = ["withdrawals:write"])),
    params(("id" = String, Path, description = "`wd_` and 26 characters", example = "wd_01kaha8gr0000000000000007a")),
    responses(
        (status = 200, description = "Canceled", body = WithdrawalView),
        (status = 202, description = "Asked for: follow it to see whether it is canceled or paid; `HELD` with the reason `voiding` is being canceled in the vault", body = WithdrawalView),
        (status = 400, description = "`INVALID_ID`", body = ErrorEnvelope),
        (status = 401, description = "No valid API key", body = ErrorEnvelope),
        (status = 403, description = "The key lacks `withdrawals:write`", body = ErrorEnvelope),
        (status = 404, description = "`WITHDRAWAL_NOT_FOUND`", body = ErrorEnvelope),
        (status = 409, description = "`NOT_CANCELABLE`: a block holds it, or it is at its end; `BOUND_IN_BATCH`: its transaction carries others, or is one of the vault", body = ErrorEnvelope),
        (status = 503, description = "`DATABASE_UNAVAILABLE` or `OUTCOME_UNKNOWN`", body = ErrorEnvelope),
    ),
)]
pub(crate) async fn cancel_withdrawal(
    State(api): State<Api>,
    context: RequestContext,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    caller.require(Scope::WithdrawalsWrite)?;
    let id = parse_id(id)?;
    let store = &api.parts.store;
    let canceling = Box::pin(store.cancel(caller.tenant, id, &caller.actor));
    let (status, record) = match api.write(&context, canceling).await? {
        CancelOutcome::Canceled(record) => (StatusCode::OK, record),
        CancelOutcome::Asked(record) => (StatusCode::ACCEPTED, record),
        CancelOutcome::BoundInBatch => return Err(ApiError::new(ApiCode::BoundInBatch)),
        CancelOutcome::Unknown => return Err(ApiError::new(ApiCode::WithdrawalNotFound)),
        CancelOutcome::Refused(status) => {
            let message = format!("a withdrawal that is {status} can no longer be canceled");
            return Err(ApiError::with_message(ApiCode::NotCancelable, message));
        }
    };
    Ok((status, Json(show(&api, &context, &record).await?)).into_response())
}

fn parse_id(id: Result<Path<String>, PathRejection>) -> Result<WithdrawalId, ApiError> {
    let parsed = id.ok().and_then(|Path(text)| text.parse().ok());
    parsed.ok_or_else(|| {
        let message = "must be an id of the form wd_ and 26 characters";
        ApiError::of_field(ApiCode::InvalidId, "id", message)
    })
}

/// Shows a withdrawal with its attempts.
async fn show(
    api: &ApiState,
    context: &RequestContext,
    record: &WithdrawalRecord,
) -> Result<WithdrawalView, ApiError> {
    let views = show_all(api, context, std::slice::from_ref(record)).await?;
    views.into_iter().next().ok_or_else(|| ApiError::internal("view", &"nothing was shown"))
}

/// Shows withdrawals with their attempts.
pub(crate) async fn show_all(
    api: &ApiState,
    context: &RequestContext,
    records: &[WithdrawalRecord],
) -> Result<Vec<WithdrawalView>, ApiError> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<WithdrawalId> = records.iter().map(|record| record.id).collect();
    let rides = api.read(context, api.parts.store.rides(&ids)).await?;
    let knows_all = |catalog: &crate::catalog::Catalog| {
        records.iter().all(|record| catalog.asset(record.asset).is_some())
    };
    let catalog = api.catalog(context, knows_all).await?;
    let view = |record: &WithdrawalRecord| {
        let head = api.chain(record.chain_id).and_then(ChainAccess::known_head);
        withdrawal_view(record, &rides, &catalog, head)
    };
    records.iter().map(view).collect()
}
