//! The API's own description, and the answers to what it does not know.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::api::Api;
use crate::error::{ApiCode, ApiError};

/// This document
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "documentation",
    security(()),
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")),
)]
pub(crate) async fn openapi_json(State(api): State<Api>) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], api.document.clone()).into_response()
}

/// Answers for every path that nothing else answers for.
pub(crate) async fn unknown_route() -> ApiError {
    ApiError::new(ApiCode::RouteNotFound)
}
