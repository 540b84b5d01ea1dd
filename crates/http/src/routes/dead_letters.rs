//! Dead letters, for operators: work that failed too often. A letter is about a withdrawal or a transaction, and
//! whatever becomes of it, neither is lost.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::Uri;
use portcullis_core::time::Timestamp;
use portcullis_store::access::Scope;
use portcullis_store::dead_letter::{DeadLetter, DeadLetterQueue, LetterOutcome};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::{Api, RequestContext};
use crate::auth::Caller;
use crate::error::{ApiCode, ApiError, ErrorEnvelope};
use crate::form::{Fields, Parameters, Problems};
use crate::view::{Page, cut_to_page};

const LIMIT_DEFAULT: u64 = 50;
const LIMIT_MAX: u64 = 500;
const REASON_BYTES_MAX: usize = 200;

/// A dead letter.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetterView {
    /// Its number.
    #[schema(example = 17)]
    pub(crate) id: i64,
    /// `request-dlq`, `signed-tx-dlq` or `broadcast-tx-dlq`.
    #[schema(value_type = String, example = "request-dlq")]
    pub(crate) queue: &'static str,
    /// The withdrawal's id, or the slot's.
    #[schema(example = "wd_01kaha8gr0000000000000007a")]
    pub(crate) subject: String,
    /// What could not be worked on.
    #[serde(rename = "originalMessage")]
    #[schema(value_type = Object)]
    pub(crate) original_message: Value,
    /// What went wrong last.
    pub(crate) error: LetterErrorView,
    /// When, and how often.
    pub(crate) meta: LetterMetaView,
    /// When it is redriven by itself; `null` waits for an operator, or is over.
    pub(crate) redrive_at: Option<String>,
    /// How often letters of this subject were redriven before.
    pub(crate) redrives: u32,
    /// How it ended; `null` while it is open.
    pub(crate) end: Option<LetterEndView>,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LetterErrorView {
    /// The class, as the guide lists them.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "GAS_PRICE_TOO_LOW")]
    pub(crate) class: &'static str,
    /// A finer name.
    #[schema(example = "underpriced")]
    pub(crate) code: Option<String>,
    /// In words.
    pub(crate) message: String,
    /// More of it.
    pub(crate) details: Option<String>,
}

/// When a letter was written, and how often its work was tried.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LetterMetaView {
    /// When it failed last.
    #[schema(example = "2026-11-20T15:59:59.999Z")]
    pub(crate) timestamp: String,
    /// How often it was tried.
    #[serde(rename = "attemptCount")]
    #[schema(example = 5)]
    pub(crate) attempt_count: u32,
}

/// How a letter ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LetterEndView {
    /// `redriven`, `resolved` or `discarded`.
    #[schema(value_type = String, example = "redriven")]
    pub(crate) how: &'static str,
    /// When.
    pub(crate) at: String,
    /// By whom.
    pub(crate) by: String,
    /// Why.
    pub(crate) reason: String,
}

/// A decision about a letter.
#[derive(Debug, ToSchema)]
pub(crate) struct LetterDecision {
    /// Why; it goes to the audit log.
    #[schema(required, value_type = String, example = "the node is up again")]
    pub(crate) reason: Option<String>,
}

/// List dead letters
///
/// Newest first. They are kept for at least four days after they ended, and open ones for ever.
#[utoipa::path(
    get,
    path = "/v1/internal/dead-letters",
    tag = "operations",
    security(("api_key" = ["operations"])),
    params(
        ("queue" = Option<String>, Query, description = "`request-dlq`, `signed-tx-dlq` or `broadcast-tx-dlq`"),
        ("include_ended" = Option<bool>, Query, description = "Also those that ended"),
        ("limit" = Option<u64>, Query, description = "1 to 500; 50 by default"),
    ),
    responses(
        (status = 200, description = "The letters", body = Page<DeadLetterView>),
        (status = 400, description = "A parameter is unknown, or has a value that it cannot have", body = ErrorEnvelope),
        (status = 401, description = "No valid API key", body = ErrorEnvelope),
        (status = 403, description = "The key lacks `operations`", body = ErrorEnvelope),
        (status = 503, description = "`DATABASE_UNAVAILABLE`", body = ErrorEnvelope),
    ),
)]
pub(crate) async fn list_dead_letters(
    State(api): State<Api>,
    context: RequestContext,
    caller: Caller,
    uri: Uri,
) -> Result<Json<Page<DeadLetterView>>, ApiError> {
    caller.require(Scope::Operations)?;
    let mut parameters = Parameters::read(&uri)?;
    let queue = parameters.parsed(
        "queue",
        "request-dlq, signed-tx-dlq or broadcast-tx-dlq",
        DeadLetterQueue::parse,
    );
    let with_ended = parameters.parsed("include_ended", "true or false", |text| text.parse().ok());
    let limit = parameters.limit(LIMIT_DEFAULT, LIMIT_MAX);
    parameters.finish()?;
    let store = &api.parts.store;
    let reading = store.dead_letters(queue, with_ended.unwrap_or(false), limit.saturating_add(1));
    let mut letters = api.read(&context, reading).await?;
    let has_more = cut_to_page(&mut letters, limit);
    let data = letters.into_iter().map(view).collect();
    Ok(Json(Page { data, has_more, ..Page::complete(Vec::new()) }))
}

