//! Many withdrawals at once, a result for each.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use portcullis_store::access::Scope;
use portcullis_store::withdrawal::WithdrawalRecord;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::withdrawals::show_all;
use crate::api::{Api, ApiState, RequestContext};
use crate::auth::Caller;
use crate::error::{ApiCode, ApiError, ErrorBody, ErrorEnvelope};
use crate::form::{Checked, Fields, Problems, WithdrawalRequest, kind_of};
use crate::intake::{Taken, take_many};
use crate::view::{WithdrawalView, withdrawal_view};

const FIELD: &str = "withdrawals";

/// Up to 500 requests; each has an `external_id` of its own.
#[derive(Debug, ToSchema)]
pub(crate) struct BatchRequest {
    /// The requests.
    #[schema(value_type = Vec<WithdrawalRequest>, min_items = 1, max_items = 500)]
    pub(crate) withdrawals: Vec<Value>,
}

/// A result for each request, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchView {
    /// The results.
    pub(crate) data: Vec<BatchItem>,
}

/// What became of one request of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchItem {
    /// Its place in the request, from 0.
    pub(crate) index: usize,
    /// `accepted`, `existing` (the same request was accepted before) or `rejected`.
    #[schema(value_type = String, example = "accepted")]
    pub(crate) status: &'static str,
    /// The withdrawal, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) withdrawal: Option<WithdrawalView>,
    /// Why it was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<ErrorBody>,
}

/// Ask for many withdrawals
///
/// Each item is accepted or rejected on its own. Status 202 when every item was accepted (now or before),
/// 207 when at least one was rejected. Items carry their `external_id` in the body; the `Idempotency-Key`
/// header has no meaning here.
#[utoipa::path(
    post,
    path = "/v1/withdrawals/batch",
    tag = "withdrawals",
    security(("api_key" = ["withdrawals:write"])),
    request_body(content = BatchRequest, content_type = "application/json"),
    responses(
        (status = 202, description = "Every item was accepted, now or before", body = BatchView),
        (status = 207, description = "At least one item was rejected", body = BatchView),
        (status = 400, description = "The body cannot be read", body = ErrorEnvelope),
        (status = 401, description = "No valid API key", body = ErrorEnvelope),
        (status = 403, description = "The key lacks `withdrawals:write`", body = ErrorEnvelope),
        (status = 408, description = "The body did not arrive in time", body = ErrorEnvelope),
        (status = 413, description = "The body is larger than 1 MiB", body = ErrorEnvelope),
        (status = 415, description = "The body is not declared as JSON", body = ErrorEnvelope),
        (status = 422, description = "`BATCH_EMPTY`, `BATCH_TOO_LARGE`, or the body has another shape", body = ErrorEnvelope),
        (status = 429, description = "`TOO_MANY_REQUESTS`: send the same batch again after `Retry-After`", body = ErrorEnvelope),
        (status = 503, description = "`DATABASE_UNAVAILABLE` or `OUTCOME_UNKNOWN`: send the same batch again", body = ErrorEnvelope),
    ),
)]
pub(crate) async fn create_withdrawals(
    State(api): State<Api>,
    mut context: RequestContext,
    caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    caller.require(Scope::WithdrawalsWrite)?;
    let limits = api.parts.limits;
    let _permit = api.admit(limits.batch_cost)?;
    let object = api.read_body(&mut context, request, limits.batch_body_bytes_max).await?;
    let batch = BatchRequest::read(object, limits.batch_items_max)?;
    let checked = check_items(&api, &context, batch.withdrawals).await?;
    let taken = take_many(&api, &context, &caller, checked).await?;
    let all_taken = !taken.iter().any(|taken| matches!(taken, Taken::Refused(_)));
    let data = show_items(&api, &context, taken).await?;
    let status = if all_taken { StatusCode::ACCEPTED } else { StatusCode::MULTI_STATUS };
    Ok((status, Json(BatchView { data })).into_response())
}

impl BatchRequest {
    fn read(object: Map<String, Value>, items_max: usize) -> Result<Self, ApiError> {
        let mut problems = Problems::default();
        let mut fields = Fields::new(object);
        let withdrawals = match fields.take(FIELD) {
            Some(Value::Array(items)) => items,
            Some(other) => {
                let message = format!("must be an array, not {}", kind_of(&other));
                problems.add(ApiCode::WrongType, FIELD, message);
                Vec::new()
            }
            None => {
                problems.add(ApiCode::MissingField, FIELD, "is required");
                Vec::new()
            }
        };
        fields.finish(&mut problems);
        let count = withdrawals.len();
        if count == 0 && problems.is_empty() {
            problems.add(ApiCode::BatchEmpty, FIELD, "must have at least one item");
        }
        if count > items_max {
            let message = format!("has {count} items, at most {items_max} are taken at once");
            problems.add(ApiCode::BatchTooLarge, FIELD, message);
        }
        if problems.is_empty() { Ok(Self { withdrawals }) } else { Err(problems.into_error()) }
    }
}

async fn check_items(
    api: &ApiState,
    context: &RequestContext,
    items: Vec<Value>,
) -> Result<Vec<Checked>, ApiError> {
    let bytes_max = api.parts.limits.metadata_bytes_max;
    let forms: Vec<Result<(WithdrawalRequest, Problems), ApiError>> = items
        .into_iter()
        .enumerate()
        .map(|(index, item)| match item {
            Value::Object(object) => {
                let mut problems = Problems::default();
                let form = WithdrawalRequest::read(object, bytes_max, &mut problems);
                Ok((form, problems))
            }
            other => {
                let message = format!("must be an object, not {}", kind_of(&other));
                Err(ApiError::of_field(ApiCode::WrongType, &format!("{FIELD}[{index}]"), message))
            }
        })
        .collect();
    let catalog = api
        .catalog(context, |catalog| {
            forms.iter().flatten().all(|(form, _)| catalog.knows(&form.asset_choice()))
        })
        .await?;
    let checked = forms.into_iter().map(|form| match form {
        Ok((form, problems)) => form.check(None, &catalog, problems),
        Err(error) => Checked::Bad(error),
    });
    Ok(checked.collect())
}

async fn show_items(
    api: &ApiState,
    context: &RequestContext,
    taken: Vec<Taken>,
) -> Result<Vec<BatchItem>, ApiError> {
    let existing: Vec<WithdrawalRecord> = taken
        .iter()
        .filter_map(|taken| match taken {
            Taken::Existing(record) => Some(record.as_ref().clone()),
            _ => None,
        })
        .collect();
    let mut existing = show_all(api, context, &existing).await?.into_iter();
    let catalog = api.catalog(context, |_| true).await?;
    let mut items = Vec::with_capacity(taken.len());
    for (index, taken) in taken.into_iter().enumerate() {
        let (status, withdrawal, error) = match taken {
            Taken::Accepted(record) => {
                ("accepted", Some(withdrawal_view(&record, &[], &catalog, None)?), None)
            }
            Taken::Existing(_) => ("existing", existing.next(), None),
            Taken::Refused(error) => {
                let body = error.to_body(&context.request_id, &api.parts.doc_url_base);
                ("rejected", None, Some(body))
            }
        };
        items.push(BatchItem { index, status, withdrawal, error });
    }
    Ok(items)
}
