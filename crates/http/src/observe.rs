//! The outermost layer: request ids, the span and the line in the log, metrics, the error envelope.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;
use tracing::Instrument;

use crate::api::{Api, RequestContext, later};
use crate::error::{ApiError, ErrorEnvelope};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id that is taken from a client.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Runs the request with all that is told of it.
pub(crate) async fn observe(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let given = given_request_id(request.headers());
    let request_id: Arc<str> =
        given.unwrap_or_else(|| format!("req_{:032x}", (api.parts.entropy)()).into());
    let wait = Duration::from_millis(api.parts.limits.database_wait_ms);
    request.extensions_mut().insert(RequestContext {
        request_id: Arc::clone(&request_id),
        ends_at: later(started, wait),
    });
    let method = method_label(request.method());
    let route: Arc<str> = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".into(), |path| path.as_str().into());
    let span = tracing::info_span!("request", correlation_id = %request_id, method, route = %route);
    async move {
        let response = next.run(request).await;
        let mut response = with_envelope(response, &request_id, &api.parts.doc_url_base);
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            headers.insert(REQUEST_ID, value);
        }
        if route.starts_with("/v1/") {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        record(method, &route, response.status().as_u16(), started.elapsed());
        response
    }
    .instrument(span)
    .await
}

fn record(method: &'static str, route: &str, status: u16, latency: Duration) {
    let latency_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(method, route, status, latency_ms, "answered");
    let labels = [
        ("route", route.to_owned()),
        ("method", method.to_owned()),
        ("status", status.to_string()),
    ];
    metrics::counter!("portcullis_http_requests_total", &labels).increment(1);
    metrics::histogram!("portcullis_http_request_duration_seconds", &labels)
        .record(latency.as_secs_f64());
}

/// Metrics have a label for each method that exists, not for each that a client invents.
const fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

/// The client's id of the request, if it is safe in a log and in a header.
fn given_request_id(headers: &HeaderMap) -> Option<Arc<str>> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte);
    let is_short = (1..=REQUEST_ID_BYTES_MAX).contains(&text.len());
    (is_short && text.bytes().all(is_safe)).then(|| text.into())
}

/// Writes the envelope of an error, also of one that no handler of ours made.
fn with_envelope(mut response: Response, request_id: &str, doc_url_base: &str) -> Response {
    let status = response.status();
    let error = match response.extensions_mut().remove::<ApiError>() {
        Some(error) => error,
        None if is_error_without_envelope(&response) => ApiError::of_status(status),
        None => return response,
    };
    let envelope = ErrorEnvelope { error: error.to_body(request_id, doc_url_base) };
    let mut enveloped = (error.code().status(), Json(envelope)).into_response();
    for name in [header::ALLOW, header::CONNECTION, header::RETRY_AFTER, header::WWW_AUTHENTICATE] {
        if let Some(value) = response.headers_mut().remove(&name) {
            enveloped.headers_mut().insert(name, value);
        }
    }
    enveloped
}

fn is_error_without_envelope(response: &Response) -> bool {
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    let json = HeaderValue::from_static("application/json");
    is_error && response.headers().get(header::CONTENT_TYPE) != Some(&json)
}