/// Look at a dead letter
#[utoipa::path(
    get,
    path = "/v1/internal/dead-letters/{id}",
    tag = "operations",
    security(("api_key" = ["operations"])),
    params(("id" = i64, Path, description = "Its number", example = 17)),
    responses(
        (status = 200, description = "The letter", body = DeadLetterView),
        (status = 400, description = "`INVALID_ID`", body = ErrorEnvelope),
        (status = 401, description = "No valid API key", body = ErrorEnvelope),
        (status = 403, description = "The key lacks `operations`", body = ErrorEnvelope),
        (status = 404, description = "`DEAD_LETTER_NOT_FOUND`", body = ErrorEnvelope),
        (status = 503, description = "`DATABASE_UNAVAILABLE`", body = ErrorEnvelope),
    ),
)]
pub(crate) async fn read_dead_letter(
    State(api): State<Api>,
    context: RequestContext,
    caller: Caller,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<DeadLetterView>, ApiError> {
    caller.require(Scope::Operations)?;
    let id = letter_id(id)?;
    let letter = api.read(&context, api.parts.store.dead_letter(id)).await?;
    let letter = letter.ok_or_else(|| ApiError::new(ApiCode::DeadLetterNotFound))?;
    Ok(Json(view(letter)))
}

/// Take the work of a dead letter up again
///
/// The letter ends. If its work fails five times more, there will be another one.
#[utoipa::path(
    post,
    path = "/v1/internal/dead-letters/{id}/redrive",
    tag = "operations",
    security(("api_key" = ["operations"])),
    params(("id" = i64, Path, description = "Its number", example = 17)),
    request_body(content = LetterDecision, content_type = "application/json"),
    responses(
        (status = 200, description = "Redriven", body = DeadLetterView),
        (status = 400, description = "`INVALID_ID`, or a body that cannot be read", body = ErrorEnvelope),
        (status = 401, description = "No valid API key", body = ErrorEnvelope),
        (status = 403, description = "The key lacks `operations`", body = ErrorEnvelope),
        (status = 404, description = "`DEAD_LETTER_NOT_FOUND`", body = ErrorEnvelope),
        (status = 409, description = "`DEAD_LETTER_ENDED`", body = ErrorEnvelope),
        (status = 408, description = "The body did not arrive in time", body = ErrorEnvelope),
        (status = 413, description = "The body is larger than 64 KiB", body = ErrorEnvelope),
        (status = 415, description = "The body is not declared as JSON", body = ErrorEnvelope),
        (status = 422, description = "The reason is missing", body = ErrorEnvelope),
        (status = 503, description = "`DATABASE_UNAVAILABLE` or `OUTCOME_UNKNOWN`", body = ErrorEnvelope),
    ),
)]
pub(crate) async fn redrive_dead_letter(
    State(api): State<Api>,
    mut context: RequestContext,
    caller: Caller,
    id: Result<Path<i64>, PathRejection>,
    request: Request,
) -> Result<Json<DeadLetterView>, ApiError> {
    caller.require(Scope::Operations)?;
    let id = letter_id(id)?;
    let reason = read_reason(&api, &mut context, request).await?;
    let deciding = api.parts.store.redrive_dead_letter(id, &caller.actor, &reason);
    let outcome = api.write(&context, deciding).await?;
    ended(&api, &context, id, outcome).await
}

