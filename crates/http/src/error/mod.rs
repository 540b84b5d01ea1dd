//! Errors: one catalogue, one envelope.

mod code;
mod guide;

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use portcullis_store::StoreError;
use portcullis_store::intake::IntakeError;
use serde::Serialize;
use utoipa::ToSchema;

pub use code::ApiCode;
pub use guide::errors_guide;

/// A field that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// Its name in the body, or in the item of a batch; a header's or a parameter's name.
    pub field: String,
    /// Why.
    pub code: ApiCode,
    /// Why, in words.
    pub message: String,
}

/// An answer that is not the wished one. It becomes the envelope where the request id is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct ApiError {
    code: ApiCode,
    message: Cow<'static, str>,
    fields: Vec<FieldProblem>,
}

impl ApiError {
    /// With the catalogue's own message.
    #[must_use]
    pub fn new(code: ApiCode) -> Self {
        Self { code, message: Cow::Borrowed(code.message()), fields: Vec::new() }
    }

    /// With a message that says more.
    #[must_use]
    pub fn with_message(code: ApiCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), fields: Vec::new() }
    }

    /// About one field.
    #[must_use]
    pub fn of_field(code: ApiCode, field: &str, message: impl Into<String>) -> Self {
        Self::of_fields(vec![FieldProblem {
            field: field.to_owned(),
            code,
            message: message.into(),
        }])
    }

    /// About fields: one alone gives the answer its code, several give `VALIDATION_FAILED`.
    #[must_use]
    pub fn of_fields(fields: Vec<FieldProblem>) -> Self {
        match fields.as_slice() {
            [] => Self::new(ApiCode::ValidationFailed),
            [only] => {
                let message = format!("{}: {}", only.field, only.message);
                Self { code: only.code, message: message.into(), fields }
            }
            several => {
                let names: Vec<&str> =
                    several.iter().take(8).map(|problem| problem.field.as_str()).collect();
                let message = format!(
                    "{} fields are not acceptable: {}",
                    several.len(),
                    names.join(", ") + if several.len() > names.len() { ", …" } else { "" }
                );
                Self { code: ApiCode::ValidationFailed, message: message.into(), fields }
            }
        }
    }

    /// Something that must not happen: the log gets the cause, the client does not.
    #[must_use]
    pub fn internal(what: &'static str, cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %cause, what, "an answer failed for a reason of our own");
        Self::new(ApiCode::InternalError)
    }

    /// Its code.
    #[must_use]
    pub const fn code(&self) -> ApiCode {
        self.code
    }

    /// The JSON of the answer.
    #[must_use]
    pub fn to_body(&self, request_id: &str, doc_url_base: &str) -> ErrorBody {
        ErrorBody {
            code: self.code.as_str(),
            message: self.message.to_string(),
            retryable: self.code.is_retryable(),
            request_id: request_id.to_owned(),
            doc_url: self.code.doc_url(doc_url_base),
            fields: self.fields.iter().map(FieldBody::from).collect(),
        }
    }

    /// The error of an answer that some layer made without one, such as the router's 405.
    #[must_use]
    pub(crate) fn of_status(status: StatusCode) -> Self {
        Self::new(match status {
            StatusCode::NOT_FOUND => ApiCode::RouteNotFound,
            StatusCode::METHOD_NOT_ALLOWED => ApiCode::MethodNotAllowed,
            StatusCode::PAYLOAD_TOO_LARGE => ApiCode::BodyTooLarge,
            StatusCode::REQUEST_TIMEOUT => ApiCode::RequestTimeout,
            StatusCode::TOO_MANY_REQUESTS => ApiCode::TooManyRequests,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ApiCode::UnsupportedMediaType,
            status if status.is_client_error() => ApiCode::MalformedRequest,
            _ => ApiCode::InternalError,
        })
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if error.is_outcome_unknown() {
            tracing::warn!(%error, "the outcome of a write is unknown");
            Self::new(ApiCode::OutcomeUnknown)
        } else if error.is_unavailable() {
            tracing::warn!(%error, "the database does not answer");
            Self::new(ApiCode::DatabaseUnavailable)
        } else {
            Self::internal("store", &error)
        }
    }
}

impl From<IntakeError> for ApiError {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::Unavailable => Self::new(ApiCode::DatabaseUnavailable),
            IntakeError::Busy => Self::new(ApiCode::TooManyRequests),
            IntakeError::OutcomeUnknown => Self::new(ApiCode::OutcomeUnknown),
            IntakeError::Store(StoreError::Halted { .. }) => Self::new(ApiCode::IntakeClosed),
            IntakeError::Store(error) => error.into(),
        }
    }
}

/// Carries the error to the layer that knows the request id and writes the envelope.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.code.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        match self.code.status() {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => {
                // The rest of the body is not read, so the connection cannot be used again.
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Every answer with a status of 400 or above.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorEnvelope {
    /// What went wrong.
    pub error: ErrorBody,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// Stable; match on it. The guide lists every code.
    #[schema(value_type = String, example = "INSUFFICIENT_BALANCE")]
    pub code: &'static str,
    /// For people; may change.
    #[schema(example = "amount: the account has 12.5 USDC available")]
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Also in the `x-request-id` header and in the server's log.
    #[schema(example = "req_0190f3b6c2b44d0f9a6f1f0e5d8c7b6a")]
    pub request_id: String,
    /// Where the code is explained.
    #[schema(example = "https://example.org/errors.md#insufficient_balance")]
    pub doc_url: String,
    /// Every field that was refused.
    pub fields: Vec<FieldBody>,
}

/// A field that was refused.
#[derive(Debug, Serialize, ToSchema)]
pub struct FieldBody {
    /// Its name in the body, or in the item of a batch; a header's or a parameter's name.
    #[schema(example = "amount")]
    pub field: String,
    /// Why.
    #[schema(value_type = String, example = "INSUFFICIENT_BALANCE")]
    pub code: &'static str,
    /// Why, in words.
    #[schema(example = "the account has 12.5 USDC available")]
    pub message: String,
}

impl From<&FieldProblem> for FieldBody {
    fn from(problem: &FieldProblem) -> Self {
        Self {
            field: problem.field.clone(),
            code: problem.code.as_str(),
            message: problem.message.clone(),
        }
    }
}
