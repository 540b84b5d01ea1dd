//! The HTTP API: withdrawals, accounts, networks, health, and its own description.
//!
//! [`router`] makes an axum router out of [`ApiParts`]. It starts nothing in the background and keeps no global
//! state, so that the simulator calls it in process under its own clock and randomness.

mod api;
mod auth;
mod catalog;
mod cursor;
mod error;
mod form;
mod intake;
mod observe;
mod openapi;
mod parts;
mod routes;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

pub use error::{
    ApiCode, ApiError, ErrorBody, ErrorEnvelope, FieldBody, FieldProblem, errors_guide,
};
pub use parts::{ApiLimits, ApiParts, ChainAccess, Concern, KeyLimit};

use api::{Api, ApiState};

/// The API as one service.
///
/// # Panics
/// Never in a released binary: the description is a constant of the build, and a test writes it.
pub fn router(parts: ApiParts) -> Router {
    let (routes, document) = openapi::routes().split_for_parts();
    let api: Api = Arc::new(ApiState::new(parts, write(&document).into()));
    let page: Router<Api> = SwaggerUi::new("/docs").config(Config::from("/openapi.json")).into();
    routes
        .merge(page)
        .fallback(routes::documents::unknown_route)
        .layer(from_fn_with_state(Arc::clone(&api), observe::observe))
        .with_state(api)
}

/// The description of the API: OpenAPI 3.1 as JSON.
///
/// # Panics
/// Never in a released binary: see [`router`].
#[must_use]
pub fn openapi_json() -> String {
    write(&openapi::routes().into_openapi())
}

fn write(document: &OpenApi) -> String {
    document.to_json().expect("plain data with text keys is always JSON")
}