/// Remove a dead letter
///
/// Only the letter goes. A withdrawal that no transaction carries is held until an operator resumes or cancels it; one
/// that is under way goes on.
#[utoipa::path(
    post,
    path = "/v1/internal/dead-letters/{id}/discard",
    tag = "operations",
    security(("api_key" = ["operations"])),
    params(("id" = i64, Path, description = "Its number", example = 17)),
    request_body(content = LetterDecision, content_type = "application/json"),
    responses(
        (status = 200, description = "Discarded", body = DeadLetterView),
        (status = 400, description = "`INVALID_ID`, or a body that cannot be read", body = ErrorEnvelope),
        (status = 401, description = "No valid API key", body = ErrorEnvelope),
        (status = 403, description = "The key lacks `operations`", body = ErrorEnvelope),
        (status = 404, description = "`DEAD_LETTER_NOT_FOUND`", body = ErrorEnvelope),
        (status = 409, description = "`DEAD_LETTER_ENDED`", body = ErrorEnvelope),
        (status = 408, description = "The body did not arrive in time", body = ErrorEnvelope),
        (status = 413, description = "The body is larger than 64 KiB", body = ErrorEnvelope),
        (status = 415, description = "The body is not declared as JSON", body = ErrorEnvelope),
        (status = 422, description = "The reason is missing", body = ErrorEnvelope),
        (status = 503, description = "`DATABASE_UNAVAILABLE` or `OUTCOME_UNKNOWN`", body = ErrorEnvelope),
    ),
)]
pub(crate) async fn discard_dead_letter(
    State(api): State<Api>,
    mut context: RequestContext,
    caller: Caller,
    id: Result<Path<i64>, PathRejection>,
    request: Request,
) -> Result<Json<DeadLetterView>, ApiError> {
    caller.require(Scope::Operations)?;
    let id = letter_id(id)?;
    let reason = read_reason(&api, &mut context, request).await?;
    let deciding = api.parts.store.discard_dead_letter(id, &caller.actor, &reason);
    let outcome = api.write(&context, deciding).await?;
    ended(&api, &context, id, outcome).await
}

async fn ended(
    api: &Api,
    context: &RequestContext,
    id: i64,
    outcome: LetterOutcome,
) -> Result<Json<DeadLetterView>, ApiError> {
    match outcome {
        LetterOutcome::Done | LetterOutcome::Held(_) => {}
        LetterOutcome::Unknown => return Err(ApiError::new(ApiCode::DeadLetterNotFound)),
        LetterOutcome::Ended => return Err(ApiError::new(ApiCode::DeadLetterEnded)),
    }
    let letter = api.read(context, api.parts.store.dead_letter(id)).await?;
    let letter = letter.ok_or_else(|| ApiError::new(ApiCode::DeadLetterNotFound))?;
    Ok(Json(view(letter)))
}

fn letter_id(id: Result<Path<i64>, PathRejection>) -> Result<i64, ApiError> {
    id.map(|Path(id)| id)
        .map_err(|_| ApiError::of_field(ApiCode::InvalidId, "id", "must be the number of a letter"))
}

async fn read_reason(
    api: &Api,
    context: &mut RequestContext,
    request: Request,
) -> Result<String, ApiError> {
    let object = api.read_body(context, request, api.parts.limits.body_bytes_max).await?;
    let mut fields = Fields::new(object);
    let mut problems = Problems::default();
    let decision = LetterDecision { reason: fields.required_text("reason", &mut problems) };
    let reason = decision.reason.unwrap_or_default();
    fields.finish(&mut problems);
    if problems.is_empty() && (reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX) {
        let message = format!("must say why, in 1 to {REASON_BYTES_MAX} bytes");
        problems.add(ApiCode::MissingField, "reason", message);
    }
    if problems.is_empty() { Ok(reason) } else { Err(problems.into_error()) }
}

fn view(letter: DeadLetter) -> DeadLetterView {
    let text = letter.original_message;
    let original_message = serde_json::from_str(&text).unwrap_or(Value::String(text));
    DeadLetterView {
        id: letter.id,
        queue: letter.queue.as_str(),
        subject: letter.subject,
        original_message,
        error: LetterErrorView {
            class: letter.error.class.as_str(),
            code: letter.error.code,
            message: letter.error.message,
            details: letter.error.details,
        },
        meta: LetterMetaView {
            timestamp: letter.failed_at.to_rfc3339(),
            attempt_count: letter.attempt_count,
        },
        redrive_at: letter.redrive_at.filter(|_| letter.end.is_none()).map(Timestamp::to_rfc3339),
        redrives: letter.redrives,
        end: letter.end.map(|end| LetterEndView {
            how: end.how.as_str(),
            at: end.at.to_rfc3339(),
            by: end.by,
            reason: end.reason,
        }),
    }
}
